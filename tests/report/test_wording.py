# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from monai_shortcut.report.wording import limits, number, words
from monai_shortcut.types import Estimate, p_text


def test_a_p_value_is_printed_to_three_decimals_and_never_as_zero():
    for p_value in [*np.geomspace(1e-300, 1, 400), 0.0, 0.0004999, 0.001, 0.9996, 1.0]:
        text = p_text(p_value)
        assert text != "0.000"
        if text == "< 0.001":
            assert p_value < 0.001
        else:
            assert abs(Decimal(text) - Decimal(p_value)) <= Decimal("0.0005")
            assert len(text) == 5


def test_what_is_missing_is_a_dash():
    assert (p_text(None), number(None), limits(None)) == ("-", "-", "-")


@pytest.mark.parametrize("digits", [0, 1, 2, 3])
@pytest.mark.parametrize("sign", [False, True])
def test_a_number_is_the_nearest_decimal_and_zero_has_no_minus(digits, sign):
    for value in [
        *np.random.default_rng(0).normal(scale=0.7, size=300),
        *np.linspace(-0.01, 0.01, 41),
        -0.0,
        0.125,
        -7,
    ]:
        text = number(value, digits, sign)
        exact = Decimal(float(value)).quantize(
            Decimal(1).scaleb(-digits)
        )  # half to even, as the exact binary number is
        assert Decimal(text) == exact
        assert text.startswith("-") == (exact < 0)
        assert text.startswith("+") == (sign and exact >= 0)
        assert len(text.partition(".")[2]) == digits


def test_a_number_with_limits_has_all_three_in_their_order():
    assert limits(Estimate(-0.001, -0.314, 0.25)) == "0.00 (-0.31 to 0.25)"


def test_names_are_written_with_spaces():
    assert words("without_roi_box") == "without roi box"
