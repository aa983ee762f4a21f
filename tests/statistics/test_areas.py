# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from monai_shortcut.statistics.area_errors import AreaError
from monai_shortcut.statistics.areas import (
    _CELLS,
    clustered_auroc,
    clustered_concordance,
    concordance,
    confusion_metrics,
    spread_of_chance,
    stratified_auroc,
    with_interval,
)
from monai_shortcut.statistics.delong import auc_covariance
from monai_shortcut.types import Estimate


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


@pytest.mark.parametrize("digits", [6, 2])
def test_scores_that_share_a_step_are_told_apart(rng, digits):
    """A far score makes the steps between a row's ends wider than most scores are apart."""
    scores, codes = rng.normal(size=(20, 400)).round(digits).astype(np.float32), rng.integers(2, size=(20, 400))
    scores[:, 0] = 1e9 if digits == 2 else 3e4
    expected = [roc_auc_score(code, score) for code, score in zip(codes, scores.astype(np.float64), strict=True)]
    np.testing.assert_allclose(stratified_auroc(scores, codes, np.zeros(400)), expected, rtol=1e-13)
    ordered = rng.integers(3, size=(20, 400))
    exact = concordance(scores.astype(np.float64), ordered, np.zeros(400))
    np.testing.assert_array_equal(concordance(scores, ordered, np.zeros(400)), exact)


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


def concordant(score, code, stratum):
    """Pairs of one class and two levels whose order is right."""
    wins = pairs = 0.0
    for i in range(len(code)):
        for j in range(len(code)):
            if code[i] > code[j] and stratum[i] == stratum[j]:
                wins += (score[i] > score[j]) + 0.5 * (score[i] == score[j])
                pairs += 1
    return wins / pairs


@pytest.mark.parametrize("strata", [1, 3])
@pytest.mark.parametrize("levels", [2, 3, 5])
def test_concordance_equals_counting_pairs(rng, levels, strata):
    patient = np.repeat(np.arange(40), rng.integers(1, 4, 40))
    codes, stratum = rng.integers(levels, size=(4, len(patient))), rng.integers(strata, size=len(patient))
    scores = np.round(codes * [[0.5], [0.0], [-0.5], [2.0]] + rng.normal(size=codes.shape), 1)  # with ties
    expected = [concordant(*pair, stratum) for pair in zip(scores, codes, strict=True)]
    for kind in (np.float64, np.float32):
        found = concordance(scores.astype(kind), codes.astype(np.int8), stratum)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    for score, code, value in zip(scores, codes, expected, strict=True):
        assert clustered_concordance(score[None], code, stratum, patient)[0] == pytest.approx(value, rel=1e-12)
    assert np.ptp(expected) > 0.2  # items differ


def test_concordance_in_blocks_is_that_of_one_coding_after_the_other(rng):
    codes, strata = rng.integers(4, size=(50, 6000)).astype(np.int8), rng.integers(2, size=6000)
    scores = rng.normal(size=codes.shape) + 0.01 * codes
    assert codes.size > 2 * _CELLS  # several blocks
    expected = [concordance(scores[i : i + 1], codes[i : i + 1], strata)[0] for i in range(50)]
    np.testing.assert_array_equal(concordance(scores, codes, strata), expected)
    assert np.std(expected) > 0.001


def test_concordance_of_two_levels_is_the_area_of_scikit_learn(rng):
    logits, code, stratum, patient = draw(rng, 2, 2)
    one = np.zeros_like(code)
    assert concordance(logits[1:], code[None], one)[0] == pytest.approx(roc_auc_score(code, logits[1]), abs=1e-12)
    expected = clustered_auroc(logits, code, stratum, patient)
    np.testing.assert_allclose(clustered_concordance(logits[1:], code, stratum, patient), expected, rtol=1e-12)


