# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Scores as models of a region study would give them, if each read all that its images show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from monai_shortcut.regions.strategies import STRATEGIES

PARTS = ("outline", "outside", "inside")
SHOWN = {
    "full": PARTS,
    "without_roi": ("outline", "outside"),
    "without_roi_box": ("outside",),
    "roi_only": ("outline", "inside"),
    "roi_box_only": ("inside",),
    "silhouette": ("outline",),
    "box_silhouette": (),
    "shifted_roi": PARTS,
    "swapped_roi": PARTS,
}
PLAIN = ("full", "without_roi", "without_roi_box", "roi_only", "roi_box_only")


def draw_study(
    rng: np.random.Generator,
    strength: Mapping[str, float],
    *,
    strategies: Sequence[str] = STRATEGIES,
    labels: Sequence[str] = ("ill",),
    patients: int = 150,
    folds: int = 3,
    same: bool = False,
    luck: float = 0.0,
    tested_on: Sequence[str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Scores, outcomes and patients of a study whose class shows in some parts of the images.

    Args:
        rng: source of everything.
        strength: how far the class moves what each part shows, in standard deviations.
        strategies: trained on.
        labels: independent outcomes.
        patients: each with one to three images, whose outcomes may differ.
        folds: number of models per strategy.
        same: whether all folds test all images, rather than their own patients.
        luck: standard deviation between models of how strongly they read what they see.
        tested_on: the strategies, if not all.
    """
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    count, fold = len(patient), rng.permutation(np.arange(patients) % folds)[patient]
    outcome = (rng.random((count, len(labels))) < 0.4).astype(np.float64)
    shown = {}
    for part in PARTS:
        own = rng.normal(size=(count, len(labels))) + 0.7 * rng.normal(size=(patients, len(labels)))[patient]
        shown[part] = strength.get(part, 0.0) * (strength.get(part, 0.0) * outcome + own)
    ids, frames = np.array([f"image {row}" for row in range(count)], dtype=object), []
    for trained_on in strategies:
        for number in range(folds):
            rows = np.arange(count) if same else np.flatnonzero(fold == number)
            reads = 1 + luck * rng.normal()
            for evaluated_on in tested_on or strategies:
                read = [shown[part] for part in SHOWN[trained_on] if part in SHOWN[evaluated_on]]
                values = reads * sum(read, np.zeros_like(outcome))[rows] + 0.4 * rng.normal(
                    size=(len(rows), len(labels))
                )
                frame = pd.DataFrame(values, columns=list(labels))
                place = {"trained_on": trained_on, "fold": number, "evaluated_on": evaluated_on, "margin": 0.0}
                frames.append(frame.assign(**place, cohort="", image_id=ids[rows]))
    index = pd.Index(ids, name="image_id", dtype=object)
    outcomes = pd.DataFrame(outcome, index, list(labels))
    return pd.concat(frames, ignore_index=True), outcomes, pd.Series([f"p{unit}" for unit in patient], index)


def of_condition(scores: pd.DataFrame, trained_on: str, evaluated_on: str) -> pd.Series:
    """Which rows are those of a pair of strategies."""
    return (scores["trained_on"] == trained_on) & (scores["evaluated_on"] == evaluated_on)
