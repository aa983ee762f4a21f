# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Masking strategies: a table of them, and an image masked by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from monai_shortcut.regions.fills import FILLS, check_fill, fill_hidden
from monai_shortcut.regions.margins import METRICS, UNITS, RegionMargins, check_margin, dilate
from monai_shortcut.regions.pixels import RegionError, as_booleans, bounding_box, check_labels, choose_labels
from monai_shortcut.regions.placement import shift_region

__all__ = [
    "FILLS",
    "METRICS",
    "STRATEGIES",
    "TABLE",
    "UNITS",
    "RegionError",
    "RegionMargins",
    "Strategy",
    "bounding_box",
    "check_labels",
    "check_settings",
    "checked_roi",
    "choose_labels",
    "dilate",
    "mask_roi",
]


@dataclass(frozen=True)
class Strategy:
    """One way to mask an image.

    Attributes:
        name: its name in configurations and records.
        region: the region it takes: "own" (the image's), "shifted" (its shape at another place of the image), "swapped"
            (another patient's) or "none".
        outline: "shape" or "box" of that region with its margin.
        shown: the pixels that stay visible: "all", "outside" or "inside"; or "silhouette": 1 inside and 0 outside.
    """

    name: str
    region: str
    outline: str
    shown: str

    @property
    def needs_roi(self) -> bool:
        """Whether the image must have a region."""
        return self.region != "none"

    @property
    def needs_swapped_roi(self) -> bool:
        """Whether the region of another patient must be given."""
        return self.region == "swapped"


TABLE = {
    row.name: row
    for row in (
        Strategy("full", "none", "shape", "all"),
        Strategy("without_roi", "own", "shape", "outside"),
        Strategy("without_roi_box", "own", "box", "outside"),
        Strategy("roi_only", "own", "shape", "inside"),
        Strategy("roi_box_only", "own", "box", "inside"),
        Strategy("silhouette", "own", "shape", "silhouette"),
        Strategy("box_silhouette", "own", "box", "silhouette"),
        Strategy("shifted_roi", "shifted", "shape", "outside"),
        Strategy("swapped_roi", "swapped", "shape", "outside"),
    )
}
STRATEGIES = tuple(TABLE)


def mask_roi(
    image: torch.Tensor,
    roi: torch.Tensor | RegionMargins,
    strategy: str = "without_roi",
    margin: float = 0.0,
    unit: str = "pixel",
    fill: float | str = 0.0,
    spacing: Sequence[float] | None = None,
    *,
    metric: str = "euclidean",
    swapped_roi: torch.Tensor | RegionMargins | None = None,
) -> torch.Tensor:
    """An image that shows only the region of interest, or all but that region.

    Hidden pixels are replaced, not multiplied: no hidden value, not even NaN, reaches the result.

    Args:
        image: (C, *spatial) of two or three spatial axes and any dtype; it is not changed.
        roi: (1, *spatial) for all channels, or (C, *spatial) with a region per channel; bool, or values 0 and 1, or 0
            and 255. For a curve over margins, make ``RegionMargins(roi)`` once and give it instead.
        strategy: One of ``STRATEGIES``; ``TABLE`` says what each hides. The margin comes before the box. "full" accepts
            an empty region. The silhouettes do not depend on the image and ``fill``. Two controls hide as many pixels
            as "without_roi" and show the region: "shifted_roi" hides the region's shape at another place (see
            ``shift_region``), "swapped_roi" hides ``swapped_roi``, which may overlap the image's own region.
        margin: Distance by which the region first grows (> 0) or shrinks (< 0), in ``unit``; see ``dilate``.
        unit: "pixel", "mm" or "area".
        fill: Value of hidden pixels: a number, or "mean", "noise", "blur" or "inpaint", made from the visible pixels;
            see ``monai_shortcut.regions.fills``.
        spacing: (n_spatial,) millimetres per pixel along each axis; only "mm" needs it.
        metric: Metric of the margin, "euclidean" or "taxicab"; see ``dilate``.
        swapped_roi: Region of another patient, of a shape that ``roi`` may have; only "swapped_roi" needs it.

    Returns:
        (C, *spatial) new tensor with the dtype and device of ``image``.

    Raises:
        RegionError: If the region is empty, nothing of it is left, "shifted_roi" has no room, or no visible pixel is
            left to make a fill from.
        ValueError: If the shapes disagree, "swapped_roi" is missing, or a setting is not as described.
        ImportError: If scikit-image is missing for ``fill="inpaint"``.

    Example:
        >>> mask_roi(torch.tensor([[[5, 6, 7]]]), torch.tensor([[[0, 1, 0]]]), fill=9).tolist()
        [[[5, 9, 7]]]
    """
    check_settings(strategy, margin, unit, fill, metric)
    row = TABLE[strategy]
    margins = _fitting(roi, image.shape, "roi")
    if not row.needs_roi:
        return image.clone()
    if row.needs_swapped_roi:
        margins = _fitting(swapped_roi, image.shape, "swapped_roi")
    region = margins.at(margin, unit, spacing, metric)
    if row.outline == "box":
        region = torch.stack([_filled_box(channel) for channel in region])
    if row.region == "shifted":
        region = torch.stack([shift_region(channel) for channel in region])
    region = region.to(image.device).expand_as(image)
    if row.shown == "silhouette":
        return region.to(image.dtype, copy=True)
    return fill_hidden(image, region if row.shown == "inside" else ~region, fill)


