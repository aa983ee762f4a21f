# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An attribute and its permutations as codings of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.types import Floats, Integers


@dataclass(frozen=True, eq=False)
class Codings:
    """Several codings of the same images, each a level per image: an attribute and its permutations.

    Attributes:
        rows: (n,) position of the images among the embeddings.
        codes: (B, n) small integers: level of each image, in [0, M).
        levels: M.
        ordered: levels are ordered, and a probe has one row, along which they ascend; otherwise a row per level.
    """

    rows: Integers
    codes: NDArray[Any]
    levels: int
    ordered: bool = False

    @property
    def columns(self) -> int:
        """Columns of the design of one coding: the level itself if ordered, else an indicator of all but level 0."""
        return 1 if self.ordered else self.levels - 1

    def block(self, draws: slice) -> Codings:
        """Some of the codings."""
        return Codings(self.rows, self.codes[draws], self.levels, self.ordered)

    def images(self, place: Integers | slice) -> Codings:
        """The codings of some of the images; a slice copies nothing."""
        return Codings(self.rows[place], self.codes[:, place], self.levels, self.ordered)

    def design(self, place: slice | Integers, dtype: Any) -> NDArray[Any]:
        """(B columns, n) design of some of the images."""
        codes = self.codes[:, place]
        if self.ordered:
            return np.asarray(codes, dtype)
        chosen = codes[:, None] == np.arange(1, self.levels, dtype=codes.dtype)[:, None]
        return np.asarray(chosen.reshape(-1, codes.shape[1]), dtype)


def balanced_weights(codes: NDArray[Any], classes: Integers, levels: int) -> Floats:
    """Weights (B, n) under which class and level are independent: what their margins say of a cell, over its images.

    Args:
        codes: (B, n) level of each image.
        classes: (n,) class of each image.
        levels: M.

    References:
        Kamiran and Calders (2012), Knowledge and Information Systems 33(1), section 5.3 (reweighing).
    """
    count = int(classes.max()) + 1
    weights = np.empty(codes.shape)
    for row, code in enumerate(codes.astype(np.int64)):
        cells = np.bincount(classes * levels + code, minlength=count * levels).reshape(count, levels)
        expected = cells.sum(axis=1, keepdims=True) * cells.sum(axis=0) / len(code)
        weights[row] = (expected / np.maximum(cells, 1))[classes, code]
    return weights
