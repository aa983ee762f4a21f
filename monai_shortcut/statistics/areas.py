# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How well levels were told apart: areas under ROC curves within classes, and confusion metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from monai_shortcut.statistics.area_errors import AreaError
from monai_shortcut.statistics.delong import placements
from monai_shortcut.types import Estimate

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_CELLS = 2**17  # scores sorted at once; few enough for the cache
_STEPS = 2**30 - 2  # between the ends of a row of scores; the last one is left to images that are not ranked


def stratified_auroc(logits: NDArray[Any], codes: NDArray[Any], strata: NDArray[Any]) -> Floats:
    """Areas under ROC curves within strata, mean over levels, of many codings at once.

    Args:
        logits: (B, M, N) score of each level for each image, or (B, N) scores of level 1 of two; float32 or float64.
        codes: (B, N) level of each image, integers in [0, M).
        strata: (N,) class of each image; only images of the same class are compared.

    Returns:
        (B,) areas; one half where no class holds two levels. Ties count one half.
    """
    levels = _levels_to_rank(logits.shape[1])
    ranked = {1: logits} if logits.ndim == 2 else {level: logits[:, level] for level in levels}
    members = [np.flatnonzero(strata == value) for value in np.unique(strata)]
    areas, block = np.zeros(len(codes)), max(1, _CELLS // len(strata))
    for first in range(0, len(codes), block):
        rows = slice(first, first + block)
        for level, scores in ranked.items():
            wins, pairs = np.zeros((2, len(areas[rows])))
            for inside in members:
                positive = codes[rows].take(inside, axis=1) == level
                m = positive.sum(axis=1)
                wins += _wins(scores[rows].take(inside, axis=1), positive)
                pairs += m * (len(inside) - m)
            areas[rows] += np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5) / len(ranked)
    return areas


def _wins(scores: NDArray[Any], positive: NDArray[np.bool_], ranked: NDArray[np.bool_] | None = None) -> Floats:
    """Number (B,) of pairs of a positive and another image in which the positive one scores higher, ties one half.

    Float32 scores are cut into 2^30 steps between the row's ends, which fit 32 bits together with one that says whether
    the image is positive: one sort of small integers brings the ranks. The few scores that share a step are compared.

    Args:
        scores: (B, n).
        positive: (B, n).
        ranked: (B, n) optional; the other images play no part.
    """
    low, high = (find(scores, axis=1, keepdims=True).astype(np.float64) for find in (np.min, np.max))
    if scores.dtype != np.float32 or not np.isfinite(high - low).all():
        return _wins_of_bits(_last(scores, ranked), positive)
    keys = ((scores - low) * (_STEPS / np.maximum(high - low, 1e-300))).astype(np.int32) << 1 | positive
    if ranked is not None:
        keys[~ranked] = np.iinfo(np.int32).max - 1
    ascending, m = np.sort(keys, axis=1), positive.sum(axis=1)
    place = np.arange(1, keys.shape[1] + 1, dtype=np.int32 if keys.shape[1] < 2**15 else np.int64)  # holds their sum
    wins: Floats = np.einsum("bn,n->b", ascending & 1, place) - m * (m + 1) / 2  # those of a step are won so far
    rows, last = np.nonzero((ascending[:, 1:] ^ ascending[:, :-1]) == 1)
    if len(rows) > 4 * len(keys):
        return _wins_of_bits(_last(scores, ranked), positive)
    for row, step in zip(rows, ascending[rows, last] >> 1, strict=True):
        same = np.flatnonzero(keys[row] >> 1 == step)
        own = positive[row, same]
        wins[row] -= own.sum() * (~own).sum() - _wins_of_bits(scores[row, same][None], own[None])[0]
    return wins


def _last(scores: NDArray[Any], ranked: NDArray[np.bool_] | None) -> NDArray[Any]:
    """Scores (B, n), those that are not ranked above all others, where they lose against nobody."""
    return scores if ranked is None else np.where(ranked, scores, scores.dtype.type(np.inf))


