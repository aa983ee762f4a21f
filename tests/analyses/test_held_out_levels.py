# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_shortcut.analyses import held_out_levels
from monai_shortcut.analyses.held_out_levels import HeldOutLevel, leave_level_out
from monai_shortcut.statistics.delong import compare_aucs
from monai_shortcut.statistics.resampling import patient_folds, permute_by_patient
from monai_shortcut.storage.records import decode, encode


def cohort(
    seed: int,
    *,
    patients: int = 80,
    size: int = 6,
    levels: int = 2,
    classes: int = 2,
    signal: float = 1.2,
    flipped: float = 0.0,
    moved: float = 1.0,
):
    """Embeddings, codes, labels and patients, one label and level each.

    Classes differ along the first axes. Levels move the embeddings along the last axis, which no class uses, and a
    second signal of the class has the opposite sign in level 0.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    label, code = rng.permutation(np.arange(patients) % classes), rng.integers(levels, size=patients)
    points = 0.7 * rng.normal(size=(patients, size))
    points[:, :classes] += signal * np.eye(classes)[label]
    points[:, classes] += flipped * (label - (classes - 1) / 2) * np.where(code == 0, -1, 1)
    points[:, -1] += moved * code
    points = points[patient] + rng.normal(size=(len(patient), size))
    return points, code[patient], label[patient], patient


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def recorded(monkeypatch):
    """Calls of the function that fits a head and ranks with it."""
    calls, original = [], held_out_levels._log_odds

    def record(points, label, ranked):
        calls.append((points, label, ranked))
        return original(points, label, ranked)

    monkeypatch.setattr(held_out_levels, "_log_odds", record)
    return calls


def by_definition(points, code, label, patient, folds, level, value, rng):
    """Areas by both heads, the error of their difference, and how many are ranked: fold by fold, pair by pair."""
    fold = patient_folds(patient, label * (code.max() + 1) + code, folds, rng)
    order = rng.permutation(patient.max() + 1)
    wins = [], []
    for index in range(folds):
        unseen = [i for i in range(len(code)) if fold[i] != index and code[i] != level]
        seen = []
        for c in np.unique(label):
            found = [i for i in np.argsort(order[patient], kind="stable") if fold[i] != index and label[i] == c]
            seen += found[: sum(label[i] == c for i in unseen)]
        here = (fold == index) & (code == level)
        for result, rows in zip(wins, (seen, unseen), strict=True):
            head = LogisticRegression(C=10 / len(rows), class_weight="balanced", max_iter=1000)
            probability = make_pipeline(StandardScaler(), head).fit(points[rows], label[rows]).predict_proba(points)
            score = probability[:, list(np.unique(label)).index(value)]
            for i in np.flatnonzero(here & (label == value)):
                for j in np.flatnonzero(here & (label != value)):
                    result.append((i, j, (score[i] > score[j]) + 0.5 * (score[i] == score[j])))
    seen, unseen = (np.array(result)[:, 2] for result in wins)
    apart, influence = seen - unseen, np.zeros(patient.max() + 1)
    difference = apart.mean()
    for (i, j, _), each in zip(wins[0], apart, strict=True):
        influence[patient[i]] += (each - difference) / len(apart)
        influence[patient[j]] += (each - difference) / len(apart)
    count = len(set(patient[code == level].tolist()))
    return seen.mean(), unseen.mean(), np.sqrt(count / (count - 1) * (influence**2).sum())


@pytest.mark.parametrize("classes", [2, 3])
def test_every_number_equals_the_definition(classes):
    points, code, label, patient = cohort(3, classes=classes, levels=3, patients=90)
    found = leave_level_out(points, code, label, patient, folds=4, permutations=0, level=0.9, rng=rng_of(1))
    assert [(each.level, each.label) for each in found] == [
        (v, c) for v in range(3) for c in ([1] if classes == 2 else range(3))
    ]
    for each in found:
        seen, unseen, error = by_definition(points, code, label, patient, 4, each.level, each.label, rng_of(1))
        assert each.auc_seen == pytest.approx(seen, abs=1e-9)
        assert each.auc_unseen == pytest.approx(unseen, abs=1e-9)
        assert each.difference == pytest.approx(seen - unseen, abs=1e-9)
        np.testing.assert_allclose(each.interval, seen - unseen + norm.ppf(0.95) * error * np.array([-1, 1]), atol=1e-9)
        assert each.p_value == pytest.approx(2 * norm.sf(abs(seen - unseen) / error))
        assert (each.images, each.patients) == ((code == each.level).sum(), len(set(patient[code == each.level])))
        assert (each.inflation, each.null) == (1, ())


def test_areas_are_those_of_scikit_learn_within_folds_weighted_by_pairs(monkeypatch):
    points, code, label, patient = cohort(0)
    points[:, -1] = np.arange(len(points)) / 1000  # to recognize the image
    calls, total = recorded(monkeypatch), {}
    found = leave_level_out(points, code, label, patient, permutations=0, rng=rng_of(1))
    monkeypatch.undo()
    for index, (fitted, own, ranked) in enumerate(calls):
        rows = np.rint(1000 * ranked[:, -1]).astype(int)
        pairs = (label[rows] == 1).sum() * (label[rows] == 0).sum()
        area = roc_auc_score(label[rows], held_out_levels._log_odds(fitted, own, ranked)[1])
        total.setdefault((code[rows[0]], index % 2), []).append((area, pairs))
    for each in found:
        for head, area in enumerate((each.auc_seen, each.auc_unseen)):
            areas, pairs = zip(*total[each.level, head], strict=True)
            assert area == pytest.approx(np.average(areas, weights=pairs))


def test_one_fold_gives_the_comparison_of_delong(rng):
    label, patient = rng.integers(2, size=300), np.arange(300)
    scores = label + rng.normal(size=300) + 0.7 * rng.normal(size=(2, 300))
    pair = held_out_levels._pair(scores, label == 1, np.zeros(300, dtype=int), patient)
    expected = compare_aucs(label, scores[0], scores[1], patient)
    assert pair.seen - pair.unseen == pytest.approx(expected.difference, abs=1e-12)
    assert pair.error == pytest.approx(expected.standard_error, rel=0.01)


@pytest.mark.parametrize("varying", [False, True])
def test_what_the_heads_are_fitted_to_and_rank(monkeypatch, rng, varying):
    """Unseen heads know no image of the level, seen heads as many images of each class; neither ranks its patients."""
    points, code, label, patient = cohort(0, levels=3, classes=3, patients=120)
    if varying:
        code, label = rng.permutation(code), rng.permutation(label)
    points[:, :3] = np.stack([patient, code, np.arange(len(code))], axis=1)
    calls = recorded(monkeypatch)
    leave_level_out(points, code, label, patient, folds=4, permutations=0, rng=rng)
    assert len(calls) == 3 * 4 * 2
    ranked = {}
    for (seen, seen_label, ranked_seen), (unseen, unseen_label, ranked_unseen) in zip(
        calls[::2], calls[1::2], strict=True
    ):
        (level,) = set(ranked_seen[:, 1])
        assert level not in unseen[:, 1]
        assert level in seen[:, 1]
        np.testing.assert_array_equal(np.bincount(seen_label), np.bincount(unseen_label))
        np.testing.assert_array_equal(ranked_seen, ranked_unseen)
        for fitted, own in ((seen, seen_label), (unseen, unseen_label)):
            assert not set(fitted[:, 0]) & set(ranked_seen[:, 0])
            rows = fitted[:, 2].astype(int)
            assert len(set(rows)) == len(rows)
            np.testing.assert_array_equal(label[rows], own)
        # Chosen by patient: of each class at most one patient is there in part.
        for c in range(3):
            taken = set(seen[seen_label == c, 2].astype(int))
            images = [set(np.flatnonzero((label == c) & (patient == p))) for p in set(seen[seen_label == c, 0])]
            assert sum(not own <= taken for own in images) <= 1
        ranked.setdefault(level, []).extend(ranked_seen[:, 2].astype(int))
    for level, rows in ranked.items():
        assert sorted(rows) == np.flatnonzero(code == level).tolist()


def test_heads_cannot_rank_patients_by_heart_unless_patients_are_ignored(rng):
    """Each patient has a direction of its own, and a label that nothing else tells."""
    patient = np.repeat(np.arange(40), 6)
    label, code = rng.permutation(np.arange(40) % 2)[patient], np.tile([0, 1], 120)
    points = 3 * np.eye(40)[patient] + 0.1 * rng.normal(size=(240, 40))
    found = leave_level_out(points, code, label, patient, permutations=0, rng=rng)
    ignored = leave_level_out(points, code, label, np.arange(240), permutations=0, rng=rng)
    assert all(0.2 < area < 0.7 for each in found for area in (each.auc_seen, each.auc_unseen))
    assert all(area > 0.95 for each in ignored for area in (each.auc_seen, each.auc_unseen))


@pytest.mark.parametrize("levels", [2, 3])
def test_p_values_are_uniform_when_levels_are_alike(levels):
    results = []
    for seed in range(120 // levels):
        arguments = cohort(seed, patients=120, size=16, levels=levels)
        results += leave_level_out(*arguments, permutations=0, rng=rng_of(seed))
    found = np.array([each.p_value for each in results])
    assert 0.01 < np.mean(found <= 0.05) < 0.1
    np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.12)
    assert np.mean([each.interval[0] <= 0 <= each.interval[1] for each in results]) > 0.9
    assert np.mean([each.difference for each in results]) == pytest.approx(0, abs=0.01)
    assert np.mean([each.auc_unseen for each in results]) > 0.75


def test_a_signal_that_only_holds_in_the_other_levels_costs_the_unseen_head():
    found = [leave_level_out(*cohort(seed, flipped=2.0), permutations=3, rng=rng_of(seed)) for seed in range(15)]
    assert np.mean([each[0].p_value <= 0.05 for each in found]) > 0.8
    assert np.mean([each[0].auc_seen for each in found]) > 0.6
    assert np.mean([each[0].auc_unseen for each in found]) < 0.5
    for each in found:
        assert each[0].interval[0] <= each[0].difference <= each[0].interval[1]


def test_of_many_levels_the_one_that_differs_is_found():
    results = leave_level_out(*cohort(0, levels=4, patients=240, flipped=2.0), permutations=2, rng=rng_of(0))
    assert [each.level for each in results] == [0, 1, 2, 3]
    assert results[0].difference > 0.1
    assert results[0].p_value < 0.01
    assert all(each.p_value > 0.05 for each in results[1:])


def test_a_shift_of_a_level_that_its_images_share_costs_nothing():
    """Only images of the level are compared, and in no other fold: a scanner may move all its embeddings."""
    found = leave_level_out(*cohort(0, moved=20.0, patients=120), permutations=0, rng=rng_of(0))
    assert all(each.p_value > 0.05 for each in found)
    assert all(each.auc_unseen > 0.75 for each in found)


def test_prevalence_of_the_other_levels_does_not_matter():
    points, code, label, patient = cohort(0, patients=300)
    kept = (code == 0) | (label == 0) | (patient % 6 == 0)  # the other level has few of class 1
    found = leave_level_out(points[kept], code[kept], label[kept], patient[kept], permutations=0, rng=rng_of(0))
    assert found[0].p_value > 0.05
    assert abs(found[0].difference) < 0.05


def test_the_error_grows_by_what_refitting_adds():
    """The ratios are those of cohorts whose attribute is permuted, and the p-value is Student's."""
    arguments = points, code, label, patient = cohort(0, patients=200, size=40)
    found = leave_level_out(*arguments, permutations=6, rng=rng_of(5))
    rng = rng_of(5)
    given = held_out_levels._compared(points, code, label, patient, 5, rng)
    draws = code[permute_by_patient(patient, 6, rng, label)]
    null = [held_out_levels._compared(points, draw, label, patient, 5, rng) for draw in draws]
    ratios = np.array([[(pair[v, 1].seen - pair[v, 1].unseen) / pair[v, 1].error for pair in null] for v in (0, 1)])
    inflation = max(1, np.sqrt(np.mean(ratios**2)))
    for level, each in enumerate(found):
        error = given[level, 1].error * inflation
        np.testing.assert_allclose(each.null, ratios[level])
        assert each.inflation == pytest.approx(inflation)
        assert each.p_value == pytest.approx(2 * t.sf(abs(each.difference) / error, 12))
        np.testing.assert_allclose(each.interval, t.interval(0.95, 12, each.difference, error))


