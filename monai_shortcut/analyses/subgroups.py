# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model serve the levels of an attribute equally well? Areas under ROC curves and calibration of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.stats import t

from monai_shortcut.statistics.areas import with_interval
from monai_shortcut.statistics.delong import auc_covariance
from monai_shortcut.statistics.resampling import permutation_p_value, permute_by_patient

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
_BLOCK = 64  # draws at once; bounds the memory
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
        auc: area under the ROC curve, the class against the rest; None where fewer than five patients have either.
        interval: confidence limits of auc, by DeLong's method clustered by patient.
        mean_probability: of the class.
        observed: share of images of the class.
        calibration: mean_probability - observed ("calibration in the large"): above 0 the model says it too often.
        calibration_interval: its confidence limits, clustered by patient; None with fewer than five patients.
    """

    label: int
    level: int
    images: int
    patients: int
    auc: float | None
    interval: tuple[float, float] | None
    mean_probability: float
    observed: float
    calibration: float
    calibration_interval: tuple[float, float] | None


@dataclass(frozen=True)
class SubgroupGaps:
    """Scores of all levels, and whether they differ more than chance makes them.

    The statistics decide the p-values and are those of `subgroup_gaps`; the gaps are in units of the scores. A gap is
    the largest of several, so that noise alone makes it positive.

    Attributes:
        scores: one per class and level, class by class.
        auc_gap: largest difference of auc between two levels of one class; None where no two are known.
        auc_gap_p: its p-value.
        calibration_gap: largest difference of calibration between two levels of one class; None where no two levels
            have five patients.
        calibration_gap_p: its p-value.
        auc_statistic: the largest studentized gap of auc.
        auc_null: (B,) the same under permutation; empty where auc_gap is None.
        calibration_statistic: the largest studentized gap of calibration.
        calibration_null: (B,) the same under permutation; empty where calibration_gap is None.
    """

    scores: tuple[LevelScore, ...]
    auc_gap: float | None
    auc_gap_p: float | None
    calibration_gap: float | None
    calibration_gap_p: float | None
    auc_statistic: float | None
    auc_null: tuple[float, ...]
    calibration_statistic: float | None
    calibration_null: tuple[float, ...]


def subgroup_gaps(
    probabilities: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    permutations: int = 999,
    level: float = 0.95,
    rng: np.random.Generator,
) -> SubgroupGaps:
    """Score each level of an attribute by itself and test whether the scores differ between levels.

    The null hypothesis: images of one label are answered alike at all levels. The attribute is permuted between
    patients within labels, so each level keeps its mix of labels. That mix alone can make gaps - where a class is
    frequent, an imperfect model says it too rarely - so a gap counts by what it exceeds its mean over the permutations,
    in absolute value. This excess is divided by the gap's standard error, clustered by patient and taken anew in each
    permutation: small levels do not dominate, and a level whose answers merely scatter more is not taken for a
    miscalibrated one. The statistic is the largest of these over classes and pairs of levels. A variance counts at
    least a quarter of its mean over the permutations, lest a few images without an error look certain.

    Args:
        probabilities: (N, C) predicted probabilities, rows sum to 1. Of two classes only class 1 is scored.
        codes: (N,) level of each image, integers in [0, M), each present.
        labels: (N,) class of each image, integers in [0, C).
        patients: (N,) patient of each image.
        permutations: number B of permutations of the attribute between patients.
        level: of the intervals.
        rng: source of the permutations.

    Returns:
        The scores of C x M classes and levels (M when C is 2), the gaps and their null.

    Raises:
        ValueError: If the shapes disagree, a probability is not in [0, 1], a label or code is out of range, or no label
            holds two levels.

    References:
        Studentized permutation: Chung and Romano (2013), Annals of Statistics 41(2); of areas: Pauly, Asendorf and
        Konietschke (2016), Biometrical Journal 58(6). Calibration in the large: Van Calster et al. (2019), BMC
        Medicine 17.

    Example:
        >>> answers, label = np.tile([[0.8, 0.2], [0.2, 0.8]], (40, 1)), np.tile([0, 1], 40)
        >>> who, scanner = np.arange(80), np.repeat([0, 1], 40)
        >>> gaps = subgroup_gaps(answers, scanner, label, who, rng=np.random.default_rng(0))
        >>> gaps.scores[0].auc, gaps.auc_gap, gaps.auc_gap_p
        (1.0, 0.0, 1.0)
    """
    score, code, label, patient = _checked(probabilities, codes, labels, patients)
    classes, levels = range(1, 2) if score.shape[1] == 2 else range(score.shape[1]), int(code.max()) + 1
    scores = tuple(
        _level_score(score[code == v, c], label[code == v] == c, patient[code == v], level, (c, v))
        for c in classes
        for v in range(levels)
    )
    draws = np.concatenate([code[None], code[permute_by_patient(patient, permutations, rng, label)]])
    blocks = [draws[start : start + _BLOCK] for start in range(0, len(draws), _BLOCK)]
    areas = [_areas(score[:, c], label == c, blocks, patient, levels) for c in classes]
    calibrations = [_calibrations(score[:, c], label, c, blocks, patient, levels) for c in classes]
    known = np.array([s.auc is not None for s in scores]).reshape(-1, levels)
    enough = np.array([s.calibration_interval is not None for s in scores]).reshape(-1, levels)
    auc_gap, auc_p, auc_statistic, auc_null = _largest_gap(areas, known)
    gap, p_value, statistic, null = _largest_gap(calibrations, enough)
    return SubgroupGaps(scores, auc_gap, auc_p, gap, p_value, auc_statistic, auc_null, statistic, null)


def _level_score(
    probability: Floats, positive: Booleans, patient: Integers, level: float, names: tuple[int, int]
) -> LevelScore:
    auc, interval, calibration_interval = None, None, None
    people, residual = np.unique(patient), probability - positive
    if min(len(np.unique(patient[positive])), len(np.unique(patient[~positive]))) >= _FEWEST_PATIENTS:
        area, variance = auc_covariance(positive, probability[None], patient)
        auc, *limits = with_interval((float(area[0]), float(np.sqrt(max(variance[0, 0], 0.0)))), level)
        interval = limits[0], limits[1]
    calibration, count = float(residual.mean()), len(people)
    if count >= _FEWEST_PATIENTS:
        sums = np.bincount(np.searchsorted(people, patient), residual - calibration)
        error = np.sqrt(count / (count - 1) * (sums**2).sum()) / len(patient)
        reach = float(t.ppf(0.5 + level / 2, count - 1) * error)
        calibration_interval = max(calibration - reach, -1.0), min(calibration + reach, 1.0)
    return LevelScore(
        label=names[0],
        level=names[1],
        images=len(patient),
        patients=count,
        auc=auc,
        interval=interval,
        mean_probability=float(probability.mean()),
        observed=float(positive.mean()),
        calibration=calibration,
        calibration_interval=calibration_interval,
    )


def _areas(
    score: Floats, positive: Booleans, blocks: list[Integers], patient: Integers, levels: int
) -> tuple[Floats, Floats]:
    """Areas (B, M) under the ROC curve within levels and their clustered covariance (B, M, M), for B codings.

    The images are sorted once: how many of a level lie below each is then a running count, whatever the coding.
    """
    order = np.argsort(score, kind="stable")
    ranked, one, belongs = score[order], positive[order, None], _membership(patient[order])
    ties = np.searchsorted(ranked, ranked, "left"), np.searchsorted(ranked, ranked, "right")

    def below(chosen: Booleans) -> Floats:
        """(N, B) number of chosen images below each image, ties one half."""
        count = np.concatenate([np.zeros((1, chosen.shape[1])), np.cumsum(chosen, axis=0, dtype=np.float64)])
        return np.asarray(0.5 * (count[ties[0]] + count[ties[1]]))

    def estimate(inside: Booleans) -> tuple[Floats, Floats]:
        ones, zeros = inside & one, inside & ~one
        m, n = ones.sum(axis=0), zeros.sum(axis=0)
        zeros_below, ones_above = below(zeros) / np.maximum(n, 1), 1 - below(ones) / np.maximum(m, 1)
        area = (zeros_below * ones).sum(axis=0) / np.maximum(m, 1)
        influence = ones * (zeros_below - area) / np.maximum(m, 1) + zeros * (ones_above - area) / np.maximum(n, 1)
        return np.where((m > 0) & (n > 0), area, np.nan), belongs @ influence

    return _by_level(estimate, [block[:, order] for block in blocks], levels)


def _calibrations(
    score: Floats, label: Integers, of: int, blocks: list[Integers], patient: Integers, levels: int
) -> tuple[Floats, Floats]:
    """Calibrations (B, M) of levels and their clustered covariance (B, M, M), for B codings.

    The covariance is that of the probabilities within labels, for the permutations leave each level its labels.
    """
    residual, belongs = score - (label == of), _membership(patient)
    deviation = score - (np.bincount(label, score) / np.maximum(np.bincount(label), 1))[label]

    def estimate(inside: Booleans) -> tuple[Floats, Floats]:
        count = inside.sum(axis=0)
        mean = deviation @ inside / np.maximum(count, 1)
        influence = inside * (deviation[:, None] - mean) / np.maximum(count, 1)
        return np.where(count > 0, residual @ inside / np.maximum(count, 1), np.nan), belongs @ influence

    return _by_level(estimate, blocks, levels)


def _by_level(
    estimate: Callable[[Booleans], tuple[Floats, Floats]], blocks: list[Integers], levels: int
) -> tuple[Floats, Floats]:
    """Values (B, M) and covariance (B, M, M) of B codings.

    The estimate takes which images (N, b) are of a level and gives values (b,) and the influence of patients (P, b).
    """
    values, covariance = [], []
    for block in blocks:
        code = np.ascontiguousarray(block.T)
        found = [estimate(code == level) for level in range(levels)]
        influence = np.stack([each for _, each in found]).transpose(2, 0, 1)
        values.append(np.stack([value for value, _ in found], axis=1))
        covariance.append(influence @ influence.transpose(0, 2, 1))
    return np.concatenate(values), np.concatenate(covariance)


def _largest_gap(
    estimates: list[tuple[Floats, Floats]], known: Booleans
) -> tuple[float | None, float | None, float | None, tuple[float, ...]]:
    """Largest gap between known (C, M) levels, its p-value, statistic and null; the first coding is the observed."""
    first, second = np.triu_indices(known.shape[1], 1)
    both = known[:, first] & known[:, second]
    if not both.any():
        return None, None, None, ()
    values, covariance = (np.stack(parts, axis=1) for parts in zip(*estimates, strict=True))
    gap = np.nan_to_num(values[..., first] - values[..., second])[:, both]
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    variance = (variance[..., first] + variance[..., second] - 2 * covariance[..., first, second])[:, both]
    error = np.sqrt(np.maximum(variance, _FLOOR * variance.mean(axis=0)))
    excess = np.abs(gap) - np.abs(gap.mean(axis=0))
    # Answers that do not vary have an error of rounding alone.
    statistic = np.divide(excess, error, out=np.zeros_like(excess), where=error > 1e-9).max(axis=1)
    observed, null = float(statistic[0]), statistic[1:]
    return float(np.abs(gap[0]).max()), permutation_p_value(observed, null), observed, tuple(null.tolist())


def _membership(patient: Integers) -> csr_array:
    """(P, N) sparse matrix that sums over the images of each patient."""
    return csr_array((np.ones(len(patient)), (patient, np.arange(len(patient)))))


def _checked(
    probabilities: ArrayLike, codes: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[Floats, Integers, Integers, Integers]:
    score, code, label = np.asarray(probabilities, dtype=np.float64), np.asarray(codes), np.asarray(labels)
    if score.ndim != 2 or score.shape[1] < 2:
        raise ValueError(f"probabilities must have shape (N, C) with C at least 2, got {score.shape}.")
    for name, values in (("codes", codes), ("labels", labels), ("patients", patients)):
        if np.shape(values) != (len(score),):
            raise ValueError(f"{name} must have shape ({len(score)},) to match probabilities, got {np.shape(values)}.")
    outside = int((~((score >= 0) & (score <= 1))).sum())
    if outside:
        raise ValueError(f"probabilities must be in [0, 1], got {outside} that are not.")
    if not np.isin(label, np.arange(score.shape[1])).all():
        raise ValueError(f"labels must be 0 to {score.shape[1] - 1}, got {np.unique(label)[:10].tolist()}.")
    found = np.unique(code)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(f"codes must be 0 to M - 1, each present and M at least 2, got {found[:10].tolist()}.")
    if all(len(np.unique(code[label == value])) < 2 for value in np.unique(label)):
        raise ValueError("at least one label must hold images of two levels, got an attribute that coincides with it.")
    patient = np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.int64)
    return score, code.astype(np.int64), label.astype(np.int64), patient
