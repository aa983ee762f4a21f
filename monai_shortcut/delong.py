# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves measured on the same images, and whether they differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AUCComparison:
    """Difference of two areas under the ROC curve on the same images.

    Attributes:
        difference: first area minus second, in [-1, 1].
        standard_error: of the difference, patients being the independent units when they were given.
        p_value: two-sided, in [0, 1]; 1 when the scores rank all images alike.
        interval: confidence limits of the difference.
    """

    difference: float
    standard_error: float
    p_value: float
    interval: tuple[float, float]


def auc_covariance(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several scores, with their covariance.

    Args:
        labels: (N,) outcome per image, 0 or 1, both present.
        scores: (M, N) score of each of M models for each image; higher means more likely 1.
        patients: (N,) patient per image; images of a patient are then not taken as independent.

    Returns:
        The (M,) areas, dimensionless in [0, 1], and their (M, M) covariance, both float64.

    Raises:
        ValueError: If the shapes disagree, a label is not 0 or 1, a score is not finite, or a class has fewer than
            two images (two patients, when patients are given).

    References:
        DeLong, DeLong and Clarke-Pearson (1988), Biometrics 44(3); midranks as in Sun and Xu (2014), IEEE SPL 21(11);
        images clustered in patients as in Obuchowski (1997), Biometrics 53(2).

    Example:
        >>> areas, covariance = auc_covariance([0, 0, 1, 1], [[0.1, 0.4, 0.35, 0.8]])
        >>> float(areas[0])
        0.75
    """
    positive, score, unit = _checked(labels, scores, patients)
    above, below = placements(positive, score)
    areas = above.mean(axis=1)
    above, below = above - areas[:, None], below - areas[:, None]
    by_patient = int(unit.max()) + 1
    sums_above = np.stack([np.bincount(unit[positive], row, by_patient) for row in above])
    sums_below = np.stack([np.bincount(unit[~positive], row, by_patient) for row in below])
    n_above, n_below = len(np.unique(unit[positive])), len(np.unique(unit[~positive]))
    m, n = int(positive.sum()), int((~positive).sum())
    cross = sums_above @ sums_below.T * by_patient / (by_patient - 1)
    covariance = (
        sums_above @ sums_above.T * n_above / (n_above - 1) / m**2
        + sums_below @ sums_below.T * n_below / (n_below - 1) / n**2
        + (cross + cross.T) / (m * n)
    )
    return areas, covariance


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


def compare_aucs(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None, level: float = 0.95
) -> AUCComparison:
    """Test whether two scores of the same images have different areas under the ROC curve.

    Args:
        labels: (N,) outcome per image, 0 or 1, both present.
        first: (N,) score of the first model; higher means more likely 1.
        second: (N,) score of the second model.
        patients: (N,) patient per image, when patients have several images.
        level: of the confidence interval, in (0, 1).

    Returns:
        The difference first minus second with its standard error, p-value and interval.

    Raises:
        ValueError: As `auc_covariance`.

    Example:
        >>> compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [1, 2, 3, 4]).p_value
        1.0
    """
    shapes = np.shape(first), np.shape(second)
    if shapes[0] != shapes[1]:
        raise ValueError(f"first and second must have the same shape, got {shapes[0]} and {shapes[1]}.")
    areas, covariance = auc_covariance(labels, np.stack([np.asarray(first), np.asarray(second)]), patients)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    error = float(np.sqrt(max(variance, 0.0)))
    if error < 1e-12:  # the same ranking, or a difference without any sampling variation
        p_value = 1.0 if abs(difference) < 1e-12 else 0.0
    else:
        p_value = float(2 * norm.sf(abs(difference) / error))
    reach = float(norm.ppf(0.5 + level / 2)) * error
    return AUCComparison(difference, error, p_value, (max(difference - reach, -1.0), min(difference + reach, 1.0)))


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
    unit = np.arange(len(label)) if patients is None else np.asarray(patients)
    if unit.shape != label.shape:
        raise ValueError(f"patients must have shape {label.shape} to match labels, got {unit.shape}.")
    _, unit = np.unique(unit, return_inverse=True)
    positive = label == 1
    what = "images" if patients is None else "patients"
    for value, chosen in ((1, positive), (0, ~positive)):
        if len(np.unique(unit[chosen])) < 2:
            found = len(np.unique(unit[chosen]))
            raise ValueError(f"labels must hold at least two {what} of class {value}, got {found}.")
    return positive, score, unit.astype(np.int64)
