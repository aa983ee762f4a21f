# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import tracemalloc
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.model_selection import StratifiedGroupKFold

from monai_shortcut.statistics.resampling import (
    _CELLS,
    Resampling,
    _exchangeable,
    bootstrap_weights,
    holm,
    patient_bootstrap,
    patient_folds,
    permutation_p_value,
    permute_by_patient,
    permuted_codes,
)


def ragged(rng, patients: int, most: int):
    """Patients with 1 to `most` images each, their images shuffled."""
    return rng.permutation(
        np.repeat([f"p{index:03d}" for index in range(patients)], rng.integers(1, most + 1, patients))
    )


@pytest.mark.parametrize("folds", [2, 3, 5, 8])
def test_no_patient_is_in_two_folds_and_no_fold_is_empty(rng, folds):
    for most in (1, 2, 9):
        patients = ragged(rng, 8 * most, most)
        fold = patient_folds(patients, rng.integers(3, size=len(patients)), folds, rng)
        for patient in np.unique(patients):
            assert len(set(fold[patients == patient])) == 1
        assert set(fold) == set(range(folds))


def test_folds_keep_the_shares_of_the_strata(rng):
    stratum = rng.permutation(np.repeat([0, 1, 2], [100, 60, 40]))
    patients = np.repeat(np.arange(200), 3)
    fold = patient_folds(patients, np.repeat(stratum, 3), 5, rng)
    for index in range(5):
        shares = np.bincount(np.repeat(stratum, 3)[fold == index], minlength=3) / (fold == index).sum()
        np.testing.assert_allclose(shares, [0.5, 0.3, 0.2], atol=0.03)


@pytest.mark.parametrize("strata", [np.repeat([0, 1], [18, 2]), np.arange(20), np.zeros(20)])
def test_strata_smaller_than_the_number_of_folds_are_folded_without_a_warning(rng, strata):
    assert np.bincount(patient_folds(np.arange(20), strata, 5, rng)).tolist() == [4] * 5


