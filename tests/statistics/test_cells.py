# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monai_shortcut.statistics.cells import Cells, Contrasts, normal_score, t_value, with_two_more


def example(rng, mixed: bool, patients: int = 60):
    """Values (n, 3), labels, patients of one to six images, and five codings of three levels."""
    patient = rng.permutation(np.repeat(np.arange(patients), rng.integers(1, 7, patients)))
    label = rng.integers(2, size=patients)[patient] if not mixed else rng.integers(2, size=len(patient))
    shape = (5, len(patient)) if mixed else (5, patients)
    codes = rng.integers(3, size=shape)
    return rng.random((len(patient), 3)), label, patient, codes if mixed else codes[:, patient]


def by_hand(values, patient):
    """Mean, variance, effective number of patients, degrees of freedom and patients of one cell, patient by patient."""
    people, mean = np.unique(patient), values.mean(axis=0)
    share = np.array([(patient == person).mean() for person in people])
    parts = np.array([(values[patient == person] - mean).sum(axis=0) for person in people]) / len(values)
    scale = 1 - 2 * (share**3).sum() / (share**2).sum() + (share**2).sum()
    freedom = (share**2).sum() ** 2 / (share**4).sum() - 1
    return mean, (parts**2).sum(axis=0) / scale, 1 / (share**2).sum(), max(freedom, 1), len(people)


@pytest.mark.parametrize("mixed", [False, True])
def test_moments_are_those_of_each_cell_by_hand(rng, mixed):
    values, label, patient, codes = example(rng, mixed)
    found = Cells(values, label, patient, 3).of(codes)
    for draw, code in enumerate(codes):
        for cell in np.ndindex(2, 3):
            inside = (label == cell[0]) & (code == cell[1])
            place = (draw, *cell)
            got = (found.mean[place], found.variance[place], found.effective[place], found.freedom[place])
            for value, expected in zip(
                (*got, found.patients[place]), by_hand(values[inside], patient[inside]), strict=True
            ):
                np.testing.assert_allclose(value, expected)


def test_patients_of_one_image_give_the_variance_of_a_mean_and_welchs_test(rng):
    values, code = rng.random((50, 2)), np.repeat([0, 1], [20, 30])
    values[code == 1] *= 0.3
    found = Cells(values, np.zeros(50, dtype=int), np.arange(50), 2).of(code[None]).differences()
    second, first = values[code == 1], values[code == 0]
    welch = stats.ttest_ind(second, first, equal_var=False)
    np.testing.assert_allclose(found.value[0, 0, 0] / np.sqrt(found.variance[0, 0, 0]), welch.statistic)
    np.testing.assert_allclose(found.freedom[0, 0, 0], welch.df)
    np.testing.assert_allclose(stats.norm.sf(found.scores()[0, 0, 0]) * 2, welch.pvalue)


def test_a_patient_at_two_levels_makes_their_means_go_along(rng):
    """The variance of the difference is that of the patients' own differences: a paired test."""
    first, second = rng.random((2, 40))
    second += first
    values, patient = np.concatenate([first, second])[:, None], np.tile(np.arange(40), 2)
    found = Cells(values, np.zeros(80, dtype=int), patient, 2).of(np.repeat([0, 1], 40)[None]).differences()
    paired = stats.ttest_rel(second, first)
    np.testing.assert_allclose(found.value.item() / np.sqrt(found.variance.item()), paired.statistic)


def test_both_ways_to_sum_agree_in_any_block(rng, monkeypatch):
    values, label, patient, codes = example(rng, mixed=False)
    cells = Cells(values, label, patient, 3)
    quick, slow = cells.of(codes), cells._mixed(codes[:, cells._order])
    for name in ("mean", "covariance", "effective", "freedom", "patients"):
        np.testing.assert_allclose(getattr(quick, name), getattr(slow, name), atol=1e-12)
    monkeypatch.setattr("monai_shortcut.statistics.cells._SUMS", 1)
    np.testing.assert_allclose(cells.of(codes).covariance, quick.covariance, atol=1e-15)


def test_a_cell_without_an_image_has_no_mean_and_no_score(rng):
    found = Cells(rng.random((6, 1)), np.zeros(6, dtype=int), np.arange(6), 3).of(np.array([[0, 0, 0, 0, 1, 1]]))
    assert np.isnan(found.mean[0, 0, 2]).all()
    scores = found.differences().scores()[0, 0, :, 0]
    assert scores[0] > 0
    assert scores[1:].tolist() == [0.0, 0.0]


def test_two_more_patients_are_those_of_agresti_and_caffo():
    """Of shares: (x + 1) / (n + 2), with the variance of that share."""
    answers, code = np.array([1.0] * 3 + [0.0] * 17 + [1.0] * 10), np.repeat([0, 1], [20, 10])
    found = Cells(answers[:, None], np.zeros(30, dtype=int), np.arange(30), 2).of(code[None])
    for level, (hits, count) in enumerate(((3, 20), (10, 10))):
        mean, variance = with_two_more(count, found.mean[0, 0, level, 0], found.variance[0, 0, level, 0])
        share = (hits + 1) / (count + 2)
        assert mean == pytest.approx(share)
        spread = share * (1 - share) / (count + 2)
        assert variance == pytest.approx(spread, rel=0.06)  # less the sample's own correction


def test_scores_of_a_variance_that_is_almost_nothing_are_held_down():
    """A variance counts at least a quarter of its mean over the codings."""
    value, variance = np.full((4, 1, 1, 1), 2.0), np.array([1e-12, 4.0, 4.0, 4.0]).reshape(4, 1, 1, 1)
    patients = np.full((4, 1, 1), 50.0)
    scores = Contrasts(value, variance, np.full((4, 1, 1, 1), 1e9), patients).scores().ravel()
    np.testing.assert_allclose(scores, [2 / np.sqrt(0.25 * 3.0), 1.0, 1.0, 1.0], rtol=1e-6)
    nothing = Contrasts(value, np.zeros((4, 1, 1, 1)), np.ones((4, 1, 1, 1)), patients).scores()
    assert not nothing.any()


def test_normal_scores_and_t_values_are_each_others_inverse():
    freedom = np.array([1.0, 4.0, 30.0, 1e6])
    np.testing.assert_allclose(stats.norm.sf(normal_score(np.full(4, 2.5), freedom)), stats.t.sf(2.5, freedom))
    np.testing.assert_allclose(normal_score(t_value(1.96, freedom), freedom), np.full(4, 1.96))


def test_unequal_patients_are_worth_fewer(rng):
    """One patient of 40 images beside ten of one: little more than one patient."""
    patient = np.concatenate([np.zeros(40, dtype=int), np.arange(1, 11)])
    found = Cells(rng.random((50, 1)), np.zeros(50, dtype=int), patient, 2).of(np.zeros((1, 50), dtype=int))
    assert found.patients[0, 0, 0] == 11
    assert found.effective[0, 0, 0] == pytest.approx(2500 / 1610)
    assert found.freedom[0, 0, 0] == 1.0


def test_patients_whose_first_image_has_the_highest_level_are_mixed_too(rng):
    patient = np.arange(60) // 2
    code = np.where(np.arange(60) % 2 == 0, 1, rng.integers(2, size=60))
    values, label = rng.random((60, 2)), np.zeros(60, dtype=int)
    found = Cells(values, label, patient, 2).of(code[None])
    for level in (0, 1):
        mean, variance, *_ = by_hand(values[code == level], patient[code == level])
        np.testing.assert_allclose(found.mean[0, 0, level], mean)
        np.testing.assert_allclose(found.variance[0, 0, level], variance)
