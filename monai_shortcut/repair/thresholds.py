# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Recalibration of each level of an attribute, where the model ranks images alike and only its probabilities differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit, logit

from monai_shortcut.analyses.differences import RANK, differences
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.analyses.subgroups import subgroups
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.repair.given import FEWEST, SIGNIFICANT
from monai_shortcut.types import Floats, Unmeasurable

_FARTHEST = 50.0  # log odds that a level may be off


@dataclass(frozen=True)
class LevelThresholds:
    """What to add to the log odds at each level. It needs the attribute of every image that is ever answered.

    Attributes:
        shifts: log odds to add, by level.
        thresholds: probability from which on the answer is the second class, by level, in place of one for all.
        patients: names of the patients it was fitted to; audit it on others (`require_apart`).
    """

    shifts: tuple[float, ...]
    thresholds: tuple[float, ...]
    patients: tuple[str, ...]

    def __call__(self, probabilities: ArrayLike, codes: ArrayLike) -> Floats:
        """(N,) recalibrated probabilities of the second class; as they are where the level is unknown.

        Args:
            probabilities: (N,) of the second class.
            codes: (N,) level of each image, -1 where unknown.
        """
        shift = np.append(self.shifts, 0.0)[np.asarray(codes)]
        return np.asarray(expit(logit(np.asarray(probabilities, dtype=np.float64)) + shift))


def thresholds(
    probabilities: ArrayLike,
    labels: ArrayLike,
    codes: ArrayLike,
    patients: Sequence[Any] | ArrayLike,
    *,
    threshold: float = 0.5,
    tolerance: float = 0.1,
) -> LevelThresholds:
    """Shift the log odds of each level so that its mean probability is its share of the second class.

    That mends probabilities and leaves the ranking within a level as it is. It is refused where the ranks differ too:
    then the model reads the attribute, and no threshold mends that.

    Args:
        probabilities: (N,) of the second of two classes.
        labels: (N,) 0 or 1.
        codes: (N,) level of each image, integers from 0, -1 where unknown.
        patients: (N,) patient of each image.
        threshold: the one that is used for all levels now.
        tolerance: difference of an area under the ROC curve that matters.

    Raises:
        ValueError: If shapes disagree or a value is out of range.
        Unmeasurable: If ranks may differ by as much as the tolerance, calibration does not differ, or a level has fewer
            than five patients of a label; the message names the cells.
    """
    chance = np.asarray(probabilities, dtype=np.float64)
    code = np.asarray(codes).astype(np.int64)
    images = Sample.of_probabilities(np.stack([1 - chance, chance], axis=1), labels, patients)
    names = tuple(map(str, range(int(code.max(initial=-1)) + 1)))
    sample = images.by("attribute", Levels(names, code, int((code < 0).sum()), {}))
    found = differences(sample)
    few = [(row, level) for row, own in enumerate(found.patients) for level, held in enumerate(own) if held < FEWEST]
    if few:
        cells = ", ".join(f"label {row} at level {level}" for row, level in few)
        raise Unmeasurable(f"each label must have at least {FEWEST} patients at each level, got fewer of {cells}")
    apart = [row for row in found.rows if row.scale == RANK and row.possible >= tolerance]
    if apart:
        cells = ", ".join(f"label {row.label} at levels {row.first} and {row.second}" for row in apart[:4])
        raise Unmeasurable(
            f"ranks must be alike at all levels for thresholds to mend what differs, got {cells}, where areas may "
            f"differ by {tolerance:g} or more: the model reads the attribute, or there are too few patients to say"
        )
    test = subgroups(sample).calibration_test
    if test is None or test.p_value > SIGNIFICANT:
        raise Unmeasurable("calibration must differ between levels to be mended, got none that is certain to")
    odds = np.clip(logit(chance), -_FARTHEST, _FARTHEST)
    shifts = []
    for level in range(len(names)):
        own, share = odds[code == level], float(images.labels[code == level].mean())
        shifts.append(float(brentq(lambda by, own=own, share=share: expit(own + by).mean() - share, -99.0, 99.0)))
    given = np.asarray([str(name) for name in np.asarray(patients).tolist()])[code >= 0]
    return LevelThresholds(
        tuple(shifts),
        tuple(float(expit(logit(threshold) - shift)) for shift in shifts),
        tuple(sorted(set(given.tolist()))),
    )
