# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which region does the model need? Its accuracy when regions of the images are hidden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.statistics.delong import compare_aucs, estimate_auc
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Estimate, Unmeasurable


@dataclass(frozen=True)
class RegionScore:
    """Area under the ROC curve of one class under one masking strategy.

    Attributes:
        label: the class, told apart from all others.
        evaluated_on: masking strategy of the images the model was given.
        images: number of images.
        auc: area under the ROC curve.
        chance_p_value: two-sided, of an area of one half.
        difference: area on full images minus this one, on the same images.
        p_value: two-sided, of no difference; Holm-adjusted over strategies and classes.
    """

    label: str
    evaluated_on: str
    images: int
    auc: Estimate
    chance_p_value: float
    difference: float
    p_value: float

    @property
    def interval(self) -> tuple[float, float]:
        """Limits of the area."""
        return self.auc.low, self.auc.high


@dataclass(frozen=True)
class RegionSensitivity:
    """Areas under the ROC curve for every class and masking strategy.

    Attributes:
        trained_on: masking strategy of the images the model was trained on.
        scores: one per class and strategy, "full" first.
        untested: why a class has no score, by class; or why it has none under a strategy, by "class, strategy".
    """

    trained_on: str
    scores: tuple[RegionScore, ...]
    untested: dict[str, str]

    @property
    def classifies(self) -> bool | None:
        """Whether full images show that any class is told from the others; None if none could be tested."""
        areas = [score.auc for score in self.scores if score.evaluated_on == "full"]
        return any(area.low > 0.5 for area in areas) if areas else None


def region_sensitivity(
    labels: ArrayLike,
    probabilities: Mapping[str, ArrayLike],
    patients: ArrayLike,
    label_names: Sequence[str],
    *,
    trained_on: str = "full",
    confidence: float = 0.95,
) -> RegionSensitivity:
    """Compare a model's areas under the ROC curve between masking strategies.

    Args:
        labels: (N,) class of each image, integers in [0, C).
        probabilities: (N, C) predicted probabilities by strategy; "full" must be there, NaN rows are images that a
            strategy could not be applied to.
        patients: (N,) patient of each image, the independent units.
        label_names: C names. Of two classes only the second is scored: the first mirrors it.
        trained_on: masking strategy of the training images.
        confidence: confidence level of the limits.

    Returns:
        One score per class and strategy; a class that fewer than two patients have, or all but one, is listed as
        untested, and so is a strategy that could be applied to too few images of a class.

    Raises:
        ValueError: If "full" is absent or the shapes disagree.

    References:
        Sourget et al. (2025), Mask of truth; limits and tests of areas as in `estimate_auc` and `compare_aucs`,
        Holm-adjusted.
    """
    label, patient = np.asarray(labels), np.asarray(patients)
    if "full" not in probabilities:
        raise ValueError(f'probabilities must hold the strategy "full", got {sorted(probabilities)}.')
    if patient.shape != label.shape:
        raise ValueError(f"patients must have shape {label.shape} to match labels, got {patient.shape}.")
    ordered = {"full": probabilities["full"], **probabilities}
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in ordered.items()}
    for name, values in arrays.items():
        if values.shape != (len(label), len(label_names)):
            expected = (len(label), len(label_names))
            raise ValueError(f"probabilities of {name} must have shape {expected}, got {values.shape}.")
    classes = [1] if len(label_names) == 2 else range(len(label_names))
    scores: list[RegionScore] = []
    untested: dict[str, str] = {}
    for index in classes:
        name, full = label_names[index], arrays["full"][:, index]
        for strategy, values in arrays.items():
            try:
                scores.append(_score(name, strategy, label == index, full, values[:, index], patient, confidence))
            except Unmeasurable as error:
                untested[name if strategy == "full" else f"{name}, {strategy}"] = str(error)
                if strategy == "full":
                    break
    compared = [i for i, score in enumerate(scores) if score.evaluated_on != "full"]
    for i, p_value in zip(compared, holm([scores[i].p_value for i in compared]), strict=True):
        scores[i] = replace(scores[i], p_value=float(p_value))
    return RegionSensitivity(trained_on, tuple(scores), untested)


def _score(
    name: str,
    strategy: str,
    positive: NDArray[np.bool_],
    full: NDArray[np.float64],
    score: NDArray[np.float64],
    patient: NDArray[np.generic],
    confidence: float,
) -> RegionScore:
    known = np.isfinite(score) & np.isfinite(full)
    alone = estimate_auc(positive[known], score[known], patient[known], confidence)
    paired = compare_aucs(positive[known], full[known], score[known], patient[known], confidence)
    return RegionScore(
        label=name,
        evaluated_on=strategy,
        images=int(known.sum()),
        auc=alone.auc,
        chance_p_value=alone.chance_p_value,
        difference=paired.difference,
        p_value=paired.p_value,
    )
