# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How well does a regression predict its outcome, over all images and at each level of an attribute?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.types import Estimate, Floats, Integers, Unmeasurable

_FEWEST = 5  # patients of a level whose errors have limits


@dataclass(frozen=True)
class OutcomeErrors:
    """Errors of the predictions of some images; patients are drawn with replacement for the limits.

    Attributes:
        images: number of images.
        patients: number of their patients.
        bias: mean of prediction less outcome, in the outcome's unit.
        absolute: mean absolute error, in the outcome's unit.
        r_squared: share of the outcome's variance that the predictions leave no error of, at most 1; below 0 where the
            mean outcome would be the better prediction.
        correlation: of predictions and outcome.
        level: the level; None of all images.
    """

    images: int
    patients: int
    bias: Estimate
    absolute: Estimate
    r_squared: Estimate
    correlation: Estimate
    level: int | None = None

    @property
    def predicts(self) -> bool:
        """Whether predictions are certain to rise with the outcome."""
        return self.correlation.low > 0


def outcome_errors(sample: AttributeSample) -> tuple[OutcomeErrors, ...]:
    """Errors at each level that five patients have.

    Errors differ between levels for many reasons, an outcome of another spread among them: no verdict rests on them.

    Args:
        sample: the images of a regression, and the attribute.

    Raises:
        Unmeasurable: If it is no regression.
    """
    rows = [sample.rows[sample.codes == level] for level in range(sample.count)]
    found = ((level, errors_of(sample.images, own)) for level, own in enumerate(rows) if len(own))
    return tuple(replace(errors, level=level) for level, errors in found if errors.patients >= _FEWEST)


def errors_of(images: Sample, rows: Integers | None = None) -> OutcomeErrors:
    """Errors of some images of a regression.

    Args:
        images: the sample.
        rows: (n,) positions in it; all by default.

    Raises:
        Unmeasurable: If it is no regression.
    """
    if images.outcome is None:
        raise Unmeasurable("it is of a continuous outcome, and classes are predicted")
    chosen = np.arange(len(images)) if rows is None else rows
    centre = images.outcome.values[chosen].mean()  # lest squares of large numbers lose digits
    true, said = images.outcome.values[chosen] - centre, images.outcome.predicted[chosen] - centre
    error = said - true
    columns = [np.ones(len(true)), error, np.abs(error), error**2, true, true**2, said, said**2, true * said]
    values = np.stack(columns, axis=1)
    whole, drawn = _measures(values.sum(axis=0)), _measures(images.resampled(values, chosen)[:, 0])
    bias, absolute, r_squared, correlation = (
        Estimate.of(float(value), draws, images.draws.confidence) for value, draws in zip(whole, drawn, strict=True)
    )
    patients = len(np.unique(images.patients[chosen]))
    return OutcomeErrors(len(chosen), patients, bias, absolute, r_squared, correlation)


def _measures(sums: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Bias, mean absolute error, R2 and correlation from sums (..., 9); a spread of 0 counts as the least there is."""
    count, *rest = np.moveaxis(sums, -1, 0)
    error, absolute, square, true, true_square, said, said_square, product = (
        np.asarray(one / np.maximum(count, 1)) for one in rest
    )
    spread = np.maximum(true_square - true**2, 1e-300)
    own = np.maximum(said_square - said**2, 1e-300)
    together = np.clip((product - true * said) / np.sqrt(spread * own), -1.0, 1.0)
    return error, absolute, np.asarray(1 - square / spread), np.asarray(together)
