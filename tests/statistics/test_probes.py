# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge

from monai_shortcut.statistics.probes import fit_probe, null_probes
from monai_shortcut.statistics.resampling import permute_by_patient


def embedded(rng, images: int, columns: int, levels: int, strata: int = 2):
    """Correlated embeddings of unequal scale that know the level and the class; one column is constant."""
    code, stratum = rng.permutation(np.arange(images) % levels), rng.permutation(np.arange(images) % strata)
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) * rng.uniform(0.1, 9, columns)
    points += rng.normal(size=(levels, columns))[code] + rng.normal(size=(strata, columns))[stratum] + 5
    points[:, -1] = 0.1
    return points, code, stratum


def by_definition(points, code, stratum=None):
    """Standardize, shrink and solve in all D dimensions."""
    scale = points.std(axis=0)
    varying = scale > 1e-9
    standard = np.zeros_like(points)
    standard[:, varying] = ((points - points.mean(axis=0)) / np.where(varying, scale, 1))[:, varying]
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    stratum = np.zeros_like(code) if stratum is None else stratum
    residual = standard.copy()
    for value in np.unique(stratum):
        residual[stratum == value] -= standard[stratum == value].mean(axis=0)
    covariance = residual.T @ residual / len(points)
    dimensions = points.shape[1]
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / dimensions * np.eye(dimensions)
    weight, bias = [], []
    for level in np.unique(code):
        mean = residual[code == level].mean(axis=0)
        row = np.linalg.inv(covariance) @ mean
        weight.append(np.where(varying, row / np.where(varying, scale, 1), 0))
        bias.append(-0.5 * mean @ row - points.mean(axis=0) @ weight[-1])
    return np.array(weight), np.array(bias), shrinkage


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("images", "columns", "levels"), [(150, 8, 2), (150, 8, 4), (40, 90, 3), (60, 60, 2)])
def test_probe_equals_standardize_shrink_and_solve(rng, images, columns, levels, within):
    points, code, stratum = embedded(rng, images, columns, levels)
    probe = fit_probe(points, code, stratum if within else None)
    weight, bias, _ = by_definition(points, code, stratum if within else None)
    np.testing.assert_allclose(probe.weight, weight, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(probe.bias, bias, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(probe(points[:5]), points[:5] @ weight.T + bias, atol=1e-7)


def test_probe_of_two_levels_has_the_direction_of_scikit_learns_ridge(rng):
    points, code, _ = embedded(rng, 80, 30, 2)
    points = points[:, :-1]
    *_, shrinkage = by_definition(points, code)
    standard = (points - points.mean(axis=0)) / points.std(axis=0)
    ridge = Ridge(alpha=len(points) * shrinkage / (1 - shrinkage)).fit(standard, code)
    weight = fit_probe(points, code).weight
    expected = ridge.coef_ / points.std(axis=0)
    ratio = (weight[1] - weight[0]) / expected
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)
    assert ratio[0] > 0


def test_probe_answers_as_scikit_learns_linear_discriminant_with_equal_priors(rng):
    code = np.repeat([0, 1], [3000, 1000])
    points = rng.normal(size=(4000, 5)) + code[:, None] * [1.0, 0.5, 0, 0, -1]
    answer = fit_probe(points, code)(points).argmax(axis=1)
    equal, observed = (
        LinearDiscriminantAnalysis(priors=priors).fit(points, code).predict(points) for priors in ([0.5, 0.5], None)
    )
    assert (answer == equal).mean() > 0.998
    assert (answer == observed).mean() < 0.97  # rare levels are not sacrificed to common ones


@pytest.mark.parametrize("columns", [6, 80])
def test_null_probes_are_the_probes_of_the_permuted_attribute(rng, columns):
    points, _, stratum = embedded(rng, 60, columns, 3)
    patient = np.repeat(np.arange(30), 2)
    code = rng.permutation(np.arange(30) % 3)[patient]
    for strata, within in ((None, False), (stratum, False), (stratum, True)):
        found = null_probes(points, code, patient, 4, np.random.default_rng(1), strata, within)
        draws = permute_by_patient(patient, 4, np.random.default_rng(1), strata)
        expected = [fit_probe(points, code[draw], stratum if within else None).weight for draw in draws]
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)
        assert abs(found[0] - found[1]).max() > 0.01  # items differ


