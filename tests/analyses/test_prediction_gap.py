# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from scipy.special import expit, softmax

from monai_shortcut.analyses.prediction_gap import PredictionGap, prediction_gap
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable

QUICK = {"permutations": 39, "bootstraps": 2}


def example(rng, levels: int = 3, classes: int = 3, patients: int = 30):
    """Probabilities (N, C), codes, labels and patients; codes and labels differ between the images of a patient."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    n = len(patient)
    code, label = rng.permutation(np.arange(n) % levels), rng.permutation(np.arange(n) % classes)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[label] + rng.normal(size=(levels, classes))[code]
    return softmax(logits, axis=1), code, label, patient


def clustered(seed: int, effect: float = 0.0, tracks: float = 0.5, patients: int = 60):
    """Patients with an effect on their logits, an attribute and one label each."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    label = rng.permutation(np.arange(patients) % 2)
    code = np.where(rng.random(patients) < tracks, label, 1 - label)
    logit = (label - 0.5 + effect * code + rng.normal(size=patients))[patient] + 0.3 * rng.normal(size=len(patient))
    return np.stack([1 - expit(logit), expit(logit)], axis=1), code[patient], label[patient], patient


def gap_of(score, code, label, patient=None, kind="categorical", **draws) -> PredictionGap:
    return prediction_gap(sample_of(code, label, patient, kind=kind, answers=score, **{**QUICK, **draws}))


def between_levels(score, code, label):
    """Total variation between mean probabilities, averaged over pairs of levels and labels."""
    total = pairs = 0.0
    for value in np.unique(label):
        for first in np.unique(code):
            for second in np.unique(code):
                own, other = ((label == value) & (code == level) for level in (first, second))
                share = own.sum() * other.sum()
                if first < second and share:
                    means = [score[chosen].mean(axis=0) for chosen in (own, other)]
                    total += share * 0.5 * sum(abs(a - b) for a, b in zip(*means, strict=True))
                    pairs += share
    return total / pairs


def along_levels(score, code, label, levels):
    """Total variation between the ends of the line of least squares, averaged over labels."""
    gaps, weights = [], []
    for value in np.unique(label):
        inside = label == value
        if len(np.unique(code[inside])) > 1:
            slope = np.polyfit(code[inside].astype(float), score[inside], 1)[0]
            gaps.append(0.5 * (levels - 1) * abs(slope).sum())
            weights.append(code[inside].var() * inside.sum())
    return np.average(gaps, weights=weights)


def signed_root(values):
    return np.sign(values) * np.sqrt(np.abs(values))


@pytest.mark.parametrize("kind", ["categorical", "ordinal"])
@pytest.mark.parametrize(("levels", "classes"), [(2, 2), (3, 3), (2, 4), (5, 2)])
def test_every_number_equals_the_definition(rng, levels, classes, kind):
    score, code, label, patient = example(rng, levels, classes)
    code[:8] = -1
    draws = {"permutations": 70, "bootstraps": 70, "confidence": 0.9}
    sample = sample_of(code, label, patient, kind=kind, answers=score, **draws)
    found, score, label = prediction_gap(sample), sample.probabilities, sample.labels

    def gap(code, rows=slice(None)):
        arguments = score[rows], code[rows], label[rows]
        return between_levels(*arguments) if kind == "categorical" else along_levels(*arguments, levels)

    raw, *null = (gap(coding) for coding in sample.permuted)
    repeated = [np.repeat(np.arange(len(sample)), times[sample.patients]) for times in sample.images.bootstrap]
    resampled, noise = np.array([gap(sample.codes, rows) for rows in repeated]), np.mean(np.square(null))
    assert found.test.observed == pytest.approx(raw, rel=1e-10)
    np.testing.assert_allclose(found.test.null, null, rtol=1e-10)
    assert found.effect.value == pytest.approx(signed_root(raw**2 - noise))
    limits = np.quantile(signed_root(resampled**2 - 2 * noise), [0.05, 0.95])
    np.testing.assert_allclose([found.effect.low, found.effect.high], limits)
    assert found.test.p_value == (1 + (np.array(null) >= raw - 1e-12).sum()) / 71


