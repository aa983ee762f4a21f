# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model answer differently for images of one label that differ in an attribute?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.gaps import cell_means, mean_gaps
from monai_shortcut.resampling import bootstrap_weights, permutation_p_value, permute_by_patient

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_BLOCK = 64  # draws at once; bounds the memory


@dataclass(frozen=True)
class PredictionGap:
    """How far the predicted probabilities of equal labels lie apart between levels of an attribute.

    Attributes:
        effect: probability, in [0, 1], that moves between classes when two images of one label differ in level,
            noise subtracted; negative when the gap is smaller than chance alone would make it.
        interval: its confidence limits, patients drawn with replacement.
        p_value: by permutation of the attribute between patients.
        raw: the gap with its noise.
        null: (B,) raw gap under permutation.
        means: (L, M, C) mean probability of each class, for each label and level; None where no image is.
    """

    effect: float
    interval: tuple[float, float]
    p_value: float
    raw: float
    null: tuple[float, ...]
    means: tuple[tuple[tuple[float | None, ...], ...], ...]


def prediction_gap(
    probabilities: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    permutations: int = 999,
    bootstraps: int = 999,
    level: float = 0.95,
    rng: np.random.Generator,
) -> PredictionGap:
    """Compare the mean predicted probabilities of images of the same label between levels of an attribute.

    Within a label, the gap of two levels is the total variation between their mean probability vectors; gaps are
    averaged over pairs of levels and over labels by the number of image pairs. Noise makes every such gap positive: the
    mean square of the permuted gaps is subtracted from the square of the observed one.

    Args:
        probabilities: (N, C) predicted probabilities, rows sum to 1.
        codes: (N,) level of each image, integers in [0, M).
        labels: (N,) class of each image, integers.
        patients: (N,) patient of each image.
        permutations: number B of permutations of the attribute between patients.
        bootstraps: number of bootstrap samples of patients.
        level: of the interval.
        rng: source of permutations and bootstraps.

    Returns:
        The gap with its interval, p-value and null.

    Raises:
        ValueError: If the shapes disagree, a probability is not finite, or no label holds two levels.

    Example:
        >>> answers = np.repeat([[0.2, 0.8], [0.7, 0.3]], 20, axis=0)
        >>> who, what = np.arange(40), np.repeat([0, 1], 20)
        >>> gap = prediction_gap(answers, what, np.zeros(40, int), who, rng=np.random.default_rng(0))
        >>> round(gap.raw, 3), gap.p_value
        (0.5, 0.001)
    """
    score, code, label = _checked(probabilities, codes, labels, patients)
    ones = np.ones((1, len(code)))
    raw = float(mean_gaps(score, code[None], label, ones)[0])
    draws = code[permute_by_patient(patients, permutations, rng, label)]
    null = np.concatenate([mean_gaps(score, draws[block], label, ones) for block in _blocks(permutations)])
    noise = float((null**2).mean())
    weights = bootstrap_weights(patients, bootstraps, rng)
    resampled = np.concatenate([mean_gaps(score, code[None], label, weights[block]) for block in _blocks(bootstraps)])
    # A bootstrap sample carries the noise twice: that of the cohort and its own.
    tail = (1 - level) / 2
    low, high = np.quantile(_signed_root(resampled**2 - 2 * noise), [tail, 1 - tail])
    means = cell_means(score, code[None], label, ones)[0][0]
    return PredictionGap(
        effect=float(_signed_root(np.array(raw**2 - noise))),
        interval=(float(low), float(high)),
        p_value=permutation_p_value(raw, null),
        raw=raw,
        null=tuple(null.tolist()),
        means=tuple(tuple(tuple(None if np.isnan(p) else p for p in row) for row in rows) for rows in means.tolist()),
    )


def _signed_root(values: Floats) -> Floats:
    return np.asarray(np.sign(values) * np.sqrt(np.abs(values)))


def _blocks(draws: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, draws, _BLOCK)]


def _checked(
    probabilities: ArrayLike, codes: ArrayLike, labels: ArrayLike, patients: ArrayLike
) -> tuple[Floats, Integers, Integers]:
    score, code = np.asarray(probabilities, dtype=np.float64), np.asarray(codes, dtype=np.int64)
    if score.ndim != 2:
        raise ValueError(f"probabilities must have shape (N, C), got {score.shape}.")
    for name, values in (("codes", codes), ("labels", labels), ("patients", patients)):
        if np.shape(values) != (len(score),):
            raise ValueError(f"{name} must have shape ({len(score)},) to match probabilities, got {np.shape(values)}.")
    if not np.isfinite(score).all():
        raise ValueError(f"probabilities must be finite, got {int((~np.isfinite(score)).sum())} that are not.")
    label = np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
    if all(len(np.unique(code[label == value])) < 2 for value in range(label.max() + 1)):
        raise ValueError("at least one label must hold images of two levels, got an attribute that coincides with it.")
    return score, code, label
