# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from monai_shortcut.analyses.prediction_gap import latent_counterfactual, prediction_gap
from monai_shortcut.statistics.resampling import bootstrap_weights, permute_by_patient

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
    return np.stack([1 - expit(logit), expit(logit)], axis=1), code[patient], label[patient], patient, rng


def by_definition(score, code, label, weight=None):
    """Total variation between mean probabilities, averaged over pairs of images of one label and two levels."""
    weight = np.ones(len(code)) if weight is None else weight
    total = pairs = 0.0
    for value in np.unique(label):
        for first in np.unique(code):
            for second in np.unique(code):
                own, other = ((label == value) & (code == level) for level in (first, second))
                share = weight[own].sum() * weight[other].sum()
                if first < second and share:
                    means = [np.average(score[s], axis=0, weights=weight[s]) for s in (own, other)]
                    total += share * 0.5 * sum(abs(a - b) for a, b in zip(*means, strict=True))
                    pairs += share
    return total / pairs


def signed_root(values):
    return np.sign(values) * np.sqrt(np.abs(values))


@pytest.mark.parametrize(("levels", "classes"), [(2, 2), (3, 3), (2, 4), (5, 2)])
def test_every_number_equals_the_definition(rng, levels, classes):
    score, code, label, patient = example(rng, levels, classes)
    found = prediction_gap(
        score, code, label, patient, permutations=9, bootstraps=70, level=0.9, rng=np.random.default_rng(1)
    )
    again = np.random.default_rng(1)
    draws = permute_by_patient(patient, 9, again, label)
    weights = bootstrap_weights(patient, 70, again)
    raw = by_definition(score, code, label)
    null = np.array([by_definition(score, code[draw], label) for draw in draws])
    resampled = np.array([by_definition(score, code, label, weight) for weight in weights])
    noise = (null**2).mean()
    assert found.raw == pytest.approx(raw, rel=1e-10)
    np.testing.assert_allclose(found.null, null, rtol=1e-10)
    assert found.effect == pytest.approx(signed_root(raw**2 - noise))
    np.testing.assert_allclose(found.interval, np.quantile(signed_root(resampled**2 - 2 * noise), [0.05, 0.95]))
    assert found.p_value == (1 + (null >= raw - 1e-12).sum()) / 10


def test_means_are_those_of_the_cells_and_none_where_no_image_is(rng):
    score, code, label, patient = example(rng)
    chosen = ~((code == 2) & (label == 1))
    score, code, label, patient = score[chosen], code[chosen], label[chosen], patient[chosen]
    means = prediction_gap(score, code, label, patient, rng=rng, **QUICK).means
    for value in range(3):
        for level in range(3):
            if (value, level) == (1, 2):
                assert means[value][level] == (None, None, None)
            else:
                expected = score[(label == value) & (code == level)].mean(axis=0)
                np.testing.assert_allclose(means[value][level], expected, rtol=1e-12)


