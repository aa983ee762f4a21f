# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbers with limits, tests with their null, how people read them, and the one exception that is a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Points = NDArray[np.float32] | NDArray[np.float64]  # embeddings, in the precision the network gave

_TIE = 1e-9  # relative difference of two statistics that is rounding


@dataclass(frozen=True)
class Outcome:
    """The continuous outcome that a regression network predicts.

    Attributes:
        name: what it is called, such as "age".
        unit: its unit, such as "years"; empty if it has none.
    """

    name: str
    unit: str = ""

    def of(self, number: str) -> str:
        """A number with the unit.

        Example:
            >>> Outcome("age", "years").of("3.50"), Outcome("z-score").of("0.10")
            ('3.50 years', '0.10')
        """
        return f"{number} {self.unit}".rstrip()


class Unmeasurable(ValueError):  # noqa: N818 - it is a result, not a mistake
    """These data cannot answer the question; the message says why. Every other exception is a bug."""


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence limits.

    Attributes:
        value: the estimate.
        low: lower limit.
        high: upper limit.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: NDArray[Any], confidence: float) -> Estimate:
        """A value with the percentile limits of its bootstrap.

        Args:
            value: the estimate.
            draws: (S,) the same in bootstrap samples.
            confidence: confidence level, in two tails.

        Returns:
            Limits that hold the value: of few patients all samples may lie on one side of it.

        Example:
            >>> Estimate.of(0.9, np.array([0.1, 0.3, 0.5]), 1.0)
            Estimate(value=0.9, low=0.1, high=0.9)
        """
        tail = (1 - confidence) / 2
        low, high = np.quantile(draws, [tail, 1 - tail])
        return cls(value, min(float(low), value), max(float(high), value))


@dataclass(frozen=True)
class Tested:
    """A statistic and its values under permutation.

    Attributes:
        observed: the statistic; larger means more evidence.
        null: (B,) the same under permutation.

    References:
        Phipson and Smyth (2010), Stat. Appl. Genet. Mol. Biol. 9(1), equation 2.

    Example:
        >>> test = Tested(4.0, (1.0, 3.0, 5.0))
        >>> test.p_value, round(test.z, 2)
        (0.5, 0.61)
    """

    __test__ = False  # no test of pytest's

    observed: float
    null: tuple[float, ...]

    @classmethod
    def of(cls, draws: Floats) -> Tested:
        """From values (1 + B,), the observed one first."""
        return cls(float(draws[0]), tuple(draws[1:].tolist()))

    @property
    def p_value(self) -> float:
        """Share of permutations at least as large as the observed value, the observed one counted: (b + 1) / (B + 1).

        Values that differ by rounding alone count as equal.
        """
        reached = sum(value >= self.observed - _TIE * abs(self.observed) for value in self.null)
        return (reached + 1) / (len(self.null) + 1)

    @property
    def z(self) -> float:
        """Standard deviations of the null between its mean and the observed value."""
        null = np.asarray(self.null)
        return float((self.observed - null.mean()) / max(null.std(), 1e-12))


def plain(value: float, digits: int = 2) -> str:
    """A number with a fixed number of digits; none is printed as minus zero.

    Example:
        >>> plain(-0.001), plain(0.125, 1)
        ('0.00', '0.1')
    """
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def with_limits(number: Estimate) -> str:
    """A number of two digits with its limits.

    Example:
        >>> with_limits(Estimate(0.5, -0.001, 1.0))
        '0.50 (0.00 to 1.00)'
    """
    return f"{plain(number.value)} ({plain(number.low)} to {plain(number.high)})"


def p_text(p_value: float | None) -> str:
    """A p-value of three digits, which is never zero; "-" if there is none, or it is not a number.

    Example:
        >>> p_text(0.0213), p_text(0.0002), p_text(1.0)
        ('0.021', '< 0.001', '1.000')
    """
    if p_value is None or p_value != p_value:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
