# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from samples import sample_of
from scipy.special import expit, softmax
from scipy.stats import t
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses import subgroups as module
from monai_shortcut.analyses.subgroups import SubgroupGaps, subgroups
from monai_shortcut.statistics.delong import auc_covariance, estimate_auc
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable


def example(rng, levels: int = 3, classes: int = 3, patients: int = 60):
    """Probabilities with ties, codes, labels and patients; codes and labels differ between images of a patient."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    n = len(patient)
    code, label = rng.permutation(np.arange(n) % levels), rng.permutation(np.arange(n) % classes)
    logits = rng.normal(size=(n, classes)) + np.eye(classes)[label] + 0.5 * rng.normal(size=(levels, classes))[code]
    score = np.round(softmax(logits, axis=1), 2)
    score[:, 0] = 1 - score[:, 1:].sum(axis=1)
    return np.clip(score, 0, 1), code, label, patient


def clustered(
    seed: int,
    *,
    patients: int = 120,
    share: tuple[float, ...] = (0.2, 0.4, 0.4),
    prevalence: tuple[float, ...] = (0.5, 0.5, 0.5),
    noise: float = 0.0,
    shift: float = 0.0,
):
    """Patients of one label and level with an effect on their logits; level 0 may have noise or a shift of its own."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    code = rng.choice(len(share), size=patients, p=share)
    label = (rng.random(patients) < np.array(prevalence)[code]).astype(int)
    own = 2 * label - 1.0 + 0.8 * rng.normal(size=patients) + (code == 0) * (noise * rng.normal(size=patients) + shift)
    probability = expit(own[patient] + 0.5 * rng.normal(size=len(patient)))
    return np.stack([1 - probability, probability], axis=1), code[patient], label[patient], patient


def gaps_of(score, code, label, patient=None, **draws) -> SubgroupGaps:
    return subgroups(sample_of(code, label, patient, answers=score, **draws))


def p_values(draws: int, **settings):
    """P-values of both gaps (draws, 2)."""
    found = [gaps_of(*clustered(seed, **settings), permutations=99, seed=seed) for seed in range(draws)]
    return np.array([(gaps.auc_test.p_value, gaps.calibration_test.p_value) for gaps in found])


def area_and_influence(score, positive, patient, people):
    """Area under the ROC curve and what each patient adds to its error, pair by pair."""
    wins = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    area, influence = wins.mean(), np.zeros(people)
    for row, index in zip(wins, patient[positive], strict=True):
        influence[index] += (row.mean() - area) / positive.sum()
    for column, index in zip(wins.T, patient[~positive], strict=True):
        influence[index] += (column.mean() - area) / (~positive).sum()
    return area, influence


def shift_and_influence(score, label, of, inside, patient, people):
    """Calibration of a level and what each patient adds to its error, the labels of the level being given."""
    means = {value: score[label == value].mean() for value in np.unique(label)}
    deviation = np.array([p - means[value] for p, value in zip(score, label, strict=True)])[inside]
    influence = np.zeros(people)
    for value, index in zip(deviation - deviation.mean(), patient[inside], strict=True):
        influence[index] += value / inside.sum()
    return score[inside].mean() - (label[inside] == of).mean(), influence


def largest(estimates):
    """Statistic of each coding, from estimates[coding][class][level] = (value, influence)."""
    gaps, variances = [], []
    for coding in estimates:
        pairs = [(r, s) for levels in coding for i, r in enumerate(levels) for s in levels[i + 1 :]]
        gaps.append([r[0] - s[0] for r, s in pairs])
        variances.append([((r[1] - s[1]) ** 2).sum() for r, s in pairs])
    gaps, variances = np.array(gaps), np.array(variances)
    error = np.sqrt(np.maximum(variances, variances.mean(axis=0) / 4))
    return ((abs(gaps) - abs(gaps.mean(axis=0))) / error).max(axis=1), abs(gaps[0]).max()


