# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""HC18: ultrasound of the fetal head, with the outline of the skull and the head's circumference."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets.cells import Rows, exclusions_told, text_rows
from monai_shortcut.datasets.tables import first_file, grey_levels, not_found, roi_paths, write_regions

TABLE = "training_set_pixel_size_and_HC.csv"
LABELS = ("first", "second", "third")
_UPPER_MM = (100.0, 250.0)  # of the first and the second label
_PACK = {
    "mask": "roi",
    "orig_width": "width",
    "orig_height": "height",
    "mask_fraction": "head_fraction",
    "mean_outside_mask": "mean_outside_roi",
}
_PUBLISHED = {
    "filename": "image",
    "pixel size(mm)": "pixel_size_mm",
    "head circumference (mm)": "head_circumference_mm",
}


def read_hc18(folder: str | Path, *, regions: str | Path | None = None, encoding: str | None = None) -> Cohort:
    """Read the training set of HC18 as published, or a pack of smaller images with a ``metadata.csv``.

    Published: ``training_set_pixel_size_and_HC.csv`` (columns filename, pixel size(mm), head circumference (mm)) and
    ``training_set/000_HC.png`` with ``training_set/000_HC_Annotation.png``; the folder may also occur in itself, as
    unpacking leaves it. Pack: ``metadata.csv`` with paths relative to the folder. Files are not checked; see `usable`.

    The collection has no classes. The label is a stand-in for the trimester, derived from the circumference: first
    below 100 mm, second below 250 mm, third from there; it is no gestational age, and the attribute
    ``head_circumference_mm`` decides it. A patient is the number that a file name starts with, one examination; 551
    women were seen for all 1,334 images, so one may be behind two numbers.

    Names of files and columns were read in several public programs; the archive on Zenodo was not at hand.

    Args:
        folder: holds ``training_set_pixel_size_and_HC.csv`` or ``metadata.csv``.
        regions: folder from `write_hc18_regions`, of the published layout only; without it there are no regions.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        A cohort with attributes ``pixel_size_mm`` (of the original image), ``head_circumference_mm`` and, in the pack
        only, ``width`` and ``height`` (pixels as published), ``head_fraction`` and ``black_fraction`` (shares of the
        image in [0, 1]) and ``mean_outside_roi`` (grey level, 0 to 255).

    Raises:
        FileNotFoundError: If the folder has neither layout.
        ValueError: If a column is absent, regions are given for a pack, which has its own, or a cell is not as
            published: a measure that is no positive number, an image named twice. The message names file and line.
            Images without a circumference are excluded.

    References:
        van den Heuvel et al. (2018), PLoS ONE 13(8):e0200412; https://doi.org/10.5281/zenodo.1322001.
    """
    folder = Path(folder)
    if (folder / "metadata.csv").is_file():
        if regions is not None:
            raise ValueError(f"regions must not be given for a pack, which has its own, got {regions}.")
        frame, excluded = _pack(folder, encoding)
    else:
        frame, excluded = _published(folder, regions, encoding)
    roles = ("image_id", "patient_id", "label", "image", "roi")
    attributes = tuple(name for name in frame.columns if name not in roles)
    with exclusions_told(excluded, f"{folder}: "):
        cohort = Cohort.from_table(frame, label_names=LABELS, attributes=attributes, continuous=attributes)
    return replace(cohort, excluded={**excluded, **cohort.excluded})


def write_hc18_regions(folder: str | Path, regions: str | Path, *, encoding: str | None = None) -> list[Path]:
    """Fill the annotated outlines of the published training set and write them as PNG files named like the images.

    An outline is part of an ellipse, so its convex hull is the head; a head that the image cuts off is closed along the
    straight line between the outline's ends. Files that are already there are kept.

    Args:
        folder: the published folder, as for `read_hc18`.
        regions: where the PNG files go.
        encoding: of the table's text; by default UTF-8, or UTF-16 where the file says so.

    Returns:
        The paths of the regions. An image whose annotation is missing, empty or unreadable has none.

    Raises:
        FileNotFoundError: If the folder is not laid out as published.
    """
    rows, images = _table(Path(folder), encoding)
    makers = {
        Path(regions, name): partial(_filled, images / f"{Path(name).stem}_Annotation.png")
        for name in rows.frame["filename"]
    }
    return write_regions(makers)


def _filled(path: Path) -> NDArray[np.bool_] | None:
    grey = grey_levels(path)
    drawn = None if grey is None else grey > 127
    return _convex_hull(drawn) if drawn is not None and drawn.any() else None


def _convex_hull(drawn: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) the pixels whose centres are in the convex hull of those drawn; as drawn if these are on one line."""
    points = np.argwhere(drawn)
    if np.linalg.matrix_rank(points - points[0]) < 2:
        return drawn
    sides = ConvexHull(points).equations
    grid = np.indices(drawn.shape).reshape(2, -1)
    inside = np.ones(grid.shape[1], dtype=np.bool_)
    for row, column, offset in sides:
        inside &= row * grid[0] + column * grid[1] + offset <= 1e-9
    return inside.reshape(drawn.shape)


def _table(folder: Path, encoding: str | None) -> tuple[Rows, Path]:
    must_hold = f"{TABLE} and training_set (or metadata.csv)"
    path = first_file(folder, (TABLE, f"training_set/{TABLE}"), must_hold)
    rows = text_rows(path, tuple(_PUBLISHED), encoding=encoding).identified("filename")
    for images in (folder / "training_set" / "training_set", folder / "training_set"):
        if images.is_dir():
            return rows, images
    raise not_found(folder, must_hold)


def _published(folder: Path, regions: str | Path | None, encoding: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    rows, images = _table(folder, encoding)
    circumference = rows.numbers("head circumference (mm)", positive=True)
    rows = Rows(rows.frame.assign(image_id=[Path(name).stem for name in rows.frame["filename"]]), *rows[1:])
    lacking = ["circumference missing" if np.isnan(value) else None for value in circumference]
    rows = rows.without("image_id", lacking).identified("image_id")
    names, millimetres = rows.frame["filename"], rows.numbers("head circumference (mm)")
    frame = pd.DataFrame(
        {
            "image": [str(images / name) for name in names],
            "pixel_size_mm": rows.numbers("pixel size(mm)", positive=True),
            "head_circumference_mm": millimetres,
            "image_id": rows.frame["image_id"].tolist(),
            "patient_id": [f"exam{name.split('_')[0]}" for name in names],
            "label": np.array(LABELS)[np.digitize(millimetres, _UPPER_MM)],
        }
    )
    return (frame if regions is None else frame.assign(roi=roi_paths(names, regions))), rows.excluded


def _pack(folder: Path, encoding: str | None) -> tuple[pd.DataFrame, dict[str, str]]:
    measures = ["head_circumference_mm", "pixel_size_mm", "black_fraction"]
    needed = ["image", "label", "patient_id", *measures, *_PACK]
    rows = text_rows(folder / "metadata.csv", needed, encoding=encoding).identified("image")
    rows = Rows(rows.frame.assign(image_id=[Path(path).stem for path in rows.frame["image"]]), *rows[1:])
    rows = rows.identified("image_id", "patient_id")
    rows.one_of("label", (*LABELS, *map(str, range(len(LABELS)))))
    numbers = {name: rows.numbers(name) for name in needed if name not in ("image", "label", "patient_id", "mask")}
    frame = rows.frame[[*needed, "image_id"]].assign(**numbers).rename(columns=_PACK)
    paths = {role: [path and str(folder / path) for path in frame[role]] for role in ("image", "roi")}
    return frame.assign(**paths), rows.excluded
