# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the files behind a cohort can be read and fit together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from monai.transforms import LoadImage

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.regions.grids import aligning, grid_of, is_picture

_FILE = "filename_or_obj"


def usable(cohort: Cohort, *, require_roi: bool = True, reader: str | ImageReader | None = None) -> Cohort:
    """Read every image, and its region of interest, and exclude what cannot be used.

    A region must be boolean, 0 and 1, or 0 and 255, and lie on its image: what files say about place, spacing, turning
    and colours is compared as `monai_shortcut.transforms.MaskROI` does. MONAI reads PNG and JPEG transposed but
    ``.npy`` as it is, so a region stored as ``.npy`` beside a PNG image is found to differ in shape, or, if both are
    square, by its suffix.

    Args:
        cohort: N images with paths, and possibly with regions.
        require_roi: whether an unusable region excludes its image. If False, regions are not read, and all images
            stay: use them with ``Cohort.datalist(roi=False)``. Without effect if the cohort has no ``roi`` column.
        reader: reader of the images, as for MONAI's ``LoadImage``; needed for DICOM, which MONAI reads with what is
            installed.

    Returns:
        The cohort without the unusable images; ``excluded`` gives the reason for each.

    Raises:
        ValueError: If the cohort has no image paths.
    """
    if "image" not in cohort.table:
        raise ValueError(f"the cohort must have image paths, got columns {', '.join(map(str, cohort.table))}.")
    read = LoadImage(image_only=True, ensure_channel_first=True)
    read_image = LoadImage(reader, image_only=True, ensure_channel_first=True)
    with_roi = require_roi and "roi" in cohort.table
    regions = cohort.table["roi"] if with_roi else [None] * len(cohort)
    reasons = {}
    for image_id, image_path, roi_path in zip(cohort.image_ids, cohort.table["image"], regions, strict=True):
        image, reason = _read(image_path, "image", read_image)
        if image is not None:
            reason = _image_problem(image)
            if not reason and with_roi:
                roi, reason = _read(roi_path, "roi", read)
                reason = reason if roi is None else _roi_problem(roi, image)
        if reason:
            reasons[image_id] = reason
    return cohort.exclude(reasons)


def read_images(
    paths: Mapping[str, str | None], reader: str | ImageReader | None = None
) -> Iterator[tuple[str, Any, str]]:
    """Read images, one by one.

    Args:
        paths: file by image; None where there is none.
        reader: as in `usable`.

    Yields:
        The image's name, its (C, spatial) MetaTensor or None, and why it cannot be used or nothing.
    """
    read = LoadImage(reader, image_only=True, ensure_channel_first=True)
    for image_id, path in paths.items():
        image, reason = _read(path, "image", read)
        reason = reason if image is None else _image_problem(image)
        yield image_id, None if reason else image, reason


def _read(path: str | None, what: str, read: Any) -> tuple[Any, str]:
    """The (C, spatial) MetaTensor of a file, or None and the reason."""
    if path is None or not Path(path).exists():
        return None, f"{what} missing"
    try:
        return read(path), ""
    except Exception as error:  # each file format has errors of its own, and the reason is kept
        message = (str(error).strip() or type(error).__name__).splitlines()[0].replace(str(path), Path(path).name)
        return None, f"{what} unreadable: {message}"


def _image_problem(image: Any) -> str:
    if np.isnan(image.numpy()).any():
        return "image holds NaN"
    return "" if np.isfinite(image.numpy()).all() else "image holds infinite values"


def _roi_problem(roi: Any, image: Any) -> str:
    problem = _turned_array(str(image.meta.get(_FILE, "")), str(roi.meta.get(_FILE, "")), image.shape[1:])
    try:
        axes, _ = aligning(*(grid_of(each.shape[1:], each.affine.numpy(), each.meta) for each in (image, roi)))
    except ValueError as error:
        problem = problem or f"roi does not fit its image: {error}"
        axes = list(range(roi.ndim - 1))
    shape = (roi.shape[0], *(roi.shape[axis + 1] for axis in axes))
    if shape[1:] != tuple(image.shape[1:]) or shape[0] not in (1, image.shape[0]):
        return f"roi shape {tuple(roi.shape)} differs from image shape {tuple(image.shape)}"
    values = set(np.unique(roi.numpy()).tolist())
    if not (values <= {0, 1} or values <= {0, 255}):
        return "roi holds values other than 0 and 1"
    return problem or ("" if values - {0} else "roi empty")


def _turned_array(image: str, roi: str, shape: Any) -> str:
    """Why an array beside a picture cannot be told from its transpose; empty if it can, or there is none."""
    files = image.lower(), roi.lower()
    if len(set(shape)) == 1 and any(map(is_picture, files)) and any(file.endswith((".npy", ".npz")) for file in files):
        return "roi and image are square, and one is an array, whose axes MONAI reads in other order than a picture's"
    return ""
