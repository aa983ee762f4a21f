# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.analyses.embedding_moves import (
    ALL,
    ANOTHER,
    EmbeddingMoves,
    EmbeddingSpace,
    MaskedEmbeddings,
    embedding_moves,
    one_network,
)
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.statistics.variation import SAME
from monai_shortcut.storage.records import decode, encode

DRAWS = Resampling(bootstraps=199)
NAMES = ("benign", "malignant")


def moves(full, masked, labels=None, patients=None, rows=None, names=NAMES, seed=0) -> EmbeddingMoves:
    labels = np.arange(len(full)) % 2 if labels is None else labels
    patients = np.arange(len(full)) if patients is None else patients
    space = one_network(full, MaskedEmbeddings.of(masked, rows), labels, patients, names)
    return embedding_moves([space], DRAWS, np.random.default_rng(seed), len(full))


def test_means_and_spreads_are_those_of_the_cosines(rng):
    full, masked, label = rng.normal(size=(60, 5)) + 1, rng.normal(size=(60, 5)) + 1, rng.integers(2, size=60)
    masked[7] = np.nan
    found = moves(full, {"roi_only": masked}, label)
    centre = full.mean(axis=0)
    for name, inside in {ALL: label >= 0, "benign": label == 0, "malignant": label == 1}.items():
        rows = [row for row in np.flatnonzero(inside) if row != 7]
        plain, centred = (
            [
                f @ g / np.linalg.norm(f) / np.linalg.norm(g)
                for f, g in zip(full[rows] - m, masked[rows] - m, strict=True)
            ]
            for m in (0, centre)
        )
        one = found.get("roi_only", name)
        assert (one.images, one.patients, one.zero) == (len(rows), len(rows), 0)
        assert (one.mean.value, one.spread) == pytest.approx((np.mean(plain), np.std(plain)))
        assert (one.centred.value, one.centred_spread) == pytest.approx((np.mean(centred), np.std(centred)))
        assert one.mean.low < one.mean.value < one.mean.high
    assert (found.images, found.of, found.not_computed) == (60, 60, {})
    assert found.get("roi_only", "nobody") is None


def test_an_image_that_masking_leaves_as_it_is_has_cosine_one(rng):
    full = np.maximum(rng.normal(size=(40, 8)), 0).astype(np.float32) + np.float32(0.1)
    one = moves(full, {"shifted_roi": full.copy()}).get("shifted_roi")
    for mean, spread in ((one.mean, one.spread), (one.centred, one.centred_spread)):
        assert (mean.value, mean.low, mean.high) == pytest.approx((1, 1, 1))
        assert spread == pytest.approx(0, abs=1e-7)


def test_embeddings_that_are_all_one_do_not_stay_where_they_are(rng):
    """Full and masked images would have cosine 1, as if nothing had been hidden that matters."""
    same = np.full((40, 8), 0.1)
    found = moves(same, {"without_roi": same.copy()})
    assert (found.cosines, found.of, found.not_computed) == ((), 40, {ALL: SAME})


def test_embeddings_without_negative_numbers_have_high_cosines_and_centred_ones_have_not(rng):
    """Unrelated images: the plain cosine is what the caveat says, the centred one is 0."""
    full, masked = np.abs(rng.normal(size=(2, 2000, 64)))
    found = moves(full, {"without_roi": masked})
    for strategy in ("without_roi", ANOTHER):
        one = found.get(strategy)
        assert one.mean.value == pytest.approx(2 / np.pi, abs=0.01)  # E|x|^2 / E x^2 of normal numbers
        assert one.centred.value == pytest.approx(0, abs=0.01)
        assert one.centred.low < 0 < one.centred.high or abs(one.centred.value) < 0.005


def test_another_patient_is_of_the_same_label(rng):
    """Labels point opposite ways: across labels the cosine would be -1."""
    label = rng.integers(2, size=100)
    full = np.outer(2 * label - 1, np.ones(4)) + 0.01 * rng.normal(size=(100, 4))
    one = moves(full, {"roi_only": full}, label).get(ANOTHER)
    assert one.mean.value == pytest.approx(1, abs=0.01)


def test_limits_are_wider_where_patients_have_many_images(rng):
    patients, offset = np.repeat(np.arange(20), 10), rng.normal(size=(20, 6))
    full = rng.normal(size=(200, 6)) * 0.1 + 1
    masked = full + offset[patients]
    by_patient = moves(full, {"roi_only": masked}, patients=patients).get("roi_only").mean
    by_image = moves(full, {"roi_only": masked}).get("roi_only").mean
    assert by_patient.value == by_image.value
    assert by_patient.high - by_patient.low > 2 * (by_image.high - by_image.low)


