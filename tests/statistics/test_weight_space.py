# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_similarity

from monai_shortcut.statistics.weight_space import (
    Sweep,
    alignment,
    alignment_null,
    component_sweep,
    principal_components,
    weight_space_correlation,
)
from monai_shortcut.storage.records import decode, encode

SHAPES = {  # images, columns, decay of the spectrum -> components that are kept
    "all of few columns": (200, 8, 0.9, 8),
    "the least number": (200, 80, 0.93, 50),
    "enough for the variance": (400, 120, 0.99, None),
    "no more than the images span": (30, 100, 1.0, 29),
}


def example(rng, images: int = 200, columns: int = 12, decay: float = 0.8, classes: int = 3, levels: int = 4):
    """Head, probe, embeddings (correlated, off centre) and labels."""
    axes = np.linalg.qr(rng.normal(size=(columns, columns))).Q
    points = rng.normal(size=(images, columns)) * decay ** np.arange(columns) @ axes.T + rng.normal(size=columns)
    return rng.normal(size=(classes, columns)), rng.normal(size=(levels, columns)), points, np.arange(images) % classes


def by_definition(head, probe, points, variance=0.99, least=50):
    """Cosines of projected rows, one by one, from the eigenvectors of the covariance matrix."""
    power, axes = np.linalg.eigh(np.cov(points.T))
    power, axes = power[::-1], axes[:, ::-1]
    kept, share = 0, 0.0
    while share < variance or kept < least:
        if kept == len(power) or power[kept] <= 1e-12 * power[0]:
            break
        share += power[kept] / power.sum()
        kept += 1
    result = np.empty((len(head), len(probe)))
    for i, row in enumerate(head):
        for j, other in enumerate(probe):
            first, second = axes[:, :kept].T @ row, axes[:, :kept].T @ other
            result[i, j] = first @ second / np.sqrt(first @ first * (second @ second))
    return result, kept


@pytest.mark.parametrize("shape", SHAPES)
def test_published_correlation_equals_the_definition(rng, shape):
    images, columns, decay, kept = SHAPES[shape]
    head, probe, points, _ = example(rng, images, columns, decay)
    expected, components = by_definition(head, probe, points)
    assert components == kept or (kept is None and 50 < components < columns)
    np.testing.assert_allclose(weight_space_correlation(head, probe, points), expected, atol=1e-10)


@pytest.mark.parametrize(("variance", "least"), [(0.5, 1), (0.9, 1), (0.9, 5), (1.0, 1)])
def test_variance_and_the_least_number_of_components_count(rng, variance, least):
    head, probe, points, _ = example(rng)
    expected, _ = by_definition(head, probe, points, variance, least)
    found = weight_space_correlation(head, probe, points, variance, least)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    if variance < 1:
        assert abs(found - weight_space_correlation(head, probe, points)).max() > 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_published_correlation_equals_that_of_scikit_learns_components(rng, shape):
    images, columns, decay, _ = SHAPES[shape]
    head, probe, points, _ = example(rng, images, columns, decay)
    axes = principal_components(points, 0.99, 50)
    components = PCA(n_components=len(axes), svd_solver="full").fit(points).components_
    np.testing.assert_allclose(np.abs(np.sum(axes * components, axis=1)), 1, atol=1e-8)
    rows, others = head @ components.T, probe @ components.T
    rows, others = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (rows, others))
    np.testing.assert_allclose(weight_space_correlation(head, probe, points), rows @ others.T, atol=1e-10)


