# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions of interest: their boxes, their margins, and an image with a region hidden or shown alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

STRATEGIES = ("full", "without_roi", "without_roi_box", "roi_only", "roi_box_only", "silhouette", "box_silhouette")
UNITS = ("pixel", "mm", "area")
FILLS = ("mean",)


def bounding_box(roi: torch.Tensor) -> tuple[slice, ...]:
    """The smallest box that holds a region, its first and last row and column included.

    Args:
        roi: (*spatial) region; bool, or values 0 and 1, or 0 and 255.

    Returns:
        One slice per axis, so that ``roi[bounding_box(roi)]`` holds every pixel of the region.

    Raises:
        ValueError: If the region is empty or holds other values.

    Example:
        >>> roi = torch.zeros(4, 5)
        >>> roi[1, 2] = roi[3, 3] = 1
        >>> bounding_box(roi)
        (slice(1, 4, None), slice(2, 4, None))
    """
    pixels = _nonempty(_boolean(roi)).nonzero()
    first, last = pixels.amin(dim=0).tolist(), pixels.amax(dim=0).tolist()
    return tuple(slice(start, stop + 1) for start, stop in zip(first, last, strict=True))


def dilate(
    roi: torch.Tensor, margin: float, unit: str = "pixel", spacing: Sequence[float] | None = None
) -> torch.Tensor:
    """A region grown (margin > 0) or shrunk (margin < 0) evenly to all sides.

    Every margin reads the same signed Euclidean distance to the region: growing by r adds the pixels at most r from it,
    shrinking by r removes the pixels at most r from what surrounds it. The edge of the image shrinks nothing.

    Args:
        roi: (*spatial) region of one channel; bool, or values 0 and 1, or 0 and 255.
        margin: How far, in ``unit``; 0 gives back the region itself.
        unit: "pixel"; "mm"; or "area", a share of the region's own area: 0.5 grows the region to 1.5 times its area and
            -0.5 shrinks it to half, to the nearest pixel and at most to the whole image. Of the pixels at the last
            distance, those closest to the region's centre come first.
        spacing: (n_spatial,) millimetres per pixel along each axis; "mm" needs it, the other units ignore it.

    Returns:
        (*spatial) bool, on the device of ``roi``.

    Raises:
        ValueError: If the region is empty or becomes so, or a setting is not as described.

    Example:
        >>> dilate(torch.tensor([[0, 0, 1, 0, 0, 0]]), 1).int().tolist()
        [[0, 1, 1, 1, 0, 0]]
    """
    check_settings(unit=unit, margin=margin)
    inside = _nonempty(_boolean(roi))
    sampling = _checked_spacing(spacing, inside.ndim) if unit == "mm" else None
    if margin == 0:
        return inside.clone()
    pixels = inside.cpu().numpy()
    distance = _signed_distance(pixels, sampling)
    if unit == "area":
        region = _nearest_pixels(distance, round((1 + margin) * int(pixels.sum())), pixels)
    else:
        reach = margin * (1 + 1e-7) if unit == "mm" else margin  # headers keep the spacing in float32
        region = distance <= reach if margin > 0 else distance < reach
    if not region.any():
        raise ValueError(
            f"margin must leave at least one pixel of the region, got margin={margin} {unit} "
            f"for a region of {int(pixels.sum())} pixels."
        )
    return torch.from_numpy(region).to(inside.device)


def mask_roi(
    image: torch.Tensor,
    roi: torch.Tensor,
    strategy: str = "without_roi",
    margin: float = 0.0,
    unit: str = "pixel",
    fill: float | str = 0.0,
    spacing: Sequence[float] | None = None,
) -> torch.Tensor:
    """An image of which only the region of interest, or all but that region, can still be seen.

    Hidden pixels are replaced, not multiplied: no value of theirs, NaN included, reaches the result.

    Args:
        image: (C, *spatial) of two or three spatial axes and any dtype; it is not changed.
        roi: (1, *spatial) for all channels, or (C, *spatial) with a region per channel; values as in ``dilate``.
        strategy: One of ``STRATEGIES``. The box is that of the region with its margin. "full" hides nothing and accepts
            an empty region; the silhouettes are 1 inside and 0 outside whatever the image and ``fill``.
        margin: How far to grow or shrink the region first, in ``unit``; see ``dilate``.
        unit: "pixel", "mm" or "area".
        fill: What replaces a hidden pixel: a number, or "mean", each channel's mean over the pixels that stay visible
            (rounded for images of integers).
        spacing: (n_spatial,) millimetres per pixel along each axis; only "mm" needs it.

    Returns:
        (C, *spatial) new tensor with the dtype and device of ``image``.

    Raises:
        ValueError: If the shapes disagree, the region is empty, or a setting is not as described.

    Example:
        >>> mask_roi(torch.tensor([[[5, 6, 7]]]), torch.tensor([[[0, 1, 0]]]), fill=9).tolist()
        [[[5, 9, 7]]]
    """
    check_settings(strategy, margin, unit, fill)
    inside = checked_roi(roi, image.shape).to(image.device)
    if strategy == "full":
        return image.clone()
    region = torch.stack([dilate(channel, margin, unit, spacing) for channel in inside])
    if "box" in strategy:
        region = torch.stack([_filled_box(channel) for channel in region])
    region = region.expand_as(image)
    if "silhouette" in strategy:
        return region.to(image.dtype, copy=True)
    visible = region if strategy.endswith("only") else ~region
    return torch.where(visible, image, _fill_values(image, visible, fill))


