# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves of models and conditions, and weighted sums of them, on the images that all of them have."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from monai_shortcut.region_study.scores import Condition, Floats, Integers, StudyScores
from monai_shortcut.statistics.delong import AUCComparison, AUCInfluence, average_influence
from monai_shortcut.types import Unmeasurable

ScoredFold = tuple[Integers, Floats]  # numbers of images, increasing, and their scores
_LEAST = 2  # patients of a class without whom an area has no error


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of areas under ROC curves, on the images that all of its models were given.

    Attributes:
        difference: the sum, minus the value it is tested against.
        standard_error: standard error of it, patients being the independent units.
        interval: its confidence limits.
        p_value: two-sided.
        retrained: whether interval and p-value hold for models trained anew, rather than for those at hand.
        adjusted_p_value: Holm-adjusted within its kind of comparison; None where that is not done.
        images: number of images.
        patients: number of their patients.
        fold_values: the sum in each fold that could be used.
        untested: why a fold could not be used, by its number.
    """

    difference: float
    standard_error: float
    interval: tuple[float, float]
    p_value: float
    retrained: bool
    adjusted_p_value: float | None
    images: int
    patients: int
    fold_values: tuple[float, ...]
    untested: dict[str, str]


@dataclass(frozen=True, eq=False)
class Common:
    """Images that several conditions have.

    Attributes:
        folds: numbers of the images, increasing, by fold; folds that cannot be used are absent.
        untested: why a fold cannot be used, by its number.
        images: number of different images.
        units: numbers of their patients, increasing.
    """

    folds: dict[int, Integers]
    untested: dict[str, str]
    images: int
    units: Integers


class LabelAreas:
    """All areas for one label; each is computed once and kept, so that comparisons cost next to nothing.

    Args:
        study: the scores.
        label: one of its labels.
        level: level of the intervals.

    Raises:
        ValueError: If the study has no such label.
    """

    def __init__(self, study: StudyScores, label: str, level: float = 0.95) -> None:
        if label not in study.labels:
            raise ValueError(f"label must be one of {', '.join(study.labels)}, got {label!r}.")
        self.study, self.label, self.level = study, label, level
        self._column = study.labels.index(label)
        self._outcome = study.outcomes[:, self._column]
        self._scored: dict[Condition, dict[int, ScoredFold]] = {}
        self._sets: dict[Condition, bytes] = {}
        self._common: dict[tuple[bytes, ...], Common] = {}
        self._measured: dict[tuple[Condition, Common], AUCInfluence] = {}

    def contrast(self, weights: Mapping[Condition, float], null: float = 0.0, *, retrained: bool = False) -> Contrast:
        """A weighted sum of areas against a value.

        Args:
            weights: by condition, the baseline being `METADATA`: 1 and -1 compare two, 1 is one area itself,
                (1, -1, -1, 1) a difference of differences. Only images that all of them scored count.
            null: the value under the hypothesis that is tested.
            retrained: whether interval and p-value are to hold for models trained anew, which differ by luck. They are
                then the more cautious of those between patients and those between folds (Student's, of the folds'
                values). A single fold cannot show this.

        Returns:
            The sum minus the value, with interval and p-value; 1 if the scores rank all images alike.

        Raises:
            ValueError: If a condition has no scores.
            Unmeasurable: If no fold has two patients of each class.
        """
        if not weights:
            raise ValueError("weights must hold at least one condition, got none.")
        values = np.array(list(weights.values()), dtype=np.float64)
        common = self._images(list(weights))
        first, *others = (self._areas(source, common) for source in weights)
        joined = first.beside(*others)
        found = joined.compare(values, self.level, null)
        by_fold = joined.fold_areas @ values - null
        if retrained and len(by_fold) > 1:
            lowest, highest = values[values < 0].sum() - null, values[values > 0].sum() - null
            found = _widened(found, by_fold, self.level, (float(lowest), float(highest)))
        return Contrast(
            difference=found.difference,
            standard_error=found.standard_error,
            interval=found.interval,
            p_value=found.p_value,
            retrained=retrained,
            adjusted_p_value=None,
            images=common.images,
            patients=len(common.units),
            fold_values=tuple(by_fold.tolist()),
            untested=common.untested,
        )

    def _known(self, condition: Condition) -> dict[int, ScoredFold]:
        if condition not in self._scored:
            folds, digest = known_scores(self.study, condition, self._column), hashlib.sha256()
            for number, (images, _) in folds.items():
                digest.update(np.array([number, len(images)]).tobytes() + images.tobytes())
            self._scored[condition], self._sets[condition] = folds, digest.digest()
        return self._scored[condition]

    def _images(self, conditions: Sequence[Condition]) -> Common:
        known = [self._known(condition) for condition in conditions]
        folds = dict(zip((self._sets[condition] for condition in conditions), known, strict=True))
        key = tuple(sorted(folds))
        if key not in self._common:
            self._common[key] = common_images(self.study, self._column, list(folds.values()))
        if not self._common[key].folds:
            why = "; ".join(f"fold {number}: {reason}" for number, reason in self._common[key].untested.items())
            raise Unmeasurable(why or "no image has a known outcome and scores")
        return self._common[key]

    def _areas(self, condition: Condition, common: Common) -> AUCInfluence:
        if (condition, common) not in self._measured:
            rows = {n: chosen(self._known(condition)[n], images)[None] for n, images in common.folds.items()}
            self._measured[condition, common] = influence(self.study, self._column, common, rows)
        return self._measured[condition, common]


def _widened(found: AUCComparison, by_fold: Floats, level: float, possible: tuple[float, float]) -> AUCComparison:
    """The comparison, or where it is more cautious, Student's test between the values of the folds."""
    freedom = len(by_fold) - 1
    error = float(by_fold.std(ddof=1)) / math.sqrt(len(by_fold))
    p_value = found.p_value
    if error > 0:
        p_value = max(p_value, float(2 * t.sf(abs(found.difference) / error, freedom)))
    reach = float(t.ppf(0.5 + level / 2, freedom)) * error
    low, high = min(found.interval[0], found.difference - reach), max(found.interval[1], found.difference + reach)
    interval = max(low, possible[0]), min(high, possible[1])
    return AUCComparison(found.difference, found.standard_error, p_value, interval)


