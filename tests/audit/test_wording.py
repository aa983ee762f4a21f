# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from audit_cases import measured

from monai_shortcut.audit.record import INCONCLUSIVE, USED, Counterfactual, Finding
from monai_shortcut.audit.wording import summary
from monai_shortcut.types import Estimate, p_text, plain, with_limits

SCANNER = Finding(
    attribute="scanner",
    verdict=USED,
    reason="The embedding encodes it.",
    levels={"A": 20, "B": 30},
    edges=(),
    missing=2,
    left_out={"C": 3},
    patients=17,
    evidence=measured(0.01, 0.9, 0.02, 0.3, 0.4),
    counterfactual=Counterfactual(55, Estimate(0.25, 0.125, 1 / 3)),
)
AGE = Finding("âge", INCONCLUSIVE, "All missing.", {}, (1.5, 2.5), 55, {}, 0, None, None)


def test_the_summary_is_a_table_of_the_findings():
    assert summary([SCANNER, AGE]).splitlines() == [
        "attribute  verdict       AUROC in label       p      prediction gap        p      when swapped",
        "-" * 101,
        "scanner    used          0.82 (0.74 to 0.90)  0.010  0.30 (-0.05 to 0.40)  0.020  0.25 (0.12 to 0.33)",
        "âge        inconclusive  -                    -      -                     -      -",
    ]
    assert summary([]).splitlines()[0].startswith("attribute  verdict  AUROC in label  p")


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
