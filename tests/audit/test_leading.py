# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from difference_cases import LABELS, LEVELS, bare, compared, found, row, shown

from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.leading import (
    Told,
    as_told,
    exceeds,
    exceptions,
    judged,
    leading,
    least_noticed,
    naming,
    together,
    told,
    too_small,
    where,
)
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED
from monai_shortcut.types import Estimate

NAMES = Names(LABELS, LEVELS, {"site": ("X", "Y")})
SETTINGS = AuditSettings(judged_patients=20)  # tolerances 0.1, of odds 2


# Which difference leads


def test_what_is_certain_to_exceed_its_tolerance_by_the_largest_factor_leads():
    rows = [
        row(0.9, certain=0.1, patients=500),  # as large as its tolerance, not larger
        row(0.3, certain=0.15, scale="decision"),
        row(0.25, certain=0.2, scale="rank"),
        row(1.6, certain=1.2, scale="odds", outcome=1),  # 1.2 / log 2 is 1.73, 0.2 / 0.1 is 2
        row(0.5, certain=0.19, patients=5),
    ]
    assert [exceeds(one, SETTINGS, NAMES) for one in rows] == [False, True, True, True, True]
    assert leading(rows, SETTINGS, NAMES) is rows[2]
    assert leading([rows[0], rows[3], rows[1]], SETTINGS, NAMES) is rows[3]
    assert leading([rows[0]], SETTINGS, NAMES) is rows[0]


def test_a_tolerance_of_a_label_and_one_of_zero_count():
    rows = [row(0.3, certain=0.2), row(0.2, certain=0.11, label=1)]
    own = replace(SETTINGS, tolerances={"malignant": {"probability": 0.05}})
    assert leading(rows, SETTINGS, NAMES) is rows[0]
    assert leading(rows, own, NAMES) is rows[1]
    assert leading(rows, replace(SETTINGS, tolerance=0.0), NAMES) is rows[0]
    assert leading(rows[::-1], replace(SETTINGS, tolerance=0.0), NAMES) is rows[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([(0.1, "rank", 20), (-0.2, "decision", 20), (0.3, "probability", 19), (0.9, "odds", 90)], 1),
        ([(0.1, "rank", 19), (-0.2, "decision", 6), (0.9, "odds", 90)], 1),  # no cell has enough
        ([(0.4, "odds", 90), (-0.9, "odds", 20)], 1),
        ([(0.05, "rank", 90), (0.2, "odds", 90)], 0),
    ],
)
def test_without_certainty_the_largest_among_enough_patients_leads_and_odds_last(values, expected):
    rows = [row(value, scale=scale, patients=patients) for value, scale, patients in values]
    assert leading(rows, SETTINGS, NAMES) is rows[expected]


def test_nothing_leads_where_nothing_was_compared():
    assert leading([], SETTINGS, NAMES) is None


def test_the_leading_difference_of_many_is_that_of_a_search_in_the_order_of_the_rule():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scales = rng.choice(["probability", "decision", "rank", "odds"], size=30)
        rows = [
            row(float(value), certain=float(max(certain, 0)), scale=str(scale), patients=int(patients))
            for value, certain, scale, patients in zip(
                *rng.normal(0, 0.3, (1, 30)), rng.uniform(-1, 0.2, 30), scales, rng.integers(5, 40, 30), strict=True
            )
        ]
        tolerance = {"probability": 0.1, "decision": 0.1, "rank": 0.1, "odds": math.log(2)}
        best = None
        for one in rows:
            factor = one.certain / tolerance[one.scale]
            if factor > 1 and (best is None or factor > best.certain / tolerance[best.scale]):
                best = one
        for plenty in (True, False):
            if best is None:
                best = max(
                    (one for one in rows if one.scale != "odds" and (one.patients >= 20 or not plenty)),
                    key=lambda one: max(one.estimate.value, -one.estimate.value),
                    default=None,
                )
        assert leading(rows, SETTINGS, NAMES) is best


# What is told of a finding


def test_a_finding_is_told_by_its_leading_difference_and_the_adjusted_p_value():
    top = row(0.3, certain=0.2, scale="decision", label=1, second=2)
    finding = found("scanner", shown(row(0.9), top))
    assert told(finding, bare(finding)) == Told(top.estimate, "decision, malignant: C against A", 0.03, top)


def test_a_finding_without_evidence_or_comparison_is_not_told():
    why = {"differences": "no label has two levels of at least 5 patients each"}
    none = shown(differences=None, differences_p_value=None, not_computed=why)
    for evidence in (None, none, shown()):
        finding = found("scanner", evidence, INCONCLUSIVE)
        assert told(finding, bare(finding)) is None


def test_a_finding_of_an_older_record_is_told_by_its_gap():
    evidence = shown(differences=None, differences_p_value=None)
    finding = found("scanner", evidence)
    expected = Told(Estimate(0.3, -0.05, 0.4), "prediction gap, all labels", 0.02, None)
    assert told(finding, bare(finding)) == expected


