# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do answers differ with an attribute in any label, between any two levels, on any scale that matters to a user?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.cells import Cells, t_value
from monai_shortcut.statistics.contrasts import Contrast, LevelContrasts
from monai_shortcut.types import Estimate, Floats, Integers, Tested, Unmeasurable

PROBABILITY, DECISION, RANK, ODDS = "probability", "decision", "rank", "odds"
SCALES = (PROBABILITY, DECISION, RANK, ODDS)
PREDICTION = "prediction"  # of a regression, in the unit of its outcome
MEANS = (PROBABILITY, PREDICTION)  # of what a classifier and a regression say
FEWEST = 5  # patients a cell must have to be compared at all
_ROUNDING = 1e-6  # of probabilities in float32
_RARE = 0.05  # share of images up to which a class is rare, and its odds are compared
_POWER = float(ndtri(0.8))


@dataclass(frozen=True)
class Difference:
    """How far the answers to images of one label differ between two levels.

    Attributes:
        label: the label; of a regression the stratum of the outcome, and after the last one all strata together.
        first: a level.
        second: a later level.
        scale: "probability": mean predicted probability of the second of two classes; of more classes, the probability
            that moves between them, which has no sign. "decision": the same of the answers given. "rank": area
            under the ROC curve that tells the images of the label at that level from all images of other labels.
            "odds": logarithm of the ratio of the odds of a rare class. "prediction": mean prediction of a regression
            at equal outcome, in the outcome's unit.
        estimate: the second level less the first, with limits for this difference alone.
        certain: what the absolute difference exceeds, as far as can be said of all differences of the attribute at
            once; 0 if nothing.
        possible: what the absolute difference stays below, with one-sided confidence for this difference alone.
        detectable: by how much more than a tolerance it has to differ for `certain` to exceed that tolerance in four
            of five such cohorts.
        patients: patients of the smaller of the two cells.
        p_value: of all differences of the attribute together (maximum under permutation); 1 for "odds", which test
            what "probability" tests. At equal levels of others: by Bonferroni's inequality.
        outcome: the class whose odds are compared.
        within: another attribute and its level, if only images of that level are compared.
    """

    label: int
    first: int
    second: int
    scale: str
    estimate: Estimate
    certain: float
    possible: float
    detectable: float
    patients: int
    p_value: float
    outcome: int | None = None
    within: tuple[str, int] | None = None


@dataclass(frozen=True)
class Differences:
    """Differences of the answers by label, pair of levels and scale.

    Attributes:
        rows: what was compared.
        test: the largest studentized difference in mean probabilities, decisions and ranks, as a normal score.
        spread: the same of how far ranks lie from the label's median: answers that scatter more at one level. None
            where nothing could be compared.
        scattered: label, first and second level where the scatter differs most.
        critical: normal score that the largest of all differences exceeds by chance with 1 - confidence.
        patients: (C, M) patients of each label and level; of a regression a last row of all strata together.
        adjusted_for: attributes at whose equal levels the answers were compared.
    """

    rows: tuple[Difference, ...]
    test: Tested
    spread: Tested | None = None
    scattered: tuple[int, int, int] | None = None
    critical: float = 0.0
    patients: tuple[tuple[int, ...], ...] = ()
    adjusted_for: tuple[str, ...] = ()