def test_heads_taken_as_given_look_too_certain():
    """With two levels and many patients the differences scatter more than DeLong's error says; inflation tells."""
    ratios = []
    for seed in range(6):
        points, code, label, patient = cohort(seed, patients=300, size=64, signal=0.6)
        found = leave_level_out(points, code, label, patient, permutations=5, rng=rng_of(seed))
        ratios += [ratio for each in found for ratio in each.null]
    assert np.sqrt(np.mean(np.square(ratios))) > 1.05


def test_constant_embeddings_rank_nothing():
    _, code, label, patient = cohort(0)
    for each in leave_level_out(np.full((len(code), 3), 0.1), code, label, patient, permutations=1, rng=rng_of(0)):
        assert (each.auc_seen, each.auc_unseen, each.difference, each.p_value) == (0.5, 0.5, 0, 1)
        assert each.interval == (0, 0)


def test_far_images_do_not_saturate_into_ties():
    points, _, label, _ = cohort(0, signal=4, classes=3)
    far = held_out_levels._log_odds(points, label, 1000 * points)
    assert np.isfinite(far).all()
    assert all(len(set(row)) == len(points) for row in far)


def test_a_class_that_other_levels_hardly_have_is_left_out_with_its_images(monkeypatch):
    points, code, label, patient = cohort(0, levels=2, classes=3, patients=150)
    kept = (code == 0) | (label != 2) | (patient < 12)
    points, code, label, patient = points[kept], code[kept], label[kept], patient[kept]
    found = leave_level_out(points, code, label, patient, permutations=0, rng=rng_of(0))
    first = [each for each in found if each.level == 0]
    assert [each.label for each in first] == [1]  # of two classes that are left the second
    assert first[0].images == ((code == 0) & (label != 2)).sum()
    assert {each.label for each in found if each.level == 1} <= {0, 1}  # class 2 has too few to be ranked


