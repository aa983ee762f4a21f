# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_shortcut.attribution.shares import Cases, Explanation, label_shares, level_differences
from monai_shortcut.statistics.resampling import Resampling


def cases_of(labels, patients, draws=None):
    draws = draws or Resampling(bootstraps=199, permutations=199)
    return Cases(np.asarray(labels), np.asarray(patients), ("benign", "malignant"), draws)


def test_shares_are_sums_of_absolute_attributions_by_part():
    maps, parts = torch.randn(5, 4, 3, 2), torch.randint(3, (5, 1, 4, 3, 2))
    parts[3][parts[3] == 1] = 2
    maps[4] = 0
    found = Explanation.of(maps, parts)
    for image in range(5):
        for part in range(3):
            own = maps[image][parts[image, 0] == part].double()
            assert found.absolute[image, part] == pytest.approx(float(own.abs().sum()))
            assert found.signed[image, part] == pytest.approx(float(own.sum()))
            assert found.area[image, part] == pytest.approx(len(own) / 24)
    np.testing.assert_allclose(found.shares[:4].sum(axis=1), 1)
    assert found.shares[3, 1] == 0
    assert np.isnan(found.shares[4]).all()
    joined = Explanation.together([Explanation.of(maps[:2], parts[:2]), Explanation.of(maps[2:], parts[2:])])
    np.testing.assert_array_equal(joined.shares, found.shares)


def test_means_by_label_with_limits_over_patients(rng):
    patients, labels = np.repeat(np.arange(40), 3), rng.integers(2, size=120)
    absolute = rng.uniform(size=(120, 3)) + rng.uniform(size=(40, 3))[patients]
    explained = Explanation(absolute, -absolute, np.full((120, 3), 1 / 3))
    explained.absolute[7] = 0
    found = label_shares(explained, cases_of(labels, patients))
    assert (found[0].label, found[0].images, found[0].patients) == ("", 119, 40)
    known = np.arange(120) != 7
    for one, rows in zip(found, (known, known & (labels == 0), known & (labels == 1)), strict=True):
        share = absolute[rows] / absolute[rows].sum(axis=1, keepdims=True)
        np.testing.assert_allclose([part.share.value for part in one.parts], share.mean(axis=0))
        np.testing.assert_allclose([part.gain.value for part in one.parts], -absolute[rows].mean(axis=0))
        assert [part.part for part in one.parts] == ["roi", "ring", "outside"]
    part, values = found[0].of("outside"), explained.shares[known, 2]
    sums = [[values[patients[known] == p].sum(), (patients[known] == p).sum()] for p in range(40)]
    drawn = [np.divide(*np.array(sums)[rng.integers(40, size=40)].sum(axis=0)) for _ in range(2000)]
    assert part.share.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.006)
    assert part.share.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.006)
    with pytest.raises(ValueError, match="part must be one of roi, ring, outside, got 'lung'"):
        found[0].of("lung")


def test_levels_that_differ_within_labels_are_found(rng):
    patients = np.repeat(np.arange(60), 2)
    labels, codes = rng.integers(2, size=120), (np.arange(60) % 2)[patients]
    outside = 0.3 * labels + 0.1 * codes + rng.normal(scale=0.05, size=120)
    given = {"site": (codes, ("x", "y")), "noise": (rng.integers(3, size=60)[patients], ("a", "b", "c"))}
    (site, noise), untested = level_differences(outside, cases_of(labels, patients), given)
    assert untested == {}
    assert site.p_value == pytest.approx(2 / 200)  # the smaller of two, Holm
    assert noise.p_value > 0.05
    between = 0.0
    for label in (0, 1):
        rows = labels == label
        for code in (0, 1):
            own = outside[rows & (codes == code)]
            between += len(own) * (own.mean() - outside[rows].mean()) ** 2
    assert site.test.observed == pytest.approx(between)
    cell = site.cells[3]
    assert (cell.label, cell.level) == ("malignant", "y")
    assert cell.outside.value == pytest.approx(outside[(labels == 1) & (codes == 1)].mean())
    assert cell.images == ((labels == 1) & (codes == 1)).sum()


def test_labels_that_differ_and_go_along_with_a_level_are_no_difference(rng):
    hits = 0
    for _ in range(40):
        patients = np.repeat(np.arange(40), 2)
        labels = rng.integers(2, size=40)[patients]
        codes = np.where(rng.random(40) < 0.8, labels[::2], 1 - labels[::2])[patients]
        outside = 0.5 * labels + rng.normal(size=40)[patients]  # of one patient alike
        cases = cases_of(labels, patients, Resampling(bootstraps=9, permutations=99, seed=int(rng.integers(1000))))
        ((found,), _) = level_differences(outside, cases, {"site": (codes, ("x", "y"))})
        hits += found.p_value <= 0.05
    assert hits <= 6  # of 40 with a rate of 0.05, more than 6 have a probability below 0.01


def test_levels_of_few_patients_are_left_out_and_named():
    labels, patients = np.zeros(24, dtype=int), np.repeat(np.arange(12), 2)
    codes = np.where(patients < 4, 0, 1)
    codes[-2:] = -1
    found, untested = level_differences(np.arange(24.0), cases_of(labels, patients), {"site": (codes, ("x", "y"))})
    assert found == ()
    assert untested == {"site": "no label has images of two levels with at least 5 patients each"}
