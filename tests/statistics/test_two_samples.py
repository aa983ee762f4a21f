# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from monai_shortcut.statistics import two_samples
from monai_shortcut.statistics.kernel_features import random_features
from monai_shortcut.statistics.two_samples import OTHERS, comparisons, ks_distances, mean_distances, patients_within


@pytest.fixture(params=[2, 3, 6])
def levels(request):
    return request.param


@pytest.fixture
def codes(rng, levels):
    return rng.integers(levels, size=(7, 60)).astype(np.int8)


def sides(coding, levels):
    """Whether each image is of the first and of the second side, by comparison."""
    for first, second in comparisons(levels):
        yield coding == first, coding != first if second == OTHERS else coding == second


@pytest.fixture(params=[2**20, 100])
def blocks(request, monkeypatch):
    """All codings at once, or one at a time."""
    monkeypatch.setattr(two_samples, "_AT_ONCE", request.param)


@pytest.mark.usefixtures("blocks")
def test_distances_of_means_are_those_of_the_means(rng, codes, levels):
    features = rng.normal(size=(60, 5)) + 3
    found, images = mean_distances(features, codes, levels)
    for coding, row, counts in zip(codes, found, images, strict=True):
        means = [[features[one].mean(axis=0) for one in pair] for pair in sides(coding, levels)]
        np.testing.assert_allclose(row, [((one - other) ** 2).sum() for one, other in means])
        np.testing.assert_array_equal(counts, [[one.sum(), other.sum()] for one, other in sides(coding, levels)])


def test_of_random_features_they_approximate_the_discrepancy_of_the_kernel(rng):
    """Against the kernel itself, pair by pair of images."""
    rows, coding = rng.normal(size=(120, 4)), rng.integers(2, size=120)
    rows[coding == 1] *= 2
    distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    kernel = np.exp(-(distance**2) / (2 * np.median(distance[distance > 0]) ** 2))
    first, second = np.ix_(coding == 0, coding == 0), np.ix_(coding == 1, coding == 1)
    exact = kernel[first].mean() + kernel[second].mean() - 2 * kernel[np.ix_(coding == 0, coding == 1)].mean()
    found, _ = mean_distances(random_features(rows, 20_000, rng), coding[None], 2)
    assert found[0, 0] == pytest.approx(exact, rel=0.05)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("digits", [6, 0], ids=["no ties", "ties"])
def test_ks_is_scipys(rng, codes, levels, digits):
    values = np.round(rng.normal(size=60), digits)
    for coding, row in zip(codes, ks_distances(values, codes, levels), strict=True):
        expected = [ks_2samp(values[one], values[other]).statistic for one, other in sides(coding, levels)]
        np.testing.assert_allclose(row, expected)


def test_a_level_without_images_is_at_no_distance(rng):
    coding = np.array([[0, 0, 2, 2]])
    assert mean_distances(rng.normal(size=(4, 2)), coding, 3)[0][0, [0, 2]].tolist() == [0, 0]
    assert ks_distances(np.arange(4.0), coding, 3).tolist() == [[0, 1, 0]]


def test_one_image_on_a_side_has_its_own_distance(rng):
    features, codes = rng.normal(size=(6, 4)), np.array([[0, 1, 1, 1, 1, 1]])
    distance = ((features[0] - features[1:].mean(axis=0)) ** 2).sum()
    assert mean_distances(features, codes, 2)[0][0, 0] == pytest.approx(distance)
    assert ks_distances(features[:, 0], codes, 2)[0, 0] == ks_2samp(features[:1, 0], features[1:, 0]).statistic


def test_patients_are_drawn_whole_as_many_as_fit(rng):
    patients = rng.permutation(np.repeat(np.arange(20), 5))
    kept = patients_within(patients, 32, rng)
    assert len(kept) == 30
    assert set(np.bincount(patients[kept], minlength=20).tolist()) == {0, 5}
    assert (np.diff(kept) > 0).all()
    drawn = {tuple(np.unique(patients[patients_within(patients, 32, rng)]).tolist()) for _ in range(20)}
    assert len(drawn) > 10


def test_all_patients_stay_where_they_fit_and_one_where_none_does(rng):
    patients = np.array([0, 0, 3, 3])
    assert patients_within(patients, 4, rng).tolist() == [0, 1, 2, 3]
    assert patients_within(patients, 1, rng).tolist() in ([0, 1], [2, 3])
