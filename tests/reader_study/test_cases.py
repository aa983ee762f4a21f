# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from monai_shortcut.reader_study.cases import PUBLISHED, Candidates, checked_percentiles, draw_cases
from monai_shortcut.reader_study.schedule import opaque_names, session_numbers


def candidates(images=101, patients=None):
    """Of either class as many, whose probabilities rise with their number."""
    label, rank = np.arange(2 * images) % 2, np.arange(2 * images) // 2
    people = np.arange(2 * images) if patients is None else patients
    return Candidates.of(label, people, rank / (images - 1))


def test_cases_lie_at_the_percentiles_of_their_class(rng):
    found, excluded = draw_cases(candidates(), PUBLISHED, 1, lambda image: "", rng)
    images = candidates()
    assert images.labels[found].tolist() == [1, 0] * 3
    for label in (0, 1):
        own = images.probabilities[found[images.labels[found] == label]]
        np.testing.assert_allclose(own, np.percentile(images.probabilities[images.labels == label], PUBLISHED))
    assert excluded == {}


def test_more_cases_are_the_nearest_of_other_patients(rng):
    people = np.arange(202)
    people[[100, 102]] = 7  # the positive 50 and negative 51: one patient, so one case
    images = candidates(patients=people)
    found, _ = draw_cases(images, [50], 3, lambda image: "", rng)
    ranks = (images.probabilities[found] * 100).round().astype(int)
    assert sorted(ranks[images.labels[found] == 1].tolist()) == [49, 50, 51]
    assert len(set(images.patients[found])) == 6


def test_images_that_cannot_be_shown_are_passed_over_and_listed(rng):
    found, excluded = draw_cases(candidates(), [50], 1, lambda image: "empty" if image == 101 else "", rng)
    assert excluded == {"101": "empty"}
    assert candidates().probabilities[found].tolist() in ([0.49, 0.5], [0.51, 0.5])


def test_a_class_without_enough_patients_is_refused(rng):
    few = Candidates.of([0, 1, 0, 1], [1, 2, 3, 2], [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match=r"class 1 must have .* each of 3 cases, got 1 patients, some of whom"):
        draw_cases(few, PUBLISHED, 1, lambda image: "", rng)
    with pytest.raises(ValueError, match=r"and 2 images that cannot be shown \(empty\)\."):
        draw_cases(few, PUBLISHED, 1, lambda image: "empty", rng)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patients": [1]}, r"patients must have shape \(4,\) to match labels, got \(1,\)"),
        ({"probabilities": [0.5]}, r"probabilities must have shape \(4,\) to match labels, got \(1,\)"),
        ({"labels": [1, 1, 1, 1]}, r"labels must be 0 and 1, both present, got \[1\]"),
        ({"labels": [1, 2, 1, 0]}, r"labels must be 0 and 1, both present, got \[0, 1, 2\]"),
        ({"probabilities": [0.5, np.nan, np.inf, 0]}, "probabilities must be finite, got 2 that are not"),
        ({"image_ids": ["a", "b", "a", "c"]}, "image_ids must differ, got a again"),
        ({"image_ids": ["a"]}, r"image_ids must have shape \(4,\) to match labels, got \(1,\)"),
    ],
)
def test_candidates_are_checked(change, message):
    known = {"labels": [0, 1, 0, 1], "patients": [1, 2, 3, 4], "probabilities": [0.1, 0.2, 0.3, 0.4]}
    with pytest.raises(ValueError, match=message):
        Candidates.of(**{**known, **change})


def test_percentiles_are_checked():
    assert checked_percentiles(1) == (50.0,)
    for wrong in (0, [], [101], [-1]):
        with pytest.raises(ValueError, match=r"percentiles must be between 0 and 100, at least one, got"):
            checked_percentiles(wrong)


@pytest.mark.parametrize(("cases", "strategies", "longest"), [(6, 4, None), (7, 3, None), (12, 5, 6), (10, 2, 7)])
def test_no_case_comes_twice_in_a_session_and_strategies_are_shared_out(cases, strategies, longest, rng):
    label = np.arange(2 * cases) % 2
    session, count = session_numbers(label, strategies, longest, rng)
    assert set(session.ravel().tolist()) == set(range(1, count + 1))
    assert all(len(set(row)) == strategies for row in session.tolist())
    assert longest is None or max(Counter(session.ravel().tolist()).values()) <= longest
    for number in range(1, count + 1):
        for value in (0, 1):
            seen = [int((session[label == value, column] == number).sum()) for column in range(strategies)]
            assert max(seen) - min(seen) <= 1


def test_sessions_of_one_case_are_far_apart(rng):
    session, count = session_numbers(np.arange(24) % 2, 3, 8, rng)
    assert count == 9
    assert (np.diff(np.sort(session, axis=1), axis=1) == 3).all()
    with pytest.raises(ValueError, match="longest must be at least 2 images, got 1"):
        session_numbers([0, 1], 2, 1, rng)


def test_names_tell_nothing_and_differ():
    names = opaque_names(500, np.random.default_rng(0))
    assert len(set(names)) == 500
    assert {len(name) for name in names} == {16}
    assert names != opaque_names(500, np.random.default_rng(1))
    assert all(set(name) <= set("0123456789abcdef") for name in names)
