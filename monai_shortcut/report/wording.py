# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How numbers are printed: one way for every page, figure and log.

- A p-value has three decimals; below 0.001 it is "< 0.001". It is never 0.000.
- A number that rounds to zero has no minus.
- What is missing, None or NaN, is "-".
"""

from __future__ import annotations

MISSING = "-"


def p_text(p_value: float | None) -> str:
    """A p-value in words.

    Example:
        >>> p_text(0.0341), p_text(0.0004), p_text(1.0), p_text(None)
        ('0.034', '< 0.001', '1.000', '-')
    """
    if p_value is None or p_value != p_value:
        return MISSING
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number with a fixed count of decimals.

    Args:
        value: the number.
        digits: count of decimals.
        sign: whether positive numbers and zero have a plus.

    Example:
        >>> number(-0.125), number(-0.001), number(0.5, 1, sign=True), number(float("nan"))
        ('-0.12', '0.00', '+0.5', '-')
    """
    if value is None or value != value:
        return MISSING
    rounded = round(float(value), digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:{'+' if sign else ''}.{digits}f}"


def with_limits(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its confidence limits.

    Example:
        >>> with_limits(0.5, 0.4321, 0.6), with_limits(0.5, None, None), with_limits(None, None, None)
        ('0.50 (0.43 to 0.60)', '0.50 (- to -)', '-')
    """
    shown = number(value)
    return shown if shown == MISSING else f"{shown} ({number(low)} to {number(high)})"


def words(name: str) -> str:
    """The name of a strategy or setting as a page shows it.

    Example:
        >>> words("without_roi")
        'without roi'
    """
    return name.replace("_", " ")
