# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""AIROGS: 101,442 colour photographs of the eye's fundus from a screening programme, referable glaucoma or not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import text_rows
from monai_shortcut.datasets.tables import files_by_name, first_file

LABELS = ("no glaucoma", "glaucoma")
_CLASSES = {"NRG": LABELS[0], "RG": LABELS[1]}


def read_airogs(folder: str | Path, *, encoding: str | None = None) -> Cohort:
    """Read the training set of AIROGS as published: ``train_labels.csv`` and photographs in folders 0 to 5.

    The table has columns ``challenge_id`` (TRAIN000000, ...) and ``class`` (RG for referable glaucoma, NRG for none).
    Photographs ``TRAIN000000.jpg`` are also found in ``images``, ``img`` or the folder itself; one that is nowhere
    gets the path ``0/TRAIN000000.jpg`` and is left to `usable`. Label names are those of `read_chaksu`, so that a model
    of one can be tested on the other, though "glaucoma" means referable here and suspected there.

    Patients are not published, so every image counts as a patient of its own: intervals are then too narrow to the
    degree that both eyes of a person are alike. There are no regions and no attributes either.

    The layout was read in several public programs that read the archives of Zenodo record 5793241; the archives were
    not at hand.

    Args:
        folder: holds ``train_labels.csv`` and the photographs.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If a column is absent, a class unknown, or an image named twice; the message names file and line.
            Rows without a class are excluded.

    References:
        de Vente et al. (2024), IEEE Transactions on Medical Imaging 43(1):542-557.
    """
    folder = Path(folder)
    path = first_file(folder, ("train_labels.csv",), "train_labels.csv")
    rows = text_rows(path, ("challenge_id", "class"), encoding=encoding).identified("challenge_id")
    frame, classes = rows.frame, rows.one_of("class", _CLASSES)
    tops = (folder, folder / "images", folder / "img")
    found = files_by_name([*tops, *(folder / str(number) for number in range(6))])
    files = [f"{name}.jpg" for name in frame["challenge_id"]]
    table = pd.DataFrame(
        {
            "image_id": frame["challenge_id"],
            "patient_id": frame["challenge_id"],
            "label": [_CLASSES.get(name) for name in classes],
            "image": [found.get(name, str(folder / "0" / name)) for name in files],
        }
    )
    with rows.told():
        return Cohort.from_table(table, label_names=LABELS)