@pytest.mark.parametrize(
    ("p_value", "certain", "sliced"),
    [(0.03, 0.2, False), (0.06, 0.2, True), (0.03, 0.1, True), (None, 0.2, True)],
)
def test_part_of_the_images_is_told_where_the_verdict_rests_on_it(p_value, certain, sliced):
    whole, part = row(0.3, certain=certain), row(-0.4, certain=0.15, p_value=0.002, within=("site", 1))
    finding = found("scanner", shown(whole, differences_p_value=p_value, slices=(part,)))
    site = found("site", None, levels={"X": 60, "Y": 60})
    one = told(finding, bare(finding, site))
    if sliced:
        assert one == Told(part.estimate, "probability, benign: B against A where site is Y", 0.002, part)
    else:
        assert one == Told(whole.estimate, "probability, benign: B against A", p_value, whole)


def test_part_of_the_images_is_told_where_nothing_else_was_compared():
    part = row(-0.4, certain=0.15, p_value=0.002, within=("site", 0))
    finding = found("scanner", shown(slices=(part,)))
    one = told(finding, bare(finding, found("site", None, levels={"X": 60, "Y": 60})))
    assert (one.row, one.p_value) == (part, 0.002)


def test_an_attribute_that_is_not_used_is_told_at_equal_levels_of_others():
    """Row by row; what is left with too few patients stays as it is over all images."""
    wide, other = row(0.3), row(0.2, label=1)
    equal = (row(0.1), row(0.05, label=1, patients=19))
    evidence = shown(wide, other, differences_p_value=0.5, equal=equal)
    assert judged(evidence, SETTINGS) == [equal[0], other]
    finding = found("site", evidence, NOT_USED)
    assert told(finding, bare(finding)).row == other
    sure = replace(wide, certain=0.2)
    used = found("site", shown(sure, other, differences_p_value=0.01, equal=equal))
    assert told(used, bare(used)).row == sure
    assert judged(replace(evidence, differences=None), SETTINGS) == []


def test_odds_are_told_as_a_ratio_and_other_scales_as_they_are():
    one = row(math.log(3), math.log(2), scale="odds", label=0, outcome=1)
    ratio = as_told(one)
    assert [ratio.value, ratio.low, ratio.high] == pytest.approx([3, 1.5, 6])
    assert where(one, NAMES) == "odds of malignant, benign: B against A"
    assert as_told(row(900.0, scale="odds")).high == pytest.approx(math.exp(50))
    for scale in ("probability", "decision", "rank"):
        assert as_told(row(-0.25, scale=scale)) == Estimate(-0.25, -0.375, -0.125)
        assert where(row(scale=scale, first=1, second=2), NAMES) == f"{scale}, benign: C against B"


def test_names_are_those_of_all_findings():
    first, second = found("scanner", None), found("site", None, levels={"X": 60, "Y": 60})
    assert naming(first, bare(first, second)) == Names(LABELS, LEVELS, {"scanner": LEVELS, "site": ("X", "Y")})


# What would be noticed, and what is left out


def test_the_least_use_noticed_is_that_of_the_largest_cells_beyond_the_tolerance_and_at_most_one():
    rows = [
        row(detectable=0.02, patients=30),
        row(detectable=0.3, patients=50),
        row(detectable=0.25, patients=50, second=2),  # as many patients
        row(detectable=0.01, patients=90, scale="decision"),
        row(detectable=0.97, label=1),
    ]
    assert least_noticed(compared(*rows), SETTINGS, NAMES) == pytest.approx({"benign": 0.35, "malignant": 1.0})
    own = replace(SETTINGS, tolerances={"benign": {"probability": 0.2}, "malignant": {"probability": 0.01}})
    assert least_noticed(compared(*rows[::-1]), own, NAMES) == pytest.approx({"benign": 0.45, "malignant": 0.98})
    assert least_noticed(compared(), SETTINGS, NAMES) == {}


def test_cells_with_too_few_patients_are_named_unless_the_label_has_none():
    assert too_small(compared(patients=((19, 20, 0), (40, 3, 21))), SETTINGS, NAMES) == [
        "benign at A (19 patients)",
        "benign at C (0 patients)",
        "malignant at B (3 patients)",
    ]
    assert too_small(compared(patients=((0, 0, 0), (20, 20, 20))), SETTINGS, NAMES) == []


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(USED, []), (NOT_ENCODED, []), (INCONCLUSIVE, []), (NOT_USED, ["benign at B (4 patients)"])],
)
def test_only_not_used_has_exceptions(verdict, expected):
    evidence = shown(differences=compared(patients=((40, 4, 40), (40, 40, 40))))
    finding = found("scanner", evidence, verdict)
    assert exceptions(finding, bare(finding)) == expected
    older = replace(finding, evidence=replace(evidence, differences=None))
    assert exceptions(older, bare(older)) == []


# Findings that are one


def test_attributes_that_share_a_verdict_are_one_finding_at_the_place_of_the_first():
    shared = {"scanner": ("site", "ward"), "site": ("scanner", "ward"), "ward": ("scanner", "site")}
    names = ["age", "scanner", "sex", "site", "ward"]
    findings = [found(name, None, shared_with=shared.get(name, ())) for name in names]
    groups = [[name for name, _ in group] for group in together(findings)]
    assert groups == [["age"], ["scanner", "or site", "or ward"], ["sex"]]
    assert [one for group in together(findings) for _, one in group] == [findings[i] for i in (0, 1, 3, 4, 2)]


def test_an_attribute_that_another_shares_its_verdict_with_may_have_its_own():
    findings = [found("scanner", None, shared_with=("site",)), found("site", None, INCONCLUSIVE)]
    assert [[name for name, _ in group] for group in together(findings)] == [["scanner or site"], ["site"]]
