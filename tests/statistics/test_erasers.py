# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from monai_shortcut.statistics.erasers import fit_eraser, random_eraser

SHAPES = {
    "few columns": (200, 12, 2),
    "several levels": (200, 12, 5),
    "as many levels as columns": (200, 3, 4),
    "more columns than images": (30, 50, 3),
}


def example(rng, images: int = 200, columns: int = 12, levels: int = 3, classes: int = 3):
    """Embeddings (correlated, off centre) with traces of codes and labels, which go along with each other."""
    label = rng.permutation(np.arange(images) % classes)
    code = np.where(rng.random(images) < 0.3, label % levels, rng.permutation(np.arange(images) % levels))
    points = rng.normal(size=(images, columns)) @ rng.normal(size=(columns, columns)) + 5 * rng.normal(size=columns)
    return points + rng.normal(size=(levels, columns))[code] + rng.normal(size=(classes, columns))[label], code, label


def deviations(values, strata):
    """From the means of strata, or of all without."""
    values, result = np.asarray(values, dtype=np.float64), np.empty(np.shape(values))
    for value in np.unique(strata):
        result[strata == value] = values[strata == value] - values[strata == value].mean(axis=0)
    return result


def covariance(points, code, strata=None):
    """Of embeddings with the one-hot attribute, within strata."""
    strata = np.zeros(len(points)) if strata is None else strata
    return deviations(points, strata).T @ deviations(np.eye(code.max() + 1)[code], strata) / len(points)


def matrix(eraser):
    return np.eye(len(eraser.centre)) - eraser.left @ eraser.right


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, None])
@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_covariance_with_the_attribute_is_left(rng, shape, within, shrinkage):
    images, columns, levels = SHAPES[shape]
    points, code, label = example(rng, images, columns, levels)
    strata = label if within else None
    eraser = fit_eraser(points, code, strata, shrinkage)
    assert eraser.rank == levels - 1
    np.testing.assert_allclose(eraser.right @ eraser.left, np.eye(levels - 1), atol=1e-8)
    np.testing.assert_allclose(covariance(eraser(points), code, strata), 0, atol=1e-10)
    np.testing.assert_allclose(eraser(points).mean(axis=0), points.mean(axis=0), atol=1e-10)
    assert abs(covariance(points, code, strata)).max() > 0.05
    if columns > 3:  # of three directions none is left
        other = random_eraser(points, eraser.rank, rng, strata, shrinkage)
        assert other.rank == eraser.rank
        assert abs(covariance(other(points), code, strata)).max() > 0.05
        assert abs(covariance(eraser(points), code, None if within else label)).max() > 0.01


def test_no_linear_probe_of_erased_embeddings_beats_the_shares_of_the_levels(rng):
    points, code, _ = example(rng)
    losses = []
    for embeddings in (points, fit_eraser(points, code)(points), random_eraser(points, 2, rng)(points)):
        probe = LogisticRegression(C=1e4, max_iter=1000).fit(embeddings - embeddings.mean(axis=0), code)
        losses.append(log_loss(code, probe.predict_proba(embeddings - embeddings.mean(axis=0))))
    ignorant = log_loss(code, np.tile(np.bincount(code) / len(code), (len(code), 1)))
    assert losses[1] == pytest.approx(ignorant, abs=1e-6)
    assert losses[0] < ignorant - 0.1
    assert losses[2] < ignorant - 0.1


@pytest.mark.parametrize("within", [False, True])
def test_no_other_map_without_that_covariance_moves_embeddings_less(rng, within):
    """Lagrange: each row p of the map minimizes (p - e)' S (p - e) under p' A = 0, a linear system in p."""
    points, code, label = example(rng, columns=5, levels=3)
    strata = label if within else np.zeros(len(label))
    spread, across = deviations(points, strata).T @ deviations(points, strata), covariance(points, code, strata)
    across = across[:, 1:]  # the first level is what the others leave
    system = np.block([[2 * spread, across], [across.T, np.zeros((2, 2))]])
    expected = np.linalg.solve(system, np.concatenate([2 * spread, np.zeros((2, 5))]))[:5].T
    eraser = fit_eraser(points, code, label if within else None)
    np.testing.assert_allclose(matrix(eraser), expected, atol=1e-8)

    def moved(change):
        return (deviations(points @ change.T - points, strata) ** 2).sum()

    free = np.eye(5) - across @ np.linalg.pinv(across)  # p free of A whatever comes before it
    alternatives = [expected + scale * rng.normal(size=(5, 5)) @ free for scale in (0.01, 0.1, 1) for _ in range(20)]
    assert abs(alternatives[0] @ across).max() < 1e-10
    assert min(moved(other) for other in [*alternatives, free]) > moved(expected)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_erasers_equal_those_of_concept_erasure(rng, shape, within):
    leace = pytest.importorskip("concept_erasure")
    images, columns, levels = SHAPES[shape]
    points, code, label = example(rng, images, columns, levels)
    strata = label if within else np.zeros(images)
    settings = {"shrinkage": False, "constrain_cov_trace": False, "svd_tol": 1e-9}
    centred, member = deviations(points, strata), deviations(np.eye(levels)[code], strata)
    other = leace.LeaceFitter.fit(torch.from_numpy(centred), torch.from_numpy(member), **settings).eraser
    eraser = fit_eraser(points, code, label if within else None)
    # Of what the images do not span nobody knows how it goes along with the rest.
    np.testing.assert_allclose(centred @ matrix(eraser).T, centred @ other.P.numpy().T, atol=1e-7)
    if images > columns:
        np.testing.assert_allclose(matrix(eraser), other.P.numpy(), atol=1e-8)
    if images > columns and not within:
        fitted = leace.LeaceFitter.fit(torch.from_numpy(points), torch.eye(levels)[code], **settings).eraser
        fresh = rng.normal(size=(20, columns)) + points.mean(axis=0)
        np.testing.assert_allclose(eraser(fresh), fitted(torch.from_numpy(fresh)).numpy(), atol=1e-6)


