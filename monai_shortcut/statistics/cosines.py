# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Cosines between embeddings of images, and their means with patients as units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.statistics.resampling import patient_bootstrap
from monai_shortcut.types import Estimate, Floats, Integers, Points

_ROWS = 4096  # images that are looked at at once; bounds the memory
_DRAWS = 64  # bootstrap samples that are summed at once; bounds the memory


def row_cosines(first: Points, second: Points, centre: Floats | None = None) -> Floats:
    """Cosine of each row with the same row of another array.

    Args:
        first: (n, D).
        second: (n, D).
        centre: (D,) subtracted from both; nothing by default.

    Returns:
        (n,) in [-1, 1]; NaN where a row is zero (at the centre) or not finite.

    Example:
        >>> row_cosines(np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [1.0, 0.0]])).tolist()
        [0.96, nan]
    """
    found = np.full(len(first), np.nan)
    for start in range(0, len(first), _ROWS):
        block = slice(start, start + _ROWS)
        one, other = first[block].astype(np.float64), second[block].astype(np.float64)
        if centre is not None:
            one, other = one - centre, other - centre
        lengths = [np.sqrt(np.einsum("ij,ij->i", rows, rows)) for rows in (one, other)]
        known = np.all([np.isfinite(length) & (length > 0) for length in lengths], axis=0)
        product = np.einsum("ij,ij->i", one[known], other[known])
        found[block][known] = np.clip(product / (lengths[0][known] * lengths[1][known]), -1.0, 1.0)
    return found


def other_patients(patients: Integers, strata: Integers, rng: np.random.Generator) -> Integers:
    """For each image an image of another patient of its stratum, each image given once, patients in random order.

    Args:
        patients: (n,) patient of each image.
        strata: (n,) stratum of each image.
        rng: source of the order.

    Returns:
        (n,) position of the other image; -1 where one patient has more than half of the stratum's images and there is
        none for this one.
    """
    place = rng.permutation(int(patients.max(initial=-1)) + 1)
    found = np.full(len(patients), -1, dtype=np.int64)
    for value in np.unique(strata):
        rows = np.flatnonzero(strata == value)
        rows = rows[np.argsort(place[patients[rows]], kind="stable")]  # patient by patient
        # A step as long as the largest patient leads out of every patient.
        given = np.roll(rows, -int(np.bincount(patients[rows]).max()))
        other = patients[given] != patients[rows]
        found[rows[other]] = given[other]
    return found


def patient_means(
    values: Floats, patients: Integers, draws: int, confidence: float, rng: np.random.Generator
) -> list[Estimate | None]:
    """Mean over images of several columns, each with percentile limits when patients are drawn with replacement.

    Args:
        values: (n, K), NaN where an image does not count.
        patients: (n,) patient of each image, integers in [0, P).
        draws: number of bootstrap samples, which all columns share.
        confidence: of the limits.
        rng: source of the draws.

    Returns:
        One for each column; None where fewer than two patients count.

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    known = ~np.isnan(values)
    people = int(patients.max(initial=-1)) + 1
    columns = [np.bincount(patients, column, people) for column in (*np.where(known, values, 0.0).T, *known.T)]
    sums: NDArray[np.float64] = np.stack(columns, axis=1) if columns else np.zeros((people, 0))
    bootstrap = patient_bootstrap(max(people, 1), draws, rng)
    blocks = (bootstrap[start : start + _DRAWS].astype(np.float64) for start in range(0, draws, _DRAWS))
    total, count = np.split(np.concatenate([block @ sums for block in blocks]), 2, axis=1)
    found: list[Estimate | None] = []
    for column in range(values.shape[1]):
        whole, images = np.split(sums, 2, axis=1)
        if (images[:, column] > 0).sum() < 2:
            found.append(None)
            continue
        drawn = count[:, column] > 0
        value = float(whole[:, column].sum() / images[:, column].sum())
        found.append(Estimate.of(value, total[drawn, column] / count[drawn, column], confidence))
    return found
