# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Models and data that say nothing: every verdict is "inconclusive" with its reason, and nothing looks measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit.epochs import audit_epoch, curve_settings
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Audit
from monai_shortcut.audit.wording import NO_CLASSIFIER, summary
from monai_shortcut.report import write_report

IMAGES, WIDTH = 200, 6
QUICK = AuditSettings(permutations=39, bootstraps=29, repeats=1, erasures=19, held_out=2)
SAME, WITHIN = "the embedding does not vary", "the embedding does not vary among images of one label"
ANSWERS = "the answers do not vary"
LABEL, SCANNER = np.arange(IMAGES) % 2, np.arange(IMAGES) // 2 % 2
POINTS = np.random.default_rng(0).normal(size=(IMAGES, WIDTH))
POINTS[:, 0] += 3 * LABEL
POINTS[:, 1] += 3 * SCANNER
HEAD = np.zeros((2, WIDTH))
HEAD[1, 0] = 2.0


def audited(points: Any = POINTS, weight: Any = HEAD, bias: Any = (3.0, 0.0), **given: Any) -> Audit:
    told = {"scanner": np.array(["A", "B"])[SCANNER], **given.pop("attributes", {})}
    patients = [f"p{index}" for index in range(IMAGES)]
    return audit(
        points, weight, bias, LABEL, patients, told, label_names=["no", "yes"], settings=given.pop("settings", QUICK)
    )


def test_a_model_that_says_something_is_judged():
    found = audited()
    assert found.finding("scanner").evidence.encoding.own_auroc.value > 0.9
    assert found.label.auroc.value > 0.9
    assert found.regions.classifies


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"points": np.full((IMAGES, WIDTH), 0.1)}, SAME),
        ({"points": np.zeros((IMAGES, WIDTH), np.float32)}, SAME),
        ({"points": np.zeros((IMAGES, 300)), "weight": np.ones((2, 300))}, SAME),  # more columns than rows
        ({"points": 1e-200 * POINTS}, SAME),
        ({"points": 1e-200 * POINTS, "weight": 1e200 * HEAD}, SAME),  # the answers vary, which no probe could read
        ({"points": (1e-44 * POINTS).astype(np.float32)}, SAME),
        ({"points": 0.1 + 1e-17 * POINTS}, SAME),
        ({"points": np.repeat(LABEL[:, None], WIDTH, axis=1).astype(float)}, WITHIN),
        ({"weight": HEAD[[1, 1]]}, ANSWERS),
        ({"weight": HEAD[[1, 1]], "points": POINTS.astype(np.float32)}, ANSWERS),
        ({"weight": np.zeros((2, WIDTH)), "bias": np.zeros(2)}, ANSWERS),
        ({"weight": np.zeros((1, WIDTH)), "bias": np.zeros(1)}, ANSWERS),  # a single logit
        ({"weight": 1e-200 * HEAD}, ANSWERS),
    ],
)
def test_what_does_not_vary_is_not_computed_and_says_so(given, why, tmp_path):
    found = audited(**given)
    finding = found.finding("scanner")
    assert (finding.verdict, finding.reason, finding.evidence) == (INCONCLUSIVE, f"Not computed: {why}.", None)
    assert (found.weight_space, found.joint) == (None, None)
    assert (found.label is None) == (why == SAME)
    found.to_json(tmp_path / "audit.json")
    assert Audit.from_json(tmp_path / "audit.json").finding("scanner") == finding
    told = summary(found)
    assert (NO_CLASSIFIER in told) == (not found.regions.classifies)
    for word in (USED, NOT_USED, NOT_ENCODED, "0.50 (0.50 to 0.50)"):
        assert word not in told


def test_the_page_says_what_was_not_computed(tmp_path):
    page = write_report(audited(np.zeros((IMAGES, WIDTH))), tmp_path).read_text()
    assert f"Not computed: {SAME}." in page
    assert "0.50 (0.50 to 0.50)" not in page.split("<h2>Findings</h2>")[1].split("<h2>")[0]


