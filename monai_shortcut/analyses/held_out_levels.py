# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does a head that has never seen a level of an attribute (a scanner, a site) work on it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata, t

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.checks import checked_length, checked_levels, checked_points
from monai_shortcut.statistics.logistic import STRENGTH, PooledHead, in_single, log_odds
from monai_shortcut.statistics.resampling import patient_folds, permuted_codes
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Points, Unmeasurable

_FEWEST_PATIENTS = 5  # of either outcome to be ranked, of a class to fit to
_BLOCK = 2**22  # images times heads that are fitted at once; bounds the memory


@dataclass(frozen=True)
class HeldOutLevel:
    """How well a class is recognized at one level by heads that have and have not seen the level.

    Attributes:
        label: the class, against the rest.
        level: the level.
        images: number of images of the level that are ranked.
        patients: number of their patients.
        auc_seen: area under the ROC curve by heads fitted to all levels.
        auc_unseen: the same by heads fitted to the other levels, on equally many images.
        difference: auc_seen - auc_unseen: what it costs never to have seen the level.
        p_value: two-sided, that the difference is zero.
        inflation: factor, at least 1, by which refitting the heads widens the error of the difference.
        null: difference over its error, heads taken as given, with the attribute permuted; draws in which it cannot be
            computed are left out.
    """

    label: int
    level: int
    images: int
    patients: int
    auc_seen: float
    auc_unseen: float
    difference: Estimate
    p_value: float
    inflation: float
    null: tuple[float, ...]


def held_out_levels(sample: AttributeSample) -> tuple[HeldOutLevel, ...]:
    """Compare heads for the clinical label that have and have not seen a level, at that level.

    See `compared_heads`. Heads are fitted in float32, which changes areas under the ROC curve by less than 1e-5.

    Args:
        sample: the images and the attribute.

    Returns:
        One result per level and class.

    Raises:
        Unmeasurable: If no level has enough patients.
    """
    points, place, pooled = _in_place(sample)
    found = compared_heads(
        points,
        sample.permuted[: 1 + sample.draws.held_out, place],
        sample.labels[place],
        sample.patients[place],
        sample.images.folds().fold[sample.rows[place]],
        confidence=sample.draws.confidence,
        rng=sample.rng("held_out_levels"),
        pooled=pooled,
    )
    if not found:
        wanted = f"at least {_FEWEST_PATIENTS} patients of each of two labels"
        raise Unmeasurable(f"a level, and all others together, must hold {wanted}, got no such level")
    return found


def leave_level_out(
    embeddings: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    *,
    folds: int = 5,
    permutations: int = 20,
    confidence: float = 0.95,
    rng: np.random.Generator,
) -> tuple[HeldOutLevel, ...]:
    """The same for arrays; see `compared_heads`.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        labels: (N,) clinical class of each image, integers.
        patients: (N,) patient of each image; no head ranks a patient it was fitted to.
        folds: number of folds.
        permutations: number of permutations of the attribute; 0 takes heads as given.
        confidence: confidence level of the intervals.
        rng: source of folds, orders of patients and permutations.

    Returns:
        One result per level and class.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty or alone, labels are not
            integers or all the same, or there are fewer patients than folds.

    Example:
        >>> who, site, label = np.arange(80), np.repeat([0, 1], 40), np.tile([0, 1], 40)
        >>> points = np.where(site == 0, label, 1 - label)[:, None] + np.linspace(0, 1, 80)[:, None]
        >>> found = leave_level_out(points, site, label, who, permutations=0, rng=np.random.default_rng(0))
        >>> [round(each.auc_unseen, 1) for each in found]
        [0.0, 0.0]
    """
    points, label = checked_points(embeddings), np.asarray(labels)
    code = checked_levels(codes, len(points))
    checked_length("labels", labels, len(points))
    checked_length("patients", patients, len(points))
    if label.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers, got {label.dtype}.")
    if len(np.unique(label)) < 2:
        raise ValueError(f"labels must hold at least two classes, got {np.unique(label).tolist()}.")
    patient = np.unique(np.asarray(patients), return_inverse=True)[1].astype(np.int64)
    stratum = np.unique(label, return_inverse=True)[1] * (code.max() + 1) + code
    fold = patient_folds(patient, stratum, folds, rng)
    codings = permuted_codes(code, patient, permutations, rng, label, observed=True)
    points = in_single(points, points.mean(axis=0, dtype=np.float64), points.std(axis=0, dtype=np.float64))
    return compared_heads(points, codings, label, patient, fold, confidence=confidence, rng=rng)


