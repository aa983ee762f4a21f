# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from repair_cases import BIAS, WEIGHT, draw

from monai_shortcut.repair import erase
from monai_shortcut.statistics.erasers import random_eraser
from monai_shortcut.types import Unmeasurable


def within(values, labels):
    """Deviations from the means of labels, one label after the other."""
    values, result = np.asarray(values, dtype=float), np.empty(np.shape(values))
    for label in set(labels.tolist()):
        chosen = [row for row, own in enumerate(labels) if own == label]
        result[chosen] = values[chosen] - sum(values[row] for row in chosen) / len(chosen)
    return result


def covariance(logits, codes, labels):
    """Of logits with each level of an attribute, within labels."""
    return within(logits, labels).T @ within(np.eye(codes.max() + 1)[codes], labels) / len(labels)


@pytest.mark.parametrize("shrinkage", [0.0, None])
def test_no_covariance_of_logits_and_attribute_is_left(fit, rng, shrinkage):
    head = erase(WEIGHT, BIAS, *fit.to_fit, shrinkage=shrinkage)
    assert head.weight.shape == WEIGHT.shape
    assert head.bias.shape == BIAS.shape
    logits = fit.points @ head.weight.T + head.bias
    np.testing.assert_allclose(covariance(logits, fit.scanner, fit.labels), 0, atol=1e-10)
    assert abs(covariance(fit.points @ WEIGHT.T, fit.scanner, fit.labels)).max() > 0.2
    assert abs(covariance(logits, fit.site, fit.labels)).max() > 1e-3  # another attribute stays
    other = random_eraser(fit.points, 1, rng, fit.labels)  # and a direction that means nothing leaves it
    assert abs(covariance(other(fit.points) @ WEIGHT.T, fit.scanner, fit.labels)).max() > 0.05
    np.testing.assert_allclose(logits.mean(axis=0), (fit.points @ WEIGHT.T + BIAS).mean(axis=0), atol=1e-10)
    assert (head.method, head.images, head.told["rank"]) == ("erase", 300, 1.0)
    assert set(head.patients) == set(fit.patients.tolist())


def test_the_head_is_the_least_change_without_that_covariance(fit):
    """Lagrange: p minimizes (p - w)' S (p - w) under p' a = 0, for each row w of the head."""
    deviations = within(fit.points, fit.labels)
    spread, across = deviations.T @ deviations, deviations.T @ within(fit.scanner[:, None], fit.labels)
    expected = [row - np.linalg.solve(spread, across)[:, 0] * (row @ across[:, 0]) / (
        across[:, 0] @ np.linalg.solve(spread, across)[:, 0]) for row in WEIGHT]  # fmt: skip
    head = erase(WEIGHT, BIAS, *fit.to_fit, shrinkage=0.0)
    np.testing.assert_allclose(head.weight, expected, atol=1e-9)
    np.testing.assert_allclose(head.bias, BIAS + (WEIGHT - expected) @ fit.points.mean(axis=0), atol=1e-9)


def test_the_head_equals_one_behind_the_eraser_of_concept_erasure(fit):
    leace = pytest.importorskip("concept_erasure")
    centred, member = within(fit.points, fit.labels), within(np.eye(2)[fit.scanner], fit.labels)
    settings = {"shrinkage": False, "constrain_cov_trace": False, "svd_tol": 1e-9}
    other = leace.LeaceFitter.fit(torch.from_numpy(centred), torch.from_numpy(member), **settings).eraser
    head = erase(WEIGHT, BIAS, *fit.to_fit, shrinkage=0.0)
    np.testing.assert_allclose(head.weight, WEIGHT @ other.P.numpy(), atol=1e-8)


def test_several_attributes_are_erased_together_and_a_single_logit_stays_one(fit):
    codes = np.stack([fit.scanner, fit.site], axis=1)
    codes[:7, 1] = -1  # unknown: not fitted to
    head = erase(WEIGHT[1:], BIAS[1:], fit.points, fit.labels, codes, fit.patients)
    assert (head.weight.shape, head.bias.shape, head.told["rank"], head.images) == ((1, 8), (1,), 2.0, 293)
    logits, labels = (fit.points @ head.weight.T + head.bias)[7:], fit.labels[7:]
    for code in codes[7:].T:
        np.testing.assert_allclose(covariance(logits, code, labels), 0, atol=1e-10)
    alone = erase(WEIGHT[1:], BIAS[1:], *fit.to_fit)
    assert abs(covariance(fit.points @ alone.weight.T, fit.site, fit.labels)).max() > 1e-3


