# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""FETAL_PLANES_DB: 12,400 ultrasound images of 1,792 pregnant women, by the plane they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.tables import first_file, not_found, read_table

TABLE = "FETAL_PLANES_DB_data.csv"
PLANES = ("Fetal abdomen", "Fetal brain", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other")
_NEEDED = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")
_NO_BRAIN = "Not A Brain"


def read_fetal_planes(folder: str | Path, *, planes: Sequence[str] = PLANES) -> Cohort:
    """Read FETAL_PLANES_DB as published: ``FETAL_PLANES_DB_data.csv`` and ``Images/IMAGE.png``.

    The table's columns ``Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train`` are parted by
    semicolons; the last name ends in a blank, and image names carry no suffix. These were read in several public
    programs and a dataset card that quotes the header; the archive on Zenodo was not at hand.

    Args:
        folder: holds the table and ``Images``.
        planes: classes to keep, in the order of the model's outputs.

    Returns:
        A cohort with label the plane, and attributes ``machine``, ``operator``, ``split`` (train, test) and
        ``brain_plane`` (of brain images only, missing in all others).

    Raises:
        FileNotFoundError: If the table or the images are not there.
        ValueError: If a column is absent or a plane unknown.

    References:
        Burgos-Artizzu et al. (2020), Scientific Reports 10:10200; https://doi.org/10.5281/zenodo.3904280.
    """
    folder = Path(folder)
    if not set(planes) <= set(PLANES):
        raise ValueError(f"planes must be among {', '.join(PLANES)}, got {', '.join(planes)}.")
    path = first_file(folder, (TABLE,), f"{TABLE} and Images")
    if not (folder / "Images").is_dir():
        raise not_found(folder, f"{TABLE} and Images")
    frame = read_table(path, _NEEDED, sep=";", dtype=str).apply(lambda column: column.str.strip())
    table = pd.DataFrame(
        {
            "image_id": frame["Image_name"],
            "patient_id": frame["Patient_num"],
            "label": frame["Plane"],
            "image": [str(folder / "Images" / f"{name}.png") for name in frame["Image_name"]],
            "machine": frame["US_Machine"],
            "operator": frame["Operator"],
            "split": frame["Train"].map({"1": "train", "0": "test"}),
            "brain_plane": frame["Brain_plane"].replace(_NO_BRAIN, None),
        }
    )
    others = table["label"].isin(set(PLANES) - set(planes))
    attributes = ("machine", "operator", "split", "brain_plane")
    cohort = Cohort.from_table(table[~others], label_names=planes, attributes=attributes, categorical=attributes)
    left_out = {
        image: f"plane {plane}" for image, plane in table.loc[others, ["image_id", "label"]].to_numpy().tolist()
    }
    return replace(cohort, excluded={**left_out, **cohort.excluded})
