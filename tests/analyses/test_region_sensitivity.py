# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses.region_sensitivity import region_sensitivity
from monai_shortcut.statistics.delong import compare_aucs, estimate_auc
from monai_shortcut.types import Estimate

STRENGTH = {"full": 2.0, "without_roi": 1.0, "roi_only": 1.9}


def example(rng, classes: int = 3, patients: int = 60, missing: int = 0):
    """Labels, probabilities by strategy and patients; the first images have no region of interest."""
    patient = np.repeat(np.arange(patients), 3)
    label = rng.permutation(np.arange(len(patient)) % classes)
    common = rng.normal(size=(len(patient), classes))
    probabilities = {
        name: softmax(common + 0.7 * rng.normal(size=common.shape) + strength * np.eye(classes)[label], axis=1)
        for name, strength in STRENGTH.items()
    }
    probabilities["roi_only"][:missing] = np.nan
    return label, probabilities, patient, [f"class {index}" for index in range(classes)]


def naive_holm(p_values):
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for step, index in enumerate(order):
        largest = max(largest, (len(p_values) - step) * p_values[index])
        adjusted[index] = min(largest, 1.0)
    return adjusted


@pytest.mark.parametrize("missing", [0, 17])
def test_areas_equal_those_of_scikit_learn_on_the_images_a_strategy_could_be_applied_to(rng, missing):
    label, probabilities, patient, names = example(rng, missing=missing)
    found = region_sensitivity(label, probabilities, patient, names)
    assert [(score.label, score.evaluated_on) for score in found.scores] == [(n, s) for n in names for s in STRENGTH]
    for score in found.scores:
        index = names.index(score.label)
        known = slice(missing if score.evaluated_on == "roi_only" else 0, None)
        own, full = (probabilities[name][known, index] for name in (score.evaluated_on, "full"))
        area, reference = (roc_auc_score(label[known] == index, values) for values in (own, full))
        assert score.images == len(own)
        assert score.auc.value == pytest.approx(area, abs=1e-12)
        assert score.difference == pytest.approx(reference - area, abs=1e-12)
    assert found.untested == {}
    assert len({score.auc for score in found.scores}) == 9


def test_intervals_and_tests_are_those_of_few_patients(rng):
    label, probabilities, patient, names = example(rng)
    for score in region_sensitivity(label, probabilities, patient, names, confidence=0.9).scores:
        values = probabilities[score.evaluated_on][:, names.index(score.label)]
        expected = estimate_auc(label == names.index(score.label), values, patient, confidence=0.9)
        assert (score.auc, score.chance_p_value) == (expected.auc, expected.chance_p_value)


def test_holm_counts_the_comparisons_with_full_and_not_full_itself(rng):
    label, probabilities, patient, names = example(rng, patients=200)
    found = region_sensitivity(label, probabilities, patient, names)
    compared = [score for score in found.scores if score.evaluated_on != "full"]
    raw = []
    for score in compared:
        index = names.index(score.label)
        columns = (probabilities[name][:, index] for name in ("full", score.evaluated_on))
        raw.append(compare_aucs(label == index, *columns, patient).p_value)
    np.testing.assert_allclose([score.p_value for score in compared], naive_holm(raw), rtol=1e-12)
    assert sorted(raw)[0] * 9 > sorted(raw)[0] * 6 == pytest.approx(min(score.p_value for score in compared))
    for score in found.scores:
        if score.evaluated_on == "full":
            assert (score.difference, score.p_value) == (0.0, 1.0)


def test_a_strategy_that_hides_what_the_model_reads_is_found_and_one_that_does_not_is_not(rng):
    label, probabilities, patient, names = example(rng, patients=300)
    probabilities = {"full": probabilities["full"], "same": probabilities["full"] ** 2, **probabilities}
    for score in region_sensitivity(label, probabilities, patient, names).scores:
        if score.evaluated_on == "without_roi":
            assert score.difference > 0.05
            assert score.p_value < 0.001
        elif score.evaluated_on == "same":
            assert (score.difference, score.p_value) == (0.0, 1.0)
        assert score.chance_p_value < 0.001


def test_chance_p_values_are_uniform_when_nothing_is_seen_unless_patients_are_ignored():
    rejected = {True: [], False: []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), 5)
        label, score = rng.permutation(np.arange(60) % 2)[patient], rng.random(60)[patient]
        for given in rejected:
            unit = patient if given else np.arange(300)
            found = region_sensitivity(label, {"full": np.stack([1 - score, score], 1)}, unit, ["healthy", "ill"])
            rejected[given].append(found.scores[0].chance_p_value < 0.05)
    assert 0.015 < np.mean(rejected[True]) < 0.1
    assert np.mean(rejected[False]) > 0.25


