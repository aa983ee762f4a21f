# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions grown or shrunk by a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from monai_shortcut.regions.growth import Growth
from monai_shortcut.regions.pixels import Box, RegionError, as_booleans, box_of, nonempty

UNITS = ("pixel", "mm", "area")
METRICS = ("euclidean", "taxicab")

Distances = NDArray[np.float64]
Sampling = tuple[float, ...] | None


def dilate(
    roi: torch.Tensor,
    margin: float,
    unit: str = "pixel",
    spacing: Sequence[float] | None = None,
    metric: str = "euclidean",
) -> torch.Tensor:
    """A region grown (margin > 0) or shrunk (margin < 0) evenly to all sides.

    Growing by r adds the pixels at most r from the region. Shrinking by r removes the pixels at most r from the
    background. The edge of the image is no background. ``RegionMargins`` takes several margins of one region.

    Args:
        roi: (*spatial) region of one channel; bool, or values 0 and 1, or 0 and 255.
        margin: Distance in ``unit``; 0 gives the region itself.
        unit: "pixel", "mm" or "area". The last is a share of the region's area: the result has (1 + margin) times as
            many pixels, rounded, at most all. They are taken in order of their signed distance to the region, those at
            one distance in order of their distance to its centre.
        spacing: (n_spatial,) millimetres per pixel along each axis; only "mm" needs it.
        metric: "euclidean", or "taxicab", the sum of the steps along the axes. A taxicab margin of n pixels equals n
            passes of a 3 x 3 cross (3 x 3 x 3 in three dimensions).

    Returns:
        (*spatial) bool, on the device of ``roi``.

    Raises:
        RegionError: If the region is empty, or nothing of it is left.
        ValueError: If a setting is not as described.

    Example:
        >>> dilate(torch.tensor([[0, 0, 1, 0, 0, 0]]), 1).int().tolist()
        [[0, 1, 1, 1, 0, 0]]
    """
    return RegionMargins(roi[None]).at(margin, unit, spacing, metric)[0]


