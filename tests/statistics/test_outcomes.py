# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.outcomes import cut_points, freed, outcome_basis, strata_of


@pytest.mark.parametrize(("patients", "strata"), [(20, 2), (79, 2), (120, 3), (200, 5), (1000, 5)])
def test_strata_hold_equal_numbers_of_patients_and_at_least_forty_where_there_are_enough(patients, strata, rng):
    outcome = rng.permutation(np.arange(float(patients)))
    edges = cut_points(outcome, np.arange(patients))
    counts = np.bincount(strata_of(outcome, edges))
    assert len(counts) == strata
    assert counts.max() - counts.min() <= 1


def test_patients_count_and_not_their_images():
    """One patient has as many images as all others together."""
    outcome = np.concatenate([np.arange(100.0), np.full(100, 1000.0)])
    patients = np.concatenate([np.arange(100), np.full(100, 100)])
    assert cut_points(outcome, patients) == (50.0,)


def test_ties_leave_no_stratum_empty():
    assert cut_points(np.repeat([1.0, 2.0], [190, 10]), np.arange(200)) == (1.0,)
    assert cut_points(np.full(200, 3.0), np.arange(200)) == ()


def test_what_is_left_are_the_residuals_of_a_parabola_in_each_stratum(rng):
    outcome, points = rng.normal(30, 5, size=90), rng.normal(size=(90, 3))
    strata = strata_of(outcome, cut_points(outcome, np.arange(90)))
    left = freed(points, outcome_basis(outcome, strata))
    for stratum in (0, 1):
        inside = strata == stratum
        for own, found in zip(points[inside].T, left[inside].T, strict=True):
            expected = own - np.polyval(np.polyfit(outcome[inside], own, 2), outcome[inside]) + own.mean()
            np.testing.assert_allclose(found, expected, atol=1e-8)


def test_a_stratum_of_one_outcome_is_left_as_it_is(rng):
    outcome, points = np.repeat([1.0, 2.0], 20), rng.normal(size=(40, 2)).astype(np.float32)
    basis = outcome_basis(outcome, np.repeat([0, 1], 20))
    assert basis.shape == (40, 0)
    left = freed(points, basis)
    assert left.dtype == np.float32
    np.testing.assert_array_equal(left, points)


def test_the_basis_holds_the_parabolas_of_each_stratum_also_where_its_outcomes_have_mean_zero(rng):
    outcome, strata = rng.permutation(np.tile([-2.0, -1.0, 0.5, 2.5], 6)), rng.permutation(np.repeat([0, 1, 2], 8))
    for stratum in range(3):
        outcome[strata == stratum] -= outcome[strata == stratum].mean()
    basis = outcome_basis(outcome, strata)
    assert basis.shape == (24, 6)
    for stratum, columns in enumerate(np.split(basis, 3, axis=1)):
        inside = strata == stratum
        np.testing.assert_array_equal(columns[~inside], 0)
        powers = np.stack([outcome[inside], outcome[inside] ** 2], axis=1)
        axes = np.linalg.qr(powers - powers.mean(axis=0))[0]
        np.testing.assert_allclose(columns[inside] @ columns[inside].T, axes @ axes.T, atol=1e-9)