def test_levels_with_too_few_patients_are_left_out():
    points, code, label, patient = cohort(0, levels=2)
    few = np.where(np.isin(patient, patient[label == 1][:3]), 2, code)  # at most three patients of one class
    found = leave_level_out(points, few, label, patient, permutations=0, rng=rng_of(0))
    assert {each.level for each in found} == {0, 1}
    nobody = np.where(patient == 0, 1, 0)
    assert leave_level_out(points, nobody, label, patient, rng=rng_of(0)) == ()


def test_folds_that_hold_one_outcome_alone_are_passed_over():
    points, code, label, patient = cohort(0, patients=40)
    found = leave_level_out(points, code, label, patient, folds=40, permutations=0, rng=rng_of(0))
    assert found == ()  # one patient in each fold, and no patient has both labels
    found = leave_level_out(points, code, label, patient, folds=8, permutations=0, rng=rng_of(0))
    assert all(0 <= each.auc_unseen <= 1 for each in found)
    assert len(found) == 2


def test_labels_keep_their_numbers():
    points, code, label, patient = cohort(0, classes=3, levels=2, patients=120)
    first = leave_level_out(points, code, label, patient, permutations=0, rng=rng_of(0))
    second = leave_level_out(points, code, np.array([3, 7, 9])[label], patient, permutations=0, rng=rng_of(0))
    assert [replace(each, label=[3, 7, 9][each.label]) for each in first] == list(second)


