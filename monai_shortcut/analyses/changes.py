# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How differences of the answers change from one model, or one cohort, to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from monai_shortcut.analyses.differences import (
    DECISION,
    FEWEST,
    PROBABILITY,
    RANK,
    Values,
    moving,
)
from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.cells import t_value
from monai_shortcut.statistics.contrasts import Contrast, LevelContrasts
from monai_shortcut.statistics.gaps import CellSums, mean_gaps, trend_gaps, without_noise
from monai_shortcut.types import Estimate, Floats, Integers, Tested

COMPARED = (PROBABILITY, DECISION, RANK)
_BLOCK = 64  # bootstrap samples at once; bounds the memory
Part = tuple[str, int]  # another attribute and its level


@dataclass(frozen=True)
class Change:
    """A difference between two levels before and after.

    Attributes:
        label: the label.
        first: a level.
        second: a later level.
        scale: "probability", "decision" or "rank", as of `Difference`.
        before: the second level less the first, with limits for this difference alone.
        after: the same.
        size: by how much the absolute difference grows; below 0 it shrinks. Limits take the signs of both differences
            as they are.
        shrinks: whether it is certain to shrink, of all changes of the attribute at once.
        grows: whether it is certain to grow, likewise.
        possible: what the absolute change stays below, with one-sided confidence for this change alone.
        patients: patients of the smallest cell.
        within: another attribute and its level, if only images of that level are compared.
    """

    label: int
    first: int
    second: int
    scale: str
    before: Estimate
    after: Estimate
    size: Estimate
    shrinks: bool
    grows: bool
    possible: float
    patients: int
    within: Part | None = None


@dataclass(frozen=True)
class Changes:
    """Changes of all differences of an attribute.

    Attributes:
        rows: the changes.
        test: the largest absolute change over its error; of the same images, beside patients whose answers before and
            after are swapped. None of different images, or where nothing could be compared.
        p_value: that a change so large comes by chance: of `test`, or by Bonferroni's inequality.
    """

    rows: tuple[Change, ...]
    test: Tested | None
    p_value: float


def changes(
    before: AttributeSample,
    after: AttributeSample,
    *,
    paired: bool,
    threshold: float | None = None,
    others: tuple[Sequence[Integers], Sequence[Integers]] = ((), ()),
    parts: Sequence[tuple[Part, NDArray[np.bool_], NDArray[np.bool_]]] = (),
) -> Changes:
    """Compare the differences between all pairs of levels, label by label, on three scales, before and after.

    With d and e a difference before and after, it has shrunk where e - d and e + d are of opposite signs: then |e| is
    below |d| whatever the signs of the two are. Of the same images, both are differences of one value per image, with
    an error by patient; of different images the errors of two independent differences add up. The ranks of different
    images are those among images of the other labels whose labels and levels weigh the same: one model ranks a level
    higher where the images beside it are more often of the other one.

    Args:
        before: the images and the attribute, as one model answered them.
        after: the same images in the same order if `paired`, else other images with the same levels.
        paired: whether the images are the same.
        threshold: as of `differences`.
        others: levels (n,) of attributes at whose equal levels answers are compared, of the images of either sample.
        parts: further parts of the images to compare by themselves, with which of the images they hold.

    Returns:
        The changes; empty where no label has two levels of five patients each.
    """
    sides = [_Side.of(one, threshold, equal, paired) for one, equal in zip((before, after), others, strict=True)]
    joined = list(_pairs(sides, paired, None))
    for part, first, second in parts:
        joined += _pairs([sides[0].of_images(first), sides[1].of_images(second)], paired, part)
    if not joined:
        return Changes((), None, 1.0)
    draws = before.draws
    if paired:
        test = Tested.of(_swapped([pair.parts for pair in joined], before))
        # Of one change alone it is no lower: answers that hardly change may all swap alike.
        alone = float(-ndtri((1 - draws.confidence) / 2))
        critical = max(float(np.quantile(test.null, draws.confidence, method="higher")), alone)
        p_value = test.p_value
    else:
        test, critical = None, float(-ndtri((1 - draws.confidence) / 2 / len(joined)))
        p_value = min(1.0, 2 * float(ndtr(-max(pair.apart.score for pair in joined))) * len(joined))
    return Changes(tuple(pair.row(critical, draws.confidence) for pair in joined), test, p_value)


def _balanced_ranks(sample: AttributeSample) -> Floats:
    """(n,) as `Sample.placements`, but that labels and levels of the other images weigh the same."""
    logits, cell = sample.images.logits[sample.rows], sample.labels * sample.count + sample.codes
    share, found = 1.0 / np.bincount(cell)[cell], np.empty(len(cell))
    for label in np.unique(sample.labels):
        odds = logits[:, label] - np.delete(logits, label, axis=1).max(axis=1)
        inside = sample.labels == label
        order = np.argsort(odds[~inside])
        sums = np.append(0.0, np.cumsum(share[~inside][order]))
        places = (np.searchsorted(odds[~inside][order], odds[inside], side) for side in ("left", "right"))
        found[inside] = sum(sums[place] for place in places) / (2 * sums[-1])
    return found


