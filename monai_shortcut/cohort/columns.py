# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Columns of a table, cleaned and checked before they become a cohort."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import compress
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

MOST_CATEGORIES = 10  # a numeric attribute with more distinct values is continuous
FINDING_LEVELS = ("absent", "present")  # of a finding, in the order of an outcome 0 and 1
RESERVED = ("image_id", "patient_id", "label", "image", "roi", "swapped_roi", "fold")


def require_none(wrong: Collection[object], must_hold: str, what: str = "others") -> None:
    """Raise ValueError with a count and examples if there is anything wrong."""
    if wrong:
        examples = ", ".join(map(str, list(wrong)[:5])) + (", ..." if len(wrong) > 5 else "")
        raise ValueError(f"{must_hold}, got {len(wrong)} {what}: {examples}.")


def as_text(value: Any) -> str | None:
    """A value as text; None for missing. 1.0 becomes "1", as integers turn to floats beside missing values."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def plain_texts(values: pd.Series[Any], column: str) -> list[str | None]:
    """Texts of a column that must hold one value per row: ids, labels, paths."""
    several = [value for value in values if isinstance(value, list | tuple | dict | set | np.ndarray)]
    require_none(several, f"{column} must hold one value per image")
    return [as_text(value) for value in values]


def as_names(names: Sequence[str]) -> tuple[str, ...]:
    """Several names, or a single one."""
    return (names,) if isinstance(names, str) else tuple(names)


def role_columns(frame: pd.DataFrame, asked: dict[str, str], optional: dict[str, str | None]) -> dict[str, str]:
    """Role -> column; optional roles whose column has its default name may be absent."""
    require_none(frame.columns[frame.columns.duplicated()].tolist(), "columns must have different names", "repeated")
    wanted = {role: name for role, name in optional.items() if name and (name != role or name in frame.columns)}
    columns = {**asked, **wanted}
    _require_present(frame, columns.values())
    return columns


def _require_present(frame: pd.DataFrame, names: Iterable[str]) -> None:
    absent = [name for name in names if name not in frame.columns]
    require_none(absent, f"columns must be among those of the table ({', '.join(frame.columns)})", "absent")


def attribute_kinds(
    frame: pd.DataFrame, names: Sequence[str], continuous: Sequence[str], categorical: Sequence[str]
) -> dict[str, str]:
    """Kind by attribute where the caller chose it, the names checked."""
    _require_present(frame, names)
    reserved = [name for name in names if name in RESERVED]
    require_none(reserved, f"attributes must not be named {', '.join(RESERVED)} (rename or do not list them)", "such")
    strangers = [name for name in (*continuous, *categorical) if name not in names]
    require_none(strangers, f"continuous and categorical must name attributes ({', '.join(names)})")
    require_none({*continuous} & {*categorical}, "an attribute must be either continuous or categorical", "both")
    return {**dict.fromkeys(continuous, "continuous"), **dict.fromkeys(categorical, "categorical")}


def identifiers(texts: Mapping[str, list[str | None]], columns: Mapping[str, str]) -> list[str]:
    """The image ids, complete and unique; every image has a patient."""
    images = [text for text in texts["image_id"] if text is not None]
    nameless = [row for row, text in enumerate(texts["image_id"]) if text is None]
    require_none(nameless, f"{columns['image_id']} must be given in every row", "rows without")
    twice = [image for image, count in Counter(images).items() if count > 1]
    require_none(twice, f"{columns['image_id']} must be unique", "repeated")
    orphans = [image for image, patient in zip(images, texts["patient_id"], strict=True) if patient is None]
    require_none(orphans, f"{columns['patient_id']} must be given for every image", "images without")
    return images


def exclusions(texts: Mapping[str, list[str | None]], images: list[str]) -> dict[str, str]:
    """Image id -> reason, of the rows that cannot be used; a missing label counts before a missing path."""
    excluded: dict[str, str] = {}
    for role, reason in (("image", "image path missing"), ("label", "label missing")):
        lacking = [text is None for text in texts.get(role, images)]
        excluded |= dict.fromkeys(compress(images, lacking), reason)
    return excluded


def class_labels(values: list[Any], label_names: Sequence[str] | None) -> tuple[list[str | None], tuple[str, ...]]:
    """(N,) class names, and the classes in order."""
    texts = [as_text(value) for value in values]
    found = sorted({str(text) for text in texts})
    if len(found) < 2:
        raise ValueError(f"label must have at least two classes, got {', '.join(found) or 'no labelled image'}.")
    if label_names is None:
        try:
            return texts, tuple(sorted(found, key=float))
        except ValueError:
            return texts, tuple(found)
    classes = tuple(str(name) for name in as_names(label_names))
    require_none([name for name, count in Counter(classes).items() if count > 1], "label_names must be unique")
    strangers = [name for name in found if name not in classes]
    numbers = [as_text(int(value) if isinstance(value, bool | np.bool_) else value) for value in values]
    by_index = {str(position): name for position, name in enumerate(classes)}
    if strangers and set(numbers) <= set(by_index):
        return [by_index[str(number)] for number in numbers], classes
    require_none(strangers, f"label_names ({', '.join(classes)}) must hold every label")
    return texts, classes


def fold_numbers(texts: list[str | None], patients: list[str | None], column: str) -> NDArray[np.int64]:
    """(N,) folds as integers, none of which share a patient."""
    wrong = [text for text in texts if text is None or not text.removeprefix("-").isdecimal()]
    require_none(wrong, f"{column} must be an integer for every image")
    folds = np.array(texts, dtype=np.int64)
    pairs = Counter(patient for patient, _ in set(zip(patients, folds.tolist(), strict=True)))
    require_none([name for name, count in pairs.items() if count > 1], "a patient must be in one fold", "in several")
    return folds


def attribute_values(values: list[Any], name: str, kind: str | None) -> NDArray[Any]:
    """(N,) float64 with NaN where missing, or str with None where missing; the kind is guessed if it is None."""
    texts = [as_text(value) for value in values]
    if kind is None:
        known = [value for value, text in zip(values, texts, strict=True) if text is not None]
        numeric = all(isinstance(value, Real) and not isinstance(value, bool) for value in known)
        kind = "continuous" if numeric and len(set(texts) - {None}) > MOST_CATEGORIES else "categorical"
    if kind == "categorical":
        return np.array(texts, dtype=object)
    numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64)
    wrong = [text for text, number in zip(texts, numbers, strict=True) if text is not None and np.isnan(number)]
    require_none(wrong, f"attribute {name} must hold numbers to be continuous")
    return np.where(np.isfinite(numbers), numbers, np.nan)


def other_patients_rows(
    patients: NDArray[np.str_], candidates: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """(N,) for each image one of the candidate rows, drawn with equal chances from those of other patients.

    Args:
        patients: (N,) patient of each image.
        candidates: (M,) rows that may be drawn; of two patients at least, unless none of the images is theirs.
        rng: source of the draws.
    """
    owners = patients[candidates]
    order = np.argsort(owners, kind="stable")
    first, last = (np.searchsorted(owners[order], patients, side=side) for side in ("left", "right"))
    drawn = rng.integers(len(candidates) - (last - first))
    return candidates[order[np.where(drawn < first, drawn, drawn + last - first)]]  # the patient's own are skipped


def with_finding_levels(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The table with "absent" and "present" for 0 and 1 in the columns of findings.

    Raises:
        ValueError: If a column is absent or holds anything else.
    """
    _require_present(frame, names)
    levels = {"0": FINDING_LEVELS[0], "False": FINDING_LEVELS[0], "1": FINDING_LEVELS[1], "True": FINDING_LEVELS[1]}
    changed = {}
    for name in names:
        texts = [text and levels.get(text, text) for text in plain_texts(frame[name], name)]
        finding_outcomes(texts, name)
        changed[name] = pd.Series(texts, frame.index, object)
    return frame.assign(**changed)


def finding_outcomes(values: Sequence[str | None], name: str) -> NDArray[np.float64]:
    """(N,) 0.0 where a finding is absent, 1.0 where it is present, NaN where unknown.

    Args:
        values: (N,) levels of the finding, None where unknown.
        name: of the finding, for the message.

    Raises:
        ValueError: If the column holds anything else.
    """
    strangers = sorted({str(value) for value in values} - {*FINDING_LEVELS, "None"})
    require_none(strangers, f"finding {name} must be {' or '.join(FINDING_LEVELS)}")
    outcome = {level: float(code) for code, level in enumerate(FINDING_LEVELS)}
    return np.array([np.nan if value is None else outcome[value] for value in values], dtype=np.float64)
