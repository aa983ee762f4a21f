# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import accuracy_score, precision_recall_fscore_support, roc_auc_score

from monai_shortcut.analyses.encoding import Encoding, encoding, held_out_margins, recognition
from monai_shortcut.statistics.areas import clustered_auroc, clustered_concordance, spread_of_chance, with_interval
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.kernel_features import random_features
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable


def simulated(seed: int, trace: float = 0.0, tracks: float = 0.5, levels: int = 2, patients: int = 50):
    """Embeddings with a patient's and a label's mark; an attribute of patients, perhaps with a mark of its own."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    label = rng.integers(2, size=patients)
    code = np.where(rng.random(patients) < tracks, label, 1 - label)
    code = code if levels == 2 else rng.integers(levels, size=patients)
    points = (rng.normal(size=(patients, 6)) + 3 * label[:, None] * np.eye(6)[0])[patient]
    points += 0.5 * rng.normal(size=points.shape) + trace * code[patient][:, None] * np.eye(6)[1]
    return points, code[patient], patient, label[patient], rng


def sampled(seed: int, patients=None, kind="categorical", **settings):
    """The same as a sample; what is no setting of `simulated` is one of the draws."""
    own = {name: settings.pop(name) for name in ("trace", "tracks", "levels") if name in settings}
    count = {} if patients is None else {"patients": patients}
    points, code, patient, label, _ = simulated(seed, **own, **count)
    return sample_of(code, label, patient, points=points, seed=seed, kind=kind, **settings)


def pairs_in_order(scores, code, label):
    """One level against the rest, or by a single score each level against the lower ones, within labels."""
    areas = []
    for level, score in enumerate(scores):
        if len(scores) == 2 and level == 0:
            continue
        sides = [(code == level, code != level)]
        if len(scores) == 1:
            sides = [(code == high, code == low) for high in range(code.max() + 1) for low in range(high)]
        wins = pairs = 0.0
        for value in np.unique(label):
            for own, rest in sides:
                first, second = (score[side & (label == value)] for side in (own, rest))
                wins += (first[:, None] > second).sum() + 0.5 * (first[:, None] == second).sum()
                pairs += len(first) * len(second)
        areas.append(wins / pairs)
    return np.mean(areas)


@pytest.mark.parametrize(("levels", "kind"), [(2, "categorical"), (4, "categorical"), (2, "ordinal"), (4, "ordinal")])
def test_areas_and_limits_are_those_of_the_held_out_scores(levels, kind):
    points, code, patient, label, _ = simulated(1, trace=0.7, levels=levels)
    code[:30] = -1
    sample = sample_of(code, label, patient, kind=kind, points=points, permutations=12, confidence=0.9)
    found, folded, code, label = encoding(sample), sample.images.folds(), sample.codes, sample.labels
    area = clustered_concordance if kind == "ordinal" else clustered_auroc
    null = []
    for coding in sample.permuted:
        alone = Codings(sample.rows, coding[None], levels, kind == "ordinal")
        null.append(pairs_in_order(folded.held_out(alone, within=True)[0], coding, label))
    np.testing.assert_allclose([found.test.observed, *found.test.null], null, rtol=1e-12)
    for estimate, within, strata in ((found.own_auroc, True, label), (found.auroc, False, 0 * label)):
        scores = folded.held_out(sample.observed, within)[0]
        assert len(scores) == (1 if kind == "ordinal" else levels)
        value, error = area(scores, code, strata, sample.patients)
        assert value == pytest.approx(pairs_in_order(scores, code, strata), rel=1e-12)
        # The error is no smaller than the spread of the null, which shrinks where areas near 1.
        spread = 2 * np.std(null[1:]) if within else spread_of_chance(code, sample.patients)
        wanted = with_interval((value, error), 0.9, spread)
        assert [estimate.value, estimate.low, estimate.high] == pytest.approx([wanted.value, wanted.low, wanted.high])
    assert found.own_auroc.value == pytest.approx(found.test.observed)
    assert found.own_auroc.value > np.mean(null[1:]) + 0.05


def test_an_attribute_that_tracks_the_label_is_read_off_but_has_no_trace_of_its_own():
    draws = {"tracks": 0.85, "patients": 150, "permutations": 99}
    nothing, trace = (encoding(sampled(3, trace=trace, **draws)) for trace in (0.0, 3.0))
    assert nothing.auroc.low > 0.55
    assert nothing.own_auroc.value == pytest.approx(0.5, abs=0.1)
    assert nothing.own_auroc.low < 0.5 < nothing.own_auroc.high
    assert nothing.test.p_value > 0.05
    assert trace.own_auroc.low > 0.8  # the negative control has one
    assert trace.test.p_value == 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "by_patient", "low", "high"),
    [
        ({"tracks": 0.5}, True, 0.01, 0.09),
        ({"tracks": 0.8}, True, 0.01, 0.09),
        ({"tracks": 0.12}, True, 0.01, 0.09),
        ({"levels": 3}, True, 0.01, 0.09),
        ({"levels": 4, "kind": "ordinal"}, True, 0.01, 0.09),
        ({}, False, 0.3, 1),
    ],
)
def test_p_values_are_uniform_under_a_clustered_null_unless_patients_are_ignored(settings, by_patient, low, high):
    p_values, covered = [], []
    own = {name: value for name, value in settings.items() if name != "kind"}
    for seed in range(200, 400 if by_patient else 260):
        points, code, patient, label, _ = simulated(seed, **own)
        unit, kind = patient if by_patient else np.arange(len(patient)), settings.get("kind", "categorical")
        found = encoding(sample_of(code, label, unit, kind=kind, points=points, permutations=39, seed=seed))
        p_values.append(found.test.p_value)
        covered.append(found.own_auroc.low <= 0.5 <= found.own_auroc.high)
    assert low < np.mean(np.array(p_values) <= 0.05) < high
    if by_patient:
        np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)
        assert np.mean(covered) > 0.85


@pytest.mark.slow
def test_a_rare_attribute_is_no_more_extreme_than_its_permutations():
    """Folds that knew the attribute would balance it, and its permutations not."""
    rank = []
    for seed in range(200):
        points, _, patient, label, rng = simulated(seed)
        code = (rng.permutation(50) < 5)[patient].astype(int)
        test = encoding(sample_of(code, label, patient, points=points, permutations=39, seed=seed)).test
        rank.append(np.mean(np.array(test.null) < test.observed))
    assert np.mean(rank) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.4, 0.55), (False, 0.99, 1)])
def test_embeddings_that_know_the_patient_alone_do_not_encode_what_patients_were_given(by_patient, low, high):
    areas = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(40), 4)
        points = rng.normal(size=(40, 64))[patient] + 1e-3 * rng.normal(size=(160, 64))
        code, label = rng.permutation(np.arange(40) % 2)[patient], rng.permutation(np.arange(40) % 2)[patient]
        unit = patient if by_patient else np.arange(160)
        areas.append(encoding(sample_of(code, label, unit, points=points, seed=seed, permutations=2)).auroc.value)
    assert low <= np.mean(areas) <= high


def test_metrics_are_those_of_the_held_out_answers():
    points, code, patient, label, _ = simulated(1, trace=1.5, levels=3)
    sample = sample_of(code, label, patient, points=points, folds=3, bootstraps=40, confidence=0.9)
    found, fold = encoding(sample), sample.images.folds().fold
    standard = (points - points.mean(axis=0)) / points.std(axis=0)
    shrinkage = max(ledoit_wolf_shrinkage(standard, assume_centered=True), 1e-4)
    answer = np.empty_like(code)
    for index in range(3):
        seen, unseen = fold != index, fold == index
        middle = standard[seen].mean(axis=0)
        covariance = np.cov(standard[seen].T, bias=True)
        covariance = (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / 6 * np.eye(6)
        means = np.array([standard[seen & (code == level)].mean(axis=0) - middle for level in range(3)])
        away = (standard[unseen] - middle)[:, None] - means  # the nearest mean, in the metric of the covariance
        answer[unseen] = np.einsum("nmd,de,nme->nm", away, np.linalg.inv(covariance), away).argmin(axis=1)
    options, draws = {"average": "macro", "zero_division": 0}, []
    for times in sample.images.bootstrap:
        rows = np.repeat(np.arange(len(code)), times[patient])
        macro = precision_recall_fscore_support(code[rows], answer[rows], **options)[:3]
        draws.append([accuracy_score(code[rows], answer[rows]), *macro])
    values = [accuracy_score(code, answer), *precision_recall_fscore_support(code, answer, **options)[:3]]
    limits = np.quantile(draws, [0.05, 0.95], axis=0).T
    for name, value, (low, high) in zip(("accuracy", "precision", "recall", "f1"), values, limits, strict=True):
        metric = found.metrics[name]
        np.testing.assert_allclose([metric.value, metric.low, metric.high], [value, low, high], rtol=1e-9)


def test_an_ordered_attribute_is_told_apart_by_categories_and_ranked_by_one_direction():
    points, code, patient, label, _ = simulated(1, trace=1.5, levels=3)
    ordered, categories = (
        encoding(sample_of(code, label, patient, kind=kind, points=points)) for kind in ("ordinal", "categorical")
    )
    assert ordered.metrics == categories.metrics
    assert ordered.auroc != categories.auroc
    assert ordered.own_auroc.value > 0.8


def test_a_level_that_a_fold_has_not_seen_is_never_answered_there():
    """The images of the only patient with level 1 rank with the lowest of their fold, and below all other images."""
    points, _, patient, label, _ = simulated(5)
    code = (patient == 7).astype(int)
    label[patient == 7] = np.arange((patient == 7).sum()) % 2
    sample = sample_of(code, label, patient, points=points)
    found, fold = encoding(sample), sample.images.folds().fold
    beside = (fold == fold[code == 1][0]) & (code == 0)
    assert found.auroc.value == pytest.approx(0.5 * beside.sum() / (code == 0).sum())
    accuracy, recall = found.metrics["accuracy"].value, found.metrics["recall"].value
    assert recall == pytest.approx(accuracy * len(code) / (code == 0).sum() / 2)
    three = np.where(code == 1, 2, patient % 2)
    assert 0 < encoding(sample_of(three, label, patient, points=points)).auroc.value < 1


def test_results_are_plain_values_and_depend_on_the_seed_alone():
    points, code, patient, label, _ = simulated(1)
    found = [encoding(sample_of(code, label, patient, points=points, seed=seed, repeats=2)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert decode(Encoding, json.loads(json.dumps(encode(found[0])))) == found[0]


@pytest.mark.parametrize("kind", ["categorical", "ordinal"])
def test_spread_is_the_standard_deviation_over_draws_of_the_folds(kind):
    points, code, patient, label, _ = simulated(3, 1.0, levels=3)
    sample = sample_of(code, label, patient, kind=kind, points=points, repeats=3)
    found = encoding(sample)
    assert encoding(sample_of(code, label, patient, kind=kind, points=points)).spread == {}
    drawn = {name: [] for name in ("accuracy", "f1", "auroc", "own_auroc")}
    categories = Codings(sample.rows, code[None], 3)
    for draw in range(3):
        folded = sample.images.folds(draw)
        answer = folded.held_out(categories, within=False)[0].argmax(axis=0)
        drawn["accuracy"].append((answer == code).mean())
        drawn["f1"].append(precision_recall_fscore_support(code, answer, average="macro")[2])
        for name, within, strata in (("auroc", False, 0 * label), ("own_auroc", True, label)):
            drawn[name].append(pairs_in_order(folded.held_out(sample.observed, within)[0], code, strata))
    assert found.metrics["accuracy"].value == pytest.approx(drawn["accuracy"][0])
    assert set(found.spread) == {*found.metrics, "auroc", "own_auroc"}
    for name, values in drawn.items():
        assert found.spread[name] == pytest.approx(np.std(values, ddof=1), rel=1e-9)
        assert found.spread[name] > 0


def test_selectivity_is_what_control_tasks_do_not_reach():
    for trace, low, high in ((0.0, -0.12, 0.12), (3.0, 0.3, 0.5)):
        found = encoding(sampled(3, trace=trace, patients=150, permutations=49))
        assert found.selectivity == pytest.approx(found.own_auroc.value - np.mean(found.test.null))
        assert low < found.selectivity < high


def graded(seed: int, mark, patients: int = 80):
    """Four levels of patients, each with its mark on one of 20 columns."""
    rng = np.random.default_rng(seed)
    code, label = rng.permutation(np.arange(patients) % 4), rng.permutation(np.arange(patients) % 2)
    points = rng.normal(size=(patients, 20))
    points[:, 0] += np.asarray(mark)[code]
    return points, code, label


def rejected(mark, kind, seeds: int = 60):
    """Share of cohorts in which a trace is found."""
    p_values = []
    for seed in range(seeds):
        points, code, label = graded(seed, mark)
        p_values.append(encoding(sample_of(code, label, points=points, kind=kind, permutations=39)).test.p_value)
    return np.mean(np.array(p_values) <= 0.05)


@pytest.mark.slow
def test_a_trend_over_ordered_levels_is_found_with_more_power_than_by_categories():
    ordered, categories = (rejected(0.45 * np.arange(4), kind) for kind in ("ordinal", "categorical"))
    assert ordered > categories + 0.15
    assert ordered > 0.6


@pytest.mark.slow
def test_an_ordered_attribute_whose_extremes_are_alike_is_not_found():
    """The price of one direction: what rises and falls again has no trend. Categories find it."""
    bow = 1.2 * np.array([0, 1, 1, 0])
    assert rejected(bow, "ordinal", 40) < 0.2
    assert rejected(bow, "categorical", 40) > 0.5


def test_the_label_is_recognized_as_an_attribute_would_be():
    points, _, patient, label, _ = simulated(2)
    images = images_of(2 * label, patient, points=points, weight=np.zeros((3, 6)), repeats=2)  # class 1 is absent
    found = recognition(images)
    scores = images.folds().held_out(Codings(np.arange(len(label)), label[None], 2), within=False)[0]
    assert found.auroc.value == pytest.approx(roc_auc_score(label, scores[1]))
    assert found.metrics["accuracy"].value == pytest.approx(((scores[1] > scores[0]) == label).mean())
    assert set(found.spread) == {*found.metrics, "auroc"}
    assert found.auroc.value > 0.95


def test_a_class_of_a_single_image_cannot_be_recognized(rng):
    images = images_of([0, 1, 1, 1, 1, 1], points=rng.normal(size=(6, 2)))
    with pytest.raises(Unmeasurable, match="each class must have at least two images"):
        recognition(images)


@pytest.mark.parametrize("question", [encoding, held_out_margins])
def test_what_takes_embeddings_says_so(question):
    images = images_of([0, 0, 1, 1], answers=np.full((4, 2), 0.5))
    with pytest.raises(Unmeasurable, match="it takes the embeddings"):
        question(images.by("attribute", levels_of([0, 1] * 2)))


def test_margins_are_large_where_the_trace_is_plain_and_come_from_other_patients():
    points, code, patient, label, _ = simulated(2, 2.0, patients=120)
    marked = np.flatnonzero(code == 1)[:3]
    points[marked, 1] += 8  # plainly of level 1
    margins = held_out_margins(sample_of(code, label, patient, points=points))
    assert set(np.argsort(-margins)[:3]) == set(marked)
    assert (margins > 0).mean() > 0.65
    # A patient who can be told by heart gives nothing away: the probe has not seen that patient.
    heart = np.eye(120)[patient] * 10
    lonely = held_out_margins(sample_of(code, label, patient, points=heart))
    assert (lonely > 0.5).mean() < 0.2


def test_margins_are_those_of_logits_centred_by_fold_and_label():
    points, code, patient, label, _ = simulated(2, 1.0, levels=3)
    code[:20] = -1
    sample = sample_of(code, label, patient, points=points, kind="ordinal")
    codings = Codings(sample.rows, sample.codes[None], 3)  # levels compete, whatever their order
    logits, fold = sample.images.folds().held_out(codings, within=True)[0], sample.images.folds().fold[sample.rows]
    for image, margin in enumerate(held_out_margins(sample)):
        beside = (fold == fold[image]) & (sample.labels == sample.labels[image])
        centred = logits[:, image] - logits[:, beside].mean(axis=1)
        own = sample.codes[image]
        assert margin == pytest.approx(centred[own] - max(np.delete(centred, own)), abs=1e-9)


def refitted(points, label, fold, design, rows):
    """Scores by probes that are refitted for each fold: covariance within labels, means within labels of some rows."""
    z = (points - points.mean(axis=0)) / points.std(axis=0)
    share, scores = max(ledoit_wolf_shrinkage(z, assume_centered=True), 1e-4), np.zeros(len(z))
    for index in np.unique(fold):
        rest, weight = fold != index, 0.0
        within = np.concatenate([z[rest & (label == c)] - z[rest & (label == c)].mean(axis=0) for c in (0, 1)])
        covariance = (1 - share) * within.T @ within / len(within)
        covariance += share * np.trace(within.T @ within) / len(within) / z.shape[1] * np.eye(z.shape[1])
        for c in np.unique(label[rows]):
            own = np.intersect1d(rows, np.flatnonzero(rest & (label == c)))
            weight = weight + (z[own] - z[own].mean(axis=0)).T @ design[own]
        scores[fold == index] = z[fold == index] @ np.linalg.solve(covariance, weight)
    return scores


def read_by_hand(points, code, label, fold, rows, levels, kind):
    """Scores (m, n), their codes, and the cells within which they are ranked."""
    design = [code.astype(float)] if kind == "ordinal" else [(code == level).astype(float) for level in levels]
    scores = np.array([refitted(points, label, fold, each, rows)[rows] for each in design])
    return scores, code[rows], (2 * fold + label)[rows]


@pytest.mark.parametrize(("levels", "kind"), [(2, "categorical"), (3, "categorical"), (3, "ordinal")])
def test_readers_of_labels_and_of_components_are_those_that_are_refitted_by_hand(levels, kind):
    points, code, patient, label, _ = simulated(4, trace=0.7, levels=levels, patients=120)
    code[:20] = -1
    sample = sample_of(code, label, patient, kind=kind, points=points, permutations=6, confidence=0.9)
    found, fold, known = encoding(sample), sample.images.folds().fold, np.flatnonzero(code >= 0)
    _, singular, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    components = (points - points.mean(axis=0)) @ axes.T / singular * np.sqrt(len(points))
    mine = sample.images.points.components(10)
    np.testing.assert_allclose(np.abs(mine), np.abs(components), atol=1e-9)
    features = random_features(mine, 128, sample.images.rng("kernel features")).astype(float)
    parts = [(points, known[label[known] == 0]), (points, known[label[known] == 1]), (features, known)]
    null = []
    for estimate, (values, rows) in zip((*found.by_label, found.nonlinear), parts, strict=True):
        areas = []
        for coding in sample.permuted:
            drawn = code.copy()
            drawn[known] = coding
            hand = read_by_hand(values, drawn, label, fold, rows, range(levels), kind)
            areas.append(pairs_in_order(*hand))
        null.append(areas)
        assert estimate.value == pytest.approx(areas[0], abs=1e-3)
        scores, own, cells = read_by_hand(values, code, label, fold, rows, range(levels), kind)
        area = clustered_concordance if kind == "ordinal" else clustered_auroc
        wanted = with_interval(area(scores, own, cells, patient[rows]), 0.9, 2 * np.std(areas[1:]))
        assert [estimate.low, estimate.high] == pytest.approx([wanted.low, wanted.high], abs=5e-3)
    every = np.array([[found.test.observed, *found.test.null], *null])
    largest = ((every - every.mean(axis=1, keepdims=True)) / every.std(axis=1, keepdims=True)).max(axis=0)
    assert [found.anywhere.observed, *found.anywhere.null] == pytest.approx(largest.tolist(), abs=0.05)


def test_a_label_whose_levels_too_few_patients_have_has_no_reader_and_rare_levels_are_not_ranked():
    points, _, patient, label, _ = simulated(4, patients=120)
    label[patient < 45], label[patient >= 45] = 0, 2  # the head has a class without images
    code = np.where(label == 0, (patient < 9) * 1, patient % 2)  # nine patients with level 1 and label 0
    code[(patient >= 111)] = 2  # and with level 2 and label 2
    weight = np.zeros((3, 6))
    few, absent, both = encoding(sample_of(code, label, patient, points=points, weight=weight)).by_label
    assert [few, absent] == [None, None]
    images = sample_of(code, label, patient, points=points, weight=weight).images
    rows = np.flatnonzero(label == 2)
    scores, own, fold = read_by_hand(points, code, label // 2, images.folds().fold, rows, (1,), "categorical")
    cell, won, pairs = fold, 0.0, 0
    for high in np.flatnonzero(own == 1):
        others = (own != 1) & (cell == cell[high])
        won, pairs = won + (scores[0][high] > scores[0][others]).sum(), pairs + others.sum()
    assert both.value == pytest.approx(won / pairs, abs=1e-3)
    code[patient == 9] = 1
    assert encoding(sample_of(code, label, patient, points=points, weight=weight)).by_label[0] is not None


def hidden(seed: int, where: str, patients: int = 200):
    """An attribute whose trace is nowhere, linear, opposite in the labels, less contrast, or non-linear."""
    rng = np.random.default_rng(seed)
    label, code = rng.integers(2, size=(2, patients))
    points, side = rng.normal(size=(patients, 8)), rng.choice([-1, 1], patients)
    points[:, 0] += 4 * (label - 0.5) * (0.3 if where == "contrast" else 1) ** code
    if where in ("linear", "opposite"):
        points[:, 1] += 1.2 * code * (1 if where == "linear" else 2 * label - 1)
    if where == "xor":
        points[:, 1] += 2 * side
        points[:, 2] += 2 * side * (2 * code - 1)
    if where == "radius":
        angle = rng.uniform(0, 2 * np.pi, patients)
        ring = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.where(code == 1, 2, 0.5)[:, None]
        points[:, 1:3] = ring + 0.5 * points[:, 1:3]
    return sample_of(code, label, points=points, permutations=99, seed=seed)


@pytest.mark.parametrize(
    ("where", "shared", "by_label", "nonlinear"),
    [
        ("nowhere", False, False, False),
        ("linear", True, True, False),
        ("opposite", False, True, False),
        ("contrast", False, True, False),
        ("xor", False, False, True),
        ("radius", False, False, True),
    ],
)
def test_each_trace_is_found_by_its_own_reader_and_noise_by_none(where, shared, by_label, nonlinear):
    found = [encoding(hidden(seed, where)) for seed in range(6)]
    own, other = (np.mean([getattr(each, name).value for each in found]) for name in ("own_auroc", "nonlinear"))
    labels = np.mean([[estimate.value for estimate in each.by_label] for each in found], axis=0)
    assert own > 0.7 if shared else own == pytest.approx(0.5, abs=0.05)
    assert (labels > 0.65).all() if by_label else (np.abs(labels - 0.5) < 0.06).all()
    assert (other > 0.75) == nonlinear
    p_value = np.median([each.anywhere.p_value for each in found])
    assert p_value == 0.01 if shared or by_label or nonlinear else p_value > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"levels": 3}, {"tracks": 0.8}, {"levels": 4, "kind": "ordinal"}])
def test_the_largest_of_all_readers_is_uniform_under_a_clustered_null(settings):
    own = {name: value for name, value in settings.items() if name != "kind"}
    p_values = []
    for seed in range(150):
        points, code, patient, label, _ = simulated(seed, patients=60, **own)
        kind = settings.get("kind", "categorical")
        sample = sample_of(code, label, patient, kind=kind, points=points, permutations=39, seed=seed)
        p_values.append(encoding(sample).anywhere.p_value)
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) < 0.09
    np.testing.assert_allclose(np.quantile(p_values, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


@pytest.mark.parametrize("kind", ["categorical", "ordinal"])
def test_sums_that_do_not_fit_the_memory_change_no_reader(kind, monkeypatch):
    draws = {"levels": 3, "trace": 1.0, "kind": kind, "patients": 100}
    kept = encoding(sampled(3, **draws))
    monkeypatch.setattr("monai_shortcut.analyses.sample._SUMS", 1)
    found = encoding(sampled(3, **draws))
    assert found.nonlinear == kept.nonlinear
    for one, other in zip(found.by_label, kept.by_label, strict=True):
        assert [one.value, one.low, one.high] == pytest.approx([other.value, other.low, other.high], abs=2e-3)


def test_a_record_without_the_other_readers_is_read():
    written = encode(encoding(sampled(3)))
    for name in ("by_label", "nonlinear", "anywhere"):
        del written[name]
    old = decode(Encoding, written)
    assert (old.by_label, old.nonlinear, old.anywhere) == ((), None, None)