def compared_heads(
    points: Points,
    codings: Integers,
    labels: Integers,
    patients: Integers,
    folds: Integers,
    *,
    confidence: float,
    rng: np.random.Generator,
    pooled: PooledHead | None = None,
) -> tuple[HeldOutLevel, ...]:
    """Fit heads for the clinical label with and without the images of a level, and compare them on that level.

    For each level and fold of patients, one head is fitted to the other folds' images of the other levels, and one to
    as many images of each class from all levels of the other folds, patient after patient in random order. Both rank
    the level's images in the fold; only images of one fold are compared, for each fold has heads of its own. This makes
    sense for the clinical label only: a probe of the attribute itself cannot name a level that it has not seen.

    Heads are logistic regressions, as a clinical head is, on embeddings standardized by the images they are fitted to.
    Classes weigh the same whatever their prevalence, which may differ between levels. The penalty per image is fixed,
    so that both heads are fitted alike. The heads of all levels, folds and permutations are fitted together.

    The error of the difference is DeLong's for two areas on the same images, clustered by patient. It takes the heads
    as given. What fitting them adds is measured: with the attribute permuted between patients within labels all is
    repeated, in the same folds. Where the differences scatter more than their errors say (root mean square of their
    ratios over permutations, levels and classes), all errors are multiplied by that. So few permutations give a scale,
    not a p-value: that and the interval are Student's, with as many degrees of freedom as there are ratios.

    Args:
        points: (N, D) float32 or float64 embeddings; heads are fitted in their precision, in which columns should not
            be far from zero for their spread.
        codings: (1 + B, N) level of each image, integers in [0, M): as observed, then permuted.
        labels: (N,) clinical class of each image, integers.
        patients: (N,) patient of each image, integers in [0, P); no head ranks a patient it was fitted to.
        folds: (N,) fold of each image, integers in [0, K), the same for all images of a patient.
        confidence: confidence level of the intervals.
        rng: source of the orders of patients.
        pooled: the head of all these images, where it is known; all others start there.

    Returns:
        One result per level and class, level by level; of two classes only the second. Classes that fewer than five
        patients of the other levels have in the fit of some fold are left out with their images, and so is what fewer
        than five patients of the level have or have not. Empty when nothing is left.

    References:
        DeLong et al. (1988), Biometrics 44(3); Obuchowski (1997), Biometrics 53(2). That heads share their patients
        between folds widens the error: Nadeau and Bengio (2003), Machine Learning 52(3).
    """
    names, label = np.unique(labels, return_inverse=True)
    sizes = (int(codes.max()) + 1 for codes in (patients, folds, label, codings))
    images = _Images(label, patients, folds, *sizes)
    first, *others = (_Round.of(images, code.astype(np.int64)) for code in codings)
    if not first.asked.any():
        return ()
    found, *permuted = _compared(points, [first, *(other for other in others if other.asked.any())], rng, pooled)
    null = {key: tuple(each[key].ratio for each in permuted if key in each) for key in found}
    ratios = np.concatenate([np.zeros(0), *null.values()])
    inflation, freedom = 1.0, np.inf
    if len(ratios):
        inflation, freedom = max(1.0, float(np.sqrt((ratios**2).mean()))), float(len(ratios))
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * inflation
    return tuple(
        HeldOutLevel(
            label=int(names[value]),
            level=level,
            images=pair.images,
            patients=pair.patients,
            auc_seen=pair.seen,
            auc_unseen=pair.unseen,
            difference=pair.difference(reach),
            p_value=float(2 * t.sf(abs(pair.ratio) / inflation, freedom)),
            inflation=inflation,
            null=null[level, value],
        )
        for (level, value), pair in found.items()
    )


@dataclass(frozen=True)
class _Pair:
    """Areas by the two heads on the same images, and the error of their difference, heads taken as given."""

    seen: float
    unseen: float
    error: float
    images: int
    patients: int

    @property
    def ratio(self) -> float:
        """The difference over its error; 0 where both heads rank alike."""
        difference = self.seen - self.unseen
        return difference / max(self.error, 1e-12) if abs(difference) > 1e-12 else 0.0

    def difference(self, reach: float) -> Estimate:
        """The difference with limits that many errors away."""
        value = self.seen - self.unseen
        return Estimate(value, max(value - reach * self.error, -1.0), min(value + reach * self.error, 1.0))


