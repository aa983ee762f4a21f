# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest
from scipy.stats import norm, t
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_shortcut.analyses import held_out_levels as module
from monai_shortcut.analyses.held_out_levels import HeldOutLevel, compared_heads, held_out_levels, leave_level_out
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.statistics.delong import compare_aucs
from monai_shortcut.statistics.logistic import PooledHead
from monai_shortcut.statistics.resampling import Resampling, patient_folds, permuted_codes
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Estimate, Unmeasurable


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


@pytest.fixture
def exactly(monkeypatch):
    """Heads at the minimum, so that they rank as those of scikit-learn do."""
    monkeypatch.setattr(PooledHead, "fit", partialmethod(PooledHead.fit, tolerance=1e-9))


def rounds_of(code, label, patient, fold):
    """What can be compared, and the images that each head is fitted to (levels asked, K, 2, N)."""
    sizes = (int(values.max()) + 1 for values in (patient, fold, label, code))
    found = module._Round.of(module._Images(label, patient, fold, *sizes), code)
    return found, found.fits(rng_of(1)).T.reshape(len(found.levels), fold.max() + 1, 2, -1)


def by_definition(points, code, label, patient, fold, level, value, rng):
    """Areas by both heads and the error of their difference: fold by fold, pair by pair."""
    order = rng.permutation(patient.max() + 1)
    wins = [], []
    for index in range(fold.max() + 1):
        unseen = [i for i in range(len(code)) if fold[i] != index and code[i] != level]
        seen = []
        for c in np.unique(label):
            found = [i for i in np.argsort(order[patient], kind="stable") if fold[i] != index and label[i] == c]
            seen += found[: sum(label[i] == c for i in unseen)]
        here = (fold == index) & (code == level)
        for result, rows in zip(wins, (seen, unseen), strict=True):
            head = LogisticRegression(C=10 / len(rows), class_weight="balanced", max_iter=10000, tol=1e-9)
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


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("classes", [2, 3])
def test_every_number_equals_the_definition(classes):
    points, code, label, patient = cohort(3, classes=classes, levels=3, patients=90)
    fold = patient_folds(patient, label * 3 + code, 4, rng_of(0))
    found = compared_heads(points, code[None], label, patient, fold, confidence=0.9, rng=rng_of(1))
    assert [(each.level, each.label) for each in found] == [
        (v, c) for v in range(3) for c in ([1] if classes == 2 else range(3))
    ]
    for each in found:
        seen, unseen, error = by_definition(points, code, label, patient, fold, each.level, each.label, rng_of(1))
        assert each.auc_seen == pytest.approx(seen, abs=1e-9)
        assert each.auc_unseen == pytest.approx(unseen, abs=1e-9)
        limits = norm.interval(0.9, seen - unseen, error)
        difference = [each.difference.value, each.difference.low, each.difference.high]
        np.testing.assert_allclose(difference, [seen - unseen, *limits], atol=1e-9)
        assert each.p_value == pytest.approx(2 * norm.sf(abs(seen - unseen) / error))
        assert (each.images, each.patients) == ((code == each.level).sum(), len(set(patient[code == each.level])))
        assert (each.inflation, each.null) == (1, ())


@pytest.mark.usefixtures("exactly")
def test_each_permuted_attribute_is_compared_as_if_it_were_observed(rng):
    points, code, label, patient = cohort(4, levels=2, patients=90)
    fold = patient_folds(patient, label, 3, rng_of(0))
    codings = np.concatenate([code[None], permuted_codes(code, patient, 3, rng, label)])
    found = compared_heads(points, codings, label, patient, fold, confidence=0.95, rng=rng_of(1))
    turns = rng_of(1)
    turns.permutation(patient.max() + 1)
    for draw in range(3):
        state = turns.bit_generator.state
        for each in found:
            turns.bit_generator.state = state
            seen, unseen, error = by_definition(
                points, codings[1 + draw], label, patient, fold, each.level, each.label, turns
            )
            assert each.null[draw] == pytest.approx((seen - unseen) / error, rel=1e-6)


