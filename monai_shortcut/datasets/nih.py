# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""NIH ChestX-ray14: 112,120 frontal chest X-rays of 30,805 patients, with findings taken from the reports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from monai_shortcut.cohort.columns import FINDING_LEVELS
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.tables import (
    files_by_name,
    finding_cohort,
    first_file,
    read_table,
    roi_paths,
    without_regionless,
)

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
_NEEDED = ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "View Position")
_SEX = ("Patient Gender", "Patient Sex")
_SPLITS = {"development": "train_val_list.txt", "test": "test_list.txt"}


def read_nih(folder: str | Path, *, label: str = "cardiomegaly", masks: str | Path | None = None) -> Cohort:
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

    Returns:
        A cohort with attributes ``age`` (years), ``sex`` (F, M), ``view`` (PA, AP) and perhaps ``split``.

    Raises:
        FileNotFoundError: If the table or the folder of masks is not there.
        ValueError: If a column is absent or the label unknown.

    References:
        Wang et al. (2017), CVPR, 2097-2106.
    """
    folder = Path(folder)
    names = [name for table in TABLES for name in (table, f"{table}.gz")]
    frame = read_table(first_file(folder, names, f"{TABLES[0]} or {TABLES[1]}"), _NEEDED, dtype=str)
    sex = next((name for name in _SEX if name in frame), None)
    if sex is None:
        raise ValueError(f"the table must have a column {' or '.join(_SEX)}, got {', '.join(frame.columns)}.")
    ids = frame["Image Index"].str.strip()
    numbered = [folder / f"images_{number:03d}" for number in range(1, 13)]
    found = files_by_name([folder, folder / "images", *numbered, *(part / "images" for part in numbered)])
    table = pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": frame["Patient ID"],
            "image": [found.get(name, str(folder / "images" / name)) for name in ids],
            "age": _years(frame["Patient Age"]),
            "sex": frame[sex],
            "view": frame["View Position"],
        }
    )
    labels = [frozenset(name.strip() for name in text.split("|")) for text in frame["Finding Labels"]]
    for finding, own in FINDINGS.items():
        present = np.array([own in found_labels for found_labels in labels], dtype=np.int64)
        table[finding] = np.array(FINDING_LEVELS, dtype=object)[present]
    categorical = ["sex", "view"]
    if all((folder / name).is_file() for name in _SPLITS.values()):
        table["split"] = _split(ids, folder)
        categorical.append("split")
    if masks is not None:
        table["roi"] = roi_paths(ids, masks)
    cohort = finding_cohort(
        table,
        label,
        tuple(FINDINGS),
        attributes=("age", *categorical),
        continuous=("age",),
        categorical=tuple(categorical),
    )
    return without_regionless(cohort, "no lung mask")


def _years(ages: pd.Series) -> pd.Series:
    """Ages in years; the oldest table writes 058Y, 006M and 012D."""
    unit = ages.str.strip().str[-1].map({"M": 1 / 12, "D": 1 / 365.25}).fillna(1.0)
    return pd.to_numeric(ages.str.strip().str.rstrip("YMD")) * unit


def _split(ids: pd.Series, folder: Path) -> list[str | None]:
    part = {
        name: part for part, file in _SPLITS.items() for name in (folder / file).read_text(encoding="utf-8").split()
    }
    return [part.get(name) for name in ids]