@pytest.mark.parametrize(("levels", "classes"), [(3, 3), (2, 2), (4, 2), (2, 4)])
def test_scores_are_those_of_the_images_of_the_level(rng, levels, classes):
    score, code, label, patient = example(rng, levels, classes)
    code[:5] = -1
    scores = gaps_of(score, code, label, patient, confidence=0.9).scores
    scored = [1] if classes == 2 else range(classes)
    assert [(found.label, found.level) for found in scores] == [(c, v) for c in scored for v in range(levels)]
    for found in scores:
        inside, one = code == found.level, score[:, found.label]
        positive, people = label[inside] == found.label, patient[inside]
        expected = estimate_auc(positive, one[inside], people, confidence=0.9).auc
        assert found.auc.value == pytest.approx(roc_auc_score(positive, one[inside]), abs=1e-12)
        assert (found.auc.low, found.auc.high) == pytest.approx((expected.low, expected.high))
        assert (found.images, found.patients) == (inside.sum(), len(set(people.tolist())))
        assert found.mean_probability == pytest.approx(sum(one[inside]) / inside.sum())
        assert found.observed == pytest.approx(sum(positive) / inside.sum())
        assert found.calibration == pytest.approx(found.mean_probability - found.observed)
        sums = [sum((one[inside] - positive - found.calibration)[people == index]) for index in set(people.tolist())]
        error = np.sqrt(np.square(sums).sum() * len(sums) / (len(sums) - 1)) / inside.sum()
        images = [int((people == index).sum()) for index in set(people.tolist())]
        reach = t.ppf(0.95, sum(images) ** 2 / sum(n**2 for n in images) - 1) * error
        np.testing.assert_allclose(found.calibration_limits, found.calibration + np.array([-reach, reach]))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("levels", "classes"), [(3, 3), (2, 2), (4, 2)])
def test_statistics_and_null_equal_the_definition(rng, levels, classes, tied):
    score, code, label, patient = example(rng, levels, classes)
    if not tied:
        score = softmax(np.log(np.maximum(score, 0.005)) + 1e-4 * rng.normal(size=score.shape), axis=1)
    assert (len(np.unique(score[:, 1])) < len(score)) == tied
    code[:5] = -1
    sample = sample_of(code, label, patient, answers=score, permutations=40)
    found, score, label, patient = subgroups(sample), sample.probabilities, sample.labels, sample.patients
    people, scored = patient.max() + 1, [1] if classes == 2 else range(classes)
    areas, shifts = [], []
    for draw in sample.permuted:
        insides = [draw == v for v in range(levels)]
        areas.append(
            [[area_and_influence(score[i, c], label[i] == c, patient[i], people) for i in insides] for c in scored]
        )
        shifts.append(
            [[shift_and_influence(score[:, c], label, c, i, patient, people) for i in insides] for c in scored]
        )
    for estimates, gap, test in (
        (areas, found.auc_gap, found.auc_test),
        (shifts, found.calibration_gap, found.calibration_test),
    ):
        expected, expected_gap = largest(estimates)
        np.testing.assert_allclose([test.observed, *test.null], expected, rtol=1e-7)
        assert gap == pytest.approx(expected_gap)
        assert test.p_value == pytest.approx((expected >= expected[0] - 1e-9).mean())


@pytest.mark.parametrize("tied", [True, False])
def test_areas_and_calibrations_of_many_codings_have_the_covariance_of_their_patients(rng, tied):
    score, _, label, patient = example(rng)
    score = score[:, 1] if tied else score[:, 1] + 1e-6 * rng.normal(size=len(score))
    codes = rng.integers(3, size=(module._BLOCK + 3, len(score)))
    codes[-1, (label == 1) & (codes[-1] == 2)] = 0  # no area of level 2
    areas = module._areas(score, label == 1, codes, patient, 3)
    shifts = module._calibrations(score, label, 1, codes, patient, 3)
    people = patient.max() + 1
    for draw, code in enumerate(codes):
        for found, estimate in (
            (areas, lambda i: area_and_influence(score[i], label[i] == 1, patient[i], people)),
            (shifts, lambda i: shift_and_influence(score, label, 1, i, patient, people)),
        ):
            present = [level for level in range(3) if found is shifts or (label[code == level] == 1).any()]
            values, influence = zip(*(estimate(code == level) for level in present), strict=True)
            np.testing.assert_allclose(found[0][draw, present], values, atol=1e-12)
            covariance = found[1][draw][np.ix_(present, present)]
            np.testing.assert_allclose(covariance, np.array(influence) @ np.array(influence).T, atol=1e-12)
    assert np.isnan(areas[0][-1, 2])
    assert np.isfinite(areas[1]).all()