def test_a_balanced_probe_reads_weighted_means_in_the_metric_of_all_embeddings(rng):
    points, code, stratum = embedded(rng, 90, 5, 3)
    stratum = np.where(rng.random(90) < 0.7, code % 2, stratum)
    cells = np.array([[((stratum == s) & (code == c)).sum() for c in range(3)] for s in range(2)])
    weight = np.bincount(stratum)[stratum] * np.bincount(code)[code] / 90 / cells[stratum, code]
    scale = np.where(points.std(axis=0) > 1e-9, points.std(axis=0), np.inf)
    standard = (points - points.mean(axis=0)) / scale
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    covariance = standard.T @ standard / 90
    covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 5 * np.eye(5)
    middle = np.average(standard, axis=0, weights=weight)
    means = [np.average(standard[code == c], axis=0, weights=weight[code == c]) - middle for c in range(3)]
    rows = np.linalg.solve(covariance, np.transpose(means)).T
    bias = -0.5 * np.sum(means * rows, axis=1) - rows @ middle
    probe = fit_probe(points, code, stratum, balanced=True)
    np.testing.assert_allclose(probe.weight, rows / scale, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(probe.bias, bias - probe.weight @ points.mean(axis=0), rtol=1e-8)
    assert abs(probe.weight - fit_probe(points, code).weight).max() > 0.01


def test_an_attribute_that_only_goes_along_with_the_class_leaves_a_balanced_probe_no_direction(rng):
    patient = np.repeat(np.arange(800), rng.integers(1, 5, 800))
    label = rng.integers(2, size=800)
    code = np.where(rng.random(800) < 0.85, label, 1 - label)[patient]
    label = label[patient]
    points = rng.normal(size=(len(patient), 6)) + 3 * label[:, None] * np.eye(6)[0]
    plain = np.diff(fit_probe(points, code).weight, axis=0)[0]
    balanced = np.diff(fit_probe(points, code, label, balanced=True).weight, axis=0)[0]
    assert abs(plain[0]) / np.linalg.norm(plain) > 0.9  # the class's direction, by which the head reads too
    assert abs(balanced[0]) < 0.2 * abs(plain[0])
    permuted = null_probes(points, code, patient, 3, np.random.default_rng(1), label, balanced=True)
    draws = permute_by_patient(patient, 3, np.random.default_rng(1), label)
    expected = [fit_probe(points, code[draw], label, balanced=True).weight for draw in draws]
    np.testing.assert_allclose(permuted, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("codes", "strata", "message"), [([0, 1], None, "codes must"), ([0, 1] * 3, [0], "strata must")]
)
def test_probes_check_what_they_are_given(rng, codes, strata, message):
    points = rng.normal(size=(6, 2))
    for wrong, expected in ((points, message), (points[0], "embeddings must")):
        with pytest.raises(ValueError, match=expected):
            fit_probe(wrong, codes, strata)
        with pytest.raises(ValueError, match=expected):
            null_probes(wrong, codes, np.arange(6), 2, rng, strata)
    with pytest.raises(ValueError, match=r"patients must have shape \(6,\) to match embeddings, got \(5,\)"):
        null_probes(points, [0, 1] * 3, np.arange(5), 2, rng)


def test_balanced_weights_need_classes(rng):
    for fit in (fit_probe, lambda *a, **k: null_probes(*a, np.arange(4), 2, rng, **k)):
        with pytest.raises(ValueError, match=r"balanced weights need strata, the class of each image, got none\."):
            fit(rng.normal(size=(4, 2)), [0, 0, 1, 1], balanced=True)