def test_raw_space_takes_the_rows_as_they_are(rng):
    head, probe, points, _ = example(rng, images=10)
    raw = weight_space_correlation(head, probe, points, variance=None)
    expected = [[sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5 for b in probe] for a in head]
    np.testing.assert_allclose(raw, expected, atol=1e-12)
    np.testing.assert_allclose(raw, cosine_similarity(head, probe), atol=1e-12)
    other = rng.normal(size=(30, 12))
    np.testing.assert_array_equal(weight_space_correlation(head, probe, other, None, min_components=0), raw)
    assert abs(weight_space_correlation(head, probe, points) - raw).max() > 0.05  # 10 images span 9 of 12 directions
    np.testing.assert_allclose(weight_space_correlation(head, probe, other), raw, atol=1e-10)  # these span all
    probes = rng.normal(size=(5, 4, 12))
    np.testing.assert_allclose(
        weight_space_correlation(head, probes, points, None), [cosine_similarity(head, p) for p in probes], atol=1e-12
    )
    assert (weight_space_correlation(0 * head, probe, points, None) == 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_entries_of_a_sweep_are_correlations_of_that_many_components(rng, shape):
    images, columns, decay, _ = SHAPES[shape]
    head, probe, points, _ = example(rng, images, columns, decay)
    sweep = component_sweep(head, probe, points)
    spanned = min(images - 1, columns)
    assert sweep.components[-1] == spanned
    for count, cosines in zip(sweep.components, sweep.cosines, strict=True):
        np.testing.assert_allclose(cosines, by_definition(head, probe, points, 1e-9, count)[0], atol=1e-9)
        found = weight_space_correlation(head, probe, points, 1e-9, min_components=count)
        np.testing.assert_allclose(cosines, found, atol=1e-12)
    # The images span these directions, and any basis of them will do.
    basis = np.linalg.qr((points - points.mean(axis=0)).T).Q[:, :spanned]
    np.testing.assert_allclose(sweep.cosines[-1], cosine_similarity(head @ basis, probe @ basis), atol=1e-9)
    if len(sweep.components) > 1:
        assert abs(np.subtract(sweep.cosines[0], sweep.cosines[-1])).max() > 0.05


@pytest.mark.parametrize(
    ("images", "columns", "fewest", "most"),
    [(300, 200, 10, 200), (300, 51, 10, 51), (300, 49, 10, 49), (30, 100, 10, 29), (50, 8, 8, 8), (300, 10, 10, 10)],
)
def test_a_sweep_is_logarithmic_includes_the_published_number_and_ends_with_all(rng, images, columns, fewest, most):
    components = component_sweep(*example(rng, images, columns, 1.0)[:3]).components
    assert (components[0], components[-1]) == (fewest, most)
    assert list(components) == sorted(set(components))
    assert (50 in components) == (most >= 50)
    assert len(components) <= 13
    if most == 200:
        ratios = np.array([b / a for a, b in pairwise(components)])
        assert len(components) in (12, 13)
        assert ratios.max() < 20 ** (1 / 11) * 1.06  # eleven equal steps on a logarithmic scale, but for rounding


def test_a_sweep_takes_the_components_asked_for_and_several_probes(rng):
    head, _, points, _ = example(rng)
    probes = rng.normal(size=(5, 4, 12))
    sweep = component_sweep(head, probes, points, [7, 2, 12])
    assert sweep.components == (7, 2, 12)
    found = np.array(sweep.cosines)
    assert found.shape == (3, 3, 20)
    for index, count in enumerate(sweep.components):
        for b, probe in enumerate(probes):
            expected = by_definition(head, probe, points, 1e-9, count)[0]
            np.testing.assert_allclose(found[index, :, 4 * b : 4 * b + 4], expected, atol=1e-10)
    assert decode(Sweep, json.loads(json.dumps(encode(sweep)))) == sweep


def test_a_sweep_of_embeddings_that_span_nothing_finds_nothing(rng):
    head, probe, _, _ = example(rng)
    sweep = component_sweep(head, probe, np.full((40, 12), 0.1))
    assert sweep.components == (0,)
    assert (np.array(sweep.cosines) == 0).all()


@pytest.mark.parametrize("statistic", [weight_space_correlation, alignment])
def test_turning_embeddings_and_heads_together_changes_nothing(rng, statistic):
    head, probe, points, _ = example(rng, columns=60)
    turn = np.linalg.qr(rng.normal(size=(60, 60))).Q
    found = statistic(head, probe, points)
    np.testing.assert_allclose(statistic(head @ turn, probe @ turn, points @ turn), found, atol=1e-9)
    assert abs(statistic(head @ turn, probe, points) - found).max() > 0.05  # turning one of them does


def test_stretching_the_embeddings_changes_the_published_number_but_not_alignment(rng):
    """The logits stay as they were: heads are divided by what embeddings are multiplied with."""
    head, probe, points, _ = example(rng)
    stretch = rng.uniform(0.1, 10, size=12)
    stretched = head / stretch, probe / stretch, points * stretch
    np.testing.assert_allclose(alignment(*stretched), alignment(head, probe, points), atol=1e-9)
    assert abs(weight_space_correlation(*stretched) - weight_space_correlation(head, probe, points)).max() > 0.05


def demeaned(values, labels):
    return np.concatenate([values[labels == value] - values[labels == value].mean(axis=0) for value in set(labels)])


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize(("images", "columns"), [(200, 12), (20, 50)])
def test_alignment_is_the_correlation_of_the_logits(rng, images, columns, within):
    head, probe, points, labels = example(rng, images, columns)
    logits, others = points @ head.T, points @ probe.T
    logits, others = (z - z.mean(axis=1, keepdims=True) for z in (logits, others))  # relative to the image's mean logit
    if within:
        logits, others = demeaned(logits, labels), demeaned(others, labels)
    found = alignment(head, probe, points, labels if within else None)
    np.testing.assert_allclose(found, np.corrcoef(logits.T, others.T)[:3, 3:], atol=1e-10)


def test_labels_matter_where_both_logits_follow_them(rng):
    head, probe, points, labels = example(rng)
    points[:, :2] += 20 * labels[:, None]
    head[1:] = probe[1:] = 0
    head[0], probe[0] = np.eye(12)[0], np.eye(12)[1]
    assert alignment(head[:1], probe[:1], points)[0, 0] > 0.95
    assert abs(alignment(head[:1], probe[:1], points, labels)[0, 0]) < 0.7


def test_a_single_logit_is_not_taken_relative_to_anything(rng):
    head, probe, points, _ = example(rng)
    expected = np.corrcoef(points @ head[0], points @ probe[0])[0, 1]
    assert alignment(head[:1], probe[:1], points)[0, 0] == pytest.approx(expected, abs=1e-12)


def test_one_vector_added_to_every_row_changes_the_published_number_but_not_alignment(rng):
    head, probe, points, labels = example(rng)
    moved = head + 3 * rng.normal(size=12), probe + 3 * rng.normal(size=12)
    for label in (None, labels):
        np.testing.assert_allclose(
            alignment(*moved, points, label), alignment(head, probe, points, label), rtol=0, atol=1e-10
        )
    change = weight_space_correlation(*moved, points) - weight_space_correlation(head, probe, points)
    assert abs(change).max() > 0.3


def test_lengths_of_rows_do_not_matter_and_signs_do(rng):
    head, probe, points, _ = example(rng)
    np.testing.assert_allclose(
        weight_space_correlation(-2 * head, probe * np.array([[1], [2], [3], [4]]), points),
        -weight_space_correlation(head, probe, points),
        atol=1e-12,
    )


def test_several_probes_at_once_equal_one_after_the_other(rng):
    head, _, points, labels = example(rng)
    probes = rng.normal(size=(5, 4, 12))
    for statistic in (weight_space_correlation, alignment, lambda *a: alignment(*a, labels)):
        expected = [statistic(head, probe, points) for probe in probes]
        np.testing.assert_allclose(statistic(head, probes, points), expected, atol=1e-12)
    for label in (None, labels):
        expected = [np.abs(alignment(head, probe, points, label)).max() for probe in probes]
        np.testing.assert_allclose(alignment_null(head, probes, points, label), expected, atol=1e-12)


def test_what_does_not_vary_has_no_direction(rng):
    """Rounding must not be given one: 0.1 has no exact mean, and equal rows no exact difference."""
    head, probe, points, labels = example(rng)
    constant = np.full((40, 12), 0.1)
    of_labels = rng.normal(size=(3, 12))[labels]
    same = np.tile(head[0], (3, 1))
    assert (alignment(head, probe, constant) == 0).all()
    assert (weight_space_correlation(head, probe, constant) == 0).all()
    assert (weight_space_correlation(head, probe, np.zeros((40, 12))) == 0).all()
    assert (alignment(head, probe, of_labels, labels) == 0).all()
    assert abs(alignment(head, probe, of_labels)).max() > 0.1
    assert (alignment(same, probe, points) == 0).all()
    assert (alignment(np.zeros((2, 12)), probe, points) == 0).all()
    assert (weight_space_correlation(0 * head, probe, points) == 0).all()


def test_small_variations_keep_their_direction(rng):
    head, probe, points, _ = example(rng)
    np.testing.assert_allclose(alignment(head, probe, 1000 + 1e-3 * points), alignment(head, probe, points), atol=1e-6)


@pytest.mark.parametrize("statistic", [weight_space_correlation, component_sweep, alignment])
@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({2: np.ones(12)}, r"embeddings must have shape \(N, D\) with N at least 2, got \(12,\)"),
        ({2: np.ones((1, 12))}, r"embeddings must have shape \(N, D\) with N at least 2, got \(1, 12\)"),
        ({0: np.ones((3, 11))}, r"head must have shape \(C, 12\) to match embeddings, got \(3, 11\)"),
        ({0: np.ones(12)}, r"head must have shape \(C, 12\) to match embeddings, got \(12,\)"),
        ({1: np.ones((4, 13))}, r"probe must have shape \(M, 12\) to match embeddings, got \(4, 13\)"),
        ({1: np.ones(12)}, r"probe must have shape \(M, 12\) to match embeddings, got \(12,\)"),
        ({0: np.full((3, 12), np.nan)}, "head must be finite, got 36 numbers that are not"),
        ({1: np.full((1, 12), np.inf)}, "probe must be finite, got 12 numbers that are not"),
        ({2: np.where(np.arange(24).reshape(2, 12) == 5, np.nan, 1)}, "embeddings must be finite, got 1 images not so"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rng, statistic, replaced, message):
    arguments = [replaced.get(index, value) for index, value in enumerate(example(rng)[:3])]
    with pytest.raises(ValueError, match=message):
        statistic(*arguments)


def test_settings_out_of_range_are_refused(rng):
    head, probe, points, labels = example(rng)
    for variance in (0, 1.01):
        with pytest.raises(ValueError, match=rf"variance must be in \(0, 1\], got {variance}"):
            weight_space_correlation(head, probe, points, variance)
    with pytest.raises(ValueError, match="min_components must be at least 1, got 0"):
        weight_space_correlation(head, probe, points, min_components=0)
    with pytest.raises(ValueError, match=r"labels must have shape \(200,\) to match embeddings, got \(199,\)"):
        alignment(head, probe, points, labels[1:])
    with pytest.raises(ValueError, match=r"probes must have shape \(B, M, D\), got \(4, 12\)"):
        alignment_null(head, probe, points)
    for components in ([], [[1]], [1.5], 3):
        with pytest.raises(ValueError, match="components must be one or more integers, got "):
            component_sweep(head, probe, points, components)
    for components in ([0, 12], [1, 13]):
        message = rf"components must be in \[1, 12\], which the embeddings span, got {components[0]} to {components[1]}"
        with pytest.raises(ValueError, match=message):
            component_sweep(head, probe, points, components)
