# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model serve the levels of an attribute equally well? Areas under ROC curves and calibration of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import t

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.delong import estimate_auc
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Tested

_BLOCK = 16  # draws at once; few enough for the cache
_FEWEST_PATIENTS = 5  # of either outcome for an area, of a level for a calibration that is compared
_FLOOR = 0.25  # least variance of a gap, as a share of its mean over the permutations


@dataclass(frozen=True)
class LevelScore:
    """How well one class is told from the rest, and how well calibrated it is, at one level of an attribute.

    Attributes:
        label: the class.
        level: the level.
        images: number of images of the level.
        patients: number of its patients.
        auc: area under the ROC curve, the class against the rest, with limits clustered by patient that hold with few
            patients; None where fewer than five patients have either.
        mean_probability: mean probability of the class.
        observed: share of images of the class.
        calibration: mean_probability - observed ("calibration in the large"): above 0 the model says it too often.
        calibration_limits: its confidence limits, clustered by patient, of Student's distribution with the effective
            number of patients; None with fewer than five patients.
    """

    label: int
    level: int
    images: int
    patients: int
    auc: Estimate | None
    mean_probability: float
    observed: float
    calibration: float
    calibration_limits: tuple[float, float] | None


@dataclass(frozen=True)
class SubgroupGaps:
    """Scores of all levels, and whether they differ more than chance makes them.

    The tests are of the statistics that `subgroups` explains; the gaps are in units of the scores. A gap is the largest
    of several, so that noise alone makes it positive.

    Attributes:
        scores: one per class and level, class by class.
        auc_gap: largest difference of auc between two levels of one class; None where no two are known.
        auc_test: the largest studentized gap of auc; None where auc_gap is.
        calibration_gap: largest difference of calibration between two levels of one class; None where no two levels
            have five patients.
        calibration_test: the largest studentized gap of calibration; None where calibration_gap is.
    """

    scores: tuple[LevelScore, ...]
    auc_gap: float | None
    auc_test: Tested | None
    calibration_gap: float | None
    calibration_test: Tested | None


def subgroups(sample: AttributeSample) -> SubgroupGaps:
    """Score each level of an attribute by itself and test whether the scores differ between levels.

    The null hypothesis: images of one label are answered alike at all levels. The attribute is permuted between
    patients within labels, so each level keeps its mix of labels. That mix alone can make gaps - where a class is
    frequent, an imperfect model says it too rarely - so a gap counts by what it exceeds its mean over the permutations,
    in absolute value. This excess is divided by the gap's standard error, clustered by patient and taken anew in each
    permutation: small levels do not dominate, and a level whose answers merely scatter more is not taken for a
    miscalibrated one. The statistic is the largest of these over classes and pairs of levels. A variance counts at
    least a quarter of its mean over the permutations, lest a few images without an error look certain.

    Args:
        sample: the images and the attribute; only their answers are used. Of two classes only class 1 is scored.

    Returns:
        The scores of C x M classes and levels (M when C is 2), the gaps and their tests.

    References:
        Studentized permutation: Chung and Romano (2013), Annals of Statistics 41(2); of areas: Pauly, Asendorf and
        Konietschke (2016), Biometrical Journal 58(6). Calibration in the large: Van Calster et al. (2019), BMC
        Medicine 17.
    """
    score, code, label, levels = sample.probabilities, sample.codes, sample.labels, sample.count
    patient = np.unique(sample.patients, return_inverse=True)[1]
    classes = range(1, 2) if score.shape[1] == 2 else range(score.shape[1])
    scores = tuple(
        _level_score(score[code == v, c], label[code == v] == c, patient[code == v], sample.draws.confidence, (c, v))
        for c in classes
        for v in range(levels)
    )
    areas = [_areas(score[:, c], label == c, sample.permuted, patient, levels) for c in classes]
    calibrations = [_calibrations(score[:, c], label, c, sample.permuted, patient, levels) for c in classes]
    known = np.array([s.auc is not None for s in scores]).reshape(-1, levels)
    enough = np.array([s.calibration_limits is not None for s in scores]).reshape(-1, levels)
    return SubgroupGaps(scores, *_largest_gap(areas, known), *_largest_gap(calibrations, enough))


def _level_score(
    probability: Floats, positive: Booleans, patient: Integers, confidence: float, names: tuple[int, int]
) -> LevelScore:
    auc, residual = None, probability - positive
    if min(len(np.unique(patient[positive])), len(np.unique(patient[~positive]))) >= _FEWEST_PATIENTS:
        auc = estimate_auc(positive, probability, patient, confidence).auc
    return LevelScore(
        label=names[0],
        level=names[1],
        images=len(patient),
        patients=len(np.unique(patient)),
        auc=auc,
        mean_probability=float(probability.mean()),
        observed=float(positive.mean()),
        calibration=float(residual.mean()),
        calibration_limits=calibration_limits(residual, patient, confidence),
    )


def calibration_limits(residual: Floats, patient: Integers, confidence: float) -> tuple[float, float] | None:
    """Limits of calibration in the large, clustered by patient.

    Args:
        residual: (n,) probability of a class less 1 where it is true.
        patient: (n,) of each image.
        confidence: of the limits.

    Returns:
        None of fewer than five patients.
    """
    people, person = np.unique(patient, return_inverse=True)
    count, calibration = len(people), float(residual.mean())
    if count < _FEWEST_PATIENTS:
        return None
    sums, images = np.bincount(person, residual - calibration), np.bincount(person)
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / len(patient)
    effective = len(patient) ** 2 / float((images**2).sum())
    reach = float(t.ppf(0.5 + confidence / 2, max(effective - 1, 0.1)) * error)
    return max(calibration - reach, -1.0), min(calibration + reach, 1.0)


