# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest

from monai_shortcut.statistics.hashing import PatientHash, SampledPatients

HASH = PatientHash(3, 5, "scanner", groups=64)
CHANCES = np.array([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]])


def drawn(hashed, keys, labels, kept=1.0, draws=range(1, 401)):
    return hashed.levels(keys, np.arange(len(keys), dtype=np.uint64), labels, draws, CHANCES, kept)


def test_draws_are_those_of_splitmix64():
    """In Python's own integers, of 256 levels that show the first eight bits."""

    def mixed(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        return state ^ (state >> 31)

    words = np.array([12345, 2**63 + 7], dtype=np.uint64)
    found = HASH.levels(words, words, np.zeros(2, int), range(2, 3), np.full((1, 256), 1 / 256), 1.0)
    salt = crc32(b"3 scanner")
    expected = [mixed((mixed(int(word) ^ salt) + 3 * 0x9E3779B97F4A7C15) % 2**64) >> 56 for word in words]
    assert found.tolist() == [expected]


def test_a_patient_is_known_by_name_alone():
    keys = HASH.keys(["a", "bb", "ccc", "a"])
    assert keys[0] == keys[3]
    assert len(set(keys.tolist())) == 3
    np.testing.assert_array_equal(keys, HASH.keys(np.array(["a", "bb", "ccc", "a"], dtype="<U40")))
    np.testing.assert_array_equal(HASH.keys([5, 6]), HASH.keys(np.array([5, 6], dtype=np.uint8)))
    assert (HASH.keys([5, 6]) != replace(HASH, seed=4).keys([5, 6])).all()
    np.testing.assert_array_equal(HASH.keys([5, 6]), replace(HASH, attribute="age").keys([5, 6]))


def test_an_image_is_known_by_its_embedding_alone(rng):
    points = rng.normal(size=(300, 7)).astype(np.float32)
    keys = HASH.images(points)
    assert len(set(keys.tolist())) == 300
    np.testing.assert_array_equal(HASH.images(points[::-1]), keys[::-1])
    np.testing.assert_array_equal(HASH.images(points[7:9]), keys[7:9])
    assert HASH.images(np.array([[0.0, -0.0]]))[0] == HASH.images(np.array([[-0.0, -0.0]]))[0]


def test_folds_and_groups_are_even_and_independent():
    keys = HASH.keys(np.arange(64_000))
    table = np.bincount(HASH.fold(keys) * 64 + HASH.group(keys), minlength=320)
    assert len(table) == 320
    assert ((table - 200) ** 2 / 200).sum() == pytest.approx(319, abs=4 * np.sqrt(2 * 319))


def test_levels_follow_the_chances_of_each_class_and_are_independent_between_draws():
    keys, labels = HASH.keys(np.arange(500)), np.arange(500) % 2
    levels = drawn(HASH, keys, labels)
    for label in (0, 1):
        share = np.bincount(levels[:, labels == label].ravel(), minlength=3) / levels[:, labels == label].size
        np.testing.assert_allclose(share, CHANCES[label], atol=0.006)
    assert not (levels[:, labels == 1] == 1).any()
    zero = (levels[:, labels == 0] == 0) - 0.5
    between_draws, between_patients = zero @ zero.T / 250, zero.T @ zero / 400
    for found, count in ((between_draws, 250), (between_patients, 400)):
        apart = 4 * found[np.triu_indices(len(found), 1)]
        assert apart.std() == pytest.approx(1 / np.sqrt(count), rel=0.05)
    assert (levels != drawn(replace(HASH, attribute="age"), keys, labels)).mean() > 0.3
    np.testing.assert_array_equal(levels[7:9], drawn(HASH, keys, labels, draws=range(8, 10)))


def test_images_of_a_patient_share_the_level_of_a_label_and_the_quantile_between_labels():
    keys, labels = HASH.keys(["a"] * 4), np.array([0, 0, 1, 1])
    levels = drawn(HASH, keys, labels)
    assert (levels[:, 0] == levels[:, 1]).all()
    assert (levels[:, 2] == levels[:, 3]).all()
    assert (levels[:, 0] <= levels[:, 2]).all()


def test_an_image_with_the_key_of_its_patient_has_draws_of_its_own():
    keys, labels = HASH.keys(np.arange(200)), np.zeros(200, dtype=int)
    followed, own = (HASH.levels(keys, keys, labels, range(1, 101), CHANCES, kept) for kept in (1.0, 0.0))
    assert (followed != own).mean() == pytest.approx(1 - (CHANCES[0] ** 2).sum(), abs=0.02)


@pytest.mark.parametrize("kept", [0.0, 0.6])
def test_images_that_do_not_follow_the_patient_agree_by_chance(kept):
    person = np.arange(4000) // 2
    levels = drawn(HASH, HASH.keys(person), np.zeros(4000, dtype=int), kept, range(1, 51))
    agree = (levels[:, ::2] == levels[:, 1::2]).mean()
    chance = (CHANCES[0] ** 2).sum()
    assert agree == pytest.approx(kept**2 + (1 - kept**2) * chance, abs=0.006)
    np.testing.assert_allclose(np.bincount(levels.ravel()) / levels.size, CHANCES[0], atol=0.006)


def test_the_sample_is_of_the_patients_with_the_smallest_keys_whatever_the_order(rng):
    person, cell = rng.integers(300, size=2000), rng.integers(6, size=2000)
    keys = HASH.keys(person)
    found = []
    for order in (np.arange(2000), rng.permutation(2000)):
        sampled = SampledPatients(50)
        for rows in np.array_split(order, 7):
            sampled.add(keys[rows], cell[rows])
        found.append(sampled)
    chosen = np.sort(np.unique(keys))[:50]
    expected = {}
    for key, where in zip(keys.tolist(), cell.tolist(), strict=True):
        if key in set(chosen.tolist()):
            expected[key, where] = expected.get((key, where), 0) + 1
    for sampled in found:
        pairs = [(int(key), int(where)) for key, where in sampled.pairs]
        assert dict(zip(pairs, sampled.counts.tolist(), strict=True)) == expected


def agreement(person, label, code):
    sampled = SampledPatients()
    sampled.add(HASH.keys(person), label * 3 + code)
    return sampled.agreement(CHANCES)


def test_agreement_is_that_of_pairs_of_images_beyond_chance(rng):
    person, label = rng.integers(20, size=120), rng.integers(2, size=120)
    code = np.where(rng.random(120) < 0.8, person % 3, rng.integers(3, size=120))
    same = chance = pairs = 0.0
    for i in range(120):
        for j in range(120):
            if i != j and person[i] == person[j] and label[i] == label[j]:
                pairs += 1
                same += code[i] == code[j]
                chance += (CHANCES[label[i]] ** 2).sum()
    assert agreement(person, label, code) == pytest.approx((same - chance) / (pairs - chance))
    assert 0.1 < agreement(person, label, code) < 0.8


def test_agreement_is_full_where_levels_are_the_patients_and_none_at_chance(rng):
    person = np.arange(3000) // 3
    assert agreement(person, person % 2, person // 2 % 3) == 1.0
    assert agreement(np.arange(90), np.arange(90) % 2, np.arange(90) % 3) == 1.0  # one image each
    mixed = rng.choice(3, size=3000, p=CHANCES[0])
    assert agreement(person, 0 * person, mixed) == pytest.approx(0, abs=0.05)