class RegionMargins:
    """A region under many margins.

    The margins share a ``Growth`` for each metric and spacing, made when a margin first needs it. The first margin
    makes it for the region's box grown by that margin. A larger margin makes it again, for the whole image. Shrinking
    has one of its own, for the box. A margin that is known to cover the image costs nothing more.

    Args:
        roi: (C, *spatial) region of each channel; values as in ``dilate``. The channels do not touch each other.

    Raises:
        ValueError: If the region holds other values.

    Example:
        >>> margins = RegionMargins(torch.tensor([[0, 0, 1, 0, 0, 0]]))
        >>> [int(margins.at(margin).sum()) for margin in (0, 1, 2, 500)]
        [1, 3, 5, 6]
    """

    def __init__(self, roi: torch.Tensor) -> None:
        self.roi = as_booleans(roi)
        self._channels = [_Channel(inside) for inside in self.roi.cpu().numpy()]

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
            RegionError: If the region of a channel is empty, or nothing of it is left.
            ValueError: If a setting is not as described.
        """
        check_margin(margin, unit, metric)
        sampling = _checked_spacing(spacing, self.roi.ndim - 1) if unit == "mm" else None
        regions = np.stack([channel.at(margin, unit, metric, sampling) for channel in self._channels])
        for region, channel in zip(regions, self._channels, strict=True):
            if not region.any():
                raise RegionError(
                    f"margin must leave at least one pixel of the region, got margin={margin} {unit} "
                    f"for a region of {int(channel.inside.sum())} pixels."
                )
        return torch.from_numpy(regions).to(self.roi.device)


class _Channel:
    """The region of one channel, and what its margins share.

    Args:
        inside: (*spatial) region. An empty one is an error only when a margin is asked for.
    """

    def __init__(self, inside: NDArray[np.bool_]) -> None:
        self.inside = inside
        self._covering: dict[tuple[str, Sampling], float] = {}  # a margin known to cover the image
        self._growths: dict[tuple[str, Sampling], tuple[Box, Growth]] = {}
        self._shrinkings: dict[tuple[str, Sampling], Growth] = {}
        self._distances: dict[tuple[str, bool], Distances] = {}

    @cached_property
    def box(self) -> Box:
        """The region's box."""
        return box_of(self.inside)

    @cached_property
    def farthest(self) -> tuple[int, ...]:
        """(n_spatial,) steps from a pixel of the region near the image's middle to the corner farthest from it.

        No pixel of the image is farther from the region.
        """
        part, steps = self.inside, []
        for n in self.inside.shape:
            lines = np.flatnonzero(part.any(axis=tuple(range(1, part.ndim))))
            middle = int(lines[np.abs(2 * lines - (n - 1)).argmin()])
            steps.append(max(middle, n - 1 - middle))
            part = part[middle]
        return tuple(steps)

    def at(self, margin: float, unit: str, metric: str, sampling: Sampling) -> NDArray[np.bool_]:
        """(*spatial) region with a margin; empty if nothing is left."""
        nonempty(self.inside)
        if margin == 0:
            return self.inside
        if unit == "area":
            return self._of_area(round((1 + margin) * int(self.inside.sum())), metric, margin > 0)
        reach = abs(margin) * (1 + 1e-7) if unit == "mm" else abs(margin)  # headers keep the spacing in float32
        return self._grown(reach, metric, sampling) if margin > 0 else self._shrunk(reach, metric, sampling)

    def _grown(self, reach: float, metric: str, sampling: Sampling) -> NDArray[np.bool_]:
        key = metric, sampling
        if key not in self._covering:
            lengths = [n * step for n, step in zip(self.farthest, sampling or _ones(self.inside), strict=True)]
            euclidean = metric == "euclidean"
            self._covering[key] = math.sqrt(sum(n * n for n in lengths)) if euclidean else sum(lengths)
        if reach >= self._covering[key]:
            return np.ones_like(self.inside)
        window, growth = self._growth(reach, metric, sampling)
        region = np.zeros_like(self.inside)
        region[window] = growth.within(reach)
        if region.all():
            self._covering[key] = reach
        return region

    def _growth(self, reach: float, metric: str, sampling: Sampling) -> tuple[Box, Growth]:
        """A window that holds all pixels within reach, and the region in it."""
        window, key = self._window(reach, sampling), (metric, sampling)
        if key in self._growths:
            pairs = zip(self._growths[key][0], window, strict=True)
            if all(kept.start <= wanted.start and wanted.stop <= kept.stop for kept, wanted in pairs):
                return self._growths[key]
            window = self._window(math.inf, sampling)
        self._growths[key] = window, Growth(self.inside[window], metric, sampling)
        return self._growths[key]

    def _shrunk(self, reach: float, metric: str, sampling: Sampling) -> NDArray[np.bool_]:
        """The region without the pixels at most ``reach`` from the background.

        The box and one pixel around it hold a nearest background pixel. All others are farther along some axis.
        """
        window, key = self._window(1, None), (metric, sampling)
        if self.inside[window].all():
            return self.inside
        if key not in self._shrinkings:
            self._shrinkings[key] = Growth(~self.inside[window], metric, sampling)
        region = self.inside.copy()
        region[window] &= ~self._shrinkings[key].within(reach)
        return region

    def _of_area(self, count: int, metric: str, growing: bool) -> NDArray[np.bool_]:
        """The ``count`` pixels of least signed distance."""
        window, key = self._window(math.inf if growing else 1, None), (metric, growing)
        inside = self.inside[window]
        if key not in self._distances:
            self._distances[key] = _distance_to(inside, metric) if growing else -_distance_to(~inside, metric)
        region = self.inside.copy()
        region[window] = _nearest_pixels(self._distances[key], count, inside)
        return region

    def _window(self, reach: float, sampling: Sampling) -> Box:
        """The box with all that lies within reach of it, cut at the edges of the image."""
        steps = [reach / step for step in sampling or _ones(self.inside)]
        extra = [math.ceil(min(step, n)) for step, n in zip(steps, self.inside.shape, strict=True)]
        limits = zip(self.box, extra, self.inside.shape, strict=True)
        return tuple(slice(max(0, part.start - more), min(n, part.stop + more)) for part, more, n in limits)


def check_margin(margin: float, unit: str, metric: str) -> None:
    """Raise an error for a margin, a unit or a metric that does not exist.

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


def _ones(inside: NDArray[np.bool_]) -> list[float]:
    return [1.0] * inside.ndim


def _distance_to(near: NDArray[np.bool_], metric: str) -> Distances:
    """Distance of every pixel to the nearest true pixel; inf if there is none."""
    if not near.any():  # SciPy's distances mean nothing then
        return np.full(near.shape, np.inf)
    distance: Distances = (
        distance_transform_edt(~near) if metric == "euclidean" else distance_transform_cdt(~near, metric="taxicab")
    )
    return distance


def _nearest_pixels(distance: Distances, count: int, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The ``count`` pixels of least signed distance; among equals, those closest to the region's centre."""
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