@dataclass(frozen=True, eq=False)
class _Order:
    """Images in an order of their own, and sums over the images of each patient.

    Attributes:
        images: (n,) the images in their order.
        member: (P, n) 1 where an image of that order is a patient's.
    """

    images: Integers
    member: csr_array

    @classmethod
    def of(cls, images: Integers, patient: Integers) -> _Order:
        return cls(images, csr_array((np.ones(len(images)), (patient[images], np.arange(len(images))))))

    def by_level(
        self, estimate: Callable[[Booleans], tuple[Floats, Floats]], codes: NDArray[Any], levels: int
    ) -> tuple[Floats, Floats]:
        """Values (B, M) and covariance (B, M, M) of B codings.

        The estimate takes which images (b, n), in the order, are of a level, and gives values (b,) and the influence of
        the images (b, n).
        """
        values, covariance = np.empty((len(codes), levels)), np.empty((len(codes), levels, levels))
        for start in range(0, len(codes), _BLOCK):
            block = codes[start : start + _BLOCK].take(self.images, axis=1)
            influence = np.empty((len(block), levels, self.member.shape[0]))
            for level in range(levels):
                values[start : start + _BLOCK, level], images = estimate(block == level)
                influence[:, level] = (self.member @ images.T).T
            covariance[start : start + _BLOCK] = influence @ influence.transpose(0, 2, 1)
        return values, covariance


def _areas(
    score: Floats, positive: Booleans, codes: NDArray[Any], patient: Integers, levels: int
) -> tuple[Floats, Floats]:
    """Areas (B, M) under the ROC curve within levels and their clustered covariance (B, M, M), for B codings.

    The images of either outcome are sorted once: how many of a level lie below each one of the other outcome is then a
    running count, whatever the coding.
    """
    rising = np.argsort(score, kind="stable")
    ones, zeros = rising[positive[rising]], rising[~positive[rising]]
    order, split = _Order.of(np.concatenate([ones, zeros]), patient), len(ones)
    of_ones, of_zeros = _places(score[ones], score[zeros]), _places(score[zeros], score[ones])

    def estimate(inside: Booleans) -> tuple[Floats, Floats]:
        one, zero = inside[:, :split], inside[:, split:]
        m, n = one.sum(axis=1), zero.sum(axis=1)
        zeros_below = _below(zero, of_ones) / np.maximum(n, 1)[:, None]
        ones_above = 1 - _below(one, of_zeros) / np.maximum(m, 1)[:, None]
        area = np.einsum("bn,bn->b", zeros_below, one) / np.maximum(m, 1)
        influence = np.concatenate([zeros_below, ones_above], axis=1)
        influence -= area[:, None]
        influence *= inside
        influence[:, :split] /= np.maximum(m, 1)[:, None]
        influence[:, split:] /= np.maximum(n, 1)[:, None]
        return np.where((m > 0) & (n > 0), area, np.nan), influence

    return order.by_level(estimate, codes, levels)


def _places(scores: Floats, others: Floats) -> list[Integers]:
    """Places (k,) of scores among others (n,), both ascending: first and, where there are ties, last."""
    first, last = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    return [first] if (first == last).all() else [first, last]


def _below(chosen: Booleans, places: list[Integers]) -> Floats:
    """Number (b, k) of chosen images (b, n) below some places, a mean where there are two."""
    count = np.zeros((len(chosen), chosen.shape[1] + 1), np.int32)
    np.cumsum(chosen, axis=1, dtype=np.int32, out=count[:, 1:])
    return np.asarray(sum(count.take(place, axis=1) for place in places) / len(places))


def _calibrations(
    score: Floats, label: Integers, of: int, codes: NDArray[Any], patient: Integers, levels: int
) -> tuple[Floats, Floats]:
    """Calibrations (B, M) of levels and their clustered covariance (B, M, M), for B codings.

    The covariance is that of the probabilities within labels, for the permutations leave each level its labels.
    """
    order = _Order.of(np.argsort(patient, kind="stable"), patient)
    residual = score - (label == of)
    deviation = score - (np.bincount(label, score) / np.maximum(np.bincount(label), 1))[label]
    both = np.stack([deviation, residual], axis=1)[order.images]

    def estimate(inside: Booleans) -> tuple[Floats, Floats]:
        count = inside.sum(axis=1)
        mean, value = (inside.astype(np.float64) @ both).T / np.maximum(count, 1)
        influence = inside * (both[:, 0] - mean[:, None]) / np.maximum(count, 1)[:, None]
        return np.where(count > 0, value, np.nan), influence

    return order.by_level(estimate, codes, levels)


def _largest_gap(estimates: list[tuple[Floats, Floats]], known: Booleans) -> tuple[float | None, Tested | None]:
    """Largest gap between known (C, M) levels, and its test; the first coding is the observed."""
    first, second = np.triu_indices(known.shape[1], 1)
    both = known[:, first] & known[:, second]
    if not both.any():
        return None, None
    values, covariance = (np.stack(parts, axis=1) for parts in zip(*estimates, strict=True))
    gap = np.nan_to_num(values[..., first] - values[..., second])[:, both]
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    variance = (variance[..., first] + variance[..., second] - 2 * covariance[..., first, second])[:, both]
    error = np.sqrt(np.maximum(variance, _FLOOR * variance.mean(axis=0)))
    excess = np.abs(gap) - np.abs(gap.mean(axis=0))
    # Answers that do not vary have an error of rounding alone.
    statistic = np.divide(excess, error, out=np.zeros_like(excess), where=error > 1e-9).max(axis=1)
    return float(np.abs(gap[0]).max()), Tested.of(statistic)
