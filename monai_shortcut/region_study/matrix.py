# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves of every model under every masking strategy, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.scores import METADATA, Condition, StudyScores
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Unmeasurable

FULL = Condition("full", "full")


@dataclass(frozen=True)
class MatrixCell:
    """Area under the ROC curve of one label, of models trained on one strategy and tested on another.

    Attributes:
        label: told apart from all others.
        trained_on: masking strategy of the training images.
        evaluated_on: masking strategy of the test images.
        images: number of test images.
        patients: number of their patients.
        auc: mean over folds of the area under the ROC curve.
        interval: its confidence limits, patients being the independent units; trained models are taken as given.
        fold_aucs: area in each fold that could be tested.
        chance_p_value: two-sided, of an area of one half.
        adjusted_chance_p_value: Holm-adjusted over labels and cells.
        to_full: this area minus that of models trained and tested on full images, on the images both have; None for
            these models themselves, and where nobody was trained so. Adjusted over labels and cells.
        to_metadata: this area minus that of the metadata baseline, likewise.
        untested: why a fold could not be tested, by its number.
    """

    label: str
    trained_on: str
    evaluated_on: str
    images: int
    patients: int
    auc: float
    interval: tuple[float, float]
    fold_aucs: tuple[float, ...]
    chance_p_value: float
    adjusted_chance_p_value: float
    to_full: Contrast | None
    to_metadata: Contrast | None
    untested: dict[str, str]


@dataclass(frozen=True)
class Baseline:
    """Area under the ROC curve of one label for a model that knows the metadata alone.

    Attributes:
        label: told apart from all others.
        images: number of test images.
        patients: number of their patients.
        auc: mean over folds of the area under the ROC curve.
        interval: its confidence limits.
        fold_aucs: area in each fold that could be tested.
        chance_p_value: two-sided, of an area of one half.
        adjusted_chance_p_value: Holm-adjusted over labels.
    """

    label: str
    images: int
    patients: int
    auc: float
    interval: tuple[float, float]
    fold_aucs: tuple[float, ...]
    chance_p_value: float
    adjusted_chance_p_value: float


@dataclass(frozen=True)
class RegionMatrix:
    """Areas under the ROC curve for every label, training strategy and test strategy.

    ``matrix["full", "without_roi"]`` are the cells of models trained on full images and tested without the region, by
    label.

    Attributes:
        level: level of the intervals.
        labels: what is told apart.
        strategies: masking strategies, in the order of the study.
        cells: one per label and pair of strategies that could be tested.
        baselines: baselines of the metadata, one per label; empty if there is none.
        untested: why there is no cell, by "label, trained on, tested on", or no baseline, by "label, metadata"; a
            comparison that cannot be made, though its cell can, goes by "label, trained on, tested on, against ...".
    """

    level: float
    labels: tuple[str, ...]
    strategies: tuple[str, ...]
    cells: tuple[MatrixCell, ...]
    baselines: tuple[Baseline, ...]
    untested: dict[str, str]

    def __getitem__(self, key: tuple[str, str]) -> dict[str, MatrixCell]:
        trained_on, evaluated_on = key
        found = {c.label: c for c in self.cells if (c.trained_on, c.evaluated_on) == (trained_on, evaluated_on)}
        if not found:
            raise KeyError(f"[{trained_on}, {evaluated_on}] must be a tested pair of {', '.join(self.strategies)}.")
        return found

    def get(self, label: str, trained_on: str, evaluated_on: str) -> MatrixCell | None:
        """The cell, or None if it was not tested."""
        wanted = label, trained_on, evaluated_on
        return next((c for c in self.cells if (c.label, c.trained_on, c.evaluated_on) == wanted), None)

    def baseline(self, label: str) -> Baseline | None:
        """What the metadata alone reach for a label, or None."""
        return next((baseline for baseline in self.baselines if baseline.label == label), None)