def test_blocks_of_permutations_change_nothing(rng, monkeypatch):
    points, code, label, patient = cohort(4, levels=3, patients=90)
    found = leave_level_out(points, code, label, patient, permutations=4, rng=rng_of(0))
    monkeypatch.setattr(module, "_BLOCK", 2 * len(points) * 3 * 5 * 2)  # two codings
    apart = leave_level_out(points, code, label, patient, permutations=4, rng=rng_of(0))
    for first, second in zip(found, apart, strict=True):
        np.testing.assert_allclose(first.null, second.null, atol=0.05)
        assert first.auc_seen == pytest.approx(second.auc_seen, abs=1e-3)


def test_precision_and_tolerance_hardly_move_an_area(monkeypatch):
    """Float32 and heads near their minimum, as they are by default, against float64 and the minimum."""
    points, code, label, patient = cohort(0, patients=400, size=100)
    fold = patient_folds(patient, label, 5, rng_of(0))
    single, double = (
        compared_heads(points.astype(dtype), code[None], label, patient, fold, confidence=0.95, rng=rng_of(1))
        for dtype in (np.float32, np.float64)
    )
    monkeypatch.setattr(PooledHead, "fit", partialmethod(PooledHead.fit, tolerance=1e-9))
    exact = compared_heads(points, code[None], label, patient, fold, confidence=0.95, rng=rng_of(1))
    for first, second, third in zip(single, double, exact, strict=True):
        for name in ("auc_seen", "auc_unseen"):
            assert getattr(first, name) == pytest.approx(getattr(second, name), abs=1e-5)
            assert getattr(first, name) == pytest.approx(getattr(third, name), abs=5e-4)


def test_one_fold_gives_the_comparison_of_delong(rng):
    label, patient, nothing = rng.integers(2, size=300), np.arange(300), np.zeros(300, dtype=int)
    scores = np.round(label + rng.normal(size=300) + 0.7 * rng.normal(size=(2, 300)), 1)  # with ties
    pair = module._pairs(scores, label == 1, nothing, nothing, patient)[0]
    expected = compare_aucs(label, scores[0], scores[1], patient)
    assert pair.seen - pair.unseen == pytest.approx(expected.difference, abs=1e-12)
    assert pair.error == pytest.approx(expected.standard_error, rel=0.01)


def test_pairs_that_are_ranked_rightly_are_counted_within_groups(rng):
    score, group, positive = rng.integers(6, size=80) / 2, rng.choice([0, 2, 3], 80), rng.random(80) < 0.4
    found = module._wins(score, group, positive)
    for i in range(80):
        other = score[(group == group[i]) & (positive != positive[i])]
        right = score[i] > other if positive[i] else score[i] < other
        assert found[i] == right.sum() + 0.5 * (score[i] == other).sum()


@pytest.mark.parametrize("varying", [False, True])
def test_what_the_heads_are_fitted_to(rng, varying):
    """Unseen heads know no image of the level, seen heads as many images of each class; neither ranks its patients."""
    _, code, label, patient = cohort(0, levels=3, classes=3, patients=120)
    if varying:
        code, label = rng.permutation(code), rng.permutation(label)
    fold = patient_folds(patient, label * 3 + code, 4, rng)
    found, fits = rounds_of(code, label, patient, fold)
    assert found.known.all()
    assert found.asked.all()
    turn = rng_of(1).permutation(patient.max() + 1)[patient]
    for level in range(3):
        for index in range(4):
            seen, unseen = fits[level, index]
            np.testing.assert_array_equal(unseen, (code != level) & (fold != index))
            assert not (seen & (fold == index)).any()
            for c in range(3):
                wanted = (unseen & (label == c)).sum()
                pool = np.flatnonzero((label == c) & (fold != index))
                chosen = pool[np.argsort(turn[pool], kind="stable")][:wanted]
                np.testing.assert_array_equal(np.flatnonzero(seen & (label == c)), np.sort(chosen))
    # The columns that each image is ranked with are those of its level and fold.
    columns = fits.reshape(-1, len(code))
    for head in (0, 1):
        own = columns[found.seen + head]
        assert not own[np.arange(len(code)), np.arange(len(code))].any()
        np.testing.assert_array_equal(own, fits[code, fold, head])


