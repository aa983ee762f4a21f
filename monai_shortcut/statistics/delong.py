# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves measured on the same images, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from monai_shortcut.statistics.area_errors import (
    AreaError,
    EffectiveNumbers,
    at_least,
    estimated_share,
    placement_variance,
)
from monai_shortcut.statistics.checks import checked_confidence, checked_patients
from monai_shortcut.types import Estimate, Unmeasurable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AUCComparison:
    """Difference of two areas under the ROC curve on the same images.

    Attributes:
        difference: first area minus second, in [-1, 1].
        standard_error: standard error of the difference, patients being the independent units when they were given.
        p_value: two-sided, in (0, 1]; 1 when the scores rank all images alike.
        interval: confidence limits of the difference.
    """

    difference: float
    standard_error: float
    p_value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class AUCEstimate:
    """Area under the ROC curve of one score.

    Attributes:
        auc: the area with its confidence limits.
        chance_p_value: two-sided, in (0, 1], of an area of one half.
    """

    auc: Estimate
    chance_p_value: float


def auc_covariance(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several scores, with their covariance.

    Args:
        labels: (N,) outcome per image, 0 or 1, both present.
        scores: (M, N) score of each of M models for each image; higher means more likely 1.
        patients: (N,) patient per image; images of a patient are then not taken as independent.

    Returns:
        The (M,) areas, dimensionless in [0, 1], and their (M, M) covariance, both float64.

    Raises:
        ValueError: If the shapes disagree, a label is not 0 or 1, a score is not finite, or a patient is unknown.
        Unmeasurable: If a class has fewer than two images (two patients, when patients are given).

    References:
        DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE SPL 21(11);
        images clustered in patients as in Obuchowski (1997), Biometrics 53(2).

    Example:
        >>> areas, covariance = auc_covariance([0, 0, 1, 1], [[0.1, 0.4, 0.35, 0.8]])
        >>> float(areas[0])
        0.75
    """
    positive, score, unit = _checked(labels, scores, patients)
    found = average_influence([(positive, score, unit)], int(unit.max()) + 1)
    return found.areas, found.covariance()


def fold_auc_covariance(folds: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]]) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several models averaged over folds, with their covariance.

    Each of M models has one set of scores in each fold, for instance of a network trained anew. Folds may test other
    images, the same ones, or images that partly overlap, and a patient may be in several of them. Scores of different
    folds are never ranked together: their scales may differ. Trained models are taken as given.

    Args:
        folds: K times labels (n,), scores (M, n) and patients (n,), each as in `auc_covariance`; a patient has the same
            name in every fold.

    Returns:
        The (M,) areas, each the mean of its K areas, and their (M, M) covariance, both float64. Of one fold they are
        those of `auc_covariance`; of folds without common patients the covariance is the sum of the folds' over K
        squared; of folds with the same images it is that of `auc_covariance` for the K M scores, averaged.

    Raises:
        ValueError: If there is no fold, folds differ in their number of models, or as `auc_covariance`.

    References:
        Obuchowski (1997), Biometrics 53(2), whose factors I / (I - 1) are taken from each fold.

    Example:
        >>> fold = [0, 0, 1, 1], [[0.1, 0.4, 0.35, 0.8]], ["a", "b", "c", "d"]
        >>> float(fold_auc_covariance([fold, fold])[0][0])
        0.75
    """
    if not folds:
        raise ValueError("folds must hold at least one fold, got none.")
    checked = [_checked(*fold) for fold in folds]
    models = [len(score) for _, score, _ in checked]
    if len(set(models)) > 1:
        raise ValueError(f"folds must hold scores of the same number of models, got {models}.")
    units = checked_patients([name for _, _, patients in folds for name in np.asarray(patients).tolist()])
    parts = np.split(units, np.cumsum([len(positive) for positive, _, _ in checked])[:-1])
    found = average_influence(
        [(positive, score, unit) for (positive, score, _), unit in zip(checked, parts, strict=True)],
        int(units.max()) + 1,
    )
    return found.areas, found.covariance()


@dataclass(frozen=True, eq=False)
class AUCInfluence:
    """Areas under ROC curves and what each patient contributes to their deviations.

    Attributes:
        areas: (M,) float64.
        parts: (4, M, P) float64, sums over each patient's images of centred placements: of the positives over their
            number, of the negatives over theirs, each with the factor of its own sum of squares, and both again with
            the factor of their products.
        fold_areas: (K, M) float64, whose means the areas are.
        alone: (M,) float64, variances of the areas if all images were independent.
        numbers: to how many patients the images amount.
    """

    areas: Floats
    parts: Floats
    fold_areas: Floats
    alone: Floats
    numbers: EffectiveNumbers

    def beside(self, *others: AUCInfluence) -> AUCInfluence:
        """These areas and those of others, measured on the same images and folds."""
        all_of_them = (self, *others)
        return AUCInfluence(
            np.concatenate([one.areas for one in all_of_them]),
            np.concatenate([one.parts for one in all_of_them], axis=1),
            np.concatenate([one.fold_areas for one in all_of_them], axis=1),
            np.concatenate([one.alone for one in all_of_them]),
            self.numbers,
        )

    def covariance(self) -> Floats:
        """(M, M) covariance of the areas, patients being independent."""
        above, below, crossed_above, crossed_below = self.parts
        crossed = crossed_above @ crossed_below.T
        return np.asarray(above @ above.T + below @ below.T + crossed + crossed.T)

    def error(self, index: int) -> AreaError:
        """How one of the areas varies."""
        variance = self._variance(np.eye(len(self.areas))[index])
        return AreaError.clustered(float(self.areas[index]), variance, float(self.alone[index]), self.numbers)

    def estimate(self, index: int, confidence: float = 0.95) -> AUCEstimate:
        """One of the areas with its limits and its test against one half."""
        found = self.error(index)
        return AUCEstimate(Estimate(found.area, *found.limits(confidence)), found.p_value(0.5))

    def compare(self, weights: ArrayLike, confidence: float = 0.95, null: float = 0.0) -> AUCComparison:
        """Test whether a weighted sum of the areas differs from a value.

        One area alone is tested, and has limits, as `AreaError` says. Any other sum has those of Student's distribution
        with the degrees of freedom of the effective numbers of patients. Its variance is at least the part of
        sum(w^2 q(a) (1 / m + 1 / n)), of independent scores, that `AreaError` does not leave to the estimate. Scores
        that rank all images alike differ by nothing.

        Args:
            weights: (M,) of the areas: 1 and -1 for a difference of two, 1 for one area itself.
            confidence: confidence level of the interval, in (0, 1).
            null: the value under the hypothesis that is tested.

        Returns:
            The weighted sum minus the value; limits stay in the range that areas in [0, 1] allow.

        Raises:
            ValueError: If there is not a finite weight for each area, or the confidence is not in (0, 1).
        """
        checked_confidence(confidence)
        weight = np.asarray(weights, dtype=np.float64)
        if weight.shape != self.areas.shape or not np.isfinite([*weight, null]).all():
            raise ValueError(f"weights must be {len(self.areas)} finite numbers and null one, got {weight}, {null}.")
        value, error, chosen = float(weight @ self.areas), self._standard_error(weight), np.flatnonzero(weight)
        if len(chosen) == 1 and weight[chosen[0]] == 1:
            one = self.error(int(chosen[0]))
            low, high = one.limits(confidence)
            return AUCComparison(value - null, error, one.p_value(null), (low - null, high - null))
        possible = float(weight[weight < 0].sum() - null), float(weight[weight > 0].sum() - null)
        found = student_comparison(value - null, error, confidence, possible, self.numbers.freedom)
        least = self.numbers.least_p_value if error else 0.0
        interval = possible if least > 1 - confidence else found.interval
        return replace(found, p_value=at_least(least, found.p_value), interval=interval)

    def _variance(self, weight: Floats) -> float:
        # Combined before anything is squared, so that equal rankings cancel exactly.
        above, below, crossed_above, crossed_below = weight @ self.parts
        return float(max(above @ above + below @ below + 2 * crossed_above @ crossed_below, 0.0))

    def _standard_error(self, weight: Floats) -> float:
        chosen = np.flatnonzero(weight)
        inside = ((self.areas[chosen] > 0) & (self.areas[chosen] < 1)).all()
        variance = self._variance(weight)
        if len(chosen) > 1 and inside and variance < 1e-24 and abs(weight @ self.areas) < 1e-12:
            return 0.0  # the same ranking; areas of 1 are equal whatever the ranking within the classes
        return float(np.sqrt(max(variance, sum(self._least_variances()[chosen] * weight[chosen] ** 2))))

    def _least_variances(self) -> Floats:
        freedom, patients = self.numbers.freedom, self.numbers.patients
        towards_half = ((freedom * self.areas + 0.5) / (freedom + 1)).tolist()
        unknown = [1 - estimated_share(area, freedom) for area in self.areas.tolist()]
        expected = [patients * placement_variance(area) for area in towards_half]
        return np.array(unknown) * expected


def student_comparison(
    difference: float,
    error: float,
    confidence: float = 0.95,
    possible: tuple[float, float] = (-1.0, 1.0),
    freedom: float = np.inf,
) -> AUCComparison:
    """Student's test of a difference whose standard error was estimated.

    Args:
        difference: what is tested against 0.
        error: its standard error; 0 only if there is no difference.
        confidence: confidence level of the interval, in (0, 1).
        possible: limits that the interval does not leave.
        freedom: degrees of freedom of the error; infinite for the normal test.

    Raises:
        ValueError: If there is a difference and no error, or the confidence is not in (0, 1).
    """
    checked_confidence(confidence)
    if error == 0:
        if abs(difference) > 1e-12:
            raise ValueError(f"error must be positive where there is a difference, got 0 for {difference:.3g}.")
        return AUCComparison(difference, 0.0, 1.0, (difference, difference))
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * error
    interval = (max(difference - reach, possible[0]), min(difference + reach, possible[1]))
    return AUCComparison(difference, error, at_least(0.0, 2 * t.sf(abs(difference) / error, freedom)), interval)


def average_influence(
    folds: Sequence[tuple[NDArray[np.bool_], Floats, NDArray[np.int64]]], patients: int
) -> AUCInfluence:
    """Areas averaged over folds, with what each patient contributes to all of them together.

    Args:
        folds: K times which images are positive (n,), scores (M, n) and number of each image's patient (n,), at least
            two patients having images of each class; not checked.
        patients: number P of patients in all.

    Returns:
        The (M,) areas and the parts of their covariance.
    """
    areas, parts, alone = zip(*(_fold_influence(*fold, patients) for fold in folds), strict=True)
    return AUCInfluence(
        np.mean(areas, axis=0),
        np.sum(parts, axis=0) / len(folds),
        np.stack(areas),
        np.sum(alone, axis=0) / len(folds) ** 2,
        _effective_numbers([(positive, unit) for positive, _, unit in folds], patients),
    )


def _effective_numbers(folds: Sequence[tuple[NDArray[np.bool_], NDArray[np.int64]]], patients: int) -> EffectiveNumbers:
    shares, images = np.zeros((2, patients)), 0.0
    for positive, unit in folds:
        for share, chosen in zip(shares, (positive, ~positive), strict=True):
            share += np.bincount(unit[chosen], minlength=patients) / chosen.sum() / len(folds)
            images += 1 / float(chosen.sum()) / len(folds) ** 2
    positives, negatives = (1 / (shares**2).sum(axis=1)).tolist()
    return EffectiveNumbers(positives, negatives, images)


def _fold_influence(
    positive: NDArray[np.bool_], score: Floats, unit: NDArray[np.int64], patients: int
) -> tuple[Floats, Floats, Floats]:
    above, below = placements(positive, score)
    areas = above.mean(axis=1)
    ones, zeros = unit[positive], unit[~positive]
    sums_above = np.stack([np.bincount(ones, row, patients) for row in above - areas[:, None]]) / len(ones)
    sums_below = np.stack([np.bincount(zeros, row, patients) for row in below - areas[:, None]]) / len(zeros)
    present = np.zeros((3, patients), dtype=np.bool_)
    present[0, ones], present[1, zeros], present[2, unit] = True, True, True
    of_ones, of_zeros, of_both = (np.sqrt(count / (count - 1)) for count in present.sum(axis=1))
    parts = [sums_above * of_ones, sums_below * of_zeros, sums_above * of_both, sums_below * of_both]
    alone = above.var(axis=1, ddof=1) / len(ones) + below.var(axis=1, ddof=1) / len(zeros)
    return areas, np.stack(parts), alone


def placements(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """DeLong's structural components: how each image places among those of the other class.

    Args:
        positive: (N,) true where the label is 1.
        scores: (M, N) float64.

    Returns:
        (M, m) share of negatives below each positive and (M, n) share of positives above each negative, ties one half.
    """
    ones, zeros = scores[:, positive], scores[:, ~positive]
    m, n = ones.shape[1], zeros.shape[1]
    pooled = rankdata(np.concatenate([ones, zeros], axis=1), axis=1)
    above = (pooled[:, :m] - rankdata(ones, axis=1)) / n
    below = 1 - (pooled[:, m:] - rankdata(zeros, axis=1)) / m
    return above, below


def estimate_auc(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95
) -> AUCEstimate:
    """Area under the ROC curve with limits that hold with few patients, and its test against chance.

    Args:
        labels: (N,) outcome per image, 0 or 1, both present.
        scores: (N,) score of each image; higher means more likely 1.
        patients: (N,) patient per image, when patients have several images.
        confidence: confidence level of the interval, in (0, 1).

    Returns:
        The area, its limits and the p-value of an area of one half. The limits leave out one half where the p-value is
        below 1 - confidence.

    Raises:
        ValueError: As `auc_covariance`.
        Unmeasurable: As `auc_covariance`.

    References:
        `AreaError`.

    Example:
        >>> found = estimate_auc([0, 0, 1, 1], [1, 2, 3, 4])
        >>> found.auc.value, round(found.auc.low, 2), round(found.chance_p_value, 2)
        (1.0, 0.0, 0.33)
    """
    if np.ndim(scores) != 1:
        raise ValueError(f"scores must have shape (N,), got {np.shape(scores)}.")
    positive, score, unit = _checked(labels, np.asarray(scores)[None], patients)
    return average_influence([(positive, score, unit)], int(unit.max()) + 1).estimate(0, confidence)


def compare_aucs(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, confidence: float = 0.95
) -> AUCComparison:
    """Test whether two scores of the same images have different areas under the ROC curve.

    Args:
        labels: (N,) outcome per image, 0 or 1, both present.
        first: (N,) score of the first model; higher means more likely 1.
        second: (N,) score of the second model.
        patients: (N,) patient per image, when patients have several images.
        confidence: confidence level of the interval, in (0, 1).

    Returns:
        The difference first minus second with its standard error, p-value and interval, with few patients too; see
        `AUCInfluence.compare`.

    Raises:
        ValueError: As `auc_covariance`.
        Unmeasurable: As `auc_covariance`.

    Example:
        >>> compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4]).p_value
        1.0
    """
    shapes = np.shape(first), np.shape(second)
    if shapes[0] != shapes[1]:
        raise ValueError(f"first and second must have the same shape, got {shapes[0]} and {shapes[1]}.")
    positive, score, unit = _checked(labels, np.stack([np.asarray(first), np.asarray(second)]), patients)
    return average_influence([(positive, score, unit)], int(unit.max()) + 1).compare([1, -1], confidence)


def _checked(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.int64]]:
    label, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if label.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {label.shape}.")
    if score.ndim != 2 or score.shape[1] != len(label):
        raise ValueError(f"scores must have shape (M, {len(label)}) to match labels, got {score.shape}.")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, got {sorted(set(label.tolist()))[:5]}.")
    if not np.isfinite(score).all():
        raise ValueError(f"scores must be finite, got {int((~np.isfinite(score)).sum())} that are not.")
    unit = np.arange(len(label)) if patients is None else checked_patients(patients, len(label), "labels")
    positive = label == 1
    what = "images" if patients is None else "patients"
    for value, chosen in ((1, positive), (0, ~positive)):
        if len(np.unique(unit[chosen])) < 2:
            found = len(np.unique(unit[chosen]))
            raise Unmeasurable(f"labels must hold at least two {what} of class {value}, got {found}.")
    return positive, score, unit
