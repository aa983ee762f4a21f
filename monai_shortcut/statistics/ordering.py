# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An order of images that follows from what they are, so that neither the rows of a table nor names move a draw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.types import Floats, Integers, Points

ROWS = 4096  # rows read at once; bounds the memory
_CACHED = 128  # rows whose products stay in the processor's cache
_SMALL = 2**26  # bytes of embeddings that may be copied


@dataclass(frozen=True, eq=False)
class OrderedRows:
    """Embeddings that are read in an order of their own, so that large ones need not be copied to be sorted.

    Attributes:
        points: (M, D) as they lie in memory.
        order: (N,) place of each row in them; None if the rows are as they lie.
    """

    points: Points
    order: Integers | None = None

    def __len__(self) -> int:
        return len(self.points if self.order is None else self.order)

    @property
    def small(self) -> bool:
        """Whether they may be copied."""
        return self.points.nbytes <= _SMALL

    def rows(self, chosen: Integers | NDArray[np.bool_] | slice) -> Points:
        """(n, D) some rows."""
        return self.points[chosen if self.order is None else self.order[chosen]]

    def blocks(self) -> Iterator[Points]:
        """All rows, a few thousand at a time."""
        return (self.rows(slice(start, start + ROWS)) for start in range(0, len(self), ROWS))

    def those(self, kept: Integers) -> OrderedRows:
        """Some of the rows, which are not copied."""
        return OrderedRows(self.points, kept if self.order is None else self.order[kept])

    def times(self, weight: Floats) -> Points:
        """Products (N, C) with rows of a head (C, D), in the precision of the embeddings."""
        columns: NDArray[Any] = weight.T.astype(self.points.dtype)
        found: Points = np.empty((len(self), len(weight)), self.points.dtype)
        for start, block in zip(range(0, len(self), ROWS), self.blocks(), strict=True):
            found[start : start + ROWS] = block @ columns
        return found


def canonical_order(points: Points, labels: ArrayLike, others: Sequence[ArrayLike] = ()) -> Integers:
    """Order of images in which everything is drawn: by label, then by the embedding along a fixed direction.

    Rows that come in another order are sorted to the same one. An embedding that differs by its rounding, as of another
    size of batch, stays in its place or changes it with a neighbour.

    Args:
        points: (N, D) embeddings, finite.
        labels: (N,) class of each image.
        others: (N,) columns by whose text images of one label and embedding are told apart; those that agree in these
            too are exchangeable, and stay in the order of their rows.

    Returns:
        (N,) row of the image in each place.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(5, 2))
        >>> first, rows = canonical_order(points, [0, 1, 0, 1, 0]), np.array([4, 2, 0, 3, 1])
        >>> bool((rows[canonical_order(points[rows], [0, 0, 0, 1, 1])] == first).all())
        True
    """
    place, label = along(points), np.asarray(labels)
    order = np.lexsort((place, label))
    same = (place[order[1:]] == place[order[:-1]]) & (label[order[1:]] == label[order[:-1]])
    if not same.any() or not others:
        return order
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[tied]
    keys = np.zeros((len(others), len(order)), dtype=np.int64)
    for key, column in zip(keys, others, strict=True):
        key[rows] = np.unique([str(value) for value in np.asarray(column, dtype=object)[rows]], return_inverse=True)[1]
    return np.lexsort((*keys, place, label))


def by_appearance(values: ArrayLike) -> Integers:
    """Codes (N,) of values, numbered in the order in which they first appear.

    Example:
        >>> by_appearance(["b", "a", "b", "c"]).tolist()
        [0, 1, 0, 2]
    """
    _, first, code = np.unique(np.asarray(values), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[code])


def along(points: Points) -> Floats:
    """(N,) each embedding along a direction at random; summed row by row, for BLAS rounds by the place of a row."""
    direction = np.random.default_rng(0).normal(size=points.shape[1])
    found = np.empty(len(points))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(points), _CACHED):
            block = np.multiply(points[start : start + _CACHED], direction, order="C")
            found[start : start + _CACHED] = block.sum(axis=1)
    return found
