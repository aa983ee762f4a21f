# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings as a discriminant sees them: centred, scaled, and read block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np

from monai_shortcut.statistics.ordering import ROWS, OrderedRows
from monai_shortcut.types import Floats, Integers, Points

_LEAST_SHRINKAGE = 1e-4
_LEAST = 1e-12  # standard deviation that counts; smaller ones have squares that float32 soon cannot hold


@dataclass(frozen=True, eq=False)
class Standardized:
    """Embeddings with columns of mean 0 and standard deviation 1, into which no attribute enters.

    Rows are standardized as they are read, so that large embeddings are not kept twice. Where columns
    outnumber rows, coordinates are those of the directions that the rows span: shrinkage treats all directions alike,
    so the others can be rotated away and nothing changes.

    Attributes:
        centre: (D,) mean of the embeddings.
        scale: (D,) their standard deviation, infinite where a column does not vary.
        rotation: (q, D) directions that the rows span, if columns outnumber rows; else None and q is D.
        shrinkage: share of the identity in the covariance, in (0, 1], estimated from all rows.

    References:
        Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).
    """

    centre: Floats
    scale: Floats
    rotation: Floats | None
    shrinkage: float
    _source: OrderedRows
    gram: Floats

    @classmethod
    def of(cls, embeddings: Points | OrderedRows) -> Standardized:
        """Prepare embeddings (N, D), float32 or float64; sums over rows are float64."""
        source = embeddings if isinstance(embeddings, OrderedRows) else OrderedRows(embeddings)
        moments, dtype = Moments.of(source), source.points.dtype
        centre, scale = moments.centre, moments.scale(dtype)
        if source.points.shape[1] <= len(source):
            gram, fourth = _second_moments(_standard(block, centre, scale) for block in source.blocks())
            share = _ledoit_wolf(gram, fourth, len(source))
            return cls(centre, scale, None, share, source, gram)
        dense = _standard(source.rows(slice(None)), centre, scale).astype(np.float64)
        left, singular, rotation = np.linalg.svd(dense, full_matrices=False)
        gram, fourth = np.diag(singular**2), _fourth(dense)
        share = _ledoit_wolf(gram, fourth, len(dense), columns=dense.shape[1])
        return cls(centre, scale, rotation, share, OrderedRows((left * singular).astype(dtype)), gram)

    @classmethod
    def frame(cls, moments: Moments, dtype: Any) -> Standardized:
        """Coordinates without rows, for images that come in blocks; `joined` gives the shrinkage afterwards."""
        width = len(moments.centre)
        none, gram = OrderedRows(np.zeros((0, width), dtype)), np.zeros((width, width))
        return cls(moments.centre, moments.scale(dtype), None, 1.0, none, gram)

    def block(self, embeddings: Points) -> Standardized:
        """Other images (n, D) in the same coordinates."""
        return replace(self, _source=OrderedRows(embeddings))

    def joined(self, gram: Floats, fourth: float, images: int) -> Standardized:
        """The coordinates with what was summed over the blocks.

        Args:
            gram: (D, D) sum of x x' over all rows x.
            fourth: sum of the fourth powers of their lengths.
            images: their number.
        """
        return replace(self, gram=gram, shrinkage=_ledoit_wolf(gram, fourth, images))

    @property
    def fourth(self) -> float:
        """Sum of the fourth powers of the rows' lengths."""
        starts = range(0, len(self._source), ROWS)
        return sum(_fourth(self.rows(slice(start, start + ROWS)).astype(np.float64)) for start in starts)

    @cached_property
    def _kept(self) -> Points | None:
        """All coordinates, where they are small enough to be kept."""
        if self.rotation is not None:
            return self._source.points
        return _standard(self._source.rows(slice(None)), self.centre, self.scale) if self._source.small else None

    def rows(self, chosen: Integers | slice) -> Points:
        """(n, q) coordinates of some rows, in the precision of the embeddings."""
        if self._kept is not None:
            return self._kept[chosen]
        return _standard(self._source.rows(chosen), self.centre, self.scale)

    def blocks(self, chosen: Integers) -> Iterator[tuple[slice, Points]]:
        """Coordinates of some rows, a few thousand at a time, with their place among the chosen ones."""
        for start in range(0, len(chosen), ROWS):
            place = slice(start, min(start + ROWS, len(chosen)))
            yield place, self.rows(chosen[place])

    def coordinates(self, weight: Floats) -> Floats:
        """Rows of a head (..., D) in these coordinates (..., q); what they say of constant columns is a constant."""
        scaled = weight * np.where(np.isfinite(self.scale), self.scale, 0.0)
        return np.asarray(scaled if self.rotation is None else scaled @ self.rotation.T)

    def original(self, weight: Floats) -> Floats:
        """Rows (..., q) in these coordinates as they apply to the embeddings (..., D)."""
        return np.asarray((weight if self.rotation is None else weight @ self.rotation) / self.scale)


