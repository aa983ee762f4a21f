# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit in a notebook: its findings as a table, and the picture of each."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.audit.wording import HEAD, notes, summary_rows
from monai_shortcut.report.figures.audit import evidence
from monai_shortcut.report.files import png
from monai_shortcut.report.pages import render


def notebook_html(audit: Audit) -> str:
    """The findings as a part of a page."""
    return render("notebook", title=audit.title, audit=audit, head=HEAD, rows=summary_rows(audit), notes=notes(audit))


def drawn(finding: Finding, audit: Audit) -> Figure:
    """The figure of a finding, which a notebook shows, with or without pyplot.

    Args:
        finding: one with evidence.
        audit: the audit it is part of.

    Raises:
        ValueError: If it has no evidence.
    """
    figure = evidence(finding, audit)
    vars(figure)["_repr_png_"] = partial(png, figure)
    return figure
