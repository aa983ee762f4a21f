# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import images_of, levels_of

from monai_shortcut.analyses.joint_alignment import JointAlignment, joint_alignment
from monai_shortcut.statistics import task_space
from monai_shortcut.statistics.probes import fit_probe
from monai_shortcut.statistics.resampling import permute_by_patient
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable


def example(rng, images: int = 200, columns: int = 12, classes: int = 3):
    """Embeddings (correlated, off centre) that know the label, labels, patients of two images and a head."""
    label = rng.permutation(np.arange(images) % classes)
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) + 5
    points += rng.normal(size=(classes, columns))[label]
    return points, label, np.arange(images) // 2, rng.normal(size=(classes, columns))


def joined(points, label, patient, head, kinds="cc", *codes, **draws) -> JointAlignment:
    """Of codes of an attribute each; "o" is an ordered one."""
    images = images_of(label, patient, points=points, weight=head, **draws)
    levels = [
        levels_of(code, "ordinal" if kind == "o" else "categorical") for kind, code in zip(kinds, codes, strict=True)
    ]
    return joint_alignment(images, {f"a{index}": images.by(f"a{index}", each) for index, each in enumerate(levels)})


def probe_of(points, label, code, kind):
    """Weights within labels, of images with a level; the covariance is that of all images."""
    prepared, known, columns = Standardized.of(points), code >= 0, points.shape[1]
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    residual, marked = np.empty_like(z), np.empty_like(z)
    for value in np.unique(label):
        inside = label == value
        residual[inside] = z[inside] - z[inside].mean(axis=0)
        marked[inside] = z[inside] - z[inside & known].mean(axis=0)
    covariance, share = residual.T @ residual / len(z), prepared.shrinkage
    covariance = (1 - share) * covariance + share * np.trace(covariance) / columns * np.eye(columns)
    means = [marked[known].T @ code[known] / known.sum()]
    if kind == "c":
        means = [marked[code == level].mean(axis=0) for level in np.unique(code[known])]
    return np.linalg.solve(covariance, np.transpose(means)).T / points.std(axis=0)


@pytest.mark.parametrize(("images", "columns"), [(200, 12), (40, 60)])
def test_it_is_the_canonical_correlation_with_probes_of_the_arrays(rng, images, columns):
    points, label, patient, head = example(rng, images, columns)
    codes = [rng.integers(2, size=images), rng.integers(3, size=images)]
    found = joined(points, label, patient, head, "cc", *codes, erasures=70)
    probes = [fit_probe(points, code, label).weight for code in codes]
    assert found.attributes == ("a0", "a1")
    expected = task_space.joint_alignment(head, probes, points, label)
    np.testing.assert_allclose(found.correlations, expected, atol=1e-7)
    assert found.share == pytest.approx(task_space.joint_share(head, probes, points, label), abs=1e-7)
    assert found.test.observed == pytest.approx(expected[0], abs=1e-7)
    assert len(found.test.null) == 70
    assert np.std(found.test.null) > 0.001


@pytest.mark.parametrize("kinds", ["cc", "co", "oo"])
def test_on_images_with_every_attribute_and_with_attributes_permuted_together(rng, kinds):
    points, label, patient, head = example(rng)
    codes = [rng.integers(-1, 3, size=200), rng.integers(-1, 2, size=200)]
    codes[0][codes[1] >= 0] = np.where(codes[0] == 1, 0, codes[0])[codes[1] >= 0]  # level 1 is never seen with both
    points[codes[1] < 0, :2] += 20  # and who has not both lies elsewhere
    found = joined(points, label, patient, head, kinds, *codes)
    images = images_of(label, patient, points=points, weight=head)
    rows = np.flatnonzero((codes[0] >= 0) & (codes[1] >= 0))
    order = permute_by_patient(patient[rows], 9, images.rng("joint alignment"), label[rows])
    expected = []
    for chosen in [np.arange(len(rows)), *order]:
        own = np.full((2, 200), -1)
        own[:, rows] = np.array(codes)[:, rows[chosen]]
        probes = [probe_of(points, label, code, kind) for code, kind in zip(own, kinds, strict=True)]
        expected.append(task_space.joint_alignment(head, probes, points, label))
        if len(expected) == 1:
            assert found.share == pytest.approx(task_space.joint_share(head, probes, points, label), abs=1e-7)
    np.testing.assert_allclose(found.correlations, expected[0], atol=1e-7)
    np.testing.assert_allclose(found.test.null, [each[0] for each in expected[1:]], atol=1e-7)
    assert np.std(found.test.null) > 0.001


def test_a_head_that_reads_a_mixture_is_found_and_one_that_reads_neither_is_not():
    p_values = {True: [], False: []}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        label, codes = rng.integers(2, size=150), rng.integers(2, size=(2, 150))
        points = rng.normal(size=(150, 16))
        points[:, :2] += 1.5 * codes.T
        for reads in p_values:
            head = np.zeros((2, 16))
            head[1, 2 * (not reads) : 2 * (not reads) + 2] = 1.0
            found = joined(points, label, np.arange(150), head, "cc", *codes, erasures=39, seed=seed)
            p_values[reads].append(found.test.p_value)
    assert np.mean(np.array(p_values[True]) <= 0.05) > 0.9
    assert np.mean(np.array(p_values[False]) <= 0.05) < 0.15


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments, codes = example(rng), rng.integers(3, size=(2, 200))
    found = [joined(*arguments, "co", *codes, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert decode(JointAlignment, json.loads(json.dumps(encode(found[0])))) == found[0]


def test_attributes_that_hardly_meet_cannot_be_joined(rng):
    points, label, patient, head = example(rng)
    code, other = rng.integers(2, size=200), rng.integers(2, size=200)
    for first, second, message in (
        (np.where(patient < 50, code, -1), np.where(patient < 50, -1, other), "no image has every attribute"),
        (code, np.where(code == 0, other, -1), "too few images with every attribute have two levels of a0"),
        (code, np.where((code == 0) | (np.cumsum(code) == 1), other, -1), "have two levels of a0"),
    ):
        with pytest.raises(Unmeasurable, match=message):
            joined(points, label, patient, head, "co", first, second)
    images = images_of(label, answers=np.full((200, 3), 1 / 3))
    with pytest.raises(Unmeasurable, match="it takes the embeddings"):
        joint_alignment(images, {"a": images.by("a", levels_of(code))})
