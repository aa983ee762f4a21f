# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm, t
from sklearn.metrics import roc_auc_score

from monai_shortcut.statistics.area_errors import AreaError, EffectiveNumbers, placement_variance
from monai_shortcut.statistics.delong import (
    auc_covariance,
    average_influence,
    compare_aucs,
    estimate_auc,
    fold_auc_covariance,
    placements,
    student_comparison,
)


def clustered(rng, patients: int = 60, models: int = 2, effect: float = 1.0, varying: bool = False):
    """Labels, scores with a patient's effect (rounded, so that there are ties) and patients of 1 to 6 images."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    label = rng.integers(2, size=len(patient)) if varying else rng.permutation(np.arange(patients) % 2)[patient]
    noise = rng.normal(size=(models, len(patient)))
    return label, np.round(label + effect * rng.normal(size=(models, patients))[:, patient] + noise, 1), patient


def kernel(labels, score):
    """1 where a positive scores above a negative, one half where they tie."""
    positive, negative = score[labels == 1], score[labels == 0]
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)


def obuchowski(labels, scores, patients):
    """The clustered covariance, cluster by cluster, from the kernel over all pairs."""
    wins = [kernel(labels, score) for score in scores]
    areas = [w.mean() for w in wins]
    ones, zeros = patients[labels == 1], patients[labels == 0]
    clusters = np.unique(patients)
    m, n = len(ones), len(zeros)
    i10, i01, i = len(set(ones)), len(set(zeros)), len(clusters)
    result = np.zeros((len(scores), len(scores)))
    for r, (first, a) in enumerate(zip(wins, areas, strict=True)):
        for s, (second, b) in enumerate(zip(wins, areas, strict=True)):
            s10 = s01 = s11 = 0.0
            for cluster in clusters:
                own, other = ones == cluster, zeros == cluster
                x_first = sum(row.mean() - a for row in first[own])
                x_second = sum(row.mean() - b for row in second[own])
                y_first = sum(column.mean() - a for column in first.T[other])
                y_second = sum(column.mean() - b for column in second.T[other])
                s10 += i10 / ((i10 - 1) * m) * x_first * x_second
                s01 += i01 / ((i01 - 1) * n) * y_first * y_second
                s11 += i / (i - 1) * (x_first * y_second + x_second * y_first)
            result[r, s] = s10 / m + s01 / n + s11 / (m * n)
    return result


def numbers_of(folds):
    """Effective numbers of patients, patient by patient; labels, scores and patients by fold."""
    names = {name for _, _, patient in folds for name in patient.tolist()}
    inverse = []
    for value in (1, 0):
        shares = [sum(np.mean(p[y == value] == name) for y, _, p in folds) / len(folds) for name in names]
        inverse.append(sum(share**2 for share in shares))
    images = sum(1 / y.sum() + 1 / (1 - y).sum() for y, _, _ in folds) / len(folds) ** 2
    return EffectiveNumbers(1 / inverse[0], 1 / inverse[1], images)


def test_covariance_equals_the_definition_over_all_pairs(rng):
    label, scores, _ = clustered(rng, models=3)
    wins = [kernel(label, score) for score in scores]
    m, n = wins[0].shape
    expected = np.cov([w.mean(axis=1) for w in wins]) / m + np.cov([w.mean(axis=0) for w in wins]) / n
    areas, covariance = auc_covariance(label, scores)
    np.testing.assert_allclose(areas, [w.mean() for w in wins], rtol=1e-12)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)


def test_placements_equal_the_shares_over_all_pairs(rng):
    label, scores, _ = clustered(rng)
    above, below = placements(label == 1, scores)
    for index, score in enumerate(scores):
        np.testing.assert_allclose(above[index], kernel(label, score).mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(below[index], kernel(label, score).mean(axis=0), rtol=1e-12)


def test_areas_equal_those_of_scikit_learn_and_scipy(rng):
    label, scores, patient = clustered(rng, models=4)
    areas = auc_covariance(label, scores, patient)[0]
    m, n = (label == 1).sum(), (label == 0).sum()
    for area, score in zip(areas, scores, strict=True):
        assert area == pytest.approx(roc_auc_score(label, score), abs=1e-12)
        assert area == pytest.approx(mannwhitneyu(score[label == 1], score[label == 0]).statistic / (m * n), abs=1e-12)


@pytest.mark.parametrize("varying", [False, True])
def test_clustered_covariance_equals_a_loop_over_patients(rng, varying):
    label, scores, patient = clustered(rng, patients=25, models=3, varying=varying)
    covariance = auc_covariance(label, scores, patient)[1]
    np.testing.assert_allclose(covariance, obuchowski(label, scores, patient), rtol=1e-10)
    assert abs(covariance / auc_covariance(label, scores)[1] - 1).max() > 0.05  # the patients matter


def test_one_image_per_patient_gives_the_unclustered_covariance(rng):
    label, scores, _ = clustered(rng)
    names = rng.permutation([f"p{index}" for index in range(len(label))])
    np.testing.assert_allclose(auc_covariance(label, scores, names)[1], auc_covariance(label, scores)[1], rtol=1e-12)


def test_standard_error_agrees_with_a_bootstrap_of_patients(rng):
    label, scores, patient = clustered(rng, patients=100, effect=1.5)
    images = [np.flatnonzero(patient == index) for index in range(100)]
    drawn = []
    for _ in range(400):
        rows = np.concatenate([images[index] for index in rng.integers(100, size=100)])
        areas = auc_covariance(label[rows], scores[:, rows])[0]
        drawn.append([areas[0], areas[0] - areas[1]])
    clustered_error = np.sqrt(auc_covariance(label, scores, patient)[1][0, 0])
    assert clustered_error == pytest.approx(np.std(drawn, axis=0)[0], rel=0.15)
    result = compare_aucs(label, scores[0], scores[1], patient)
    assert result.standard_error == pytest.approx(np.std(drawn, axis=0)[1], rel=0.15)
    assert np.sqrt(auc_covariance(label, scores)[1][0, 0]) < 0.75 * clustered_error


def test_comparison_is_students_test_of_the_difference_with_effective_numbers_of_patients(rng):
    label, scores, patient = clustered(rng)
    areas, covariance = auc_covariance(label, scores, patient)
    result = compare_aucs(label, scores[0], scores[1], patient, confidence=0.9)
    error = np.sqrt(np.array([1, -1]) @ covariance @ [1, -1])
    assert result.difference == pytest.approx(roc_auc_score(label, scores[0]) - roc_auc_score(label, scores[1]))
    assert result.standard_error == pytest.approx(error)
    freedom = numbers_of([(label, scores, patient)]).freedom
    assert 30 < freedom < 60
    assert result.p_value == pytest.approx(2 * t.cdf(-abs(areas[0] - areas[1]) / error, freedom))
    np.testing.assert_allclose(result.interval, t.interval(0.9, freedom, loc=areas[0] - areas[1], scale=error))


def test_an_estimate_is_that_of_its_variances_and_numbers(rng):
    label, scores, patient = clustered(rng, patients=25)
    found = estimate_auc(label, scores[0], patient, confidence=0.9)
    variances = auc_covariance(label, scores, patient)[1][0, 0], auc_covariance(label, scores)[1][0, 0]
    expected = AreaError.clustered(roc_auc_score(label, scores[0]), *variances, numbers_of([(label, scores, patient)]))
    assert found.auc.value == pytest.approx(expected.area)
    assert (found.auc.low, found.auc.high) == pytest.approx(expected.limits(0.9))
    assert found.chance_p_value == pytest.approx(expected.p_value(0.5))
    alone = average_influence([(label == 1, scores, patient)], 25).compare([1, 0], 0.9, null=0.3)
    np.testing.assert_allclose(alone.interval, np.array([found.auc.low, found.auc.high]) - 0.3)
    assert alone.p_value == pytest.approx(expected.p_value(0.3))
    assert alone.standard_error == pytest.approx(np.sqrt(variances[0]))


def test_swapping_the_models_changes_the_sign_alone(rng):
    label, (first, second), patient = clustered(rng)
    there, back = compare_aucs(label, first, second, patient), compare_aucs(label, second, first, patient)
    assert (there.difference, there.p_value) == pytest.approx((-back.difference, back.p_value))
    np.testing.assert_allclose(there.interval, [-back.interval[1], -back.interval[0]])


@pytest.mark.parametrize("with_patients", [False, True])
def test_scores_that_rank_alike_differ_by_nothing(rng, with_patients):
    label, (score, _), patient = clustered(rng)
    result = compare_aucs(label, score, np.exp(score), patient if with_patients else None)
    assert (result.difference, result.p_value) == (0.0, 1.0)
    np.testing.assert_allclose(result.interval, 0, atol=1e-7)


@pytest.mark.parametrize("second", [[4, 3, 2, 1], [1, 1, 1, 1]])
def test_two_and_two_images_show_no_difference(second):
    """By chance a useless score is perfect or reversed in one of three cases."""
    result = compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], second)
    assert result.difference == (1.0 if second[0] == 4 else 0.5)
    assert result.p_value == pytest.approx(1 / 3)
    assert result.interval == (-1, 1)
    assert result.standard_error > 0.2


def test_perfect_against_reversed_has_an_error_and_a_p_value():
    """Five and five patients: the variance is that of two scores whose area is not yet known to be one."""
    result = compare_aucs(np.repeat([0, 1], 5), np.arange(10), -np.arange(10))
    error = np.sqrt(2 * 0.4 * placement_variance((8 + 0.5) / 9))  # 8 degrees of freedom
    assert result.standard_error == pytest.approx(error)
    assert result.p_value == pytest.approx(max(2 / 252, 2 * t.sf(1 / error, 8)))
    assert result.interval == pytest.approx((1 - t.ppf(0.975, 8) * error, 1.0))


def test_two_perfect_scores_may_differ_in_the_next_patients(rng):
    label = np.repeat([0, 1], 8)
    result = compare_aucs(label, label + rng.random(16), label + rng.random(16))
    assert (result.difference, result.p_value) == (0.0, 1.0)
    assert result.interval[1] == pytest.approx(-result.interval[0])
    assert 0.05 < result.interval[1] < 0.2


def test_an_area_against_a_constant_score_has_the_least_variance_of_both():
    label, freedom = np.repeat([0, 1], 6), 10
    result = compare_aucs(label, np.arange(12), np.zeros(12))
    parts = [placement_variance((freedom + 0.5) / (freedom + 1)), placement_variance(0.5) / (freedom + 1)]
    assert result.standard_error == pytest.approx(np.sqrt(sum(parts) / 3))


def test_a_p_value_that_underflows_is_not_zero():
    assert 0 < student_comparison(1.0, 1e-3).p_value < 1e-300


def test_students_comparison_is_the_normal_one_with_infinite_freedom():
    assert student_comparison(0.1, 0.05, 0.9) == student_comparison(0.1, 0.05, 0.9, freedom=np.inf)
    assert student_comparison(0.1, 0.05).p_value == pytest.approx(2 * norm.sf(2))
    assert student_comparison(0.0, 0.0).interval == (0.0, 0.0)


def test_a_difference_without_an_error_is_refused():
    with pytest.raises(ValueError, match=r"error must be positive where there is a difference, got 0 for 0\.25"):
        student_comparison(0.25, 0.0)


def test_an_area_below_one_half_stays_there(rng):
    label, scores, patient = clustered(rng, patients=100)
    areas, covariance = auc_covariance(label, np.stack([scores[0], -scores[0]]), patient)
    assert areas[0] > 0.6
    assert areas[1] == pytest.approx(1 - areas[0])
    np.testing.assert_allclose(covariance, covariance[0, 0] * np.array([[1, -1], [-1, 1]]))


def test_limits_stay_in_range():
    result = compare_aucs([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], [6, 4, 5, 3, 2, 1], confidence=0.8)
    assert result.interval[1] == 1.0
    assert result.interval[0] > -1
    assert compare_aucs([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], [6, 4, 5, 3, 2, 1]).interval == (-1, 1)


@pytest.mark.parametrize(
    ("images", "patients", "low", "high"),
    [("independent", "ignored", 0.025, 0.08), ("clustered", "given", 0.025, 0.085), ("clustered", "ignored", 0.2, 1)],
)
def test_p_values_are_uniform_unless_patients_are_ignored(images, patients, low, high):
    p_values = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        label, (first, second), patient = clustered(rng, patients=80, effect=1.5)
        if images == "independent":
            first, second = label + rng.normal(size=(2, len(label)))
        p_values.append(compare_aucs(label, first, second, patient if patients == "given" else None).p_value)
    assert low < np.mean(np.array(p_values) < 0.05) < high


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "message"),
    [
        ([[0, 1]], [[1, 2]], None, r"labels must have shape \(N,\), got \(1, 2\)"),
        ([0, 0, 1, 1], [1, 2, 3, 4], None, r"scores must have shape \(M, 4\) to match labels, got \(4,\)"),
        ([0, 0, 1, 1], [[1, 2, 3]], None, r"scores must have shape \(M, 4\) to match labels, got \(1, 3\)"),
        ([0, 0, 1, 2], [[1, 2, 3, 4]], None, r"labels must be 0 or 1, got \[0, 1, 2\]"),
        ([0, 0, 1, 1], [[1, np.nan, np.inf, 4]], None, "scores must be finite, got 2 that are not"),
        ([0, 0, 1, 1], [[1, 2, 3, 4]], [1, 2, 3], r"patients must have shape \(4,\) to match labels, got \(3,\)"),
        ([0, 0, 0, 1], [[1, 2, 3, 4]], None, "labels must hold at least two images of class 1, got 1"),
        ([1, 1, 1, 0], [[1, 2, 3, 4]], None, "labels must hold at least two images of class 0, got 1"),
        ([0, 0, 1, 1], [[1, 2, 3, 4]], [1, 2, 3, 3], "labels must hold at least two patients of class 1, got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(labels, scores, patients, message):
    with pytest.raises(ValueError, match=message):
        auc_covariance(labels, scores, patients)


def test_scores_of_several_models_have_no_one_estimate():
    with pytest.raises(ValueError, match=r"scores must have shape \(N,\), got \(1, 4\)"):
        estimate_auc([0, 0, 1, 1], [[1, 2, 3, 4]])


def test_scores_of_two_lengths_are_refused():
    for first, second, message in (
        ([1, 2, 3, 4], [1, 2, 3], r"\(4,\) and \(3,\)"),
        ([1], [1, 2], r"\(1,\) and \(2,\)"),
    ):
        with pytest.raises(ValueError, match=rf"first and second must have the same shape, got {message}"):
            compare_aucs([0, 0, 1, 1], first, second)


def folds_of(rng, kind: str, folds: int = 3, models: int = 2, patients: int = 45):
    """Folds of (labels, scores, patients): other patients in each, the same images in each, or half and half."""
    label, _, patient = clustered(rng, patients=patients, varying=True)
    common, chosen = 1.5 * rng.normal(size=(models, patients)), rng.permutation(np.arange(patients) % folds)
    result = []
    for fold in range(folds):
        tested = {"disjoint": chosen == fold, "same": chosen >= 0, "overlapping": (chosen == fold) | (chosen == 0)}[
            kind
        ]
        rows = np.flatnonzero(tested[patient])
        own = label[rows] + common[:, patient[rows]] + rng.normal(size=(models, len(rows)))
        result.append((label[rows], np.round(own, 1), patient[rows]))
    return result


def weighted_area(labels, score, weight):
    """The area when each image counts as often as its weight says."""
    ones, zeros = weight[labels == 1], weight[labels == 0]
    return ones @ kernel(labels, score) @ zeros / (ones.sum() * zeros.sum())


def test_one_fold_has_the_covariance_of_its_images(rng):
    label, scores, patient = clustered(rng, models=3, varying=True)
    for found, expected in zip(
        fold_auc_covariance([(label, scores, patient)]), auc_covariance(label, scores, patient), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_folds_of_other_patients_add_up(rng):
    folds = folds_of(rng, "disjoint")
    areas, covariance = fold_auc_covariance(folds)
    own = [auc_covariance(*fold) for fold in folds]
    np.testing.assert_allclose(areas, np.mean([a for a, _ in own], axis=0), rtol=1e-12)
    np.testing.assert_allclose(covariance, sum(obuchowski(*fold) for fold in folds) / 9, rtol=1e-10)


def test_folds_of_the_same_images_are_as_many_more_models(rng):
    folds = folds_of(rng, "same")
    areas, covariance = fold_auc_covariance(folds)
    label, _, patient = folds[0]
    average = np.kron(np.full(3, 1 / 3), np.eye(2))  # of six models, fold by fold, to two
    every_area, every_covariance = auc_covariance(label, np.concatenate([scores for _, scores, _ in folds]), patient)
    np.testing.assert_allclose(areas, average @ every_area, rtol=1e-12)
    np.testing.assert_allclose(covariance, average @ every_covariance @ average.T, rtol=1e-10)
    independent = sum(auc_covariance(*fold)[1] for fold in folds) / 9
    assert covariance[0, 0] > 1.5 * independent[0, 0]  # counting each fold's patients as new ones would be wrong


def test_influence_is_how_the_areas_move_with_the_weight_of_a_patient(rng):
    """Centred placements are the derivative of the area of weighted images, of which every error here is made."""
    label, scores, patient = clustered(rng, patients=12, varying=True)
    found = average_influence([(label == 1, scores, patient)], 12)
    present = [len(set(patient[label == 1])), len(set(patient[label == 0]))]
    factors = [np.sqrt(count / (count - 1)) for count in present]
    influence = found.parts[0] / factors[0] + found.parts[1] / factors[1]
    for unit in range(12):
        step = 1e-6 * (patient == unit)
        for model in range(2):
            moved = [weighted_area(label, scores[model], 1 + sign * step) for sign in (1, -1)]
            assert influence[model, unit] == pytest.approx((moved[0] - moved[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("kind", ["disjoint", "same", "overlapping"])
def test_errors_over_folds_agree_with_a_jackknife_and_a_bootstrap_of_patients(rng, kind):
    folds = folds_of(rng, kind, patients=150)
    _, covariance = fold_auc_covariance(folds)
    expected = np.sqrt([covariance[0, 0], covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]])

    def areas(weight):
        each = [[weighted_area(label, s, weight[unit]) for s in scores] for label, scores, unit in folds]
        first, second = np.mean(each, axis=0)
        return first, first - second

    without = np.array([areas(np.arange(150) != unit) for unit in range(150)])
    jackknife = np.sqrt(149 / 150 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(expected, jackknife, rtol=0.03)
    drawn = [areas(np.bincount(rng.integers(150, size=150), minlength=150)) for _ in range(300)]
    np.testing.assert_allclose(expected, np.std(drawn, axis=0), rtol=0.15)


def test_a_comparison_is_of_any_weighted_sum_of_areas(rng):
    folds = [(label == 1, scores, patient) for label, scores, patient in folds_of(rng, "overlapping", models=4)]
    found, weights = average_influence(folds, 45), np.array([1, -1, -1, 1])
    result = found.compare(weights, 0.9, null=0.1)
    error = np.sqrt(weights @ found.covariance() @ weights)
    assert result.difference == pytest.approx(weights @ found.areas - 0.1)
    assert result.standard_error == pytest.approx(error)
    freedom = numbers_of([(one.astype(int), scores, patient) for one, scores, patient in folds]).freedom
    assert found.numbers.freedom == pytest.approx(freedom)
    assert result.p_value == pytest.approx(2 * t.cdf(-abs(result.difference) / error, freedom))
    np.testing.assert_allclose(result.interval, t.interval(0.9, freedom, loc=result.difference, scale=error))
    assert found.compare([1, 0, -1, 0]).interval[0] > -1


def test_limits_of_few_patients_are_all_that_the_weights_allow():
    scores = np.array([[1.0, 2, 4, 3, 5, 6], [6, 4, 5, 3, 2, 1]])
    found = average_influence([(np.repeat([False, True], 3), scores, np.arange(6))], 6)
    assert found.compare([0.5, -0.25], null=0.1).interval == pytest.approx((-0.35, 0.4))
    nothing = found.compare([0, 0])
    assert (nothing.difference, nothing.standard_error, nothing.p_value) == (0, 0, 1)


def test_a_small_multiple_of_a_difference_has_its_p_value():
    scores = np.array([[1.0, 2, 4, 3, 5, 6], [2, 4, 6, 1, 3, 5]])
    found = average_influence([(np.repeat([False, True], 3), scores, np.arange(6))], 6)
    whole, part = found.compare([1, -1]), found.compare([2**-12, -(2**-12)])
    assert whole.p_value == part.p_value < 1
    np.testing.assert_allclose(np.multiply(part.interval, 2**12), whole.interval)
    assert 2**12 * part.standard_error == pytest.approx(whole.standard_error)


def test_an_area_alone_is_measured_from_the_value_that_is_tested(rng):
    label, scores, patient = clustered(rng)
    found = average_influence([(label == 1, scores, patient)], patient.max() + 1)
    low, high = found.error(1).limits(0.9)
    result = found.compare([0, 1], 0.9, null=0.25)
    assert result.difference == pytest.approx(found.areas[1] - 0.25)
    assert result.interval == pytest.approx((low - 0.25, high - 0.25))
    assert result.p_value == found.error(1).p_value(0.25)


def test_models_that_rank_alike_in_every_fold_differ_by_nothing(rng):
    folds = [
        (label == 1, np.stack([scores[0], np.exp(scores[0])]), patient)
        for label, scores, patient in folds_of(rng, "same")
    ]
    result = average_influence(folds, 45).compare([1, -1])
    assert (result.difference, result.standard_error, result.p_value) == (0.0, 0.0, 1.0)


def test_areas_below_one_half_stay_there_over_folds(rng):
    folds = folds_of(rng, "disjoint")
    turned = fold_auc_covariance([(label, -scores, patient) for label, scores, patient in folds])
    np.testing.assert_allclose(turned[0], 1 - fold_auc_covariance(folds)[0])
    assert turned[0].max() < 0.5


@pytest.mark.parametrize(("kind", "ignored"), [("disjoint", False), ("same", False), ("same", True)])
def test_p_values_over_folds_are_uniform_unless_folds_of_one_patient_count_as_independent(kind, ignored):
    p_values = []
    for seed in range(300):
        folds = folds_of(np.random.default_rng(seed), kind, patients=90)
        if ignored:
            folds = [(label, scores, patient + 1000 * fold) for fold, (label, scores, patient) in enumerate(folds)]
        areas, covariance = fold_auc_covariance(folds)
        error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        p_values.append(2 * norm.sf(abs(areas[0] - areas[1]) / error))
    share = np.mean(np.array(p_values) < 0.05)  # of 300: 0.013 is its standard error
    assert share > 0.15 if ignored else 0.02 < share < 0.09


def test_folds_that_cannot_be_averaged_are_refused():
    fold = [0, 0, 1, 1], [[1, 2, 3, 4]], [1, 2, 3, 4]
    with pytest.raises(ValueError, match="folds must hold at least one fold, got none"):
        fold_auc_covariance([])
    with pytest.raises(ValueError, match=r"scores of the same number of models, got \[1, 2\]"):
        fold_auc_covariance([fold, (fold[0], fold[1] * 2, fold[2])])
    with pytest.raises(ValueError, match="labels must hold at least two patients of class 1, got 1"):
        fold_auc_covariance([fold, (fold[0], fold[1], [1, 2, 3, 3])])


@pytest.mark.parametrize("unknown", [None, np.nan, ""])
def test_unknown_patients_are_not_one_patient(unknown):
    with pytest.raises(ValueError, match="patients must be known for every image, got 1 that are not: rows 3"):
        compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4], ["a", "b", "c", unknown])
    with pytest.raises(ValueError, match="patients must be known"):
        auc_covariance([0, 0, 1, 1], [[1, 2, 3, 4]], ["a", "b", "c", unknown])


@pytest.mark.parametrize("confidence", [0, 1, 95, np.nan])
def test_a_confidence_out_of_range_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [1, 3, 2, 4], confidence=confidence)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        estimate_auc([0, 0, 1, 1], [1, 2, 3, 4], confidence=confidence)


def test_weights_are_one_for_each_area():
    found = average_influence([(np.array([False, False, True, True]), np.array([[1.0, 2, 3, 4]]), np.arange(4))], 4)
    for weights, null in (([1, 1], 0), ([np.nan], 0), ([1], np.inf)):
        with pytest.raises(ValueError, match="weights must be 1 finite numbers and null one, got"):
            found.compare(weights, null=null)
