# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do readers agree beyond chance? Kappa between two of them, and among all."""

from __future__ import annotations

import math
from collections.abc import Callable
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t
from sklearn.metrics import cohen_kappa_score

from monai_shortcut.types import Estimate, Floats, Integers


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Agreement of two readers beyond chance, by scikit-learn; NaN if both always gave the same answer.

    Args:
        first: (N,) answers of one reader, of any number of kinds.
        second: (N,) answers of the other.

    References:
        Cohen (1960), Educ. Psychol. Meas. 20(1).
    """
    with catch_warnings():
        simplefilter("ignore")  # of 0 / 0, which is what NaN says
        return float(cohen_kappa_score(first, second))


def fleiss_kappa(answers: ArrayLike) -> float:
    """Agreement of several readers beyond chance; NaN if all always gave the same answer.

    Args:
        answers: (R, N) answer of each reader to each image, of any number of kinds.

    References:
        Fleiss (1971), Psychological Bulletin 76(5).

    Example:
        >>> fleiss_kappa([[0, 1], [0, 1], [0, 1]])
        1.0
    """
    given = np.asarray(answers)
    counts = np.stack([(given == kind).sum(axis=0) for kind in np.unique(given)]).astype(np.float64)
    readers = len(given)
    agreement = float(((counts**2).sum(axis=0) - readers).mean() / (readers * (readers - 1)))
    chance = float(((counts.sum(axis=1) / counts.sum()) ** 2).sum())
    return (agreement - chance) / (1 - chance) if chance < 1 else math.nan


def with_jackknife(
    kappa: Callable[[Integers], float], answers: Integers, patients: Integers, confidence: float
) -> Estimate | None:
    """A kappa with limits, each patient left out in turn; None if it has no value.

    Args:
        kappa: of answers (R, n).
        answers: (R, N) answer of each reader to each image.
        patients: (N,) patient of each image.
        confidence: confidence level of the limits, those of Student's distribution, which do not leave -1 to 1.

    References:
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 11.
    """
    value, units = kappa(answers), np.unique(patients)
    if len(units) < 2:
        return None
    left: Floats = np.array([kappa(answers[:, patients != unit]) for unit in units])
    left = left[np.isfinite(left)]
    if not math.isfinite(value) or len(left) < 2:
        return None
    error = math.sqrt((len(left) - 1) / len(left) * float(((left - left.mean()) ** 2).sum()))
    reach = float(t.ppf(0.5 + confidence / 2, len(left) - 1)) * error
    return Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0))