def differences(
    sample: AttributeSample, *, threshold: float | None = None, adjust: dict[str, NDArray[Any]] | None = None
) -> Differences:
    """Compare the answers between all pairs of levels, label by label, on all scales.

    Each difference d of cell means is divided by its standard error, clustered by patient and taken anew in each
    permutation; the t-value becomes a normal score, so that small and large cells compare. The test is of the largest
    score, by permutation between patients within labels. An error of its own for each cell keeps a level that merely
    scatters more from passing for one that differs (Chung and Romano).

    Of an intersection, only means are compared. What the attributes that it is made of add by themselves is taken off
    before, in a linear model of each label: what is left is their interaction. Its cells then differ by less than cells
    drawn at random, so that tests and limits err to the side of caution.

    Limits use Student's t with the patients' effective number. Two patients are added to each cell (`Contrast`) for the
    limits of decisions, and for what is certain and what is possible on every scale but odds and predictions.

    The predictions of a regression are compared in each stratum of the outcome and over all strata together, by least
    squares on the levels and a parabola of the outcome in each stratum. What is permuted is freed of these before.

    Args:
        sample: the images and the attribute; only their answers are used.
        threshold: probability of the second of two classes from which on it is the answer; by default the likeliest
            class is.
        adjust: (n,) levels, integers from 0, by attribute at whose equal levels answers are compared. The sample is
            then permuted within these (`AttributeSample.cells`).

    Raises:
        Unmeasurable: If no label has two levels of at least five patients each.

    References:
        Chung and Romano (2013), Annals of Statistics 41(2); Westfall and Young (1993), Resampling-Based Multiple
        Testing; Agresti and Caffo (2000), American Statistician 54(4).
    """
    given = adjust or {}
    scales = Values.of(sample, threshold)
    label, patient, codes = np.unique(sample.labels, return_inverse=True)[1], sample.patients, sample.permuted
    columns = scales.columns if sample.cells is None else _centred(scales.columns, sample.cells, label)
    if sample.images.outcome is not None:  # once more, as one label
        columns = np.concatenate([columns, _centred(columns, label, np.zeros_like(label))])
        label, patient = np.concatenate([label, np.full_like(label, label.max() + 1)]), np.tile(patient, 2)
        codes = np.tile(codes, 2)
    moments = Cells(columns, label, patient, sample.count).of(codes)
    contrasts = moments.differences()
    enough = contrasts.patients[0] >= FEWEST
    if not enough.any():
        raise Unmeasurable(f"no label has two levels of at least {FEWEST} patients each")
    scores = contrasts.scores() * enough[..., None]
    tests = scores[..., : scales.tested].max(axis=(1, 2, 3))
    critical = float(np.quantile(tests[1:], sample.draws.confidence, method="higher"))
    spread = scores[..., scales.tested]
    found = _Rows(sample, scales, list(given.values()), critical)
    # What a row is tested by are the scores of its columns.
    by_scale = [(name, scores[0][..., place].max(axis=-1)) for name, place in scales.places.items()]
    p_values = {name: (1 + (tests[1:, None, None] >= own - 1e-9).sum(axis=0)) / len(tests) for name, own in by_scale}
    rows = tuple(found.rows(enough, p_values))
    place = np.unravel_index(int(spread[0].argmax()), spread[0].shape)
    pair = list(combinations(range(sample.count), 2))[int(place[1])]
    return Differences(
        rows=rows,
        test=Tested.of(tests),
        spread=_tested(spread.max(axis=(1, 2))),
        scattered=(found.groups[int(place[0])].label, *pair),
        critical=critical,
        patients=_patients(sample),
        adjusted_for=tuple(given),
    )


def joint_differences(
    sample: AttributeSample, others: dict[str, NDArray[Any]], *, threshold: float | None = None
) -> tuple[Difference, ...]:
    """Differences at equal levels of other attributes, all in one linear model of each label.

    Args:
        sample: the images and the attribute.
        others: (N,) levels of other attributes over all images of the sample, -1 where unknown; images with an unknown
            one are left out.
        threshold: as `differences`.

    Returns:
        The differences that can be told from the others', tested by Bonferroni's inequality.
    """
    known = np.all([codes[sample.rows] >= 0 for codes in others.values()], axis=0)
    if not known.any():
        return ()
    part = _part(sample, known)
    given = [codes[part.rows] for codes in others.values()]
    critical = _bonferroni(_comparisons(part), part.draws.confidence)
    return tuple(_Rows(part, Values.of(part, threshold), given, critical).rows(None, None))


def sliced_differences(
    sample: AttributeSample,
    others: dict[str, NDArray[Any]],
    *,
    fewest: int,
    tests: int,
    threshold: float | None = None,
) -> tuple[Difference, ...]:
    """Differences among the images of each level of other attributes, one after the other.

    A use whose direction depends on another attribute cancels over all images, and shows here.

    Args:
        sample: the images and the attribute.
        others: (N,) levels of other attributes over all images of the sample, -1 where unknown.
        fewest: patients that both cells must have.
        tests: number of attributes that are asked this.
        threshold: as `differences`.

    Returns:
        The differences, tested by Bonferroni's inequality over all of them and all attributes.
    """
    slices = [(name, level) for name, codes in others.items() for level in range(int(codes.max(initial=-1)) + 1)]
    values, factor = Values.of(sample, threshold), len(slices) * tests
    critical = _bonferroni(_comparisons(sample) * factor, sample.draws.confidence)
    found: list[Difference] = []
    for name, level in slices:
        chosen = others[name][sample.rows] == level
        if chosen.any():
            rows = _Rows(_part(sample, chosen), values.of_images(chosen), [], critical, fewest).rows(None, None)
            found += [replace(row, within=(name, level), p_value=min(1.0, row.p_value * factor)) for row in rows]
    return tuple(found)


