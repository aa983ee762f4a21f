# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from difference_cases import bare, compared, found, row, shown

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED, Counterfactual
from monai_shortcut.audit.wording import summary
from monai_shortcut.types import Estimate, p_text, plain, with_limits

SCANNER = found(
    "scanner",
    shown(row(0.3, certain=0.2, scale="decision", label=1)),
    counterfactual=Counterfactual(55, Estimate(0.25, 0.125, 1 / 3)),
    shared_with=("site",),
)
SITE = found("site", shown(row(-0.004, 0.05), differences_p_value=0.0004), shared_with=("scanner",))
AGE = found("âge", None, INCONCLUSIVE)
SMALL = compared(row(-0.01, 0.0625, scale="rank"), patients=((9, 30, 0), (30, 30, 30)))
TAG = found("tag", shown(differences=SMALL), NOT_USED)


def test_the_summary_is_a_table_of_the_findings():
    assert summary(bare(SCANNER, AGE, SITE)).splitlines() == [
        "attribute  verdict       AUC in label         p      difference            scale, label: levels              "
        "p        when swapped",
        "-" * 137,
        "scanner    used          0.82 (0.74 to 0.90)  0.010  0.30 (0.17 to 0.42)   decision, malignant: B against A  "
        "0.030    0.25 (0.12 to 0.33)",
        "  or site                0.82 (0.74 to 0.90)  0.010  0.00 (-0.05 to 0.05)  probability, benign: B against A  "
        "< 0.001  -",
        "âge        inconclusive  -                    -      -                     -                                 "
        "-        -",
    ]
    head, line = summary(bare()).splitlines()
    assert head == "attribute  verdict  AUC in label  p  difference  scale, label: levels  p  when swapped"
    assert line == "-" * len(head)


def test_on_a_narrow_terminal_each_finding_has_lines_of_its_own():
    audit = bare(SCANNER, AGE, SITE, TAG)
    lines = summary(audit, 60).splitlines()
    assert lines[:9] == [
        "scanner: used",
        "  AUC in label 0.82 (0.74 to 0.90), p 0.010",
        "  difference 0.30 (0.17 to 0.42), p 0.030",
        "  decision, malignant: B against A",
        "  when swapped 0.25 (0.12 to 0.33)",
        "  or site",
        "  AUC in label 0.82 (0.74 to 0.90), p 0.010",
        "  difference 0.00 (-0.05 to 0.05), p < 0.001",
        "  probability, benign: B against A",
    ]
    assert max(map(len, lines)) <= 60
    assert lines[-2:] == ["tag: too few patients to speak of benign at A (9 patients),", "benign at C (0 patients)"]
    assert summary(audit, 160) == summary(audit)


def test_below_the_table_stand_the_cells_that_not_used_does_not_speak_of():
    lines = summary(bare(SCANNER, TAG)).splitlines()
    assert lines[2].startswith("scanner or site  used               0.82")
    assert lines[3].startswith("tag              encoded, not used  0.82")
    assert "-0.01 (-0.07 to 0.05)  rank, benign: B against A" in lines[3]
    assert lines[4:] == ["", "tag: too few patients to speak of benign at A (9 patients), benign at C (0 patients)"]


def test_the_summary_of_an_older_record_shows_the_prediction_gap():
    older = found("scanner", shown(differences=None, differences_p_value=None))
    (line,) = summary(bare(older)).splitlines()[2:]
    assert line == (
        "scanner    used     0.82 (0.74 to 0.90)  0.010  0.30 (-0.05 to 0.40)  prediction gap, all labels  0.020  -"
    )


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.0049, 2, "0.00"), (-0.0049, 2, "0.00"), (-0.0051, 2, "-0.01"), (2.96, 1, "3.0"), (7, 0, "7")],
)
def test_a_number_has_its_digits_and_zero_no_sign(value, digits, text):
    assert plain(value, digits) == text


def test_limits_stand_behind_their_number():
    assert with_limits(Estimate(0.456, -0.002, 0.999)) == "0.46 (0.00 to 1.00)"


@pytest.mark.parametrize(
    ("p_value", "text"),
    [
        (1.0, "1.000"),
        (0.05, "0.050"),
        (0.001, "0.001"),
        (0.00099, "< 0.001"),
        (0.0, "< 0.001"),
        (None, "-"),
        (float("nan"), "-"),
    ],
)
def test_a_p_value_is_never_zero(p_value, text):
    assert p_text(p_value) == text
