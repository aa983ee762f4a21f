# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model answer differently for images of one label that differ in an attribute?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import foldnorm, norm

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.gaps import CellSums, mean_gaps, trend_gaps, without_noise
from monai_shortcut.types import Estimate, Floats, Tested

_BLOCK = 64  # draws at once; bounds the memory


@dataclass(frozen=True)
class PredictionGap:
    """How far the predicted probabilities of equal labels lie apart between levels of an attribute.

    Attributes:
        effect: probability, in [0, 1], that moves between classes when two images of one label differ in level,
            noise subtracted; negative when the gap is smaller than chance alone would make it. Patients are drawn with
            replacement for its limits. Of an ordered attribute, the two images are of the lowest and highest level.
        test: the gap with its noise, under permutation of the attribute between patients.
        means: (C, M, C) mean probability of each class, for each label and level; None where no image is.
        detectable: smallest detectable effect (80 % power at 5 %, unadjusted).
    """

    effect: Estimate
    test: Tested
    means: tuple[tuple[tuple[float | None, ...], ...], ...]
    detectable: float | None = None


def prediction_gap(sample: AttributeSample) -> PredictionGap:
    """Compare the mean predicted probabilities of images of the same label between levels of an attribute.

    Within a label, the gap of two levels is the total variation between their mean probability vectors,
    1/2 sum_c |p_c - q_c|; gaps are averaged over pairs of levels and over labels by the number of image pairs. Of an
    ordered attribute it is the change along the line of least squares from the lowest to the highest level. Noise
    makes every gap positive: effect^2 = observed^2 - mean(null^2). A bootstrap sample carries the noise twice, that of
    the cohort and its own.

    Args:
        sample: the images and the attribute; only their answers are used.

    Returns:
        The gap with its limits and test.

    Example:
        >>> from monai_shortcut.analyses.sample import Sample
        >>> from monai_shortcut.cohort.levels import attribute_levels
        >>> answers, scanner = np.repeat([[0.2, 0.8], [0.7, 0.3]], 20, axis=0), np.repeat(["A", "B"], 20)
        >>> images = Sample.of_probabilities(answers, np.tile([0, 1], 20), np.arange(40))
        >>> gap = prediction_gap(images.by("scanner", attribute_levels(scanner, np.arange(40))))
        >>> round(gap.test.observed, 3), gap.test.p_value
        (0.5, 0.001)
    """
    return _gap(sample)


def _gap(sample: AttributeSample) -> PredictionGap:
    label = np.unique(sample.labels, return_inverse=True)[1]
    sums = CellSums(sample.probabilities, label, sample.count)
    statistic = trend_gaps if sample.ordered else mean_gaps
    codes = sample.permuted
    gaps = np.concatenate([statistic(sums.of(codes[i : i + _BLOCK])) for i in range(0, len(codes), _BLOCK)])
    shape = int(label.max()) + 1, sample.count, sums.values.shape[1]
    resampled = sample.images.resampled(
        sums.values, sample.rows, label * sample.count + sample.codes, shape[0] * shape[1]
    )
    answers = CellSums(sample.probabilities, sample.labels, sample.count, sample.images.classes)
    cells = answers.of(sample.codes[None])[0]
    return from_gaps(gaps, statistic(resampled.reshape(-1, *shape)), cells, sample.draws.confidence)


def from_gaps(gaps: Floats, resampled: Floats, cells: Floats, confidence: float) -> PredictionGap:
    """The record, from raw gaps.

    Args:
        gaps: (1 + B,) of the attribute as observed, then of its null copies.
        resampled: (S,) of the attribute as observed in bootstrap samples of patients.
        cells: (C, M, C + 1) sums of the probabilities of each label and level, and the number of images last.
        confidence: confidence level of the limits.
    """
    raw, null = float(gaps[0]), gaps[1:]
    noise = float((null**2).mean())
    drawn = without_noise(resampled**2, 2 * noise)  # samples of samples have it twice
    return PredictionGap(
        effect=Estimate.of(float(without_noise(raw**2, noise)), drawn, confidence),
        test=Tested(raw, tuple(null.tolist())),
        means=_means(cells),
        detectable=_detectable(null),
    )


def _means(cells: Floats) -> tuple[tuple[tuple[float | None, ...], ...], ...]:
    """(C, M, C) mean answers of each label and level, also of labels without an image."""
    with np.errstate(invalid="ignore"):
        means = cells[..., :-1] / cells[..., -1:]
    return tuple(tuple(tuple(None if np.isnan(p) else p for p in row) for row in rows) for rows in means.tolist())


def _detectable(null: Floats) -> float:
    """The effect whose raw gap exceeds the 95 % quantile of the null in four of five cohorts.

    A raw gap is taken as the mean of k absolute values, each of a normal variable about the effect; k and the noise
    follow from mean and variance of the null, where the effect is 0.
    """
    variance = float(null.var())
    if not variance > 0:
        return 0.0
    parts = max(1.0, float(null.mean()) ** 2 / variance * (math.pi - 2) / 2)
    noise = math.sqrt(float((null**2).mean()) * parts / (1 + (parts - 1) * 2 / math.pi))
    needed = float(np.quantile(null, 0.95))

    def reached(effect: float) -> float:
        mean = float(foldnorm.mean(effect / noise, scale=noise))
        spread = math.sqrt(max(effect**2 + noise**2 - mean**2, 0.0) / parts)
        return mean - float(norm.ppf(0.8)) * spread - needed

    return float(brentq(reached, 0.0, needed + 10 * noise))
