# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading: a table, a CSV file or a MONAI datalist, checked and ready to be a cohort."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import (
    CATEGORICAL,
    CONTINUOUS,
    FINDING_LEVELS,
    ORDINAL,
    Attribute,
    Texts,
    as_names,
    as_paths,
    attribute_kinds,
    class_labels,
    exclusions,
    fold_numbers,
    plain_texts,
    read_attribute,
    require_identifiers,
    role_columns,
    with_finding_levels,
)
from monai_shortcut.storage.records import read_json
from monai_shortcut.storage.tables import named_columns, read_csv

PATHS = ("image", "roi", "swapped_roi")
_UNTIDY = re.compile(r"(?:^\.|/\.?)(?:/|$)")  # an empty folder or "." in a path


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are; the arguments of `Cohort.from_table` and its kin.

    Attributes:
        image_id: column, or name of the index, that identifies the image.
        patient_id: column that identifies the patient.
        label: column of the outcome; names, or integers, which sort as numbers.
        image: column of image paths; may be absent if it has its default name. None: no such column.
        roi: column of paths to the region of interest; as for ``image``.
        fold: column of integers that no patient has two of; as for ``image``.
        attributes: columns to study; None means every other column.
        label_names: classes in the order of the model's outputs; labels 0, 1, ... are then indices into them.
            None means sorted.
        findings: columns of 0 and 1, or "absent" and "present", of images that may have several findings. The first is
            the label, instead of ``label``; the others are attributes. Images where the first is unknown are excluded.
        continuous: attributes to read as numbers, whatever they look like.
        categorical: attributes to read as categories, whatever they look like. An attribute of which no kind is given
            is continuous if it is numeric with more than 10 distinct values, else categorical.
        ordinal: attributes whose levels have an order: name -> levels, low to high. A list of names serves where
            levels are numbers, which order themselves.
        root: folder that relative paths start from; None leaves them as they are.
    """

    image_id: str = "image_id"
    patient_id: str = "patient_id"
    label: str = "label"
    image: str | None = "image"
    roi: str | None = "roi"
    fold: str | None = "fold"
    attributes: Sequence[str] | None = None
    label_names: Sequence[str] | None = None
    findings: Sequence[str] = ()
    continuous: Sequence[str] = ()
    categorical: Sequence[str] = ()
    ordinal: Sequence[str] | Mapping[str, Sequence[str]] = ()
    root: str | Path | None = None

    def roles(self, frame: pd.DataFrame) -> dict[str, str]:
        """Column by role, of the roles that the table fills."""
        asked = {"image_id": self.image_id, "patient_id": self.patient_id, "label": self.label}
        optional = {"image": self.image, "roi": self.roi, "swapped_roi": "swapped_roi", "fold": self.fold}
        return role_columns(frame, asked, optional)

    def names(self, frame: pd.DataFrame, roles: Mapping[str, str]) -> tuple[str, ...]:
        """The attributes, in their order."""
        others = [name for name in frame.columns if name not in roles.values()]
        chosen = others if self.attributes is None else as_names(self.attributes)
        return tuple(dict.fromkeys((*chosen, *as_names(self.findings)[1:])))

    def kinds(self, frame: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
        """Kind by attribute, of those that were given one."""
        ordinal = self.ordinal if isinstance(self.ordinal, str) else tuple(self.ordinal)
        asked = {CONTINUOUS: self.continuous, CATEGORICAL: self.categorical, ORDINAL: ordinal}
        return attribute_kinds(frame, names, {kind: as_names(chosen) for kind, chosen in asked.items()})

    def order(self, attribute: str) -> Sequence[str]:
        """Levels of an attribute, low to high; empty if no order was given."""
        return self.ordinal.get(attribute, ()) if isinstance(self.ordinal, Mapping) else ()


class Checked(NamedTuple):
    """A checked table: the fields of a cohort, in their order."""

    table: pd.DataFrame
    label_names: tuple[str, ...]
    kinds: dict[str, str]
    orders: dict[str, tuple[str, ...]]
    excluded: dict[str, str]
    finding: str | None


def read_frame(frame: pd.DataFrame, columns: Columns) -> Checked:
    """Check a table and take it over.

    Args:
        frame: (N, columns) one row per image.
        columns: what the columns are.

    Raises:
        ValueError: As for `Cohort.from_table`.
    """
    frame, columns = _prepared(frame, columns)
    roles = columns.roles(frame)
    names = columns.names(frame, roles)
    kinds = columns.kinds(frame, names)
    texts = {role: plain_texts(frame[column], column) for role, column in roles.items()}
    texts |= {role: as_paths(frame[roles[role]]) for role in PATHS if role in roles}
    require_identifiers(texts, roles)
    excluded = exclusions(texts)
    kept = ~pd.Index(texts["image_id"], dtype=object).isin(list(excluded))
    frame, texts = frame[kept], {role: values[kept] for role, values in texts.items()}
    texts["label"], classes = class_labels(frame[roles["label"]], columns.label_names)
    read = {name: read_attribute(frame[name], name, kinds.get(name), columns.order(name)) for name in names}
    table = _table(_under(columns.root, texts), roles, read)
    orders = {name: attribute.order for name, attribute in read.items() if attribute.order}
    finding = roles["label"] if columns.findings else None
    return Checked(table, classes, {name: read[name].kind for name in names}, orders, excluded, finding)


def _prepared(frame: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, Columns]:
    """The table with text as names of all columns, the ids among them, and findings as levels; the first the label."""
    frame = frame.rename(columns=str)
    if frame.index.name == columns.image_id and columns.image_id not in frame.columns:
        frame = frame.reset_index()
    findings = as_names(columns.findings)
    if not findings:
        return frame, columns
    return with_finding_levels(frame, findings), replace(columns, label=findings[0], label_names=FINDING_LEVELS)


def _under(root: str | Path | None, texts: Mapping[str, Texts]) -> dict[str, Texts]:
    """The columns, with paths that start from a folder."""
    if root is None:
        return dict(texts)
    folder = "" if Path(root) == Path() else str(Path(root))
    return {
        role: np.array([path and _joined(folder, path) for path in values], dtype=object) if role in PATHS else values
        for role, values in texts.items()
    }


def _joined(folder: str, path: str) -> str:
    """``str(Path(folder, path))``, which takes three times as long where a path is tidy already."""
    if _UNTIDY.search(path):
        return str(Path(folder, path))
    return os.path.join(folder, path).replace("/", os.sep)


def _table(texts: Mapping[str, Texts], roles: Mapping[str, str], read: Mapping[str, Attribute]) -> pd.DataFrame:
    """The table of a cohort, indexed by image."""
    data: dict[str, NDArray[Any]] = {role: values for role, values in texts.items() if role != "image_id"}
    if "fold" in data:
        data["fold"] = fold_numbers(data["fold"], data["patient_id"], roles["fold"])
    data |= {name: attribute.values for name, attribute in read.items()}
    index = pd.Index(texts["image_id"], name="image_id", dtype=object)
    # An explicit dtype keeps pandas 3 from turning None into NaN.
    return pd.DataFrame({name: pd.Series(values, index, values.dtype) for name, values in data.items()})


class CsvOptions(TypedDict, total=False):
    """How a CSV file is written.

    Attributes:
        encoding: of the text, such as "cp1252"; by default UTF-8, or UTF-16 where the file says so.
        separator: what stands between cells; "," by default.
        missing: words that mean a missing value, beside the empty cell.
    """

    encoding: str | None
    separator: str
    missing: Collection[str]


def csv_frame(path: str | Path, columns: Mapping[str, Any], options: CsvOptions) -> pd.DataFrame:
    """The table of a CSV file, its ids and paths as text; the index is the number of each row's line.

    Args:
        path: the file, with a header row.
        columns: keyword arguments of `Columns`.
        options: how it is written.
    """
    text = {str(columns.get(role, role)) for role in ("image_id", "patient_id", *PATHS)}
    frame = read_csv(path, text=text, **options)
    return named_columns(frame, path, None if columns.get("attributes") is None else ())


@contextmanager
def named_errors(path: str | Path) -> Iterator[None]:
    """Errors about the content of a file say which file."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        raise ValueError(text if str(path) in text else f"{path}: {text}") from error


