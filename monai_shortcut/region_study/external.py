# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves in cohorts of other places, and how they differ from those of the study's own images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from scipy.stats import norm

from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.scores import METADATA, Condition
from monai_shortcut.types import Unmeasurable


@dataclass(frozen=True)
class ExternalArea:
    """Area under the ROC curve in an external cohort, whose patients are none of the study's.

    Attributes:
        cohort: its name.
        label: told apart from all others.
        trained_on: masking strategy of the study's training images.
        evaluated_on: masking strategy of the external images.
        images: number of external images.
        patients: number of their patients.
        auc: mean over the models of the folds.
        interval: its confidence limits.
        fold_aucs: area by the model of each fold.
        chance_p_value: two-sided, of an area of one half; not adjusted.
        difference: this area minus that of the same models and strategy in the study's own test images; None where that
            is unknown.
        difference_interval: its confidence limits, the two sets of patients being independent.
        p_value: two-sided, of no difference; not adjusted.
    """

    cohort: str
    label: str
    trained_on: str
    evaluated_on: str
    images: int
    patients: int
    auc: float
    interval: tuple[float, float]
    fold_aucs: tuple[float, ...]
    chance_p_value: float
    difference: float | None
    difference_interval: tuple[float, float] | None
    p_value: float | None


def external_areas(areas: LabelAreas) -> Iterator[ExternalArea]:
    """The areas of one label; none where a cohort has too few patients of a class."""
    for key in areas.study.conditions:
        if not key.cohort or key.margin != 0 or key == METADATA:
            continue
        try:
            found = areas.contrast({key: 1}, 0.5)
        except Unmeasurable:
            continue
        low, high = found.interval
        yield ExternalArea(
            key.cohort,
            areas.label,
            key.trained_on,
            key.evaluated_on,
            found.images,
            found.patients,
            found.difference + 0.5,
            (low + 0.5, high + 0.5),
            tuple(value + 0.5 for value in found.fold_values),
            found.p_value,
            *_unpaired(areas, found, Condition(key.trained_on, key.evaluated_on)),
        )


def _unpaired(
    areas: LabelAreas, external: Contrast, condition: Condition
) -> tuple[float | None, tuple[float, float] | None, float | None]:
    """Difference to the study's own images, with interval and p-value; no patient is in both."""
    if condition not in areas.study.conditions:
        return None, None, None
    try:
        own = areas.contrast({condition: 1}, 0.5)
    except Unmeasurable:
        return None, None, None
    difference = external.difference - own.difference
    # Limits of a difference from those of its two parts (Zou and Donner 2008, Stat. Med. 27): neither few patients nor
    # an area of 1 leave them without width. The p-value is that of the limit on the side of 0.
    below = math.hypot(external.difference - external.interval[0], own.interval[1] - own.difference)
    above = math.hypot(external.interval[1] - external.difference, own.difference - own.interval[0])
    error = (below if difference > 0 else above) / float(norm.ppf(0.5 + areas.level / 2))
    p_value = 1.0 if error == 0 else 2 * float(norm.sf(abs(difference) / error))
    return difference, (max(difference - below, -1.0), min(difference + above, 1.0)), p_value
