# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model answer differently for images of one label that differ in an attribute?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import softmax
from scipy.stats import foldnorm, norm

from monai_shortcut.statistics.gaps import cell_means, mean_gaps
from monai_shortcut.statistics.resampling import bootstrap_weights, permutation_p_value, permute_by_patient

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
        detectable: the smallest effect that a test at 5 % would find in four of five such cohorts.
    """

    effect: float
    interval: tuple[float, float]
    p_value: float
    raw: float
    null: tuple[float, ...]
    means: tuple[tuple[tuple[float | None, ...], ...], ...]
    detectable: float | None = None


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
        detectable=_detectable(null),
    )


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


@dataclass(frozen=True)
class LatentCounterfactual:
    """How far predictions move when each image is given the other level's mean position among the logits.

    Attributes:
        effect: probability, in [0, 1], that moves between classes, noise subtracted; negative below chance.
        raw: the same with its noise.
        p_value: by permutation of the attribute between patients.
        null: (B,) raw value under permutation.
    """

    effect: float
    raw: float
    p_value: float
    null: tuple[float, ...]


def latent_counterfactual(
    probabilities: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    permutations: int = 99,
    rng: np.random.Generator,
) -> LatentCounterfactual:
    """Move each image by the mean difference of two levels and see how far its prediction goes.

    Logits are linear in the embedding, so moving an embedding by the mean difference of two levels among images of its
    label moves its logits by theirs. Labels that hold few images of a level borrow from the others: the difference of a
    label is drawn towards the mean over labels as far as its own noise demands. Unlike a gap between means, it does not
    cancel between images on either side of the decision, and rare combinations of label and level count as
    much as they know.

    Args:
        probabilities: (N, C) predicted probabilities, rows sum to 1.
        codes: (N,) level of each image, integers in [0, M).
        labels: (N,) class of each image, integers.
        patients: (N,) patient of each image.
        permutations: number B of permutations of the attribute between patients.
        rng: source of the permutations.

    Returns:
        The mean total variation between predictions before and after, over pairs of levels by image pairs; the mean
        square of its null is subtracted from its square.

    Raises:
        ValueError: As `prediction_gap`.

    References:
        Shrinkage as the random-effects model of DerSimonian and Laird (1986), Controlled Clinical Trials 7(3).
    """
    score, code, label = _checked(probabilities, codes, labels, patients)
    logits = np.log(np.maximum(score, 1e-12))
    logits -= logits.mean(axis=1, keepdims=True)
    raw = _moved(logits, score, code, label)
    draws = code[permute_by_patient(patients, permutations, rng, label)]
    null = np.array([_moved(logits, score, draw, label) for draw in draws])
    effect = float(_signed_root(np.array(raw**2 - (null**2).mean())))
    return LatentCounterfactual(effect, raw, permutation_p_value(raw, null), tuple(null.tolist()))


def _moved(logits: Floats, score: Floats, code: Integers, label: Integers) -> float:
    """Mean total variation between predictions before and after each image moves to the other level of each pair."""
    member = np.eye(int(code.max()) + 1)[code][:, None] * np.eye(int(label.max()) + 1)[label][:, :, None]
    count = member.sum(axis=0)  # (L, M)
    means = np.einsum("nlm,nc->lmc", member, logits) / np.maximum(count, 1)[..., None]
    variance = (member.sum(axis=2).T @ (logits - means[label, code]) ** 2) / np.maximum(count.sum(axis=1), 1)[:, None]
    total, pairs = 0.0, 0.0
    for first in range(count.shape[1]):
        for second in range(first):
            weight = count[:, first] * count[:, second] / np.maximum(count[:, first] + count[:, second], 1)
            if not weight.any():
                continue
            difference = _shrunken(means[:, second] - means[:, first], variance, weight)
            for level, sign in ((first, 1.0), (second, -1.0)):
                chosen = code == level
                moved = softmax(logits[chosen] + sign * difference[label[chosen]], axis=1)
                share = float((count[:, first] * count[:, second]).sum())
                total += share * float(0.5 * np.abs(moved - score[chosen]).sum(axis=1).mean())
                pairs += share
    return total / max(pairs, 1e-300)


def _shrunken(difference: Floats, variance: Floats, weight: Floats) -> Floats:
    """Differences (L, C) of labels drawn towards their mean as far as their sampling noise demands."""
    known = weight > 0
    pooled = weight @ difference / weight.sum()
    sampling = variance / np.maximum(weight, 1e-300)[:, None]
    between = np.maximum(((difference - pooled) ** 2 - sampling)[known].mean(axis=0), 0.0)
    own = np.divide(between, between + sampling, out=np.zeros_like(sampling), where=between + sampling > 0)
    return np.asarray(np.where(known[:, None], pooled + own * (difference - pooled), pooled))


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
