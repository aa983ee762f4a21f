# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds of patients against scikit-learn's StratifiedGroupKFold: seconds, and shares of strata."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from timing import Line, Row, interleaved, markdown, ratios, seconds, spans

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


def cohort(count: int) -> tuple[NDArray[np.str_], dict[str, Codes]]:
    """Patients of one to about eight images, and strata by name; labels change within patients, levels do not."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(count), 1 + rng.poisson(1.0, count))
    label = np.where(rng.random(len(patient)) < 0.8, rng.integers(2, size=count)[patient], 0)
    level = rng.choice(4, size=count, p=(0.5, 0.3, 0.15, 0.05))[patient]
    return patient.astype(str), {"label": label, "label and level": 4 * label + level}


def row(options: argparse.Namespace) -> Row:
    """5,000 patients, stratified by label, and by label and an attribute of four levels."""
    patients, strata = cohort(max(100, round(5000 * options.scale)))
    several = strata["label and level"]
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
            uneven = max(100 * float(np.ptp(size)) / len(patients) for size in sizes)
            cells.append([name, who, float(np.mean(told)), max(told), uneven])
    what = f"folds of {len(np.unique(patients)):,} patients, against scikit-learn's StratifiedGroupKFold"
    line = Line(what, ">= 100 times", ratios(found["scikit-learn"], found["now"]), "{:.0f}")
    header = ["strata", "by", "share apart, mean, points", "largest", "sizes of folds apart, % of the images"]
    caption = f"Largest distance of a stratum's share in a fold from its share in all images, {_DRAWS} draws:"
    return Row((line,), f"{spans(found)}.\n\n{caption}\n\n{markdown(header, cells)}")
