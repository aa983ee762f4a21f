# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""PadChest: 160,861 chest X-rays of one Spanish hospital, with findings taken from the reports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from monai_shortcut.cohort.columns import FINDING_LEVELS
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import Rows, text_rows
from monai_shortcut.datasets.tables import files_by_name, finding_cohort, first_file, roi_paths, without_regionless

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
VIEWS = ("PA", "AP", "AP_horizontal")
#: Finding -> the label that counts for it under the published rule.
PUBLISHED_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "cardiomegaly": "cardiomegaly",
        "pneumonia": "pneumonia",
        "atelectasis": "atelectasis",
        "pneumothorax": "pneumothorax",
        "effusion": "pleural effusion",
    }
)
#: Finding -> further labels that PadChest's own tree of findings puts under it, or under which it falls by its name.
NARROWER_LABELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cardiomegaly": (),
        "pneumonia": ("atypical pneumonia",),
        "atelectasis": (
            "atelectasis basal",
            "laminar atelectasis",
            "lobar atelectasis",
            "round atelectasis",
            "segmental atelectasis",
            "total atelectasis",
        ),
        "pneumothorax": ("hydropneumothorax",),
        "effusion": (
            "empyema",
            "hemothorax",
            "hydropneumothorax",
            "loculated fissural effusion",
            "loculated pleural effusion",
        ),
    }
)
_NEEDED = ("ImageID", "ImageDir", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection", "Labels")
_TEXT = re.compile(r"'([^']*)'|\"([^\"]*)\"")  # of a label, as Python and NumPy write it
_LIST = re.compile(rf"\[\s*(?:(?:{_TEXT.pattern})(?:\s*,\s*|\s+|(?=\])))*\s*\]")
_UNUSABLE = ("suboptimal study", "exclude")
_CATEGORICAL = {
    "PatientSex_DICOM": "sex",
    "Projection": "projection",
    "Pediatric": "pediatric",
    "Modality_DICOM": "modality",
    "Manufacturer_DICOM": "manufacturer",
    "MethodLabel": "labelled_by",
}


def read_padchest(
    folder: str | Path,
    *,
    label: str = "cardiomegaly",
    rule: str = "published",
    views: Sequence[str] = VIEWS,
    masks: str | Path | None = None,
    encoding: str | None = None,
) -> Cohort:
    """Read PadChest as published: its table, and images in numbered folders or in one.

    The table is ``PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv``, or the same with ``.gz``. Image
    ``ImageID`` is looked for in the folder itself, in ``images``, and in the folder ``ImageDir`` (0 to 54) of either;
    one that is nowhere gets the path ``ImageDir/ImageID`` and is left to `usable`.

    Rule "published", as in the masking study: rows without labels, and those with the label "suboptimal study" or
    "exclude", are left out; blanks around labels are removed, and a finding is present if exactly its own label is
    there (`PUBLISHED_LABELS`; for effusion "pleural effusion"). The study also names "Unchanged", which no row has:
    the label is "unchanged", and its rows stay. Rows whose labels are all empty stay too, with every finding absent.

    Rule "corrected": a finding is also present if a narrower label is there (`NARROWER_LABELS`), and rows with
    "unchanged", which say nothing of what did not change, and rows whose labels are all empty are left out.

    The table was read as it ships in torchxrayvision 1.5.7; how the images are laid out in several public programs.
    Counts of both rules and of what differs from the published numbers are in ``docs/datasets.md``.

    Args:
        folder: holds the table and the images.
        label: which of cardiomegaly, pneumonia, atelectasis, pneumothorax and effusion is the label; the other four
            are attributes, absent or present. See `Cohort.with_label` and ``datalist(findings=...)``.
        rule: "published" or "corrected".
        views: values of ``Projection`` to keep.
        masks: folder of regions from `write_chexmask`; images without one are then excluded.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        A cohort with attributes ``birth_year``, ``age`` (years, at the study), ``sex`` (F, M, O), ``projection``,
        and where the table has them ``pediatric``, ``modality``, ``manufacturer`` and ``labelled_by`` (a physician or
        a network that read the report). ``excluded`` has the reason for every row left out.

    Raises:
        FileNotFoundError: If the table or the folder of masks is not there.
        ValueError: If a column is absent, the rule or the label unknown, or a cell is not as published: labels that are
            no list, a year that is no number, an id that a spreadsheet has shortened. The message names file and line.
            Lists without commas, as NumPy prints them, are read.

    References:
        Bustos et al. (2020), Medical Image Analysis 66:101797; Sourget et al. (2025), J. Imaging Informatics in
        Medicine, arXiv 2412.04030, for the published rule.
    """
    if rule not in ("published", "corrected"):
        raise ValueError(f"rule must be published or corrected, got {rule!r}.")
    folder = Path(folder)
    path = first_file(folder, (TABLE, f"{TABLE}.gz"), f"{TABLE} (or .gz)")
    used = {*_NEEDED, *_CATEGORICAL, "StudyDate_DICOM"}
    rows = text_rows(path, _NEEDED, only=lambda name: name in used, encoding=encoding).identified("ImageID")
    labels = dict(zip(rows.frame["ImageID"], _label_sets(rows), strict=True))
    pairs = zip(labels.values(), rows.frame["Projection"], strict=True)
    reasons = [_reason(names, view, tuple(views), rule) for names, view in pairs]
    rows = rows.without("ImageID", reasons).identified("ImageID", "PatientID")
    kept = [labels[image] for image in rows.frame["ImageID"]]
    with rows.told():
        cohort = _cohort(_columns(rows, kept, rule), folder, label, masks)
    return without_regionless(replace(cohort, excluded={**rows.excluded, **cohort.excluded}), "no lung mask")


def _label_sets(rows: Rows) -> list[frozenset[str] | None]:
    """(N,) labels of each row in lower case and without blanks, the empty ones left out; None where missing."""
    cells = rows.frame["Labels"]
    distinct = [text for text in dict.fromkeys(cells) if text is not None]
    strange = {text for text in distinct if not _LIST.fullmatch(text)}
    rows.refuse("Labels", "a list such as ['normal']", cells.isin(strange))
    sets = {
        text: frozenset((single or double).strip().lower() for single, double in _TEXT.findall(text)) - {""}
        for text in distinct
    }
    return [sets.get(text) for text in cells]


def _reason(names: frozenset[str] | None, view: Any, views: tuple[str, ...], rule: str) -> str | None:
    """Why a row is left out; None if it stays."""
    if names is None:
        return "labels missing"
    unusable = _UNUSABLE if rule == "published" else (*_UNUSABLE, "unchanged")
    for name in unusable:
        if name in names:
            return f"label {name}"
    if rule == "corrected" and not names:
        return "labels empty"
    return None if view in views else f"projection {view or 'missing'}"


def _columns(rows: Rows, labels: list[frozenset[str] | None], rule: str) -> pd.DataFrame:
    frame = rows.frame
    known = {source: name for source, name in _CATEGORICAL.items() if source in frame}
    table = frame[["ImageID", "ImageDir", "PatientID", *known]].rename(
        columns={"ImageID": "image_id", "PatientID": "patient_id", **known}
    )
    for finding, own in PUBLISHED_LABELS.items():
        counting = {own, *(NARROWER_LABELS[finding] if rule == "corrected" else ())}
        present = np.array([not counting.isdisjoint(names or ()) for names in labels], dtype=np.int64)
        table[finding] = np.array(FINDING_LEVELS, dtype=object)[present]
    table["birth_year"] = rows.numbers("PatientBirth")
    if "StudyDate_DICOM" in frame:
        table["age"] = rows.numbers("StudyDate_DICOM", least=19_000_000) // 10_000 - table["birth_year"]
    return table


def _places(table: pd.DataFrame) -> list[tuple[str | None, str]]:
    return list(zip(table["ImageDir"], table["image_id"], strict=True))


def _cohort(table: pd.DataFrame, folder: Path, label: str, masks: str | Path | None) -> Cohort:
    numbered = sorted({number for number in table["ImageDir"] if number is not None})
    tops = (folder, folder / "images")
    found = files_by_name([*tops, *(top / number for top in tops for number in numbered)])
    default = [image if folder is None else f"{folder}/{image}" for folder, image in _places(table)]
    images = [found.get(name, str(folder / path)) for name, path in zip(table["image_id"], default, strict=True)]
    table = table.assign(image=images)
    if masks is not None:
        table = table.assign(roi=roi_paths(table["image_id"], masks))
    continuous = tuple(name for name in ("birth_year", "age") if name in table)
    categorical = tuple(name for name in _CATEGORICAL.values() if name in table)
    return finding_cohort(
        table,
        label,
        tuple(PUBLISHED_LABELS),
        attributes=(*continuous, *categorical),
        continuous=continuous,
        categorical=categorical,
    )