def test_a_covariance_over_patients_is_that_of_delong_for_one_coding(rng):
    """But for the factors by which few patients widen it."""
    patient = np.repeat(np.arange(400), 2)
    label, score = rng.integers(2, size=800), rng.normal(size=800)
    _, covariance = module._areas(score, label == 1, np.zeros((1, 800), int), patient, 1)
    assert covariance[0, 0, 0] == pytest.approx(auc_covariance(label, [score], patient)[1][0, 0], rel=0.01)


def test_gaps_are_the_largest_differences_of_the_scores(rng):
    found = gaps_of(*example(rng))
    for gap, values in (
        (found.auc_gap, [score.auc.value for score in found.scores]),
        (found.calibration_gap, [score.calibration for score in found.scores]),
    ):
        assert gap == pytest.approx(np.ptp(np.reshape(values, (3, 3)), axis=1).max())


def test_a_toy_has_the_scores_one_computes_by_hand():
    """Level 0 ranks every pair rightly; level 1 every other; level 1 says class 1 in 0.7 of the images, not in 0.5."""
    label, code, second = np.tile([0, 1], 20), np.repeat([0, 1], 20), np.tile([0.2, 0.8], 20)
    second[20:] = np.tile([0.6, 0.8, 0.8, 0.6], 5)
    found = gaps_of(np.stack([1 - second, second], 1), code, label, permutations=199)
    assert [score.auc.value for score in found.scores] == [1.0, 0.5]
    assert [score.calibration for score in found.scores] == pytest.approx([0, 0.2])
    assert found.auc_gap == 0.5
    assert found.calibration_gap == pytest.approx(0.2)
    assert found.auc_test.p_value <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("by_patient", "low", "high"), [(True, 0.91, 0.98), (False, 0.5, 0.88)])
def test_the_calibration_limits_cover_unless_patients_are_ignored(by_patient, low, high):
    """The truth: level 0 has half its patients of each label, and logits shifted by 1 around -1 and 1."""
    spread = np.sqrt(0.8**2 + 0.5**2) * np.random.default_rng(0).normal(size=200_000)
    truth = np.mean([expit(spread + middle + 1.0) for middle in (-1, 1)]) - 0.5
    covered = []
    for seed in range(400):
        score, code, label, patient = clustered(seed, shift=1.0, patients=200)
        unit = patient if by_patient else np.arange(len(patient))
        limits = gaps_of(score, code, label, unit, permutations=1).scores[0].calibration_limits
        covered.append(limits[0] <= truth <= limits[1])
    assert low < np.mean(covered) < high


