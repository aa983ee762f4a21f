# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How well the models of a study fitted the images that they were made with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

TRAINING, VALIDATION = "training", "validation"
PARTS = (TRAINING, VALIDATION)


@dataclass(frozen=True)
class Fit:
    """Areas under the ROC curve of one label, of the models of one strategy on their own images.

    Attributes:
        label: told apart from all others.
        trained_on: masking strategy of the images.
        training: mean over folds of the area of the last epoch's weights on the images that they were trained on.
        validation: mean over folds of the area of the chosen weights on the images that chose them; None if unknown.
        fold_training: area in each fold.
        fold_validation: area in each fold.
    """

    label: str
    trained_on: str
    training: float
    validation: float | None
    fold_training: tuple[float, ...]
    fold_validation: tuple[float, ...]


def fits_of(fitted: pd.DataFrame, outcomes: pd.DataFrame) -> tuple[Fit, ...]:
    """The fits of all labels and strategies.

    Args:
        fitted: one row per model, part and image: columns trained_on, fold, part ("training" or "validation"),
            image_id, and one per label; higher means more likely.
        outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown.

    Returns:
        One per label and strategy whose training images hold both outcomes in some fold.

    Raises:
        ValueError: If a column is absent, a part is another, or an image has no outcome.
    """
    needed = ["trained_on", "fold", "part", "image_id", *map(str, outcomes.columns)]
    absent = [name for name in needed if name not in fitted.columns]
    if absent:
        raise ValueError(f"fitted must have the columns {', '.join(needed)}, got none named {', '.join(absent)}.")
    others = sorted(set(fitted["part"].astype(str)) - set(PARTS))
    if others:
        raise ValueError(f"parts must be training or validation, got {', '.join(others)}.")
    strangers = sorted(set(fitted["image_id"]) - set(outcomes.index))
    if strangers:
        raise ValueError(f"fitted must be of images that have an outcome, got {', '.join(map(str, strangers[:3]))}.")
    return tuple(_fits(fitted, outcomes))


def _fits(fitted: pd.DataFrame, outcomes: pd.DataFrame) -> Iterator[Fit]:
    for label in outcomes.columns:
        for trained_on, own in fitted.groupby("trained_on", sort=False):
            training, validation = (_areas(own[own["part"] == part], outcomes[label], str(label)) for part in PARTS)
            if training:
                chosen = float(np.mean(validation)) if validation else None
                yield Fit(str(label), str(trained_on), float(np.mean(training)), chosen, training, validation)


def _areas(scores: pd.DataFrame, outcome: pd.Series[float], label: str) -> tuple[float, ...]:
    """Area in each fold that holds both outcomes."""
    found = []
    for _, fold in scores.groupby("fold"):
        known = outcome.loc[fold["image_id"]].to_numpy(dtype=np.float64)
        rows = np.isfinite(known)
        if len(np.unique(known[rows])) == 2:
            found.append(float(roc_auc_score(known[rows], fold[label].to_numpy(dtype=np.float64)[rows])))
    return tuple(found)
