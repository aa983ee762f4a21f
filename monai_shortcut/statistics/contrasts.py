# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Differences between two levels for images of one label, at equal levels of others, with cautious limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.statistics.cells import normal_score, with_two_more
from monai_shortcut.types import Floats, Integers


@dataclass(frozen=True)
class Contrast:
    """The later level's mean less the earlier one's.

    Attributes:
        value: the difference, by least squares.
        error: its standard error, clustered by patient.
        cautious_value: the difference with two more patients in either level, one of value 0 and one of value 1.
        cautious_error: its standard error.
        freedom: degrees of freedom of the errors.
    """

    value: float
    error: float
    cautious_value: float
    cautious_error: float
    freedom: float

    @property
    def score(self) -> float:
        """The normal score of the absolute t-value; 0 where nothing varies."""
        if self.error < 1e-9:
            return 0.0
        return float(normal_score(np.array(abs(self.value) / self.error), np.array(self.freedom)))


@dataclass(frozen=True, eq=False)
class LevelContrasts:
    """Images of one label: a linear model of their values with the levels of an attribute, and of others beside it.

    A value is the sum of what its level and the levels of the other attributes contribute. A difference that the data
    cannot tell from the others' (a level that always comes with one of theirs) is not estimable.

    Attributes:
        codes: (n,) levels, integers in [0, M).
        patients: (n,) patient of each image, integers in [0, P).
        levels: M.
        others: for each other attribute, its levels (n,), integers from 0.
        numbers: (n, K) columns that may move values in proportion; none by default.
    """

    codes: Integers
    patients: Integers
    levels: int
    others: Sequence[NDArray[Any]] = ()
    numbers: Floats | None = None

    @cached_property
    def _design(self) -> Floats:
        """(n, Q) indicators of all levels of the attribute, and of all but the first of the others; and numbers."""
        columns = [self.codes == level for level in range(self.levels)]
        for other in self.others:
            columns += [other == value for value in np.unique(other)[1:]]
        indicators = np.stack(columns, axis=1).astype(np.float64)
        return indicators if self.numbers is None else np.concatenate([indicators, self.numbers], axis=1)

    @cached_property
    def _inverse(self) -> tuple[Floats, Floats]:
        """(Q, Q) pseudo-inverse of the Gram matrix, and the projection onto what it can tell."""
        gram = self._design.T @ self._design
        inverse = np.asarray(np.linalg.pinv(gram, rcond=1e-10, hermitian=True), dtype=np.float64)
        return inverse, inverse @ gram

    def between(self, first: int, second: int, values: Floats) -> Contrast | None:
        """The difference of values (n,) in [0, 1] between two levels; None if it cannot be estimated."""
        weights = self.weights(first, second)
        if weights is None:
            return None
        inverse, _ = self._inverse
        residual = values - self._design @ (inverse @ (self._design.T @ values))
        parts = np.bincount(self.patients, weights * residual)
        size = np.bincount(self.patients, np.abs(weights)) ** 2
        patients = float(size.sum() ** 2 / (size**2).sum())
        freedom = max(patients - 1, 1.0)
        variance = float((parts**2).sum()) * patients / freedom
        shift, more = self._caution(first, values, -1.0), self._caution(second, values, 1.0)
        value = float(weights @ values)
        return Contrast(
            value=value,
            error=float(np.sqrt(variance)),
            cautious_value=value + shift[0] + more[0],
            cautious_error=float(np.sqrt(max(variance + shift[1] + more[1], 0.0))),
            freedom=freedom,
        )

    def weights(self, first: int, second: int) -> Floats | None:
        """(n,) weight of each image in the difference; None if it cannot be estimated."""
        inverse, told = self._inverse  # a level without images is told by nothing
        contrast = np.zeros(len(inverse))
        contrast[second], contrast[first] = 1.0, -1.0
        if np.abs(contrast @ told - contrast).max() > 1e-6:
            return None
        return np.asarray(self._design @ (inverse @ contrast))

    def _caution(self, level: int, values: Floats, sign: float) -> tuple[float, float]:
        """What two more patients, of values 0 and 1, add to a level's part of the difference and to its variance."""
        inside = self.codes == level
        own, size = values[inside], np.bincount(self.patients[inside])
        mean, share = float(own.mean()), size / inside.sum()
        count = 1 / float((share**2).sum())
        sums = np.bincount(self.patients[inside], own - mean)
        variance = float((sums**2).sum()) / inside.sum() ** 2
        moved, cautious = with_two_more(count, mean, variance)
        return sign * (moved - mean), cautious - variance
