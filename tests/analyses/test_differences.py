# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import images_of, levels_of, sample_of
from scipy import stats
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses.differences import (
    DECISION,
    ODDS,
    PROBABILITY,
    RANK,
    Differences,
    differences,
    foreseen,
    joint_differences,
    sliced_differences,
)
from monai_shortcut.types import Unmeasurable

DRAWS = {"permutations": 99, "bootstraps": 2}


def binary(logit):
    return np.stack([expit(-logit), expit(logit)], axis=1)


def drawn(seed: int = 0, effect: float = 0.0, images: int = 600, scale: float = 1.0):
    """Answers (N, 2), codes and labels: the logit gains an effect at level 1."""
    rng = np.random.default_rng(seed)
    label, code = rng.integers(2, size=(2, images))
    logit = 2 * label - 1 + effect * code + rng.normal(size=images)
    return binary(scale * logit), code, label


def rows_of(found: Differences, scale: str, label: int, pair=(0, 1)):
    (row,) = [r for r in found.rows if (r.scale, r.label, (r.first, r.second)) == (scale, label, pair)]
    return row


def test_each_row_is_what_it_says(rng):
    answers, code, label = drawn(3, effect=0.8)
    found = differences(sample_of(code, label, answers=answers, **DRAWS))
    for value in (0, 1):
        one, two = ((label == value) & (code == level) for level in (0, 1))
        n, m = one.sum(), two.sum()
        moved = answers[two, 1].mean() - answers[one, 1].mean()
        assert rows_of(found, PROBABILITY, value).estimate.value == pytest.approx(moved)
        said = answers[:, 1] > 0.5
        cautious = (said[two].sum() + 1) / (m + 2) - (said[one].sum() + 1) / (n + 2)
        assert rows_of(found, DECISION, value).estimate.value == pytest.approx(cautious)
        areas = [  # of the label's images at one level against all of the other label
            roc_auc_score(label[cell | (label != value)] == value, answers[cell | (label != value), value])
            for cell in (one, two)
        ]
        assert rows_of(found, RANK, value).estimate.value == pytest.approx(areas[1] - areas[0])
        assert rows_of(found, RANK, value).patients == min(n, m) == min(found.patients[value])
    assert {row.scale for row in found.rows} == {PROBABILITY, DECISION, RANK}  # neither class is rare


def test_limits_are_students_and_certain_and_possible_are_one_sided(rng):
    answers, code, label = drawn(4, effect=1.0)
    found = differences(sample_of(code, label, answers=answers, **DRAWS))
    for row in (rows_of(found, scale, 1) for scale in (PROBABILITY, DECISION)):
        error = (row.possible - row.certain) / (stats.norm.ppf(0.95) + found.critical)
        size = row.certain + found.critical * error
        assert size == pytest.approx(abs(row.estimate.value), rel=0.05)
        assert row.detectable == pytest.approx((found.critical + stats.norm.ppf(0.8)) * error, rel=0.05)
        limits = (row.estimate.high - row.estimate.low) / 2
        assert limits == pytest.approx(stats.norm.ppf(0.975) * error, rel=0.1)
    inside, row = label == 1, rows_of(found, PROBABILITY, 1)
    welch = stats.ttest_ind(*(answers[inside & (code == level), 1] for level in (1, 0)), equal_var=False)
    expected = welch.confidence_interval()
    assert (row.estimate.low, row.estimate.high) == pytest.approx((expected.low, expected.high), abs=2e-3)


def test_limits_stay_where_differences_can_be():
    label, code = np.repeat([0, 1], 20), np.tile(np.repeat([0, 1], 10), 2)
    logit = np.where(code == 1, 3.0, -3.0) + np.random.default_rng(0).normal(size=40)
    found = differences(sample_of(code, label, answers=binary(logit), **DRAWS))
    assert rows_of(found, DECISION, 1).estimate.high == 1.0
    assert all(-1 <= row.estimate.low <= row.estimate.high <= 1 for row in found.rows)


def test_limits_are_never_of_no_width():
    """Twenty patients a cell, all answered the same: one in ten may have gone unseen."""
    label, code = np.repeat([0, 1], 40), np.tile([0, 1], 40)
    answers = binary(np.where(label == 1, 3.0, -3.0))
    found = differences(sample_of(code, label, answers=answers, **DRAWS))
    for row in found.rows:
        assert row.estimate.value == pytest.approx(0)
        assert row.estimate.high == pytest.approx(-row.estimate.low)
        assert row.estimate.high > 0.1
        assert row.possible > 0.1
    assert found.test.p_value == 1.0