def test_zero_embeddings_are_counted_and_left_out(rng):
    full, masked = rng.normal(size=(30, 4)), rng.normal(size=(30, 4))
    masked[:5], full[4:7], masked[9] = 0, 0, np.nan
    one = moves(full, {"roi_only": masked}).get("roi_only")
    assert (one.images, one.zero) == (22, 7)
    assert np.isfinite([one.mean.value, one.spread, one.centred.value]).all()


def test_what_too_few_patients_have_is_not_computed_and_it_says_why(rng):
    full, masked = rng.normal(size=(12, 3)), rng.normal(size=(12, 3))
    label = np.array([1] + [0] * 11)
    masked[3:] = 0
    found = moves(full, {"roi_only": masked, "silhouette": np.full((12, 3), np.nan)}, label)
    assert found.not_computed == {
        "roi_only, malignant": "there must be images of two patients, got 1",
        "silhouette, all images": "there must be images of two patients, got 0",
        "silhouette, benign": "there must be images of two patients, got 0",
        "silhouette, malignant": "there must be images of two patients, got 0",
        f"{ANOTHER}, malignant": "there must be images of two patients, got 0",
    }
    assert found.get("roi_only", "benign").zero == 9
    masked[:] = 0
    found = moves(full, {"roi_only": masked}, label)
    assert (
        found.not_computed["roi_only, benign"] == "there must be images of two patients, got 0 and 11 zero embeddings"
    )


def test_networks_are_centred_each_by_its_own_mean(rng):
    full = rng.normal(size=(80, 5))
    masked = full + rng.normal(size=(80, 5))
    whole = np.arange(80)
    everybody = {"ill": whole % 2 == 0}
    spaces = [
        EmbeddingSpace(full[rows] + shift, {"roi_only": masked[rows] + shift}, rows, rows % 2, {"ill": rows % 2 == 0})
        for rows, shift in ((whole[:40], 0.0), (whole[40:], 100.0))
    ]
    found = embedding_moves(spaces, DRAWS, rng)
    one = embedding_moves([EmbeddingSpace(full, {"roi_only": masked}, whole, whole % 2, everybody)], DRAWS, rng)
    assert found.get("roi_only").mean.value > one.get("roi_only").mean.value + 0.1
    assert found.get("roi_only", "ill").centred.value == pytest.approx(
        one.get("roi_only", "ill").centred.value, abs=0.05
    )
    assert found.images == found.of == 80


def test_a_network_without_a_strategy_has_no_cosine_of_it(rng):
    full, rows = rng.normal(size=(20, 3)), np.arange(20)
    spaces = [
        EmbeddingSpace(full, {name: full}, rows + place * 20, rows % 2, {})
        for place, name in enumerate(("roi_only", "without_roi"))
    ]
    found = embedding_moves(spaces, DRAWS, rng)
    assert [(one.strategy, one.images) for one in found.cosines] == [
        ("roi_only", 20),
        ("without_roi", 20),
        (ANOTHER, 40),
    ]


def test_chosen_images_are_found_among_all_and_among_those_that_stay(rng):
    full, label = rng.normal(size=(30, 4)), np.arange(30) % 2
    rows = np.array([20, 3, 7, 11, 2])
    masked = full[rows] * 2
    assert moves(full, {"roi_only": masked}, label, rows=rows).get("roi_only").mean.value == pytest.approx(1)
    kept = np.setdiff1d(np.arange(30), [0, 7, 25])[::-1]
    among = MaskedEmbeddings.of({"roi_only": masked}, rows).among(kept)
    np.testing.assert_array_equal(full[kept][among.rows] * 2, among.points["roi_only"])
    assert len(among.rows) == 4


@pytest.mark.parametrize(
    ("points", "rows", "message"),
    [
        ({}, None, r'strategies other than "full", got \[\]'),
        ({"full": np.ones((2, 2))}, None, r'strategies other than "full", got \[\'full\'\]'),
        ({"a": np.ones((2, 2)), "b": np.ones((2, 3))}, None, r"one shape \(n, D\), got \[\(2, 2\), \(2, 3\)\]"),
        ({"a": np.ones(2)}, None, r"one shape \(n, D\), got \[\(2,\)\]"),
        ({"a": np.ones((2, 2))}, [0], r"each of 2 images once, got shape \(1,\)"),
        ({"a": np.ones((2, 2))}, [0, 0], r"each of 2 images once, got shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(points, rows, message):
    with pytest.raises(ValueError, match=message):
        MaskedEmbeddings.of(points, rows)


def test_a_record_gives_it_back(rng):
    found = moves(rng.normal(size=(20, 3)), {"roi_only": rng.normal(size=(20, 3))}, np.array([1] + [0] * 19))
    assert decode(EmbeddingMoves, encode(found)) == found
