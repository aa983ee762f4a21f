# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import mannwhitneyu, norm, t

from monai_shortcut.statistics.area_errors import AreaError, EffectiveNumbers, placement_variance
from monai_shortcut.statistics.delong import auc_covariance, average_influence, compare_aucs, estimate_auc


def normal_limits(label, score, patient=None, confidence=0.95):
    """DeLong's limits as they are commonly computed, and were here: the negative control."""
    area, covariance = auc_covariance(label, [score], patient)
    reach = norm.ppf(0.5 + confidence / 2) * np.sqrt(covariance[0, 0])
    return max(area[0] - reach, 0.0), min(area[0] + reach, 1.0)


def scores(rng, positives: int, negatives: int, area: float):
    """Labels and scores of two normal distributions with a true area."""
    label = np.repeat([1, 0], [positives, negatives])
    return label, rng.normal(size=len(label)) + np.sqrt(2) * norm.ppf(area) * label


def copied(rng, positives: int, negatives: int, area: float):
    """Patients of 1 to 50 images with an effect of their own on the scores."""
    patient = np.repeat(np.arange(positives + negatives), rng.integers(1, 51, positives + negatives))
    label = (patient < positives).astype(int)
    own = np.sqrt(0.7) * rng.normal(size=positives + negatives)[patient] + np.sqrt(0.3) * rng.normal(size=len(patient))
    return label, own + np.sqrt(2) * norm.ppf(area) * label, patient


def rankings(positives: int, negatives: int):
    """Labels of every way to rank two positives and some negatives, all equally likely by chance."""
    for places in combinations(range(positives + negatives), positives):
        yield np.isin(np.arange(positives + negatives), places).astype(int)


@pytest.mark.parametrize("area", [0.5, 0.7, 0.9, 0.99])
def test_the_variance_of_placements_is_that_of_exponential_scores(area):
    rate = (1 - area) / area  # of the positives, negatives having 1
    positives = [quad(lambda x, k=k: (1 - np.exp(-x)) ** k * rate * np.exp(-rate * x), 0, np.inf)[0] for k in (1, 2)]
    negatives = [quad(lambda x, k=k: np.exp(-rate * x) ** k * np.exp(-x), 0, np.inf)[0] for k in (1, 2)]
    assert positives[0] == pytest.approx(area)
    expected = np.mean([square - mean**2 for mean, square in (positives, negatives)])
    assert placement_variance(area) == pytest.approx(expected)
    assert placement_variance(1 - area) == pytest.approx(expected)


def test_equal_patients_have_their_number_and_student_s_freedom():
    numbers = EffectiveNumbers(7.0, 7.0, 2 / 7)
    assert numbers.patients == pytest.approx(2 / 7)
    assert numbers.freedom == pytest.approx(12)
    assert EffectiveNumbers(5.0, 1e9, 0.2).freedom == pytest.approx(4)
    assert EffectiveNumbers(1.0, 1.0, 1.0).freedom == pytest.approx(0.2)


@pytest.mark.parametrize(("positives", "negatives"), [(2, 2), (3, 3), (2, 20), (5, 6)])
def test_the_least_p_value_is_that_of_the_exact_test_of_perfect_scores(positives, negatives):
    numbers = EffectiveNumbers(float(positives), float(negatives), 1 / positives + 1 / negatives)
    exact = mannwhitneyu(np.arange(positives) + 100, np.arange(negatives), method="exact").pvalue
    assert numbers.least_p_value == pytest.approx(exact)
    assert exact == pytest.approx(2 / comb(positives + negatives, positives))


def test_numbers_of_patients_are_kishs_and_those_of_folds_are_of_their_shares(rng):
    label, score, patient = copied(rng, 6, 9, 0.8)
    found = average_influence([(label == 1, score[None], patient)], 15).numbers
    for value, effective in ((1, found.positives), (0, found.negatives)):
        images = [int((patient[label == value] == one).sum()) for one in set(patient[label == value].tolist())]
        assert effective == pytest.approx(sum(images) ** 2 / sum(n**2 for n in images))
    m, n = label.sum(), (label == 0).sum()
    assert found.images == pytest.approx(1 / m + 1 / n)
    again = average_influence([(label == 1, score[None], patient)] * 3, 15).numbers
    assert (again.positives, again.negatives) == pytest.approx((found.positives, found.negatives))
    assert again.images == pytest.approx(found.images / 3)
    once, thrice = (average_influence([(label == 1, score[None], patient)] * folds, 15).alone[0] for folds in (1, 3))
    assert thrice == pytest.approx(once / 3)
    apart = [(label == 1, score[None], patient + 15 * fold) for fold in range(3)]
    other = average_influence(apart, 45).numbers
    assert (other.positives, other.negatives) == pytest.approx((3 * found.positives, 3 * found.negatives))


