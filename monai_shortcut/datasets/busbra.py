# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""BUS-BRA: breast ultrasound of 1,064 patients from four scanners, with outlined lesions and biopsies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import Rows, exclusions_told, text_rows
from monai_shortcut.datasets.tables import not_found

LABELS = ("benign", "malignant")
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


def read_busbra(folder: str | Path, *, encoding: str | None = None) -> Cohort:
    """Read BUS-BRA as published, or as a pack of smaller images with a ``metadata.csv``.

    Published: ``bus_data.csv`` (columns ID, Case, Histology, Pathology, BIRADS, Device, Width, Height, Side, BBOX),
    ``Images/bus_0001-l.png`` and ``Masks/mask_0001-l.png``. Pack: ``metadata.csv`` (image, mask, label, patient_id,
    device, ...) with paths relative to the folder. Images are told apart by the half of a dual-view screen that they
    come from: l, r, or s for a single view. Files are not checked here; see ``usable``.

    The published table and the names of its masks were read in a public copy of the whole collection; the images'
    names only in several public programs that read them, and the archive on Zenodo itself was not at hand.

    Args:
        folder: the folder that holds ``bus_data.csv`` or ``metadata.csv``.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        A cohort with labels benign and malignant, and attributes ``device`` and ``frequency`` (one column "GE Logiq 7
        @10-14MHz" in the published table), ``side``, ``birads`` (2 to 5, ordinal: a reader's score, not acquisition),
        ``histology`` (nearly the label), ``width`` and ``height`` (pixels as published), ``lesion_fraction`` (share
        of the image inside the lesion, in [0, 1]; measured from the masks in the published layout) and, in the pack
        only, ``mean_outside_roi`` (grey level, 0 to 255).

    Raises:
        FileNotFoundError: If the folder has neither layout.
        ValueError: If a column is absent, or a cell is not as published: a pathology other than benign and malignant, a
            score or size that is no number, an image named twice. The message names file and line. Rows without a case
            or a pathology are excluded.

    References:
        Gómez-Flores, Gregorio-Calas and Coelho de Albuquerque Pereira (2024), Medical Physics 51(4):3110-3123;
        https://doi.org/10.5281/zenodo.7730709.
    """
    folder = Path(folder)
    if (folder / "metadata.csv").is_file():
        frame, excluded = _pack(folder, encoding)
    elif (folder / "bus_data.csv").is_file() and (folder / "Images").is_dir() and (folder / "Masks").is_dir():
        frame, excluded = _published(folder, encoding)
    else:
        raise not_found(folder, "either metadata.csv or bus_data.csv, Images and Masks")
    continuous = [name for name in (*_CONTINUOUS, "mean_outside_roi") if name in frame]
    with exclusions_told(excluded, f"{folder}: "):
        cohort = Cohort.from_table(
            frame,
            attributes=(*_DISCRETE, *continuous),
            label_names=LABELS,
            categorical=[name for name in _DISCRETE if name != "birads"],
            ordinal=["birads"],
            continuous=continuous,
            root=folder,
        )
    return replace(cohort, excluded={**excluded, **cohort.excluded})


def _pack(folder: Path, encoding: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    needed = ["image", "label", "patient_id", "device", "frequency", "birads", "histology", "side", *_PACK]
    rows = text_rows(folder / "metadata.csv", needed, encoding=encoding).identified("image")
    rows = Rows(rows.frame.assign(image_id=[Path(path).stem for path in rows.frame["image"]]), *rows[1:])
    rows = rows.identified("image_id", "patient_id")
    rows.one_of("label", (*LABELS, "0", "1"))
    measured = ["birads", *(name for name in _PACK if name != "mask")]
    frame = rows.frame.assign(**{name: rows.numbers(name) for name in measured})
    return frame.rename(columns=_PACK), rows.excluded


def _published(folder: Path, encoding: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    rows = text_rows(folder / "bus_data.csv", ["Case", "Device", *_PUBLISHED], encoding=encoding)
    rows = rows.identified("ID", "Case")
    rows.one_of("Pathology", LABELS)
    cases = rows.numbers("Case")
    sizes = {name: rows.numbers(name, positive=True) for name in ("Width", "Height")}
    names = rows.frame["ID"]
    scanner = rows.frame["Device"].astype("string").str.partition("@")
    frame = rows.frame.assign(
        patient_id=[f"case{case:04.0f}" for case in cases],
        image=[f"Images/{name}.png" for name in names],
        roi=[f"Masks/mask_{name.removeprefix('bus_')}.png" for name in names],
        device=scanner[0].astype(object),
        frequency=scanner[2].astype(object),
        BIRADS=rows.numbers("BIRADS"),
        **sizes,
    ).rename(columns=_PUBLISHED)
    return frame.assign(lesion_fraction=[_fraction(folder / path) for path in frame["roi"]]), rows.excluded


def _fraction(path: Path) -> float:
    """Share of a mask that is inside; NaN if it cannot be read, which ``usable`` reports."""
    try:
        with Image.open(path) as mask:
            return float(np.mean(np.asarray(mask if mask.mode == "1" else mask.convert("L")) > 0))
    except (OSError, SyntaxError):  # Pillow raises SyntaxError for some broken PNG files
        return float("nan")