@pytest.mark.slow
@pytest.mark.parametrize("prevalence", [(0.5, 0.5, 0.5), (0.8, 0.5, 0.2)])
def test_p_values_are_uniform_when_levels_are_served_alike(prevalence):
    """Also where levels differ in their mix of labels, which makes the raw gap of calibration wide."""
    found = p_values(300, patients=200, prevalence=prevalence)
    rejected = (found <= 0.05).mean(axis=0)
    assert ((rejected > 0.02) & (rejected < 0.085)).all()
    for column in found.T:
        np.testing.assert_allclose(np.quantile(column, [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=0.1)


def test_ignoring_patients_finds_gaps_that_are_not_there():
    found = [gaps_of(*clustered(seed)[:3], permutations=99, seed=seed).calibration_test.p_value for seed in range(100)]
    assert (np.array(found) <= 0.05).mean() > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("share", [(0.2, 0.4, 0.4), (0.8, 0.1, 0.1)])
def test_noise_in_one_level_is_found_in_the_areas_and_not_in_the_calibration(share):
    """Though the answers of that level scatter more: each gap is measured against the error of its own levels."""
    auc, calibration = (p_values(150, patients=300, share=share, noise=2.5) <= 0.05).mean(axis=0)
    assert auc > 0.7
    assert calibration < 0.1


def test_a_miscalibrated_level_is_found_in_the_calibration_and_not_in_the_areas():
    auc, calibration = (p_values(150, shift=1.5) <= 0.05).mean(axis=0)
    assert calibration > 0.8
    assert auc < 0.1


def test_a_mix_of_labels_makes_a_gap_that_is_not_held_against_the_model():
    score, code, label, patient = clustered(0, patients=600, prevalence=(0.8, 0.5, 0.2))
    found = gaps_of(score, code, label, patient, permutations=99)
    assert found.calibration_gap > 0.2
    assert found.calibration_test.p_value > 0.05
    more = np.clip(score[:, 1] + 0.2 * (code == 2), 0, 1)  # says even more of what level 2 has less of
    worse = gaps_of(np.stack([1 - more, more], 1), code, label, patient, permutations=99)
    assert worse.calibration_test.p_value == 0.01


def test_a_level_with_few_patients_of_an_outcome_has_no_area_and_takes_no_part(rng):
    score, code, label, patient = example(rng, levels=3, classes=2)
    kept = (code != 2) | (label == 0) | (patient < 4)  # level 2 keeps at most four patients of class 1
    kept[np.flatnonzero((code == 2) & (label == 1) & (patient < 4))[:1]] = True
    found = gaps_of(score[kept], code[kept], label[kept], patient[kept])
    assert found.scores[2].auc is None
    assert found.scores[2].calibration_limits is not None
    assert found.auc_gap == pytest.approx(abs(found.scores[0].auc.value - found.scores[1].auc.value))


def test_a_level_without_positives_leaves_no_pair_of_areas(rng):
    score, code, label, patient = example(rng, levels=2, classes=2)
    kept = (code == 0) | (label == 0)
    found = gaps_of(score[kept], code[kept], label[kept], patient[kept])
    assert found.scores[0].auc is not None
    assert (found.scores[1].auc, found.scores[1].observed) == (None, 0)
    assert (found.auc_gap, found.auc_test) == (None, None)
    assert found.calibration_gap is not None
    assert len(found.calibration_test.null) == 9


def test_a_level_of_four_patients_has_a_calibration_without_limits():
    score, code, label = np.tile([[0.75, 0.25], [0.25, 0.75]], (12, 1)), np.repeat([0, 1], [20, 4]), np.tile([0, 1], 12)
    found = gaps_of(score, code, label)
    assert found.scores[1].calibration == 0
    assert found.scores[1].calibration_limits is None
    assert (found.calibration_gap, found.calibration_test) == (None, None)


def test_an_answer_that_never_varies_has_no_gap(rng):
    _, code, label, patient = example(rng, levels=3, classes=2)
    with pytest.raises(Unmeasurable, match=r"^the answers do not vary$"):
        gaps_of(np.full((len(code), 2), [0.7, 0.3]), code, label, patient, permutations=19)


def test_answers_that_follow_the_level_alone_are_found_though_they_do_not_scatter():
    code, label = np.repeat([0, 1], 50), np.tile([0, 1], 50)
    found = gaps_of(np.array([[0.4, 0.6], [0.6, 0.4]])[code], code, label, permutations=99)
    assert found.calibration_gap == pytest.approx(0.2)
    assert found.calibration_test.p_value == 0.01
    assert found.auc_gap == 0


def test_of_two_classes_the_other_mirrors_the_one(rng):
    score, code, label, patient = example(rng, levels=2, classes=2)
    score[:, 0] = 1 - score[:, 1]
    first, second = gaps_of(score, code, label, patient), gaps_of(score[:, ::-1], code, 1 - label, patient)
    assert [s.auc.value for s in first.scores] == pytest.approx([s.auc.value for s in second.scores])
    assert [s.calibration for s in first.scores] == pytest.approx([-s.calibration for s in second.scores])
    assert first.auc_gap == pytest.approx(second.auc_gap)
    assert first.calibration_gap == pytest.approx(second.calibration_gap)


def test_names_of_patients_and_order_of_images_do_not_matter_to_the_scores(rng):
    score, code, label, patient = example(rng)
    order = rng.permutation(len(code))
    names = np.array([f"p{index}" for index in patient])
    first, second = (
        gaps_of(*arguments)
        for arguments in ((score, code, label, patient), (score[order], code[order], label[order], names[order]))
    )
    for one, other in zip(first.scores, second.scores, strict=True):
        assert one.auc.value == pytest.approx(other.auc.value, abs=1e-12)
        np.testing.assert_allclose(one.calibration_limits, other.calibration_limits)


def test_results_are_plain_values_and_depend_on_the_seed_alone(rng):
    arguments = example(rng)
    found = [gaps_of(*arguments, seed=seed) for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert decode(SubgroupGaps, json.loads(json.dumps(encode(found[0])))) == found[0]