def test_concordance_of_several_levels_is_their_areas_weighted_by_pairs(rng):
    code, score = rng.integers(4, size=200), rng.normal(size=200)
    score += 0.5 * code
    pairs = [(low, high) for high in range(4) for low in range(high)]
    areas = [roc_auc_score(code[np.isin(code, pair)] == pair[1], score[np.isin(code, pair)]) for pair in pairs]
    weights = [(code == low).sum() * (code == high).sum() for low, high in pairs]
    expected = np.average(areas, weights=weights)
    assert concordance(score[None], code[None], 0 * code)[0] == pytest.approx(expected, abs=1e-12)


def test_error_of_a_concordance_is_the_influence_of_each_patient(rng):
    """Of the areas of all pairs of levels in all classes, each weighted by its pairs of images."""
    _, code, stratum, patient = draw(rng, 3, 2)
    score = np.round(code + rng.normal(size=len(code)), 1)
    cells = [(s, low, high) for s in (0, 1) for low, high in ((0, 1), (0, 2), (1, 2))]
    chosen = [((stratum == s) & (code == low), (stratum == s) & (code == high)) for s, low, high in cells]
    total, influence = sum(low.sum() * high.sum() for low, high in chosen), np.zeros(40)
    for low, high in chosen:
        wins = np.sign(score[high][:, None] - score[low]) / 2 + 0.5
        for i, won in zip(np.flatnonzero(high), wins, strict=True):
            influence[patient[i]] += (won - wins.mean()).sum() / total
        for j, lost in zip(np.flatnonzero(low), wins.T, strict=True):
            influence[patient[j]] += (lost - wins.mean()).sum() / total
    expected = np.sqrt(40 / 39 * (influence**2).sum())
    assert clustered_concordance(score[None], code, stratum, patient)[1] == pytest.approx(expected, rel=1e-10)


def test_error_of_a_concordance_agrees_with_a_bootstrap_of_patients(rng):
    patient, stratum = np.repeat(np.arange(80), 3), np.repeat(np.arange(80) % 2, 3)
    code = rng.integers(4, size=80)[patient]
    score = rng.normal(size=80)[patient] + 0.3 * rng.normal(size=240) + 0.3 * code
    drawn = [(rng.integers(80, size=80)[:, None] * 3 + np.arange(3)).ravel() for _ in range(400)]
    areas = [concordance(score[None, rows], code[None, rows], stratum[rows])[0] for rows in drawn]
    error = clustered_concordance(score[None], code, stratum, patient)[1]
    assert error == pytest.approx(np.std(areas), rel=0.15)
    assert clustered_concordance(score[None], code, stratum, np.arange(240))[1] < 0.75 * error


def test_levels_that_never_meet_have_a_concordance_of_one_half():
    score, code = np.array([[0.0, 1.0, 2.0, 3.0]]), np.array([0, 0, 1, 1])
    assert concordance(score, code[None], code)[0] == 0.5
    assert clustered_concordance(score, code, code, np.arange(4)) == (0.5, 0.0)
    assert concordance(score, np.array([[1, 0, 0, 2]]), np.zeros(4))[0] == 3 / 5  # a level of its own in each pass


@pytest.mark.parametrize("levels", [2, 4])
def test_confusion_metrics_equal_those_of_scikit_learn(rng, levels):
    code = rng.permutation(np.arange(90) % levels)
    answer = np.where(rng.random(90) < 0.5, code, rng.integers(levels - 1, size=90))  # the last is rarely answered
    weights = np.concatenate([np.ones((1, 90)), rng.multinomial(90, np.full(90, 1 / 90), size=40)])
    counts = np.zeros((41, levels, levels))
    for image in range(90):
        counts[:, code[image], answer[image]] += weights[:, image]
    options = {"labels": range(levels), "average": "macro", "zero_division": 0}
    found, draws = confusion_metrics(counts, 0.9), []
    for weight in weights:
        macro = precision_recall_fscore_support(code, answer, sample_weight=weight, **options)[:3]
        draws.append([accuracy_score(code, answer, sample_weight=weight), *macro])
    for name, (value, *resampled) in zip(
        ("accuracy", "precision", "recall", "f1"), zip(*draws, strict=True), strict=True
    ):
        limits = np.quantile(resampled, [0.05, 0.95])
        np.testing.assert_allclose([found[name].value, found[name].low, found[name].high], [value, *limits], rtol=1e-9)


