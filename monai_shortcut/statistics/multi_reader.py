# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Means over readers who saw the same cases, readers and cases both being samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from monai_shortcut.statistics.area_errors import AreaError, EffectiveNumbers, estimated_share
from monai_shortcut.statistics.delong import AUCComparison, AUCInfluence, student_comparison
from monai_shortcut.types import Booleans, Estimate, Floats, Integers


@dataclass(frozen=True)
class ReaderMean:
    """A mean over R readers, as one of the means that other readers would have given of other cases.

    Attributes:
        value: the mean.
        variance: of it.
        freedom: degrees of freedom of the variance.
    """

    value: float
    variance: float
    freedom: float

    @classmethod
    def of(cls, values: Floats, covariance: Floats, freedom: float) -> ReaderMean:
        """The mean by Obuchowski and Rockette, of one kind of image.

        With the mean square of readers MS = sum((x_j - x)^2) / (R - 1) and the mean covariance of two readers Cov2, its
        variance is MS / R + Cov2. It is never less than that of these very readers with other cases, the mean of the
        whole covariance; of one reader it is that.

        Args:
            values: (R,) of the readers.
            covariance: (R, R) of them, readers being given and cases drawn.
            freedom: degrees of freedom of the covariance.

        References:
            Obuchowski and Rockette (1995), Commun. Stat. Simul. Comput. 24(2); Hillis (2014), Stat. Med. 33(2), for one
            modality; degrees of freedom by Satterthwaite, those of Cov2 included.

        Example:
            >>> round(ReaderMean.of(np.array([0.7, 0.9]), np.diag([0.01, 0.01]), 20.0).variance, 6)
            0.01
        """
        readers, mean, fixed = len(values), float(values.mean()), float(covariance.mean())
        if readers == 1:
            return cls(mean, fixed, freedom)
        between = max(float(covariance.sum() - np.trace(covariance)) / (readers * (readers - 1)), 0.0)
        scatter = float(values.var(ddof=1)) / readers
        if scatter + between <= fixed:
            return cls(mean, fixed, freedom)
        inverse = scatter**2 / (readers - 1) + between**2 / freedom
        return cls(mean, scatter + between, (scatter + between) ** 2 / inverse)

    def share(self, units: int, confidence: float) -> Estimate:
        """The mean with limits, of shares of right answers: Wilson's score interval.

        The variance of a share x is scale * x (1 - x). The scale lies between the estimated one and that of independent
        patients, as in `AreaError`.

        Args:
            units: number of patients.
            confidence: confidence level of the limits.
        """
        weight = estimated_share(self.value, self.freedom)
        spread = self.value * (1 - self.value)
        scale = (weight * self.variance / spread if weight > 0 else 0.0) + (1 - weight) / units
        reach = float(t.ppf(0.5 + confidence / 2, self.freedom)) ** 2 * scale
        middle = (self.value + reach / 2) / (1 + reach)
        half = math.sqrt(reach * spread + reach**2 / 4) / (1 + reach)
        return Estimate(self.value, max(middle - half, 0.0), min(middle + half, 1.0))

    def area(self, numbers: EffectiveNumbers) -> AreaError:
        """How the mean varies if it is one of areas under ROC curves.

        Args:
            numbers: how many patients the images of each class amount to.
        """
        return AreaError.of(self.value, self.variance, numbers.patients, self.freedom)


def mean_area(influence: AUCInfluence) -> AreaError:
    """How the mean area of readers varies.

    Args:
        influence: areas of the readers on the same images.
    """
    found = ReaderMean.of(influence.areas, influence.covariance(), influence.numbers.freedom)
    return found.area(influence.numbers)


def ahead_of_readers(influence: AUCInfluence, confidence: float) -> AUCComparison:
    """How far one area is ahead of the mean area of readers.

    The model is given. Its area minus that of each reader is what readers differ in, and `ReaderMean` takes their mean.
    The variance is at least that which `AUCInfluence.compare` finds for these very readers.

    Args:
        influence: areas of the model, which comes first, and of the readers, on the same images.
        confidence: confidence level of the limits.
    """
    readers = len(influence.areas) - 1
    weights = np.hstack([np.ones((readers, 1)), -np.eye(readers)])
    given = influence.compare(weights.mean(axis=0), confidence)
    covariance = weights @ influence.covariance() @ weights.T
    found = ReaderMean.of(weights @ influence.areas, covariance, influence.numbers.freedom)
    if found.variance <= given.standard_error**2:
        return given
    return student_comparison(found.value, math.sqrt(found.variance), confidence, freedom=found.freedom)


def share_covariance(right: Floats, positive: Booleans, patients: Integers) -> Floats:
    """Covariance (R, R) of readers' shares of right answers, patients of each class being drawn.

    Args:
        right: (R, N) 1 where a reader is right, 0 where wrong, or between.
        positive: (N,) class of each image; the numbers of images of each class are given.
        patients: (N,) number of each image's patient, from 0.

    References:
        Cochran (1977), Sampling Techniques, sections 5.3 and 9A.1: strata, and clusters in them.
    """
    parts = np.zeros((len(right), int(patients.max()) + 1))
    for chosen in (positive, ~positive):
        units = len(np.unique(patients[chosen]))
        centred = right[:, chosen] - right[:, chosen].mean(axis=1, keepdims=True)
        factor = math.sqrt(units / (units - 1)) / right.shape[1]
        for part, row in zip(parts, centred, strict=True):
            np.add.at(part, patients[chosen], factor * row)
    return np.asarray(parts @ parts.T)
