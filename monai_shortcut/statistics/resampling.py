# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds, bootstraps and permutations whose unit is the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from monai_shortcut.statistics.ordering import by_appearance

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_LEAST = {
    "folds": 2,
    "repeats": 1,
    "permutations": 1,
    "erasures": 1,
    "held_out": 0,
    "bootstraps": 1,
    "seed": 0,
}
_CELLS = 2**16  # numbers drawn at once; few enough for the cache
_DENSE = 2**20  # shares of patients in strata that are spelled out at once; bounds the memory
_SMALLEST_GROUP = 10  # patients with one set of labels that swap among themselves


@dataclass(frozen=True)
class Resampling:
    """How often and how folds, permutations and bootstrap samples are drawn.

    Attributes:
        folds: number of folds in which probes are validated, at least 2; no patient is in two of them.
        repeats: number of times the folds are drawn, at least 1, for the spread of the probes' metrics.
        permutations: number of permutations of each attribute between patients, at least 1.
        erasures: number of permuted copies of each attribute in the null of erasure, latent counterfactual and
            distributions, at least 1; they are the first of the permutations, and all of those if there are fewer.
        held_out: number of permutations that widen the errors of heads that have not seen a level, likewise the first;
            0 takes heads as given.
        bootstraps: number of bootstrap samples of patients, at least 1.
        confidence: confidence level of all intervals, between 0 and 1.
        seed: seed of all draws, at least 0.

    Raises:
        ValueError: If a number is no integer or out of its range.
    """

    folds: int = 5
    repeats: int = 4
    permutations: int = 999
    erasures: int = 99
    held_out: int = 10
    bootstraps: int = 999
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        if not (isinstance(self.confidence, float) and 0 < self.confidence < 1):
            raise ValueError(f"confidence must be a number between 0 and 1, got {self.confidence!r}.")


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
    patient, stratum = by_appearance(patients), by_appearance(strata)
    count = int(patient.max(initial=-1)) + 1
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
) -> NDArray[np.int32]:
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
        (B, N) int32 indices: ``values[result[b]]`` is the b-th permuted attribute.
    """
    exchange = _Exchange.of(patients, labels)
    result = np.empty((permutations, len(exchange.order)), dtype=np.int32)
    for rows, source, seed in exchange.draws(permutations, rng):
        result[rows] = exchange.images(source, seed)
    return result


def permuted_codes(
    codes: ArrayLike,
    patients: ArrayLike,
    permutations: int,
    rng: np.random.Generator,
    labels: ArrayLike | None = None,
    *,
    observed: bool = False,
) -> NDArray[np.signedinteger[Any]]:
    """Draw the permuted attribute itself: ``codes[permute_by_patient(...)]``, without the indices.

    Where an attribute is constant among the images of a patient with one label, only one value for all of them is
    looked up.

    Args:
        codes: (N,) level of each image, integers in [0, M).
        patients: (N,) patient of each image.
        permutations: number B of draws.
        rng: source of the draws.
        labels: (N,) optional class of each image.
        observed: put the codes as they are before the draws.

    Returns:
        (B, N), or (1 + B, N), codes in the smallest signed integers that hold them: int8 up to 128 levels. Beside
        these, memory does not grow with B.
    """
    code, exchange = np.asarray(codes), _Exchange.of(patients, labels)
    code = code.astype(np.min_scalar_type(-1 - int(code.max())))
    shared = exchange.shared_values(code)
    result = np.empty((observed + permutations, len(code)), dtype=code.dtype)
    if observed:
        result[0] = code
    drawn = result[int(observed) :]
    for rows, source, seed in exchange.draws(permutations, rng):
        given = shared[source]
        alike = given.min() >= 0
        drawn[rows] = given.take(exchange.cell, axis=1) if alike else code[exchange.images(source, seed)]
    return result


@dataclass(frozen=True, eq=False)
class _Exchange:
    """Who may give to whom. The images of a patient with one label are a cell, and all images of a patient another.

    Attributes:
        cell: (N,) cell of each image, among the C that hold images of one label.
        rank: (N,) place of each image in its cell.
        owner: (C,) patient of each cell, as its place among the members.
        label: (C,) label of each cell, in [0, L).
        order: (N,) images, cell by cell.
        start: (P * L + P,) where the images of each patient with each label lie in that order, then all of a patient.
        count: (P * L + P,) how many they are.
        members: (P,) patients, group by group.
        groups: places of each group, whose patients swap among themselves.
        lacking: whether a donor may lack a label that the receiver has.
    """

    cell: Integers
    rank: NDArray[np.uint32]
    owner: Integers
    label: Integers
    order: NDArray[np.int32]
    start: NDArray[np.uint32]
    count: NDArray[np.uint32]
    members: Integers
    groups: list[slice]
    lacking: bool

    @classmethod
    def of(cls, patients: ArrayLike, labels: ArrayLike | None) -> _Exchange:
        _, patient = np.unique(np.asarray(patients), return_inverse=True)
        label = np.zeros_like(patient) if labels is None else np.unique(np.asarray(labels), return_inverse=True)[1]
        people, classes = int(patient.max()) + 1, int(label.max()) + 1
        key = patient * classes + label
        count, whole = np.bincount(key, minlength=people * classes), np.bincount(patient)
        start, whole_start = np.cumsum(count) - count, np.cumsum(whole) - whole
        order, rank = np.argsort(key, kind="stable"), np.empty(len(key), dtype=np.uint32)
        rank[order] = np.arange(len(key)) - np.repeat(start, count)
        found, cell = np.unique(key, return_inverse=True)
        present = count.reshape(-1, classes) > 0
        groups = _exchangeable(count.reshape(-1, classes))
        ends = np.cumsum([len(group) for group in groups])
        members = np.concatenate(groups)
        return cls(
            cell=cell,
            rank=rank,
            owner=np.argsort(members)[found // classes],
            label=found % classes,
            order=order.astype(np.int32),
            start=np.concatenate([start, whole_start]).astype(np.uint32),
            count=np.concatenate([count, whole]).astype(np.uint32),
            members=members,
            groups=[slice(end - len(group), end) for end, group in zip(ends.tolist(), groups, strict=True)],
            lacking=any((present[group] != present[group[0]]).any() for group in groups),
        )

    def draws(self, permutations: int, rng: np.random.Generator) -> Iterator[tuple[slice, Integers, list[int]]]:
        """Blocks of b draws: rows, the cell (b, C) that gives to each, and the seed of where in it the gifts begin."""
        people, seed = len(self.members), int(rng.integers(2**63))
        classes = len(self.count) // people - 1
        block = max(1, _CELLS // len(self.cell))
        for first in range(0, permutations, block):
            donor = np.tile(self.members * classes, (min(block, permutations - first), 1))
            for group in self.groups:
                rng.permuted(donor[:, group], axis=1, out=donor[:, group])
            source = donor.take(self.owner, axis=1) + self.label
            if self.lacking:
                source = np.where(self.count[source] > 0, source, people * classes + source // classes)
            yield slice(first, first + block), source, [seed, first]

    def images(self, source: Integers, seed: list[int]) -> NDArray[np.int32]:
        """Images (b, N) whose values each image receives."""
        count = self.count[source]
        shift = np.random.default_rng(seed).integers(2**32, size=source.shape, dtype=np.uint32) % count
        place = shift.take(self.cell, axis=1) + self.rank
        place %= count.take(self.cell, axis=1)
        place += self.start[source].take(self.cell, axis=1)
        return np.asarray(self.order[place])

    def shared_values(self, code: NDArray[np.signedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
        """Value (P * L + P,) that all images of a cell share; -1 if they differ or there are none."""
        ordered, held = code[self.order], np.flatnonzero(self.count)
        first, last = self.start[held], self.start[held] + self.count[held] - 1
        changes = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
        shared = np.full(len(self.count), -1, dtype=code.dtype)
        shared[held] = np.where(changes[first] == changes[last], ordered[first], -1)
        return shared


def _exchangeable(images: Integers) -> list[Integers]:
    """Groups of patients that may swap, from their numbers of images (P, L) of each label."""
    _, kind, size = np.unique(images > 0, axis=0, return_inverse=True, return_counts=True)
    kind = kind.reshape(-1)
    pooled = np.where(size[kind] >= _SMALLEST_GROUP, kind, len(size) + images.argmax(axis=1))
    return [np.flatnonzero(pooled == value) for value in np.unique(pooled)]


def patient_bootstrap(count: int, draws: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """How often each patient is drawn when as many are drawn with replacement.

    Args:
        count: number P of patients.
        draws: number of bootstrap samples B.
        rng: source of the draws.

    Returns:
        (B, P) uint8, rows sum to P.

    References:
        Davison and Hinkley (1997), Bootstrap Methods and their Application, section 3.8.
    """
    # That one of P patients is drawn more than 255 times has a probability below 1e-500.
    drawn, block = np.empty((draws, count), dtype=np.uint8), max(1, _CELLS // count)
    for first in range(0, draws, block):
        rows = drawn[first : first + block]
        chosen = rng.integers(count, size=rows.shape) + count * np.arange(len(rows))[:, None]
        rows[:] = np.bincount(chosen.ravel(), minlength=rows.size).reshape(rows.shape)
    return drawn


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
    return patient_bootstrap(int(patient.max()) + 1, draws, rng)[:, patient].astype(np.float64)


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
