# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Chákṣu: 1,345 photographs of the eye's fundus from three cameras, judged and outlined by five experts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.airogs import LABELS
from monai_shortcut.datasets.cells import Rows, text_rows
from monai_shortcut.datasets.tables import first_file, grey_levels, not_found, roi_paths, write_regions

CAMERAS = ("Bosch", "Forus", "Remidio")
PARTS = ("Train", "Test")
#: Grey level that a structure's pixels exceed in a fused outline, where the disc is about 127 and the cup about 255.
GREY_ABOVE = {"disc": 63, "cup": 191}
_IMAGES, _FUSED, _DECISIONS = "1.0_Original_Fundus_Images", "4.0_OD_CO_Fusion_Images", "6.0_Glaucoma_Decision"
_MAJORITY = ("Majority Decision", "Glaucoma Decision")
_SUFFIXES = (".jpg", ".jpeg", ".png")
_LAYOUT = f"Train and Test, each with {_IMAGES} and {_DECISIONS}"


class _Photograph(NamedTuple):
    part: str
    camera: str
    path: Path

    @property
    def key(self) -> str:
        """Name without suffix, in lower case: tables and outlines spell it in other ways."""
        return self.path.stem.lower()

    @property
    def image_id(self) -> str:
        return f"{self.part}_{self.camera}_{self.path.stem}"

    @property
    def patient_id(self) -> str:
        number = re.match(r"P\d+(?=_)", self.path.stem)  # only some photographs name their patient
        return f"{self.camera}_{number.group()}" if number else self.image_id


def read_chaksu(folder: str | Path, *, regions: str | Path | None = None, encoding: str | None = None) -> Cohort:
    """Read Chákṣu as published: folders ``Train`` and ``Test``, each with its photographs by camera.

    Photographs are ``Train/1.0_Original_Fundus_Images/Bosch/Image101.JPG`` and so on; the verdict is in
    ``Train/6.0_Glaucoma_Decision/Glaucoma_Decision_Comparison_Bosch_majority.csv``, whose column ``Images`` holds
    ``Image101.jpg-Image101-1.jpg`` and whose last column is called ``Majority Decision`` in some files and ``Glaucoma
    Decision`` in others. ``Train`` and ``Test`` may also occur in themselves, as unpacking can leave them. A photograph
    without verdict is excluded; a verdict without photograph is passed over (Bosch's tables list both parts).

    Photographs named ``P12_...`` are of patient 12 of that camera; of all others the patient is not published, and each
    counts as a patient of its own.

    Folders and columns were read in a dataset card and in several public programs, the masking study's among them; the
    archive on figshare was not at hand.

    Args:
        folder: holds ``Train`` and ``Test``.
        regions: folder from `write_chaksu_regions`; without it there are no regions.
        encoding: of the tables' text; by default UTF-8, or UTF-16 where a file says so.

    Returns:
        A cohort with labels "no glaucoma" and "glaucoma" (suspected by the majority of five experts), and attributes
        ``camera`` (Bosch, Forus, Remidio) and ``split`` (train, test).

    Raises:
        FileNotFoundError: If a folder or a table is not there.
        ValueError: If a table lacks a column, or has an unknown verdict, one without a photograph's name, or two that
            differ for one photograph; the message names file and line.

    References:
        Kumar et al. (2023), Scientific Data 10:70; https://doi.org/10.6084/m9.figshare.20123135.
    """
    photographs = list(_photographs(Path(folder)))
    verdicts = {
        (part, camera): _verdicts(_part(Path(folder), part), camera, encoding) for part in PARTS for camera in CAMERAS
    }
    table = pd.DataFrame(
        {
            "image_id": [photograph.image_id for photograph in photographs],
            "patient_id": [photograph.patient_id for photograph in photographs],
            "label": [verdicts[item.part, item.camera].get(item.key) for item in photographs],
            "image": [str(photograph.path) for photograph in photographs],
            "camera": [photograph.camera for photograph in photographs],
            "split": [photograph.part.lower() for photograph in photographs],
        }
    )
    if regions is not None:
        table["roi"] = roi_paths([f"{image}.png" for image in table["image_id"]], regions)
    attributes = ("camera", "split")
    return Cohort.from_table(table, label_names=LABELS, attributes=attributes, categorical=attributes)