def test_results_depend_on_the_generator_alone_and_survive_a_round_trip():
    arguments = cohort(0)
    found = [leave_level_out(*arguments, permutations=1, rng=rng_of(seed)) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    for each in found[0]:
        assert decode(HeldOutLevel, json.loads(json.dumps(encode(each)))) == each


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({0: np.ones(6)}, r"embeddings must have shape \(N, D\), got \(6,\)"),
        ({1: [0, 1]}, r"codes must have shape \(6,\) to match embeddings, got \(2,\)"),
        ({2: [0, 1]}, r"labels must have shape \(6,\) to match embeddings, got \(2,\)"),
        ({3: [0, 1]}, r"patients must have shape \(6,\) to match embeddings, got \(2,\)"),
        ({0: [[0.5, np.nan]] * 6}, "embeddings must be finite, got 6 images not so"),
        ({1: [0] * 6}, r"codes must be 0 to M - 1, each present and M at least 2, got \[0\]"),
        ({1: [0, 2] * 3}, r"codes must be 0 to M - 1, each present and M at least 2, got \[0, 2\]"),
        ({2: list("ababab")}, "labels must be integers, got <U1"),
        ({2: [1] * 6}, r"labels must hold at least two classes, got \[1\]"),
        ({3: [0, 0, 1, 1, 2, 2]}, r"folds must be between 2 and the number of patients \(3\), got 5"),
    ],
)
def test_what_cannot_be_compared_is_refused(rng, replaced, message):
    arguments = [np.ones((6, 2)), [0, 1] * 3, [0, 0, 1, 1, 0, 1], np.arange(6)]
    arguments = [replaced.get(index, value) for index, value in enumerate(arguments)]
    with pytest.raises(ValueError, match=message):
        leave_level_out(*arguments, rng=rng)