@pytest.mark.parametrize("absent", [0, 2])
def test_means_are_those_of_the_cells_and_none_where_no_image_is(rng, absent):
    score, code, label, patient = example(rng, classes=4)
    chosen = ~((code == absent) & (label == 1)) & (label != 2)
    score, code, label, patient = score[chosen], code[chosen], label[chosen], patient[chosen]
    means = gap_of(score, code, label, patient).means
    for value in range(4):
        for level in range(3):
            if value == 2 or (value, level) == (1, absent):
                assert means[value][level] == (None,) * 4
            else:
                expected = score[(label == value) & (code == level)].mean(axis=0)
                np.testing.assert_allclose(means[value][level], expected, rtol=1e-12)


def test_a_toy_has_the_gap_one_computes_by_hand():
    """Label 0: 2 x 2 images, 0.4 apart. Label 1: 3 x 1 images, 0.2 apart. (4 * 0.4 + 3 * 0.2) / 7."""
    second = np.array([0.2, 0.4, 0.6, 0.8, 0.5, 0.6, 0.7, 0.8])
    code, label = [0, 0, 1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    found = gap_of(np.stack([1 - second, second], 1), code, label)
    assert found.test.observed == pytest.approx(2.2 / 7)


def test_predictions_of_the_attribute_alone_have_the_whole_gap():
    code, label = np.repeat([0, 1], 100), np.tile([0, 1], 100)
    found = gap_of(np.eye(2)[code], code, label, permutations=199)
    assert found.test.observed == 1
    assert found.effect.value == pytest.approx(1, abs=0.02)
    assert found.test.p_value == 1 / 200


def test_noise_is_subtracted_from_the_effect_and_not_from_the_raw_gap():
    found = [gap_of(*clustered(seed), seed=seed) for seed in range(300)]
    assert np.mean([gap.test.observed for gap in found]) > 0.05
    assert np.mean([gap.effect.value for gap in found]) == pytest.approx(0, abs=0.015)
    squares = [gap.test.observed**2 - np.mean(np.square(gap.test.null)) for gap in found]
    assert np.mean(squares) == pytest.approx(0, abs=0.001)
    assert min(gap.effect.value for gap in found) < 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracks", "kind", "by_patient", "low", "high"),
    [
        (0.5, "categorical", True, 0.025, 0.08),
        (0.8, "categorical", True, 0.025, 0.08),
        (0.5, "ordinal", True, 0.025, 0.08),
        (0.5, "categorical", False, 0.2, 1),
    ],
)
def test_p_values_are_uniform_under_a_clustered_null_unless_patients_are_ignored(tracks, kind, by_patient, low, high):
    p_values = []
    for seed in range(400):
        score, code, label, patient = clustered(seed, tracks=tracks)
        if kind == "ordinal":
            code = np.random.default_rng(seed).integers(4, size=60)[patient]
        unit = patient if by_patient else np.arange(len(patient))
        p_values.append(gap_of(score, code, label, unit, kind, seed=seed).test.p_value)
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.09)


def test_the_interval_covers_the_effect():
    """The truth: patients' logits are normal around their label and attribute, with variance 1 + 0.3^2."""
    logits = np.sqrt(1.09) * np.random.default_rng(0).normal(size=100_000)
    truth = np.mean([expit(logits + shift + 1) - expit(logits + shift) for shift in (-0.5, 0.5)])
    found = [gap_of(*clustered(seed, effect=1.0), bootstraps=99, seed=seed) for seed in range(300)]
    assert 0.88 <= np.mean([gap.effect.low <= truth <= gap.effect.high for gap in found]) <= 0.99
    assert np.mean([gap.effect.value for gap in found]) == pytest.approx(truth, abs=0.03)
    assert np.mean([gap.test.p_value <= 0.05 for gap in found]) > 0.7


def test_an_attribute_that_tracks_the_label_has_no_gap_within_labels():
    score, code, label, patient = clustered(0, tracks=0.85, patients=300)
    score = np.where(label[:, None] == 1, [0.2, 0.8], [0.8, 0.2]) + 0.05 * (score - 0.5)
    found = gap_of(score, code, label, patient)
    assert found.test.observed < 0.01
    assert abs(found.effect.value) < 0.01
    assert found.test.p_value > 0.05
    label = np.random.default_rng(0).permutation(300)[patient] % 2  # the negative control: labels that say nothing
    ignoring = gap_of(score, code, label, patient)
    assert ignoring.effect.value > 0.3
    assert ignoring.test.p_value == 1 / 40


