# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from scipy.stats import ks_2samp, kstest

from monai_shortcut.analyses import sample as module
from monai_shortcut.analyses.distributions import Distributions, distributions
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable


def compared(points, codes, labels, patients=None, permutations=99, **draws) -> Distributions:
    draws |= {"permutations": permutations + 3, "erasures": permutations}  # the first of the permutations count
    return distributions(sample_of(codes, labels, patients, points=points, **draws))


def patients_of(rng, patients: int = 60, most: int = 4):
    """Patient of each image, and one attribute and one label for all images of a patient."""
    patient = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    return patient, rng.integers(2, size=patients)[patient], rng.integers(2, size=patients)[patient]


def test_p_values_are_uniform_where_nothing_differs_but_patients():
    """Patients differ, labels differ, and labels go along with the attribute: none of these is a difference."""
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        patient, code, label = patients_of(rng)
        label = np.where(rng.random(60)[patient] < 0.7, code, label)
        points = (rng.normal(size=(60, 5)) + 0.0)[patient] + 0.3 * rng.normal(size=(len(patient), 5))
        points[:, 0] += 4 * label
        one = compared(points, code, label, patient, permutations=39, seed=seed)
        found.append([one.test.p_value, one.ks_test.p_value])
    for p_values in np.array(found).T:
        assert kstest(p_values, "uniform").pvalue > 0.01
        assert 0.1 < np.mean(p_values <= 0.2) < 0.3