@dataclass(frozen=True, eq=False)
class Moments:
    """What rows must be known by to be standardized.

    Attributes:
        count: their number.
        centre: (D,) mean.
        square: (D,) sum of squared deviations from it.
        largest: (D,) largest absolute value.

    References:
        Chan, Golub and LeVeque (1983), The American Statistician 37(3), equation 2.1.
    """

    count: int
    centre: Floats
    square: Floats
    largest: Points

    @classmethod
    def of(cls, embeddings: Points | OrderedRows) -> Moments:
        """Moments of rows (N, D), at least one."""
        source = embeddings if isinstance(embeddings, OrderedRows) else OrderedRows(embeddings)
        return reduce(cls.joined, map(cls._of_block, source.blocks()))

    @classmethod
    def _of_block(cls, block: Points) -> Moments:
        centre = block.mean(axis=0, dtype=np.float64)
        return cls(len(block), centre, ((block - centre) ** 2).sum(axis=0), np.abs(block).max(axis=0))

    def joined(self, other: Moments) -> Moments:
        """Moments of these rows and others."""
        count, apart = self.count + other.count, other.centre - self.centre
        share = other.count / count
        square = self.square + other.square + apart**2 * self.count * share
        return Moments(count, self.centre + apart * share, square, np.maximum(self.largest, other.largest))

    def scale(self, dtype: Any) -> Floats:
        """(D,) standard deviation, infinite where a column varies by no more than its rounding and has no say."""
        scale = np.sqrt(self.square / self.count)
        return np.where(scale > np.maximum(rounding(dtype) * self.largest, _LEAST), scale, np.inf)


def rounding(dtype: Any) -> float:
    """Share of a number that is rounding where it was computed in a precision.

    Of float64 a few hundred units in the last place: seconds since 1970, 1.6e9, vary by more. Of float32 eight.
    """
    return 1e-13 if dtype == np.float64 else 1e-6


def _standard(block: Points, centre: Floats, scale: Floats) -> Points:
    standard: Points = block - centre.astype(block.dtype)
    standard *= (1 / scale).astype(block.dtype)
    return standard


def _second_moments(blocks: Iterator[Points]) -> tuple[Floats, float]:
    """Sum of x x' over rows x, and that of the fourth powers of their lengths."""
    gram: Any = 0.0
    fourth = 0.0
    for block in blocks:
        rows = block.astype(np.float64)
        gram = gram + rows.T @ rows
        fourth += _fourth(rows)
    return np.asarray(gram), fourth


def _fourth(rows: Floats) -> float:
    return float(((rows**2).sum(axis=1) ** 2).sum())


def _ledoit_wolf(gram: Floats, fourth: float, images: int, columns: int | None = None) -> float:
    """Ledoit and Wolf's shrinkage towards the identity, equations 14 and 15, from sums over the centred rows."""
    width = columns or len(gram)
    mean = float(np.trace(gram)) / images / width
    squares = float((gram**2).sum()) / images**2
    distance = (squares - width * mean**2) / width
    noise = min((fourth / images - squares) / (width * images), distance)
    share = noise / distance if noise > 0 else 0.0
    return max(share, _LEAST_SHRINKAGE)
