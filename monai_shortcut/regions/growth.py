# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A set of pixels grown by any distance, row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from monai_shortcut.regions.pixels import Box, box_of

LARGEST_EXACT = 2**24  # whole numbers below it are exact in float32, and so are their roots, rounded up

Reals = NDArray[np.floating[Any]]


class Growth:
    """A set of pixels that can be grown by any distance.

    A row is a slice across the first axis; lengths are in steps of that axis. ``d[k]`` is the distance of a pixel to
    the set if the pixel stood in row k and only that row's pixels counted. Pixel (i, ...) is at most r from the set if
    some row k has

        |i - k| <= sqrt(r^2 - d[k]^2)    Euclidean
        |i - k| <= r - d[k]              taxicab

    The set's own rows are enough, from its first to its last. ``d`` is computed once. Whether such a row exists is the
    sign of max over k of (right side - |i - k|): one running maximum down the rows and one up. Outside the set's rows
    that maximum falls by 1 a row. The taxicab maximum does not depend on r and is taken once.

    Args:
        inside: (*spatial) bool, at least one of them true.
        metric: "euclidean" or "taxicab".
        sampling: (n_spatial,) length of a step along each axis. None: 1 along all, and distances are exact.

    References:
        Meijster, Roerdink and Hesselink (2000), A general algorithm for computing distance transforms in linear time,
        for one axis after the other.
    """

    def __init__(self, inside: NDArray[np.bool_], metric: str, sampling: Sequence[float] | None = None) -> None:
        self._shape = inside.shape
        self._euclidean = metric == "euclidean"
        self._exact = sampling is None
        self._unit = 1.0 if sampling is None else sampling[0]
        steps = [step / self._unit for step in sampling or [1.0] * inside.ndim]
        self._longest = sum(n * step for n, step in zip(inside.shape, steps, strict=True))
        single = self._exact and sum(n * n for n in inside.shape) < LARGEST_EXACT
        box = box_of(inside)
        self._rows = box[0]
        within_rows = _within_rows(inside, box, self._euclidean, steps, np.dtype(np.float32 if single else np.float64))
        self._apart = within_rows**2 if self._euclidean else -_spread(-within_rows, 0)
        if self._exact:
            np.rint(self._apart, out=self._apart)

    def within(self, reach: float) -> NDArray[np.bool_]:
        """The pixels at most ``reach`` from the set.

        Args:
            reach: Length in the unit of ``sampling``, at least 0.

        Returns:
            (*spatial) bool, the set's own pixels included.
        """
        left = self._left(min(reach / self._unit, self._longest))
        region = np.empty(self._shape, dtype=np.bool_)
        above, below = self._rows.start, len(region) - self._rows.stop
        away = np.arange(1, max(above, below) + 1, dtype=left.dtype).reshape(-1, *[1] * (left.ndim - 1))
        np.greater(left[0], away[:above][::-1], out=region[:above])
        np.greater(left, 0, out=region[self._rows])
        np.greater(left[-1], away[:below], out=region[self._rows.stop :])
        return region

    def _left(self, reach: float) -> Reals:
        """How far a pixel of the set's rows may still go along the first axis: any whole number of steps below it."""
        if not self._euclidean:
            return (math.floor(reach) + 1 if self._exact else reach) - self._apart
        left = (_next_square(reach) if self._exact else reach * reach) - self._apart
        np.sqrt(np.maximum(left, 0, out=left), out=left)
        return _spread(np.ceil(left, out=left), 0)


def _next_square(reach: float) -> int:
    """The smallest whole number whose root exceeds ``reach``, both in float64, as distances are compared."""
    least = math.floor(reach * reach)
    return next(number for number in range(least, least + 3) if math.sqrt(number) > reach)


def _within_rows(
    inside: NDArray[np.bool_], box: Box, euclidean: bool, steps: Sequence[float], dtype: np.dtype[np.floating[Any]]
) -> Reals:
    """(n_rows, ...) distance to the set's pixels of the same row, for the rows of its box; inf where a row has none."""
    if euclidean and inside.ndim > 2:
        none = np.full(inside.shape[1:], np.inf)
        rows = [distance_transform_edt(~row, sampling=steps[1:]) if row.any() else none for row in inside[box[0]]]
        return np.stack(rows).astype(dtype)
    left = np.where(inside[box], 0.0, -np.inf).astype(dtype)
    for axis in range(1, inside.ndim):
        left = _spread(left, axis, steps[axis], box[axis].start, inside.shape[axis] - box[axis].stop)
    return -left


def _spread(left: Reals, axis: int, step: float = 1, before: int = 0, after: int = 0) -> Reals:
    """Maximum over k of ``left[k] - step |i - k|`` along an axis, also at i that many places before and after it."""
    moved = np.moveaxis(left, axis, 0)
    n, rest = len(moved), moved.shape[1:]
    away: Reals = step * np.arange(max(n, before + 1, after + 1))[:, None].astype(left.dtype)
    lines = np.empty((before + n + after, math.prod(rest)), dtype=left.dtype)  # each in one piece of memory
    own = lines[before : before + n]
    np.add(moved.reshape(n, -1), away[:n], out=own)
    for previous, line in pairwise(own):
        np.maximum(previous, line, out=line)
    own -= 2 * away[:n]
    for line, following in pairwise(own[::-1]):
        np.maximum(line, following, out=following)
    own += away[:n]
    np.subtract(own[0], away[before:0:-1], out=lines[:before])
    np.subtract(own[-1], away[1 : after + 1], out=lines[before + n :])
    return np.ascontiguousarray(np.moveaxis(lines.reshape(-1, *rest), 0, axis))
