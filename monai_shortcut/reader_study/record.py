# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of a reader study: what readers saw under each masking strategy, beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from monai_shortcut.storage.privacy import written
from monai_shortcut.storage.records import decode, read_record, write_record
from monai_shortcut.types import Estimate

VERSION = 1
YES, NO, INCONCLUSIVE, NOT_MEASURED = "yes", "no", "inconclusive", "not measured"


@dataclass(frozen=True)
class ReaderResult:
    """One reader under one strategy.

    Attributes:
        reader: name.
        answered: pictures that were answered.
        unanswered: pictures that were not.
        cannot_tell: answers "cannot tell"; each counts as half right.
        accuracy: share of right answers; None without answers in both classes, as what follows.
        sensitivity: of answers to class 1, the share that is right.
        specificity: of answers to class 0, the share that is right.
        auc: area under the ROC curve of confidence, which has the sign of the answer; "cannot tell" is 0.
        chance_p_value: of an area of one half, unadjusted.
        behind: the model's area minus the reader's, on the pictures that the reader answered; None without a model.
        behind_p_value: unadjusted.
        seconds: median time of an answer.
    """

    reader: str
    answered: int
    unanswered: int
    cannot_tell: int
    accuracy: Estimate | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    auc: Estimate | None = None
    chance_p_value: float | None = None
    behind: Estimate | None = None
    behind_p_value: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Agreement:
    """Two readers under one strategy.

    Attributes:
        first: name of one.
        second: name of the other.
        images: pictures that both answered.
        kappa: Cohen's, of positive, negative and cannot tell; None if both always gave the same answer.
    """

    first: str
    second: str
    images: int
    kappa: Estimate | None


@dataclass(frozen=True)
class StrategyReading:
    """All readers under one strategy, and the model on the same pictures.

    Attributes:
        strategy: how images were masked.
        cases: pictures.
        positives: those of class 1.
        patients: their patients.
        readers: one by one.
        joint: names of readers who answered all pictures; the means are theirs.
        accuracy: mean share of right answers; limits for readers and cases like these. None without joint readers.
        auc: mean area under the ROC curve, likewise.
        chance_p_value: of a mean area of one half, unadjusted.
        agreements: pairs of readers.
        fleiss: kappa among all joint readers, of three or more.
        model: area of the model; None if nobody asked it about these pictures.
        model_p_value: of an area of one half, adjusted over the strategies by Holm's method.
        ahead: the model's area minus the readers' mean.
        ahead_p_value: adjusted over the strategies by Holm's method.
        answer: does the model see here what no reader sees? "yes", "no", "inconclusive" or "not measured".
        reason: the answer in words, with its numbers.
    """

    strategy: str
    cases: int
    positives: int
    patients: int
    readers: tuple[ReaderResult, ...]
    joint: tuple[str, ...] = ()
    accuracy: Estimate | None = None
    auc: Estimate | None = None
    chance_p_value: float | None = None
    agreements: tuple[Agreement, ...] = ()
    fleiss: Estimate | None = None
    model: Estimate | None = None
    model_p_value: float | None = None
    ahead: Estimate | None = None
    ahead_p_value: float | None = None
    answer: str = NOT_MEASURED
    reason: str = ""


@dataclass(frozen=True)
class ReaderStudy:
    """The frozen record of a reader study.

    Attributes:
        title: what was read.
        study: name of the study, as in its key.
        question: what readers were asked.
        answers: what classes 0 and 1 are called.
        readers: names of all who answered.
        levels: number of levels of confidence.
        strategies: one reading each, in the order of the study.
        confidence: confidence level of all intervals.
        tolerance: smallest difference of areas that matters.
        settings: how cases were drawn and pictures made.
        excluded: why an image could not be shown, by its name.
        version: version of this format.
    """

    title: str
    study: str
    question: str
    answers: tuple[str, str]
    readers: tuple[str, ...]
    levels: int
    strategies: tuple[StrategyReading, ...]
    confidence: float = 0.95
    tolerance: float = 0.05
    settings: dict[str, str] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    def reading(self, strategy: str) -> StrategyReading:
        """The reading of a strategy.

        Raises:
            ValueError: If it was not read; the message lists those that were.
        """
        found = {one.strategy: one for one in self.strategies}
        if strategy not in found:
            raise ValueError(f"strategy must be one of {', '.join(found)}, got {strategy!r}.")
        return found[strategy]

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON, without names of images, which are in the key."""
        write_record(written(self), path)

    @classmethod
    def from_json(cls, path: str | Path) -> ReaderStudy:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file is not the record of a reader study, or is of a newer version.
        """
        return decode(cls, read_record(path, "a reader study", VERSION, "readers"), "reader study")


Studies: TypeAlias = ReaderStudy | str | Path | Mapping[str, ReaderStudy | str | Path] | None


def studies_by_label(given: Studies) -> dict[str, ReaderStudy]:
    """Reader studies by label; "" if there is one label.

    Args:
        given: a record or the path of its JSON, or one for each label; None if nobody has read the images.
    """
    by_label = given if isinstance(given, Mapping) else {} if given is None else {"": given}
    return {name: one if isinstance(one, ReaderStudy) else ReaderStudy.from_json(one) for name, one in by_label.items()}
