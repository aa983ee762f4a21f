# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Mean values of the images of each label and level, their errors by patient, and differences between levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from monai_shortcut.types import Floats, Integers

_SUMS = 2**20  # numbers held at once; bounds the memory
_FLOOR = 0.25  # least share of its mean over the permutations that a variance counts as


@dataclass(frozen=True, eq=False)
class Moments:
    """Means of the cells of B codings, and what they are worth.

    The share of patient j in its cell is h_j = n_j / n. The variance of a mean is the sum of the patients' squared
    residual sums, over n^2, and over 1 - 2 sum h^3 / sum h^2 + sum h^2, which makes it unbiased where the images of a
    patient are alike. It has as many degrees of freedom as (sum h^2)^2 / sum h^4 patients of equal size, less one.

    Attributes:
        mean: (B, L, M, K) of each label, level and column of values.
        covariance: (B, L, M, M, K) of the means of one label, clustered by patient.
        effective: (B, L, M) 1 / sum h^2, the number of patients of equal size that are worth as much.
        freedom: (B, L, M) degrees of freedom of a variance, at least 1.
        patients: (B, L, M) number of patients.

    References:
        Kish (1965), Survey Sampling; Bell and McCaffrey (2002), Survey Methodology 28(2).
    """

    mean: Floats
    covariance: Floats
    effective: Floats
    freedom: Floats
    patients: Floats

    @classmethod
    def joined(cls, parts: list[Moments]) -> Moments:
        """Moments of several blocks of codings."""
        names = ("mean", "covariance", "effective", "freedom", "patients")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    @property
    def variance(self) -> Floats:
        """(B, L, M, K) of the means."""
        return np.asarray(np.moveaxis(np.diagonal(self.covariance, axis1=2, axis2=3), -1, 2))

    def differences(self) -> Contrasts:
        """Means of the later level less those of the earlier one, for all P pairs of levels."""
        first, second = np.triu_indices(self.mean.shape[2], 1)
        own = self.variance
        own_first, own_second = own[:, :, first], own[:, :, second]
        variance = own_first + own_second - 2 * self.covariance[:, :, first, second]
        # Satterthwaite's degrees of freedom differ by column; the smaller of the two cells' is a bound for all.
        freedom = np.minimum(self.freedom[:, :, first], self.freedom[:, :, second])
        patients = np.minimum(self.patients[:, :, first], self.patients[:, :, second])
        total = np.square(own_first + own_second)
        parts = own_first**2 / self.freedom[:, :, first, None] + own_second**2 / self.freedom[:, :, second, None]
        welch = np.divide(total, parts, out=np.broadcast_to(freedom[..., None], total.shape).copy(), where=parts > 0)
        return Contrasts(self.mean[:, :, second] - self.mean[:, :, first], np.maximum(variance, 0.0), welch, patients)


@dataclass(frozen=True, eq=False)
class Contrasts:
    """Differences of means between two levels.

    Attributes:
        value: (B, L, P, K) differences; nan where a level has no image of the label.
        variance: (B, L, P, K) their variances.
        freedom: (B, L, P, K) degrees of freedom of these (Welch and Satterthwaite).
        patients: (B, L, P) patients of the smaller of the two cells.
    """

    value: Floats
    variance: Floats
    freedom: Floats
    patients: Floats

    def scores(self) -> Floats:
        """(B, L, P, K) absolute differences over their errors, each as the normal score of its t-value.

        A variance counts at least a quarter of its mean over the codings, lest a few equal values look certain. Scores
        are 0 where a cell holds fewer than two patients, or nothing varies.
        """
        known = (self.patients >= 2)[..., None] & np.isfinite(self.value)
        held = np.where(known, self.variance, 0.0)
        floor = _FLOOR * held.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        error = np.sqrt(np.maximum(held, floor))
        usable = known & (error > 1e-9)
        ratio = np.divide(np.abs(self.value), error, out=np.zeros_like(error), where=usable)
        return normal_score(ratio, np.where(usable, self.freedom, 1.0))