def known_scores(study: StudyScores, condition: Condition, column: int) -> dict[int, ScoredFold]:
    """Images and scores for one label, by fold, where outcome and score are known.

    Raises:
        ValueError: If the condition has no scores.
    """
    if condition not in study.conditions:
        raise ValueError(f"conditions to compare must have scores, got none for {condition}.")
    known = {}
    for number, fold in sorted(study.conditions[condition].items()):
        values = fold.values[:, column]
        rows = np.isfinite(study.outcomes[fold.images, column]) & np.isfinite(values)
        known[number] = fold.images[rows], values[rows]
    return known


def chosen(fold: ScoredFold, images: Integers) -> Floats:
    """The scores of some of the images of a fold."""
    return fold[1][np.searchsorted(fold[0], images)]


def common_images(study: StudyScores, column: int, given: Sequence[Mapping[int, ScoredFold]]) -> Common:
    """Images that all of several conditions have in a fold, where two patients or more are of each class."""
    used, untested = {}, {}
    for number in sorted(set().union(*given)):
        if not all(number in folds for folds in given):
            untested[str(number)] = "not all models have scores"
            continue
        images = given[0][number][0]
        for folds in given[1:]:
            images = np.intersect1d(images, folds[number][0], assume_unique=True)
        positive, units = study.outcomes[images, column] == 1, study.patients[images]
        counts = {1: len(np.unique(units[positive])), 0: len(np.unique(units[~positive]))}
        few = [f"{count} of class {value}" for value, count in counts.items() if count < _LEAST]
        if few:
            untested[str(number)] = f"needs {_LEAST} patients of each class, got {' and '.join(few)}"
        else:
            used[number] = images
    together = np.unique(np.concatenate(list(used.values()))) if used else np.empty(0, dtype=np.int64)
    return Common(used, untested, len(together), np.unique(study.patients[together]))


def influence(study: StudyScores, column: int, common: Common, rows: Mapping[int, Floats]) -> AUCInfluence:
    """Areas of M scores (M, n) by fold, for the common images, averaged over folds."""
    folds = [
        (
            study.outcomes[images, column] == 1,
            rows[number],
            np.searchsorted(common.units, study.patients[images]),
        )
        for number, images in common.folds.items()
    ]
    return average_influence(folds, len(common.units))