@pytest.mark.parametrize("area", [0.0, 0.2, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_limits_part_the_areas_by_their_p_values(area, confidence):
    error = AreaError.of(area, 0.1 * area * (1 - area), expected=0.15, freedom=9.0)
    low, high = error.limits(confidence)
    assert low <= area <= high
    assert high - low > 0.05
    for true in np.linspace(0.001, 0.999, 499):
        assert (error.p_value(true) >= 1 - confidence) == (low <= true <= high)
    assert error.p_value(area) == 1.0


@pytest.mark.parametrize(("area", "true", "sides"), [(0.9, 0.94, 2), (0.9, 0.96, 1), (0.1, 0.06, 2), (0.1, 0.04, 1)])
def test_a_deviation_that_is_possible_to_one_side_is_tested_on_one(area, true, sides):
    """From 0.96 an area deviates by 0.06 below only, from 0.94 by 0.04 also above."""
    error = AreaError.of(area, 0.01, expected=0.15, freedom=9.0)
    distance = abs(true - area) / np.sqrt(error.scale * placement_variance(true))
    assert error.p_value(true) == pytest.approx(sides * t.sf(distance, error.freedom))


@pytest.mark.parametrize(("ratio", "effect"), [(0.5, 1.0), (1.5, 1.5), (9.0, 3.0)])
def test_a_design_effect_lies_between_that_of_independent_and_of_equal_images(ratio, effect):
    """Patients of three images each."""
    numbers = EffectiveNumbers(10.0, 20.0, (1 / 10 + 1 / 20) / 3)
    share = (weight := 4 * numbers.freedom * 0.8 * 0.2) / (weight + 1)
    found = AreaError.clustered(0.8, 0.002 * ratio, 0.002, numbers)
    expected = numbers.images * (share * effect + (1 - share) * 3)
    own = 0.002 * ratio / placement_variance(0.8)
    assert found.scale == pytest.approx(share * own + (1 - share) * expected)


def test_a_small_error_is_an_error():
    """Of some million patients."""
    assert AreaError(0.7, 1e-7, 1e6).p_value(0.7001) == pytest.approx(
        2 * norm.sf(0.0001 / np.sqrt(1e-7 * placement_variance(0.7001))), rel=1e-3
    )


def test_the_estimated_variance_counts_by_what_it_knows():
    """At one half with v degrees of freedom 4 v / 4 times, beside once the expected; not at all for an area of 1."""
    middle = AreaError.of(0.5, 0.02, expected=0.1, freedom=9.0)
    assert middle.scale == pytest.approx((9 * 12 * 0.02 + 0.1) / 10)
    assert middle.freedom == pytest.approx(9 * (10 / 9) ** 2)
    end = AreaError.of(1.0, 0.0, expected=0.1, freedom=9.0)
    assert (end.scale, end.freedom) == (0.1, np.inf)


@pytest.mark.parametrize(("area", "null"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.0)])
def test_a_true_area_of_zero_or_one_has_no_error(area, null):
    error = AreaError.of(area, 0.01, expected=0.1, freedom=9.0)
    assert error.p_value(null) == (1.0 if area == null else np.finfo(float).tiny)


def test_rounding_beyond_one_is_one():
    assert AreaError.of(1 + 1e-15, -1e-20, expected=0.1, freedom=9.0) == AreaError.of(1.0, 0.0, 0.1, 9.0)


def test_reversed_scores_have_mirrored_limits(rng):
    label, score, patient = copied(rng, 8, 12, 0.85)
    there, back = estimate_auc(label, score, patient), estimate_auc(label, -score, patient)
    assert there.chance_p_value == pytest.approx(back.chance_p_value)
    assert (back.auc.low, back.auc.high) == pytest.approx((1 - there.auc.high, 1 - there.auc.low))


def test_an_area_of_one_has_limits_and_a_p_value():
    found = estimate_auc([0] * 5 + [1] * 5, range(10))
    low, high = (x := found.auc).low, x.high
    assert (high, found.auc.value) == (1.0, 1.0)
    # (1 - low)^2 = z^2 (1/5 + 1/5) q(low)
    assert (1 - low) ** 2 == pytest.approx(norm.ppf(0.975) ** 2 * 0.4 * placement_variance(low))
    assert found.chance_p_value == pytest.approx(max(2 / comb(10, 5), 2 * norm.sf(0.5 / np.sqrt(0.4 / 12))))
    assert normal_limits(np.repeat([0, 1], 5), np.arange(10)) == (1.0, 1.0)


def test_three_and_three_images_exclude_no_area():
    found = estimate_auc([0, 0, 0, 1, 1, 1], range(6))
    assert (found.auc.low, found.auc.high) == (0.0, 1.0)
    assert found.chance_p_value == pytest.approx(0.1)
    assert estimate_auc([0, 0, 0, 1, 1, 1], range(6), confidence=0.8).auc.low > 0.3


@pytest.mark.parametrize(("positives", "negatives", "former"), [(2, 2, 0.3), (2, 20, 0.2), (3, 5, 0.1)])
def test_over_all_rankings_chance_is_rejected_no_more_often_than_said(positives, negatives, former):
    """Exactly: each ranking is counted once. The former test is the negative control."""
    order = np.arange(positives + negatives)
    p_values, excluded = [], []
    for label in rankings(positives, negatives):
        p_values.append(estimate_auc(label, order).chance_p_value)
        low, high = normal_limits(label, order)
        excluded.append(not low <= 0.5 <= high)
    assert np.mean(np.array(p_values) < 0.05) <= 0.05
    assert np.mean(excluded) > former


def test_the_test_against_chance_agrees_with_the_exact_one(rng):
    for positives, negatives in ((5, 50), (10, 10), (20, 30)):
        for area in (0.5, 0.7):
            label, score = scores(rng, positives, negatives, area)
            exact = mannwhitneyu(score[label == 1], score[label == 0], method="exact").pvalue
            assert estimate_auc(label, score).chance_p_value == pytest.approx(exact, abs=0.06)


@pytest.mark.parametrize("area", [0.7, 0.9, 0.99])
def test_large_samples_have_delongs_limits(rng, area):
    label, score = scores(rng, 1000, 1000, area)
    found = estimate_auc(label, score).auc
    np.testing.assert_allclose([found.low, found.high], normal_limits(label, score), atol=0.002)


def test_images_that_repeat_a_patient_say_nothing_new(rng):
    label, score = scores(rng, 8, 20, 0.85)
    once = estimate_auc(label, score)
    names = np.repeat(np.arange(28), 7)
    often = estimate_auc(np.repeat(label, 7), np.repeat(score, 7), names)
    assert (often.auc.low, often.auc.high) == pytest.approx((once.auc.low, once.auc.high))
    assert often.chance_p_value == pytest.approx(once.chance_p_value)


def test_independent_images_of_a_patient_count_nearly_as_others_do(rng):
    label, score = scores(rng, 600, 1200, 0.8)
    names = np.arange(1800) // 20  # 30 and 60 patients
    found, alone = estimate_auc(label, score, names).auc, estimate_auc(label, score).auc
    assert alone.high - alone.low == pytest.approx(found.high - found.low, rel=0.3)


@pytest.mark.parametrize(
    ("positives", "area", "clustered", "former"),
    [(5, 0.9, False, 0.82), (10, 0.7, False, 0.93), (10, 0.99, False, 0.75), (10, 0.9, True, 0.88)],
)
def test_limits_cover_with_few_patients_and_former_ones_did_not(positives, area, clustered, former):
    covered, before, widths = [], [], []
    for seed in range(250):
        rng = np.random.default_rng([seed, positives])
        label, score, *patient = (copied if clustered else scores)(rng, positives, 60, area)
        found, (low, high) = estimate_auc(label, score, *patient).auc, normal_limits(label, score, *patient)
        covered.append(found.low <= area <= found.high)
        before.append(low <= area <= high)
        widths.append(found.high - found.low)
    assert np.mean(covered) > 0.925
    assert np.mean(before) < former
    assert min(widths) > 0


def test_a_comparison_of_few_patients_holds_its_level_and_has_no_p_of_zero():
    p_values = []
    for seed in range(300):
        label, _ = scores(rng := np.random.default_rng(seed), 5, 40, 0.5)
        p_values.append(compare_aucs(label, *rng.normal(size=(2, 45))).p_value)
    assert np.mean(np.array(p_values) < 0.05) < 0.08
    assert min(p_values) > 0


@pytest.mark.parametrize("numbers", [(1.1, 1, 9), (np.nan, 1, 9), (0.5, -1, 9), (0.5, np.nan, 9), (0.5, 1, 0)])
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(
        ValueError, match=r"area must be in \[0, 1\], scale finite and not below 0, freedom above 0, got"
    ):
        AreaError(*numbers)


def test_a_p_value_that_can_just_be_reached_excludes_areas():
    """One positive among four: a half is the least p-value, and limits of one half leave that out."""
    assert EffectiveNumbers(1, 3, 0.1).least_p_value == 0.5
    found = AreaError(1.0, 0.1, 2.0, least_p_value=0.5)
    assert found.limits(0.5)[0] > 0
    assert found.limits(0.6) == (0.0, 1.0)
