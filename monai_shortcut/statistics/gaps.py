# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How far the mean predictions of images of one label lie apart between the levels of an attribute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def cell_means(score: Floats, codes: Integers, label: Integers, weights: Floats) -> tuple[Floats, Floats]:
    """Mean scores of each label and level, for B codings or B weightings of the images.

    Args:
        score: (N, C) predicted probabilities.
        codes: (B, N) or (1, N) level of each image, integers in [0, M).
        label: (N,) class of each image, integers in [0, L).
        weights: (B, N) or (1, N) weight of each image.

    Returns:
        (B, L, M, C) means, NaN where no image is, and (B, L, M) summed weights.
    """
    labels, levels, draws = int(label.max()) + 1, int(codes.max()) + 1, max(len(codes), len(weights))
    total, count = np.empty((draws, labels, levels, score.shape[1])), np.empty((draws, labels, levels))
    for value in range(labels):
        for level in range(levels):
            chosen = np.broadcast_to(weights * ((codes == level) & (label == value)), (draws, len(label)))
            total[:, value, level] = chosen @ score
            count[:, value, level] = chosen.sum(axis=1)
    present = count[..., None] > 0
    return np.where(present, total / np.where(present, count[..., None], 1), np.nan), count


def mean_gaps(score: Floats, codes: Integers, label: Integers, weights: Floats) -> Floats:
    """Total variation between mean scores of two levels, averaged over labels and pairs of levels by image pairs.

    Args:
        score: (N, C) predicted probabilities.
        codes: (B, N) or (1, N) level of each image, integers in [0, M).
        label: (N,) class of each image, integers in [0, L).
        weights: (B, N) or (1, N) weight of each image.

    Returns:
        (B,) gaps in [0, 1]; 0 where no label holds two levels.
    """
    means, count = cell_means(score, codes, label, weights)
    gap, pairs = np.zeros(len(means)), np.zeros(len(means))
    for first in range(means.shape[2]):
        for second in range(first):
            share = count[:, :, first] * count[:, :, second]
            apart = 0.5 * np.abs(means[:, :, first] - means[:, :, second]).sum(axis=-1)
            gap += np.where(share > 0, share * apart, 0.0).sum(axis=1)
            pairs += share.sum(axis=1)
    return np.asarray(gap / np.maximum(pairs, 1e-300))
