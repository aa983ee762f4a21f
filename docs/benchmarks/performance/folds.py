# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds of patients against scikit-learn's StratifiedGroupKFold: seconds, and shares of strata."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from cohorts import draw
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from timing import Line, Row, interleaved, markdown, ratios, seconds, spans

from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.statistics.resampling import patient_folds

_FOLDS = 5
_CALLS = 20  # of the fast side in one measurement
_DRAWS = 20  # whose shares are compared

Codes = NDArray[np.int64]


def theirs(patients: NDArray[np.str_], strata: Codes, seed: int) -> Codes:
    """(N,) folds by scikit-learn."""
    fold = np.empty(len(strata), dtype=np.int64)
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    for index, (_, held_out) in enumerate(splitter.split(strata, strata, patients)):
        fold[held_out] = index
    return fold


def ours(patients: NDArray[np.str_], strata: Codes, seed: int) -> Codes:
    """(N,) folds by this package."""
    return np.asarray(patient_folds(patients, strata, _FOLDS, np.random.default_rng(seed)))


def apart(fold: Codes, strata: Codes) -> float:
    """Largest distance of a stratum's share in a fold from its share in all images, in percentage points."""
    member = np.eye(int(strata.max()) + 1)[strata]
    return max(100 * float(np.abs(member[fold == k].mean(axis=0) - member.mean(axis=0)).max()) for k in range(_FOLDS))


def row(options: argparse.Namespace) -> Row:
    """5,000 patients of two images, stratified by label, and by label and an attribute of four levels."""
    images, _ = options.scaled(10_000, 16)
    drawn = draw(images, 16, 3)
    levels = attribute_levels(drawn.attributes["2 four levels"], drawn.patients)
    strata = {"label": drawn.labels, "label and level": drawn.labels * len(levels.names) + levels.codes}
    patients, several = drawn.patients, strata["label and level"]
    sides = {
        "scikit-learn": lambda: seconds(partial(theirs, patients, several, 0)),
        "now": lambda: seconds(lambda: [ours(patients, several, seed) for seed in range(_CALLS)]) / _CALLS,
    }
    found, cells = interleaved(sides, options.repeats), []
    for name, stratum in strata.items():
        for who, split in (("scikit-learn", theirs), ("now", ours)):
            folds = [split(patients, stratum, seed) for seed in range(_DRAWS)]
            told = [apart(fold, stratum) for fold in folds]
            sizes = [np.bincount(fold, minlength=_FOLDS) for fold in folds]
            uneven = max(100 * float(np.ptp(size)) / images for size in sizes)
            cells.append([name, who, float(np.mean(told)), max(told), uneven])
    what = f"folds of {images // 2:,} patients, against scikit-learn's StratifiedGroupKFold"
    line = Line(what, ">= 100 times", ratios(found["scikit-learn"], found["now"]), "{:.0f}")
    header = ["strata", "by", "share apart, mean, points", "largest", "sizes of folds apart, % of the images"]
    caption = f"Largest distance of a stratum's share in a fold from its share in all images, {_DRAWS} draws:"
    return Row((line,), f"{spans(found)}.\n\n{caption}\n\n{markdown(header, cells)}\n")