def checked_roi(roi: torch.Tensor, image_shape: Sequence[int]) -> torch.Tensor:
    """The region of interest as booleans, once it is certain that it fits the image.

    Args:
        roi: (1, *spatial) or (C, *spatial); bool, or values 0 and 1, or 0 and 255. It may be empty.
        image_shape: (C, *spatial) shape of the image, of two or three spatial axes.

    Returns:
        (1, *spatial) or (C, *spatial) bool.

    Raises:
        ValueError: If the shapes disagree or the region holds other values.
    """
    channels, *spatial = image_shape
    if len(spatial) not in (2, 3):
        raise ValueError(f"image must have shape (C, H, W) or (C, H, W, D), got {tuple(image_shape)}.")
    if tuple(roi.shape) not in {(1, *spatial), (channels, *spatial)}:
        wanted = " or ".join(str((n, *spatial)) for n in sorted({1, channels}))
        raise ValueError(f"roi must have shape {wanted} to match the image, got {tuple(roi.shape)}.")
    return _boolean(roi)


def check_settings(strategy: str = "full", margin: float = 0.0, unit: str = "pixel", fill: float | str = 0.0) -> None:
    """Refuse settings of ``mask_roi`` that do not exist, before there is an image.

    Args:
        strategy: One of ``STRATEGIES``.
        margin: A finite number.
        unit: One of ``UNITS``.
        fill: A finite number or one of ``FILLS``.

    Raises:
        ValueError: If a setting is not as described; the message lists what exists.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    if not (isinstance(margin, Real) and math.isfinite(margin)):
        raise ValueError(f"margin must be a finite number, got {margin!r}.")
    if not (fill in FILLS if isinstance(fill, str) else isinstance(fill, Real) and math.isfinite(fill)):
        raise ValueError(f"fill must be a finite number or one of {', '.join(FILLS)}, got {fill!r}.")


def _boolean(roi: torch.Tensor) -> torch.Tensor:
    if roi.dtype == torch.bool:
        return roi
    if roi.isnan().any():
        raise ValueError("roi must hold only 0 and 1 (or 0 and 255), got NaN.")
    inside = roi != 0
    if not any((inside == (roi == one)).all() for one in (1, 255)):
        found = np.unique(roi.cpu().numpy()).tolist()
        some = ", ".join(f"{value:g}" for value in found[:5]) + (", ..." if len(found) > 5 else "")
        raise ValueError(
            f"roi must hold only 0 and 1 (or 0 and 255), got {some}; threshold it, "
            'or resize it with mode="nearest" so that no values appear in between.'
        )
    return inside


def _nonempty(inside: torch.Tensor) -> torch.Tensor:
    if not inside.any():
        raise ValueError("roi must hold at least one pixel, got an empty region.")
    return inside


def _checked_spacing(spacing: Sequence[float] | None, n_axes: int) -> list[float]:
    if spacing is None:
        raise ValueError(
            'unit="mm" needs the spacing in millimetres per pixel, got none: PNG and JPEG files and plain arrays carry '
            'none. Read images that carry it, or measure the margin with unit="pixel" or unit="area".'
        )
    sampling = [float(step) for step in spacing]
    if len(sampling) != n_axes or not all(0 < step < math.inf for step in sampling):
        raise ValueError(f"spacing must be {n_axes} positive numbers, one per spatial axis, got {sampling}.")
    return sampling


def _signed_distance(inside: NDArray[np.bool_], sampling: list[float] | None) -> NDArray[np.float64]:
    """Distance to the region outside it, minus the distance to the background inside it."""
    if inside.all():
        return np.full(inside.shape, -np.inf)  # SciPy's distances mean nothing without background
    outer: NDArray[np.float64] = distance_transform_edt(~inside, sampling=sampling)
    inner: NDArray[np.float64] = distance_transform_edt(inside, sampling=sampling)
    return outer - inner


def _nearest_pixels(distance: NDArray[np.float64], count: int, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The ``count`` pixels of least signed distance, ties by distance to the region's centre."""
    if count < 1:
        return np.zeros_like(inside)
    count = min(count, distance.size)
    level = np.partition(distance, count - 1, axis=None)[count - 1]
    region: NDArray[np.bool_] = distance < level
    rim = np.argwhere(distance == level)
    from_centre = ((rim - np.argwhere(inside).mean(axis=0)) ** 2).sum(axis=1)
    chosen = rim[np.argsort(from_centre, kind="stable")[: count - int(region.sum())]]
    region[tuple(chosen.T)] = True
    return region


def _filled_box(inside: torch.Tensor) -> torch.Tensor:
    box = torch.zeros_like(inside)
    box[bounding_box(inside)] = True
    return box


def _fill_values(image: torch.Tensor, visible: torch.Tensor, fill: float | str) -> torch.Tensor:
    """What to write over hidden pixels, in the image's dtype: (C, 1, ...), or a scalar."""
    if fill == "mean":
        means = torch.stack([pixels[seen].double().mean() for pixels, seen in zip(image, visible, strict=True)])
        if not means.isfinite().all():
            raise ValueError(
                f'fill="mean" needs visible pixels, all finite, in every channel, got channel means {means.tolist()}.'
            )
        means = means if image.is_floating_point() else means.round()
        return means.to(image.dtype).reshape(-1, *[1] * (image.ndim - 1))
    wanted = torch.tensor(float(fill), dtype=torch.float64, device=image.device)
    value = wanted.to(image.dtype)
    if not (value.isfinite() if image.is_floating_point() else value.double() == wanted):
        raise ValueError(f"fill must be a value that an image of {image.dtype} can hold, got {fill}.")
    return value