def test_the_test_is_the_largest_normal_score_and_its_null_is_that_of_permutations():
    answers, code, label = drawn(5, effect=0.5, images=80)
    sample = sample_of(code, label, answers=answers, permutations=9, bootstraps=2)
    found = differences(sample)
    ranks, apart = np.empty(80), np.empty(80)
    for value in (0, 1):
        inside, others = label == value, answers[label != value, value]
        own = answers[inside, value, None]
        ranks[inside] = ((others < own) + 0.5 * (others == own)).mean(axis=1)
        apart[inside] = abs(ranks[inside] - np.median(ranks[inside]))
    columns = np.stack([answers[:, 1], answers[:, 1] > 0.5, ranks, apart], axis=1).astype(float)

    def parts(codes):
        """Difference and variance by label and column."""
        cells = [[columns[(label == value) & (codes == level)] for level in (0, 1)] for value in (0, 1)]
        gaps = np.array([second.mean(axis=0) - first.mean(axis=0) for first, second in cells])
        own = np.array([[part.var(axis=0, ddof=1) / len(part) for part in pair] for pair in cells])
        sizes = np.array([[len(part) - 1.0 for part in pair] for pair in cells])[..., None]
        return gaps, own.sum(axis=1), own.sum(axis=1) ** 2 / np.maximum((own**2 / sizes).sum(axis=1), 1e-300)

    told = [parts(codes) for codes in sample.permuted]
    gaps, variance, freedom = (np.stack(part) for part in zip(*told, strict=True))
    variance = np.maximum(variance, variance.mean(axis=0) / 4)
    scores = stats.norm.isf(np.maximum(stats.t.sf(np.abs(gaps) / np.sqrt(variance), freedom), 1e-300))
    expected = scores[..., :3].max(axis=(1, 2))
    np.testing.assert_allclose([found.test.observed, *found.test.null], expected, rtol=1e-6)
    np.testing.assert_allclose([found.spread.observed, *found.spread.null], scores[..., 3].max(axis=1), rtol=1e-6)
    for value in (0, 1):
        for place, scale in enumerate((PROBABILITY, DECISION, RANK)):
            own = (1 + (expected[1:] >= scores[0, value, place] - 1e-9).sum()) / 10
            assert rows_of(found, scale, value).p_value == pytest.approx(own)


def test_temperature_moves_neither_ranks_nor_decisions():
    """A model whose logits are divided by 20 moves hardly any probability, and as many answers as before."""
    sharp, code, label = drawn(6, effect=1.5)
    flat, _, _ = drawn(6, effect=1.5, scale=0.05)
    one, other = (differences(sample_of(code, label, answers=answers, **DRAWS)) for answers in (sharp, flat))
    for value in (0, 1):
        assert rows_of(other, PROBABILITY, value).estimate.high < 0.1 < rows_of(one, PROBABILITY, value).estimate.low
        for scale in (DECISION, RANK):
            before, after = (rows_of(found, scale, value) for found in (one, other))
            assert (after.estimate, after.possible) == (before.estimate, before.possible)
            assert after.certain > 0.05


def test_saturated_answers_are_ranked_by_their_logits():
    rng = np.random.default_rng(7)
    label, code = rng.integers(2, size=(2, 400))
    logit = 40 + label + 2 * code + rng.normal(size=400)  # probabilities of exactly 1
    images = images_of(label, points=logit[:, None], weight=np.array([[0.0], [1.0]]), **DRAWS)
    found = differences(images.by("attribute", levels_of(code)))
    assert rows_of(found, PROBABILITY, 1).estimate.high < 0.05
    assert rows_of(found, RANK, 1).certain > 0.2
    rounded = np.eye(2)[np.ones(400, dtype=int)]
    blind = images_of(label, answers=rounded, **DRAWS)
    with pytest.raises(Unmeasurable, match=r"^the answers do not vary$"):
        differences(blind.by("attribute", levels_of(code)))


def test_ranks_of_classes_that_are_told_apart_without_fault_do_not_differ():
    """Where no image of one class outranks one of the other, a small trace within a class moves no area."""
    rng = np.random.default_rng(7)
    label, code = rng.integers(2, size=(2, 400))
    found = differences(sample_of(code, label, answers=binary(20 * label - 10 + code + rng.normal(size=400)), **DRAWS))
    assert [rows_of(found, RANK, value).estimate.value for value in (0, 1)] == pytest.approx([0.0, 0.0], abs=0.01)
    assert found.test.p_value == 0.01  # probabilities differ a little, and always


