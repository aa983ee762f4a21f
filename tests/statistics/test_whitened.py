# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from monai_shortcut.statistics import whitened
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Folded
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.statistics.whitened import Sums, Whitened, wins

SHAPES = {"few columns": (150, 8), "more columns than images": (60, 90)}


def embedded(rng, images: int, columns: int, levels: int, classes: int = 2):
    """Correlated embeddings of unequal scale that know level and class, three codings, and folds."""
    code, label = rng.integers(levels, size=(3, images)), rng.permutation(np.arange(images) % classes)
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) * rng.uniform(0.1, 9, columns)
    points += 4 * rng.normal(size=(levels, columns))[code[0]] + 5 * rng.normal(size=(classes, columns))[label] + 5
    return points, code, label, rng.permutation(np.arange(images) % 3)


def reader_of(points, label, fold) -> Whitened:
    return Whitened(Folded.of(Standardized.of(points), fold, label))


def by_definition(points, code, label, fold, known, ordered):
    """(m, N) scores of images by probes refitted for each fold: centre by class, shrink the covariance, solve."""
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    share, scores = max(ledoit_wolf_shrinkage(z, assume_centered=True), 1e-4), []
    for level in [None] if ordered else range(code.max() + 1):
        target, score = (code if ordered else code == level).astype(float), np.zeros(len(z))
        for index in np.unique(fold):
            rest, weight = np.flatnonzero(fold != index), 0.0
            within = np.concatenate(
                [z[rest][label[rest] == c] - z[rest][label[rest] == c].mean(axis=0) for c in (0, 1)]
            )
            covariance = (1 - share) * within.T @ within / len(rest)
            covariance += share * np.trace(within.T @ within) / len(rest) / z.shape[1] * np.eye(z.shape[1])
            for c in (0, 1):
                own = rest[(label[rest] == c) & known[rest]]
                if len(own):
                    weight = weight + (z[own] - z[own].mean(axis=0)).T @ (target[own] - target[own].mean())
            score[fold == index] = z[fold == index] @ np.linalg.solve(covariance, weight)
        scores.append(score)
    return np.array(scores)


def area(scores, code, cells, ranked, ordered):
    """Mean over levels of the share of pairs in order, pairs of one cell only, one by one."""
    areas, won, pairs = [], 0.0, 0
    for level in range(1, code.max() + 1) if ordered else ranked:
        score = scores[0 if ordered else level]
        for high in np.flatnonzero(code == level):
            for low in np.flatnonzero(((code < level) if ordered else (code != level)) & (cells == cells[high])):
                won += (score[high] > score[low]) + 0.5 * (score[high] == score[low])
                pairs += 1
        if not ordered:
            areas.append(won / pairs)
            won, pairs = 0.0, 0
    return won / pairs if ordered else np.mean(areas)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("levels", "ordered", "ranked"), [(2, False, [1]), (3, False, [0, 1, 2]), (3, True, [])])
@pytest.mark.parametrize("alone", [False, True])
def test_areas_are_those_of_probes_that_are_refitted(rng, shape, levels, ordered, ranked, alone):
    points, codes, label, fold = embedded(rng, *SHAPES[shape], levels)
    known = rng.random(len(label)) < 0.8
    if alone:  # one class only, its covariance still that of both
        known &= label == 1
    rows, reader = np.flatnonzero(known), reader_of(points, label, fold)
    codings = Codings(rows, codes[:, rows].astype(np.int8), levels, ordered)
    found, scores = reader.areas(codings, ranked)
    assert scores.dtype == np.float32
    for draw, code in enumerate(codes):
        slow = by_definition(points, code, label, fold, known, ordered)[:, rows]
        if draw == 0:
            np.testing.assert_allclose(scores, slow, rtol=1e-3, atol=1e-3 * np.abs(slow).max())
        cells = (2 * fold + label)[rows]
        assert found[draw] == pytest.approx(area(slow, code[rows], cells, ranked, ordered), abs=2e-3)
    assert np.ptp(found) > 0.05


def test_blocks_and_rows_that_are_not_kept_change_nothing(rng, monkeypatch):
    points, codes, label, fold = embedded(rng, 150, 8, 3)
    codings = Codings(np.arange(150), codes.astype(np.int8), 3)
    found = reader_of(points, label, fold).areas(codings, [0, 1, 2])[0]
    for name, value in (("_ROWS", 7), ("_NUMBERS", 1), ("_CELLS", 1), ("_KEPT_BYTES", 0)):
        monkeypatch.setattr(whitened, name, value)
    np.testing.assert_allclose(reader_of(points, label, fold).areas(codings, [0, 1, 2])[0], found, atol=1e-3)


@pytest.mark.parametrize("ordered", [False, True])
def test_sums_of_a_class_are_what_the_others_leave(rng, ordered):
    points, codes, label, fold = embedded(rng, 150, 8, 3, classes=3)
    folded = reader_of(points, label, fold).folded
    codings = Codings(np.arange(150), codes.astype(np.int8), 3, ordered)
    rest = Sums.of_totals(folded.totals(codings))
    for value in (0, 2):
        rest.remove(Sums.of(folded, codings.images(np.flatnonzero(label == value))))
    own = codings.images(np.flatnonzero(label == 1))
    direct = Sums.of(folded, own)
    for name in ("design", "counts", "whole", "known"):
        np.testing.assert_allclose(getattr(rest, name), getattr(direct, name), atol=1e-3)
    reader = Whitened(folded)
    np.testing.assert_allclose(reader.areas(own, [0, 1, 2], rest)[0], reader.areas(own, [0, 1, 2])[0], atol=1e-3)


def test_float32_rows_give_the_same_areas(rng):
    points, codes, label, fold = embedded(rng, 150, 8, 2)
    codings = Codings(np.arange(150), codes.astype(np.int8), 2)
    double, single = (
        reader_of(each, label, fold).areas(codings, [1])[0] for each in (points, points.astype(np.float32))
    )
    np.testing.assert_allclose(double, single, atol=1e-3)


def test_a_level_that_the_other_folds_lack_ties_and_one_that_is_nowhere_is_one_half(rng):
    points, _, label, fold = embedded(rng, 150, 8, 2)
    codes = np.stack([(fold == 1) & (np.arange(150) % 5 < 2), np.zeros(150)]).astype(np.int8)
    assert reader_of(points, label, fold).areas(Codings(np.arange(150), codes, 2), [1])[0].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("scores", ["apart", "tied", "signs"])
def test_wins_are_counted_pair_by_pair(rng, scores):
    drawn = rng.normal(size=(5, 40))
    score = {"apart": drawn, "tied": np.round(drawn), "signs": np.where(drawn > 0.5, np.inf, 0.0 * drawn)}[scores]
    positive = rng.random((5, 40)) < 0.3
    slow = [
        sum((a > b) + 0.5 * (a == b) for a in row[chosen] for b in row[~chosen])
        for row, chosen in zip(score.astype(np.float32), positive, strict=True)
    ]
    np.testing.assert_array_equal(wins(score.astype(np.float32), positive, positive.sum(axis=1)), slow)
