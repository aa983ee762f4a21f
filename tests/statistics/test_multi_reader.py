# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import t

from monai_shortcut.delong import auc_covariance, compare_aucs, estimate_auc
from monai_shortcut.statistics.delong import average_influence
from monai_shortcut.statistics.multi_reader import ReaderMean, ahead_of_readers, mean_area, share_covariance


def drawn(rng, readers=3, cases=20, shared=0.5):
    positive = np.repeat([True, False], cases)
    hard = rng.normal(size=2 * cases)
    skill = np.linspace(0, 2, readers)[:, None]
    scores = skill * positive + shared * hard + rng.normal(size=(readers, 2 * cases))
    return positive, np.round(scores, 1), np.arange(2 * cases)


def influence(positive, scores, patients):
    return average_influence([(positive, scores, patients)], int(patients.max()) + 1)


def test_the_variance_is_that_of_obuchowski_and_rockette(rng):
    values, covariance = np.array([0.6, 0.75, 0.9]), np.full((3, 3), 0.001) + np.diag([0.004, 0.003, 0.005])
    scatter = sum((value - 0.75) ** 2 for value in values) / 2  # mean square of readers
    pairs = [covariance[i, j] for i in range(3) for j in range(3) if i != j]
    between = sum(pairs) / len(pairs)
    found = ReaderMean.of(values, covariance, 18.0)
    assert found.value == pytest.approx(0.75)
    assert found.variance == pytest.approx((scatter + 3 * between) / 3)
    expected = ((scatter + 3 * between) / 3) ** 2 / ((scatter / 3) ** 2 / 2 + between**2 / 18)
    assert found.freedom == pytest.approx(expected)


def test_readers_who_scatter_less_than_their_cases_let_them_are_taken_as_given():
    covariance = np.full((3, 3), 0.001) + np.diag([0.004, 0.003, 0.005])
    found = ReaderMean.of(np.array([0.7, 0.7, 0.7]), covariance, 18.0)
    assert found.variance == pytest.approx(covariance.mean())  # of the mean of correlated numbers
    assert found.freedom == 18.0


def test_one_reader_has_the_limits_of_an_area(rng):
    positive, scores, patients = drawn(rng, readers=1)
    found, expected = mean_area(influence(positive, scores, patients)), estimate_auc(positive.astype(int), scores[0])
    assert found.area == pytest.approx(expected.auc.value)
    # `estimate_auc` also weighs how far images of a patient go along, of which there is one.
    np.testing.assert_allclose(found.limits(0.95), (expected.auc.low, expected.auc.high), atol=1e-9)
    assert found.p_value(0.5) == pytest.approx(expected.chance_p_value)


def test_a_lead_over_one_reader_is_the_paired_comparison(rng):
    positive, scores, patients = drawn(rng, readers=2)
    found = ahead_of_readers(influence(positive, scores, patients), 0.95)
    expected = compare_aucs(positive.astype(int), *scores)
    assert found == expected
    same = ahead_of_readers(influence(positive, scores[[0, 0, 0]], patients), 0.95)
    assert (same.difference, same.p_value) == (0.0, 1.0)


def test_a_lead_over_readers_is_the_mean_of_their_differences(rng):
    positive, scores, patients = drawn(rng, readers=5, cases=30)
    areas, covariance = auc_covariance(positive.astype(int), scores)
    lead = [areas[0] - areas[reader] for reader in range(1, 5)]
    apart = [
        [covariance[0, 0] - covariance[0, i] - covariance[0, j] + covariance[i, j] for j in range(1, 5)]
        for i in range(1, 5)
    ]
    scatter = np.var(lead, ddof=1)
    between = np.mean([apart[i][j] for i in range(4) for j in range(4) if i != j])
    found = ahead_of_readers(influence(positive, scores, patients), 0.95)
    assert found.difference == pytest.approx(np.mean(lead))
    assert scatter / 4 + between > np.mean(apart)  # these readers do scatter
    assert found.standard_error == pytest.approx(np.sqrt(scatter / 4 + between))


def test_limits_of_a_share_are_the_shares_that_a_score_test_allows():
    for value in (0.0, 0.3, 0.95, 1.0):
        found = ReaderMean(value, 0.002, 30.0).share(40, 0.9)
        weight = 4 * 30 * value * (1 - value)
        own = 0.002 / (value * (1 - value)) if 0 < value < 1 else 0.0
        scale = (weight * own + 1 / 40) / (weight + 1)
        reach = t.ppf(0.95, 30) ** 2 * scale

        def beyond(share, value=value, reach=reach):
            return (share - value) ** 2 - reach * share * (1 - share)

        low = brentq(beyond, 0, value - 1e-12) if value > 0 else 0.0
        high = brentq(beyond, value + 1e-12, 1) if value < 1 else 1.0
        np.testing.assert_allclose((found.low, found.high), (low, high), atol=1e-9)


def test_the_covariance_of_shares_is_that_of_strata_and_their_clusters(rng):
    positive = np.repeat([True, False], [9, 12])
    patients = np.concatenate([np.repeat(np.arange(3), 3), 3 + np.arange(12) // 2])
    right = rng.integers(0, 3, size=(2, 21)) / 2
    expected = np.zeros((2, 2))
    for chosen in (positive, ~positive):
        units = np.unique(patients[chosen])
        sums = [
            (right[:, chosen & (patients == unit)] - right[:, chosen].mean(axis=1, keepdims=True)).sum(axis=1)
            for unit in units
        ]
        expected += len(units) / (len(units) - 1) * sum(np.outer(one, one) for one in sums) / 21**2
    np.testing.assert_allclose(share_covariance(right, positive, patients), expected)


@pytest.mark.slow
def test_intervals_hold_the_truth_of_readers_with_a_known_skill(rng):
    """The mean over all readers that could be drawn; the table with many draws is among the benchmarks."""
    held, draws = np.zeros(2), 400
    for _ in range(draws):
        positive = np.repeat([True, False], 25)
        skills, hard = 1 + 0.3 * rng.normal(size=(4, 1)), np.sqrt(0.4) * rng.normal(size=50)
        scores = skills * positive + hard + np.sqrt(0.6) * rng.normal(size=(4, 50))
        model = positive + hard + np.sqrt(0.6) * rng.normal(size=50)
        low, high = mean_area(influence(positive, scores, np.arange(50))).limits(0.95)
        both = ahead_of_readers(influence(positive, np.vstack([model, scores]), np.arange(50)), 0.95)
        held += low <= 0.7554 <= high, both.interval[0] <= 0.7602 - 0.7554 <= both.interval[1]
    # E of Phi(skill / sqrt 2) is Phi(1 / sqrt(2 + 0.09)) = 0.7554; 3 standard deviations of 400 draws are 0.033.
    assert (np.abs(held / draws - 0.95) < 0.04).all()