@pytest.mark.parametrize(
    ("attribute", "why"),
    [
        (np.full(IMAGES, "A"), "every image has the same value (A)"),
        (np.full(IMAGES, 3.5), "every image has the same value (3.5)"),
        (
            np.array(["A", "B"])[LABEL],
            "at least one label must hold images of two levels, got an attribute that coincides with it",
        ),
    ],
)
def test_attributes_that_do_not_vary_are_not_computed(attribute, why):
    finding = audited(attributes={"odd": attribute}).finding("odd")
    assert (finding.verdict, finding.reason) == (INCONCLUSIVE, f"Not computed: {why}.")


def test_images_with_a_known_level_that_look_alike_are_not_computed():
    points, known = POINTS.copy(), np.arange(IMAGES) < 100
    points[known] = 0.0
    values = np.where(known, np.array(["A", "B"])[SCANNER], None)
    found = audited(points, attributes={"rare": values})
    assert found.finding("rare").reason == f"Not computed: {SAME} among images of one label."
    assert found.finding("scanner").evidence is not None


def test_a_label_whose_images_look_alike_is_not_said_to_hide_anything():
    points = POINTS.copy()
    points[LABEL == 1] = 5.0
    own = audited(points).finding("scanner").evidence.encoding.by_label
    assert own[0].value > 0.9
    assert own[1] is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_beyond_what_squares_can_hold_are_left_out_and_counted(dtype):
    points = POINTS.astype(dtype)
    points[3], points[4, 1] = 1e20, np.nan
    assert audited(points).excluded == {"3": "embedding above 1e+15", "4": "embedding not finite"}
    with pytest.raises(ValueError, match=r"got none: check .* \(numbers above 1e\+15 count as infinite\)\.$"):
        audited((1e20 * (2 + np.abs(POINTS))).astype(dtype))


def test_embeddings_of_any_usual_size_are_judged_alike():
    plain = audited().finding("scanner").evidence
    for size in (1e-9, 1e9):
        found = audited(POINTS * size, HEAD / size).finding("scanner").evidence
        np.testing.assert_allclose(found.encoding.test.null, plain.encoding.test.null, atol=1e-6)
        np.testing.assert_allclose(found.erasure.encoded, plain.erasure.encoded, atol=1e-6)
        assert found.held_out[0].auc_seen == pytest.approx(plain.held_out[0].auc_seen, abs=1e-3)


def test_an_embedding_of_one_direction_is_erased_without_an_error():
    """Nothing but rounding is left of the covariance when the only direction is erased."""
    points = np.repeat(SCANNER[:, None], 12, axis=1).astype(float)
    evidence = audited(points, np.outer([0, 1], np.ones(12))).finding("scanner").evidence
    assert evidence.encoding.own_auroc.value == 1.0
    assert evidence.erasure.encoded[1] == pytest.approx(0.5, abs=0.2)


def test_a_model_whose_areas_cannot_be_tested_is_not_cleared():
    """One patient has all images of a label: whether the model tells it from the other is not known."""
    patients = ["one" if label else f"p{index}" for index, label in enumerate(LABEL)]
    told = {"side": np.array(["l", "r"])[np.arange(IMAGES) // 4 % 2]}
    found = audit(POINTS, HEAD, [3.0, 0.0], LABEL, patients, told, label_names=["no", "yes"], settings=QUICK)
    assert found.regions.classifies is None
    assert found.finding("side").verdict == INCONCLUSIVE
    assert NO_CLASSIFIER in summary(found)


def test_an_epoch_of_a_model_that_says_nothing_has_no_points():
    told, patients = {"scanner": np.array(["A", "B"])[SCANNER]}, [f"p{index}" for index in range(IMAGES)]
    settings = curve_settings(1, permutations=19, bootstraps=19)
    given, named = ([3.0, 0.0], LABEL, patients, told), {"label_names": ["no", "yes"], "settings": settings}
    found = audit_epoch(1, np.zeros((IMAGES, WIDTH)), HEAD, *given, **named)
    assert (found.points, found.problems) == ({}, {"scanner": SAME})
    found = audit_epoch(1, POINTS, 0 * HEAD, *given, **named)
    assert found.points["scanner"].difference is None
    assert not found.points["scanner"].cleared
    assert found.points["scanner"].reason == f"{ANSWERS}."


def test_a_model_that_is_certain_of_one_class_is_not_cleared():
    """Its logits vary, its answers by no more than their rounding: it tells no class from the others."""
    found = audited(bias=(1000.0, 0.0))
    assert found.regions.classifies is False
    assert found.finding("scanner").verdict == INCONCLUSIVE