def test_a_label_that_is_rare_is_not_averaged_away():
    """Only the rare label's images are answered otherwise at level 1: one in a hundred by image pairs."""
    rng = np.random.default_rng(8)
    label, code = (rng.random(1200) < 0.1).astype(int), rng.integers(2, size=1200)
    logit = np.where(label == 1, 2 - 4 * code, -3) + rng.normal(size=1200)
    found = differences(sample_of(code, label, answers=binary(logit), **DRAWS))
    assert rows_of(found, PROBABILITY, 1).certain > 0.3
    assert rows_of(found, PROBABILITY, 0).possible < 0.05
    assert found.test.p_value == 0.01


def test_odds_of_a_rare_class_are_compared():
    rng = np.random.default_rng(9)
    label, code = (np.arange(4000) % 100 == 0).astype(int), rng.integers(2, size=4000)
    answers = binary(-5 + 3 * label + 1.5 * code + rng.normal(size=4000))
    found = differences(sample_of(code, label, answers=answers, **DRAWS))
    row = rows_of(found, ODDS, 0)
    means = [answers[(label == 0) & (code == level), 1].mean() for level in (0, 1)]
    odds = [mean / (1 - mean) for mean in means]
    assert row.estimate.value == pytest.approx(np.log(odds[1] / odds[0]), rel=0.1)
    assert row.outcome == 1
    assert row.certain > np.log(2)
    assert rows_of(found, PROBABILITY, 0).possible < 0.1


def test_probability_that_moves_between_classes_is_total_variation(rng):
    label, code = rng.integers(3, size=900), rng.integers(2, size=900)
    logits = 2 * np.eye(3)[label] + 0.5 * rng.normal(size=(900, 3)) + code[:, None] * [1.0, -0.5, -0.5]
    answers = softmax(logits, axis=1)
    found = differences(sample_of(code, label, answers=answers, **DRAWS))
    for value in range(3):
        means = [answers[(label == value) & (code == level)].mean(axis=0) for level in (0, 1)]
        moved = 0.5 * np.abs(means[1] - means[0]).sum()
        assert rows_of(found, PROBABILITY, value).estimate.value == pytest.approx(moved)


def test_a_threshold_decides(rng):
    answers, code, label = drawn(10, effect=1.0)
    found = differences(sample_of(code, label, answers=answers, **DRAWS), threshold=0.8)
    said = answers[:, 1] >= 0.8
    inside = [(label == 1) & (code == level) for level in (0, 1)]
    expected = [(said[cell].sum() + 1) / (cell.sum() + 2) for cell in inside]
    assert rows_of(found, DECISION, 1).estimate.value == pytest.approx(expected[1] - expected[0])


def test_scatter_is_told_apart_from_a_difference():
    rng = np.random.default_rng(11)
    label, code = rng.integers(2, size=(2, 800))
    logit = 2 * label - 1 + rng.normal(size=800) * np.where(code == 1, 3.0, 0.5)
    found = differences(sample_of(code, label, answers=binary(logit), **DRAWS))
    assert found.spread.p_value == 0.01
    assert found.scattered in ((0, 0, 1), (1, 0, 1))
    assert found.test.p_value == 0.01  # and the label's own area is smaller where it scatters


@pytest.mark.slow
def test_a_rare_level_that_scatters_more_is_not_taken_for_one_that_differs():
    """15 of 415 patients with thrice the scatter, equal means: p <= 0.05 in 38 % without a studentized test."""
    share = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        code = (np.arange(415) < 15).astype(int)
        label = rng.permutation(np.arange(415) % 2)
        label[:15] = np.arange(15) % 2
        logit = rng.normal(size=415) * np.where(code == 1, 3.0, 1.0)
        found = differences(sample_of(code, label, answers=binary(logit), permutations=99, bootstraps=2, seed=seed))
        share += found.test.p_value <= 0.05
    assert share <= 30  # 15 %; binomial error of 5 % is 1.5