def test_of_two_classes_the_second_is_scored(rng):
    label, probabilities, patient, names = example(rng, classes=2)
    found = region_sensitivity(label, probabilities, patient, names, trained_on="roi_only")
    assert [score.label for score in found.scores] == ["class 1"] * 3
    assert found.scores[0].auc.value == pytest.approx(roc_auc_score(label, probabilities["full"][:, 1]))
    assert found.trained_on == "roi_only"


def test_full_comes_first_whatever_the_order(rng):
    label, probabilities, patient, names = example(rng)
    turned = dict(reversed(probabilities.items()))
    found = region_sensitivity(label, turned, patient, names).scores
    assert [score.evaluated_on for score in found[:3]] == ["full", "roi_only", "without_roi"]
    assert set(found) == set(region_sensitivity(label, probabilities, patient, names).scores)


def test_a_class_of_one_patient_is_listed_as_untested(rng):
    label, probabilities, patient, names = example(rng)
    label[label == 1] = 0
    label[patient == 7] = 1
    found = region_sensitivity(label, probabilities, patient, names)
    assert found.untested == {"class 1": "labels must hold at least two patients of class 1, got 1."}
    assert [score.label for score in found.scores] == ["class 0"] * 3 + ["class 2"] * 3


def test_a_class_that_only_one_patient_lacks_is_listed_as_untested(rng):
    label, probabilities, patient, names = example(rng, classes=2)
    label = (patient != 7).astype(int)
    found = region_sensitivity(label, probabilities, patient, names)
    assert found.untested == {"class 1": "labels must hold at least two patients of class 0, got 1."}
    assert found.scores == ()


def test_a_strategy_without_images_of_a_class_leaves_the_others_scored(rng):
    """As where healthy images have no region of interest."""
    label, probabilities, patient, names = example(rng)
    probabilities["roi_only"][label == 0] = np.nan
    found = region_sensitivity(label, probabilities, patient, names)
    assert found.untested == {"class 0, roi_only": "labels must hold at least two patients of class 1, got 0."}
    assert [score.evaluated_on for score in found.scores if score.label == "class 0"] == ["full", "without_roi"]
    assert len(found.scores) == 8


def test_perfect_scores_of_three_and_three_patients_may_be_chance():
    probabilities = {"full": [[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3, "blind": [[0.5, 0.5]] * 6}
    full, blind = region_sensitivity([0, 0, 0, 1, 1, 1], probabilities, range(6), ["no", "yes"]).scores
    assert full.auc == Estimate(1, 0, 1)
    assert full.chance_p_value == pytest.approx(0.1)  # 2 of 20 rankings
    assert (blind.auc, blind.chance_p_value) == (Estimate(0.5, 0, 1), 1.0)
    assert blind.difference == 0.5
    assert blind.p_value >= 0.1


def test_perfect_scores_of_more_patients_are_not_chance():
    second = np.repeat([0.1, 0.9], 10)
    probabilities = {"full": np.stack([1 - second, second], 1), "blind": np.full((20, 2), 0.5)}
    full, blind = region_sensitivity(np.repeat([0, 1], 10), probabilities, range(20), ["no", "yes"]).scores
    assert full.auc.low > 0.7
    assert full.chance_p_value < 0.01
    assert 0.3 < blind.auc.low < 0.5 < blind.auc.high < 0.7
    assert 0 < blind.p_value < 0.01


def test_what_does_not_fit_is_refused(rng):
    label, probabilities, patient, names = example(rng)
    with pytest.raises(ValueError, match=r"""must hold the strategy "full", got \['roi_only', 'without_roi'\]"""):
        region_sensitivity(label, {k: v for k, v in probabilities.items() if k != "full"}, patient, names)
    with pytest.raises(ValueError, match=r"probabilities of full must have shape \(180, 2\), got \(180, 3\)"):
        region_sensitivity(label, probabilities, patient, names[:2])
    with pytest.raises(ValueError, match=r"probabilities of roi_only must have shape \(180, 3\), got \(179, 3\)"):
        region_sensitivity(label, probabilities | {"roi_only": probabilities["full"][1:]}, patient, names)
    with pytest.raises(ValueError, match=r"patients must have shape \(180,\) to match labels, got \(179,\)"):
        region_sensitivity(label, probabilities, patient[1:], names)