def _part(sample: AttributeSample, chosen: NDArray[np.bool_]) -> AttributeSample:
    """Some images (n,) of a sample."""
    return AttributeSample(sample.images, sample.name, sample.levels, sample.rows[chosen], sample.codes[chosen])


def foreseen(
    sample: AttributeSample, tests: int, confidence: float, threshold: float | None = None
) -> list[Difference]:
    """Rows of the differences before any permutation, for what they can detect.

    Args:
        sample: the images and the attribute.
        tests: number of attributes, over which p-values will be adjusted.
        confidence: one less the significance.
        threshold: as `differences`.
    """
    critical = _bonferroni(_comparisons(sample) * tests, confidence)
    return list(_Rows(sample, Values.of(sample, threshold), [], critical).rows(None, None))


def _comparisons(sample: AttributeSample) -> int:
    """Number of labels, pairs of levels and scales that are tested."""
    labels, pairs = len(np.unique(sample.labels)), sample.count * (sample.count - 1) // 2
    return labels * pairs * 3 if sample.images.outcome is None else (labels + 1) * pairs


def _bonferroni(tests: int, confidence: float) -> float:
    """Normal score that the largest of some tests exceeds by chance with at most 1 - confidence."""
    return float(-ndtri((1 - confidence) / 2 / max(tests, 1)))


def _patients(sample: AttributeSample) -> tuple[tuple[int, ...], ...]:
    """(C, M) patients of each label and level, of a regression at last of all."""
    labels = [sample.labels == label for label in range(sample.images.classes)]
    if sample.images.outcome is not None:
        labels.append(np.ones(len(sample), dtype=np.bool_))
    levels = [sample.codes == level for level in range(sample.count)]
    return tuple(tuple(len(np.unique(sample.patients[inside & own])) for own in levels) for inside in labels)


def _tested(statistic: Floats) -> Tested:
    return Tested.of(statistic)


def _centred(columns: Floats, cells: Integers, label: Integers) -> Floats:
    """Values (n, K) with the mean of their cell replaced by that of their label: what other attributes say is gone."""
    cell = np.unique(cells, return_inverse=True)[1]

    def mean(group: Integers) -> Floats:
        sums = np.stack([np.bincount(group, column) for column in columns.T], axis=1)
        return np.asarray((sums / np.bincount(group)[:, None])[group])

    return np.asarray(columns - mean(cell) + mean(label))


