# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Errors of areas under ROC curves that hold with few patients, and with areas of one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import binom
from scipy.stats import t

from monai_shortcut.statistics.checks import checked_confidence

_BISECTIONS = 60  # halve an interval of 1 to less than the last bit of a float64


def placement_variance(area: float) -> float:
    """Variance of how an image places among those of the other class, where the scores are exponential.

    It is q(a) = a (1 - a) / 2 ((1 - a) / (2 - a) + a / (1 + a)), the mean over the two classes, so that q(a) = q(1 - a)
    and q(1/2) = 1/12, as without any difference of the classes.

    References:
        Hanley and McNeil (1982), Radiology 143(1); the mean of both classes as in Newcombe (2006), Stat. Med. 25(4),
        method 5.

    Example:
        >>> round(12 * placement_variance(0.5), 12), placement_variance(1.0)
        (1.0, 0.0)
    """
    return area * (1 - area) / 2 * ((1 - area) / (2 - area) + area / (1 + area))


@dataclass(frozen=True)
class EffectiveNumbers:
    """How many patients the images of each class amount to.

    With shares s of the images of a class that the patients have, the class amounts to 1 / sum(s^2) patients (Kish):
    to their number where all have equally many images, to fewer else.

    Attributes:
        positives: effective number of patients of class 1.
        negatives: effective number of patients of class 0.
        images: sum of the inverse numbers of images of the two classes; over K folds the sum of theirs over K^2.

    References:
        Kish (1965), Survey Sampling.
    """

    positives: float
    negatives: float
    images: float

    @property
    def patients(self) -> float:
        """Sum of the inverse effective numbers, at least that of the images."""
        return max(1 / self.positives + 1 / self.negatives, self.images)

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the variance of an area, if all patients vary alike.

        References:
            Satterthwaite (1946), Biometrics Bulletin 2(6).
        """
        inverse = np.array([1 / self.positives, 1 / self.negatives])
        counts = np.maximum(1 / inverse - 1, 0.1)  # two patients of whom one has nearly all images
        return float(inverse.sum() ** 2 / (inverse**2 / counts).sum())

    @property
    def least_p_value(self) -> float:
        """Chance that so many patients of the two classes are told apart without a fault, or all reversed, by luck.

        It is 2 over the number of ways to choose the positives, 1/3 for two and two patients. No test of an area says
        more than that.
        """
        return min(2 / float(binom(self.positives + self.negatives, self.positives)), 1.0)


@dataclass(frozen=True)
class AreaError:
    """How an area under the ROC curve varies, as a function of the true area.

    An estimated variance is of little use with few patients, and of none for an area of 1, where it is 0. So the
    variance is taken at the area that is asked about, scale * q(area), and the scale lies between the estimated and the
    expected one: the estimate counts w = 4 v a (1 - a) times, with v degrees of freedom and the area a, the expectation
    once.

    Attributes:
        area: the estimate, in [0, 1].
        scale: variance over `placement_variance`.
        freedom: degrees of freedom of the scale; infinite where nothing of it is estimated.
        least_p_value: no p-value is below it, and limits that would need one are 0 and 1.

    Raises:
        ValueError: If a number is out of its range, or a confidence is not in (0, 1).

    References:
        Score intervals as in Newcombe (2006), Stat. Med. 25(4), method 5.

    Example:
        >>> perfect = AreaError.of(1.0, 0.0, expected=0.2 + 0.2, freedom=8.0)
        >>> [round(limit, 2) for limit in perfect.limits(0.95)], round(perfect.p_value(0.5), 3)
        ([0.67, 1.0], 0.006)
    """

    area: float
    scale: float
    freedom: float
    least_p_value: float = 0.0

    @classmethod
    def of(cls, area: float, variance: float, expected: float, freedom: float) -> AreaError:
        """The error of an area whose variance was estimated.

        Args:
            area: the estimate, in [0, 1].
            variance: its estimated variance.
            expected: the scale to be expected: the sum of the inverse numbers of patients of the two classes.
            freedom: degrees of freedom of the estimated variance.
        """
        area = min(max(area, 0.0), 1.0)  # a sum of shares may leave the range by rounding
        share = estimated_share(area, freedom)
        own = max(variance, 0.0) / placement_variance(area) if share > 0 else 0.0
        return cls(area, share * own + (1 - share) * expected, freedom / share**2 if share > 0 else math.inf)

    @classmethod
    def clustered(cls, area: float, variance: float, alone: float, numbers: EffectiveNumbers) -> AreaError:
        """The error of an area measured on images that are clustered in patients.

        The expected scale lies between that of images that are independent and that of patients whose images are all
        alike. Where, the ratio of the two variances says, with the same share as in `of`.

        Args:
            area: the estimate, in [0, 1].
            variance: its estimated variance, patients being independent.
            alone: its estimated variance if images were independent.
            numbers: of images and patients.
        """
        share, most = estimated_share(area, numbers.freedom), numbers.patients / numbers.images
        effect = min(max(variance / alone, 1.0), most) if alone > 0 else most
        expected = numbers.images * (share * effect + (1 - share) * most)
        return replace(cls.of(area, variance, expected, numbers.freedom), least_p_value=numbers.least_p_value)

    def __post_init__(self) -> None:
        if not (0 <= self.area <= 1 and 0 <= self.scale < math.inf and self.freedom > 0):
            got = f"{self.area}, {self.scale} and {self.freedom}"
            raise ValueError(f"area must be in [0, 1], scale finite and not below 0, freedom above 0, got {got}.")

    def limits(self, confidence: float) -> tuple[float, float]:
        """Confidence limits: the true areas that the estimate does not differ from. They always lie apart."""
        checked_confidence(confidence)
        if self.least_p_value > 1 - confidence:
            return 0.0, 1.0
        two_sided, one_sided = t.ppf([0.5 + confidence / 2, confidence], self.freedom) ** 2 * self.scale
        return self._end(two_sided, one_sided, 0.0), self._end(two_sided, one_sided, 1.0)

    def _end(self, two_sided: float, one_sided: float, end: float) -> float:
        # Beyond half way to the end only one side can deviate as far: see `p_value`.
        return sorted((self._limit(two_sided, end), self._limit(one_sided, end), (self.area + end) / 2))[1]

    def _limit(self, reach: float, end: float) -> float:
        """The area between the estimate and an end at which (area - estimate)^2 is reach * q(area), by bisection."""
        inside, outside = self.area, end
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            if (middle - self.area) ** 2 > reach * placement_variance(middle):
                outside = middle
            else:
                inside = middle
        return outside

    def p_value(self, null: float) -> float:
        """Of a true area, for deviations to both sides as far as areas in [0, 1] can deviate.

        An area that is so near 1 that no estimate deviates from it as far to above is tested on one side. So about 5 %
        of limits of 95 % miss an area near 1 or 0, rather than half of them.
        """
        error, gap = math.sqrt(self.scale * placement_variance(null)), abs(self.area - null)
        distance = gap / error if error > 0 else math.copysign(math.inf, gap - 1e-12)
        sides = 2 if 0 <= 2 * null - self.area <= 1 else 1
        return at_least(self.least_p_value, sides * t.sf(distance, self.freedom) if distance > 0 else 1.0)


def estimated_share(area: float, freedom: float) -> float:
    """Share w / (w + 1) of an estimated variance in a scale, w = 4 freedom area (1 - area); 0 for an area of 0 or 1."""
    weight = 4 * freedom * area * (1 - area)
    return weight / (weight + 1)


def at_least(least: float, p_value: float) -> float:
    """The p-value, no less than it may be; one that underflows is the smallest positive number."""
    return max(least, float(p_value), float(np.finfo(np.float64).tiny))
