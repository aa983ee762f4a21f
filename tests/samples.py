# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Samples from plain arrays, with few draws."""

from __future__ import annotations

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.resampling import Resampling

FEW = {"repeats": 1, "permutations": 9, "erasures": 9, "held_out": 2, "bootstraps": 9}


def images_of(labels, patients=None, *, points=None, answers=None, weight=None, bias=None, **draws) -> Sample:
    """Images by their embeddings (N, D) or, without any, by the answers (N, C) of a head; of a patient each.

    A head (C, D) that is not given reads nothing. What else is given are fields of `Resampling`.
    """
    patients, draws = np.arange(len(labels)) if patients is None else patients, Resampling(**{**FEW, **draws})
    if points is None:
        return Sample.of_probabilities(answers, labels, patients, draws=draws)
    weight = np.zeros((int(np.max(labels)) + 1, np.shape(points)[1])) if weight is None else weight
    bias = np.zeros(len(weight)) if bias is None else bias
    return Sample.of(points, weight, bias, labels, patients, draws=draws)


def levels_of(codes, kind: str = "categorical", names=None) -> Levels:
    """Levels "0", "1" and so on of codes (N,), -1 where unknown."""
    codes = np.asarray(codes)
    names = tuple(map(str, range(codes.max() + 1))) if names is None else tuple(names)
    return Levels(names, codes.astype(np.int64), int((codes < 0).sum()), {}, kind=kind)


def sample_of(codes, labels, patients=None, *, kind="categorical", name="attribute", **images) -> AttributeSample:
    """Images, see `images_of`, and an attribute of codes (N,), -1 where unknown."""
    return images_of(labels, patients, **images).by(name, levels_of(codes, kind))