def test_a_toy_has_the_gap_one_computes_by_hand(rng):
    """Label 0: 2 x 2 images, 0.4 apart. Label 1: 3 x 1 images, 0.2 apart. (4 * 0.4 + 3 * 0.2) / 7."""
    second = np.array([0.2, 0.4, 0.6, 0.8, 0.5, 0.6, 0.7, 0.8])
    code, label = [0, 0, 1, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    found = prediction_gap(np.stack([1 - second, second], 1), code, label, range(8), rng=rng, **QUICK)
    assert found.raw == pytest.approx(2.2 / 7)


def test_predictions_of_the_attribute_alone_have_the_whole_gap(rng):
    code, label = np.repeat([0, 1], 100), np.tile([0, 1], 100)
    found = prediction_gap(np.eye(2)[code], code, label, np.arange(200), permutations=199, rng=rng)
    assert found.raw == 1
    assert found.effect == pytest.approx(1, abs=0.02)
    assert found.p_value == 1 / 200


def test_labels_need_not_be_numbers_from_zero(rng):
    score, code, label, patient = example(rng)
    first, second = (
        prediction_gap(score, code, values, patient, rng=np.random.default_rng(1), **QUICK)
        for values in (label, np.array(["x", "y", "z"])[label])
    )
    assert first == second


def test_noise_is_subtracted_from_the_effect_and_not_from_the_raw_gap():
    found = [prediction_gap(*clustered(seed)[:4], rng=clustered(seed)[4], **QUICK) for seed in range(200)]
    assert np.mean([gap.raw for gap in found]) > 0.05
    assert np.mean([gap.effect for gap in found]) == pytest.approx(0, abs=0.015)
    assert np.mean([gap.raw**2 - np.mean(np.square(gap.null)) for gap in found]) == pytest.approx(0, abs=0.001)
    assert min(gap.effect for gap in found) < 0


@pytest.mark.parametrize(
    ("tracks", "by_patient", "low", "high"), [(0.5, True, 0.02, 0.085), (0.8, True, 0.02, 0.085), (0.5, False, 0.2, 1)]
)
def test_p_values_are_uniform_under_a_clustered_null_unless_patients_are_ignored(tracks, by_patient, low, high):
    p_values = []
    for seed in range(300):
        score, code, label, patient, rng = clustered(seed, tracks=tracks)
        unit = patient if by_patient else np.arange(len(patient))
        p_values.append(prediction_gap(score, code, label, unit, rng=rng, **QUICK).p_value)
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


def test_the_interval_covers_the_effect():
    """The truth: patients' logits are normal around their label and attribute, with variance 1 + 0.3^2."""
    logits = np.sqrt(1.09) * np.random.default_rng(0).normal(size=100_000)
    truth = np.mean([expit(logits + shift + 1) - expit(logits + shift) for shift in (-0.5, 0.5)])
    covered, effects, rejected = [], [], []
    for seed in range(150):
        score, code, label, patient, rng = clustered(seed, effect=1.0)
        found = prediction_gap(score, code, label, patient, permutations=39, bootstraps=99, rng=rng)
        covered.append(found.interval[0] <= truth <= found.interval[1])
        effects.append(found.effect)
        rejected.append(found.p_value <= 0.05)
    assert 0.85 <= np.mean(covered) <= 0.99
    assert np.mean(effects) == pytest.approx(truth, abs=0.03)
    assert np.mean(rejected) > 0.7


def test_an_attribute_that_tracks_the_label_has_no_gap_within_labels():
    score, code, label, patient, rng = clustered(0, tracks=0.85, patients=300)
    score = np.where(label[:, None] == 1, [0.2, 0.8], [0.8, 0.2]) + 0.05 * (score - 0.5)
    found = prediction_gap(score, code, label, patient, rng=rng, **QUICK)
    assert found.raw < 0.01
    assert abs(found.effect) < 0.01
    assert found.p_value > 0.05
    ignoring_labels = prediction_gap(score, code, np.zeros_like(label), patient, rng=rng, **QUICK)
    assert ignoring_labels.effect > 0.3  # the negative control
    assert ignoring_labels.p_value == 1 / 40


def test_results_depend_on_the_generator_alone(rng):
    arguments = example(rng)
    found = [prediction_gap(*arguments, rng=np.random.default_rng(seed), **QUICK) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({0: np.ones(6)}, r"probabilities must have shape \(N, C\), got \(6,\)"),
        ({1: [0, 1]}, r"codes must have shape \(6,\) to match probabilities, got \(2,\)"),
        ({2: [0, 1]}, r"labels must have shape \(6,\) to match probabilities, got \(2,\)"),
        ({3: [0, 1]}, r"patients must have shape \(6,\) to match probabilities, got \(2,\)"),
        ({0: [[0.5, np.nan]] * 6}, "probabilities must be finite, got 6 that are not"),
        ({2: [0, 1] * 3}, "at least one label must hold images of two levels, got an attribute that coincides with it"),
    ],
)
def test_what_cannot_be_compared_is_refused(rng, replaced, message):
    arguments = [np.full((6, 2), 0.5), [0, 1] * 3, [0] * 6, np.arange(6)]
    arguments = [replaced.get(index, value) for index, value in enumerate(arguments)]
    with pytest.raises(ValueError, match=message):
        prediction_gap(*arguments, rng=rng)


def by_hand(score, code, label):
    """The latent counterfactual of two levels, image by image."""
    logits = np.log(score) - np.log(score).mean(axis=1, keepdims=True)
    shifts, weights, noise = [], [], []
    for value in np.unique(label):
        parts = [logits[(label == value) & (code == level)] for level in (0, 1)]
        shifts.append(parts[1].mean(axis=0) - parts[0].mean(axis=0))
        weights.append(1 / (1 / len(parts[0]) + 1 / len(parts[1])))
        noise.append(np.concatenate([part - part.mean(axis=0) for part in parts]).var(axis=0) / weights[-1])
    pooled = np.average(shifts, axis=0, weights=weights)
    between = np.maximum(((np.array(shifts) - pooled) ** 2 - noise).mean(axis=0), 0)
    drawn = [pooled + between / (between + own) * (shift - pooled) for shift, own in zip(shifts, noise, strict=True)]
    moved = {0: [], 1: []}
    for image, level, value, before in zip(logits, code, label, score, strict=True):
        after = softmax(image + (1 if level == 0 else -1) * drawn[value])
        moved[level].append(0.5 * np.abs(after - before).sum())
    return np.mean(moved[0]) + np.mean(moved[1])  # both levels take part in the one pair of levels