def test_folds_depend_on_the_generator_alone():
    patients, strata = np.repeat(np.arange(30), 2), np.repeat(np.arange(30) % 2, 2)
    draw = [patient_folds(patients, strata, 5, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(draw[0], draw[1])
    assert not np.array_equal(draw[0], draw[2])


def test_folds_do_not_depend_on_the_names_of_patients_and_strata(rng):
    patients, strata = ragged(rng, 40, 6), rng.integers(3, size=200)
    strata = strata[: len(patients)]
    names = rng.permutation(10**6)[np.unique(patients, return_inverse=True)[1]]
    renamed = patient_folds(names, np.array(["b", "c", "a"])[strata], 5, np.random.default_rng(1))
    assert np.array_equal(patient_folds(patients, strata, 5, np.random.default_rng(1)), renamed)


def cohort(kind: str, rng):
    """Patients and strata of a cohort of 300 patients, their images shuffled."""
    sizes = {"one image": [1] * 300, "two images": [2] * 300, "1 to 50 images": rng.integers(1, 51, 300)}
    patients = np.repeat(np.arange(300), sizes.get(kind, rng.integers(1, 4, 300)))
    rare = np.zeros(300, dtype=int)
    rare[rng.choice(300, 12, replace=False)] = 1
    strata = {
        "one stratum of 12 patients": rare[patients],
        "20 strata, each patient in one": rng.integers(20, size=300)[patients],
        "20 strata": rng.integers(20, size=len(patients)),
    }
    rows = rng.permutation(len(patients))
    return patients[rows], strata.get(kind, rng.choice(3, p=[0.6, 0.3, 0.1], size=len(patients)))[rows]


def unevenness(fold, strata, folds):
    """Largest difference of a fold's share of a stratum, and of all images, from 1 / K."""
    of_strata = max(abs((fold[strata == s] == k).mean() - 1 / folds) for s in np.unique(strata) for k in range(folds))
    return np.array([of_strata, max(abs((fold == k).mean() - 1 / folds) for k in range(folds))])


@pytest.mark.parametrize("folds", [2, 5])
@pytest.mark.parametrize(
    "kind",
    [
        "one image",
        "two images",
        "1 to 50 images",
        "one stratum of 12 patients",
        "20 strata, each patient in one",
        "20 strata",
    ],
)
def test_folds_are_as_even_as_those_of_scikit_learn(kind, folds):
    ours, theirs, careless = np.zeros((3, 2))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        patients, strata = cohort(kind, rng)
        fold = patient_folds(patients, strata, folds, rng)
        assert len({*zip(patients, fold, strict=True)}) == 300  # no patient is in two folds
        ours += unevenness(fold, strata, folds) / 6
        groups = rng.permutation(300)[patients]
        for index, (_, held_out) in enumerate(StratifiedGroupKFold(folds).split(groups, strata, groups)):
            fold[held_out] = index
        theirs += unevenness(fold, strata, folds) / 6
        careless += unevenness(rng.permutation(np.arange(300) % folds)[patients], strata, folds) / 6
    assert ours[0] <= 1.02 * theirs[0]
    assert ours[1] <= max(theirs[1], 0.0025)  # in 600 images one and a half
    assert careless[0] > 1.3 * ours[0]


def test_folds_of_single_images_differ_by_one_image_in_every_stratum(rng):
    for strata in (rng.integers(7, size=203), rng.integers(90, size=203), np.arange(203), np.zeros(203)):
        fold = patient_folds(np.arange(203), strata, 5, rng)
        for images in (np.arange(203), *(np.flatnonzero(strata == s) for s in np.unique(strata))):
            assert np.ptp(np.bincount(fold[images], minlength=5)) <= 1


def test_any_two_patients_meet_in_a_fold_by_chance_even_if_no_two_are_alike():
    patients = np.repeat(np.arange(30), np.arange(1, 31))
    strata = np.random.default_rng(0).integers(2, size=len(patients))
    first = np.unique(patients, return_index=True)[1]
    folds = np.array([patient_folds(patients, strata, 3, np.random.default_rng(s))[first] for s in range(300)])
    together = (folds[:, :, None] == folds[:, None, :]).mean(axis=0)[np.triu_indices(30, 1)]
    assert 0.05 < together.min() < 1 / 3 < together.max() < 0.6
    assert all(0.2 < (folds == index).mean() < 0.5 for index in range(3))


def test_which_fold_is_the_largest_is_chance():
    largest = [np.bincount(patient_folds(range(3), [0] * 3, 2, np.random.default_rng(s))).argmax() for s in range(200)]
    assert 0.4 < np.mean(largest) < 0.6


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_folds_must_fit_the_patients(rng, folds):
    with pytest.raises(ValueError, match=rf"folds must be between 2 and the number of patients \(3\), got {folds}\."):
        patient_folds(["a", "a", "b", "c"], [0, 1, 0, 1], folds, rng)


def test_attributes_that_are_constant_within_patients_stay_so(rng):
    patients = ragged(rng, 30, 5)
    unique, index = np.unique(patients, return_inverse=True)
    draws = index[permute_by_patient(patients, 50, rng)]  # whose values each image gets
    for draw in draws:
        donors = [set(draw[index == patient]) for patient in range(len(unique))]
        assert all(len(donor) == 1 for donor in donors)
        assert set.union(*donors) == set(range(30))  # each patient gives once: a permutation of the patients
    assert 0.9 < (draws != index).mean() < 1


def test_donors_give_from_the_same_label_and_have_the_same_set_of_labels(rng):
    patients, label = np.repeat(np.arange(60), 4), np.concatenate([rng.integers(2, size=4) for _ in range(60)])
    owned = {patient: frozenset(label[patients == patient]) for patient in range(60)}
    assert min(sum(kind == other for other in owned.values()) for kind in owned.values()) < 10  # pooled ones too
    common = {p for p, kind in owned.items() if sum(kind == other for other in owned.values()) >= 10}
    chosen = np.isin(patients, list(common))
    for draw in permute_by_patient(patients, 50, rng, label):
        assert (label[draw] == label)[chosen].all()
        assert all(owned[a] == owned[b] for a, b in zip(patients[chosen], patients[draw][chosen], strict=True))
    assert not (label[permute_by_patient(patients, 50, rng)] == label).all()


def test_rare_sets_of_labels_swap_with_patients_of_the_same_most_frequent_label(rng):
    patients = np.repeat(np.arange(4), 3)
    label = np.array([0, 0, 1, 0, 0, 0, 2, 2, 1, 2, 2, 2])
    draws = patients[permute_by_patient(patients, 200, rng, label)]
    for patient, others in ((0, {0, 1}), (1, {0, 1}), (2, {2, 3}), (3, {2, 3})):
        assert set(draws[:, patients == patient].flat) == others


def test_a_rare_set_of_labels_does_not_swap_with_a_common_one():
    images = np.array([[0, 1]] * 12 + [[1, 0]] * 12 + [[2, 1]] * 3 + [[1, 2]] * 2)
    assert [group.tolist() for group in _exchangeable(images)] == [
        [*range(12)],
        [*range(12, 24)],
        [24, 25, 26],
        [27, 28],
    ]


@pytest.mark.parametrize(("patients", "pooled"), [(9, True), (10, False)])
def test_ten_patients_with_one_set_of_labels_swap_among_themselves(rng, patients, pooled):
    """Beside three others with the same most frequent label and another set."""
    labels = np.array([[0, 0, 1]] * patients + [[0, 0, 2]] * 3)
    draws = permute_by_patient(np.repeat(np.arange(patients + 3), 3), 50, rng, labels.ravel()) // 3
    assert (draws[:, : 3 * patients] >= patients).any() == pooled


def test_a_sequence_is_repeated_cyclically_or_cut():
    patients = np.array(list("aaaaabb"))
    rng = np.random.default_rng(0)
    swapped = [draw for draw in permute_by_patient(patients, 200, rng) if draw[0] >= 5]
    assert {tuple(draw[:5]) for draw in swapped} == {(5, 6, 5, 6, 5), (6, 5, 6, 5, 6)}
    assert {tuple(draw[5:]) for draw in swapped} == {(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)}
    given = np.bincount(np.concatenate([draw[5:] for draw in swapped]), minlength=5)
    assert given.min() > 0.6 * given.max()  # no image is favoured


def test_where_gifts_begin_is_chance_in_every_block_and_follows_the_seed():
    one, other = (permute_by_patient([0, 1, 1], _CELLS, np.random.default_rng(seed))[:, 0] for seed in (1, 2))
    first, second = np.split(one, 2)  # of two cells, hence two blocks
    for a, b in ((one, other), (first, second)):
        swapped = (a > 0) & (b > 0)
        assert 0.45 < (a == b)[swapped].mean() < 0.55


def test_every_permutation_of_the_patients_is_as_likely(rng):
    draws = permute_by_patient(np.arange(3), 6000, rng)
    counts = Counter(map(tuple, draws.tolist()))
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("within", ["patient", "patient and label", "nothing"])
def test_permuted_codes_are_those_of_the_permuted_images(rng, within, labelled):
    patients = np.unique(ragged(rng, 400, 6), return_inverse=True)[1]
    label = np.minimum(rng.geometric(0.6, size=len(patients)), 4)  # some sets of labels are rare, and donors lack one
    rows = {"patient": patients, "patient and label": 5 * patients + label, "nothing": np.arange(len(patients))}
    codes = rng.integers(3, size=3000)[rows[within]]
    first, again = np.random.default_rng(1), np.random.default_rng(1)
    draws = permuted_codes(codes, patients, 150, first, label if labelled else None)
    expected = codes[permute_by_patient(patients, 150, again, label if labelled else None)]
    assert len(patients) * 150 > 2 * _CELLS  # several blocks
    assert draws.dtype == np.int8
    assert np.array_equal(draws, expected)
    assert first.bit_generator.state == again.bit_generator.state
    assert len(np.unique(draws, axis=0)) == 150


@pytest.mark.parametrize(("most", "dtype"), [(127, np.int8), (128, np.int16), (40_000, np.int32)])
def test_codes_are_held_in_the_smallest_integers(rng, most, dtype):
    draws = permuted_codes(np.array([0, 1, most]), [0, 1, 2], 9, rng)
    assert draws.dtype == dtype
    assert (np.sort(draws, axis=1) == [0, 1, most]).all()
    assert permuted_codes([0, 1], [0, 1], 0, rng).shape == (0, 2)


def test_permuted_codes_take_little_more_memory_than_they_fill(rng):
    patients, codes = np.repeat(np.arange(20_000), 2), rng.integers(2, size=40_000)
    tracemalloc.start()
    draws = permuted_codes(codes, patients, 300, rng, rng.integers(3, size=40_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < draws.nbytes + 2 * 300 * 40_000  # indices would take four to eight times the codes


@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.02, 0.085), (False, 0.3, 1.0)])
def test_p_values_are_uniform_when_patients_are_permuted_and_wrong_when_images_are(by_patient, low, high):
    p_values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        patients = ragged(rng, 30, 8)
        index = np.unique(patients, return_inverse=True)[1]
        values = rng.normal(size=30)[index] + 0.3 * rng.normal(size=len(index))
        attribute = rng.permutation(np.arange(30) % 2)[index]
        draws = permute_by_patient(index if by_patient else np.arange(len(index)), 99, rng)
        coded = np.concatenate([attribute[None], attribute[draws]])
        ones = coded.sum(axis=1)
        gaps = np.abs(coded @ values / ones - (1 - coded) @ values / (len(index) - ones))
        p_values.append(permutation_p_value(gaps[0], gaps[1:]))
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


def test_bootstrap_draws_whole_patients_with_replacement(rng):
    patients = ragged(rng, 20, 5)
    weights = bootstrap_weights(patients, 4000, rng)
    _, first, index = np.unique(patients, return_index=True, return_inverse=True)
    assert np.array_equal(weights, weights[:, first][:, index])  # all images of a patient have the same weight
    assert (weights[:, first].sum(axis=1) == 20).all()
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.08)
    np.testing.assert_allclose(weights[:, first].var(axis=0), 1 - 1 / 20, atol=0.12)  # of a multinomial count