def gap_change(before: AttributeSample, after: AttributeSample, noise: tuple[float, float]) -> Estimate:
    """By how much the prediction gap grows, patients drawn with replacement.

    Args:
        before: the images and the attribute. Draws of the two are the same patients if the samples hold the same
            images and have the same seed; give other cohorts other seeds.
        after: the same.
        noise: mean square of either gap under permutation, as of `PredictionGap`.
    """
    found = [_gaps(side, own) for side, own in zip((before, after), noise, strict=True)]
    (old, olds), (new, news) = found
    return Estimate.of(new - old, news - olds, before.draws.confidence)


def _gaps(sample: AttributeSample, noise: float) -> tuple[float, Floats]:
    """The gap without its noise, and (B,) of bootstrap samples, which carry it twice."""
    label = np.unique(sample.labels, return_inverse=True)[1]
    sums = CellSums(sample.probabilities, label, sample.count)
    statistic = trend_gaps if sample.ordered else mean_gaps
    shape = int(label.max()) + 1, sample.count, sums.values.shape[1]
    cell = label * sample.count + sample.codes
    drawn = sample.images.resampled(sums.values, sample.rows, cell, shape[0] * shape[1]).reshape(-1, *shape)
    raw = float(statistic(sums.of(sample.codes[None]))[0])
    return float(without_noise(raw**2, noise)), without_noise(statistic(drawn) ** 2, 2 * noise)


@dataclass(frozen=True, eq=False)
class _Side:
    """The images of one model: labels, patients, levels and values, all (n,) but the values."""

    labels: Integers
    patients: Integers
    codes: Integers
    levels: int
    values: Values
    others: Sequence[Integers]

    @classmethod
    def of(cls, sample: AttributeSample, threshold: float | None, others: Sequence[Integers], paired: bool) -> _Side:
        values = Values.of(sample, threshold)
        if not paired:
            values = replace(values, ranks=_balanced_ranks(sample))
        return cls(sample.labels, sample.patients, sample.codes, sample.count, values, others)

    def of_images(self, chosen: NDArray[np.bool_]) -> _Side:
        """The same of some images."""
        return _Side(
            self.labels[chosen],
            self.patients[chosen],
            self.codes[chosen],
            self.levels,
            self.values.of_images(chosen),
            [other[chosen] for other in self.others],
        )

    def with_label(self, label: int) -> _Label | None:
        inside = np.flatnonzero(self.labels == label)
        if not len(inside):
            return None
        patient = np.unique(self.patients[inside], return_inverse=True)[1].astype(np.int64)
        codes = self.codes[inside]
        model = LevelContrasts(codes, patient, self.levels, [other[inside] for other in self.others])
        held = [len(np.unique(patient[codes == level])) for level in range(self.levels)]
        return _Label(model, held, inside, self.values, self.patients[inside])


