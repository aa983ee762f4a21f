# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions grown or shrunk by a margin, every margin read from the same distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from monai_shortcut.regions.pixels import RegionError, as_booleans, bounding_box, nonempty

UNITS = ("pixel", "mm", "area")
METRICS = ("euclidean", "taxicab")

Box = tuple[slice, ...]
Distances = NDArray[np.float64]


def dilate(
    roi: torch.Tensor,
    margin: float,
    unit: str = "pixel",
    spacing: Sequence[float] | None = None,
    metric: str = "euclidean",
) -> torch.Tensor:
    """A region grown (margin > 0) or shrunk (margin < 0) evenly to all sides.

    Growing by r adds the pixels at most r from the region, shrinking by r removes the pixels at most r from what
    surrounds it. The edge of the image shrinks nothing. For several margins of one region see ``RegionMargins``.

    Args:
        roi: (*spatial) region of one channel; bool, or values 0 and 1, or 0 and 255.
        margin: How far, in ``unit``; 0 gives back the region itself.
        unit: "pixel"; "mm"; or "area", a share of the region's own area: 0.5 grows the region to 1.5 times its area and
            -0.5 shrinks it to half, to the nearest pixel and at most to the whole image. Of the pixels at the last
            distance, those closest to the region's centre come first.
        spacing: (n_spatial,) millimetres per pixel along each axis; "mm" needs it, the other units ignore it.
        metric: "euclidean", or "taxicab", the sum of the steps along the axes: n pixels are then n passes of a
            3 x 3 cross (3 x 3 x 3 in three dimensions).

    Returns:
        (*spatial) bool, on the device of ``roi``.

    Raises:
        RegionError: If the region is empty or becomes so.
        ValueError: If a setting is not as described.

    Example:
        >>> dilate(torch.tensor([[0, 0, 1, 0, 0, 0]]), 1).int().tolist()
        [[0, 1, 1, 1, 0, 0]]
    """
    return RegionMargins(roi[None]).at(margin, unit, spacing, metric)[0]


class RegionMargins:
    """A region under many margins, at the cost of one distance transform.

    The distances are computed when a margin first needs them, in the smallest window that gives them exactly: around
    the region's box for the first margin that is asked for, in the whole image from the second on. They are then kept,
    so that any number of margins costs one transform of the image for growing and one of the box for shrinking
    (per metric and spacing).

    Args:
        roi: (C, *spatial) region of each channel, which do not touch each other; values as in ``dilate``.

    Raises:
        ValueError: If the region holds other values.

    Example:
        >>> margins = RegionMargins(torch.tensor([[0, 0, 1, 0, 0, 0]]))
        >>> [int(margins.at(margin).sum()) for margin in (0, 1, 2, 500)]
        [1, 3, 5, 6]
    """

    def __init__(self, roi: torch.Tensor) -> None:
        self.roi = as_booleans(roi)
        self._pixels = self.roi.cpu().numpy()
        self._kept: dict[tuple[object, ...], tuple[Box, Distances]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, *spatial)."""
        return tuple(self.roi.shape)

    def at(
        self,
        margin: float,
        unit: str = "pixel",
        spacing: Sequence[float] | None = None,
        metric: str = "euclidean",
    ) -> torch.Tensor:
        """The region with one margin.

        Args:
            margin: As in ``dilate``.
            unit: As in ``dilate``.
            spacing: As in ``dilate``.
            metric: As in ``dilate``.

        Returns:
            (C, *spatial) bool, on the device of the region.

        Raises:
            RegionError: If the region of a channel is empty or becomes so.
            ValueError: If a setting is not as described.
        """
        check_margin(margin, unit, metric)
        sampling = _checked_spacing(spacing, self.roi.ndim - 1) if unit == "mm" else None
        for channel in self.roi:
            nonempty(channel)
        if margin == 0:
            return self.roi.clone()
        regions = [self._one(channel, margin, unit, metric, sampling) for channel in range(len(self.roi))]
        return torch.from_numpy(np.stack(regions)).to(self.roi.device)

    def _one(
        self, channel: int, margin: float, unit: str, metric: str, sampling: tuple[float, ...] | None
    ) -> NDArray[np.bool_]:
        inside = self._pixels[channel]
        reach = margin * (1 + 1e-7) if unit == "mm" else margin  # headers keep the spacing in float32
        steps = math.inf if unit == "area" else reach
        region: NDArray[np.bool_] = inside.copy()
        if margin > 0:
            window, distance = self._outer(channel, steps, metric, sampling)
        else:
            window, distance = self._inner(channel, metric, sampling)
        if unit == "area":
            count = round((1 + margin) * int(inside.sum()))
            region[window] = _nearest_pixels(distance, count, inside[window])
        else:
            region[window] = distance <= reach if margin > 0 else distance < reach
        if not region.any():
            raise RegionError(
                f"margin must leave at least one pixel of the region, got margin={margin} {unit} "
                f"for a region of {int(inside.sum())} pixels."
            )
        return region

    def _outer(
        self, channel: int, reach: float, metric: str, sampling: tuple[float, ...] | None
    ) -> tuple[Box, Distances]:
        """Distance to the region, exact at least in the region's box grown by ``reach``."""
        inside, key = self._pixels[channel], (channel, "outer", metric, sampling)
        window = _grown_box(inside, reach, sampling)
        if key in self._kept:
            pairs = zip(self._kept[key][0], window, strict=True)
            if all(kept.start <= wanted.start and wanted.stop <= kept.stop for kept, wanted in pairs):
                return self._kept[key]
            window = _grown_box(inside, math.inf, sampling)
        self._kept[key] = window, _distance_to(inside[window], metric, sampling)
        return self._kept[key]

    def _inner(self, channel: int, metric: str, sampling: tuple[float, ...] | None) -> tuple[Box, Distances]:
        """Minus the distance to what surrounds the region, in its box and one pixel around it.

        That rim holds a nearest pixel of the background: whatever lies beyond it is farther along some axis.
        """
        inside, key = self._pixels[channel], (channel, "inner", metric, sampling)
        if key not in self._kept:
            window = _grown_box(inside, 1, None)
            around = ~inside[window]
            # SciPy's distances mean nothing without background
            depth = _distance_to(around, metric, sampling) if around.any() else np.full(around.shape, np.inf)
            self._kept[key] = window, -depth
        return self._kept[key]


