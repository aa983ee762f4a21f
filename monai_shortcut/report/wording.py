# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How pages and figures print what `monai_shortcut.audit.wording` does not: what may be missing, signs and names."""

from __future__ import annotations

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED
from monai_shortcut.types import Estimate, plain, with_limits

MISSING = "-"
SAID = {
    USED: "predictions differ",
    NOT_USED: "visible; effect below limit",
    NOT_ENCODED: "no readable trace",
    UNUSED: "effect below limit",
    INCONCLUSIVE: "open",
}  # verdicts in few words for readers


def number(value: float | None, digits: int = 2, sign: bool = False) -> str:
    """A number with a fixed count of decimals, "-" if there is none; one that rounds to zero has no minus.

    Args:
        value: the number.
        digits: count of decimals.
        sign: whether positive numbers and zero have a plus.

    Example:
        >>> number(-0.125), number(-0.001), number(0.5, 1, sign=True), number(None)
        ('-0.12', '0.00', '+0.5', '-')
    """
    if value is None:
        return MISSING
    text = plain(float(value), digits)
    return f"+{text}" if sign and not text.startswith("-") else text


def limits(found: Estimate | None) -> str:
    """A number with its confidence limits, "-" if there is none.

    Example:
        >>> limits(Estimate(0.5, 0.4321, 0.6)), limits(None)
        ('0.50 (0.43 to 0.60)', '-')
    """
    return MISSING if found is None else with_limits(found)


def words(name: str) -> str:
    """The name of a strategy or setting as a page shows it.

    Example:
        >>> words("without_roi")
        'without roi'
    """
    return name.replace("_", " ")
