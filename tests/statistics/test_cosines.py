# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics import cosines
from monai_shortcut.statistics.cosines import other_patients, patient_means, row_cosines
from monai_shortcut.statistics.resampling import patient_bootstrap


def test_cosines_are_those_of_the_definition(rng, monkeypatch):
    monkeypatch.setattr(cosines, "_ROWS", 4)
    first, second, centre = rng.normal(size=(10, 3)), rng.normal(size=(10, 3)), rng.normal(size=3)
    plain, centred = row_cosines(first, second), row_cosines(first, second, centre)
    for row, (f, g) in enumerate(zip(first, second, strict=True)):
        assert plain[row] == pytest.approx(f @ g / np.linalg.norm(f) / np.linalg.norm(g))
        f, g = f - centre, g - centre
        assert centred[row] == pytest.approx(f @ g / np.linalg.norm(f) / np.linalg.norm(g))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_row_has_cosine_one_with_itself_and_minus_one_with_its_opposite(rng, scale):
    points = (scale * rng.normal(size=(50, 7))).astype(np.float32)
    np.testing.assert_allclose(row_cosines(points, points), 1, rtol=1e-12)
    np.testing.assert_allclose(row_cosines(points, -2 * points), -1, rtol=1e-12)


def test_what_has_no_direction_has_no_cosine():
    first = np.array([[0.0, 0.0], [1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, 1.0]])
    found = row_cosines(first, np.ones((5, 2)))
    assert np.isnan(found).tolist() == [True, False, True, True, False]
    assert np.isnan(row_cosines(first, np.ones((5, 2)), np.ones(2))).all()


def test_each_image_gets_one_of_another_patient_of_its_stratum_once(rng):
    patients = np.repeat(np.arange(30), rng.integers(1, 6, 30))
    strata = rng.integers(3, size=len(patients))
    other = other_patients(patients, strata, rng)
    assert sorted(other) == list(range(len(patients)))
    assert (patients[other] != patients).all()
    assert (strata[other] == strata).all()
    assert (other_patients(patients, strata, rng) != other).any()


def test_where_there_is_no_other_patient_there_is_no_other_image(rng):
    assert other_patients(np.array([0, 0, 0]), np.zeros(3, int), rng).tolist() == [-1, -1, -1]
    found = other_patients(np.array([0, 0, 0, 1]), np.zeros(4, int), rng)  # one has more than half
    assert (found >= 0).sum() == 2
    assert found[found[3]] == 3 or found[3] >= 0


def test_means_and_limits_are_those_of_patients_drawn(rng):
    """Against images drawn patient by patient, written out."""
    patients = np.repeat(np.arange(12), rng.integers(1, 5, 12))
    values = rng.normal(size=(len(patients), 2)) + rng.normal(size=12)[patients][:, None]
    values[rng.random(len(patients)) < 0.3, 1] = np.nan
    found = patient_means(values, patients, 4000, 0.9, np.random.default_rng(1))
    for column, estimate in zip(values.T, found, strict=True):
        assert estimate.value == pytest.approx(np.nanmean(column))
        drawn = []
        for _ in range(4000):
            rows = np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(12, size=12)])
            drawn.append(np.nanmean(column[rows]))
        np.testing.assert_allclose([estimate.low, estimate.high], np.quantile(drawn, [0.05, 0.95]), atol=0.1)


@pytest.mark.parametrize("draws", [1, 2, 700])
def test_limits_are_quantiles_of_all_draws(rng, draws):
    values, patients = rng.random((6, 1)), np.array([0, 0, 1, 2, 2, 2])
    found = patient_means(values, patients, draws, 0.8, np.random.default_rng(1))[0]
    times = patient_bootstrap(3, draws, np.random.default_rng(1))[:, patients].astype(float)
    means = times @ values[:, 0] / times.sum(axis=1)
    low, high = np.quantile(means, [0.1, 0.9])  # which never leave out the mean itself
    np.testing.assert_allclose([found.low, found.high], [min(low, values.mean()), max(high, values.mean())])


def test_of_one_patient_there_is_no_mean(rng):
    values = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, np.nan]])
    whole, alone = patient_means(values, np.array([0, 0, 1]), 9, 0.95, rng)
    assert whole.value == 2
    assert alone is None
