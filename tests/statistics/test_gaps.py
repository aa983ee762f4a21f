# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.gaps import CellSums, mean_gaps, trend_gaps, without_noise


def example(rng, labels: int = 2, levels: int = 3, classes: int = 3):
    """Answers, classes and four codings; label 0 has no image of level 0 in the second."""
    score, label = rng.dirichlet(np.ones(classes), size=60), rng.integers(labels, size=60)
    codes = rng.integers(levels, size=(4, 60))
    codes[1, label == 0] = rng.integers(1, levels, size=(label == 0).sum())
    return score, label, codes.astype(np.int8)


@pytest.mark.parametrize(("labels", "levels", "classes"), [(2, 3, 3), (3, 2, 2), (1, 5, 4)])
def test_sums_are_those_of_the_images_of_each_cell(rng, labels, levels, classes):
    score, label, codes = example(rng, labels, levels, classes)
    sums = CellSums(score, label, levels).of(codes)
    assert sums.shape == (4, labels, levels, classes + 1)
    for coding, found in zip(codes, sums, strict=True):
        for value in range(labels):
            for level in range(levels):
                inside = score[(label == value) & (coding == level)]
                np.testing.assert_allclose(found[value, level, :-1], inside.sum(axis=0), atol=1e-12)
                assert found[value, level, -1] == len(inside)
                assert len(inside) or not found[value, level].any()  # no rounding in an empty cell


def test_sums_of_labels_that_no_image_has_are_zero(rng):
    score, label, codes = example(rng)
    sums, fewer = CellSums(score, label, 3, labels=4).of(codes), CellSums(score, label, 3).of(codes)
    np.testing.assert_array_equal(sums[:, :2], fewer)
    assert not sums[:, 2:].any()


def test_a_gap_is_the_total_variation_between_means_weighted_by_pairs(rng):
    score, label, codes = example(rng)
    weights = np.concatenate([np.ones((1, 60)), rng.integers(4, size=(3, 60))])  # as a bootstrap repeats images
    for weight in weights:
        rows = np.repeat(np.arange(60), weight.astype(int))
        found = mean_gaps(CellSums(score[rows], label[rows], 3).of(codes[:, rows]))
        for code, value in zip(codes, found, strict=True):
            total, pairs = 0.0, 0.0
            for of_label in range(2):
                for first, second in ((1, 0), (2, 0), (2, 1)):
                    inside = [(label == of_label) & (code == level) for level in (first, second)]
                    sizes = [weight[row].sum() for row in inside]
                    if not all(sizes):
                        continue
                    means = [np.average(score[row], axis=0, weights=weight[row]) for row in inside]
                    total += sizes[0] * sizes[1] * 0.5 * np.abs(means[0] - means[1]).sum()
                    pairs += sizes[0] * sizes[1]
            assert value == pytest.approx(total / pairs, abs=1e-12)
        assert np.ptp(found) > 0.01


@pytest.mark.parametrize("levels", [2, 4])
def test_a_trend_is_the_line_of_least_squares_from_the_lowest_to_the_highest_level(rng, levels):
    score, label, codes = example(rng, levels=levels)
    found = trend_gaps(CellSums(score, label, levels).of(codes))
    for code, value in zip(codes, found, strict=True):
        gaps, weights = [], []
        for of_label in range(2):
            inside = label == of_label
            if len(np.unique(code[inside])) < 2:
                continue
            slope = np.polyfit(code[inside].astype(float), score[inside], 1)[0]
            gaps.append(0.5 * (levels - 1) * np.abs(slope).sum())
            weights.append(inside.sum() * code[inside].var())
        assert value == pytest.approx(np.average(gaps, weights=weights), abs=1e-12)
    assert np.ptp(found) > 0.01
    if levels == 2:  # of two levels it is the difference of their means, labels weighted otherwise
        alone = [trend(CellSums(score, 0 * label, 2).of(codes)) for trend in (trend_gaps, mean_gaps)]
        np.testing.assert_allclose(*alone, rtol=1e-12)


def test_labels_that_hold_one_level_take_no_part():
    score = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])
    sums = CellSums(score, np.array([0, 0, 1]), 2).of(np.array([[0, 1, 0], [0, 1, 1]]))
    assert mean_gaps(sums) == pytest.approx([0.4, 0.4])
    assert trend_gaps(sums) == pytest.approx([0.4, 0.4])
    apart = CellSums(score, np.array([0, 1, 2]), 2).of(np.array([[0, 1, 0]]))
    assert (mean_gaps(apart).tolist(), trend_gaps(apart).tolist()) == ([0.0], [0.0])


def test_what_noise_alone_would_give_is_taken_from_the_square():
    assert without_noise([0.25, 0.09, 0.05], 0.09) == pytest.approx([0.4, 0.0, -0.2])
