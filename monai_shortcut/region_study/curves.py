# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves against the margin by which the region grows or shrinks in the test images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from monai_shortcut.region_study.contrasts import chosen, common_images, influence, known_scores
from monai_shortcut.region_study.scores import METADATA, Condition, StudyScores

GROWN = ("all", "positives", "negatives")


@dataclass(frozen=True)
class CurvePoint:
    """Area under the ROC curve of one label at one margin, by the models of one strategy.

    Attributes:
        label: told apart from all others.
        trained_on: masking strategy of the training images, whose margin is 0.
        evaluated_on: masking strategy of the test images.
        grown: whose region has the margin: "all" images, the "positives" or the "negatives" alone; the others have
            margin 0.
        margin: in the unit of the study.
        images: number of test images that have both this margin and margin 0.
        dropped: number of images left out, because their region cannot have this margin.
        patients: number of patients of the images.
        auc: mean over folds of the area under the ROC curve.
        interval: its confidence limits, for this margin alone.
        difference: this area minus that at margin 0, on the same images.
        difference_interval: its confidence limits.
        p_value: two-sided, of no difference; not adjusted.
    """

    label: str
    trained_on: str
    evaluated_on: str
    grown: str
    margin: float
    images: int
    dropped: int
    patients: int
    auc: float
    interval: tuple[float, float]
    difference: float
    difference_interval: tuple[float, float]
    p_value: float


def margin_curves(
    scores: pd.DataFrame, outcomes: pd.DataFrame, patients: pd.Series[Any], *, level: float = 0.95
) -> tuple[CurvePoint, ...]:
    """Areas against the margin, for all images and for one class at a time.

    Where regions grow in all images alike, what lies around their border is hidden or shown. Where they grow in one
    class alone, their size tells the class as well: an area that moves there, and not where all grow, is that of a
    model which reads the size.

    Args:
        scores: one row per model, condition and image; see `StudyScores.of`. Conditions with one margin have no curve.
        outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown.
        patients: patient of each image, indexed by image_id.
        level: level of the intervals, each of which is for its own margin (pointwise bands).

    Returns:
        One point per label, condition, margin and choice of ``GROWN``, by increasing margin; none where too few
        patients of a class have the margin.

    Raises:
        ValueError: If a condition with margins lacks margin 0, or as `StudyScores.of`.

    References:
        Sourget et al. (2025), Mask of truth, whose dilation study grows the region in all images.
    """
    return curves_of(StudyScores.of(scores, outcomes, patients), level)


def curves_of(study: StudyScores, level: float) -> tuple[CurvePoint, ...]:
    """The curves of checked scores."""
    margins: dict[Condition, list[float]] = {}
    for key in study.conditions:
        if not key.cohort and key != METADATA:
            margins.setdefault(Condition(key.trained_on, key.evaluated_on), []).append(key.margin)
    several = {key: sorted(values) for key, values in margins.items() if len(values) > 1}
    for key, values in several.items():
        if 0.0 not in values:
            raise ValueError(f"scores of {key} with margins must hold margin 0, got {values}.")
    return tuple(
        point
        for column in range(len(study.labels))
        for key, values in several.items()
        for margin in values
        for point in _points(study, column, key, margin, level)
    )


def _points(study: StudyScores, column: int, at_zero: Condition, margin: float, level: float) -> Iterator[CurvePoint]:
    plain = known_scores(study, at_zero, column)
    grown = known_scores(study, Condition(at_zero.trained_on, at_zero.evaluated_on, margin), column)
    common = common_images(study, column, [plain, grown])
    if not common.folds:
        return
    rows = {}
    for number, images in common.folds.items():
        positive = study.outcomes[images, column] == 1
        before, after = chosen(plain[number], images), chosen(grown[number], images)
        rows[number] = np.stack([after, np.where(positive, after, before), np.where(positive, before, after), before])
    areas = influence(study, column, common, rows)
    everyone, with_margin = (np.concatenate([images for images, _ in some.values()]) for some in (plain, grown))
    dropped = len(np.setdiff1d(everyone, with_margin))
    for index, whose in enumerate(GROWN):
        own, zero = np.eye(4)[index], np.eye(4)[3]
        alone, against = areas.compare(own, level), areas.compare(own - zero, level)
        yield CurvePoint(
            label=study.labels[column],
            trained_on=at_zero.trained_on,
            evaluated_on=at_zero.evaluated_on,
            grown=whose,
            margin=margin,
            images=common.images,
            dropped=dropped,
            patients=len(common.units),
            auc=alone.difference,
            interval=alone.interval,
            difference=against.difference,
            difference_interval=against.interval,
            p_value=against.p_value,
        )
