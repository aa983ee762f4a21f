# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from monai_shortcut.analyses.encoding import fit_probe
from monai_shortcut.analyses.erasure import ErasureEffect, erasure_effect, fit_eraser, random_eraser
from monai_shortcut.statistics.delong import compare_aucs
from monai_shortcut.statistics.resampling import bootstrap_weights, patient_folds, permute_by_patient
from monai_shortcut.storage.records import decode, encode

QUICK = {"draws": 19, "bootstraps": 2}
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


def cohort(seed: int, *, trace: float = 0.0, reads: float = 0.0, patients: int = 60, columns: int = 16, apart: int = 3):
    """Patients with a label and an attribute, far apart in some columns; the head reads label and attribute."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    label, code = (rng.permutation(np.arange(patients) % 2)[patient] for _ in range(2))
    between = np.where(np.arange(columns) < apart, 2.0, 0.05)
    points = (between * rng.normal(size=(patients, columns)))[patient] + 0.3 * rng.normal(size=(len(patient), columns))
    points[:, 0] += 2 * label
    points[:, -1] += trace * code
    head = np.zeros((2, columns))
    head[1, 0], head[1, 3], head[1, -1] = 1.0, 0.3, reads
    return (points, code, label, patient, head, np.array([0.3, -1.0])), rng


def several(rng, images: int = 240):
    """An example of three classes and three levels in patients of up to four images."""
    points, code, label = example(rng, images)
    return points, code, label, rng.integers(0, images // 2, images), 0.2 * rng.normal(size=(3, 12)), np.arange(3.0)


def areas_within_labels(logits, code, label):
    """One level against the rest, over all pairs of images of one label."""
    areas = []
    for level in [1] if len(logits) == 2 else range(len(logits)):
        wins = pairs = 0.0
        for value in np.unique(label):
            own = logits[level, (label == value) & (code == level)]
            other = logits[level, (label == value) & (code != level)]
            wins += (own[:, None] > other).sum() + 0.5 * (own[:, None] == other).sum()
            pairs += own.size * other.size
        areas.append(wins / pairs)
    return np.mean(areas)


def gap_by_definition(score, code, label):
    total = pairs = 0.0
    for value in np.unique(label):
        for first in np.unique(code):
            for second in range(first):
                own, other = (score[(label == value) & (code == level)] for level in (first, second))
                total += len(own) * len(other) * 0.5 * abs(own.mean(axis=0) - other.mean(axis=0)).sum()
                pairs += len(own) * len(other)
    return total / pairs


def changed(points, code, label, fold, head, offset, honest=True):
    """Probabilities from embeddings erased one fold after the other."""
    erased = np.empty_like(points)
    for index in np.unique(fold):
        chosen = fold != index if honest else np.ones(len(fold), dtype=bool)
        erased[fold == index] = fit_eraser(points[chosen], code[chosen], label[chosen], None)(points[fold == index])
    return softmax(erased @ head.T + offset, axis=1)


@pytest.mark.parametrize("kind", ["two classes", "three classes"])
def test_every_number_equals_the_definition_by_erasers_of_other_patients(rng, kind):
    arguments = several(rng) if kind == "three classes" else cohort(0, trace=1.0, reads=1.0)[0]
    points, code, label, patient, head, offset = arguments
    found = erasure_effect(*arguments, folds=4, draws=7, bootstraps=50, level=0.9, rng=np.random.default_rng(1))
    again = np.random.default_rng(1)
    fold = patient_folds(patient, label, 4, again)
    draws = permute_by_patient(patient, 7, again, label)
    weights = bootstrap_weights(patient, 50, again)
    before = softmax(points @ head.T + offset, axis=1)
    after = changed(points, code, label, fold, head, offset)
    moved = 0.5 * abs(after - before).sum(axis=1)
    null = [0.5 * abs(changed(points, code[d], label, fold, head, offset) - before).sum(axis=1).mean() for d in draws]
    resampled = [np.average(moved, weights=weight) for weight in weights]
    assert found.change[0] == pytest.approx(moved.mean(), rel=1e-8)
    np.testing.assert_allclose(found.change[1:], np.quantile(resampled, [0.05, 0.95]), rtol=1e-8)
    np.testing.assert_allclose(found.random, null, rtol=1e-8)
    assert found.p_value == (1 + (np.array(null) >= moved.mean() - 1e-12).sum()) / 8
    np.testing.assert_allclose(found.gap, [gap_by_definition(score, code, label) for score in (before, after)])
    assert [change.label for change in found.auc] == ([0, 1, 2] if kind == "three classes" else [1])
    for change in found.auc:
        old, new = before[:, change.label], after[:, change.label]
        expected = compare_aucs(label == change.label, old, new, patient, 0.9)
        assert change.before == pytest.approx(roc_auc_score(label == change.label, old))
        assert change.after == pytest.approx(roc_auc_score(label == change.label, new))
        assert change.difference == pytest.approx(change.before - change.after)
        np.testing.assert_allclose((*change.interval, change.p_value), (*expected.interval, expected.p_value))
    logits = np.empty((2, code.max() + 1, len(code)))
    for index in range(4):
        others = np.flatnonzero(fold != index)
        half = patient_folds(patient[others], label[others], 2, again)
        one, two, test = others[half == 0], others[half == 1], fold == index
        eraser = fit_eraser(points[one], code[one], label[one], None)
        for row, z in enumerate((points, eraser(points))):
            logits[row][:, test] = fit_probe(z[two], code[two], label[two])(z[test]).T
    np.testing.assert_allclose(found.encoded, [areas_within_labels(z, code, label) for z in logits], rtol=1e-6)
    dishonest = changed(points, code, label, fold, head, offset, honest=False)
    assert abs(dishonest - before).sum(axis=1).mean() / 2 != pytest.approx(found.change[0], rel=1e-3)


def test_erasers_do_not_see_the_patients_whose_embeddings_they_change(rng):
    """Each patient has a column of its own, from which the head knows its level; nothing is common to patients."""
    patient = np.repeat(np.arange(80), 3)
    code, label = patient % 2, patient // 2 % 2
    points, head = np.eye(80)[patient], np.stack([np.zeros(80), 3 * np.tile([-1, 1], 40)])
    found = erasure_effect(points, code, label, patient, head, np.zeros(2), rng=rng, **QUICK)
    assert found.change[0] < 0.05
    assert found.gap[1] > 0.9 * found.gap[0]
    dishonest = changed(points, code, label, np.zeros(240), head, np.zeros(2), honest=False)
    assert abs(dishonest - softmax(points @ head.T, axis=1)).sum(axis=1).mean() / 2 > 0.4


def test_a_head_that_reads_the_attribute_changes_and_loses_its_gap():
    found = [
        erasure_effect(
            *cohort(1, trace=1.0, reads=reads, patients=300, columns=64, apart=0)[0], rng=np.random.default_rng(0)
        )
        for reads in (3.0, 0.0)
    ]
    used, unused = found
    assert used.p_value == 0.01
    assert used.change[1] > max(used.random)
    assert used.change[1] > 3 * np.mean(used.random)
    assert used.gap[0] > 0.3
    assert used.gap[1] < 0.3 * used.gap[0]
    assert used.auc[0].difference < -0.02  # the attribute, unrelated to the label, was noise to the head
    assert used.auc[0].p_value < 0.05
    assert used.auc[0].interval[1] < 0
    assert unused.p_value > 0.05
    assert unused.change[0] < max(unused.random)
    assert abs(unused.auc[0].difference) < 0.01
    for effect in found:
        assert effect.encoded[0] > 0.95
        assert effect.encoded[1] < 0.7


def test_a_head_orthogonal_to_the_probe_in_the_metric_of_the_embeddings_is_left_alone(rng):
    """Of two columns that go along, a head orthogonal to the probe in the raw space is one that changes."""
    code, label, patient = np.arange(900) % 2, np.arange(900) // 2 % 2, np.arange(900) // 3
    points = rng.normal(size=(900, 64))
    points[:, 0] += 2 * code
    points[:, 1] = points[:, 0] + 0.5 * points[:, 1]  # the trace is (1, 1), which the probe (1, 0) finds in the first
    alone, changes = (
        erasure_effect(points, code, label, patient, np.outer([0, 1], row), [0.0, 0.0], rng=rng, draws=19)
        for row in (2 * np.eye(64)[0] - 2 * np.eye(64)[1], 2 * np.eye(64)[1])
    )
    assert alone.change[0] < 0.02
    assert alone.p_value > 0.05
    assert changes.change[1] > max(changes.random)
    assert changes.change[1] > 3 * np.mean(changes.random)
    assert changes.p_value == 0.05


def test_the_class_is_not_erased_with_an_attribute_that_tracks_it(rng):
    label = np.arange(600) % 2
    code = np.where(rng.random(600) < 0.85, label, 1 - label)
    points = rng.normal(size=(600, 20))
    points[:, 0] += 3 * label
    head, offset = np.array([np.zeros(20), 2 * np.eye(20)[0]]), np.array([0.0, -3.0])
    found = erasure_effect(points, code, label, np.arange(600), head, offset, rng=rng, **QUICK)
    assert found.change[0] < 0.05
    assert abs(found.auc[0].difference) < 0.01
    assert found.p_value > 0.05
    without = softmax(fit_eraser(points, code)(points) @ head.T + offset, axis=1)  # the negative control
    assert 0.5 * abs(without - softmax(points @ head.T + offset, axis=1)).sum(axis=1).mean() > 0.2


@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.005, 0.1), (False, 0.15, 1.0)])
def test_p_values_are_uniform_for_an_attribute_at_random_unless_patients_are_ignored(by_patient, low, high):
    p_values, encoded = [], []
    for seed in range(150):
        (points, code, label, patient, *head), rng = cohort(seed)
        unit = patient if by_patient else np.arange(len(patient))
        found = erasure_effect(points, code, label, unit, *head, folds=3, rng=rng, **QUICK)
        p_values.append(found.p_value)
        encoded.append(found.encoded)
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.12)
        np.testing.assert_allclose(np.mean(encoded, axis=0), 0.5, atol=0.02)
    else:
        assert np.mean(encoded, axis=0)[0] > 0.53


def test_directions_at_random_would_call_the_attribute_of_patients_used_far_too_often():
    """Why the control hands the attribute to other patients: it also follows whatever patients differ in."""
    p_values = []
    for seed in range(100):
        (points, code, label, _, head, offset), rng = cohort(seed)
        moved = [
            abs(
                expit((eraser(points) @ head.T + offset) @ [-1, 1]) - expit((points @ head.T + offset) @ [-1, 1])
            ).mean()
            for eraser in [fit_eraser(points, code, label), *(random_eraser(points, 1, rng, label) for _ in range(19))]
        ]
        p_values.append((1 + (np.array(moved[1:]) >= moved[0]).sum()) / 20)
    assert np.mean(np.array(p_values) <= 0.05) > 0.15


def test_little_is_left_of_a_strong_attribute_and_less_the_more_images_there_are():
    small, large = (
        erasure_effect(*cohort(0, trace=1.0, patients=patients)[0], rng=np.random.default_rng(0), **QUICK).encoded
        for patients in (60, 1200)
    )
    assert large[0] > 0.85
    assert 0.47 < large[1] < 0.6
    assert large[1] < small[1]


def test_a_head_that_reads_nothing_never_changes(rng):
    (points, code, label, patient, head, offset), _ = cohort(0, trace=1.0)
    for found in (
        erasure_effect(points, code, label, patient, 0 * head, offset, rng=rng, **QUICK),
        erasure_effect(np.full_like(points, 0.1), code, label, patient, head, offset, rng=rng, **QUICK),
    ):
        assert found.change == (0.0, 0.0, 0.0)
        assert found.p_value == 1
        assert found.gap[0] == pytest.approx(0, abs=1e-12)
        assert found.auc[0].difference == 0
        assert found.auc[0].p_value == 1


def test_classes_of_too_few_patients_have_no_area(rng):
    points, code, _, _, head, offset = several(rng)
    label = np.arange(240) % 2
    label[:5] = 2
    patient = np.where(label == 2, 999, np.arange(240))
    found = erasure_effect(points, code, label, patient, head, offset, rng=rng, **QUICK)
    assert [change.label for change in found.auc] == [0, 1]


def test_more_columns_than_images_and_a_level_that_folds_miss(rng):
    points, code, label = example(rng, images=40, columns=60)
    code = np.where(np.arange(40) == 0, 3, code)
    found = erasure_effect(points, code, label, np.arange(40), rng.normal(size=(3, 60)), np.zeros(3), rng=rng, **QUICK)
    assert np.isfinite([*found.change, *found.random, *found.gap, *found.encoded]).all()
    assert 0 < found.change[0] < 1


def test_results_are_plain_values_and_depend_on_the_generator_alone(rng):
    arguments = several(rng)
    first, same, other = (erasure_effect(*arguments, rng=np.random.default_rng(s), **QUICK) for s in (1, 1, 2))
    assert first == same != other
    assert len(first.random) == 19
    assert decode(ErasureEffect, json.loads(json.dumps(encode(first)))) == first
    names = np.array(["a", "b", "c"])
    patients = np.array([f"patient {p:03d}" for p in arguments[3]])
    renamed = erasure_effect(*arguments[:3], patients, *arguments[4:], rng=np.random.default_rng(1), **QUICK)
    assert renamed == first
    by_name, by_number = (fit_eraser(*arguments[:2], s) for s in (names[arguments[2]], arguments[2]))
    np.testing.assert_array_equal(by_name.left, by_number.left)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({0: np.ones(8)}, r"embeddings must have shape \(N, D\) with N at least 2, got \(8,\)"),
        ({0: np.full((8, 3), np.nan)}, "embeddings must be finite, got 24 numbers that are not"),
        ({1: [0, 1]}, r"codes must have shape \(8,\) to match embeddings, got \(2,\)"),
        ({1: [0, 2] * 4}, r"codes must be 0 to M - 1, each present and M at least 2, got \[0, 2\]"),
        ({1: [0] * 8}, r"codes must be 0 to M - 1, each present and M at least 2, got \[0\]"),
        ({2: [0, 1]}, r"labels must have shape \(8,\) to match embeddings, got \(2,\)"),
        ({2: [0, 2] * 4}, r"labels must be 0 to 1 to match weight, got \[0, 2\]"),
        ({2: [0, 1] * 4}, "at least one label must hold images of two levels, got an attribute that coincides"),
        ({3: [0, 1]}, r"patients must have shape \(8,\) to match embeddings, got \(2,\)"),
        ({3: [0, 1, 2, 2, 2, 2, 2, 2]}, "patients must be at least four, got 3"),
        ({3: [0, 1, 2, 3] * 2}, r"folds must be between 2 and the number of patients \(4\), got 5"),
        ({4: np.ones((2, 4))}, r"weight must have shape \(C, 3\) to match embeddings, got \(2, 4\)"),
        ({4: np.full((2, 3), np.inf)}, "weight must be finite, got 6 numbers that are not"),
        ({4: np.ones((1, 3)), 5: [0.0]}, "weight must have a row for each of at least two classes, got 1"),
        ({5: [0.0]}, r"offset must have shape \(2,\) to match weight, got \(1,\)"),
        ({5: [0.0, np.nan]}, "offset must be finite, got 1 numbers that are not"),
    ],
)
def test_what_has_no_effect_to_measure_is_refused(rng, replaced, message):
    arguments = [rng.normal(size=(8, 3)), [0, 1] * 4, [0, 0, 1, 1] * 2, np.arange(8), np.eye(2, 3), np.zeros(2)]
    arguments = [replaced.get(index, value) for index, value in enumerate(arguments)]
    with pytest.raises(ValueError, match=message):
        erasure_effect(*arguments, rng=rng)


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
