# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.codings import Codings, balanced_weights


def test_balanced_weights_make_class_and_level_independent(rng):
    """One cell is empty, and one holds a single image."""
    classes = np.repeat([0, 1], [12, 15])
    codes = np.where(classes == 0, rng.integers(2, size=27), rng.integers(3, size=27))
    codes[:12][codes[:12] == 1], codes[0], codes[classes == 1] = 0, 1, np.arange(15) % 3
    (weights,) = balanced_weights(codes[None], classes, 3)
    for label in (0, 1):
        for level in range(3):
            inside = (classes == label) & (codes == level)
            margins = (classes == label).mean() * (codes == level).mean() * 27
            assert weights[inside].sum() == pytest.approx(margins if inside.any() else 0)


def test_the_design_holds_an_indicator_of_each_further_level_or_the_ordered_level_itself():
    codes = np.array([[0, 1, 2, 1], [2, 2, 0, 0]])
    places = np.arange(4)
    named = Codings(places, codes, 3).design(slice(1, 4), np.float64)
    assert named.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 0]]
    ordered = Codings(places, codes, 3, True).design(slice(0, 2), np.float64)
    assert ordered.tolist() == [[0, 1], [2, 2]]