def test_the_latent_counterfactual_is_what_each_image_loses_on_the_way(rng):
    score, code, label, patient = example(rng, levels=2, patients=40)
    found = latent_counterfactual(score, code, label, patient, permutations=19, rng=np.random.default_rng(3))
    assert found.raw == pytest.approx(by_hand(score, code, label) / 2, abs=1e-10)
    draws = code[permute_by_patient(patient, 19, np.random.default_rng(3), label)]
    np.testing.assert_allclose(found.null, [by_hand(score, draw, label) / 2 for draw in draws], atol=1e-10)
    squared = found.raw**2 - np.mean(np.square(found.null))
    assert found.effect == pytest.approx(np.sign(squared) * np.sqrt(abs(squared)))
    assert found.p_value == (1 + np.sum(np.array(found.null) >= found.raw)) / 20


def test_the_latent_counterfactual_of_a_shift_of_all_logits_is_its_exact_effect(rng):
    label, code = np.repeat([0, 1], 2000), rng.integers(2, size=4000)
    logits, shift = rng.normal(size=(4000, 3)) + 2 * np.eye(3)[label], np.array([1.5, -0.5, 0.0])
    score = softmax(logits + code[:, None] * shift, axis=1)
    swapped = softmax(logits + (1 - code)[:, None] * shift, axis=1)
    truth = 0.5 * np.abs(swapped - score).sum(axis=1).mean()
    found = latent_counterfactual(score, code, label, np.arange(4000), permutations=9, rng=rng)
    assert found.effect == pytest.approx(truth, abs=0.02)
    same = latent_counterfactual(softmax(logits, axis=1), code, label, np.arange(4000), permutations=9, rng=rng)
    assert abs(same.effect) < 0.03  # the negative control
    rare = code & (rng.random(4000) < np.where(label == 0, 0.02, 1.0))  # one label holds few images of a level
    few = softmax(logits + rare[:, None] * shift, axis=1)
    tied = latent_counterfactual(few, rare, label, np.arange(4000), permutations=9, rng=rng)
    assert tied.effect == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("tracks", [0.5, 0.8])
def test_latent_p_values_are_uniform_without_an_effect(tracks):
    p_values = []
    for seed in range(200):
        score, code, label, patient, rng = clustered(seed, tracks=tracks)
        p_values.append(latent_counterfactual(score, code, label, patient, permutations=19, rng=rng).p_value)
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.1


@pytest.mark.parametrize(("classes", "labels"), [(2, 1), (2, 2), (4, 4)])
def test_a_gap_of_the_size_called_detectable_is_found_in_about_four_of_five_cohorts(classes, labels):
    rng = np.random.default_rng(1)

    def cohort(effect):
        label, code = rng.integers(labels, size=160), rng.integers(2, size=160)
        noise = 0.05 * rng.normal(size=(160, classes))
        score = 1 / classes + noise - noise.mean(axis=1, keepdims=True)
        score[:, 0] += effect * (code - 0.5)
        score[:, 1] -= effect * (code - 0.5)
        return score, code, label, np.arange(160)

    settings = {"permutations": 99, "bootstraps": 2, "rng": rng}
    detectable = np.mean([prediction_gap(*cohort(0), **settings).detectable for _ in range(20)])
    found = [prediction_gap(*cohort(detectable), **settings).p_value <= 0.05 for _ in range(150)]
    assert 0.68 < np.mean(found) <= 0.99
    half = [prediction_gap(*cohort(detectable / 2), **settings).p_value <= 0.05 for _ in range(100)]
    assert np.mean(half) < 0.6  # the negative control


def test_predictions_that_never_vary_have_nothing_to_detect(rng):
    found = prediction_gap(np.full((40, 2), 0.5), np.arange(40) % 2, np.zeros(40, int), np.arange(40), rng=rng, **QUICK)
    assert found.detectable == 0.0


def test_what_cannot_be_moved_is_refused(rng):
    with pytest.raises(ValueError, match="at least one label must hold images of two levels"):
        latent_counterfactual(np.full((4, 2), 0.5), [0, 0, 1, 1], [0, 0, 1, 1], np.arange(4), rng=rng)
