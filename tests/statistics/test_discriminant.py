# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from monai_shortcut.statistics import ordering, standardized
from monai_shortcut.statistics.codings import Codings, balanced_weights
from monai_shortcut.statistics.discriminant import Folded, Solver
from monai_shortcut.statistics.standardized import Moments, Standardized

SHAPES = {"few columns": (150, 8), "as many columns as images": (60, 60), "more columns than images": (45, 90)}


def embedded(rng, images: int, columns: int, levels: int, classes: int = 2):
    """Correlated embeddings of unequal scale that know level and class; one column is constant.

    A fifth of the images, whose embeddings lie elsewhere, have no level.
    """
    code, label = rng.permutation(np.arange(images) % levels), rng.permutation(np.arange(images) % classes)
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) * rng.uniform(0.1, 9, columns)
    points += 5 * rng.normal(size=(levels, columns))[code] + 5 * rng.normal(size=(classes, columns))[label] + 5
    points[:, -1] = 0.1
    unknown = rng.random(images) < 0.2
    points[unknown, :3] += 20
    return points, np.where(unknown, -1, code), label


def standard(points):
    """Columns of mean 0 and standard deviation 1; constant ones are zero."""
    scale = points.std(axis=0)
    varies = scale > 1e-9
    return np.where(varies, points - points.mean(axis=0), 0) / np.where(varies, scale, 1)


def deviations(z, label, rows, within):
    """From the mean of some rows, or from the mean of those of the same class."""
    result = z - z[rows].mean(axis=0)
    for value in np.unique(label) if within else []:
        result[label == value] = z[label == value] - z[rows & (label == value)].mean(axis=0)
    return result


def by_definition(points, code, label, seen, *, within, ordered):
    """Score each image by a probe of the images seen: centre by class, shrink the covariance, solve."""
    z, known = standard(points), seen & (code >= 0)
    share = max(ledoit_wolf_shrinkage(z, assume_centered=True), 1e-4)
    residual = deviations(z, label, seen, within)[seen]
    covariance = residual.T @ residual / seen.sum()
    covariance = (1 - share) * covariance + share * np.trace(covariance) / z.shape[1] * np.eye(z.shape[1])
    marked, away = deviations(z, label, known, within)[known], z - z[known].mean(axis=0)
    if ordered:
        return (away @ np.linalg.solve(covariance, marked.T @ code[known] / known.sum()))[None]
    means = np.array([marked[code[known] == level].mean(axis=0) for level in range(code.max() + 1)])
    weight = np.linalg.solve(covariance, means.T)
    return (away @ weight - 0.5 * np.diag(means @ weight)).T


def folded(points, fold, label):
    return Folded.of(Standardized.of(points), np.asarray(fold), label)


def codings_of(code, ordered=False):
    """An attribute whose unknown levels are -1."""
    rows = np.flatnonzero(code >= 0)
    return Codings(rows, code[None, rows].astype(np.int8), code.max() + 1, ordered)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_shrinkage_is_that_of_scikit_learn(rng, shape, kind):
    points = embedded(rng, *SHAPES[shape], 2)[0].astype(kind)
    found = Standardized.of(points).shrinkage
    expected = ledoit_wolf_shrinkage(standard(points.astype(np.float64)), assume_centered=True)
    assert found == pytest.approx(expected, rel=1e-9 if kind == np.float64 else 1e-4)
    assert 0.001 < found < 1


def test_shrinkage_never_vanishes():
    assert Standardized.of(np.outer([1.0, -1.0] * 500, [1.0, 2.0, 3.0])).shrinkage == 1e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_coordinates_are_those_of_the_standardized_embeddings(rng, shape):
    points = embedded(rng, *SHAPES[shape], 2)[0]
    prepared, expected, head = Standardized.of(points), standard(points), rng.normal(size=(3, points.shape[1]))
    rows = prepared.rows(slice(None))
    assert rows.shape[1] == min(points.shape)
    turned = rows if prepared.rotation is None else rows @ prepared.rotation
    np.testing.assert_allclose(turned, expected, atol=1e-9)
    np.testing.assert_allclose(rows.T @ rows, prepared.gram, atol=1e-8)
    np.testing.assert_array_equal(prepared.rows(np.array([3, 1])), rows[[3, 1]])
    # Logits are the same in both spaces, but for what constant columns and the centre say.
    logits = (points - points.mean(axis=0)) @ head.T
    np.testing.assert_allclose(rows @ prepared.coordinates(head).T, logits, atol=1e-8)
    inside = prepared.original(rng.normal(size=(3, rows.shape[1])))
    np.testing.assert_allclose(prepared.original(prepared.coordinates(inside)), inside, atol=1e-9)
    assert (inside[:, -1] == 0).all()


def test_a_column_of_rounding_has_no_say(rng):
    points = rng.normal(size=(50, 4)).astype(np.float32)
    points[:, 1] = 1000 * (1 + np.finfo(np.float32).eps * rng.integers(2, size=50))
    assert np.isinf(Standardized.of(points).scale).tolist() == [False, True, False, False]
    assert Standardized.of(points).rows(slice(None))[:, 1].tolist() == [0.0] * 50


