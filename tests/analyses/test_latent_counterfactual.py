# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from samples import sample_of
from scipy.special import expit, softmax

from monai_shortcut.analyses.latent_counterfactual import LatentCounterfactual, latent_counterfactual
from monai_shortcut.storage.records import decode, encode


def example(rng, levels: int = 2, classes: int = 3, patients: int = 40):
    """Probabilities, codes, labels and patients; codes and labels differ between the images of a patient."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    n = len(patient)
    code, label = rng.permutation(np.arange(n) % levels), rng.permutation(np.arange(n) % classes)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[label] + rng.normal(size=(levels, classes))[code]
    return softmax(logits, axis=1), code, label, patient


def clustered(seed: int, tracks: float = 0.5, patients: int = 60):
    """Patients with an effect on their logits, an attribute at random and one label each."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    label = rng.permutation(np.arange(patients) % 2)
    code = np.where(rng.random(patients) < tracks, label, 1 - label)
    logit = (label - 0.5 + rng.normal(size=patients))[patient] + 0.3 * rng.normal(size=len(patient))
    return np.stack([1 - expit(logit), expit(logit)], axis=1), code[patient], label[patient], patient


def moved(score, code, label, patient=None, **draws) -> LatentCounterfactual:
    settings = {"permutations": 19, "erasures": 19, **draws}
    return latent_counterfactual(sample_of(code, label, patient, answers=score, **settings))


def by_hand(score, code, label):
    """Image by image; pairs of levels by their pairs of images."""
    logits = np.log(score) - np.log(score).mean(axis=1, keepdims=True)
    total = pairs = 0.0
    for first, second in ((a, b) for a in np.unique(code) for b in np.unique(code) if a < b):
        shifts, weights, noise = [], [], []
        for value in np.unique(label):
            parts = [logits[(label == value) & (code == level)] for level in (first, second)]
            shifts.append(parts[1].mean(axis=0) - parts[0].mean(axis=0))
            weights.append(1 / (1 / len(parts[0]) + 1 / len(parts[1])))
            own = [logits[(label == value) & (code == level)] for level in np.unique(code)]
            noise.append(np.concatenate([part - part.mean(axis=0) for part in own]).var(axis=0) / weights[-1])
        pooled = np.average(shifts, axis=0, weights=weights)
        between = np.maximum(((np.array(shifts) - pooled) ** 2 - noise).mean(axis=0), 0)
        drawn = [pooled + between / (between + own) * (s - pooled) for s, own in zip(shifts, noise, strict=True)]
        change = {first: [], second: []}
        for image, level, value, before in zip(logits, code, label, score, strict=True):
            if level in change:
                after = softmax(image + (1 if level == first else -1) * drawn[value])
                change[level].append(0.5 * np.abs(after - before).sum())
        share = sum(
            ((label == value) & (code == first)).sum() * ((label == value) & (code == second)).sum()
            for value in np.unique(label)
        )
        total += share * (np.mean(change[first]) + np.mean(change[second])) / 2
        pairs += share
    return total / pairs


@pytest.mark.parametrize("levels", [2, 3])
def test_it_is_what_each_image_loses_on_the_way(rng, levels):
    score, code, label, patient = example(rng, levels)
    code[:10] = -1
    sample = sample_of(code, label, patient, answers=score, permutations=30, erasures=19)
    found = latent_counterfactual(sample)
    raw, *null = (by_hand(sample.probabilities, coding, sample.labels) for coding in sample.permuted[:20])
    assert found.test.observed == pytest.approx(raw, abs=1e-10)
    np.testing.assert_allclose(found.test.null, null, atol=1e-10)
    squared = raw**2 - np.mean(np.square(null))
    assert found.effect == pytest.approx(np.sign(squared) * np.sqrt(abs(squared)))
    assert found.test.p_value == (1 + np.sum(np.array(null) >= raw)) / 20


def test_of_a_shift_of_all_logits_it_is_the_exact_effect(rng):
    label, code = np.repeat([0, 1], 2000), rng.integers(2, size=4000)
    logits, shift = rng.normal(size=(4000, 3)) + 2 * np.eye(3)[label], np.array([1.5, -0.5, 0.0])
    score = softmax(logits + code[:, None] * shift, axis=1)
    swapped = softmax(logits + (1 - code)[:, None] * shift, axis=1)
    truth = 0.5 * np.abs(swapped - score).sum(axis=1).mean()
    assert moved(score, code, label).effect == pytest.approx(truth, abs=0.02)
    assert abs(moved(softmax(logits, axis=1), code, label).effect) < 0.03  # the negative control
    rare = code & (rng.random(4000) < np.where(label == 0, 0.02, 1.0))  # one label holds few images of a level
    few = softmax(logits + rare[:, None] * shift, axis=1)
    assert moved(few, rare, label).effect == pytest.approx(truth, abs=0.05)


def test_a_label_without_images_of_a_level_borrows_from_the_others(rng):
    score, code, label, patient = example(rng)
    kept = (code == 0) | (label != 2)
    found = moved(score[kept], code[kept], label[kept], patient[kept])
    assert 0 < found.test.observed < 1
    assert np.isfinite(found.test.null).all()


def test_levels_that_no_label_holds_together_are_no_pair(rng):
    """Label 0 holds levels 0 and 1 alone, and label 1 levels 1 and 2: levels 0 and 2 never meet."""
    score, code, label, patient = example(rng, classes=2)
    found = moved(score, code + label, label, patient)
    # Each pair of levels is compared in a single label, whose difference nothing draws elsewhere.
    logits, total, pairs = np.log(score) - np.log(score).mean(axis=1, keepdims=True), 0.0, 0.0
    for value in (0, 1):
        first, second = (logits[(label == value) & (code == level)] for level in (0, 1))
        shift = second.mean(axis=0) - first.mean(axis=0)
        change = []
        for level, sign in ((0, 1), (1, -1)):
            chosen = (code + label) == level + value  # whatever their label, whose own difference is not known
            change.append(
                0.5 * np.abs(softmax(logits[chosen] + sign * shift, axis=1) - score[chosen]).sum(axis=1).mean()
            )
        total += len(first) * len(second) * np.mean(change)
        pairs += len(first) * len(second)
    assert found.test.observed == pytest.approx(total / pairs, abs=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("tracks", [0.5, 0.8])
def test_p_values_are_uniform_without_an_effect(tracks):
    p_values = [moved(*clustered(seed, tracks), seed=seed).test.p_value for seed in range(300)]
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.085
    np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments = example(rng)
    found = [moved(*arguments, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert decode(LatentCounterfactual, encode(found[0])) == found[0]