@dataclass(frozen=True, eq=False)
class Values:
    """Values of the images that are compared, all in [0, 1]; of a regression predictions.

    Attributes:
        columns: (n, K) what is tested, and at last how far the rank lies from its label's median.
        places: columns of each scale.
        probabilities: (n, C).
        decisions: (n, C) one for the answer.
        ranks: (n,) see `Sample.placements`.
    """

    columns: Floats
    places: dict[str, list[int]]
    probabilities: Floats
    decisions: Floats
    ranks: Floats

    @property
    def tested(self) -> int:
        """Number of columns whose means are tested."""
        return int(self.columns.shape[1]) - 1

    def of_images(self, chosen: NDArray[np.bool_]) -> Values:
        """The same of some images."""
        return Values(
            self.columns[chosen], self.places, self.probabilities[chosen], self.decisions[chosen], self.ranks[chosen]
        )

    @classmethod
    def of(cls, sample: AttributeSample, threshold: float | None) -> Values:
        """Those of a sample, less what each attribute adds that it goes beyond; ``threshold`` as in `differences`."""
        found = cls._of_answers(sample, threshold)
        parts = [codes[sample.rows] for codes in sample.beyond]
        if not parts:
            return found
        means = next(iter(found.places))  # two effects that add up in probability do not in decisions and ranks
        columns = found.columns[:, [*found.places[means], -1]]
        columns, chance = (_without_parts(values, parts, sample.labels) for values in (columns, found.probabilities))
        return cls(columns, {means: found.places[means]}, chance, found.decisions, found.ranks)

    @classmethod
    def _of_answers(cls, sample: AttributeSample, threshold: float | None) -> Values:
        answers = sample.probabilities
        if sample.images.outcome is not None:
            return cls._of_outcome(answers, sample.labels)
        classes = answers.shape[1]
        likeliest = answers.argmax(axis=1) if threshold is None else (answers[:, 1] >= threshold).astype(np.int64)
        decisions = np.eye(classes)[likeliest]
        ranks = sample.images.placements[sample.rows]
        apart = _from_median(ranks, sample.labels)
        shown = slice(1, 2) if classes == 2 else slice(None)
        parts = [answers[:, shown], decisions[:, shown], ranks[:, None], apart[:, None]]
        width = parts[0].shape[1]
        places = {
            PROBABILITY: list(range(width)),
            DECISION: list(range(width, 2 * width)),
            RANK: [2 * width],
        }
        return cls(np.concatenate(parts, axis=1), places, answers, decisions, ranks)

    @classmethod
    def _of_outcome(cls, answers: Floats, labels: Integers) -> Values:
        """Those of a regression: the predictions, which have neither decisions nor ranks."""
        said, none = answers[:, 1], np.zeros((len(answers), 0))
        columns = np.stack([said, _from_median(said, labels)], axis=1)
        return cls(columns, {PREDICTION: [0]}, answers, none, none)


def _from_median(values: Floats, labels: Integers) -> Floats:
    """How far values (n,) lie from the median of their label."""
    apart = np.empty_like(values)
    for label in np.unique(labels):
        inside = labels == label
        apart[inside] = np.abs(values[inside] - np.median(values[inside]))
    return apart


def _without_parts(values: Floats, parts: Sequence[Integers], labels: Integers) -> Floats:
    """Values (n, K) less what levels (n,) of attributes add in a linear model of each label; the label's mean stays."""
    left = values.copy()
    for label in np.unique(labels):
        inside = labels == label
        design = np.concatenate([np.eye(int(codes.max()) + 1)[codes[inside]] for codes in parts], axis=1)
        added = design @ (np.linalg.pinv(design) @ values[inside])
        left[inside] += values[inside].mean(axis=0) - added
    return left


class _Group(NamedTuple):
    """Images that are compared with each other: those of one label, or of all strata of an outcome."""

    label: int
    rows: Integers
    others: Sequence[NDArray[Any]]
    numbers: Floats | None