def test_a_column_whose_squares_single_precision_cannot_hold_has_no_say(rng):
    points = rng.normal(size=(50, 3)) * [1, 1e-11, 1e-13]
    assert np.isinf(Standardized.of(points).scale).tolist() == [False, False, True]


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_moments_of_many_blocks_are_those_of_all_rows(rng, kind):
    """Also of columns far from zero, and in parts of any size."""
    points = (rng.normal(size=(9000, 3)) * [1, 5, 0.2] + [1e4, 0, -30]).astype(kind)
    whole = points.astype(np.float64)
    parts = [Moments.of(part) for part in np.split(points, [10, 5000])]
    for found in (Moments.of(points), parts[2].joined(parts[0]).joined(parts[1])):
        assert found.count == 9000
        np.testing.assert_allclose(found.centre, whole.mean(axis=0), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.scale(kind), whole.std(axis=0), rtol=1e-9)
        np.testing.assert_array_equal(found.largest, np.abs(points).max(axis=0))


def test_embeddings_that_come_in_blocks_are_prepared_as_all_at_once(rng):
    points = embedded(rng, 150, 8, 2)[0]
    whole, frame = Standardized.of(points), Standardized.frame(Moments.of(points), points.dtype)
    assert frame.rows(slice(None)).shape == (0, 8)
    blocks = [frame.block(part) for part in np.split(points, [40, 100])]
    np.testing.assert_allclose(np.concatenate([b.rows(slice(None)) for b in blocks]), whole.rows(slice(None)))
    gram = sum(b.rows(slice(None)).T @ b.rows(slice(None)) for b in blocks)
    joined = frame.joined(gram, sum(block.fourth for block in blocks), 150)
    np.testing.assert_allclose(joined.gram, whole.gram, atol=1e-9)
    assert joined.shrinkage == pytest.approx(whole.shrinkage)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("levels", [2, 3, "ordered"])
@pytest.mark.parametrize("shape", SHAPES)
def test_held_out_scores_are_those_of_a_fit_to_the_other_folds(rng, shape, levels, within):
    """Images without a level inform the covariance and the class means, and nothing else."""
    ordered = levels == "ordered"
    points, code, label = embedded(rng, *SHAPES[shape], 4 if ordered else levels)
    fold = rng.permutation(np.arange(len(points)) % 3)
    codings = codings_of(code, ordered)
    for kind, tolerance in ((np.float64, 1e-7), (np.float32, 1e-4)):
        found = folded(points.astype(kind), fold, label).held_out(codings, within)
        assert found.dtype == kind
        for index in range(3):
            expected = by_definition(points, code, label, fold != index, within=within, ordered=ordered)
            own = fold[codings.rows] == index
            expected = expected[:, codings.rows[own]]
            np.testing.assert_allclose(found[0][:, own], expected, atol=tolerance * np.ptp(expected))


def test_an_inverse_solves_many_columns_as_the_factor_does(rng):
    root, values = rng.normal(size=(600, 260)), rng.normal(size=(260, 300))
    covariance = root.T @ root / 600
    solver = Solver.of_covariance(covariance.copy(), 0.1, 260)
    ridge = 0.1 * np.trace(covariance) / 260
    expected = np.linalg.solve(0.9 * covariance + ridge * np.eye(260), values)
    np.testing.assert_allclose(solver(values), expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(solver(values), np.stack([solver(column) for column in values.T], axis=1), atol=1e-11)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_permuted_attributes_are_scored_as_if_each_were_alone(rng, within, ordered):
    points, code, label = embedded(rng, 150, 8, 3)
    together, rows = folded(points, rng.integers(4, size=150), label), np.flatnonzero(code >= 0)
    codes = np.stack([rng.permutation(code[rows]) for _ in range(5)])
    found = together.held_out(Codings(rows, codes, 3, ordered), within)
    for coding, scores in zip(codes, found, strict=True):
        alone = together.held_out(Codings(rows, coding[None], 3, ordered), within)[0]
        np.testing.assert_allclose(scores, alone, rtol=1e-9, atol=1e-12)
    assert np.ptp(found, axis=0).min() > 1e-3  # items differ


def test_of_two_levels_the_second_ranks_as_both_do(rng):
    points, code, label = embedded(rng, 150, 8, 2)
    together, codings = folded(points, rng.integers(4, size=150), label), codings_of(code)
    both, ranked = together.held_out(codings, True), together.held_out(codings, True, ranked=True)
    np.testing.assert_allclose(ranked, both[:, 1], rtol=1e-12)
    within = {index: both[0][:, together.fold[codings.rows] == index] for index in range(4)}
    for first, second in within.values():
        assert np.array_equal(np.argsort(first), np.argsort(-second))
    three = codings_of(embedded(rng, 150, 8, 3)[1])
    assert together.held_out(three, True, ranked=True).shape == (1, 3, len(three.rows))


def test_reading_rows_in_blocks_changes_nothing(rng, monkeypatch):
    points, code, label = embedded(rng, 150, 8, 3)
    fold, codings = rng.integers(4, size=150), codings_of(code)
    whole = folded(points, fold, label).held_out(codings, True)
    for module in (ordering, standardized):
        monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(ordering, "_SMALL", 0)
    np.testing.assert_allclose(folded(points, fold, label).held_out(codings, True), whole, rtol=1e-9)


def test_each_set_of_folds_is_factorized_once_and_a_single_fold_stays(rng):
    points, _, label = embedded(rng, 150, 8, 2)
    together = folded(points, rng.integers(4, size=150), label)
    first = together.solver((0, 1), True)
    assert together.solver((0, 1), True) is first
    assert together.solver((0, 1), False) is not first
    assert [together.others(index) for index in (0, 3)] == [(1, 2, 3), (0, 1, 2)]
    assert folded(points, np.zeros(150, int), label).others(0) == (0,)


def test_folds_and_classes_without_an_image_are_counted_too(rng):
    points, fold, label = rng.normal(size=(6, 2)), np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 1, 0, 0, 1])
    found = Folded.of(Standardized.of(points), fold, label, shape=(3, 3))
    assert found.counts.tolist() == [[1, 2, 0], [2, 1, 0], [0, 0, 0]]
    assert not found.sums[2].any()
    assert not found.sums[:, 2].any()
    np.testing.assert_allclose(found.gram.sum(axis=0), found.points.gram)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("within", [False, True])
