# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Synthetic images whose class shows in one place only: inside a region, far outside it, or in its outline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.phantom.fetal_planes import SCANNERS, Image, scan, scatterers
from monai_shortcut.storage.files import replacing
from monai_shortcut.storage.folders import owned
from monai_shortcut.storage.tables import write_csv

SOURCES = ("inside", "outside", "outline", "nowhere")
LABELS = ("negative", "positive")
SITES = ("site 1", "site 2")
_SMALLEST = 32
_LOBES = ((4, 1.0), (7, 0.75))  # of the outline, negative and positive, with their depth: areas and boxes stay alike
_AGREEING = 0.93  # share of the images whose outline is that of their class
_PATIENCE = 3600.0  # seconds to wait for another program that saves to the folder
_SPREAD = 1.5  # decibel, standard deviation of what images of one class have in an echo of their own


@dataclass(frozen=True)
class RegionPhantom:
    """A cohort of synthetic images, each with one dark, lobed region in brighter speckle.

    Attributes:
        cohort: one row per image; attributes are site (independent of the label) and age (in years, goes along with it
            a little).
        source: where the class shows, one of ``SOURCES``.
        size: rows and columns of the square images.
        seeds: seed of each image, in the order of the cohort.
        contrast: how far the classes are apart there; 0 is not at all.
    """

    cohort: Cohort
    source: str
    size: int
    seeds: tuple[int, ...]
    contrast: float

    def draw(self, index: int) -> tuple[Image, NDArray[np.uint8]]:
        """Draw one image.

        Args:
            index: row of the cohort.

        Returns:
            The (1, size, size) float32 image in [0, 1] and its (1, size, size) uint8 region, 0 or 1.
        """
        label, rng = int(self.cohort.labels[index]), np.random.default_rng(self.seeds[index])
        # All sources draw the same numbers in the same order: they differ in one place only.
        any_outline, agrees = int(rng.integers(2)), rng.random() < _AGREEING
        own_outline = label if agrees else 1 - label
        region = _region(self.size, own_outline if self.source == "outline" else any_outline, self.contrast, rng)
        shift = {place: rng.normal(scale=_SPREAD) for place in ("inside", "outside")}
        if self.source in shift:
            shift[self.source] += (2 * label - 1) * _SPREAD * self.contrast
        echo = np.full((self.size, self.size), -12.0)
        echo[border(self.size)] += shift["outside"]
        echo[region] = -22.0 + shift["inside"]
        return scan(scatterers(echo, rng), SCANNERS["scanner A"])[None], region[None].astype(np.uint8)

    def save(self, folder: str | Path) -> Cohort:
        """Write the images as a user's collection would lie on disk.

        Args:
            folder: receives ``images/*.png`` and ``rois/*.png`` (8 bit grey; regions 0 or 255) and ``metadata.csv``.

        Returns:
            The cohort with the paths of the files, as ``Cohort.from_csv`` reads it from ``metadata.csv``.

        Raises:
            FolderInUseError: If another program saves to the folder for more than an hour.
            PermissionError: If the folder cannot be written to.
        """
        table = self.cohort.table.assign(
            image=[f"images/{name}.png" for name in self.cohort.image_ids],
            roi=[f"rois/{name}.png" for name in self.cohort.image_ids],
        )
        with owned(folder, wait=_PATIENCE) as place:
            for name in ("images", "rois"):
                (place / name).mkdir(exist_ok=True)
            for index, paths in enumerate(zip(table["image"], table["roi"], strict=True)):
                image, region = self.draw(index)
                for path, grey in zip(paths, (np.rint(255 * image[0]).astype(np.uint8), 255 * region[0]), strict=True):
                    with replacing(place / path) as part:
                        Picture.fromarray(grey).save(part, format="PNG")
            with replacing(place / "metadata.csv") as part:
                write_csv(table, part, index=True)
        return Cohort.from_csv(Path(folder, "metadata.csv"), label_names=LABELS)


