# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from samples import sample_of
from scipy.special import expit, softmax

from monai_shortcut.analyses.changes import changes, gap_change
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.types import Unmeasurable

DRAWS = {"permutations": 199, "bootstraps": 99}


def two(chance) -> np.ndarray:
    return np.stack([1 - chance, chance], axis=1)


def cohort(seed: int = 0, patients: int = 60):
    """Labels, levels and patients of three images each, and what all answers of an image share."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 3)
    label, code = rng.integers(2, size=(2, len(patient)))
    shared = 2 * label - 1 + rng.normal(size=patients)[patient] + rng.normal(size=len(patient))
    return rng, label, code, patient, shared


def pair(label, code, patient, first, second):
    return [sample_of(code, label, patient, answers=two(expit(odds)), **DRAWS) for odds in (first, second)]


def row(found, label, scale="probability"):
    return next(one for one in found.rows if (one.label, one.scale) == (label, scale))


def test_what_shrinks_grows_and_turns_round_is_told_apart():
    _, label, code, patient, shared = cohort(patients=200)
    for before, after, shrinks, grows in (
        (2.0, 0.0, True, False),
        (2.0, -0.3, True, False),  # turned round, and smaller
        (0.0, 2.0, False, True),
        (0.5, -2.5, False, True),  # turned round, and larger
        (1.5, -1.5, False, False),  # turned round alone
        (1.5, 1.5, False, False),
    ):
        found = changes(*pair(label, code, patient, shared + before * code, shared + after * code), paired=True)
        for one in (row(found, 0), row(found, 1)):
            assert (one.shrinks, one.grows) == (shrinks, grows), (before, after)
            assert one.size.value == pytest.approx(abs(one.after.value) - abs(one.before.value), abs=1e-9)
            assert one.size.low <= one.size.value <= one.size.high


def test_the_test_swaps_answers_of_whole_patients(rng):
    """Slowly: half of the patients get their answers exchanged, and every difference is computed anew."""
    _, label, code, patient, shared = cohort(patients=20)
    noise = rng.normal(size=(2, len(label)))
    sides = pair(label, code, patient, shared + noise[0], shared + noise[1] + 0.4 * code)
    found = changes(*sides, paired=True)
    chance = [expit(shared + noise[0]), expit(shared + noise[1] + 0.4 * code)]

    def difference(values, own):
        return values[own & (code == 1)].mean() - values[own & (code == 0)].mean()

    def largest(first, second):
        scores = []
        for value in (0, 1):
            own = label == value
            for one, other in ((first, second), (first >= 0.5, second >= 0.5)):
                moved = other.astype(float) - one
                adds = [difference(np.where(patient == name, moved, 0.0), own) for name in np.unique(patient[own])]
                scores.append(abs(difference(moved, own)) / np.sqrt(np.square(adds).sum()))
        return max(scores)

    # Ranks are compared as well, which may have the largest score: it is no smaller then.
    assert found.test.observed >= largest(*chance) - 1e-9
    slow = []
    for _ in range(199):
        swapped = rng.random(20)[patient] < 0.5
        slow.append(largest(np.where(swapped, chance[1], chance[0]), np.where(swapped, chance[0], chance[1])))
    assert np.quantile(found.test.null, 0.9) == pytest.approx(np.quantile(slow, 0.9), rel=0.2)


def test_one_in_twenty_unchanged_models_seems_to_change():
    p_values, certain = [], []
    for seed in range(60):
        rng, label, code, patient, shared = cohort(seed, patients=30)
        noise = 0.7 * rng.normal(size=(2, len(label)))
        found = changes(*pair(label, code, patient, shared + noise[0] + code, shared + noise[1] + code), paired=True)
        p_values.append(found.p_value)
        certain.append(any(one.shrinks or one.grows for one in found.rows))
    assert 0.0 < np.mean(np.array(p_values) <= 0.1) < 0.22
    assert np.mean(certain) <= 0.1


def test_different_images_have_the_errors_of_both():
    _, label, code, patient, shared = cohort(0)
    _, others, levels, people, theirs = cohort(1, patients=90)
    before = sample_of(code, label, patient, answers=two(expit(shared + 2 * code)), **DRAWS)
    after = sample_of(levels, others, people, answers=two(expit(theirs)), **DRAWS)
    found = changes(before, after, paired=False)
    assert found.test is None
    assert found.p_value < 0.01
    one = row(found, 0)
    assert one.shrinks
    width = np.hypot(one.before.high - one.before.low, one.after.high - one.after.low)
    assert one.size.high - one.size.low == pytest.approx(width, rel=0.03)
    again = changes(before, before, paired=False)
    assert again.p_value == 1.0
    assert not any(change.shrinks or change.grows for change in again.rows)


def test_several_classes_and_parts_of_the_images_are_compared():
    rng, _, code, patient, _ = cohort(patients=300)
    label, part = rng.integers(3, size=900), rng.integers(2, size=900)
    logits = rng.normal(size=(900, 3)) + 2 * np.eye(3)[label]
    use = np.where(part == 0, 2.0, -2.0) * code  # turned round in the other part
    answers = [softmax(logits + np.outer(use, [times, 0, 0]), axis=1) for times in (1, 0)]
    sides = [sample_of(code, label, patient, answers=one, **DRAWS) for one in answers]
    inside = part == 0
    found = changes(*sides, paired=True, parts=[(("part", 0), inside, inside)])
    within = [one for one in found.rows if one.within == ("part", 0) and one.scale == "probability"]
    assert len(within) == 3
    for one in within:
        cells = [inside & (label == one.label) & (code == level) for level in (0, 1)]
        moved = answers[0][cells[1]].mean(axis=0) - answers[0][cells[0]].mean(axis=0)
        assert one.before.value == pytest.approx(np.abs(moved).sum() / 2, abs=1e-6)
    assert any(one.shrinks for one in within)


def test_levels_of_few_patients_are_not_compared():
    _, label, code, patient, shared = cohort(patients=8)
    code[:] = patient < 3
    sides = pair(label, code, patient, shared, shared)
    assert changes(*sides, paired=True).rows == ()
    with pytest.raises(Unmeasurable, match="do not vary"):
        changes(*[sample_of(code, label, patient, answers=np.full((24, 2), 0.5), **DRAWS)] * 2, paired=True)


def test_gaps_change_by_a_bootstrap_of_the_same_patients():
    _, label, code, patient, shared = cohort(patients=150)
    before, after = pair(label, code, patient, shared + 2 * code, shared + 1.9 * code)
    gaps = [prediction_gap(side) for side in (before, after)]
    noise = [float(np.square(gap.test.null).mean()) for gap in gaps]
    found = gap_change(before, after, (noise[0], noise[1]))
    assert found.value == pytest.approx(gaps[1].effect.value - gaps[0].effect.value)
    own = gaps[0].effect.high - gaps[0].effect.low
    assert found.high < 0
    assert found.high - found.low < own / 5  # patients who make one gap large make the other so


def test_a_rank_is_one_among_labels_and_levels_that_weigh_the_same():
    """Two cohorts answered alike; of the second, one image in ten has the second level."""
    sides, plain = [], []
    for seed, rare in ((0, 0.5), (1, 0.1)):
        rng = np.random.default_rng(seed)
        label, code = rng.integers(2, size=1500), (rng.random(1500) < rare).astype(int)
        odds = 2 * label + 2 * code + rng.normal(size=1500)
        sides.append(sample_of(code, label, np.arange(1500), answers=two(expit(odds)), **DRAWS))
        cells = [[odds[(label == own) & (code == level)] for level in (0, 1)] for own in (0, 1)]
        beaten = [[(one[:, None] > other).mean(axis=0) for other in cells[0]] for one in cells[1]]  # by (level, level)
        slow = np.array([[part.mean() for part in one] for one in beaten]).mean(axis=1)
        plain.append(np.ptp([np.concatenate(one).mean() for one in beaten]))
        sides[-1] = sides[-1], slow[1] - slow[0]
    (first, before), (second, after) = sides
    found = row(changes(first, second, paired=False), 1, "rank")
    assert found.before.value == pytest.approx(before, abs=1e-9)
    assert found.after.value == pytest.approx(after, abs=1e-9)
    assert abs(before - after) < 0.03
    assert abs(plain[0] - plain[1]) > 0.1  # among all images, however many of a level there are