def graded(seed: int, shift, patients: int = 120):
    """Answers of four levels, each with its shift of the logit."""
    rng = np.random.default_rng(seed)
    code, label = rng.permutation(np.arange(patients) % 4), rng.integers(2, size=patients)
    answer = expit(rng.normal(size=patients) + label + np.asarray(shift)[code])
    return np.stack([1 - answer, answer], axis=1), code, label


def rejected(shift, kind):
    p_values = [gap_of(*graded(seed, shift), kind=kind, seed=seed).test.p_value for seed in range(200)]
    return np.mean(np.array(p_values) <= 0.05)


@pytest.mark.slow
def test_a_trend_over_ordered_levels_is_found_with_more_power_than_by_categories():
    ordered, categories = (rejected(0.2 * np.arange(4), kind) for kind in ("ordinal", "categorical"))
    assert ordered > categories + 0.1
    assert ordered > 0.5


@pytest.mark.slow
def test_an_ordered_attribute_whose_extremes_are_alike_has_no_trend():
    """The price of one line: what rises and falls again is not found. Categories find it."""
    assert rejected([0, 1, 1, 0], "ordinal") < 0.1
    assert rejected([0, 1, 1, 0], "categorical") > 0.8


def test_the_effect_of_an_ordered_attribute_is_that_from_its_lowest_to_its_highest_level():
    code, label = np.arange(400) % 5, np.arange(400) // 5 % 2
    answer = 0.3 + 0.1 * code
    found = gap_of(np.stack([1 - answer, answer], 1), code, label, kind="ordinal")
    assert found.test.observed == pytest.approx(0.4)
    assert found.effect.value == pytest.approx(0.4, abs=0.01)


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments = example(rng)
    found = [gap_of(*arguments, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert decode(PredictionGap, json.loads(json.dumps(encode(found[0])))) == found[0]


@pytest.mark.parametrize(("classes", "labels"), [(2, 1), (2, 2), (4, 4)])
def test_a_gap_of_the_size_called_detectable_is_found_in_about_four_of_five_cohorts(classes, labels):
    rng = np.random.default_rng(1)

    def found(effect):
        label, code = rng.integers(labels, size=160), rng.integers(2, size=160)
        label[0] = 1  # a class that the answers ignore; where there is one label, a single image has it
        noise = 0.05 * rng.normal(size=(160, classes))
        score = 1 / classes + noise - noise.mean(axis=1, keepdims=True)
        score[:, 0] += effect * (code - 0.5)
        score[:, 1] -= effect * (code - 0.5)
        return gap_of(score, code, label, permutations=99)

    detectable = np.mean([found(0).detectable for _ in range(20)])
    assert 0.68 < np.mean([found(detectable).test.p_value <= 0.05 for _ in range(200)]) <= 0.99
    assert np.mean([found(detectable / 2).test.p_value <= 0.05 for _ in range(100)]) < 0.6  # the negative control


def test_predictions_that_vary_between_labels_alone_have_nothing_to_detect():
    code, label = np.arange(40) % 2, np.arange(40) // 2 % 2
    assert gap_of(np.array([[0.75, 0.25], [0.25, 0.75]])[label], code, label).detectable == 0.0
    with pytest.raises(Unmeasurable, match=r"^the answers do not vary$"):
        gap_of(np.full((40, 2), 0.5), code, label)


def test_images_with_answers_alone_have_a_gap(rng):
    score, code, label, patient = example(rng)
    head = np.log(score) @ np.linalg.inv(np.eye(3) + 1)
    with_embeddings = images_of(label, patient, points=head, weight=np.eye(3) + 1, **QUICK)
    found = prediction_gap(with_embeddings.by("attribute", levels_of(code)))
    assert found.test.observed == pytest.approx(gap_of(score, code, label, patient).test.observed)
