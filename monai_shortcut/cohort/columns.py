# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Columns of a table, cleaned and checked before they become a cohort."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.storage.tables import MISSING_WORDS, plain

CATEGORICAL, ORDINAL, CONTINUOUS = KINDS = ("categorical", "ordinal", "continuous")
MOST_CATEGORIES = 10  # a numeric attribute with more distinct values is continuous
FINDING_LEVELS = ("absent", "present")  # of a finding, in the order of an outcome 0 and 1
RESERVED = ("image_id", "patient_id", "label", "image", "roi", "swapped_roi", "fold")

_BLANKS = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # others than the plain one
_LONE = re.compile(r"[\ud800-\udfff]")  # halves of surrogate pairs, which no encoding writes
_ROUNDED = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]+")  # how a spreadsheet shows a long number
_WRITTEN = re.compile(r"([0-9]+)(?:\.0+)?")  # a whole number, or one that became a fraction
_INEXACT = 2.0**53  # floats from here on are not all whole numbers

Texts = NDArray[np.object_]  # (N,) str, or None where missing


class Attribute(NamedTuple):
    """A column to study, as a cohort keeps it.

    Attributes:
        values: (N,) float64 with NaN where missing if continuous, else object: str with None where missing.
        kind: one of ``KINDS``.
        order: levels of an ordinal attribute, low to high; empty for the other kinds.
    """

    values: NDArray[Any]
    kind: str
    order: tuple[str, ...] = ()


def require_none(wrong: Collection[object], must_hold: str, what: str = "others") -> None:
    """Raise ValueError with a count and examples if there is anything wrong."""
    if wrong:
        examples = ", ".join(map(str, list(wrong)[:5])) + (", ..." if len(wrong) > 5 else "")
        raise ValueError(f"{must_hold}, got {len(wrong)} {what}: {examples}.")


def repeated(names: Iterable[str]) -> list[str]:
    """The names that come more than once, each once."""
    return [name for name, count in Counter(names).items() if count > 1]


def as_text(value: Any) -> str | None:
    """A value as text; None for missing. 1.0 becomes "1", as integers turn to floats beside missing values."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="backslashreplace")  # as h5py gives texts
    if isinstance(value, str):
        return (value.strip() if value.isascii() else _one_form(value)) or None
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip() or None


def _one_form(text: str) -> str:
    """Text that looks the same, written the same: composed (NFC), with plain blanks, without marks around it."""
    return plain(_BLANKS.sub(" ", unicodedata.normalize("NFC", text)))


def as_texts(values: pd.Series[Any]) -> Texts:
    """(N,) the values of a column as texts, by `as_text`."""
    if values.dtype == object:  # where 1, 1.0 and True are equal, but read differently
        return np.array([as_text(value) for value in values.tolist()], dtype=object)
    codes, distinct = pd.factorize(values)
    return np.array([*map(as_text, distinct.tolist()), None], dtype=object)[codes]  # the code -1 is a missing value


def plain_texts(values: pd.Series[Any], column: str) -> Texts:
    """(N,) texts of a column that must hold one value per row: ids, labels, paths.

    Raises:
        ValueError: If a cell holds several values, or numbers are so large that their last digits are lost.
    """
    cells = values.tolist() if values.dtype == object else []
    several = [value for value in cells if isinstance(value, list | tuple | dict | set | np.ndarray)]
    require_none(several, f"{column} must hold one value per image")
    if values.dtype.kind == "f":
        lost = values[values.abs() >= _INEXACT].tolist()
        require_none(lost, f"{column} must be text or whole numbers where it has more than 15 digits")
    return as_texts(values)


def as_paths(values: pd.Series[Any]) -> Texts:
    """(N,) paths: texts in the form in which they are written, since files are found by it."""
    texts = [value.strip() or None if isinstance(value, str) else as_text(value) for value in values.tolist()]
    return np.array([*texts, None], dtype=object)[:-1]


def as_names(names: Sequence[str]) -> tuple[str, ...]:
    """Several names, or a single one."""
    return (names,) if isinstance(names, str) else tuple(names)


def as_numbers(values: pd.Series[Any], what: str) -> NDArray[np.float64]:
    """(N,) the finite numbers of a column, NaN where missing or infinite.

    Raises:
        ValueError: If anything else is among them; the message calls the column ``what``.
    """
    if _is_numeric(values):
        numbers = values.to_numpy(np.float64, na_value=np.nan)
    else:
        texts = as_texts(values)
        numbers = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(np.float64, copy=True)
        said = ~np.isnan(numbers)
        numbers[said] = texts[said].astype(np.float64)  # to the last digit, which pandas may miss
        wrong = texts[~pd.isna(texts) & np.isnan(numbers)]
        require_none(wrong.tolist(), f"{what} must hold numbers to be continuous")
    return np.where(np.isfinite(numbers), numbers, np.nan) + 0.0  # -0.0 becomes 0.0


def as_number(text: str) -> float:
    """The finite number that a text says; NaN if it says none."""
    try:
        number = float(text)
    except ValueError:
        return np.nan
    return number if np.isfinite(number) else np.nan


def in_order(names: Collection[str]) -> tuple[str, ...]:
    """Names sorted as numbers if all of them are numbers, else as text.

    Example:
        >>> in_order(["10", "9", "2.5"]), in_order(["10", "9", "x"])
        (('2.5', '9', '10'), ('10', '9', 'x'))
    """
    known = sorted(names)
    numbers = {name: as_number(name) for name in known}
    return tuple(known if np.isnan([*numbers.values()]).any() else sorted(known, key=lambda name: numbers[name]))


def level_order(found: Collection[str], order: Sequence[object], attribute: str) -> tuple[str, ...]:
    """Levels of an ordinal attribute, low to high.

    Args:
        found: the levels that occur.
        order: all levels, low to high; empty if they are numbers and follow their values.
        attribute: what the message calls the attribute.

    Raises:
        ValueError: If a level is named twice or not at all, or there is no order and a level is no number.
    """
    if not len(order):
        strangers = [name for name in sorted(found) if np.isnan(as_number(name))]
        require_none(strangers, f"{attribute} must hold numbers, or name the order of its levels")
        return in_order(found)
    named = tuple(str(as_text(level)) for level in order)
    require_none(repeated(named), f"the order of {attribute} must name each level once", "repeated")
    strangers = [name for name in sorted(found) if name not in named]
    require_none(strangers, f"{attribute} must hold levels of its order ({', '.join(named)})")
    return named


def require_kind(kind: str | None, order: Collection[object]) -> None:
    """Refuse a kind that does not exist, and an order of levels that have none."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if order and kind != ORDINAL:
        raise ValueError(f"order must be that of an ordinal attribute, got {list(order)} for kind {kind!r}.")


