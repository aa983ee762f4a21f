# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from monai_shortcut.statistics.fitted_heads import fitted_head
from monai_shortcut.statistics.resampling import patient_folds


def cohort(rng, classes: int, columns: int = 6):
    """60 patients with two images each; a column tells each class, and the columns have other scales."""
    patient = np.repeat(np.arange(60), 2)
    label = np.repeat(np.arange(60) % classes, 2)
    points = rng.normal(size=(120, columns))
    points[np.arange(120), label % columns] += 1.5
    return points * np.linspace(0.1, 10, columns) + 5, label, patient


@pytest.mark.parametrize("classes", [2, 3])
def test_one_head_gives_what_heads_say_of_patients_they_have_not_seen(rng, classes):
    points, label, patient = cohort(rng, classes)
    found = fitted_head(points, label, patient, 4, np.random.default_rng(3))
    fold = patient_folds(patient, label, 4, np.random.default_rng(3))
    for index in range(4):
        held = fold == index
        assert not set(patient[held]) & set(patient[~held])
        scaler = StandardScaler().fit(points[~held])
        head = LogisticRegression(max_iter=5000).fit(scaler.transform(points[~held]), label[~held])
        logits = found.embeddings[held] @ found.weight.T + found.bias
        np.testing.assert_allclose(logits, found.logits[held], atol=1e-6)
        logits = np.hstack([np.zeros_like(logits), logits]) if classes == 2 else logits
        likely = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(likely, head.predict_proba(scaler.transform(points[held])), atol=1e-5)
    # Embeddings move along the head's rows alone.
    away = found.embeddings - points
    inside = away @ np.linalg.pinv(found.weight) @ found.weight
    np.testing.assert_allclose(away, inside, atol=1e-8)
    assert np.abs(away).max() > 1e-3


def test_labels_that_mean_nothing_are_not_told_apart(rng):
    """A head that had seen the patients would tell them: 120 images have 100 numbers each."""
    points, _, patient = cohort(rng, 2, 100)
    label = np.repeat(rng.permutation(60) % 2, 2)
    right = (fitted_head(points, label, patient, 5, rng).logits[:, 0] > 0) == label
    assert 0.3 < right.mean() < 0.7


def test_a_class_in_one_fold_only_is_refused(rng):
    points, label, patient = cohort(rng, 2)
    label[:2] = 2
    with pytest.raises(ValueError, match=r"every class must have patients in two folds or more .* of class \[2\]"):
        fitted_head(points, label, patient, 5, rng)


def test_fewer_numbers_than_classes_are_refused(rng):
    points, label, patient = cohort(rng, 4, 2)
    with pytest.raises(ValueError, match="as many numbers as the head tells classes apart by, got 2 numbers for 4"):
        fitted_head(points, label, patient, 5, rng)
