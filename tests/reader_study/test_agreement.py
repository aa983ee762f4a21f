# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from monai_shortcut.reader_study.agreement import cohen_kappa, fleiss_kappa, with_jackknife


def test_cohens_kappa_is_agreement_beyond_what_the_margins_give(rng):
    first, second = rng.integers(-1, 2, size=(2, 40))
    agree = np.mean(first == second)
    chance = sum(np.mean(first == kind) * np.mean(second == kind) for kind in (-1, 0, 1))
    assert cohen_kappa(first, second) == pytest.approx((agree - chance) / (1 - chance))
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))


def test_fleiss_kappa_is_the_mean_agreement_of_pairs_beyond_pooled_shares(rng):
    answers = rng.integers(-1, 2, size=(4, 30))
    agree = np.mean([[a == b for a, b in combinations(column, 2)] for column in answers.T])
    chance = sum(np.mean(answers == kind) ** 2 for kind in (-1, 0, 1))
    assert fleiss_kappa(answers) == pytest.approx((agree - chance) / (1 - chance))
    assert math.isnan(fleiss_kappa(np.ones((3, 4))))


def test_the_published_example_of_fleiss():
    """Fourteen raters, ten subjects, five kinds (Fleiss 1971): kappa 0.210."""
    counts = [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
        *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
    answers = np.array([np.repeat(np.arange(5), row) for row in counts]).T
    assert fleiss_kappa(answers) == pytest.approx(0.210, abs=5e-4)


def test_limits_leave_out_each_patient_in_turn(rng):
    answers, patients = rng.integers(-1, 2, size=(2, 30)), np.arange(30) // 2
    found = with_jackknife(lambda given: cohen_kappa(*given), answers, patients, 0.95)
    left = [cohen_kappa(*answers[:, patients != patient]) for patient in range(15)]
    error = math.sqrt(14 / 15 * sum((value - np.mean(left)) ** 2 for value in left))
    assert found.value == cohen_kappa(*answers)
    assert found.high - found.low == pytest.approx(2 * 2.144787 * error)  # Student's, 14 degrees of freedom


def test_no_agreement_beyond_chance_is_found_where_there_is_none():
    held = 0
    for seed in range(200):
        answers = np.random.default_rng(seed).integers(0, 2, size=(3, 40))
        found = with_jackknife(fleiss_kappa, answers, np.arange(40), 0.95)
        held += found.low <= 0 <= found.high
    assert 182 <= held <= 198


def test_readers_who_always_say_the_same_have_no_kappa():
    assert with_jackknife(fleiss_kappa, np.ones((3, 5), dtype=int), np.arange(5), 0.95) is None
    assert with_jackknife(fleiss_kappa, np.array([[0, 1], [0, 1], [0, 1]]), np.zeros(2), 0.95) is None