def draw_region_phantom(
    source: str,
    patients: int,
    seed: int,
    *,
    images_per_patient: int = 2,
    size: int = 48,
    contrast: float = 1.0,
    name: str = "phantom",
) -> RegionPhantom:
    """Draw a cohort of two classes that differ in one place.

    Where the class shows inside, the region's echo differs by three decibels at full contrast, and by a standard
    deviation of 1.5 between images of one class: no reader can be better than an area under the ROC curve of 0.92.
    Outside, the same holds for a frame along the border of the image, which neither the region nor its box comes near.
    In the outline, regions have seven lobes rather than four, of the same areas and almost the same boxes; 93 % of the
    images have the outline of their class.

    Args:
        source: "inside", "outside", "outline" or "nowhere".
        patients: number of patients.
        seed: seed of everything; equal seeds draw equal cohorts.
        images_per_patient: images of each patient, whose labels may differ.
        size: rows and columns of the images, at least 32.
        contrast: contrast of the classes, in [0, 2].
        name: prefix of patient and image names, so that cohorts can be told apart.

    Returns:
        The cohort, its images drawn on demand.

    Raises:
        ValueError: If the source does not exist or a number is out of range.

    Example:
        >>> phantom = draw_region_phantom("outline", patients=3, seed=0)
        >>> len(phantom.cohort), phantom.draw(0)[0].shape
        (6, (1, 48, 48))
    """
    if source not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}.")
    if patients < 2 or images_per_patient < 1:
        raise ValueError(f"patients must be at least 2 with at least 1 image, got {patients}, {images_per_patient}.")
    if size < _SMALLEST:
        raise ValueError(f"size must be at least {_SMALLEST}, got {size}.")
    if not 0 <= contrast <= 2:
        raise ValueError(f"contrast must be in [0, 2], got {contrast}.")
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        site, risk = SITES[rng.integers(2)], rng.uniform(0.2, 0.8)
        age = round(float(np.clip(60 + 40 * (risk - 0.5) + rng.normal(scale=8), 20, 95)), 1)
        for image in range(images_per_patient):
            rows.append(
                {
                    "image_id": f"{name}_{patient:04d}_{image}",
                    "patient_id": f"{name}_{patient:04d}",
                    "label": LABELS[int(rng.random() < risk)],
                    "site": site,
                    "age": age,
                }
            )
    seeds = tuple(int(value) for value in rng.integers(2**31, size=len(rows)))
    cohort = Cohort.from_table(pd.DataFrame(rows), label_names=LABELS, categorical=("site",), continuous=("age",))
    return RegionPhantom(cohort, source, size, seeds, contrast)


def border(size: int) -> NDArray[np.bool_]:
    """The frame along the border of an image in which the class of "outside" shows.

    Args:
        size: rows and columns of the image.

    Returns:
        (size, size) bool.
    """
    width = round(size * 5 / 48)
    frame = np.ones((size, size), dtype=np.bool_)
    frame[width:-width, width:-width] = False
    return frame


def _region(size: int, lobed: int, contrast: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A lobed region at a random place and angle, the same area whatever its lobes."""
    rows, columns = np.mgrid[:size, :size] / size
    down, right = rng.uniform(0.44, 0.56, size=2)
    radius, stretch, turn, phase = rng.uniform(0.14, 0.18), rng.uniform(0.9, 1.1), *rng.uniform(0, 2 * np.pi, size=2)
    y, x = rows - down, columns - right
    u, v = (x * np.cos(turn) + y * np.sin(turn)) * stretch, (y * np.cos(turn) - x * np.sin(turn)) / stretch
    lobes, depth = _LOBES[lobed]
    depth *= rng.uniform(0.2, 0.35) * min(contrast, 1.5)
    rim = 1 + depth * np.cos(lobes * np.arctan2(v, u) + phase)
    return np.asarray(np.hypot(u, v) < radius * rim / np.sqrt(1 + depth**2 / 2))
