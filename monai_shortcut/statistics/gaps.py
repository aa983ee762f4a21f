# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How far the mean predictions of images of one label lie apart between the levels of an attribute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.types import Floats, Integers


@dataclass(frozen=True, eq=False)
class CellSums:
    """Sums of predictions over the cells of label and level.

    Attributes:
        score: (n, C) predicted probabilities.
        label: (n,) class of each image, integers in [0, L).
        levels: number M of levels.
        labels: L; by default the largest label plus one.
    """

    score: Floats
    label: Integers
    levels: int
    labels: int | None = None

    @cached_property
    def values(self) -> Floats:
        """(n, C + 1) the predictions, and a one for each image."""
        return np.concatenate([self.score, np.ones((len(self.score), 1))], axis=1)

    def of(self, codes: NDArray[Any]) -> Floats:
        """(B, L, M, C + 1) sums of the predictions, and the number of images last, for codings (B, n)."""
        labels = self.labels or int(self.label.max()) + 1
        result = np.zeros((len(codes), labels, self.levels, self.values.shape[1]))
        for label in range(labels):
            inside = np.flatnonzero(self.label == label)
            own, values = codes[:, inside], self.values[inside]
            for level in range(1, self.levels):
                result[:, label, level] = (own == level).astype(np.float64) @ values
            # An image is of one level: the first follows from the others, whatever the coding.
            result[:, label, 0] = values.sum(axis=0) - result[:, label, 1:].sum(axis=1)
        result[..., -1] = np.round(result[..., -1])
        result[result[..., -1] == 0] = 0.0  # what is left of a difference is rounding
        return result


def mean_gaps(sums: Floats) -> Floats:
    """Total variation between mean scores of two levels, averaged over labels and pairs of levels by image pairs.

    Args:
        sums: (B, L, M, C + 1) as `CellSums.of` gives.

    Returns:
        (B,) gaps in [0, 1]; 0 where no label holds two levels.
    """
    count = sums[..., -1]
    means = sums[..., :-1] / np.where(count > 0, count, 1)[..., None]
    gap, pairs = np.zeros(len(sums)), np.zeros(len(sums))
    for first in range(count.shape[2]):
        for second in range(first):
            share = count[:, :, first] * count[:, :, second]
            apart = 0.5 * np.abs(means[:, :, first] - means[:, :, second]).sum(axis=-1)
            gap += (share * apart).sum(axis=1)
            pairs += share.sum(axis=1)
    return np.asarray(gap / np.maximum(pairs, 1e-300))


def trend_gaps(sums: Floats) -> Floats:
    """Total variation along the line of least squares from the lowest to the highest level, averaged over labels.

    Within a label, b_c = sum (k - mean k) p_c / sum (k - mean k)^2 over its images of level k, and the gap is
    (M - 1) / 2 sum_c |b_c|; labels count by the sum of squares of their levels.

    Args:
        sums: (B, L, M, C + 1) as `CellSums.of` gives.

    Returns:
        (B,) gaps; 0 where no label holds two levels.
    """
    count, total = sums[..., -1], sums[..., :-1]
    level = np.arange(count.shape[2])
    mean = (count @ level) / np.maximum(count.sum(axis=2), 1)
    centred = level - mean[..., None]
    square = (count * centred**2).sum(axis=2)
    slope = np.einsum("blm,blmc->blc", centred, total) / np.where(square > 0, square, 1)[..., None]
    gap = (count.shape[2] - 1) / 2 * np.abs(slope).sum(axis=2)
    return np.asarray((square * gap).sum(axis=1) / np.maximum(square.sum(axis=1), 1e-300))


def without_noise(square: ArrayLike, noise: float) -> Floats:
    """Signed root of a squared gap less the mean square that noise alone gives it."""
    rest = np.asarray(square) - noise
    return np.asarray(np.sign(rest) * np.sqrt(np.abs(rest)))