def test_patients_are_drawn_as_a_multinomial_says(rng):
    drawn = patient_bootstrap(30, 20_000, rng)  # several blocks
    assert drawn.dtype == np.uint8
    assert (drawn.sum(axis=1) == 30).all()
    expected = binom.pmf(np.arange(6), 30, 1 / 30)
    np.testing.assert_allclose([(drawn == count).mean() for count in range(6)], expected, atol=0.003)
    covariance = np.cov(drawn.T.astype(float))
    np.testing.assert_allclose(covariance, np.eye(30) - 1 / 30, atol=0.05)


def test_weights_of_images_are_the_counts_of_their_patients():
    patients = ["b", "a", "b", "c"]
    counts = patient_bootstrap(3, 5, np.random.default_rng(1))
    weights = bootstrap_weights(patients, 5, np.random.default_rng(1))
    assert weights.dtype == np.float64
    assert np.array_equal(weights, counts[:, [1, 0, 1, 2]])
    assert len(np.unique(weights, axis=0)) > 1


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("folds", 2),
        ("repeats", 1),
        ("permutations", 1),
        ("erasures", 1),
        ("held_out", 0),
        ("bootstraps", 1),
        ("seed", 0),
    ],
)
def test_numbers_of_draws_are_integers_in_their_range(name, least):
    assert getattr(Resampling(**{name: least}), name) == least
    assert getattr(Resampling(**{name: np.int64(7)}), name) == 7
    for wrong in (least - 1, least + 0.5, True, "7", None):
        with pytest.raises(
            ValueError, match=re.escape(f"{name} must be an integer of at least {least}, got {wrong!r}.")
        ):
            Resampling(**{name: wrong})


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.1, 95, float("nan"), "0.95", True])
def test_confidence_lies_between_0_and_1(wrong):
    assert Resampling(confidence=0.5).confidence == 0.5
    with pytest.raises(ValueError, match=re.escape(f"confidence must be a number between 0 and 1, got {wrong!r}.")):
        Resampling(confidence=wrong)


