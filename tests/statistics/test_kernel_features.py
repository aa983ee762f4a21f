# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from monai_shortcut.statistics.kernel_features import random_features


def test_inner_products_are_a_gaussian_kernel_as_wide_as_the_median_distance(rng):
    rows = rng.normal(size=(60, 3)) * [1.0, 2.0, 0.5]
    apart = squareform(pdist(rows))
    features = random_features(rows, 40_000, rng)
    assert features.dtype == np.float32
    wanted = np.exp(-(apart**2) / (2 * np.median(pdist(rows)) ** 2))
    np.testing.assert_allclose(features @ features.T, wanted, atol=0.03)


def test_features_do_not_depend_on_the_unit_and_follow_the_seed(rng):
    rows = rng.normal(size=(60, 3))
    one, scaled, other = (
        random_features(values, 8, np.random.default_rng(seed))
        for values, seed in ((rows, 1), (50 * rows, 1), (rows, 2))
    )
    np.testing.assert_allclose(one, scaled, atol=1e-5)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("columns", [0, 2])
def test_rows_that_are_all_alike_have_the_same_features(rng, columns):
    features = random_features(np.ones((5, columns)), 4, rng)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(features, np.repeat(features[:1], 5, axis=0))