def test_without_bootstrap_samples_the_limits_are_the_value():
    found = confusion_metrics(np.array([[[1.0, 1, 0], [0, 2, 0], [1, 0, 0]]]), 0.95)
    assert found["accuracy"] == Estimate(0.6, 0.6, 0.6)
    assert found["recall"] == Estimate(0.5, 0.5, 0.5)  # (1/2 + 1 + 0) / 3
    assert found["precision"].value == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)  # a level never answered counts as 0


@pytest.mark.parametrize(
    ("estimate", "confidence", "low", "high"),
    [
        ((0.6, 0.1), 0.95, 0.6 - 0.1 * norm.ppf(0.975), 0.6 + 0.1 * norm.ppf(0.975)),
        ((0.6, 0.1), 0.5, 0.6 - 0.1 * norm.ppf(0.75), 0.6 + 0.1 * norm.ppf(0.75)),
        ((0.95, 0.1), 0.95, 0.95 - 0.1 * norm.ppf(0.975), 1.0),
        ((0.05, 0.1), 0.95, 0.0, 0.05 + 0.1 * norm.ppf(0.975)),
        ((0.7, 0.0), 0.95, 0.7, 0.7),
    ],
)
def test_intervals_are_normal_and_stay_in_range(estimate, confidence, low, high):
    found = with_interval(estimate, confidence)
    assert (found.value, found.low, found.high) == pytest.approx((estimate[0], low, high))


@pytest.mark.parametrize(("value", "error"), [(0.5, 0.1), (0.9, 0.1), (0.9, 0.01), (1.0, 0.0), (0.0, 0.0)])
def test_the_spread_of_a_null_is_a_least_error_and_tells_the_number_of_patients(value, error):
    """The null of 10 and many patients has the variance 1 / 120."""
    inverse = 0.1
    found = with_interval((value, error), 0.9, 2 * np.sqrt(inverse / 12))
    variance = max(error**2, inverse / 3 * value * (1 - value))
    expected = AreaError.of(value, variance, inverse, 9.0).limits(0.9)
    assert (found.value, found.low, found.high) == pytest.approx((value, *expected))
    assert found.high - found.low > 0.05


def test_a_small_spread_leaves_the_normal_limits():
    found, normal = with_interval((0.8, 0.01), 0.95, 0.02), with_interval((0.8, 0.01), 0.95)
    np.testing.assert_allclose([found.low, found.high], [normal.low, normal.high], atol=0.001)


def test_about_one_half_a_null_as_wide_as_that_of_single_patients_tells_hardly_anything():
    found = with_interval((0.5, 0.1), 0.95, 0.9)
    assert found.high - found.low > 0.8


def test_the_spread_of_chance_is_that_of_areas_of_useless_scores(rng):
    """Mann and Whitney: variance (m + n + 1) / (12 m n) of images of as many patients, about (1 / m + 1 / n) / 12."""
    code = np.repeat([0, 1], [30, 50])
    ranks = rankdata(rng.random((4000, 80)), axis=1)
    areas = (ranks[:, 30:].sum(axis=1) - 50 * 51 / 2) / (30 * 50)
    assert spread_of_chance(code, np.arange(80)) / 2 == pytest.approx(np.std(areas), rel=0.05)
    twice = spread_of_chance(np.repeat(code, 2), np.repeat(np.arange(80), 2))  # patients count, not images
    assert twice == spread_of_chance(code, np.arange(80))
    three = spread_of_chance(np.repeat([0, 1, 2], 10), np.arange(30))
    assert three == pytest.approx(2 * np.sqrt((1 / 10 + 1 / 20) / 12))