@pytest.mark.parametrize("within", [False, True])
def test_recoding_the_embeddings_recodes_what_is_left(rng, within):
    points, code, label = example(rng)
    strata, recoding, shift = label if within else None, rng.normal(size=(12, 12)), 10 * rng.normal(size=12)
    recoded = fit_eraser(points @ recoding + shift, code, strata)
    found = recoded(points @ recoding + shift)
    np.testing.assert_allclose(found, fit_eraser(points, code, strata)(points) @ recoding + shift, atol=1e-8)
    renamed = fit_eraser(points, 2 - code, strata)  # neither do the names of levels matter
    np.testing.assert_allclose(renamed(points), fit_eraser(points, code, strata)(points), atol=1e-10)


def test_columns_that_hardly_vary_or_repeat_others_do_no_harm(rng):
    points, code, label = example(rng, levels=2)
    tiny = 1e-9 * points[:, :2] ** 2
    odd = np.concatenate([points, np.full((200, 1), 0.1), tiny, points[:, :3], points[:, :1] + tiny[:, :1]], axis=1)
    for strata in (None, label):
        eraser = fit_eraser(odd, code, strata)
        assert eraser.rank == 1
        np.testing.assert_allclose(covariance(eraser(odd), code, strata), 0, atol=1e-10)
        assert abs(covariance(eraser(odd), code, strata)[13:15]).max() < 1e-6 * 1e-9  # relative to the tiny columns
        np.testing.assert_allclose(eraser(odd)[:, 12], 0.1, rtol=1e-12)
        np.testing.assert_allclose(eraser(odd)[:, 15:18], eraser(odd)[:, :3], atol=1e-6)
    fresh = np.concatenate([odd[:5] + 1, odd[5:10]])
    assert abs(fit_eraser(points, code)(fresh[:, :12]) - fresh[:, :12]).max() < 100


def test_where_there_is_no_covariance_nothing_is_erased(rng):
    points, code, label = example(rng, levels=2, classes=2)
    constant = np.full((200, 3), 0.1)
    for eraser in (fit_eraser(constant, code), fit_eraser(points, label, label), random_eraser(points, 0, rng)):
        assert eraser.rank == 0
    np.testing.assert_array_equal(fit_eraser(points, label, label)(points), points)
    np.testing.assert_array_equal(fit_eraser(constant, code)(constant), constant)
    squared = np.repeat([[-1.0], [1.0]], 2, axis=0)  # each level once at either value
    assert fit_eraser(squared, [0, 1, 0, 1]).rank == 0


def test_within_classes_the_class_survives_an_attribute_that_only_tracks_it(rng):
    label = np.arange(1000) % 2
    code = np.where(rng.random(1000) < 0.9, label, 1 - label)
    points = rng.normal(size=(1000, 8))
    points[:, 3] += 4 * label
    scores = []
    for strata in (label, None):
        erased = fit_eraser(points, code, strata)(points)
        probe = LinearDiscriminantAnalysis().fit(erased[:500], label[:500])
        scores.append(roc_auc_score(label[500:], probe.decision_function(erased[500:])))
    assert scores[0] > 0.99
    assert scores[1] < 0.8  # what tells the classes apart beyond their mean along the attribute's direction
    assert abs(np.diff([erased[label == value].mean(axis=0) for value in (0, 1)], axis=0)).max() < 1.0


