# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""BUS-BRA: breast ultrasound of 1,064 patients from four scanners, with outlined lesions and biopsies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.tables import not_found, read_table

_PACK = {
    "orig_width": "width",
    "orig_height": "height",
    "mask": "roi",
    "mask_fraction": "lesion_fraction",
    "mean_outside_mask": "mean_outside_roi",
}
_PUBLISHED = {
    "ID": "image_id",
    "Pathology": "label",
    "Side": "side",
    "BIRADS": "birads",
    "Histology": "histology",
    "Width": "width",
    "Height": "height",
}
_DISCRETE = ("device", "frequency", "side", "birads", "histology")
_CONTINUOUS = ("width", "height", "lesion_fraction")


def read_busbra(folder: str | Path) -> Cohort:
    """Read BUS-BRA as published, or as a pack of smaller images with a ``metadata.csv``.

    Published: ``bus_data.csv`` (columns ID, Case, Histology, Pathology, BIRADS, Device, Width, Height, Side, BBOX),
    ``Images/bus_0001-l.png`` and ``Masks/mask_0001-l.png``. Pack: ``metadata.csv`` (image, mask, label, patient_id,
    device, ...) with paths relative to the folder. Images are told apart by the half of a dual-view screen that they
    come from: l, r, or s for a single view. Files are not checked here; see ``usable``.

    The published table and the names of its masks were read in a public copy of the whole collection; the images'
    names only in several public programs that read them, and the archive on Zenodo itself was not at hand.

    Args:
        folder: the folder that holds ``bus_data.csv`` or ``metadata.csv``.

    Returns:
        A cohort with labels benign and malignant, and attributes ``device`` and ``frequency`` (one column "GE Logiq 7
        @10-14MHz" in the published table), ``side``, ``birads`` (2 to 5, ordinal: a reader's score, not acquisition),
        ``histology`` (nearly the label), ``width`` and ``height`` (pixels as published), ``lesion_fraction`` (share
        of the image inside the lesion, in [0, 1]; measured from the masks in the published layout) and, in the pack
        only, ``mean_outside_roi`` (grey level, 0 to 255).

    Raises:
        FileNotFoundError: If the folder has neither layout.
        ValueError: If a column is absent from the table.

    References:
        Gómez-Flores, Gregorio-Calas and Coelho de Albuquerque Pereira (2024), Medical Physics 51(4):3110-3123;
        https://doi.org/10.5281/zenodo.7730709.
    """
    folder = Path(folder)
    if (folder / "metadata.csv").is_file():
        frame = _pack(folder)
    elif (folder / "bus_data.csv").is_file() and (folder / "Images").is_dir() and (folder / "Masks").is_dir():
        frame = _published(folder)
    else:
        raise not_found(folder, "either metadata.csv or bus_data.csv, Images and Masks")
    continuous = [name for name in (*_CONTINUOUS, "mean_outside_roi") if name in frame]
    return Cohort.from_table(
        frame,
        attributes=(*_DISCRETE, *continuous),
        label_names=("benign", "malignant"),
        categorical=[name for name in _DISCRETE if name != "birads"],
        ordinal=["birads"],
        continuous=continuous,
        root=folder,
    )


def _pack(folder: Path) -> pd.DataFrame:
    needed = ["image", "label", "patient_id", "device", "frequency", "birads", "histology", "side", *_PACK]
    frame = read_table(folder / "metadata.csv", needed).rename(columns=_PACK)
    return frame.assign(image_id=[Path(str(path)).stem for path in frame["image"]])


def _published(folder: Path) -> pd.DataFrame:
    frame = read_table(folder / "bus_data.csv", ["Case", "Device", *_PUBLISHED]).rename(columns=_PUBLISHED)
    names = frame["image_id"].astype(str)
    scanner = frame["Device"].str.partition("@")
    frame = frame.assign(
        patient_id=[f"case{case:04.0f}" if pd.notna(case) else "" for case in frame["Case"]],
        image=[f"Images/{name}.png" for name in names],
        roi=[f"Masks/mask_{name.removeprefix('bus_')}.png" for name in names],
        device=scanner[0],
        frequency=scanner[2],
    )
    return frame.assign(lesion_fraction=[_fraction(folder / path) for path in frame["roi"]])


def _fraction(path: Path) -> float:
    """Share of a mask that is inside; NaN if it cannot be read, which ``usable`` reports."""
    try:
        with Image.open(path) as mask:
            return float(np.mean(np.asarray(mask) > 0))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for some broken PNG files
        return float("nan")
