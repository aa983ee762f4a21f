# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_cases import simulated
from outcome_cases import CIRCUMFERENCE, FEW, asked, regression

from monai_shortcut.analyses.differences import PREDICTION, differences
from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.audit import Audit, audit
from monai_shortcut.audit.assembly import preview
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED
from monai_shortcut.audit.wording import summary
from monai_shortcut.types import Outcome


@pytest.fixture(scope="module")
def used() -> Audit:
    return audit(**regression(1, used=10.0))


def test_a_scanner_that_is_used_is_found_with_its_size_in_the_unit(used):
    finding = used.finding("scanner")
    assert finding.verdict == USED
    assert "mm among images of any head circumference, B against A" in finding.reason
    row = next(row for row in finding.evidence.differences.rows if used.label_names[row.label].startswith("any"))
    assert row.scale == PREDICTION
    assert row.estimate.low < 10 < row.estimate.high
    assert 4 < row.certain < 10 < row.possible
    assert finding.evidence.latent.effect == pytest.approx(10, abs=1.5)
    assert finding.evidence.gap.effect.low < 10 < finding.evidence.gap.effect.high + 1.0
    assert finding.evidence.not_computed.keys() == {"subgroups", "held_out"}
    assert "prediction in mm, any head circumference: B against A" in summary(used)


def test_swapping_the_scanner_moves_predictions_by_as_much():
    case = regression(1, used=10.0)
    swapped, b = case["embeddings"].copy(), case["attributes"]["scanner"] == "B"
    swapped[:, 1] += np.where(b, -2.0, 2.0)
    said = swapped @ case["weight"].T
    found = audit(**case, counterfactuals={"scanner": said}).finding("scanner")
    assert found.counterfactual.change.value == pytest.approx(10.0)


def test_the_record_names_outcome_unit_and_strata_and_survives_its_json(used, tmp_path):
    assert used.regression.name == "head circumference"
    assert (used.unit, used.outputs[1], used.works) == ("mm", "head circumference", True)
    assert used.regression.assumed is False
    assert [name.removeprefix("head circumference ") for name in used.label_names[:2]] == [
        f"up to {used.regression.edges[0]:.4g} mm",
        f"{used.regression.edges[0]:.4g} to {used.regression.edges[1]:.4g} mm",
    ]
    assert len(used.label_names) == 6
    assert sum(used.labels.values()) == 600
    used.to_json(tmp_path / "audit.json")
    again = Audit.from_json(tmp_path / "audit.json")
    assert (again.regression, again.findings[0].evidence.errors) == (
        used.regression,
        used.findings[0].evidence.errors,
    )


def test_a_scanner_that_is_visible_and_goes_along_with_the_outcome_is_not_used():
    settings = replace(FEW, outcome_tolerance=8.0)
    finding = audit(**{**regression(1, 2000), "settings": settings}).finding("scanner")
    assert finding.verdict == NOT_USED
    assert finding.evidence.encoding.own_auroc.value > 0.85


def test_a_scanner_that_leaves_no_trace_is_not_encoded_although_it_goes_along_with_the_outcome():
    """The embedding says the outcome, and the outcome the scanner: without adjustment a probe would read it."""
    case = regression(1, 2000, encoded=0.0, tie=0.8, noise=2.0)
    assert audit(**case).finding("scanner").verdict == NOT_ENCODED


def test_predictions_alone_are_enough_for_use():
    case = regression(1, used=10.0)
    said = case["embeddings"] @ case["weight"].T
    known = {**case, "embeddings": None, "weight": None, "bias": None, "predicted": said}
    assert audit(**known).finding("scanner").verdict == USED
    plain = regression(1, 2000)
    said = plain["embeddings"] @ plain["weight"].T
    known = {**plain, "embeddings": None, "weight": None, "bias": None, "predicted": said}
    settings = replace(FEW, outcome_tolerance=8.0)
    assert audit(**{**known, "settings": settings}).finding("scanner").verdict == UNUSED


def test_a_model_that_does_not_predict_the_outcome_clears_nothing():
    case = {**regression(1, 2000, seen=lambda outcome: 200.0), "settings": replace(FEW, outcome_tolerance=8.0)}
    record = audit(**case)
    assert record.works is False
    assert record.finding("scanner").verdict == INCONCLUSIVE


def test_without_a_tolerance_a_fifth_of_the_standard_deviation_counts():
    case = {**regression(1, 120), "settings": replace(FEW, outcome_tolerance=None)}
    record = audit(**case)
    assert record.regression.assumed
    assert record.settings.outcome_tolerance == pytest.approx(0.2 * case["labels"].std())