def datalist_frame(datalist: str | Path | Mapping[str, Any], section: str | Sequence[str] | None) -> pd.DataFrame:
    """The items of a MONAI datalist as a table; a column ``section`` if they are of several.

    Args:
        datalist: a JSON file, or its content.
        section: the section or sections to read; None means every list of dictionaries.

    Raises:
        ValueError: If a section is absent.
    """
    content: Any = datalist
    if not isinstance(datalist, Mapping):
        content = read_json(datalist, "a datalist")
        content = content if isinstance(content, dict) else {"datalist": content}
    lists = {key: rows for key, rows in content.items() if isinstance(rows, list) and rows}
    lists = {key: rows for key, rows in lists.items() if all(isinstance(row, Mapping) for row in rows)}
    chosen = tuple(lists) if section is None else as_names(section)
    if not chosen or not set(chosen) <= set(lists):
        wanted = "" if section is None else f", got section {', '.join(chosen)}"
        present = ", ".join(lists) or f"none, its keys are {', '.join(map(str, content)) or 'none'}"
        raise ValueError(f"section must name lists of dictionaries in the datalist{wanted}; present: {present}.")
    several = len(chosen) > 1
    rows = [{**({"section": key} if several else {}), **item} for key in chosen for item in lists[key]]
    return pd.DataFrame(rows, dtype=object)


def finding_frames(
    path: str | Path, findings: Sequence[str], columns: Mapping[str, Any], options: CsvOptions
) -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """The table of a CSV file, and the findings by the one that comes first; without those that never differ.

    Args:
        path: the file, with a column for each finding.
        findings: the columns.
        columns: keyword arguments of `Columns`.
        options: how it is written.
    """
    names = as_names(findings)
    frame = with_finding_levels(csv_frame(path, columns, options), names)
    differ = [name for name in names if frame[name].nunique() == len(FINDING_LEVELS)]
    return frame, {name: (name, *(other for other in names if other != name)) for name in differ}
