# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Single analyses of the code that is installed: the one place to change where their doors move."""

from __future__ import annotations

from typing import NamedTuple

from cohorts import Drawn

from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Integers, Tested


class Probed(NamedTuple):
    """Area under the ROC curve within labels of each attribute, under permutation too, and (N,) folds."""

    tests: dict[str, Tested]
    fold: Integers


def own_areas(drawn: Drawn, permutations: int) -> Probed:
    """The held-out probe within labels of every attribute, from checking the arrays on."""
    draws = Resampling(permutations=permutations, repeats=1, bootstraps=99)
    sample = Sample.of(drawn.embeddings, drawn.weight, drawn.bias, drawn.labels, drawn.patients, draws=draws)
    levels = {name: attribute_levels(values, drawn.patients) for name, values in drawn.attributes.items()}
    tests = {name: encoding(sample.by(name, each)).test for name, each in levels.items()}
    return Probed(tests, sample.folds().fold)
