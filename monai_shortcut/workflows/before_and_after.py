# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two audits that are on disk, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_shortcut.repair import Comparison, compare_audits
from monai_shortcut.report import write_comparison


def compare_records(
    before: str | Path,
    after: str | Path,
    output_dir: str | Path,
    *,
    title: str = "Before and after",
    repaired: Sequence[str] = (),
) -> Comparison:
    """Compare two records of audits, print what became of each attribute, and write the page.

    Args:
        before: ``audit.json`` of the first audit.
        after: that of the second.
        output_dir: folder of the page; see `monai_shortcut.report.write_comparison`.
        title: its heading.
        repaired: attributes that were to be repaired, which come first.

    Raises:
        ValueError: As `compare_audits`.
    """
    found = compare_audits(before, after)
    page = write_comparison(found, output_dir, title=title, repaired=repaired)
    for one in found.attributes:
        print(f"{one.attribute}: {one.verdict} ({one.before}, then {one.after})")
    print(f"report: {page}", flush=True)
    return found