def test_settings_that_extend_the_resampling_are_checked_too():
    @dataclass(frozen=True)
    class Settings(Resampling):
        bins: int = 3

    assert Settings(bins=4, folds=3) == Settings(3, bins=4)
    with pytest.raises(ValueError, match="repeats must be an integer of at least 1, got 0"):
        Settings(repeats=0)


def test_permutation_p_value_counts_the_observation_and_ties():
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert permutation_p_value(0.5, null) == 1 / 5
    assert permutation_p_value(0.3, null) == 3 / 5
    assert permutation_p_value(0.1 + 0.2, null) == 3 / 5  # 0.30000000000000004 is 0.3 but for rounding
    assert permutation_p_value(0.0, null) == 1
    assert permutation_p_value(1.0, []) == 1


def naive_holm(values):
    """Each p-value's smallest family-wise level at which the step-down procedure rejects it."""
    known = sorted((value, index) for index, value in enumerate(values) if value == value)
    adjusted = [float("nan")] * len(values)
    for step, (_, index) in enumerate(known):
        adjusted[index] = min(1.0, max((len(known) - j) * known[j][0] for j in range(step + 1)))
    return adjusted


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_holm_equals_the_naive_loop(rng, missing):
    for count in (0, 1, 2, 7, 20):
        values = rng.random(count) ** 3
        values[rng.random(count) < missing] = np.nan
        np.testing.assert_allclose(holm(values), naive_holm(values.tolist()), rtol=1e-15)