@pytest.mark.slow
def test_p_values_are_those_of_chance_where_nothing_differs():
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), rng.integers(1, 12, 60))
        label, code = rng.integers(2, size=60)[patient], rng.integers(3, size=60)[patient]
        logit = label + rng.normal(size=60)[patient] + 0.3 * rng.normal(size=len(patient))
        sample = sample_of(code, label, patient, answers=binary(logit), permutations=99, bootstraps=2, seed=seed)
        found.append(differences(sample).test.p_value)
    assert 0.02 <= np.mean(np.array(found) <= 0.05) <= 0.09  # 5 % with three binomial errors
    assert 0.38 <= np.mean(np.array(found) <= 0.5) <= 0.62


def together(rng, images: int = 1500, use: float = 0.35):
    """A used attribute, one that goes along with it, and a label."""
    label, used = rng.integers(2, size=(2, images))
    other = np.where(rng.random(images) < 0.75, used, rng.integers(2, size=images))
    return binary(2 * label - 1 + 4 * use * used + 0.7 * rng.normal(size=images)), used, other, label


def test_at_equal_levels_of_the_used_one_nothing_is_left_of_the_other():
    accused = []
    for seed in range(20):
        answers, used, other, label = together(np.random.default_rng(seed))
        images = images_of(label, answers=answers, **DRAWS)
        first, second = images.by("used", levels_of(used)), images.by("other", levels_of(other))
        kept, lost = joint_differences(first, {"other": other}), joint_differences(second, {"used": used})
        assert min(row.p_value for row in kept) < 1e-6
        assert max(row.possible for row in lost) < 0.2
        accused.append(min(row.p_value for row in lost) <= 0.05)
        adjusted = differences(replace(second, cells=label * 2 + used), adjust={"used": used})
        accused.append(adjusted.test.p_value <= 0.05)
        assert adjusted.adjusted_for == ("used",)
        assert max(row.possible for row in adjusted.rows) < 0.2
    assert sum(accused) <= 6  # of 40, at 5 %
    assert differences(second).test.p_value == 0.01  # alone it is accused
    missing = np.where(np.arange(1500) < 1000, -1, other)
    assert joint_differences(first, {"other": missing})[0].patients < kept[0].patients / 2
    assert joint_differences(first, {"other": np.full(1500, -1)}) == ()
    assert joint_differences(first, {"copy": used}) == ()  # nothing can be told apart


def test_a_use_that_another_attribute_turns_round_shows_within_its_levels(rng):
    label, code, other = rng.integers(2, size=(3, 1200))
    answers = binary(2 * label - 1 + 2 * (2 * code - 1) * (2 * other - 1) + 0.5 * rng.normal(size=1200))
    sample = sample_of(code, label, answers=answers, **DRAWS)
    assert max(row.certain for row in differences(sample).rows) < 0.1
    rows = sliced_differences(sample, {"other": other, "nothing": np.full(1200, -1)}, fewest=20, tests=3)
    assert {row.within for row in rows} == {("other", 0), ("other", 1)}
    assert max(row.certain for row in rows) > 0.3
    signs = {(row.within[1], np.sign(row.estimate.value)) for row in rows if row.scale == PROBABILITY}
    assert signs == {(0, -1.0), (1, 1.0)}
    assert sliced_differences(sample, {"other": other}, fewest=1000, tests=3) == ()


def test_nothing_shows_within_levels_of_another_where_nothing_is(rng):
    label, code, other = rng.integers(2, size=(3, 1200))
    answers = binary(2 * label - 1 + rng.normal(size=1200))
    rows = sliced_differences(sample_of(code, label, answers=answers, **DRAWS), {"other": other}, fewest=20, tests=1)
    assert len(rows) == 12
    assert max(row.certain for row in rows) < 0.01
    assert min(row.p_value for row in rows) > 0.02


def test_what_can_be_found_is_told_before_any_permutation():
    answers, code, label = drawn(12, images=2000)
    sample = sample_of(code, label, answers=answers, **DRAWS)
    rows = foreseen(sample, tests=5, confidence=0.95)
    found = differences(sample)
    for row in rows:
        later = rows_of(found, row.scale, row.label)
        assert (row.estimate, row.possible) == (later.estimate, later.possible)
        assert later.detectable < row.detectable < 2 * later.detectable  # of five attributes
    assert "permuted" not in vars(sample) or found is not None


def test_levels_without_five_patients_in_any_label_cannot_be_compared(rng):
    code = np.array([0] * 20 + [1] * 4)
    sample = sample_of(code, np.arange(24) % 2, answers=binary(rng.normal(size=24)), **DRAWS)
    with pytest.raises(Unmeasurable, match="no label has two levels of at least 5 patients each"):
        differences(sample)
