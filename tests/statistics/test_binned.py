# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.areas import clustered_concordance, concordance
from monai_shortcut.statistics.binned import bin_of, binned_areas, binned_influence

SCORES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "heavy tails": lambda rng, size: rng.standard_t(2, size=size),
    "two clumps": lambda rng, size: rng.normal(size=size) + 20 * rng.integers(2, size=size),
    "few far away": lambda rng, size: np.where(rng.random(size) < 1e-3, 300.0, rng.normal(size=size)),
}


def counted(place, label, code, levels, bins):
    """Counts (L, Q, J) one by one."""
    counts = np.zeros((label.max() + 1, levels, bins), dtype=np.uint32)
    for value, level, index in zip(label, code, place, strict=True):
        counts[value, level, index] += 1
    return counts


def example(rng, levels=3, images=80):
    """Scores of few values, many of them tied, with the bin of each value."""
    code, label = rng.integers(levels, size=images), rng.integers(2, size=images)
    place = np.clip(code + label + rng.integers(-2, 9, size=images), 0, 11)
    return place, label, code, counted(place, label, code, levels, 12)


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_areas_are_those_of_tied_scores(rng, levels):
    place, label, code, counts = example(rng, levels)
    expected = concordance(place[None].astype(float), code[None], label)
    np.testing.assert_allclose(binned_areas(np.stack([counts, counts[..., ::-1]])), [expected[0], 1 - expected[0]])


def test_an_area_without_pairs_is_one_half(rng):
    counts = np.zeros((2, 2, 8), dtype=np.uint32)
    counts[0, 0], counts[1, 1] = 3, 4
    assert binned_areas(counts) == 0.5


@pytest.mark.parametrize("levels", [2, 4])
def test_influences_sum_up_to_the_error_by_patient(rng, levels):
    place, label, code, counts = example(rng, levels)
    patient = np.arange(80) // 2
    each = binned_influence(counts)[label, code, place]
    error = np.sqrt(40 / 39 * (np.bincount(patient, each) ** 2).sum())
    assert error == pytest.approx(clustered_concordance(place[None], code, label, patient)[1])


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SCORES)
def test_bins_change_an_area_by_less_than_one_in_ten_thousand(rng, shape, kind):
    code, label = rng.integers(2, size=20_000), rng.integers(2, size=20_000)
    scores = (7 * (SCORES[shape](rng, 20_000) + 0.2 * code) + 3).astype(kind)
    place = bin_of(scores, scores.mean(), scores.std(), 8192)
    counts = counted(place, label, code, 2, 8192)
    assert binned_areas(counts) == pytest.approx(concordance(scores[None], code[None], label)[0], abs=1e-4)
    if shape == "normal":  # the bound that is stated: half the pairs within a bin
        count = counts.astype(float)
        tied = (count[:, 0] * count[:, 1]).sum() / (count[:, 0].sum(axis=1) * count[:, 1].sum(axis=1)).sum()
        assert tied / 2 < 1e-4


def test_bins_ascend_and_hold_what_is_infinite():
    scores = np.array([-np.inf, -1e30, -3, -1, 0, 0.5, 2, 1e30, np.inf], dtype=np.float32)
    place = bin_of(scores, np.float64(0.5), np.float64(2.0), 1000)
    assert (np.diff(place) >= 0).all()
    assert place[[0, 5, 8]].tolist() == [0, 500, 999]