def test_images_as_units_would_find_what_is_not_there():
    """The control of the test above: the same images, each called a patient of its own."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        patient, code, label = patients_of(rng, most=9)
        points = rng.normal(size=(60, 5))[patient] + 0.3 * rng.normal(size=(len(patient), 5))
        found.append(compared(points, code, label, permutations=39, seed=seed).test.p_value)
    assert np.mean(np.array(found) <= 0.05) > 0.5


def test_another_spread_alone_is_found(rng):
    code, label = rng.integers(2, size=(2, 400))
    points = rng.normal(size=(400, 3)) * np.where(code == 1, 2.5, 1)[:, None]
    points -= [points[(code == c) & (label == v)].mean(axis=0) for c, v in zip(code, label, strict=True)]
    found = compared(points, code, label)
    assert found.test.p_value == 0.01
    assert found.ks_test.p_value == 0.01
    assert all(pair.mmd > 0.1 and pair.mmd_p_value == 0.01 for pair in found.pairs)


def test_the_pair_and_the_component_that_differ_are_told(rng):
    """Level 2 differs in label 1 alone, along the second principal axis."""
    code, label = rng.integers(3, size=600), rng.integers(2, size=600)
    points = rng.normal(size=(600, 3)) * [6, 3, 1]
    points[:, 1] += 6.0 * ((code == 2) & (label == 1))
    found = compared(points, code, label)
    assert [(pair.label, pair.first, pair.second) for pair in found.pairs] == [
        (value, *levels) for value in (0, 1) for levels in ((0, 1), (0, 2), (1, 2))
    ]
    for pair in found.pairs:
        differs = pair.label == 1 and pair.second == 2
        assert (pair.mmd_p_value == 0.01) == differs
        assert [p_value == 0.01 for p_value in pair.ks_p_values] == [False, differs, False]
    assert sum(found.variance) == pytest.approx(1)


def test_many_levels_are_each_compared_with_all_others(rng):
    code, label = np.arange(900) % 9, rng.integers(2, size=900)
    points = rng.normal(size=(900, 3)) * [1, 1, 5]
    points[:, 2] += 15.0 * ((code == 4) & (label == 0))
    found = compared(points, code, label)
    assert [(pair.label, pair.first, pair.second) for pair in found.pairs] == [
        (value, level, -1) for value in (0, 1) for level in range(9)
    ]
    assert found.test.p_value == 0.01
    assert [(pair.label, pair.first) for pair in found.pairs if pair.mmd_p_value == 0.01] == [(0, 4)]
    strongest = max(found.pairs, key=lambda pair: pair.ks[0])
    assert (strongest.label, strongest.first, strongest.ks_p_values[0]) == (0, 4, 0.01)
    assert not [pair for pair in found.pairs if pair.label == 1 and pair.ks_p_values[0] == 0.01]
    first = found.pairs[0]
    assert first.images == (((code == 0) & (label == 0)).sum(), ((code != 0) & (label == 0)).sum())


def test_distances_along_components_are_scipys(rng):
    code, label, points = rng.integers(2, size=90), np.arange(90) % 2, rng.normal(size=(90, 6))
    points += label[:, None]
    found = compared(points, code, label)
    axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    for pair in found.pairs:
        own = [(points @ axes[:4].T)[(label == pair.label) & (code == level)] for level in (0, 1)]
        expected = [ks_2samp(*parts).statistic for parts in zip(*(part.T for part in own), strict=True)]
        np.testing.assert_allclose(pair.ks, expected)
        assert pair.images == tuple(map(len, own))


def test_levels_that_few_patients_of_a_label_have_are_not_told_by_themselves(rng):
    patient, code = np.repeat(np.arange(30), 3), np.repeat(np.arange(30) < 9, 3).astype(int)
    found = compared(rng.normal(size=(90, 3)), code, np.arange(90) % 2, patient)
    assert found.pairs == ()
    assert len(found.test.null) == 99


def test_a_label_of_one_level_is_left_out(rng):
    label = np.arange(80) % 2
    code = np.where(label == 0, 0, rng.integers(2, size=80))
    assert {pair.label for pair in compared(rng.normal(size=(80, 3)), code, label).pairs} == {1}


def test_of_many_images_patients_are_drawn(rng, monkeypatch):
    patient, code, label = patients_of(rng, 200)
    points = rng.normal(size=(len(patient), 3))
    points[:, 0] += 3 * code
    monkeypatch.setattr(module, "_COMPARED", 100)
    found = compared(points, code, label, patient)
    assert 90 < found.images <= 100
    assert found.test.p_value == 0.01


def test_attributes_share_what_is_drawn_and_miss_only_what_they_do_not_know(rng):
    """Images whose value of an attribute is missing count for no level of it; features are those of all images."""
    patient, code, label = patients_of(rng, 80)
    points = rng.normal(size=(len(patient), 3))
    points[:, 0] += 2 * code
    images = images_of(label, patient, points=points)
    known = np.where(patient < 50, code, -1)
    whole, part = (distributions(images.by("site", levels_of(codes))) for codes in (code, known))
    assert (whole.images, part.images) == (len(patient), (patient < 50).sum())
    for pair in part.pairs:
        rows, features = images.compared[pair.label]
        own = [features[(known[rows] == level)].mean(axis=0) for level in (0, 1)]
        square = ((own[0] - own[1]) ** 2).sum()
        assert 0 < pair.mmd**2 < square  # what noise gives is subtracted
        assert pair.images == tuple(((known == level) & (label == pair.label)).sum() for level in (0, 1))


def test_where_the_drawn_patients_have_no_two_levels_it_says_so(rng, monkeypatch):
    monkeypatch.setattr(module, "_COMPARED", 1)
    with pytest.raises(
        Unmeasurable, match="a label must hold images of two levels among those drawn by patient, got none"
    ):
        compared(rng.normal(size=(20, 3)), np.arange(20) // 2 % 2, np.arange(20) % 2)


def test_answers_alone_have_no_embeddings(rng):
    answers = rng.dirichlet([1, 1], size=40)
    sample = images_of(np.arange(40) % 2, answers=answers).by("site", levels_of(rng.integers(2, size=40)))
    with pytest.raises(Unmeasurable, match="it takes the embeddings"):
        distributions(sample)


def test_embeddings_that_are_all_equal_are_not_compared(rng):
    with pytest.raises(Unmeasurable, match=r"^the embedding does not vary$"):
        compared(np.ones((60, 4)), rng.integers(2, size=60), np.arange(60) % 2)


def test_a_record_gives_it_back(rng):
    found = compared(rng.normal(size=(60, 4)), rng.integers(2, size=60), np.arange(60) % 2)
    assert decode(Distributions, encode(found)) == found