def with_two_more(patients: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
    """A mean of values in [0, 1] and its variance with two patients more, one of all 0 and one of all 1.

    An interval that rests on values which never varied must not be of zero width: among 20 patients, one in ten goes
    unseen in every eighth cohort.

    Args:
        patients: effective number of patients, and mean and variance: numbers or arrays.
        mean: their mean.
        variance: variance of the mean.

    References:
        Agresti and Caffo (2000), American Statistician 54(4), for shares; here of any value in [0, 1].
    """
    moved = (patients * mean + 1) / (patients + 2)
    square = patients * (patients * variance + (mean - moved) ** 2) + moved**2 + (1 - moved) ** 2
    return moved, square / (patients + 2) ** 2


def normal_score(t_value: Floats, freedom: Floats) -> Floats:
    """The normal quantile at the probability of t-values (...) of at least 0 with given degrees of freedom (...)."""
    return np.asarray(-ndtri(np.maximum(stdtr(freedom, -t_value), 1e-300)))


def t_value(score: float, freedom: Floats) -> Floats:
    """The t-values (...) whose normal score is given: the inverse of `normal_score`."""
    return np.asarray(-stdtrit(freedom, ndtr(-score)))


@dataclass(frozen=True, eq=False)
class Cells:
    """Values of images in cells of label and level.

    Attributes:
        values: (n, K) values in [0, 1].
        label: (n,) class of each image, integers in [0, L).
        patient: (n,) patient of each image, integers.
        levels: number M of levels.
    """

    values: Floats
    label: Integers
    patient: Integers
    levels: int

    def of(self, codes: NDArray[Any]) -> Moments:
        """Moments of B codings (B, n), integers in [0, M)."""
        size = max(1, _SUMS // (len(self.label) * self.levels))
        blocks = (codes[start : start + size] for start in range(0, len(codes), size))
        return Moments.joined([self._block(block) for block in blocks])

    @cached_property
    def _order(self) -> Integers:
        """(n,) images, patient by patient within labels."""
        return np.lexsort((self.patient, self.label))

    @cached_property
    def _starts(self) -> Integers:
        """(U,) where each patient's images of one label start in that order."""
        label, patient = self.label[self._order], self.patient[self._order]
        new = (label[1:] != label[:-1]) | (patient[1:] != patient[:-1])
        return np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)

    @cached_property
    def _unit(self) -> Integers:
        """(n,) which of these each image, in that order, is of."""
        return np.repeat(np.arange(len(self._starts)), np.diff(self._starts, append=len(self.label)))

    @cached_property
    def _unit_label(self) -> Integers:
        return self.label[self._order][self._starts]

    @cached_property
    def _ordered(self) -> Floats:
        """(n, K + 1) values in that order, and a one for each image."""
        return np.concatenate([self.values, np.ones((len(self.values), 1))], axis=1)[self._order]

    def _block(self, codes: NDArray[Any]) -> Moments:
        ordered = codes.take(self._order, axis=1)
        first = ordered.take(self._starts, axis=1)
        if (first.take(self._unit, axis=1) == ordered).all():
            return self._alike(first)
        return self._mixed(ordered)

    def _alike(self, codes: NDArray[Any]) -> Moments:
        """Moments where images of a patient with one label share the level (B, U): sums of the patients' powers."""
        sums = np.add.reduceat(self._ordered, self._starts, axis=0)
        total, size = sums[:, :-1], sums[:, -1:]
        powers = np.concatenate([size**0, size, size**2, size**3, size**4, total, total * size, total**2], axis=1)
        labels, columns = int(self.label.max()) + 1, total.shape[1]
        found = np.empty((len(codes), labels, self.levels, powers.shape[1]))
        for label in range(labels):
            inside = np.flatnonzero(self._unit_label == label)
            own, part = codes.take(inside, axis=1), powers[inside]
            for level in range(self.levels):
                found[:, label, level] = (own == level).astype(np.float64) @ part
        counts, rest = found[..., :5], found[..., 5:]
        total, cross, square = (rest[..., i * columns : (i + 1) * columns] for i in range(3))
        images = np.maximum(counts[..., 1:2], 1)
        mean = total / images
        spread = np.maximum(square - 2 * mean * cross + mean**2 * counts[..., 2:3], 0.0) / images**2
        covariance = np.zeros((*mean.shape[:3], self.levels, columns))
        own = np.arange(self.levels)
        covariance[:, :, own, own] = spread
        return _moments(mean, covariance, counts)

    def _mixed(self, codes: NDArray[Any]) -> Moments:
        """Moments where a patient's images of one label differ in level; codes (B, n) in the order of patients."""
        labels, columns = int(self.label.max()) + 1, self.values.shape[1]
        mean = np.zeros((len(codes), labels, self.levels, columns))
        covariance = np.zeros((len(codes), labels, self.levels, self.levels, columns))
        counts = np.zeros((len(codes), labels, self.levels, 5))
        bounds = np.append(self._starts, len(self.label))
        for label in np.unique(self._unit_label).tolist():
            units = np.flatnonzero(self._unit_label == label)
            inside = slice(int(bounds[units[0]]), int(bounds[units[-1] + 1]))
            ordered, starts = self._ordered[inside], self._starts[units] - inside.start
            chosen = [(codes[:, inside] == level).astype(np.float64) for level in range(self.levels)]
            sizes = [np.add.reduceat(own, starts, axis=1) for own in chosen]
            for level, size in enumerate(sizes):
                square = size * size
                powers = (size > 0, size, square, square * size, square * square)
                counts[:, label, level] = np.stack([power.sum(axis=1) for power in powers], axis=-1)
            images = np.maximum(counts[:, label, :, 1], 1)
            for column in range(columns):
                totals = [np.add.reduceat(own * ordered[:, column], starts, axis=1) for own in chosen]
                for level, (total, size) in enumerate(zip(totals, sizes, strict=True)):
                    mean[:, label, level, column] = own = total.sum(axis=1) / images[:, level]
                    total -= size * own[:, None]
                for one in range(self.levels):
                    for two in range(one + 1):
                        found = np.einsum("bu,bu->b", totals[one], totals[two]) / (images[:, one] * images[:, two])
                        covariance[:, label, one, two, column] = covariance[:, label, two, one, column] = found
        return _moments(mean, covariance, counts)


def _moments(mean: Floats, covariance: Floats, counts: Floats) -> Moments:
    """Correct raw covariances for small numbers of patients of unequal size.

    Args:
        mean: (B, L, M, K), 0 where no image is.
        covariance: (B, L, M, M, K) sums of products of residual sums over the numbers of images.
        counts: (B, L, M, 5) sums of powers 0 to 4 of the patients' numbers of images.
    """
    patients, images = counts[..., 0], np.maximum(counts[..., 1], 1)
    second, third, fourth = (counts[..., power] / images**power for power in (2, 3, 4))
    second = np.where(second > 0, second, 1.0)
    share = np.maximum(1 - 2 * third / second + second, 1e-12)
    factor = 1 / np.sqrt(np.where(patients >= 2, share, 1.0))
    freedom = np.where(patients >= 2, np.maximum(second**2 / np.maximum(fourth, 1e-300) - 1, 1.0), 1.0)
    return Moments(
        np.where(patients[..., None] > 0, mean, np.nan),
        covariance * factor[..., :, None, None] * factor[..., None, :, None],
        1 / second,
        freedom,
        patients,
    )
