# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from monai_shortcut.statistics.areas import _CELLS, clustered_auroc, confusion_metrics, stratified_auroc, with_interval
from monai_shortcut.statistics.delong import auc_covariance


def draw(rng, levels: int, strata: int, patients: int = 40):
    """Logits (M, N) with ties, codes, strata and patients; every level and stratum present."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    n = len(patient)
    code, stratum = rng.permutation(np.arange(n) % levels), rng.permutation(np.arange(n) % strata)
    logits = np.round(rng.normal(size=(levels, n)) + (np.arange(levels)[:, None] == code) + 3 * stratum, 1)
    return logits, code, stratum, patient


def pair_count(logits, code, stratum):
    """Pairs of one class, one image of the level and one of another, whose order is right: level by level."""
    areas = []
    for level in [1] if len(logits) == 2 else range(len(logits)):
        wins = pairs = 0.0
        for i in np.flatnonzero(code == level):
            for j in np.flatnonzero((code != level) & (stratum == stratum[i])):
                wins += (logits[level, i] > logits[level, j]) + 0.5 * (logits[level, i] == logits[level, j])
                pairs += 1
        areas.append(wins / pairs if pairs else 0.5)
    return np.mean(areas)


@pytest.mark.parametrize("strata", [1, 3])
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_areas_equal_naive_pair_counting_within_strata(rng, levels, strata):
    logits, code, stratum, patient = draw(rng, levels, strata)
    several = np.stack([logits, logits[:, ::-1]]), np.stack([code, np.roll(code, 1)])
    expected = [pair_count(score, c, stratum) for score, c in zip(*several, strict=True)]
    np.testing.assert_allclose(stratified_auroc(*several, stratum), expected, rtol=1e-12)
    assert clustered_auroc(logits, code, stratum, patient)[0] == pytest.approx(expected[0], rel=1e-12)
    assert abs(expected[0] - expected[1]) > 0.02  # items differ


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_areas_equal_those_of_scikit_learn_when_there_is_one_stratum(rng, levels):
    logits, code, _, patient = draw(rng, levels, 1)
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)  # scikit-learn wants rows that sum to 1
    expected = roc_auc_score(code, shares[1]) if levels == 2 else roc_auc_score(code, shares.T, multi_class="ovr")
    one = np.zeros_like(code)
    assert stratified_auroc(shares[None], code[None], one)[0] == pytest.approx(expected, abs=1e-12)
    assert clustered_auroc(shares, code, one, patient)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("kind", "digits"), [(np.float32, None), (np.float64, None), (np.float64, 1), (np.float32, 3)])
def test_areas_of_many_codings_equal_those_from_midranks(rng, kind, digits):
    scores = rng.normal(size=(50, 3, 6000)).astype(kind)
    scores = scores if digits is None else np.round(scores, digits)
    codes, strata = rng.integers(3, size=(50, 6000)).astype(np.int8), rng.integers(2, size=6000)
    assert codes.size > 2 * _CELLS  # several blocks
    expected = np.zeros(50)
    for level in range(3):
        wins = pairs = 0
        for inside in (strata == 0, strata == 1):
            positive = codes[:, inside] == level
            m, n = positive.sum(axis=1), inside.sum()
            wins += (rankdata(scores[:, level, inside], axis=1) * positive).sum(axis=1) - m * (m + 1) / 2
            pairs += m * (n - m)
        expected += wins / pairs / 3
    np.testing.assert_allclose(stratified_auroc(scores, codes, strata), expected, rtol=1e-13)
    assert expected.std() > 0.001


def test_scores_of_one_level_are_those_of_the_second_of_two(rng):
    scores, codes, strata = rng.normal(size=(4, 2, 60)), rng.integers(2, size=(4, 60)), rng.integers(3, size=60)
    areas = stratified_auroc(scores, codes, strata)
    assert np.array_equal(stratified_auroc(scores[:, 1], codes, strata), areas)
    assert not np.array_equal(stratified_auroc(scores[:, 0], codes, strata), areas)


def test_zeros_of_both_signs_tie_and_infinities_have_their_place():
    scores = np.array([[0.0, -0.0, np.inf, -np.inf], [-1.0, -2.0, 1.0, np.inf], [-np.inf, -np.inf, np.inf, np.inf]])
    codes = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]])
    expected = [3.5 / 4, 3 / 4, 0.5]
    assert stratified_auroc(scores, codes, np.zeros(4)).tolist() == expected


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_scores_that_differ_in_the_last_bit_do_not_tie(kind):
    for one in (kind(1), kind(-1), np.nextafter(kind(1), kind(2))):
        scores = np.array([[one, np.nextafter(one, kind(3))]])
        assert stratified_auroc(scores, np.array([[0, 1]]), np.zeros(2))[0] == 1
        assert stratified_auroc(scores, np.array([[1, 0]]), np.zeros(2))[0] == 0


def test_a_coding_whose_scores_are_undefined_has_no_area():
    scores = np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 2.0], [0.0, -np.nan, 2.0], [2.0, 1.0, 0.0]])
    areas = stratified_auroc(scores, np.tile([0, 1, 1], (4, 1)), np.zeros(3))
    np.testing.assert_array_equal(areas, [1, np.nan, np.nan, 0])


def test_a_score_of_the_stratum_alone_has_area_one_half_within_strata(rng):
    stratum = np.repeat([0, 1], 100)
    code = (rng.random(200) < np.where(stratum, 0.9, 0.1)).astype(int)
    logits = np.stack([-stratum, stratum]).astype(float)
    assert stratified_auroc(logits[None], code[None], stratum)[0] == 0.5
    assert clustered_auroc(logits, code, stratum, np.arange(200)) == (0.5, 0.0)
    assert stratified_auroc(logits[None], code[None], np.zeros(200, int))[0] > 0.8  # without strata it looks encoded


def test_a_level_that_meets_no_other_counts_one_half_in_both():
    code, stratum = np.array([0, 1, 0, 1, 2, 2]), np.array([0, 0, 0, 0, 1, 1])
    perfect = np.eye(3)[code].T
    assert stratified_auroc(perfect[None], code[None], stratum)[0] == pytest.approx((1 + 1 + 0.5) / 3)
    assert clustered_auroc(perfect, code, stratum, np.arange(6))[0] == pytest.approx((1 + 1 + 0.5) / 3)


def test_no_class_with_two_levels_gives_one_half():
    logits, code = np.array([[0.0, 1, 2, 3], [3.0, 2, 1, 0]]), np.array([0, 0, 1, 1])
    assert stratified_auroc(logits[None], code[None], code)[0] == 0.5
    assert clustered_auroc(logits, code, code, np.arange(4)) == (0.5, 0.0)


def test_standard_error_equals_the_influence_of_each_patient(rng):
    """Obuchowski's sums by patient, by loops: share of the pairs times what an image adds over the area."""
    logits, code, stratum, patient = draw(rng, 3, 2)
    influence = dict.fromkeys(patient.tolist(), 0.0)
    for level in range(3):
        own = [(code == level) & (stratum == s) for s in (0, 1)]
        rest = [(code != level) & (stratum == s) for s in (0, 1)]
        pairs = [o.sum() * r.sum() for o, r in zip(own, rest, strict=True)]
        for o, r, p in zip(own, rest, pairs, strict=True):
            wins = np.sign(logits[level, o][:, None] - logits[level, r]) / 2 + 0.5
            for i, value in zip(np.flatnonzero(o), wins.mean(axis=1) - wins.mean(), strict=True):
                influence[int(patient[i])] += p / sum(pairs) * value / o.sum() / 3
            for j, value in zip(np.flatnonzero(r), wins.mean(axis=0) - wins.mean(), strict=True):
                influence[int(patient[j])] += p / sum(pairs) * value / r.sum() / 3
    expected = np.sqrt(40 / 39 * sum(value**2 for value in influence.values()))
    assert clustered_auroc(logits, code, stratum, patient)[1] == pytest.approx(expected, rel=1e-10)


