# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Readers' answers to the record of a reader study."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from monai_shortcut.reader_study.agreement import cohen_kappa, fleiss_kappa, with_jackknife
from monai_shortcut.reader_study.answers import read_answers
from monai_shortcut.reader_study.key import StudyKey
from monai_shortcut.reader_study.record import Agreement, ReaderResult, ReaderStudy, StrategyReading
from monai_shortcut.reader_study.wording import answered
from monai_shortcut.statistics.delong import AUCInfluence, average_influence
from monai_shortcut.statistics.multi_reader import ReaderMean, ahead_of_readers, mean_area, share_covariance
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Booleans, Estimate, Floats, Integers


def analyse(
    answers: str | Path | Sequence[str | Path],
    key: StudyKey | str | Path,
    *,
    confidence: float = 0.95,
    tolerance: float = 0.05,
) -> ReaderStudy:
    """What readers saw under each strategy, and what the model saw in the same pictures.

    "Cannot tell" counts as half right, has confidence 0 for the area, and is an answer of its own for kappa. Limits of
    means over readers are those of Obuchowski and Rockette: readers and cases are both samples. Readers who did not
    answer all pictures of a strategy are listed, but are not in its means.

    Args:
        answers: the CSV files that readers downloaded; or one.
        key: the key of the study, or the path of its JSON.
        confidence: confidence level of all intervals.
        tolerance: smallest difference of areas that matters, for the answers.

    Raises:
        ValueError: As `monai_shortcut.reader_study.answers.read_answers` and `StudyKey.from_json`.
    """
    known = key if isinstance(key, StudyKey) else StudyKey.from_json(key)
    given = read_answers([answers] if isinstance(answers, str | Path) else answers, known)
    names = tuple(sorted(given["reader"].unique()))
    readings = [_Strategy.of(name, known, given, confidence).reading(names) for name in known.strategies]
    return ReaderStudy(
        title=known.title,
        study=known.study,
        question=known.question,
        answers=known.answers,
        readers=names,
        levels=known.levels,
        strategies=tuple(answered(reading, tolerance) for reading in adjusted(readings)),
        confidence=confidence,
        tolerance=tolerance,
        settings=known.settings,
        excluded=known.excluded,
    )


def adjusted(readings: Sequence[StrategyReading]) -> Iterator[StrategyReading]:
    """The readings with p-values of model and lead adjusted by Holm's method, over the strategies that have one."""
    by_field = {
        name: holm([np.nan if (p := getattr(one, name)) is None else p for one in readings]).tolist()
        for name in ("model_p_value", "ahead_p_value")
    }
    for row, reading in enumerate(readings):
        known = {name: values[row] for name, values in by_field.items() if getattr(reading, name) is not None}
        yield replace(reading, **known)