def test_directions_are_the_covariance_of_embeddings_and_attribute(rng, within, ordered):
    """Also where images without a level lie elsewhere: they must not turn the directions towards them."""
    points, code, label = embedded(rng, 150, 8, 3)
    fold = rng.integers(4, size=150)
    together, codings, z = folded(points, fold, label), codings_of(code, ordered), standard(points)
    probes, seen = together.totals(codings).fit((0, 2), within), np.isin(fold, (0, 2))
    known = seen & (code >= 0)
    design = code[known, None] if ordered else code[known, None] == np.arange(1, 3)
    expected = deviations(z, label, known, within)[known].T @ design
    np.testing.assert_allclose(probes.direction[:, 0], expected, atol=1e-9 * abs(expected).max())
    solved = together.solver((0, 2), within)(expected)
    np.testing.assert_allclose(probes.solved[:, 0], solved, atol=1e-9 * abs(solved).max())


def test_embeddings_that_say_the_class_and_nothing_else_have_scores_that_are_nought():
    label, fold = np.arange(60) % 2, np.arange(60) // 2 % 3
    scores = folded(label[:, None] * [1.0, 2.0], fold, label).held_out(codings_of(np.arange(60) // 6 % 2), True)
    np.testing.assert_allclose(scores, 0, atol=1e-6)


def test_a_level_that_is_absent_is_never_said(rng):
    points, code, label = embedded(rng, 150, 8, 3)
    fold = np.where(code == 2, 0, rng.integers(1, 4, size=150))  # only fold 0 holds level 2
    codings = codings_of(code)
    scores = folded(points, fold, label).held_out(codings, False)[0]
    home = fold[codings.rows] == 0
    assert (scores[2, home] == -np.inf).all()
    assert np.isfinite(scores[:, ~home]).all()
    assert np.isfinite(scores[:2]).all()


def test_balanced_weights_make_class_and_level_independent(rng):
    _, code, label = embedded(rng, 90, 5, 3)
    code = np.maximum(code, 0)
    label = np.where(rng.random(90) < 0.7, code % 2, label)
    codes = np.stack([code, rng.permutation(code)])
    found = balanced_weights(codes, label, 3)
    for coding, weight in zip(codes, found, strict=True):
        shares = {(s, c): (label == s).sum() * (coding == c).sum() / 90 for s in range(2) for c in range(3)}
        for (s, c), expected in shares.items():
            cell = (label == s) & (coding == c)
            np.testing.assert_allclose(weight[cell], expected / cell.sum())
        table = np.array([[weight[(label == s) & (coding == c)].sum() for c in range(3)] for s in range(2)])
        np.testing.assert_allclose(table, np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum())
    assert found.std() > 0.1


@pytest.mark.parametrize("start", [1.6e9, 1.6e12])
def test_a_column_that_varies_far_from_zero_is_read(rng, start):
    code, points = np.arange(60) % 2, rng.normal(size=(60, 3))
    points[:, 1] = start + code + 0.1 * points[:, 1]
    apart = points[:, 1] - start
    expected = (apart - apart.mean()) / apart.std()
    np.testing.assert_allclose(Standardized.of(points).rows(slice(None))[:, 1], expected, atol=1e-3)
    assert np.isinf(Standardized.of(np.full((60, 2), start / 3)).scale).all()