def region_matrix(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    patients: pd.Series[Any],
    *,
    metadata: pd.DataFrame | None = None,
    level: float = 0.95,
) -> RegionMatrix:
    """Areas and comparisons of all models under all strategies.

    Areas are averaged over folds, never pooled: scores of two models have no common scale. P-values are adjusted by
    Holm's method within each kind of comparison: against chance, against full images, against the metadata.

    Args:
        scores: one row per model, condition and image; see `StudyScores.of`. Rows with another margin than 0 or of an
            external cohort are left aside.
        outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown.
        patients: patient of each image, indexed by image_id.
        metadata: scores of the metadata baseline: columns fold, image_id and one per label.
        level: level of the intervals, in (0, 1).

    Returns:
        The matrix. A fold with fewer than two patients of a class is left out of its cell, and named there.

    Raises:
        ValueError: As `StudyScores.of`.

    References:
        Sourget et al. (2025), Mask of truth; DeLong et al. (1988); Obuchowski (1997), Biometrics 53(2).
    """
    study = StudyScores.of(scores, outcomes, patients, metadata)
    return matrix_of(study, (LabelAreas(study, label, level) for label in study.labels), level)


def matrix_of(study: StudyScores, areas: Iterable[LabelAreas], level: float) -> RegionMatrix:
    """The matrix of checked scores; the areas come one label at a time, so that they need not be kept."""
    cells, baselines, untested = list[MatrixCell](), list[Baseline](), dict[str, str]()
    conditions = study.matrix()
    for own in areas:
        found = [_cell(own, condition, untested) for condition in conditions]
        cells += [cell for cell in found if cell is not None]
        alone = _tested(own, {METADATA: 1}, 0.5, f"{own.label}, metadata", untested)
        baselines += [] if alone is None else [Baseline(own.label, *_area(alone), alone.p_value, alone.p_value)]
    adjusted = holm([baseline.chance_p_value for baseline in baselines]).tolist()
    return RegionMatrix(
        level=level,
        labels=study.labels,
        strategies=tuple(dict.fromkeys(name for c in conditions for name in (c.trained_on, c.evaluated_on))),
        cells=_adjusted(cells),
        baselines=tuple(replace(b, adjusted_chance_p_value=p) for b, p in zip(baselines, adjusted, strict=True)),
        untested=untested,
    )


def _cell(own: LabelAreas, condition: Condition, untested: dict[str, str]) -> MatrixCell | None:
    where = f"{own.label}, {condition.trained_on}, {condition.evaluated_on}"
    alone = _tested(own, {condition: 1}, 0.5, where, untested)
    if alone is None:
        return None
    to_full = None
    if condition != FULL:
        to_full = _tested(own, {condition: 1, FULL: -1}, 0.0, f"{where}, against full", untested)
    to_metadata = _tested(own, {condition: 1, METADATA: -1}, 0.0, f"{where}, against metadata", untested)
    return MatrixCell(
        own.label,
        condition.trained_on,
        condition.evaluated_on,
        *_area(alone),
        chance_p_value=alone.p_value,
        adjusted_chance_p_value=alone.p_value,
        to_full=to_full,
        to_metadata=to_metadata,
        untested=alone.untested,
    )


def _area(alone: Contrast) -> tuple[int, int, float, tuple[float, float], tuple[float, ...]]:
    """Images, patients, area, interval and areas of the folds, from a comparison with one half."""
    low, high = alone.interval
    by_fold = tuple(value + 0.5 for value in alone.fold_values)
    return alone.images, alone.patients, alone.difference + 0.5, (low + 0.5, high + 0.5), by_fold


def _tested(
    own: LabelAreas, weights: Mapping[Condition, float], null: float, where: str, untested: dict[str, str]
) -> Contrast | None:
    """The comparison, or None: where nobody was trained so silently, else with the reason kept."""
    if not set(weights) <= set(own.study.conditions):
        return None
    try:
        return own.contrast(weights, null)
    except Unmeasurable as error:
        untested[where] = str(error)
        return None


def _adjusted(cells: list[MatrixCell]) -> tuple[MatrixCell, ...]:
    """The cells with p-values adjusted within each kind of comparison."""
    chance = holm([cell.chance_p_value for cell in cells]).tolist()
    to_full = _holm([cell.to_full for cell in cells])
    to_metadata = _holm([cell.to_metadata for cell in cells])
    return tuple(
        replace(cell, adjusted_chance_p_value=p, to_full=full, to_metadata=metadata)
        for cell, p, full, metadata in zip(cells, chance, to_full, to_metadata, strict=True)
    )


def _holm(contrasts: list[Contrast | None]) -> list[Contrast | None]:
    adjusted = holm([float("nan") if one is None else one.p_value for one in contrasts]).tolist()
    return [
        None if one is None else replace(one, adjusted_p_value=p) for one, p in zip(contrasts, adjusted, strict=True)
    ]