@dataclass(frozen=True, eq=False)
class _Rows:
    """Makes the rows of an attribute."""

    sample: AttributeSample
    values: Values
    others: Sequence[NDArray[Any]]
    critical: float
    fewest: int = FEWEST

    @cached_property
    def groups(self) -> list[_Group]:
        """The images of each label that is present; of a regression at last all of them."""
        sample, outcome = self.sample, self.sample.images.outcome
        basis = None if outcome is None else outcome.basis[sample.rows]
        found = []
        for label in np.unique(sample.labels).tolist():
            inside = np.flatnonzero(sample.labels == label)
            own = None if basis is None else basis[inside][:, basis[inside].any(axis=0)]
            found.append(_Group(label, inside, [other[inside] for other in self.others], own))
        if outcome is not None:
            every = np.arange(len(sample))
            found.append(_Group(sample.images.classes, every, [sample.labels, *self.others], basis))
        return found

    def rows(self, enough: NDArray[np.bool_] | None, p_values: dict[str, Floats] | None) -> Iterator[Difference]:
        """Rows of the pairs (L, P) of which there is enough."""
        tests = _comparisons(self.sample)
        for index, (label, inside, others, numbers) in enumerate(self.groups):
            patient = np.unique(self.sample.patients[inside], return_inverse=True)[1]
            codes = self.sample.codes[inside]
            held = [len(np.unique(patient[codes == level])) for level in range(self.sample.count)]
            model = LevelContrasts(codes, patient, self.sample.count, others, numbers)
            for place, (first, second) in enumerate(combinations(range(self.sample.count), 2)):
                patients = min(held[first], held[second])
                if patients < self.fewest or (enough is not None and not enough[index, place]):
                    continue
                for scale, outcome, found in self._scales(model, inside, first, second):
                    if found is None:
                        continue
                    if p_values is None:
                        p_value = min(1.0, 2 * float(ndtr(-found.score)) * tests)
                    else:
                        p_value = float(p_values[scale][index, place]) if scale in p_values else 1.0
                    yield self._row((label, first, second), scale, outcome, found, patients, p_value)

    def _row(
        self,
        where: tuple[int, int, int],
        scale: str,
        outcome: int | None,
        found: Contrast,
        patients: int,
        p_value: float,
    ) -> Difference:
        freedom = np.array(found.freedom)

        if scale == PREDICTION:  # no values in [0, 1] that two more patients could have
            found = replace(found, cautious_value=found.value, cautious_error=found.error)

        def reach(score: float) -> float:
            return float(t_value(score, freedom)) * found.cautious_error

        # A share may never have varied in a few patients; probabilities and ranks seldom fail to.
        plain = scale in (PROBABILITY, RANK) and found.error > 1e-9
        middle, error = (found.value, found.error) if plain else (found.cautious_value, found.cautious_error)
        # Which of several classes gain is read off the same answers: as if the widest of C - 1 limits were chosen.
        ways = 1 if scale in (RANK, ODDS, PREDICTION) else self.sample.images.classes - 1
        beyond = (1 - self.sample.draws.confidence) / 2 / ways
        alone = float(t_value(float(-ndtri(beyond)), freedom)) * error
        size, every = abs(found.cautious_value), reach(self.critical)
        bound = np.inf if scale in (ODDS, PREDICTION) else 1.0
        return Difference(
            label=where[0],
            first=where[1],
            second=where[2],
            scale=scale,
            estimate=Estimate(middle, max(middle - alone, -bound), min(middle + alone, bound)),
            certain=max(size - every, 0.0),
            possible=size + reach(float(ndtri(self.sample.draws.confidence))),
            detectable=every + reach(_POWER),
            patients=patients,
            p_value=p_value if scale != ODDS else 1.0,
            outcome=outcome,
        )

    def _scales(
        self, model: LevelContrasts, inside: Integers, first: int, second: int
    ) -> Iterator[tuple[str, int | None, Contrast | None]]:
        if PREDICTION in self.values.places:
            yield PREDICTION, None, model.between(first, second, self.values.probabilities[inside, 1])
            return
        for scale, answers in ((PROBABILITY, self.values.probabilities), (DECISION, self.values.decisions)):
            if scale in self.values.places:
                yield scale, None, model.between(first, second, moving(model, answers[inside], first, second))
        if RANK not in self.values.places:
            return
        yield RANK, None, model.between(first, second, self.values.ranks[inside])
        shares = np.bincount(self.sample.images.labels, minlength=self.sample.images.classes) / len(self.sample.images)
        for outcome in np.flatnonzero(shares <= _RARE).tolist():
            answers = self.values.probabilities[inside, outcome]
            found = model.between(first, second, answers)
            yield ODDS, outcome, None if found is None else _log_odds(found, answers, model.codes, first, second)


def moving(model: LevelContrasts, answers: Floats, first: int, second: int) -> Floats:
    """(n,) answers (n, C) of the second of two classes; of more, of all classes that gain from a level to another."""
    if answers.shape[1] == 2:
        return answers[:, 1]
    gains = [model.between(first, second, column) for column in answers.T]
    gaining = [index for index, gain in enumerate(gains) if gain is not None and gain.value > _ROUNDING]
    return np.asarray(answers[:, gaining or [0]].sum(axis=1))


def _log_odds(found: Contrast, answers: Floats, codes: Integers, first: int, second: int) -> Contrast | None:
    """Logarithm of the ratio of the odds of mean probabilities, and its standard error by the delta method."""
    middle = float(answers[(codes == first) | (codes == second)].mean())
    low, high = middle - found.value / 2, middle + found.value / 2
    if min(low, high) <= 0 or max(low, high) >= 1:
        return None
    value = float(np.log(high / (1 - high)) - np.log(low / (1 - low)))
    error = found.error * (1 / (low * (1 - low)) + 1 / (high * (1 - high))) / 2
    return Contrast(value, error, value, error, found.freedom)
