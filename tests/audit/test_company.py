# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Attributes that go along with each other: which is used, which is explained, which cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest
from audit_cases import QUICK
from samples import images_of, levels_of

from monai_shortcut.audit import Audit, audit
from monai_shortcut.audit.company import in_company
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED, USED
from monai_shortcut.cohort.levels import association


def cohort(rng, use: dict[str, float], attributes: dict[str, np.ndarray], **given) -> Audit:
    """An audit of a head that reads the label and of some attributes as much as told."""
    count = len(next(iter(attributes.values())))
    label = given.pop("label", rng.integers(2, size=count))
    points = rng.normal(size=(count, 6))
    points[:, 0] += 1.5 * label
    weight = np.zeros((2, 6))
    weight[1, 0] = 1.0
    for place, (name, codes) in enumerate(attributes.items(), start=1):
        points[:, place] += 1.5 * np.asarray(codes, dtype=float)
        weight[1, place] = use.get(name, 0.0)
    texts = {
        name: codes if codes.dtype.kind == "f" else [f"{name} {code}" for code in codes]
        for name, codes in attributes.items()
    }
    people = [f"p{index}" for index in range(count)]
    return audit(
        points, weight, [0.75, 0.0], label, people, texts, label_names=["ill", "well"], settings=QUICK, **given
    )


def mostly(rng, codes, share: float):
    return np.where(rng.random(len(codes)) < share, codes, rng.integers(2, size=len(codes)))


def test_an_attribute_is_explained_by_the_used_one_it_goes_along_with(rng):
    used = rng.integers(2, size=3000)
    found = cohort(rng, {"used": 1.2}, {"used": used, "copy": mostly(rng, used, 0.4)})
    assert (found.finding("used").verdict, found.finding("copy").verdict) == (USED, NOT_USED)
    company = found.finding("copy").evidence.company
    assert (company.kept, company.keeps) == (("used",), False)
    assert company.association["used"] == pytest.approx(0.4, abs=0.05)
    assert found.finding("used").evidence.company.keeps
    assert "not among images that agree in used" in found.finding("copy").reason


def test_one_that_may_be_the_other_with_errors_is_not_cleared_by_it(rng):
    used = rng.integers(2, size=3000)
    found = cohort(rng, {"used": 1.2}, {"used": used, "copy": mostly(rng, used, 0.8)})
    assert (found.finding("used").verdict, found.finding("copy").verdict) == (USED, INCONCLUSIVE)
    assert "errors in the table would look the same" in found.finding("copy").reason


def test_a_proxy_of_two_used_attributes_is_explained_by_both_together(rng):
    first, second = rng.integers(2, size=(2, 4000))
    proxy = np.where(rng.random(4000) < 0.5, first, second)
    found = cohort(rng, {"first": 1.2, "second": 1.2}, {"first": first, "second": second, "proxy": proxy})
    assert {name: found.finding(name).verdict for name in ("first", "second")} == {"first": USED, "second": USED}
    assert found.finding("proxy").verdict == NOT_USED
    assert found.finding("proxy").evidence.company.kept == ("first", "second")


def test_attributes_that_cannot_be_told_apart_share_the_verdict(rng):
    used = rng.integers(2, size=600)
    found = cohort(rng, {"used": 1.2}, {"used": used, "twin": used.copy()})
    assert [finding.shared_with for finding in found.findings] == [("twin",), ("used",)]
    assert {finding.verdict for finding in found.findings} == {USED}
    assert found.finding("used").evidence.company.differences == ()
    assert "cannot be told apart from twin" in found.finding("used").reason


def test_numbers_are_held_equal_in_narrow_bins(rng):
    """Severity moves the answers and comes with age; within thirds of severity age would still tell some of it."""
    severity = rng.normal(size=3000)
    age = severity + rng.normal(size=3000)
    found = cohort(rng, {"severity": 1.5}, {"severity": severity, "age": age})
    assert found.finding("severity").verdict == USED
    assert found.finding("age").verdict != USED
    assert not found.finding("age").evidence.company.keeps


def test_an_attribute_that_turns_anothers_use_round_shows_it(rng):
    first, second = rng.integers(2, size=(2, 2000))
    points, label = rng.normal(size=(2000, 4)), rng.integers(2, size=2000)
    points[:, 0] += 1.5 * label
    points[:, 1] += 2.0 * (first == second)
    people = [f"p{index}" for index in range(2000)]
    values = {"first": first.astype(str), "second": second.astype(str)}
    weight = [[0, 0, 0, 0], [1.0, 1.5, 0, 0]]
    found = audit(points, weight, [2.0, 0.0], label, people, values, label_names=["ill", "well"], settings=QUICK)
    for name, other in (("first", "second"), ("second", "first")):
        assert found.finding(name).verdict == USED
        assert {row.within[0] for row in found.finding(name).evidence.slices} == {other}
        assert f"where {other} is" in found.finding(name).reason


def test_attributes_join_a_company_directly_or_through_others(rng):
    first = rng.integers(2, size=4000)
    second = mostly(rng, first, 0.5)
    third = mostly(rng, second, 0.4)
    alone = rng.integers(2, size=4000)
    codes = {"first": first, "second": second, "third": third, "alone": alone}
    label = rng.integers(2, size=4000)
    assert association(first, third, label) < 0.25
    use = {"first": 1.0, "third": 0.8, "alone": 1.0}
    found = cohort(rng, use, codes, label=label)
    told = {name: found.finding(name).evidence.company for name in codes}
    assert told["alone"] is None
    assert set(told["first"].association) == {"second", "third"}
    assert found.finding("second").verdict in (NOT_USED, INCONCLUSIVE)
    assert {found.finding(name).verdict for name in use} == {USED}


def test_attributes_without_an_image_in_common_are_not_associated(rng):
    label = rng.integers(2, size=400)
    images = images_of(label, points=rng.normal(size=(400, 2)))
    one, two = np.where(np.arange(400) < 200, label, -1), np.where(np.arange(400) < 200, -1, label)
    assert in_company({}, {}, {"one": levels_of(one), "two": levels_of(two)}, {}, QUICK) == {}
    assert len(images) == 400
