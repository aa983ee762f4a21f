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

    A row is a slice across the first axis, and lengths are in steps of that axis. ``d[k]`` is the distance within row
    k: from the pixel's place in that row to the set's pixels in it. Pixel (i, ...) is at most r from the set if a row k
    exists with

        |i - k| <= sqrt(r^2 - d[k]^2)    Euclidean
        |i - k| <= r - d[k]              taxicab

    so if the maximum over k of (right side - |i - k|) is not negative. ``d`` is computed once, for the rows from the
    set's first to its last. The maximum takes one running maximum down these rows and one up; above and below them it
    falls by 1 a row. The Euclidean maximum depends on r. The taxicab one does not, and is taken once.

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
        self._apart = within_rows**2 if self._euclidean else -_spread(-within_rows)
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
        away = _column(max(above, below), left)
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
        return _spread(np.ceil(left, out=left))


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
        left = _extended(left, axis, steps[axis], box[axis].start, inside.shape[axis] - box[axis].stop)
    return -left


def _extended(left: Reals, axis: int, step: float, before: int, after: int) -> Reals:
    """Maximum over k of ``left[k] - step |i - k|`` along an axis, also for that many i before and after it."""
    moved = np.moveaxis(left, axis, 0)
    n = len(moved)
    lines = np.empty((before + n + after, *moved.shape[1:]), dtype=left.dtype)
    own, away = lines[before : before + n], step * _column(max(before, after), lines)
    own[:] = moved
    _spread(own, step)
    np.subtract(own[0], away[:before][::-1], out=lines[:before])
    np.subtract(own[-1], away[:after], out=lines[before + n :])
    return np.ascontiguousarray(np.moveaxis(lines, 0, axis))


def _spread(left: Reals, step: float = 1) -> Reals:
    """Maximum over k of ``left[k] - step |i - k|`` along the first axis, written over ``left``."""
    lines = left.reshape(len(left), -1)
    along = step * _column(len(lines), lines)
    lines += along
    for previous, line in pairwise(lines):
        np.maximum(previous, line, out=line)
    lines -= 2 * along
    for following, line in pairwise(lines[::-1]):
        np.maximum(following, line, out=line)
    lines += along
    return left


def _column(n: int, lines: Reals) -> Reals:
    """(n, 1, ...) the numbers 1 to n, to be added to as many lines."""
    return np.arange(1, n + 1, dtype=lines.dtype).reshape(-1, *[1] * (lines.ndim - 1))
