# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves and calibration, before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.sample import Sample
from monai_shortcut.statistics.delong import auc_covariance, compare_aucs, estimate_auc, student_comparison
from monai_shortcut.types import Estimate, Floats, Integers

FEWEST = 5  # patients of either outcome for an area, of all for a calibration


@dataclass(frozen=True)
class Moved:
    """A number before and after, and the second less the first.

    Attributes:
        before: with its limits.
        after: with its limits.
        change: with its limits.
        p_value: of no change, unadjusted; None where none is computed.
    """

    before: Estimate
    after: Estimate
    change: Estimate
    p_value: float | None = None


@dataclass(frozen=True)
class ClassChange:
    """How well a class is told from the rest, before and after.

    Attributes:
        label: the class.
        level: the level of an attribute whose images these are; None of all images.
        auc: area under the ROC curve; None where fewer than five patients have either outcome.
        calibration: mean probability less share of images ("in the large"); None of fewer than five patients.
    """

    label: int
    level: int | None
    auc: Moved | None
    calibration: Moved | None


def class_changes(
    before: Sample,
    after: Sample,
    paired: bool,
    rows: tuple[Integers, Integers] | None = None,
    level: int | None = None,
) -> tuple[ClassChange, ...]:
    """Compare areas and calibration, class by class; of two classes only the second.

    Args:
        before: the images as one model answered them.
        after: the same images in the same order if `paired`, else others.
        paired: whether the images are the same.
        rows: places of some images in either sample; all by default.
        level: the level that these are of.
    """
    places = rows or (np.arange(len(before)), np.arange(len(after)))
    classes = [1] if before.classes == 2 else range(before.classes)
    found = []
    for label in classes:
        old, new = _Scores(before, places[0], label), _Scores(after, places[1], label)
        found.append(ClassChange(label, level, _area(old, new, paired), _calibration(old, new)))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Scores:
    """Images of one model, and a class."""

    sample: Sample
    rows: Integers
    label: int

    @property
    def outcome(self) -> Integers:
        return np.asarray(self.sample.labels[self.rows] == self.label, dtype=np.int64)

    @property
    def score(self) -> Floats:
        return np.asarray(self.sample.probabilities[self.rows, self.label])

    @property
    def patients(self) -> Integers:
        return np.asarray(self.sample.patients[self.rows])

    def people(self, outcome: int) -> int:
        """Number of patients with an outcome."""
        return len(np.unique(self.patients[self.outcome == outcome]))

    @property
    def fewest(self) -> int:
        """Patients of the rarer outcome."""
        return min(self.people(0), self.people(1))


def _area(before: _Scores, after: _Scores, paired: bool) -> Moved | None:
    if min(before.fewest, after.fewest) < FEWEST:
        return None
    confidence = before.sample.draws.confidence
    old, new = (estimate_auc(s.outcome, s.score, s.patients, confidence).auc for s in (before, after))
    if paired:
        found = compare_aucs(before.outcome, after.score, before.score, before.patients, confidence)
    else:
        variance = sum(auc_covariance(s.outcome, s.score[None], s.patients)[1].item() for s in (before, after))
        freedom = min(before.fewest, after.fewest) - 1
        error = max(float(np.sqrt(variance)), 1e-9)
        found = student_comparison(new.value - old.value, error, confidence, freedom=freedom)
    return Moved(old, new, Estimate(found.difference, *found.interval), found.p_value)


def _calibration(before: _Scores, after: _Scores) -> Moved | None:
    if min(len(np.unique(before.patients)), len(np.unique(after.patients))) < FEWEST:
        return None
    values, draws = zip(*(_residuals(side) for side in (before, after)), strict=True)
    confidence = before.sample.draws.confidence
    old, new = (Estimate.of(value, drawn, confidence) for value, drawn in zip(values, draws, strict=True))
    return Moved(old, new, Estimate.of(values[1] - values[0], draws[1] - draws[0], confidence))


def _residuals(side: _Scores) -> tuple[float, Floats]:
    """Mean residual, and (B,) of bootstrap samples of patients."""
    residual = side.score - side.outcome
    sums = side.sample.resampled(np.stack([residual, np.ones(len(residual))], axis=1), side.rows)[:, 0]
    return float(residual.mean()), sums[:, 0] / np.maximum(sums[:, 1], 1e-12)
