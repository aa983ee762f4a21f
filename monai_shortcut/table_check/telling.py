# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How well attributes alone tell the label."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from monai_shortcut.cohort.columns import CONTINUOUS
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.region_study.baseline import metadata_scores
from monai_shortcut.statistics.checks import checked_patients
from monai_shortcut.statistics.delong import average_influence
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.table_check.record import CONFOUNDED, NOT_CONFOUNDED, OPEN, TOGETHER, CheckSettings, Telling
from monai_shortcut.types import Booleans, Integers, Unmeasurable


def telling(cohort: Cohort, levels: Mapping[str, pd.Series], settings: CheckSettings) -> tuple[Telling, ...]:
    """How well each attribute, and all together, tell the label.

    A logistic regression of the attributes, `metadata_scores`, is fitted to all folds of patients but one and ranks the
    images of that one. Continuous attributes enter as numbers and in bins, so that a label of middle values is told,
    too. Areas are means over folds, with limits by patient.

    Args:
        cohort: the images.
        levels: (N,) level of each image by attribute that is checked, indexed by image.
        settings: how.

    Raises:
        Unmeasurable: If a class has too few patients for two of them to be in each fold and two outside.
    """
    if not levels:
        return ()
    fold = _folds(cohort, settings)
    groups = {name: [name] for name in levels} | ({TOGETHER: list(levels)} if len(levels) > 1 else {})
    confidence = 1 - (1 - settings.confidence) / (len(groups) * len(_classes(cohort)))
    found = [
        _told(name, _columns(cohort, levels, own), cohort, fold, settings, confidence) for name, own in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: -max(area.value for area in one.areas.values())))


def _classes(cohort: Cohort) -> dict[str, Booleans]:
    """Which images are of a class, by class; of two classes the second."""
    chosen = cohort.label_names[1:] if len(cohort.label_names) == 2 else cohort.label_names
    return {name: cohort.labels == cohort.label_names.index(name) for name in chosen}


def _folds(cohort: Cohort, settings: CheckSettings) -> Integers:
    patients, labels = cohort.patients, cohort.labels
    fold = patient_folds(
        patients, labels, min(settings.folds, len(np.unique(patients))), np.random.default_rng(settings.seed)
    )
    for name, positive in _classes(cohort).items():
        for index in np.unique(fold):
            for inside in (positive & (fold == index), ~positive & (fold == index)):
                if len(np.unique(patients[inside])) < 2:
                    raise Unmeasurable(
                        f"in each of {settings.folds} folds two patients must be {name} and two not, got fewer: take "
                        "fewer folds, or more patients"
                    )
    return fold


def _columns(cohort: Cohort, levels: Mapping[str, pd.Series], names: list[str]) -> pd.DataFrame:
    """Numbers and levels of attributes, a column each."""
    numbers = {f"number {name}": cohort.table[name] for name in names if cohort.kind(name) == CONTINUOUS}
    return pd.DataFrame({**numbers, **{f"level {name}": levels[name] for name in names}}, cohort.table.index)


def _told(
    name: str, columns: pd.DataFrame, cohort: Cohort, fold: Integers, settings: CheckSettings, confidence: float
) -> Telling:
    classes = _classes(cohort)
    outcomes = pd.DataFrame({label: own.astype(np.int64) for label, own in classes.items()}, columns.index)
    patients, unit = pd.Series(cohort.patients, columns.index), checked_patients(cohort.patients)
    scored = [
        metadata_scores(columns, outcomes, patients, columns.index[fold != index], columns.index[fold == index])
        for index in np.unique(fold)
    ]
    areas, p_values = {}, []
    for label, positive in classes.items():
        parts = [
            (positive[fold == index], scores[label].to_numpy()[None], unit[fold == index])
            for index, scores in zip(np.unique(fold), scored, strict=True)
        ]
        found = average_influence(parts, int(unit.max()) + 1).estimate(0, confidence)
        areas[label] = found.auc
        p_values.append(found.chance_p_value)
    count = (1 - settings.confidence) / (1 - confidence)
    bound = 0.5 + settings.tolerance
    verdict = CONFOUNDED if any(area.low > bound for area in areas.values()) else OPEN
    if all(area.high < bound for area in areas.values()):
        verdict = NOT_CONFOUNDED
    return Telling(name, areas, min(1.0, min(p_values) * count), verdict)