@dataclass(frozen=True, eq=False)
class _Images:
    """Class, patient and fold (N,) of each image, and their numbers: P patients, K folds, C classes, M levels."""

    label: Integers
    patient: Integers
    fold: Integers
    patients: int
    folds: int
    classes: int
    levels: int


@dataclass(frozen=True, eq=False)
class _Round:
    """What can be compared in one coding of the images.

    Attributes:
        images: the images.
        code: (N,) level of each image.
        known: (M, C) classes that enough patients of the other levels have in the fit of every fold.
        ranked: (N,) images of a class that the heads of their level know.
        asked: (M, C) classes that the heads of a level are to recognize.
    """

    images: _Images
    code: Integers
    known: Booleans
    ranked: Booleans
    asked: Booleans

    @classmethod
    def of(cls, images: _Images, code: Integers) -> _Round:
        """Count patients and pairs of images."""
        shape = images.patients, images.levels, images.classes
        count = _table(shape, images.patient, code, images.label)
        home = np.zeros(images.patients, dtype=np.int64)
        home[images.patient] = images.fold
        elsewhere = count.sum(axis=1, keepdims=True) > count
        inside = np.stack([elsewhere[home == fold].sum(axis=0) for fold in range(images.folds)])
        known = (inside.sum(axis=0) - inside).min(axis=0) >= _FEWEST_PATIENTS
        shown = count * known
        fewest = np.minimum((shown > 0).sum(axis=0), (shown.sum(axis=2, keepdims=True) > shown).sum(axis=0))
        outcome = _table((images.levels, images.folds, images.classes), code, images.fold, images.label)
        outcome *= known[:, None]
        pairs = (outcome * (outcome.sum(axis=2, keepdims=True) - outcome)).sum(axis=1)
        asked = (fewest >= _FEWEST_PATIENTS) & (pairs > 0)
        # Two classes mirror each other, so one of them says it all.
        mirrored = np.flatnonzero(known.sum(axis=1) == 2)
        asked[mirrored, known[mirrored].argmax(axis=1)] = False
        return cls(images, code, known, known[code, images.label], asked)

    @property
    def levels(self) -> Integers:
        """Levels of which anything is asked."""
        return np.flatnonzero(self.asked.any(axis=1))

    def fits(self, rng: np.random.Generator) -> Booleans:
        """Images (N, H) to fit to; of each level and fold one head that has seen the level, and one that has not."""
        label, pool = self.images.label, self.images.fold != np.arange(self.images.folds)[:, None]
        place = _places(label, pool, rng.permutation(self.images.patients)[self.images.patient])
        heads = []
        for level in self.levels:
            usable = pool & self.known[level, label]
            unseen = usable & (self.code != level)
            wanted = unseen @ np.eye(self.images.classes)[label]
            heads.append(np.stack([usable & (place < wanted[:, label]), unseen], axis=1))
        return np.concatenate(heads).reshape(-1, len(label)).T

    @property
    def seen(self) -> Integers:
        """Column (N,) in `fits` of the head that has seen the image's level; the next one has not."""
        place = np.zeros(self.images.levels, dtype=np.int64)
        place[self.levels] = np.arange(len(self.levels))
        return np.asarray(2 * (place[self.code] * self.images.folds + self.images.fold))


def _table(shape: tuple[int, ...], *codes: Integers) -> Integers:
    """Number of images with each combination of codes."""
    return np.bincount(np.ravel_multi_index(codes, shape), minlength=int(np.prod(shape))).reshape(shape)


def _places(label: Integers, pool: Booleans, turn: Integers) -> Integers:
    """Place (K, N) of each image among those of its class in each pool (K, N), in their turn."""
    order = np.lexsort((turn, label))
    before: Integers = np.cumsum(pool[:, order], axis=1) - pool[:, order]
    place: Integers = np.empty_like(before)
    place[:, order] = before - before[:, np.searchsorted(label[order], label[order])]
    return place