@dataclass(frozen=True, eq=False)
class _Label:
    """Images of one label: their model, patients by level, places, and the patients of the sample."""

    model: LevelContrasts
    held: list[int]
    inside: Integers
    values: Values
    people: Integers

    def column(self, scale: str, first: int, second: int) -> Floats:
        """(n,) values whose means are compared."""
        if scale == RANK:
            return np.asarray(self.values.ranks[self.inside])
        answers = self.values.probabilities if scale == PROBABILITY else self.values.decisions
        return moving(self.model, answers[self.inside], first, second)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A difference before and after, their difference and their sum.

    Attributes:
        where: label, first and second level.
        scale: the scale.
        before, after: the differences.
        apart: the later difference less the earlier one.
        joint: their sum.
        patients: of the smallest cell.
        parts: patients of the sample (k,), and what each adds to `apart`; empty of different images.
        within: the part of the images.
    """

    where: tuple[int, int, int]
    scale: str
    before: Contrast
    after: Contrast
    apart: Contrast
    joint: Contrast
    patients: int
    parts: tuple[Integers, Floats]
    within: Part | None

    def row(self, critical: float, confidence: float) -> Change:
        before, after = (self._limits(one, confidence) for one in (self.before, self.after))
        same = before.value * after.value >= 0
        sign = (-1.0 if before.value < 0 else 1.0) * (1.0 if same else -1.0)
        moved = self._limits(self.apart if same else self.joint, confidence)
        low, high = sorted((sign * moved.low, sign * moved.high))
        apart, joint = (self._certain(one, critical) for one in (self.apart, self.joint))
        reach = float(t_value(float(ndtri(confidence)), np.array(self.apart.freedom))) * self.apart.cautious_error
        return Change(
            *self.where,
            self.scale,
            before,
            after,
            Estimate(sign * moved.value, low, high),
            shrinks=apart * joint < 0,
            grows=apart * joint > 0,
            possible=abs(self.apart.cautious_value) + reach,
            patients=self.patients,
            within=self.within,
        )

    def _limits(self, found: Contrast, confidence: float) -> Estimate:
        plain = self.scale != DECISION and found.error > 1e-9
        value, error = (found.value, found.error) if plain else (found.cautious_value, found.cautious_error)
        reach = float(t_value(float(-ndtri((1 - confidence) / 2)), np.array(found.freedom))) * error
        return Estimate(value, value - reach, value + reach)

    @staticmethod
    def _certain(found: Contrast, critical: float) -> int:
        """Sign of what is certain not to be zero; 0 if nothing is."""
        reach = float(t_value(critical, np.array(found.freedom))) * found.cautious_error
        return int(np.sign(found.cautious_value)) if abs(found.cautious_value) > reach else 0


def _pairs(sides: Sequence[_Side], paired: bool, within: Part | None) -> Iterator[_Pair]:
    levels = sides[0].levels
    for label in np.intersect1d(sides[0].labels, sides[1].labels).tolist():
        old, new = (side.with_label(label) for side in sides)
        assert old is not None
        assert new is not None
        for first, second in combinations(range(levels), 2):
            patients = min(*(side.held[level] for side in (old, new) for level in (first, second)))
            if patients < FEWEST:
                continue
            for scale in COMPARED:
                columns = old.column(scale, first, second), new.column(scale, first, second)
                found = (_same if paired else _different)(old, new, first, second, columns)
                if found is not None:
                    yield _Pair((label, first, second), scale, *found[0], patients, found[1], within)


Joined = tuple[tuple[Contrast, Contrast, Contrast, Contrast], tuple[Integers, Floats]]


def _same(old: _Label, new: _Label, first: int, second: int, columns: tuple[Floats, Floats]) -> Joined | None:
    """Of the same images: their difference and sum are those of one value per image."""
    weights, model = old.model.weights(first, second), old.model
    if weights is None:
        return None
    before, after = columns
    parts = (before, after, (after - before + 1) / 2, (after + before) / 2)
    one, two, apart, joint = (model.between(first, second, values) for values in parts)
    assert one is not None
    assert two is not None
    people, place = np.unique(old.people, return_inverse=True)
    adds = np.bincount(place, weights * (after - before)).astype(np.float64)
    return (one, two, _doubled(apart), _doubled(joint)), (people, adds)


def _doubled(found: Contrast | None) -> Contrast:
    assert found is not None
    return Contrast(2 * found.value, 2 * found.error, 2 * found.cautious_value, 2 * found.cautious_error, found.freedom)


def _different(old: _Label, new: _Label, first: int, second: int, columns: tuple[Floats, Floats]) -> Joined | None:
    """Of different images, whose errors are independent."""
    one, two = (side.model.between(first, second, own) for side, own in zip((old, new), columns, strict=True))
    if one is None or two is None:
        return None
    nobody = np.zeros(0, dtype=np.int64), np.zeros(0)
    return (one, two, _added(one, two, -1.0), _added(one, two, 1.0)), nobody


def _added(before: Contrast, after: Contrast, sign: float) -> Contrast:
    """The later one plus or less the earlier one, with Welch and Satterthwaite's degrees of freedom."""
    variances = np.array([before.error, after.error]) ** 2
    total, freedoms = float(variances.sum()), np.array([before.freedom, after.freedom])
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total > 0 else float(freedoms.min())
    return Contrast(
        after.value + sign * before.value,
        float(np.hypot(before.error, after.error)),
        after.cautious_value + sign * before.cautious_value,
        float(np.hypot(before.cautious_error, after.cautious_error)),
        freedom,
    )


def _swapped(parts: Sequence[tuple[Integers, Floats]], sample: AttributeSample) -> Floats:
    """(1 + B,) largest absolute change over its error, observed and with answers swapped in half of the patients.

    Swapping a patient's answers turns the sign of what that patient adds, so the sum of squares stays.
    """
    adds = np.zeros((int(sample.images.patients.max()) + 1, len(parts)))
    for column, (people, own) in enumerate(parts):
        adds[people, column] = own
    error = np.sqrt((adds**2).sum(axis=0))
    scaled = np.divide(adds, error, out=np.zeros_like(adds), where=error > 1e-12)
    signs = sample.rng("swapped answers").choice([-1.0, 1.0], (sample.draws.permutations, len(adds)))
    signs = np.concatenate([np.ones((1, len(adds))), signs])
    blocks = (signs[start : start + _BLOCK] @ scaled for start in range(0, len(signs), _BLOCK))
    return np.concatenate([np.abs(block).max(axis=1) for block in blocks])
