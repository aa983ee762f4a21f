# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.gaps import cell_means, mean_gaps


def test_a_gap_is_the_total_variation_between_means_weighted_by_pairs(rng):
    score = rng.dirichlet(np.ones(3), size=60)
    label, codes, weights = rng.integers(2, size=60), rng.integers(3, size=(4, 60)), rng.integers(4, size=(4, 60))
    found = mean_gaps(score, codes, label, weights.astype(float))
    for code, weight, value in zip(codes, weights, found, strict=True):
        total, pairs = 0.0, 0.0
        for of_label in range(2):
            for first, second in ((1, 0), (2, 0), (2, 1)):
                rows = [(label == of_label) & (code == level) for level in (first, second)]
                sizes = [weight[row].sum() for row in rows]
                means = [(weight[row][:, None] * score[row]).sum(axis=0) / weight[row].sum() for row in rows]
                total += sizes[0] * sizes[1] * 0.5 * np.abs(means[0] - means[1]).sum()
                pairs += sizes[0] * sizes[1]
        assert value == pytest.approx(total / pairs, abs=1e-12)


def test_a_cell_without_images_has_no_mean_and_takes_no_part():
    score = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    codes, label, ones = np.array([[0, 1, 0]]), np.array([0, 0, 1]), np.ones((1, 3))
    means, count = cell_means(score, codes, label, ones)
    assert np.isnan(means[0, 1, 1]).all()
    assert count.tolist() == [[[1.0, 1.0], [1.0, 0.0]]]
    assert mean_gaps(score, codes, label, ones) == pytest.approx([0.4])
    assert mean_gaps(score, np.zeros((1, 3), dtype=int), label, ones).tolist() == [0.0]