def test_heads_cannot_rank_patients_by_heart_unless_patients_are_ignored(rng):
    """Each patient has a direction of its own, and a label that nothing else tells."""
    patient = np.repeat(np.arange(40), 6)
    label, code = rng.permutation(np.arange(40) % 2)[patient], np.tile([0, 1], 120)
    points = 3 * np.eye(40)[patient] + 0.1 * rng.normal(size=(240, 40))
    found = leave_level_out(points, code, label, patient, permutations=0, rng=rng)
    ignored = leave_level_out(points, code, label, np.arange(240), permutations=0, rng=rng)
    assert all(0.2 < area < 0.7 for each in found for area in (each.auc_seen, each.auc_unseen))
    assert all(area > 0.85 for each in ignored for area in (each.auc_seen, each.auc_unseen))


@pytest.mark.parametrize("levels", [2, 3])
def test_p_values_are_uniform_when_levels_are_alike(levels):
    results = []
    for seed in range(120 // levels):
        arguments = cohort(seed, patients=120, size=16, levels=levels)
        results += leave_level_out(*arguments, permutations=0, rng=rng_of(seed))
    found = np.array([each.p_value for each in results])
    assert 0.01 < np.mean(found <= 0.05) < 0.1
    np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.12)
    assert np.mean([each.difference.low <= 0 <= each.difference.high for each in results]) > 0.9
    assert np.mean([each.difference.value for each in results]) == pytest.approx(0, abs=0.01)
    assert np.mean([each.auc_unseen for each in results]) > 0.75


def test_a_signal_that_only_holds_in_the_other_levels_costs_the_unseen_head():
    found = [leave_level_out(*cohort(seed, flipped=2.0), permutations=3, rng=rng_of(seed)) for seed in range(40)]
    assert np.mean([each[0].p_value <= 0.05 for each in found]) > 0.8
    assert np.mean([each[0].auc_seen for each in found]) > 0.6
    assert np.mean([each[0].auc_unseen for each in found]) < 0.5
    for each in found:
        assert each[0].difference.low <= each[0].difference.value <= each[0].difference.high


def test_of_many_levels_the_one_that_differs_is_found():
    results = leave_level_out(*cohort(0, levels=4, patients=240, flipped=2.0), permutations=2, rng=rng_of(0))
    assert [each.level for each in results] == [0, 1, 2, 3]
    assert results[0].difference.value > 0.1
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
    assert abs(found[0].difference.value) < 0.05


def test_the_error_grows_by_what_refitting_adds(rng):
    """The ratios are those of the permuted attribute, and the p-value is Student's."""
    points, code, label, patient = cohort(2, patients=300, size=64, signal=0.6)
    fold = patient_folds(patient, label, 5, rng)
    codings = np.concatenate([code[None], permuted_codes(code, patient, 6, rng, label)])
    given = compared_heads(points, codings[:1], label, patient, fold, confidence=0.95, rng=rng_of(5))
    found = compared_heads(points, codings, label, patient, fold, confidence=0.95, rng=rng_of(5))
    ratios = np.array([each.null for each in found])
    inflation = np.sqrt(np.mean(ratios**2))
    assert inflation > 1
    for each, alone in zip(found, given, strict=True):
        value = alone.difference.value
        error = (alone.difference.high - value) / norm.ppf(0.975) * inflation
        assert each.inflation == pytest.approx(inflation)
        assert each.p_value == pytest.approx(2 * t.sf(abs(value) / error, 12), abs=0.01)
        limits = t.interval(0.95, 12, value, error)
        np.testing.assert_allclose([each.difference.low, each.difference.high], limits, atol=2e-3)


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
        assert (each.auc_seen, each.auc_unseen, each.p_value) == (0.5, 0.5, 1)
        assert each.difference == Estimate(0, 0, 0)


