# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from monai_shortcut.statistics.cells import Cells
from monai_shortcut.statistics.contrasts import Contrast, LevelContrasts


def test_without_others_it_is_welchs_difference_of_means(rng):
    values, code = rng.random(60), np.repeat([0, 1, 2], 20)
    found = LevelContrasts(code, np.arange(60), 3).between(0, 2, values)
    welch = stats.ttest_ind(values[code == 2], values[code == 0], equal_var=False)
    assert found.value == pytest.approx(values[code == 2].mean() - values[code == 0].mean())
    assert found.value / found.error == pytest.approx(welch.statistic, rel=0.02)
    moments = Cells(values[:, None], np.zeros(60, dtype=int), np.arange(60), 3).of(code[None])
    assert found.error**2 == pytest.approx(moments.variance[0, 0, [0, 2], 0].sum(), rel=0.03)
    low, high = ((20 * mean + 1) / 22 for mean in moments.mean[0, 0, [0, 2], 0])  # with a patient of 0 and one of 1
    assert found.cautious_value == pytest.approx(high - low)
    assert found.cautious_error > found.error


def test_with_others_it_is_the_coefficient_of_least_squares(rng):
    """Second library: scikit-learn with dummies. Error: the sandwich, patient by patient."""
    patient = np.repeat(np.arange(50), 3)
    other, site = rng.integers(3, size=(2, 150))
    code = np.where(rng.random(150) < 0.6, other, rng.integers(3, size=150))
    values = 0.1 * code + 0.2 * other + 0.3 * rng.random(150)
    found = LevelContrasts(code, patient, 3, [other, site]).between(0, 2, values)
    dummies = np.stack([column == level for column in (code, other, site) for level in (1, 2)], axis=1).astype(float)
    fitted = LinearRegression().fit(dummies, values)
    assert found.value == pytest.approx(fitted.coef_[1])
    design = np.concatenate([np.ones((150, 1)), dummies], axis=1)
    residual = values - fitted.predict(dummies)
    scores = np.array([(design[patient == p] * residual[patient == p, None]).sum(axis=0) for p in range(50)])
    bread = np.linalg.inv(design.T @ design)
    raw = (bread @ scores.T @ scores @ bread)[2, 2]
    assert 1 < found.error**2 / raw < 1.1  # 1 / (1 - 1 / patients that are worth as much)
    assert found.freedom == pytest.approx(1 / (1 - raw / found.error**2) - 1, rel=1e-6)


def test_what_comes_with_another_is_only_the_others(rng):
    code, other = rng.integers(2, size=(2, 4000))
    other = np.where(rng.random(4000) < 0.8, code, other)
    values = 0.4 * other + 0.2 * rng.random(4000)
    alone = LevelContrasts(code, np.arange(4000), 2).between(0, 1, values)
    joint = LevelContrasts(code, np.arange(4000), 2, [other]).between(0, 1, values)
    assert alone.score > 8
    assert joint.score < 3
    assert abs(joint.value) < 0.01 < 0.3 < alone.value


def test_a_difference_that_cannot_be_told_from_anothers_is_none(rng):
    code = np.repeat([0, 1, 2], 20)
    model = LevelContrasts(code, np.arange(60), 4, [np.minimum(code, 1)])  # which tells level 0 from 1 and 2
    values = rng.random(60)
    assert model.between(0, 1, values) is None
    assert model.between(1, 2, values).value == pytest.approx(values[40:].mean() - values[20:40].mean())
    assert model.between(1, 3, values) is None  # no image is of level 3
    assert LevelContrasts(code, np.arange(60), 4).between(0, 3, values) is None
    assert LevelContrasts(code, np.arange(60), 4).between(3, 0, values) is None


def test_values_that_never_vary_have_limits_all_the_same():
    """20 of 20 against 20 of 20: a share of one in ten may have gone unseen on either side."""
    found = LevelContrasts(np.repeat([0, 1], 20), np.arange(40), 2).between(0, 1, np.ones(40))
    assert (found.value, found.error, found.score, found.cautious_value) == pytest.approx((0, 0, 0, 0))
    share = 21 / 22
    assert found.cautious_error == pytest.approx(np.sqrt(2 * share * (1 - share) / 22))


def test_a_cautious_error_is_that_of_two_more_patients_on_either_side():
    """18 and 10 of 20: shares of 19 and 11 in 22, where each patient has one image."""
    values = (np.arange(40) % 20 < np.repeat([18, 10], 20)).astype(float)
    found = LevelContrasts(np.repeat([0, 1], 20), np.arange(40), 2).between(0, 1, values)
    plain, more = (sum(p * (1 - p) / n for p in shares) for shares, n in (([0.9, 0.5], 20), ([19 / 22, 0.5], 22)))
    assert found.cautious_value == pytest.approx(11 / 22 - 19 / 22)
    assert found.error**2 == pytest.approx(plain, rel=0.06)
    assert found.cautious_error**2 == pytest.approx(more, rel=0.06)


def test_a_score_is_that_of_its_t_value():
    found = Contrast(-0.3, 0.1, 0.0, 0.0, 7.0)
    assert stats.norm.sf(found.score) == pytest.approx(stats.t.sf(3.0, 7))
