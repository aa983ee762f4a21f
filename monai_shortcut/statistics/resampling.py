# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds, bootstraps and permutations whose unit is the patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_DENSE = 2**20  # shares of patients in strata that are spelled out at once; bounds the memory
_SMALLEST_GROUP = 10  # patients with one set of labels that swap among themselves


def patient_folds(patients: ArrayLike, strata: ArrayLike, folds: int, rng: np.random.Generator) -> Integers:
    """Assign images to folds so that no patient is in two of them and each stratum is shared out evenly.

    Patients with equal numbers of images in every stratum are of one kind. Whole rounds of a kind are dealt out at
    random. The rest are placed one by one, the largest first, each where its strata are rarest so far.

    Args:
        patients: (N,) patient of each image; names do not matter, only the order in which they first appear.
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
    patient, stratum = _by_appearance(patients), _by_appearance(strata)
    count = len(np.unique(patient))
    if not 2 <= folds <= count:
        raise ValueError(f"folds must be between 2 and the number of patients ({count}), got {folds}.")
    shares = _shares(patient, stratum)
    # Random sums over the strata are equal for patients of one kind, and for no others.
    _, kind, size = np.unique(shares @ rng.random(shares.shape[1]), return_inverse=True, return_counts=True)
    shuffled = rng.permutation(count)
    order = shuffled[np.argsort(kind[shuffled], kind="stable")]
    rank = np.arange(count) - np.repeat(np.cumsum(size) - size, size)
    # The last whole round stays with the rest: small patients even out what large ones leave.
    rest = order[rank >= (np.maximum(size // folds - 1, 0) * folds)[kind[order]]]
    fold = np.empty(count, dtype=np.int64)
    fold[order] = rank % folds
    # Without the random factor, cohorts in which every patient is of its own kind would have one partition only.
    fold[rest] = _placed(shares[rest], 1 + rng.random(len(size))[kind[rest]], folds)
    return np.asarray(rng.permutation(folds)[fold][patient])


def _by_appearance(values: ArrayLike) -> Integers:
    """Codes (N,) of values, numbered in the order in which they first appear."""
    _, first, code = np.unique(np.asarray(values), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[code])


def _shares(patient: Integers, stratum: Integers) -> csr_array:
    """Share (P, S + 1) of the images of each stratum, and at last of all images, that each patient has."""
    column = np.concatenate([stratum, np.full_like(stratum, stratum.max() + 1)])
    return csr_array((1 / np.bincount(column)[column], (np.tile(patient, 2), column)))


def _placed(shares: csr_array, factor: Floats, folds: int) -> Integers:
    """Folds of patients, placed one by one so that the sum of squared shares grows least.

    Args:
        shares: (R, S + 1) share of each stratum that each patient has.
        factor: (R,) by which the order, largest first, is shuffled.
        folds: number of folds.
    """
    order = np.argsort(-shares.multiply(shares).sum(axis=1) * factor, kind="stable")
    load, fold = np.zeros((folds, shares.shape[1])), np.empty(len(order), dtype=np.int64)
    for block in np.array_split(order, 1 + len(order) * shares.shape[1] // _DENSE):
        for index, share in zip(block.tolist(), shares[block].toarray(), strict=True):
            fold[index] = best = load.dot(share).argmin()
            load[best] += share
    return fold


def permute_by_patient(
    patients: ArrayLike, permutations: int, rng: np.random.Generator, labels: ArrayLike | None = None
) -> Integers:
    """Draw permutations that hand each patient the values of another patient.

    Values that are constant within patients stay so, which keeps the dependence between images of a patient. With
    labels, the donor is a patient with the same set of labels and each image receives the value of one of the donor's
    images of its own label, so that whatever ties the attribute to the label, between or within patients, stays too.
    Sets of labels that fewer than ten patients have are pooled by the patients' most frequent label; where the donor
    then lacks a label, any of its images gives. Donors with fewer images give cyclically, from a random start.

    Args:
        patients: (N,) patient of each image.
        permutations: number B of draws.
        rng: source of the draws.
        labels: (N,) optional class of each image.

    Returns:
        (B, N) int64 indices: ``values[result[b]]`` is the b-th permuted attribute.
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    label = np.zeros_like(patient) if labels is None else np.unique(np.asarray(labels), return_inverse=True)[1]
    classes = int(label.max()) + 1
    cell = patient * classes + label
    count = np.bincount(cell, minlength=(int(patient.max()) + 1) * classes)
    order, rank = _grouped(cell)  # a patient's images lie together, label by label
    whole, whole_rank = np.bincount(patient), np.empty_like(rank)
    whole_rank[order] = np.arange(len(patient)) - np.repeat(np.cumsum(whole) - whole, whole)
    start, whole_start = np.cumsum(count) - count, np.cumsum(whole) - whole
    groups = _exchangeable(count.reshape(-1, classes))
    result, donor = np.empty((permutations, len(patient)), dtype=np.int64), np.empty(len(whole), dtype=np.int64)
    for draw in range(permutations):
        for group in groups:
            donor[group] = rng.permutation(group)
        chosen = donor[patient]
        wanted = chosen * classes + label
        shift = rng.integers(2**31, size=len(count))[wanted]
        matched = start[wanted] + (rank + shift) % np.maximum(count[wanted], 1)
        anyone = whole_start[chosen] + (whole_rank + shift) % whole[chosen]
        result[draw] = order[np.where(count[wanted] > 0, matched, anyone)]
    return result


def _grouped(codes: Integers) -> tuple[Integers, Integers]:
    """Order that brings equal codes together, and each position's rank among its equals."""
    order, count = np.argsort(codes, kind="stable"), np.bincount(codes)
    rank = np.empty(len(codes), dtype=np.int64)
    rank[order] = np.arange(len(codes)) - np.repeat(np.cumsum(count) - count, count)
    return order, rank


def _exchangeable(images: Integers) -> list[Integers]:
    """Groups of patients that may swap, from their numbers of images (P, L) of each label."""
    _, kind, size = np.unique(images > 0, axis=0, return_inverse=True, return_counts=True)
    kind = kind.reshape(-1)
    pooled = np.where(size[kind] >= _SMALLEST_GROUP, kind, len(size) + images.argmax(axis=1))
    return [np.flatnonzero(pooled == value) for value in np.unique(pooled)]


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


def standard_score(observed: float, null: NDArray[np.float64]) -> float:
    """Standard deviations of the null between its mean and the observed value.

    Args:
        observed: statistic.
        null: (B,) the statistic under permutation.

    Example:
        >>> standard_score(4.0, np.array([1.0, 3.0]))
        2.0
    """
    return float((observed - null.mean()) / max(null.std(), 1e-12))


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
