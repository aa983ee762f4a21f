# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from repair_cases import BIAS, WEIGHT, draw
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_shortcut.repair import rebalance
from monai_shortcut.repair.rebalancing import STRENGTHS
from monai_shortcut.types import Unmeasurable


@pytest.fixture(scope="module")
def head(fit):
    return rebalance(WEIGHT, BIAS, *fit.to_fit)


def gap(images, weight, bias):
    """How far the mean logit of the second class lies apart between the scanners, mean over labels."""
    logit = np.subtract(*(images.points @ weight.T + bias).T[::-1])
    cells = [[logit[(images.labels == y) & (images.scanner == s)].mean() for s in (0, 1)] for y in (0, 1)]
    return float(np.mean([high - low for low, high in cells]))


def test_the_head_minimizes_the_penalized_loss_of_its_weights(fit, head):
    """Each patient of a cell weighs the same, so do the levels of a label, and labels keep their shares."""
    weights = np.zeros(len(fit.labels))
    for label in (0, 1):
        for level in (0, 1):
            inside = (fit.labels == label) & (fit.scanner == level)
            people = set(fit.patients[inside])
            for name in people:
                own = inside & (fit.patients == name)
                weights[own] = (fit.labels == label).mean() / 2 / len(people) / own.sum()
    assert weights.sum() == pytest.approx(1)
    scale = fit.points.std(axis=0)

    def loss(theta):
        logit = fit.points @ theta[:8] + theta[8]
        added = (theta[:8] - WEIGHT[1]) * scale
        each = np.logaddexp(0, np.where(fit.labels == 1, -logit, logit))
        # Two rows move by half of it each, in opposite directions.
        return weights @ each + (added**2).sum() / 4 / head.told["strength"]

    expected = minimize(loss, np.zeros(9), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(np.append(head.weight[1] - head.weight[0], np.diff(head.bias)), expected, atol=3e-3)
    assert head.told["strength"] in STRENGTHS
    assert head.told["after"] < head.told["before"]


def test_other_patients_are_answered_with_less_of_the_scanner(others, head):
    assert gap(others, WEIGHT, BIAS) > 1.5
    assert abs(gap(others, head.weight, head.bias)) < 0.4
    balanced = draw(7, tie=0.0)  # where the scanner says nothing
    old, new = (roc_auc_score(balanced.labels, balanced.points @ (w[1] - w[0])) for w in (WEIGHT, head.weight))
    assert new > old + 0.02


def test_a_weak_trace_is_found_behind_strengths_that_are_no_better():
    """The weakest strengths hardly move the head, and held-out patients may find that worse by chance."""
    for seed in range(4):
        training = draw(20 + seed, patients=600, tie=0.8, trace=1.2)
        model = LogisticRegression().fit(training.points, training.labels)
        images = draw(30 + seed, patients=400, tie=0.4, trace=1.2)
        found = rebalance(model.coef_, model.intercept_, *images.to_fit)
        assert found.told["strength"] >= 1
        assert abs(found.weight[0, 1]) < 0.6 * model.coef_[0, 1]


def test_a_single_logit_gets_the_same_head(fit, head):
    single = rebalance(WEIGHT[1:], BIAS[1:], *fit.to_fit)
    assert (single.weight.shape, single.bias.shape) == ((1, 8), (1,))
    np.testing.assert_allclose(single.weight[0], head.weight[1] - head.weight[0], atol=1e-6)
    np.testing.assert_allclose(single.bias[0], head.bias[1] - head.bias[0], atol=1e-6)


def test_a_head_that_is_right_already_is_hardly_moved():
    images = draw(5, trace=0.0)
    logit = 2 * images.points[:, 0] - 2  # of two unit normals, 2 apart, for the share of a patient's own deviation
    right = np.zeros((2, 8))
    right[1, 0] = 1.8
    found = rebalance(right, np.array([0.0, -1.8]), *images.to_fit)
    moved = images.points @ np.diff(found.weight, axis=0)[0] + np.diff(found.bias)
    assert np.corrcoef(moved, logit)[0, 1] > 0.97


def test_cells_that_cannot_be_balanced_are_named(fit):
    points, labels, codes, patients = fit.to_fit
    with pytest.raises(Unmeasurable, match="diagnosis, got only label 0 at level 0, label 1 at level 1"):
        rebalance(WEIGHT, BIAS, points, labels, labels, patients)
    chosen = (labels == 0) | (codes == 1)
    with pytest.raises(Unmeasurable, match=r"at each level, got label 1 at level 0 \(0 patients\)$"):
        rebalance(WEIGHT, BIAS, points[chosen], labels[chosen], codes[chosen], patients[chosen])
    both = np.stack([codes, np.where(codes == 1, 0, fit.site > 0)], axis=1)
    named = (
        r"each combination of the levels, got label 0 at levels 1 and 1 \(0 patients\), label 1 at levels 1 and 1 \(0"
    )
    with pytest.raises(Unmeasurable, match=named):
        rebalance(WEIGHT, BIAS, points, labels, both, patients)


def test_a_class_without_images_is_not_driven_out_of_the_head(fit):
    weight, bias = np.concatenate([WEIGHT, WEIGHT[:1]]), np.append(BIAS, 0.0)
    with pytest.raises(Unmeasurable, match=r"each label must have at least 5 patients .* label 2 at level 0 \(0 pat"):
        rebalance(weight, bias, *fit.to_fit)


def test_classes_and_levels_may_be_several(rng):
    """Of three classes and three levels, the weights are those of the first principles above."""
    labels, patients = rng.integers(3, size=600), np.arange(600) // 2
    codes = np.where(rng.random(600) < 0.4, labels, rng.integers(3, size=600))
    points = rng.normal(size=(600, 5)) + 2 * np.eye(5)[labels]
    points[:, 4] += 2 * codes
    weight = np.zeros((3, 5))
    weight[:, 4] = [-1, 0, 1]  # reads the levels alone
    head = rebalance(weight, np.zeros(3), points, labels, codes, patients)
    assert (head.weight.shape, head.bias.shape) == ((3, 5), (3,))
    assert abs(np.diff(head.weight[:, 4])).max() < 0.2
    assert ((points @ head.weight.T + head.bias).argmax(axis=1) == labels).mean() > 0.75
