# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them, the same in every reason, table and page."""

from __future__ import annotations

from collections.abc import Sequence

from monai_shortcut.audit.record import Finding
from monai_shortcut.types import Estimate


def plain(value: float, digits: int = 2) -> str:
    """A number with a fixed number of digits; none is printed as minus zero.

    Example:
        >>> plain(-0.001), plain(0.125, 1)
        ('0.00', '0.1')
    """
    return f"{round(value, digits) + 0.0:.{digits}f}"


def with_limits(number: Estimate) -> str:
    """A number of two digits with its limits.

    Example:
        >>> with_limits(Estimate(0.5, -0.001, 1.0))
        '0.50 (0.00 to 1.00)'
    """
    return f"{plain(number.value)} ({plain(number.low)} to {plain(number.high)})"


def p_text(p_value: float | None) -> str:
    """A p-value of three digits, which is never zero; "-" if there is none.

    Example:
        >>> p_text(0.0213), p_text(0.0002), p_text(1.0)
        ('0.021', '< 0.001', '1.000')
    """
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.0005 else f"{p_value:.3f}"


def summary(findings: Sequence[Finding]) -> str:
    """The findings as a plain text table."""
    rows = [("attribute", "verdict", "AUROC in label", "p", "prediction gap", "p", "when swapped")]
    for finding in findings:
        shown, swapped = finding.evidence, finding.counterfactual
        encoded = (with_limits(shown.encoding.own_auroc), p_text(shown.encoding_p_value)) if shown else ("-", "-")
        used = (with_limits(shown.gap.effect), p_text(shown.gap_p_value)) if shown else ("-", "-")
        moved = with_limits(swapped.change) if swapped else "-"
        rows.append((finding.attribute, finding.verdict, *encoded, *used, moved))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
