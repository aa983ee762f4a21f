# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""FETAL_PLANES_DB: 12,400 ultrasound images of 1,792 pregnant women, by the plane they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import text_rows
from monai_shortcut.datasets.tables import first_file, not_found

TABLE = "FETAL_PLANES_DB_data.csv"
PLANES = ("Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
_NEEDED = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")
_NO_BRAIN = "Not A Brain"
_SPLITS = {"1": "train", "0": "test", "1.0": "train", "0.0": "test"}


def read_fetal_planes(folder: str | Path, *, planes: Sequence[str] = PLANES, encoding: str | None = None) -> Cohort:
    """Read FETAL_PLANES_DB as published: ``FETAL_PLANES_DB_data.csv`` and ``Images/IMAGE.png``.

    The table's columns ``Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train`` are parted by
    semicolons; the last name ends in a blank, and image names carry no suffix. These were read in several public
    programs and a dataset card that quotes the header; the archive on Zenodo was not at hand.

    Args:
        folder: holds the table and ``Images``.
        planes: classes to keep, in the order of the model's outputs.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        A cohort with label the plane, and attributes ``machine``, ``operator``, ``split`` (train, test) and
        ``brain_plane`` (of brain images only, missing in all others).

    Raises:
        FileNotFoundError: If the table or the images are not there.
        ValueError: If a column is absent, a plane or a split unknown, or an image named twice; the message names file
            and line. Rows without a plane or a patient are excluded.

    References:
        Burgos-Artizzu et al. (2020), Scientific Reports 10:10200; https://doi.org/10.5281/zenodo.3904280.
    """
    folder = Path(folder)
    if not set(planes) <= set(PLANES):
        raise ValueError(f"planes must be among {', '.join(PLANES)}, got {', '.join(planes)}.")
    path = first_file(folder, (TABLE,), f"{TABLE} and Images")
    if not (folder / "Images").is_dir():
        raise not_found(folder, f"{TABLE} and Images")
    rows = text_rows(path, _NEEDED, sep=";", encoding=encoding).identified("Image_name", "Patient_num")
    frame = rows.frame
    table = pd.DataFrame(
        {
            "image_id": frame["Image_name"],
            "patient_id": frame["Patient_num"],
            "label": rows.one_of("Plane", PLANES),
            "image": [str(folder / "Images" / f"{name}.png") for name in frame["Image_name"]],
            "machine": frame["US_Machine"],
            "operator": frame["Operator"],
            "split": [_SPLITS.get(name) for name in rows.one_of("Train", _SPLITS)],
            "brain_plane": [None if name == _NO_BRAIN else name for name in frame["Brain_plane"]],
        }
    )
    others = table["label"].isin(set(PLANES) - set(planes))
    attributes = ("machine", "operator", "split", "brain_plane")
    with rows.told():
        cohort = Cohort.from_table(table[~others], label_names=planes, attributes=attributes, categorical=attributes)
    left_out = {
        image: f"plane {plane}" for image, plane in table.loc[others, ["image_id", "label"]].to_numpy().tolist()
    }
    return replace(cohort, excluded={**rows.excluded, **left_out, **cohort.excluded})