def write_chaksu_regions(folder: str | Path, regions: str | Path, *, structure: str = "disc") -> list[Path]:
    """Write the experts' outlines, fused by STAPLE, as PNG files named by image id; those already there are kept.

    The fused outlines are grey pictures in ``4.0_OD_CO_Fusion_Images/CAMERA/STAPLE`` (the camera is spelt Remedio in
    one part), black outside, about 127 in the disc and about 255 in the cup, which lies in the disc. Grey levels are
    cut halfway, so that a lossy picture's traces outside the disc do not count; the masking study cuts above 0. Some of
    these files are TIFF, which MONAI does not read without ITK.

    Args:
        folder: the published folder, as for `read_chaksu`.
        regions: where the PNG files go; one folder for each structure.
        structure: "disc", with the cup inside, or "cup".

    Returns:
        The paths of the regions. A photograph whose outline is missing, empty or unreadable has none.

    Raises:
        FileNotFoundError: If the folder is not laid out as published.
        ValueError: If the structure is unknown.
    """
    if structure not in GREY_ABOVE:
        raise ValueError(f"structure must be {' or '.join(GREY_ABOVE)}, got {structure!r}.")
    fused = {
        (part, camera): _outlines(_part(Path(folder), part) / _FUSED, camera) for part in PARTS for camera in CAMERAS
    }
    makers = {
        Path(regions, f"{item.image_id}.png"): partial(_region, fused[item.part, item.camera][item.key], structure)
        for item in _photographs(Path(folder))
        if item.key in fused[item.part, item.camera]
    }
    return write_regions(makers)


def _part(folder: Path, part: str) -> Path:
    """The folder of a part, perhaps inside one of its own name."""
    for top in (folder / part / part, folder / part):
        if (top / _IMAGES).is_dir() and (top / _DECISIONS).is_dir():
            return top
    raise not_found(folder, _LAYOUT)


def _photographs(folder: Path) -> Iterator[_Photograph]:
    for part in PARTS:
        for camera in CAMERAS:
            images = _part(folder, part) / _IMAGES / camera
            if not images.is_dir():
                raise not_found(images.parent, ", ".join(CAMERAS))
            paths = sorted(path for path in images.iterdir() if path.suffix.lower() in _SUFFIXES)
            yield from (_Photograph(part, camera, path) for path in paths if not path.name.startswith("."))


def _verdicts(part: Path, camera: str, encoding: str | None) -> dict[str, str]:
    """Photograph's key -> label."""
    name = f"Glaucoma_Decision_Comparison_{camera}_majority.csv"
    path = first_file(part / _DECISIONS, (name,), name)
    rows = text_rows(path, ("Images",), encoding=encoding)
    column = next((name for name in _MAJORITY if name in rows.frame), None)
    if column is None:
        raise ValueError(f"{path} must have a column {' or '.join(_MAJORITY)}, got {', '.join(rows.frame.columns)}.")
    rows = Rows(rows.frame[rows.frame[column].notna()], path, {})
    rows.refuse("Images", "the name of a photograph beside every verdict", rows.frame["Images"].isna())
    keys = [Path(image.split("-")[0].strip()).stem.lower() for image in rows.frame["Images"]]
    labels = [_label(verdict) for verdict in rows.frame[column]]
    rows.refuse(column, "NORMAL or GLAUCOMA SUSPECT", [label is None for label in labels])
    found = {key: label for key, label in zip(keys, labels, strict=True) if label is not None}
    differing = [found[key] != label for key, label in zip(keys, labels, strict=True)]
    rows.refuse("Images", "each photograph with one verdict", differing)
    return found


def _label(verdict: str) -> str | None:
    words = verdict.upper().split()
    if words == ["NORMAL"]:
        return LABELS[0]
    # Two experts' tables misspell the word.
    return LABELS[1] if words in (["GLAUCOMA", "SUSPECT"], ["GLAUCOMA", "SUSUPECT"]) else None


def _outlines(fused: Path, camera: str) -> dict[str, Path]:
    """Photograph's key -> fused outline."""
    spellings = (camera, "Remedio") if camera == "Remidio" else (camera,)
    folders = [fused / spelling / "STAPLE" for spelling in spellings if (fused / spelling / "STAPLE").is_dir()]
    if not folders:
        raise not_found(fused, f"{camera}/STAPLE")
    return {path.stem.lower(): path for path in sorted(folders[0].iterdir()) if not path.name.startswith(".")}


def _region(path: Path, structure: str) -> NDArray[np.bool_] | None:
    grey = grey_levels(path)
    region = None if grey is None else grey > GREY_ABOVE[structure]
    return region if region is not None and region.any() else None
