# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from monai_shortcut.repair import thresholds
from monai_shortcut.types import Unmeasurable

COUNT = 1600


def images(seed: int = 0, shift: float = 1.0, apart: float = 0.0):
    """Probabilities that are right but for a shift of the log odds at level 1, where classes may lie farther apart."""
    rng = np.random.default_rng(seed)
    code, label = rng.integers(2, size=COUNT), rng.integers(2, size=COUNT)
    # Each level is ranked among its own alone: of the other, nothing is asked.
    value = rng.normal(size=COUNT) + 2 * label
    odds = 2 * (value - 1) + code * (shift + apart * (2 * label - 1))
    return expit(odds), label, code, np.array([f"p{row}" for row in range(COUNT)])


def test_each_level_is_right_in_the_mean_and_ranks_as_before():
    chance, label, code, patients = images(shift=0.4)
    found = thresholds(chance, label, code, patients)
    mended = found(chance, code)
    for level in (0, 1):
        inside = code == level
        assert mended[inside].mean() == pytest.approx(label[inside].mean(), abs=1e-6)
        assert (np.argsort(mended[inside]) == np.argsort(chance[inside])).all()
        # The answers are the same whether the probability is mended, or its threshold.
        assert ((mended[inside] >= 0.5) == (chance[inside] >= found.thresholds[level])).all()
    assert found.shifts[1] - found.shifts[0] == pytest.approx(-0.4, abs=0.35)
    assert set(found.patients) == set(patients)
    unknown = np.full(3, -1)
    np.testing.assert_allclose(found(chance[:3], unknown), expit(logit(chance[:3])))


def test_what_thresholds_cannot_mend_is_refused():
    with pytest.raises(Unmeasurable, match=r"ranks must be alike at all levels .*, got label 0 at levels 0 and 1"):
        thresholds(*images(shift=3.0))
    with pytest.raises(Unmeasurable, match="calibration must differ between levels to be mended, got none"):
        thresholds(*images(seed=1, shift=0.0))
    chance, label, code, patients = images()
    code[:] = 0
    code[np.flatnonzero(label == 1)[:9]] = code[np.flatnonzero(label == 0)[:3]] = 1
    with pytest.raises(Unmeasurable, match=r"at least 5 patients at each level, got fewer of label 0 at level 1$"):
        thresholds(chance, label, code, patients)