def test_holm_leaves_missing_values_out_of_the_count():
    np.testing.assert_array_equal(holm([np.nan, 0.02, np.nan, 0.01]), [np.nan, 0.02, np.nan, 0.02])
    assert np.isnan(holm([np.nan, np.nan])).all()


def test_holm_keeps_the_family_wise_error_and_raw_p_values_do_not(rng):
    families = rng.random((2000, 10))
    assert np.mean([holm(family).min() <= 0.05 for family in families]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(families.min(axis=1) <= 0.05) > 0.35


@pytest.mark.parametrize(("labels_known", "low", "high"), [(True, 0.0, 0.09), (False, 0.15, 1.0)])
def test_an_attribute_tied_to_the_label_of_each_image_needs_the_labels(labels_known, low, high):
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patients = np.repeat(np.arange(40), 4)
        label = rng.integers(2, size=160)
        attribute = np.where(rng.random(160) < 0.9, label, 1 - label)
        values = rng.normal(size=40)[patients] + 0.3 * rng.normal(size=160)  # knows neither
        draws = permute_by_patient(patients, 99, rng, label if labels_known else None)
        coded = np.concatenate([attribute[None], attribute[draws]])
        gaps = np.zeros(100)
        for value in (0, 1):
            inside = label == value
            ones, zeros = coded[:, inside], 1 - coded[:, inside]
            gaps += np.abs(
                ones @ values[inside] / np.maximum(ones.sum(axis=1), 1)
                - zeros @ values[inside] / np.maximum(zeros.sum(axis=1), 1)
            )
        p_values.append(permutation_p_value(gaps[0], gaps[1:]))
    assert low <= np.mean(np.array(p_values) <= 0.05) <= high