def test_standard_error_agrees_with_delong_for_two_levels(rng):
    logits, code, _, patient = draw(rng, 2, 1, patients=200)
    error = clustered_auroc(logits, code, np.zeros_like(code), patient)[1]
    assert error == pytest.approx(np.sqrt(auc_covariance(code, logits[1:], patient)[1][0, 0]), rel=0.01)


def test_standard_error_agrees_with_a_bootstrap_of_patients(rng):
    patient, stratum = np.repeat(np.arange(80), 3), np.repeat(np.arange(80) % 2, 3)
    code = rng.integers(3, size=80)[patient]
    logits = rng.normal(size=(3, 80))[:, patient] + 0.3 * rng.normal(size=(3, 240)) + np.eye(3)[code].T
    areas = []
    for _ in range(300):
        rows = (rng.integers(80, size=80)[:, None] * 3 + np.arange(3)).ravel()
        areas.append(stratified_auroc(logits[None][:, :, rows], code[None][:, rows], stratum[rows])[0])
    error = clustered_auroc(logits, code, stratum, patient)[1]
    assert error == pytest.approx(np.std(areas), rel=0.15)
    assert clustered_auroc(logits, code, stratum, np.arange(240))[1] < 0.75 * error  # as if images were independent


@pytest.mark.parametrize("levels", [2, 4])
def test_confusion_metrics_equal_those_of_scikit_learn(rng, levels):
    code = rng.permutation(np.arange(90) % levels)
    answer = np.where(rng.random(90) < 0.5, code, rng.integers(levels - 1, size=90))  # the last is rarely answered
    weights = rng.multinomial(90, np.full(90, 1 / 90), size=40).astype(float)
    found = confusion_metrics(code, answer, weights, 0.9)
    options = {"labels": range(levels), "average": "macro", "zero_division": 0}

    def expected(w):
        macro = precision_recall_fscore_support(code, answer, sample_weight=w, **options)[:3]
        return np.array([accuracy_score(code, answer, sample_weight=w), *macro])

    draws = np.array([expected(w) for w in weights])
    for index, name in enumerate(("accuracy", "precision", "recall", "f1")):
        limits = np.quantile(draws[:, index], [0.05, 0.95])
        np.testing.assert_allclose(found[name], [expected(None)[index], *limits], rtol=1e-9)