def _wins_of_bits(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Floats:
    """The same from all bits.

    The bits of a float64 ascend with its value as an integer's do. The lowest one is given up to say whether the image
    is positive, so that one sort of integers, without indices, brings the ranks. Float32 scores lose nothing by that.
    """
    bits = (scores.astype(np.float64) + 0.0).view(np.int64)  # the sum turns -0.0 into 0.0
    bits ^= (bits >> 63) & np.iinfo(np.int64).max  # negative floats descend
    keys = np.sort(bits & -2 | positive, axis=1)
    m = positive.sum(axis=1)
    wins: Floats = (keys & 1) @ np.arange(1, keys.shape[1] + 1) - m * (m + 1) / 2  # a tie counts as won so far
    tied = ((keys[:, 1:] ^ keys[:, :-1]) == 1).any(axis=1)
    if tied.any() and scores.dtype == np.float32:
        wins[tied] -= _ties(keys[tied]) / 2
    elif tied.any():  # or apart by the lowest bit
        midranks = rankdata(scores[tied], axis=1)
        wins[tied] = (midranks * positive[tied]).sum(axis=1) - (m * (m + 1) / 2)[tied]
    wins[np.isnan(scores).any(axis=1)] = np.nan
    return wins


def _ties(keys: Integers) -> Integers:
    """Number (B,) of pairs of a positive and another image of equal score, from the sorted keys (B, N)."""
    opens = np.ones(keys.shape, dtype=bool)
    opens[:, 1:] = keys[:, 1:] >> 1 != keys[:, :-1] >> 1
    first = np.flatnonzero(opens)
    positive = np.add.reduceat((keys & 1).ravel(), first)
    pairs = positive * (np.diff(first, append=keys.size) - positive)
    ends = np.searchsorted(first, np.arange(len(keys)) * keys.shape[1])
    return np.add.reduceat(pairs, ends)


def clustered_auroc(logits: ArrayLike, codes: ArrayLike, strata: ArrayLike, patients: ArrayLike) -> tuple[float, float]:
    """Area under the ROC curve within strata, mean over levels one against the rest, and its standard error.

    Args:
        logits: (M, N) score of each level for each image.
        codes: (N,) level of each image, integers in [0, M).
        strata: (N,) class of each image; only images of the same class are compared.
        patients: (N,) patient of each image, the independent units.

    Returns:
        The area, each level's classes weighted by their number of pairs, and its standard error. A level that meets
        no other level in any class counts one half.

    References:
        Structural components as in DeLong et al. (1988), summed by patient as in Obuchowski (1997).
    """
    score, code, stratum = np.asarray(logits, dtype=np.float64), np.asarray(codes), np.asarray(strata)
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    areas, influence, ranked = 0.0, np.zeros(patient.max() + 1), _levels_to_rank(len(score))
    for level in ranked:
        positive = code == level
        inside = [stratum == value for value in np.unique(stratum)]
        pairs = np.array([(positive & s).sum() * (~positive & s).sum() for s in inside], dtype=np.float64)
        if not pairs.any():  # as in `stratified_auroc`, to which this is compared under permutation
            areas += 0.5 / len(ranked)
        for members, share in zip(inside, pairs / max(pairs.sum(), 1.0), strict=True):
            if share:
                above, below = placements(positive[members], score[level : level + 1, members])
                area = above.mean()
                areas += share * area / len(ranked)
                for part, chosen in ((above, members & positive), (below, members & ~positive)):
                    np.add.at(influence, patient[chosen], share * (part[0] - area) / part.size / len(ranked))
    count = len(influence)
    return float(areas), float(np.sqrt(count / max(count - 1, 1) * (influence**2).sum()))


def _levels_to_rank(levels: int) -> range:
    """Two levels mirror each other, so one of them says it all."""
    return range(1, 2) if levels == 2 else range(levels)


def concordance(scores: NDArray[Any], codes: NDArray[Any], strata: Integers) -> Floats:
    """Probability that, of two images of one class and different level, the higher level has the higher score.

    Of two levels it is the area under the ROC curve; ties count one half.

    Args:
        scores: (B, N) score of each image, ascending with the level.
        codes: (B, N) level of each image, integers in [0, M), in their order.
        strata: (N,) class of each image; only images of the same class are compared.

    Returns:
        (B,) probabilities; one half where no class holds two levels.

    References:
        Harrell et al. (1982), JAMA 247(18), without censoring.
    """
    wins, pairs = np.zeros((2, len(scores)))
    members = [np.flatnonzero(strata == value) for value in np.unique(strata)]
    top, block = int(codes.max()), max(1, _CELLS // len(strata))
    for first in range(0, len(codes), block):
        rows = slice(first, first + block)
        for inside in members:
            score, code = scores[rows].take(inside, axis=1), codes[rows].take(inside, axis=1)
            for high in range(1, top + 1):
                positive = code == high
                wins[rows] += _wins(score, positive, code <= high)
                pairs[rows] += positive.sum(axis=1) * (code < high).sum(axis=1)
    return np.asarray(np.where(pairs > 0, wins / np.maximum(pairs, 1), 0.5))


def clustered_concordance(
    scores: ArrayLike, codes: ArrayLike, strata: ArrayLike, patients: ArrayLike
) -> tuple[float, float]:
    """Concordance within strata, and its standard error.

    Args:
        scores: (1, N) score of each image, ascending with the level.
        codes: (N,) level of each image, integers in [0, M), in their order.
        strata: (N,) class of each image; only images of the same class are compared.
        patients: (N,) patient of each image, the independent units.

    Returns:
        As `concordance`, and its standard error; one half and zero where no class holds two levels.

    References:
        Structural components as in DeLong et al. (1988), summed by patient as in Obuchowski (1997).
    """
    score, code, stratum = np.asarray(scores, dtype=np.float64), np.asarray(codes), np.asarray(strata)
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    cells = [
        (np.flatnonzero((stratum == value) & ((code == low) | (code == high))), high)
        for value in np.unique(stratum)
        for high in range(1, int(code.max()) + 1)
        for low in range(high)
    ]
    ranked = [(rows, code[rows] == high) for rows, high in cells]
    ranked = [(rows, positive) for rows, positive in ranked if 0 < positive.sum() < len(positive)]
    pairs = sum(float(positive.sum() * (~positive).sum()) for _, positive in ranked)
    if not pairs:
        return 0.5, 0.0
    parts = [(rows, positive, placements(positive, score[:, rows])) for rows, positive in ranked]
    shares = [float(positive.sum() * (~positive).sum()) / pairs for _, positive, _ in parts]
    area = sum(share * float(above.mean()) for share, (_, _, (above, _)) in zip(shares, parts, strict=True))
    influence = np.zeros(int(patient.max()) + 1)
    for share, (rows, positive, (above, below)) in zip(shares, parts, strict=True):
        for values, chosen in ((above[0], rows[positive]), (below[0], rows[~positive])):
            np.add.at(influence, patient[chosen], share * (values - values.mean()) / values.size)
    count = len(influence)
    return float(area), float(np.sqrt(count / max(count - 1, 1) * (influence**2).sum()))


def confusion_metrics(counts: Floats, confidence: float) -> dict[str, Estimate]:
    """Accuracy and macro precision, recall and F1 with bootstrap limits.

    Args:
        counts: (1 + B, M, M) images of each level (rows) that are said to be of each level (columns): observed first,
            then in bootstrap samples, of which there may be none.
        confidence: confidence level of the percentile limits.

    Returns:
        Estimates by name; a ratio without any image counts as 0. Without bootstrap samples the limits are the value.
    """
    hits = np.diagonal(counts, axis1=1, axis2=2)
    precision = hits / np.maximum(counts.sum(axis=1), 1e-12)
    recall = hits / np.maximum(counts.sum(axis=2), 1e-12)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    values = {
        "accuracy": hits.sum(axis=1) / np.maximum(counts.sum(axis=(1, 2)), 1e-12),
        "precision": precision.mean(axis=1),
        "recall": recall.mean(axis=1),
        "f1": f1.mean(axis=1),
    }
    return {
        name: Estimate.of(float(draws[0]), draws[1:] if len(draws) > 1 else draws, confidence)
        for name, draws in values.items()
    }


def spread_of_chance(codes: Integers, patients: Integers) -> float:
    """Twice the standard deviation of an area between levels that nothing tells apart, by the numbers of patients.

    Args:
        codes: (n,) level of each image, integers from 0.
        patients: (n,) patient of each image.

    Returns:
        2 sqrt((1 / m + 1 / n) / 12), the variance averaged over the levels, of m patients each against n others.
    """
    held = [
        (len(np.unique(patients[codes == level])), len(np.unique(patients[codes != level])))
        for level in np.unique(codes)
    ]
    variance = [(1 / own + 1 / max(others, 1)) / 12 for own, others in held]
    return 2 * float(np.sqrt(np.mean(variance)))


def with_interval(estimate: tuple[float, float], confidence: float, spread: float = 0.0) -> Estimate:
    """An area, or another estimate in [0, 1], with limits.

    Args:
        estimate: its value and standard error.
        confidence: confidence level of the limits.
        spread: twice the standard deviation of the null about one half, where that of a proportion is largest; the
            error is no less than that of a proportion which would have it. The null of m and n patients has the
            variance (1 / m + 1 / n) / 12, so it tells how many there are, and the limits are those of `AreaError`: they
            hold with few patients and lie apart for an area of 1. Without it they are normal.
    """
    value, error = estimate
    if spread > 0:
        inverse = 3 * spread**2  # 1 / m + 1 / n, no more than the inverse of the smaller number
        variance = max(error**2, spread**2 * value * (1 - value))
        return Estimate(value, *AreaError.of(value, variance, inverse, max(1 / inverse - 1, 0.1)).limits(confidence))
    reach = float(norm.ppf(0.5 + confidence / 2)) * error
    return Estimate(value, max(value - reach, 0.0), min(value + reach, 1.0))
