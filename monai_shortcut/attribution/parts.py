# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The parts of an image: its region of interest, a ring around it, and the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_shortcut.regions.margins import dilate
from monai_shortcut.regions.pixels import as_booleans

PARTS = ("roi", "ring", "outside")
ROI, RING, OUTSIDE = range(len(PARTS))
EMPTY, COVERING = "the region is empty", "the region covers the image"


def region_parts(
    roi: torch.Tensor, ring: float = 1.0, unit: str = "area", spacing: Sequence[float] | None = None
) -> torch.Tensor:
    """Part of each pixel: 0 in the region, 1 in a ring around it, 2 outside.

    Args:
        roi: (N, 1, *spatial) regions; bool, or values 0 and 1, or 0 and 255. An empty region leaves everything outside,
            one that covers its image nothing.
        ring: width of the ring in ``unit``, above 0; by default the ring has the area of the region. In "area" it takes
            at most half of what is not the region.
        unit: "pixel", "mm" or "area"; see `monai_shortcut.regions.dilate`.
        spacing: (n_spatial,) millimetres per pixel; only "mm" needs it.

    Returns:
        (N, 1, *spatial) int64, on the device of ``roi``.

    Raises:
        ValueError: If the shape, a value or a setting is not as described.

    Example:
        >>> region_parts(torch.tensor([[[[0, 0, 1, 1, 0, 0, 0]]]]), 1, "pixel").tolist()
        [[[[2, 1, 0, 0, 1, 2, 2]]]]
    """
    if roi.ndim not in (4, 5) or roi.shape[1] != 1:
        raise ValueError(f"roi must have shape (N, 1, H, W) or (N, 1, H, W, D), got {tuple(roi.shape)}.")
    if not ring > 0:
        raise ValueError(f"ring must be above 0, got {ring}.")
    parts = torch.full(roi.shape, OUTSIDE, dtype=torch.int64, device=roi.device)
    for own, inside in zip(parts[:, 0], as_booleans(roi)[:, 0], strict=True):
        if inside.any():
            width = min(ring, float((~inside).sum() / (2 * inside.sum()))) if unit == "area" else ring
            own[dilate(inside, width, unit, spacing)] = RING
            own[inside] = ROI
    return parts


def region_problem(inside: torch.Tensor) -> str:
    """Why nothing can be said of inside and outside; "" if something can.

    Args:
        inside: (1, *spatial) bool, region of one image.
    """
    return (COVERING if inside.all() else "") if inside.any() else EMPTY


def check_parts(parts: torch.Tensor, images: torch.Tensor, count: int | None = None) -> torch.Tensor:
    """Parts as int64, if they fit the images.

    Args:
        parts: (N, 1, *spatial) whole numbers, at least 0.
        images: (N, C, *spatial).
        count: number that all parts are below; None if any will do.

    Raises:
        ValueError: If shape or values are not as described.
    """
    wanted = (len(images), 1, *images.shape[2:])
    if tuple(parts.shape) != wanted:
        raise ValueError(f"parts must have shape {wanted} to match images, got {tuple(parts.shape)}.")
    plain: torch.Tensor = parts.as_tensor() if hasattr(parts, "as_tensor") else parts
    if plain.is_floating_point() and not (plain == plain.round()).all():
        odd = plain[plain != plain.round()].flatten()[0].item()
        raise ValueError(f'parts must be whole numbers, got {odd:g}; resize a mask with mode="nearest".')
    whole = plain.long()
    low, high = int(whole.min()), int(whole.max())
    if low < 0 or (count is not None and high >= count):
        limit = "at least 0" if count is None else f"in 0 to {count - 1}"
        raise ValueError(f"parts must be {limit}, got {low} to {high}.")
    return whole