def test_a_class_that_other_levels_hardly_have_is_left_out_with_its_images():
    points, code, label, patient = cohort(0, levels=2, classes=3, patients=150)
    kept = (code == 0) | (label != 2) | (patient < 12)
    points, code, label, patient = points[kept], code[kept], label[kept], patient[kept]
    found = leave_level_out(points, code, label, patient, permutations=0, rng=rng_of(0))
    first = [each for each in found if each.level == 0]
    assert [each.label for each in first] == [1]  # of two classes that are left the second
    assert first[0].images == ((code == 0) & (label != 2)).sum()
    assert {each.label for each in found if each.level == 1} <= {0, 1}  # class 2 has too few to be ranked
    rounds, fits = rounds_of(code, label, patient, patient_folds(patient, label * 2 + code, 5, rng_of(0)))
    np.testing.assert_array_equal(rounds.known, [[True, True, False], [True, True, True]])
    assert not fits[0][..., label == 2].any()
    assert fits[1][..., label == 2].any()


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


def sample_of(seed, offset=3.0, **changes):
    """A cohort as analyses take it, one image of which has an unknown level."""
    points, code, label, patient = cohort(seed)
    values = np.array(["A", "B"], dtype=object)[code]
    values[0] = None
    draws = Resampling(**{"folds": 4, "held_out": 2, "permutations": 9, "confidence": 0.9, **changes})
    images = Sample.of(5 * points + offset, np.ones((2, points.shape[1])), np.zeros(2), label, patient, draws=draws)
    return images.by("scanner", attribute_levels(values, patient))


@pytest.mark.parametrize("offset", [3.0, 1e5])
def test_a_sample_is_compared_with_its_own_draws(offset):
    sample = sample_of(0, offset)
    points = sample.images.points.source.points
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    expected = compared_heads(
        points[1:].astype(np.float32),
        sample.permuted[:3],
        sample.labels,
        sample.patients,
        sample.images.folds().fold[1:],
        confidence=0.9,
        rng=sample.rng("held_out_levels"),
    )
    found = held_out_levels(sample)
    assert [(each.level, each.label, each.images) for each in found] == [
        (each.level, each.label, each.images) for each in expected
    ]
    for first, second in zip(found, expected, strict=True):
        np.testing.assert_allclose(first.null, second.null, atol=0.05)
        assert first.auc_unseen == pytest.approx(second.auc_unseen, abs=1e-3)
    assert len(found[0].null) == 2


def test_attributes_known_of_all_images_share_the_head_they_start_from():
    points, code, label, patient = cohort(0)
    draws = Resampling(folds=4, held_out=2, permutations=9)
    images = Sample.of(5 * points, np.ones((2, points.shape[1])), np.zeros(2), label, patient, draws=draws)
    sample = images.by("scanner", attribute_levels(np.array(["A", "B"])[code], patient))
    found = held_out_levels(sample)
    assert sample.images.pooled is images.pooled
    expected = compared_heads(
        (5 * points).astype(np.float32),
        sample.permuted[:3],
        label,
        patient,
        images.folds().fold,
        confidence=0.95,
        rng=sample.rng("held_out_levels"),
    )
    assert found == expected


def test_a_sample_without_enough_patients_cannot_be_measured():
    label, patient = np.tile([0, 1], 6), np.arange(12)
    images = Sample.of(np.arange(24.0).reshape(12, 2), np.ones((2, 2)), np.zeros(2), label, patient)
    sample = images.by("scanner", attribute_levels(np.repeat(["A", "B"], 6), patient, minimum_patients=2))
    wanted = "must hold at least 5 patients of each of two labels, got no such level"
    with pytest.raises(Unmeasurable, match=wanted):
        held_out_levels(sample)


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