def test_the_difference_is_that_of_a_regression_on_level_and_outcome_together():
    """Of predictions that nothing was taken out of before."""
    case = regression(5, 300, used=6.0, tie=0.8)
    sample = asked(case)
    images, b = sample.images, (case["attributes"]["scanner"] == "B").astype(float)
    said, label = case["embeddings"] @ case["weight"][0], images.labels
    for row in differences(sample).rows:
        if row.label < images.classes:
            inside = label == row.label
            design = np.stack([b, np.ones(len(b)), case["labels"], case["labels"] ** 2], axis=1)[inside]
        else:
            inside, parts = np.ones(len(b), dtype=bool), [b]
            for value in range(images.classes):
                own = (label == value).astype(float)
                parts += [own, own * case["labels"], own * case["labels"] ** 2]
            design = np.stack(parts, axis=1)
        fitted = np.linalg.lstsq(design / np.abs(design).max(axis=0), said[inside])[0]
        assert row.estimate.value == pytest.approx(fitted[0], rel=1e-4)


def test_what_can_be_found_is_told_before():
    told = preview(**regression(1, 300)).noticed["scanner"]
    assert "in mm: " in told
    assert "in any head circumference" in told


def test_what_does_not_go_with_a_regression_is_refused():
    case = regression(1, 60)
    with pytest.raises(
        ValueError,
        match=r"^a regression \(outcome\) must go without label_names, regions, masked, got label_names, regions\.$",
    ):
        audit(**case, label_names=["a"], regions={"without_roi": np.zeros((60, 1))})
    with pytest.raises(ValueError, match=r"^label_names must name the classes, or outcome what .*, got neither\.$"):
        audit(**{**simulated(), "label_names": ()})
    with pytest.raises(ValueError, match=r"^the head of a regression must have one output, got 2\.$"):
        audit(**{**case, "weight": np.zeros((2, 12)), "bias": np.zeros(2)})
    with pytest.raises(ValueError, match=r"^the outcome head circumference must differ between images, got 5 in all"):
        audit(**{**case, "labels": np.full(60, 5.0)})
    with pytest.raises(ValueError, match=r"^values of the outcome must be finite, got 1 numbers that are not\.$"):
        audit(**{**case, "labels": np.append(case["labels"][:-1], np.nan)})
    with pytest.raises(ValueError, match=r"^scanner must have shape \(60, 1\), got \(60, 2\)\.$"):
        audit(**case, counterfactuals={"scanner": np.zeros((60, 2))})
    with pytest.raises(ValueError, match=r"^predicted must have shape \(N, 1\) to match the outcome, got \(60, 2\)\.$"):
        audit(**{**case, "embeddings": None, "weight": None, "bias": None, "predicted": np.zeros((60, 2))})
    with pytest.raises(ValueError, match=r"^outcome_tolerance must be finite and above 0, got 0\.$"):
        replace(FEW, outcome_tolerance=0)


def test_an_outcome_without_a_unit_is_printed_without():
    record = audit(**{**regression(1, 200, used=10.0), "outcome": Outcome("score")})
    assert record.label_names[-1] == "any score"
    assert "mm" not in record.finding("scanner").reason


HARD = {
    "it goes along": {},
    "closely": {"tie": 0.8, "noise": 3.0},
    "predictions level off": {"tie": 0.8, "noise": 3.0, "seen": lambda y: np.clip(y, 185, 215)},
    "and bend": {"tie": 0.8, "noise": 3.0, "seen": lambda y: 200 + 25 * np.tanh((y - 200) / 20)},
    "errors are larger at one level": {"tie": 0.8, "scatter": 1.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("hard", HARD)
def test_what_is_not_used_is_significant_in_one_of_twenty_cohorts(hard):
    """200 cohorts each; 19 or more of 5 % come by once in 250."""
    found = [differences(asked(regression(seed, 400, **HARD[hard]))) for seed in range(200)]
    significant = sum(one.test.p_value <= 0.05 for one in found)
    assert 1 <= significant <= 18
    assert sum(any(row.certain > 4 for row in one.rows) for one in found) <= 4  # of errors of 20 mm in cells of 20


@pytest.mark.slow
def test_an_outcome_that_is_recorded_with_error_looks_used():
    """The limit of the method: what the model sees of the true outcome is not in the recorded one."""
    found = [differences(asked(regression(seed, 600, error=10.0))).test.p_value for seed in range(40)]
    assert np.mean(np.array(found) <= 0.05) > 0.5


@pytest.mark.slow
def test_what_is_not_encoded_is_significant_in_one_of_twenty_cohorts():
    found = [encoding(asked(regression(seed, 300, encoded=0.0, tie=0.8, noise=2.0))) for seed in range(60)]
    assert sum(one.anywhere.p_value <= 0.05 for one in found) <= 8
    assert CIRCUMFERENCE.unit == "mm"