def test_what_cannot_be_erased_is_refused(fit):
    points, labels, codes, patients = fit.to_fit
    with pytest.raises(Unmeasurable, match="diagnosis, got only label 0 at level 0, label 1 at level 1"):
        erase(WEIGHT, BIAS, points, labels, labels, patients)
    with pytest.raises(Unmeasurable, match=r"the attribute must be encoded for a linear map to remove it, got a probe"):
        erase(WEIGHT, BIAS, np.random.default_rng(3).normal(size=points.shape), labels, codes, patients)
    rare = codes.copy()
    rare[:3] = 2
    with pytest.raises(
        Unmeasurable, match=r"at least 5 patients of a label at each level, got label . at level 2 \(. pa"
    ):
        erase(WEIGHT, BIAS, points, labels, rare, patients)
    with pytest.raises(Unmeasurable, match="levels must be known of some images, got none"):
        erase(WEIGHT, BIAS, points, labels, np.full(len(codes), -1), patients)
    with pytest.raises(ValueError, match=r"codes must have shape \(300,\) or \(300, A\), got \(299,\)"):
        erase(WEIGHT, BIAS, points, labels, codes[:-1], patients)
    with pytest.raises(ValueError, match=r"codes must be integers of at least 0, or -1 .*, got int64 \[-2, -1\]"):
        erase(WEIGHT, BIAS, points, labels, codes - 2, patients)
    with pytest.raises(ValueError, match=r"codes must be integers .*, got float64 \[0.0, 1.0\]"):
        erase(WEIGHT, BIAS, points, labels, codes.astype(float), patients)
    with pytest.raises(Unmeasurable, match="images must be of two labels or more, got label 1 alone"):
        erase(WEIGHT, BIAS, *(one[labels == 1] for one in fit.to_fit))
    both = np.stack([codes, np.full(len(codes), 3)], axis=1)
    with pytest.raises(Unmeasurable, match="attribute 1 must have two levels or more, got level 3 alone"):
        erase(WEIGHT, BIAS, points, labels, both, patients)


def test_cells_have_the_levels_that_were_given(fit):
    """Of levels 0, 1 and 2 these images have 0 and 2."""
    with pytest.raises(Unmeasurable, match="diagnosis, got only label 0 at level 0, label 1 at level 2"):
        erase(WEIGHT, BIAS, fit.points, fit.labels, 2 * fit.labels, fit.patients)


def test_levels_and_classes_may_be_several(rng):
    """Four classes; three levels along one coordinate and two along another; some levels unknown."""
    labels, patients = rng.integers(4, size=900), np.arange(900) // 2
    codes = np.stack([(labels + rng.integers(2, size=900)) % 3, rng.integers(2, size=900)], axis=1)
    points = rng.normal(size=(900, 8)) + np.eye(8)[labels] * 2
    points[:, 5] += codes[:, 0] ** 2
    points[:, 6] += 2 * codes[:, 1]
    points[:, 7] += codes[:, 0] == 1
    codes[:60, 0] = -1
    weight, bias = rng.normal(size=(4, 8)), rng.normal(size=4)
    head = erase(weight, bias, points, labels, codes, patients)
    assert (head.weight.shape, head.bias.shape, head.images, head.told["rank"]) == ((4, 8), (4,), 840, 3.0)
    logits = (points @ head.weight.T + head.bias)[60:]
    for code in codes[60:].T:
        np.testing.assert_allclose(covariance(logits, code, labels[60:]), 0, atol=1e-10)
    alone = erase(weight, bias, points, labels, codes[:, 0], patients)
    assert alone.told["rank"] == 2.0
    assert abs(covariance((points @ alone.weight.T)[60:], codes[60:, 1], labels[60:])).max() > 0.05


def test_a_use_that_is_not_linear_stays():
    """The head reads a coordinate whose scatter, not mean, is the scanner's: there is nothing to erase."""
    images = draw(4, trace=0.0)
    images.points[:, 1] *= np.where(images.scanner == 1, 4.0, 0.25)
    with pytest.raises(Unmeasurable, match="must be encoded for a linear map"):
        erase(WEIGHT, BIAS, *images.to_fit)