def test_weights_of_one_reproduce_the_value():
    code, answer = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 1, 0])
    found = confusion_metrics(code, answer, np.ones((3, 5)), 0.95)
    assert found["accuracy"] == pytest.approx((0.6, 0.6, 0.6))
    assert found["recall"] == pytest.approx((0.5, 0.5, 0.5))  # (1/2 + 1 + 0) / 3
    assert found["precision"] == pytest.approx([(1 / 2 + 2 / 3 + 0) / 3] * 3)  # a level never answered counts as 0


@pytest.mark.parametrize(
    ("estimate", "level", "expected"),
    [
        ((0.6, 0.1), 0.95, (0.6, 0.6 - 0.1 * norm.ppf(0.975), 0.6 + 0.1 * norm.ppf(0.975))),
        ((0.6, 0.1), 0.5, (0.6, 0.6 - 0.1 * norm.ppf(0.75), 0.6 + 0.1 * norm.ppf(0.75))),
        ((0.95, 0.1), 0.95, (0.95, 0.95 - 0.1 * norm.ppf(0.975), 1.0)),
        ((0.05, 0.1), 0.95, (0.05, 0.0, 0.05 + 0.1 * norm.ppf(0.975))),
        ((0.7, 0.0), 0.95, (0.7, 0.7, 0.7)),
    ],
)
def test_intervals_are_normal_and_stay_in_range(estimate, level, expected):
    assert with_interval(estimate, level) == pytest.approx(expected)