@dataclass(frozen=True, eq=False)
class _Strategy:
    """The pictures of one strategy and the answers to them.

    Attributes:
        name: the strategy.
        positive: (N,) class of each picture.
        patients: (N,) number of its patient.
        model: (N,) what the model gave it; None if a picture was not asked about.
        signs: (N, R) answer by reader: 1, -1 or 0; NaN where there is none.
        scores: (N, R) confidence with that sign.
        seconds: (N, R) time.
        confidence: confidence level.
    """

    name: str
    positive: Booleans
    patients: Integers
    model: Floats | None
    signs: pd.DataFrame
    scores: pd.DataFrame
    seconds: pd.DataFrame
    confidence: float

    @classmethod
    def of(cls, name: str, key: StudyKey, given: pd.DataFrame, confidence: float) -> _Strategy:
        shown = [one for one in key.presentations if one.strategy == name]
        cases, rows = [one.case for one in shown], given[given["strategy"] == name]
        signs, scores, seconds = (
            rows.pivot(index="case", columns="reader", values=value).reindex(cases)
            for value in ("sign", "score", "seconds")
        )
        known = [one.probability for one in shown if one.probability is not None]
        return cls(
            name,
            np.array([one.label == 1 for one in shown]),
            np.unique([one.patient_id for one in shown], return_inverse=True)[1].astype(np.int64),
            np.array(known) if len(known) == len(shown) else None,
            signs,
            scores,
            seconds,
            confidence,
        )

    def reading(self, names: Sequence[str]) -> StrategyReading:
        """All numbers of the strategy, p-values unadjusted."""
        every = np.ones(len(self.positive), dtype=np.bool_)
        joint = tuple(name for name in names if name in self.signs and self.signs[name].notna().all())
        found = StrategyReading(
            strategy=self.name,
            cases=len(self.positive),
            positives=int(self.positive.sum()),
            patients=len(np.unique(self.patients)),
            readers=tuple(self._reader(name) for name in names),
            joint=joint,
            agreements=tuple(self._agreement(*pair) for pair in combinations(self.signs.columns, 2)),
        )
        if not self._testable(every):
            return found
        if self.model is not None:
            estimate = self._influence(every, self.model[None]).estimate(0, self.confidence)
            found = replace(found, model=estimate.auc, model_p_value=estimate.chance_p_value)
        return self._joint(found, joint) if joint else found

    def _joint(self, found: StrategyReading, joint: Sequence[str]) -> StrategyReading:
        every = np.ones(len(self.positive), dtype=np.bool_)
        signs, scores = (table[list(joint)].to_numpy().T for table in (self.signs, self.scores))
        influence = self._influence(every, scores)
        mean = mean_area(influence)
        found = replace(
            found,
            accuracy=self._share(signs, every),
            auc=Estimate(mean.area, *mean.limits(self.confidence)),
            chance_p_value=mean.p_value(0.5),
            fleiss=self._kappa(fleiss_kappa, signs, every) if len(joint) > 2 else None,
        )
        if self.model is None:
            return found
        ahead = ahead_of_readers(self._influence(every, np.vstack([self.model, scores])), self.confidence)
        return replace(found, ahead=Estimate(ahead.difference, *ahead.interval), ahead_p_value=ahead.p_value)

    def _reader(self, name: str) -> ReaderResult:
        sign = self.signs[name].to_numpy() if name in self.signs else np.full(len(self.positive), np.nan)
        seen = np.isfinite(sign)
        found = ReaderResult(name, int(seen.sum()), int((~seen).sum()), int((sign == 0).sum()))
        if seen.any():
            found = replace(found, seconds=float(self.seconds[name].median()))
        if not self._testable(seen):
            return found
        right, score = _right(sign, self.positive), self.scores[name].to_numpy()
        auc = self._influence(seen, score[None, seen]).estimate(0, self.confidence)
        found = replace(
            found,
            accuracy=self._share(sign[None, seen], seen),
            sensitivity=float(right[seen & self.positive].mean()),
            specificity=float(right[seen & ~self.positive].mean()),
            auc=auc.auc,
            chance_p_value=auc.chance_p_value,
        )
        if self.model is None:
            return found
        both = self._influence(seen, np.stack([self.model, score])[:, seen])
        behind = both.compare([1, -1], self.confidence)
        return replace(found, behind=Estimate(behind.difference, *behind.interval), behind_p_value=behind.p_value)

    def _agreement(self, first: str, second: str) -> Agreement:
        signs = self.signs[[first, second]].to_numpy().T
        seen = np.isfinite(signs).all(axis=0)
        kappa = self._kappa(lambda given: cohen_kappa(*given), signs[:, seen], seen) if seen.any() else None
        return Agreement(first, second, int(seen.sum()), kappa)

    def _kappa(self, kappa: Callable[[Integers], float], signs: Floats, seen: Booleans) -> Estimate | None:
        return with_jackknife(kappa, signs.astype(np.int64), self.patients[seen], self.confidence)

    def _share(self, signs: Floats, seen: Booleans) -> Estimate:
        """Mean share of right answers (R, n) to the pictures that were seen."""
        positive, patients = self.positive[seen], np.unique(self.patients[seen], return_inverse=True)[1]
        right = _right(signs, positive)
        covariance = share_covariance(right, positive, patients)
        units = len(np.unique(patients))
        return ReaderMean.of(right.mean(axis=1), covariance, max(units - 2.0, 1.0)).share(units, self.confidence)

    def _influence(self, seen: Booleans, scores: Floats) -> AUCInfluence:
        patients = np.unique(self.patients[seen], return_inverse=True)[1].astype(np.int64)
        return average_influence([(self.positive[seen], scores, patients)], int(patients.max()) + 1)

    def _testable(self, seen: Booleans) -> bool:
        """Whether either class has pictures of two patients."""
        return all(len(np.unique(self.patients[seen & chosen])) > 1 for chosen in (self.positive, ~self.positive))


def _right(signs: Floats, positive: Booleans) -> Floats:
    """1 where an answer (..., N) is right, 0 where it is wrong, one half where it is "cannot tell"."""
    return np.asarray((1 + signs * np.where(positive, 1, -1)) / 2)