def test_a_shrunken_covariance_leaves_more_of_fresh_images(rng):
    """The one direction that carries the attribute has variance 2, as much as an eraser of all patients would take."""
    code = np.arange(4000) % 2
    points = rng.normal(size=(4000, 100))
    points[:, 0] += 2 * code
    moved = [
        ((eraser(points[120:]) - points[120:]) ** 2).sum(axis=1).mean()
        for eraser in (fit_eraser(points[:120], code[:120], shrinkage=share) for share in (0.0, None))
    ]
    assert moved[0] > 5
    assert moved[1] == pytest.approx(2, abs=1)
    centred = points[:120] - points[:120].mean(axis=0)
    share = ledoit_wolf_shrinkage(centred / centred.std(axis=0), assume_centered=True)
    found, expected = (fit_eraser(points[:120], code[:120], shrinkage=s) for s in (None, share))
    np.testing.assert_allclose(matrix(found), matrix(expected), atol=1e-12)
    mean = (1 - share) * centred.T @ centred / 120 + share * np.diag(centred.var(axis=0))
    across = centred.T @ code[:120]
    row = np.linalg.solve(mean, across)
    np.testing.assert_allclose(matrix(found), np.eye(100) - np.outer(across, row) / (across @ row), atol=1e-9)


def test_columns_that_do_not_vary_count_in_the_mean_variance(rng):
    points, code, _ = example(rng, images=60, columns=5, levels=2)
    found = matrix(fit_eraser(np.hstack([points, np.full((60, 3), 7.0)]), code, shrinkage=0.3))
    centred = points - points.mean(axis=0)
    shrunken = 0.7 * centred.T @ centred / 60 + 0.3 * 5 / 8 * np.diag(centred.var(axis=0))
    across = centred.T @ code
    row = np.linalg.solve(shrunken, across)
    np.testing.assert_allclose(found[:5, :5], np.eye(5) - np.outer(across, row) / (across @ row), atol=1e-9)
    np.testing.assert_allclose(found[5:], np.eye(8)[5:], atol=1e-9)


@pytest.mark.parametrize("within", [False, True])
def test_random_erasers_move_whitened_embeddings_as_far_and_in_all_directions_alike(rng, within):
    points, code, label = example(rng, columns=6)
    strata = label if within else None
    centred = deviations(points, label if within else np.zeros(200))
    inverse = np.linalg.inv(centred.T @ centred / 200)
    randoms = [random_eraser(points, 2, rng, strata) for _ in range(2000)]
    for eraser in (fit_eraser(points, code, strata), *randoms[:5]):
        change = centred @ (eraser.left @ eraser.right).T
        assert ((change @ inverse) * change).sum(axis=1).mean() == pytest.approx(2, rel=1e-8)
    root = np.linalg.cholesky(inverse)
    mean = np.mean([root.T @ r.left @ r.right @ np.linalg.inv(root.T) for r in randoms], axis=0)
    np.testing.assert_allclose(mean, np.eye(6) / 3, atol=0.04)


def test_erasers_that_cannot_be_fitted_are_refused(rng):
    points, code, _ = example(rng)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(N, D\) with N at least 2, got \(1, 12\)"):
        fit_eraser(points[:1], [0])
    with pytest.raises(ValueError, match=r"codes must have shape \(200,\) to match embeddings, got \(199,\)"):
        fit_eraser(points, code[1:])
    with pytest.raises(ValueError, match=r"codes must be 0 to M - 1, each present and M at least 2, got \[1, 2, 3\]"):
        fit_eraser(points, code + 1)
    for fit in (lambda *a: fit_eraser(points, code, *a), lambda *a: random_eraser(points, 1, rng, *a)):
        with pytest.raises(ValueError, match=r"strata must have shape \(200,\) to match embeddings, got \(3,\)"):
            fit([0, 1, 2])
        for share in (-0.1, 1.1):
            with pytest.raises(ValueError, match=rf"shrinkage must be in \[0, 1\], got {share}"):
                fit(None, share)
    for rank in (-1, 13):
        with pytest.raises(ValueError, match=rf"rank must be between 0 and 12, which the embeddings span, got {rank}"):
            random_eraser(points, rank, rng)


def test_several_attributes_are_erased_together_and_what_they_share_once(rng):
    points, code, label = example(rng)
    other = np.where(rng.random(200) < 0.3, label, rng.permutation(np.arange(200) % 3))
    eraser = fit_eraser(points, np.stack([code, other, 2 - code], axis=1), label)  # the last is the first renamed
    assert eraser.rank == 4
    for one in (code, other):
        np.testing.assert_allclose(covariance(eraser(points), one, label), 0, atol=1e-10)
    assert abs(covariance(fit_eraser(points, code, label)(points), other, label)).max() > 1e-3
    alone = fit_eraser(points, code[:, None], label)
    np.testing.assert_array_equal(alone(points), fit_eraser(points, code, label)(points))