def checked_roi(roi: torch.Tensor, image_shape: Sequence[int]) -> torch.Tensor:
    """The region of interest as booleans, if it fits the image.

    Args:
        roi: (1, *spatial) or (C, *spatial); bool, or values 0 and 1, or 0 and 255. It may be empty.
        image_shape: (C, *spatial) shape of the image, with two or three spatial axes.

    Returns:
        (1, *spatial) or (C, *spatial) bool.

    Raises:
        ValueError: If the shapes disagree, or the region holds other values.
    """
    _check_shape(roi.shape, image_shape, "roi")
    return as_booleans(roi)


def check_settings(
    strategy: str = "full",
    margin: float = 0.0,
    unit: str = "pixel",
    fill: float | str = 0.0,
    metric: str = "euclidean",
) -> None:
    """Raise an error for settings of ``mask_roi`` that do not exist, before there is an image.

    Args:
        strategy: One of ``STRATEGIES``.
        margin: A finite number.
        unit: One of ``UNITS``.
        fill: A finite number or one of ``FILLS``.
        metric: One of ``METRICS``.

    Raises:
        ValueError: If a setting is not as described; the message lists what exists.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    check_margin(margin, unit, metric)
    check_fill(fill)


def _fitting(roi: torch.Tensor | RegionMargins | None, image_shape: Sequence[int], name: str) -> RegionMargins:
    if roi is None:
        raise ValueError(
            'strategy "swapped_roi" needs the region of another patient as swapped_roi, got none; '
            "Cohort.with_swapped_roi chooses one for each image."
        )
    _check_shape(roi.shape, image_shape, name)
    return roi if isinstance(roi, RegionMargins) else RegionMargins(roi)


def _check_shape(roi_shape: Sequence[int], image_shape: Sequence[int], name: str) -> None:
    channels, *spatial = image_shape
    if len(spatial) not in (2, 3):
        raise ValueError(f"image must have shape (C, H, W) or (C, H, W, D), got {tuple(image_shape)}.")
    if tuple(roi_shape) not in {(1, *spatial), (channels, *spatial)}:
        wanted = " or ".join(str((n, *spatial)) for n in sorted({1, channels}))
        hint = "; resize all images and regions to one size first" if name == "swapped_roi" else ""
        raise ValueError(f"{name} must have shape {wanted} to match the image, got {tuple(roi_shape)}{hint}.")


def _filled_box(inside: torch.Tensor) -> torch.Tensor:
    box = torch.zeros_like(inside)
    box[bounding_box(inside)] = True
    return box
