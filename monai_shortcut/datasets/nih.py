# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients, with findings taken from the reports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import FINDING_LEVELS
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import Rows, text_rows
from monai_shortcut.datasets.tables import files_by_name, finding_cohort, first_file, roi_paths, without_regionless

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
#: Finding, named as in PadChest -> the collection's own label.
FINDINGS: Mapping[str, str] = MappingProxyType(
    {
        "cardiomegaly": "Cardiomegaly",
        "pneumonia": "Pneumonia",
        "atelectasis": "Atelectasis",
        "pneumothorax": "Pneumothorax",
        "effusion": "Effusion",
    }
)
#: All labels of the collection.
_LABELS = frozenset(
    {*FINDINGS.values(), "No Finding", "Infiltration", "Mass", "Nodule", "Consolidation", "Edema"}
    | {"Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"}
)
_AGE = re.compile(r"([0-9]+(?:\.[0-9]*)?)([YMD]?)")
_UNITS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "D": 1 / 365.25}
_NEEDED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
_SEX = ("Patient Gender", "Patient Sex")
_SPLITS = {"development": "train_val_list.txt", "test": "test_list.txt"}


def read_nih(
    folder: str | Path, *, label: str = "cardiomegaly", masks: str | Path | None = None, encoding: str | None = None
) -> Cohort:
    """Read NIH ChestX-ray14 as published: its table, and images in ``images_001/images`` to ``images_012/images``.

    The table is ``Data_Entry_2017_v2020.csv`` or the older ``Data_Entry_2017.csv``, either perhaps with ``.gz``.
    Images are also found in ``images`` or in the folder itself; one that is nowhere gets the path
    ``images/IMAGE`` and is left to `usable`. Labels are joined by ``|``, and a finding is present if its label is among
    them. If ``train_val_list.txt`` and ``test_list.txt`` are there, attribute ``split`` says in which an image is.

    The newer table was read as it ships in torchxrayvision 1.5.7; folders, the older table's columns, its ages such
    as "058Y" and the name ``Patient Sex`` in several public programs that read them.

    Args:
        folder: holds the table and the images.
        label: which of cardiomegaly, pneumonia, atelectasis, pneumothorax and effusion is the label; the other four
            are attributes, absent or present.
        masks: folder of regions from `write_chexmask` (collection "nih"); images without one are then excluded.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        A cohort with attributes ``age`` (years), ``sex`` (F, M), ``view`` (PA, AP) and perhaps ``split``. ``excluded``
        has the rows without labels or patient.

    Raises:
        FileNotFoundError: If the table or the folder of masks is not there.
        ValueError: If a column is absent, the label unknown, or a cell is not as published: a label that the collection
            does not have, an age that is none, an image named twice. The message names file and line.

    References:
        Wang et al. (2017), CVPR, 2097-2106.
    """
    folder = Path(folder)
    names = [name for table in TABLES for name in (table, f"{table}.gz")]
    rows = text_rows(first_file(folder, names, f"{TABLES[0]} or {TABLES[1]}"), _NEEDED, encoding=encoding)
    lacking = [None if cell else "labels missing" for cell in rows.frame["Finding Labels"]]
    rows = rows.identified("Image Index").without("Image Index", lacking).identified("Image Index", "Patient ID")
    frame, labels = rows.frame, _label_sets(rows)
    sex = next((name for name in _SEX if name in frame), None)
    if sex is None:
        raise ValueError(f"the table must have a column {' or '.join(_SEX)}, got {', '.join(frame.columns)}.")
    ids = frame["Image Index"]
    numbered = [folder / f"images_{number:03d}" for number in range(1, 13)]
    found = files_by_name([folder, folder / "images", *numbered, *(part / "images" for part in numbered)])
    table = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": frame["Patient ID"],
            "image": [found.get(name, str(folder / "images" / name)) for name in ids],
            "age": _years(rows),
            "sex": frame[sex],
            "view": frame["View Position"],
        }
    )
    for finding, own in FINDINGS.items():
        present = np.array([own in found_labels for found_labels in labels], dtype=np.int64)
        table[finding] = np.array(FINDING_LEVELS, dtype=object)[present]
    categorical = ["sex", "view"]
    if all((folder / name).is_file() for name in _SPLITS.values()):
        table["split"] = _split(ids, folder)
        categorical.append("split")
    if masks is not None:
        table["roi"] = roi_paths(ids, masks)
    with rows.told():
        cohort = finding_cohort(
            table,
            label,
            tuple(FINDINGS),
            attributes=("age", *categorical),
            continuous=("age",),
            categorical=tuple(categorical),
        )
    cohort = replace(cohort, excluded={**rows.excluded, **cohort.excluded})
    return without_regionless(cohort, "no lung mask")


def _label_sets(rows: Rows) -> list[frozenset[str]]:
    """(N,) labels of each row."""
    labels = [frozenset(name.strip() for name in text.split("|")) for text in rows.frame["Finding Labels"]]
    unknown = [not found <= _LABELS or ("No Finding" in found and len(found) > 1) for found in labels]
    rows.refuse("Finding Labels", 'the collection\'s labels joined by "|"', unknown)
    return labels


def _years(rows: Rows) -> NDArray[np.float64]:
    """(N,) ages in years; the oldest table writes 058Y, 006M and 012D."""
    cells = rows.frame["Patient Age"]
    found = [None if cell is None else _AGE.fullmatch(cell) for cell in cells]
    wrong = [cell is not None and match is None for cell, match in zip(cells, found, strict=True)]
    rows.refuse("Patient Age", "years, or a number with Y, M or D", wrong)
    return np.array([np.nan if match is None else float(match[1]) * _UNITS[match[2]] for match in found])


def _split(ids: pd.Series[Any], folder: Path) -> list[str | None]:
    part = {
        name: part for part, file in _SPLITS.items() for name in (folder / file).read_text(encoding="utf-8").split()
    }
    return [part.get(name) for name in ids]