def _compared(
    points: Points, rounds: Sequence[_Round], rng: np.random.Generator, known: PooledHead | None
) -> Iterator[dict[tuple[int, int], _Pair]]:
    """Both heads' areas in each round."""
    images = rounds[0].images
    pooled = known or PooledHead.of(points, images.label, STRENGTH)
    size = max(1, _BLOCK // (len(points) * images.levels * images.folds * 2))
    for first in range(0, len(rounds), size):
        block = rounds[first : first + size]
        fits = [each.fits(rng) for each in block]
        ends = np.cumsum([fit.shape[1] for fit in fits])
        logits = pooled.fit(np.concatenate(fits, axis=1)).logits(points)
        for each, fit, end in zip(block, fits, ends, strict=True):
            seen = (end - fit.shape[1] + each.seen)[None, :, None]
            own = np.concatenate([np.take_along_axis(logits, seen + unseen, axis=2) for unseen in (0, 1)], axis=2)
            yield _areas(each, log_odds(own).astype(np.float64))


def _areas(each: _Round, odds: Floats) -> dict[tuple[int, int], _Pair]:
    """Areas by the log odds (C, N, 2) that the seen and the unseen head give each image."""
    found = {}
    for value in np.flatnonzero(each.asked.any(axis=0)):
        chosen = np.flatnonzero(each.ranked & each.asked[each.code, value])
        pairs = _pairs(
            odds[value, chosen].T,
            each.images.label[chosen] == value,
            each.code[chosen],
            each.images.fold[chosen],
            each.images.patient[chosen],
        )
        found.update({(level, int(value)): pair for level, pair in pairs.items()})
    return {key: found[key] for key in sorted(found)}


def _pairs(scores: Floats, positive: Booleans, level: Integers, fold: Integers, patient: Integers) -> dict[int, _Pair]:
    """Areas at each level over pairs of images within folds, and DeLong's error clustered by patient.

    An area is the number of pairs that are ranked rightly, W, over that of pairs, N. Each image takes part in w of W
    and n of N; it moves the area by (w - n W / N) / N.
    """
    group = level * (int(fold.max()) + 1) + fold
    ones, zeros = (np.bincount(group, outcome, int(group.max()) + 1)[group] for outcome in (positive, ~positive))
    against = np.where(positive, zeros, ones)
    won = np.stack([_wins(score, group, positive) for score in scores])
    count = int(level.max()) + 1
    total = np.maximum(np.bincount(level, against * positive, count), 1)
    areas = np.stack([np.bincount(level, wins * positive, count) for wins in won]) / total
    apart = (won[0] - won[1] - against * (areas[0] - areas[1])[level]) / total[level]
    shape = count, int(patient.max()) + 1
    cell = np.ravel_multi_index((level, patient), shape)
    influence = np.bincount(cell, apart, shape[0] * shape[1]).reshape(shape)
    images = _table(shape, level, patient)
    patients = (images > 0).sum(axis=1)
    error = np.sqrt(patients / np.maximum(patients - 1, 1) * (influence**2).sum(axis=1))
    return {
        k: _Pair(float(areas[0, k]), float(areas[1, k]), float(error[k]), int(images[k].sum()), int(patients[k]))
        for k in np.unique(level).tolist()
    }


def _wins(scores: Floats, group: Integers, positive: Booleans) -> Floats:
    """In how many pairs (n,) with another image of its group each image is on the right side, ties one half."""
    ranks = rankdata(scores)
    below = _places_in(group, ranks) - _places_in(2 * group + positive, ranks)
    return np.where(positive, below, np.bincount(group, positive)[group] - below)


def _places_in(group: Integers, ranks: Floats) -> Floats:
    """Ranks (n,) within each group."""
    count = np.bincount(group)
    return np.asarray(rankdata(ranks + (len(ranks) + 1) * group) - (np.cumsum(count) - count)[group])


def _in_place(sample: AttributeSample) -> tuple[Points, Integers | slice, PooledHead | None]:
    """Embeddings of the images, which of them each row is, and the head of all of them where attributes share it.

    Large ones stay as they lie, for heads read them all.
    """
    source, scaled, every = sample.images.points.source, sample.images.points.standardized, slice(None)
    if source.small and len(sample) == len(sample.images):
        return sample.images.pooled.points, every, sample.images.pooled
    if source.small or len(sample) < len(source.points):
        return in_single(source.rows(sample.rows), scaled.centre, scaled.scale), every, None
    place = every if source.order is None else np.argsort(source.order)
    return in_single(source.points, scaled.centre, scaled.scale), place, None
