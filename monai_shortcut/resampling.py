# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds, bootstraps and permutations whose unit is the patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def patient_folds(patients: ArrayLike, strata: ArrayLike, folds: int, rng: np.random.Generator) -> Integers:
    """Assign images to folds so that no patient is in two of them.

    Args:
        patients: (N,) patient of each image.
        strata: (N,) class of each image, whose shares the folds should keep.
        folds: number K of folds, at least 2 and at most the number of patients.
        rng: source of the shuffle.

    Returns:
        (N,) fold of each image, int64 in [0, K).

    Raises:
        ValueError: If there are fewer patients than folds, or fewer than two folds.

    Example:
        >>> fold = patient_folds(["a", "a", "b", "c"], [0, 1, 0, 1], 2, np.random.default_rng(0))
        >>> bool(fold[0] == fold[1])
        True
    """
    patients, strata = np.asarray(patients), np.asarray(strata)
    count = len(np.unique(patients))
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be between 2 and the number of patients ({count}), got {folds}.")
    # scikit-learn refuses a split in which every stratum is smaller than the number of folds; then strata cannot help.
    common = np.unique(strata, return_counts=True)[1].max() >= folds
    _, patient = np.unique(patients, return_inverse=True)
    # Renaming the patients at random shuffles the folds; the splitter's own shuffle loses the strata before 1.8.
    groups = rng.permutation(count)[patient]
    fold = np.empty(len(patients), dtype=np.int64)
    splits = StratifiedGroupKFold(folds).split(groups, strata if common else np.zeros(len(groups)), groups)
    for index, (_, held_out) in enumerate(splits):
        fold[held_out] = index
    return fold


def most_frequent(patients: ArrayLike, codes: ArrayLike) -> Integers:
    """The most frequent code among each patient's images, given to every image of that patient.

    Args:
        patients: (N,) patient of each image.
        codes: (N,) non-negative integers.

    Returns:
        (N,) int64; ties go to the smallest code.

    Example:
        >>> most_frequent(["a", "a", "a", "b"], [1, 1, 0, 2]).tolist()
        [1, 1, 1, 2]
    """
    codes = np.asarray(codes, dtype=np.int64)
    _, index = np.unique(np.asarray(patients), return_inverse=True)
    counts = np.zeros((index.max() + 1, codes.max() + 1), dtype=np.int64)
    np.add.at(counts, (index, codes), 1)
    return np.asarray(counts.argmax(axis=1)[index])


def permute_by_patient(
    patients: ArrayLike, permutations: int, rng: np.random.Generator, strata: ArrayLike | None = None
) -> Integers:
    """Draw permutations that hand each patient the values of another patient.

    A patient receives the whole sequence of a donor: repeated cyclically when the donor has fewer images, cut when
    the donor has more. Values that are constant within patients stay so, which keeps the dependence between images of
    a patient and makes the permutation test valid for clustered images.

    Args:
        patients: (N,) patient of each image.
        permutations: number B of draws.
        rng: source of the draws.
        strata: (N,) optional; donors are sought only among patients of the same stratum. Constant within patients.

    Returns:
        (B, N) int64 indices: ``values[result[b]]`` is the b-th permuted attribute.

    Raises:
        ValueError: If a patient is in two strata.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = np.bincount(patient)
    order = np.argsort(patient, kind="stable")
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank = np.empty(len(patient), dtype=np.int64)
    rank[order] = np.arange(len(patient)) - np.repeat(start, count)
    stratum = np.zeros(len(count), dtype=np.int64)
    if strata is not None:
        _, image_stratum = np.unique(np.asarray(strata), return_inverse=True)
        stratum[patient] = image_stratum
        if (stratum[patient] != image_stratum).any():
            raise ValueError("strata must be constant within patients, got a patient in two strata.")
    groups = [np.flatnonzero(stratum == value) for value in np.unique(stratum)]
    result = np.empty((permutations, len(patient)), dtype=np.int64)
    donor = np.empty(len(count), dtype=np.int64)
    for draw in range(permutations):
        for group in groups:
            donor[group] = rng.permutation(group)
        chosen = donor[patient]
        shift = rng.integers(count)[chosen]  # a random start, so that repeated or cut sequences favour no image
        result[draw] = order[start[chosen] + (rank + shift) % count[chosen]]
    return result


def bootstrap_weights(patients: ArrayLike, draws: int, rng: np.random.Generator) -> Floats:
    """Weights of images when patients are drawn with replacement.

    Args:
        patients: (N,) patient of each image.
        draws: number of bootstrap samples B.
        rng: source of the draws.

    Returns:
        (B, N) float64: how often each image's patient was drawn.

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    count = int(patient.max()) + 1
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    return weights[:, patient].astype(np.float64)


def permutation_p_value(observed: float, null: ArrayLike) -> float:
    """Share of permutations at least as large as the observed value, the observed one counted.

    Args:
        observed: statistic; larger means more evidence.
        null: (B,) the statistic under permutation.

    Returns:
        p in [1 / (B + 1), 1].

    References:
        Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9(1), equation 2.

    Example:
        >>> permutation_p_value(2.0, [0.0, 1.0, 3.0])
        0.5
    """
    draws = np.asarray(null, dtype=np.float64)
    # Equal up to rounding counts as equal: identical permutations must never look more extreme than the observation.
    tolerance = 1e-12 * max(1.0, abs(observed))
    return float((1 + (draws >= observed - tolerance).sum()) / (1 + len(draws)))


def holm(p_values: ArrayLike) -> Floats:
    """Holm's step-down adjustment of p-values for the family-wise error rate.

    Args:
        p_values: (A,) p-values in [0, 1]; NaN stays NaN and is not counted.

    Returns:
        (A,) adjusted p-values, float64.

    References:
        Holm (1979), Scand. J. Statist. 6(2).

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(order) else steps
    return adjusted
