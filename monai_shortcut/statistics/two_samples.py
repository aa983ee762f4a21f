# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Distances between the distributions of groups of images, for many codings of the groups at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.types import Floats, Integers

OTHERS = -1  # all levels but one
_PAIRED = 5  # levels that are compared in pairs; more would be too many pairs to compute and to read
_AT_ONCE = 2**20  # images times codings that are looked at at once; few enough for the cache


def comparisons(levels: int) -> list[tuple[int, int]]:
    """What is compared: pairs of levels (a, b) with a < b; of more than five, each level with all others.

    Example:
        >>> comparisons(3)
        [(0, 1), (0, 2), (1, 2)]
        >>> comparisons(6)[:2]
        [(0, -1), (1, -1)]
    """
    if levels > _PAIRED:
        return [(level, OTHERS) for level in range(levels)]
    return [(first, second) for first in range(levels) for second in range(first + 1, levels)]


def mean_distances(features: NDArray[Any], codes: NDArray[Any], levels: int) -> tuple[Floats, Floats]:
    """Squared distances between the mean features of levels.

    With random features of a Gaussian kernel, as `random_features` gives, they are the squared maximum mean discrepancy
    of the kernel, each level compared with itself included (the biased form).

    Args:
        features: (n, F) of the images.
        codes: (B, n) level of each image, integers in [0, M).
        levels: M.

    Returns:
        (B, K) squared distances in the order of `comparisons`, 0 where one side has no image; and (B, K, 2) images of
        either side.

    References:
        Gretton et al. (2012), J. Machine Learning Research 13, equation 5.
    """
    centred = features - features.mean(axis=0)
    images = _images(codes, levels)
    found = np.zeros(images.shape[:2])
    for block in _blocks(codes):
        sums = [(codes[block] == level).astype(centred.dtype) @ centred for level in range(1, levels)]
        sums.insert(0, -np.sum(sums, axis=0))  # centred features sum to zero
        for place, (first, second) in enumerate(comparisons(levels)):
            sides = sums[first], -sums[first] if second == OTHERS else sums[second]
            one, other = (total / np.maximum(images[block, place, side, None], 1) for side, total in enumerate(sides))
            found[block, place] = np.einsum("bf,bf->b", one - other, one - other, dtype=np.float64)
    return np.where(images.min(axis=2) > 0, found, 0.0), images


def ks_distances(values: NDArray[Any], codes: NDArray[Any], levels: int) -> Floats:
    """Largest distances between the distribution functions of levels (Kolmogorov and Smirnov).

    Args:
        values: (n,) of the images, with or without ties.
        codes: (B, n) level of each image, integers in [0, M).
        levels: M.

    Returns:
        (B, K) in [0, 1], in the order of `comparisons`; 0 where one side has no image.
    """
    order = np.argsort(values, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(values[order]) > 0, True))  # steps end where a value does
    images = _images(codes, levels)
    found = np.zeros(images.shape[:2])
    for block in _blocks(codes):
        own = codes[block][:, order]
        reached = [np.cumsum(own == level, axis=1, dtype=np.int32)[:, ends] for level in range(levels)]
        for place, (first, second) in enumerate(comparisons(levels)):
            sides = reached[first], ends + 1 - reached[first] if second == OTHERS else reached[second]
            one, other = (sums / np.maximum(images[block, place, side, None], 1) for side, sums in enumerate(sides))
            found[block, place] = np.abs(one - other).max(axis=1)
    return np.where(images.min(axis=2) > 0, found, 0.0)


def patients_within(patients: Integers, most: int, rng: np.random.Generator) -> Integers:
    """Images of patients in random order, as many patients as have together no more than so many images.

    Args:
        patients: (N,) patient of each image, integers in [0, P).
        most: number of images; the first patient is taken in any case.
        rng: source of the order.

    Returns:
        Their (n,) positions, ascending.

    Example:
        >>> patients_within(np.array([0, 0, 1, 1]), 3, np.random.default_rng(0)).tolist() in ([0, 1], [2, 3])
        True
    """
    size = np.bincount(patients)
    order = rng.permutation(len(size))
    order = order[size[order] > 0]
    kept = order[np.cumsum(size[order]) <= most]
    return np.flatnonzero(np.isin(patients, kept if len(kept) else order[:1]))


def _images(codes: NDArray[Any], levels: int) -> Floats:
    """(B, K, 2) images of either side of each comparison."""
    count = np.stack([(codes == level).sum(axis=1) for level in range(levels)], axis=1).astype(np.float64)
    count = np.concatenate([count, codes.shape[1] - count], axis=1)  # the others of each level last
    sides = [(first, levels + first if second == OTHERS else second) for first, second in comparisons(levels)]
    return count[:, np.array(sides)]


def _blocks(codes: NDArray[Any]) -> list[slice]:
    step = max(1, _AT_ONCE // max(codes.shape[1], 1))
    return [slice(start, min(start + step, len(codes))) for start in range(0, len(codes), step)]