def role_columns(frame: pd.DataFrame, asked: dict[str, str], optional: dict[str, str | None]) -> dict[str, str]:
    """Role -> column; optional roles whose column has its default name may be absent."""
    require_none(frame.columns[frame.columns.duplicated()].tolist(), "columns must have different names", "repeated")
    wanted = {role: name for role, name in optional.items() if name and (name != role or name in frame.columns)}
    columns = {**asked, **wanted}
    _require_present(frame, columns.values(), f"; name those of {', '.join(asked)} if they are called otherwise")
    return columns


def _require_present(frame: pd.DataFrame, names: Iterable[str], remedy: str = "") -> None:
    absent = [name for name in names if name not in frame.columns]
    require_none(absent, f"columns must be among those of the table ({', '.join(frame.columns)}){remedy}", "absent")


def attribute_kinds(frame: pd.DataFrame, names: Sequence[str], asked: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Kind by attribute where the caller chose it, the names checked.

    Args:
        frame: the table.
        names: the attributes.
        asked: kind -> attributes.
    """
    _require_present(frame, names)
    reserved = [name for name in names if name in RESERVED]
    require_none(reserved, f"attributes must not be named {', '.join(RESERVED)} (rename or do not list them)", "such")
    pairs = {(name, kind): None for kind, chosen in asked.items() for name in chosen}
    strangers = [name for name, _ in pairs if name not in names]
    require_none(strangers, f"{', '.join(asked)} must name attributes ({', '.join(names)})")
    require_none(
        repeated(name for name, _ in pairs), f"an attribute must have one kind of {', '.join(asked)}", "with several"
    )
    return dict(pairs.keys())


def require_identifiers(texts: Mapping[str, Texts], columns: Mapping[str, str]) -> None:
    """Refuse image ids that are missing or repeated, and images without a patient."""
    images = pd.Series(texts["image_id"], dtype=object)
    require_none(
        images.index[images.isna()].tolist(), f"{columns['image_id']} must be given in every row", "rows without"
    )
    twice = images[images.duplicated(keep=False)].unique().tolist()
    require_none(twice, f"{columns['image_id']} must be unique", "repeated")
    orphans = images[pd.isna(texts["patient_id"])].tolist()
    require_none(orphans, f"{columns['patient_id']} must be given for every image", "images without")
    for role in ("image_id", "patient_id"):
        _require_one_spelling(set(texts[role].tolist()), columns[role], role == "patient_id")


def _require_one_spelling(ids: Collection[str], column: str, patients: bool) -> None:
    """Refuse ids of which one may be another, or no id."""
    require_writable(ids, column)
    if patients:
        require_none(sorted(MISSING_WORDS.intersection(ids)), f"{column} must be given for every image", "such ids")
    rounded = sorted(name for name in ids if "+" in name and _ROUNDED.fullmatch(name))
    require_none(rounded, f"{column} must be written out (a spreadsheet rounds long numbers: format them as text)")
    spelled: dict[str, str] = {}
    several: list[str] = []
    for name in sorted(name for name in ids if name[0].isdigit() and name[-1].isdigit()):
        number = _WRITTEN.fullmatch(name)
        if number:
            key = (number[1].lstrip("0") or "0") if patients else number[1]
            several += [f"{spelled[key]} and {name}"] if key in spelled else []
            spelled.setdefault(key, name)
    require_none(several, f"{column} must be spelled in one way, since they may be the same", "pairs")


def require_writable(texts: Iterable[str], what: str) -> None:
    """Refuse text that no file can hold or be called: of names that were not decoded, or with a NUL.

    Raises:
        ValueError: If there is any.
    """
    wrong = [ascii(text) for text in texts if "\0" in text or (not text.isascii() and _LONE.search(text))]
    require_none(wrong, f"{what} must be text that can be written as UTF-8")


def exclusions(texts: Mapping[str, Texts]) -> dict[str, str]:
    """Image id -> reason, of the rows that cannot be used; a missing label counts before a missing path."""
    excluded: dict[str, str] = {}
    for role, reason in (("image", "image path missing"), ("label", "label missing")):
        lacking = pd.isna(texts.get(role, texts["image_id"]))
        excluded |= dict.fromkeys(texts["image_id"][lacking].tolist(), reason)
    return excluded


def class_labels(values: pd.Series[Any], label_names: Sequence[str] | None) -> tuple[Texts, tuple[str, ...]]:
    """(N,) class names, and the classes in order."""
    texts = as_texts(values)
    found = sorted(map(str, pd.unique(texts)))
    require_writable(found, "label")
    if len(found) < 2:
        raise ValueError(f"label must have at least two classes, got {', '.join(found) or 'no labelled image'}.")
    if label_names is None:
        return texts, in_order(found)
    classes = tuple(str(as_text(name)) for name in as_names(label_names))
    require_none(repeated(classes), "label_names must be unique")
    strangers = [name for name in found if name not in classes]
    by_index = {
        **{str(code): name for code, name in enumerate(classes)},
        **dict(zip(("False", "True"), classes[:2], strict=False)),
    }
    if strangers and set(found) <= set(by_index):
        return np.array([by_index[text] for text in texts], dtype=object), classes
    require_none(strangers, f"label_names ({', '.join(classes)}) must hold every label")
    return texts, classes


def fold_numbers(texts: Texts, patients: Texts, column: str) -> NDArray[np.int64]:
    """(N,) folds as integers, none of which share a patient."""
    wrong = [text for text in texts if text is None or not text.removeprefix("-").isdecimal()]
    require_none(wrong, f"{column} must be an integer for every image")
    folds = texts.astype(np.int64)
    pairs = pd.DataFrame({"patient": patients, "fold": folds}).drop_duplicates()
    require_none(repeated(pairs["patient"]), "a patient must be in one fold", "in several")
    return folds


def read_attribute(values: pd.Series[Any], name: str, kind: str | None, order: Sequence[object] = ()) -> Attribute:
    """A column as an attribute.

    Args:
        values: (N,) the cells; None, NaN and blanks are missing.
        name: name of the attribute, for messages.
        kind: one of ``KINDS``; None: continuous if the cells are numbers, more than ten of them different.
        order: levels of an ordinal attribute, low to high; empty if they are numbers.

    Raises:
        ValueError: If a continuous attribute holds anything but numbers, or as `level_order`.
    """
    kind = kind or (CONTINUOUS if many_numbers(values) else CATEGORICAL)
    if kind == CONTINUOUS:
        return Attribute(as_numbers(values, f"attribute {name}"), kind)
    texts = as_texts(values)
    found = pd.unique(texts[~pd.isna(texts)]).tolist()
    require_writable((name, *found), f"attribute {name}".encode("ascii", "backslashreplace").decode())
    return Attribute(texts, kind, level_order(found, order, f"ordinal attribute {name}") if kind == ORDINAL else ())


def _is_numeric(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def is_number(value: object) -> bool:
    """Whether a value is a number, and not just true or false."""
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def many_numbers(values: pd.Series[Any]) -> bool:
    """Whether all known values are numbers, and more than a few of them different."""
    if _is_numeric(values):
        return values.nunique() > MOST_CATEGORIES
    known = (value for value in values.tolist() if as_text(value) is not None)
    numeric = all(map(is_number, known))
    return numeric and len({*as_texts(values)} - {None}) > MOST_CATEGORIES


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


def finding_outcomes(values: Sequence[str | None] | Texts, name: str) -> NDArray[np.float64]:
    """(N,) 0.0 where a finding is absent, 1.0 where it is present, NaN where unknown.

    Args:
        values: (N,) levels of the finding, None where unknown.
        name: name of the finding, for the message.

    Raises:
        ValueError: If the column holds anything else.
    """
    strangers = sorted({str(value) for value in values} - {*FINDING_LEVELS, "None"})
    require_none(strangers, f"finding {name} must be {' or '.join(FINDING_LEVELS)}")
    outcome = {level: float(code) for code, level in enumerate(FINDING_LEVELS)}
    return np.array([np.nan if value is None else outcome[value] for value in values], dtype=np.float64)
