# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The findings as a table of text."""

from __future__ import annotations

from collections.abc import Sequence

from monai_shortcut.audit.record import Finding
from monai_shortcut.types import p_text, with_limits


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
