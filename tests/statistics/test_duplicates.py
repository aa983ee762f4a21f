# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from monai_shortcut.statistics.duplicates import TOLERANCE, linked_patients, near_duplicates


def numbers(groups):
    """Groups numbered by their first image, so that equal partitions are equal arrays."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse]


def moved(rng, points, share):
    """Copies that are this share of the median distance of two images away."""
    step = rng.normal(size=points.shape)
    return points + share * np.median(pdist(points)) * step / np.linalg.norm(step, axis=1, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.0003, 0.001])
def test_copies_are_found_wherever_they_stand_and_however_often(rng, share, dtype):
    points = rng.normal(size=(400, 48)) * rng.lognormal(size=48) + 20
    copies = np.concatenate([np.arange(400), rng.permutation(400)[:90], rng.permutation(400)[:30]])
    table = np.concatenate([points, moved(rng, points, share)[copies[400:]]]).astype(dtype)
    order = rng.permutation(len(table))
    expected = numbers(copies[order])
    np.testing.assert_array_equal(numbers(near_duplicates(table[order])), expected)


def test_all_pairs_within_the_tolerance_and_no_others_are_found(rng):
    """Against all distances, where copies are as far as the tolerance and farther."""
    points = rng.normal(size=(250, 24))
    table = np.concatenate([points, *(moved(rng, points, share) for share in (0.0015, 0.004))])
    reach = TOLERANCE * np.median(pdist(table))
    near = squareform(pdist(table)) <= 0.95 * reach
    far = squareform(pdist(table)) > 1.05 * reach
    groups = near_duplicates(table)
    same = groups[:, None] == groups
    assert same[near].all()
    assert not same[far & (near @ near == 0)].any()
    assert len(np.unique(groups)) == 500


def ordinary(rng, kind):
    latent = rng.integers(0, 30, (1000, 2)) / 10
    few = rng.normal(size=(1000, 2))
    return {
        "one dimension": rng.normal(size=(3000, 1)),
        "two dimensions": rng.normal(size=(3000, 2)),
        "a plane in many": few @ rng.normal(size=(2, 64)),
        "a curved surface in many": np.tanh(few @ rng.normal(size=(2, 128))),
        "a curved lattice in many": np.maximum(latent @ rng.normal(size=(2, 128)) + rng.normal(size=128), 0),
        "binary, few": rng.integers(0, 2, (1000, 8)).astype(float),
        "binary, many and sparse": (rng.random((1000, 256)) < 0.004).astype(float),
        "five levels": rng.integers(0, 5, (1000, 8)).astype(float),
        "constant": np.ones((300, 32)),
        "dead but for some": np.where(rng.random(1000) < 0.1, 1, 0)[:, None] * np.abs(rng.normal(size=(1000, 32))),
        "dead for a few": np.where(rng.random(1000) < 0.02, 0, 1)[:, None] * np.abs(rng.normal(size=(1000, 32))),
        "rectified": np.maximum(rng.normal(size=(1000, 64)) - 0.7, 0),
        "collapsed classes": rng.normal(size=(2, 64))[rng.integers(2, size=1000)] + 0.01 * rng.normal(size=(1000, 64)),
        "heavy tails": rng.standard_t(2, size=(1000, 64)),
        "too few images": rng.normal(size=(9, 64)),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "one dimension",
        "two dimensions",
        "a plane in many",
        "a curved surface in many",
        "a curved lattice in many",
        "binary, few",
        "binary, many and sparse",
        "five levels",
        "constant",
        "dead but for some",
        "dead for a few",
        "rectified",
        "collapsed classes",
        "heavy tails",
        "too few images",
    ],
)
def test_different_images_are_not_linked(rng, kind):
    points = ordinary(rng, kind)
    np.testing.assert_array_equal(near_duplicates(points), np.arange(len(points)))


@pytest.mark.parametrize("kind", ["rectified", "collapsed classes", "heavy tails"])
def test_copies_of_such_images_are(rng, kind):
    points = ordinary(rng, kind)[:500]
    groups = near_duplicates(np.concatenate([points, points]))
    assert np.mean(groups[:500] == groups[500:]) > 0.25
    assert len(np.unique(groups[:500])) == 500


def test_an_embedding_of_many_images_says_nothing(rng):
    points = rng.normal(size=(400, 32))
    points[:21] = points[0]
    np.testing.assert_array_equal(near_duplicates(points), np.arange(400))
    points[20] = rng.normal(size=32)
    assert len(np.unique(near_duplicates(points))) == 381


def test_patients_who_share_images_are_one_however_long_the_chain(rng):
    groups = np.array([0, 0, 1, 2, 1, 3, 3, 4, 5])
    patients = np.array(["d", "b", "b", "c", "a", "e", "e", "c", "f"])
    linked, shared = linked_patients(groups, patients)
    assert linked.tolist() == ["a", "a", "a", "c", "a", "e", "e", "c", "f"]
    assert [rows.tolist() for rows in shared] == [[0, 1], [2, 4]]  # two images of e look the same, and that is all


def test_without_doubles_patients_stay_who_they_are(rng):
    patients = np.array(["b", "a", "b"])
    linked, shared = linked_patients(np.array([2, 1, 0]), patients)
    assert linked.tolist() == patients.tolist()
    assert shared == []


def test_images_alone_share_no_number_with_the_last_group(rng):
    points = rng.normal(size=(60, 48))
    points[-1] = points[-2]
    assert numbers(near_duplicates(points)).tolist() == [*range(59), 58]