def check_margin(margin: float, unit: str, metric: str) -> None:
    """Refuse a margin, a unit or a metric that does not exist.

    Raises:
        ValueError: If one is not as ``dilate`` describes; the message lists what exists.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}.")
    if not (isinstance(margin, Real) and math.isfinite(margin)):
        raise ValueError(f"margin must be a finite number, got {margin!r}.")


def _checked_spacing(spacing: Sequence[float] | None, n_axes: int) -> tuple[float, ...]:
    if spacing is None:
        raise ValueError(
            'unit="mm" needs the spacing in millimetres per pixel, got none: PNG and JPEG files and plain arrays carry '
            'none. Read images that carry it, or measure the margin with unit="pixel" or unit="area".'
        )
    sampling = [float(step) for step in spacing]
    if len(sampling) != n_axes or not all(0 < step < math.inf for step in sampling):
        raise ValueError(f"spacing must be {n_axes} positive numbers, one per spatial axis, got {sampling}.")
    return tuple(sampling)


def _grown_box(inside: NDArray[np.bool_], reach: float, sampling: tuple[float, ...] | None) -> Box:
    """The region's box with all that lies within reach of it, cut at the edges of the image."""
    box = bounding_box(torch.from_numpy(inside))
    steps = [reach / step for step in sampling or [1.0] * inside.ndim]
    extra = [math.ceil(min(step, n)) for step, n in zip(steps, inside.shape, strict=True)]
    limits = zip(box, extra, inside.shape, strict=True)
    return tuple(slice(max(0, part.start - more), min(n, part.stop + more)) for part, more, n in limits)


def _distance_to(near: NDArray[np.bool_], metric: str, sampling: tuple[float, ...] | None) -> Distances:
    """Distance of every pixel to the nearest true pixel, of which there must be one."""
    distance: Distances
    if metric == "euclidean":
        distance = distance_transform_edt(~near, sampling=sampling)
    elif sampling is None:
        distance = distance_transform_cdt(~near, metric="taxicab")
    else:
        distance = _scaled_taxicab(near, sampling)
    return distance


def _scaled_taxicab(near: NDArray[np.bool_], sampling: tuple[float, ...]) -> Distances:
    """Taxicab distance with a length per axis: the axes add up, so each takes one running minimum to and fro."""
    distance = np.where(near, 0.0, np.inf)
    for axis, step in enumerate(sampling):
        along = np.arange(near.shape[axis]).reshape([-1 if other == axis else 1 for other in range(near.ndim)]) * step
        forth = np.minimum.accumulate(distance - along, axis=axis) + along
        back = np.flip(np.minimum.accumulate(np.flip(distance + along, axis), axis=axis), axis) - along
        distance = np.minimum(forth, back)
    return distance


def _nearest_pixels(distance: Distances, count: int, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
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
