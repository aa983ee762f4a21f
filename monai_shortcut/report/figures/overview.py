# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture at the head of an audit's page: what is encoded, and how far answers differ with it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shortcut.analyses.differences import DECISION, MEANS, PREDICTION, PROBABILITY, Difference
from monai_shortcut.audit.leading import Told, between, naming, together, told, tolerated
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.report.differences import beside
from monai_shortcut.report.figures.style import INK, MARKERS, TOLERANCE, VERDICTS, WIDTH, legend, styled
from monai_shortcut.report.figures.style import told as told_numbers
from monai_shortcut.report.wording import limits
from monai_shortcut.types import Estimate

_TOGETHER = 0.17  # rows between a line and the middle of its attribute


@styled
def overview(audit: Audit) -> Figure:
    """Encoding and use of every attribute, with intervals, side by side; what shares a verdict stands together."""
    named = [pair for group in together(audit.findings) for pair in group if pair[1].evidence is not None]
    found = [finding for _, finding in named]
    heights = (0.7 + 0.34 * max(len(found), 1), 0.7 + 0.75 * max(len(found), 1))
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.0), layout="constrained")
    left, right = figure.subplots(2, 1, height_ratios=heights)
    for place, finding in enumerate(found):
        if finding.evidence and finding.evidence.encoding:
            _point(left, finding.evidence.encoding.own_auroc, place, finding)
        _use(right, place, finding, audit)
    lowest = [f.evidence.encoding.own_auroc.low - 0.02 for f in found if f.evidence and f.evidence.encoding]
    left.axvline(0.5, color=INK, linewidth=1)
    left.set(xlabel="encoded: AUC of the probe within labels", xlim=(min([0.35, *lowest]), 1.02))
    for axes, most in ((left, 0.5), (right, 0.7)):
        axes.set_yticks(range(len(found)), [fill(name, 20) for name, _ in named])
        axes.set_ylim(max(len(found), 1) - 0.5, -most)
    right.axvline(0, color=INK, linewidth=1)
    right.set(xlabel="used: how far answers differ with it")
    right.locator_params(axis="x", nbins=6)
    _legend(figure, found)
    figure.set_label(_told(named))
    return figure


def _told(named: Sequence[tuple[str, Finding]]) -> str:
    """How well each attribute is read off the embedding, in words; the sentences of the page tell its use."""
    encoded = [(name, f.evidence.encoding.own_auroc) for name, f in named if f.evidence and f.evidence.encoding]
    return told_numbers("encoded, AUC of the probe:", encoded) if encoded else ""


def _point(axes: Axes, measured: Estimate, place: float, finding: Finding, hollow: bool = False) -> None:
    colour = VERDICTS[finding.verdict]
    face, marker = "white" if hollow else colour, MARKERS[finding.verdict]
    axes.plot([measured.low, measured.high], [place, place], color=colour, linewidth=2, zorder=2)
    axes.plot(measured.value, place, marker, color=colour, markerfacecolor=face, markersize=7, zorder=3)


def _use(axes: Axes, place: int, finding: Finding, audit: Audit) -> None:
    """How far answers differ, and how far probability moves when only the attribute is swapped.

    The swap has no sign; it is drawn on the side of the difference.
    """
    one, side = told(finding, audit), 1.0
    if one is not None and one.row is None:
        _band(axes, place, audit.settings.tolerance, 0.9)
        _point(axes, one.value, place, finding)
    elif one is not None and one.row is not None:
        rows = beside(one.row, finding)
        _differences(axes, place, rows, finding, audit)
        side = next((rows[scale].estimate.value for scale in MEANS if scale in rows), side)
        words = fill(_words(one, one.row, rows, finding, audit), 46)
        axes.text(0.01, place - 0.48, words, transform=axes.get_yaxis_transform(), va="center", zorder=4)
    if finding.counterfactual is not None:
        moved = np.copysign(finding.counterfactual.change.value, side)
        axes.plot(moved, place, "|", color="black", markersize=22, markeredgewidth=2, zorder=1)


def _differences(axes: Axes, place: int, rows: dict[str, Difference], finding: Finding, audit: Audit) -> None:
    """Probability and decision, or prediction, of one label and two levels, each on its tolerance."""
    names = naming(finding, audit)
    for scale, away in ((PROBABILITY, -_TOGETHER), (DECISION, _TOGETHER), (PREDICTION, 0.0)):
        if scale in rows:
            _band(axes, place + away, tolerated(rows[scale], audit.settings, names), 2 * _TOGETHER)
            _point(axes, rows[scale].estimate, place + away, finding, hollow=scale == DECISION)


def _band(axes: Axes, place: float, tolerance: float, height: float) -> None:
    axes.barh(place, 2 * tolerance, height, -tolerance, color=TOLERANCE, zorder=0)


def _words(one: Told, row: Difference, rows: dict[str, Difference], finding: Finding, audit: Audit) -> str:
    """Label and levels of what is drawn; with its number, if the leading difference is on another scale."""
    if row.scale not in rows:
        return f"{limits(one.value)} {one.where}"
    return f"{audit.label_names[row.label]}: {between(row, naming(finding, audit))}"


def _legend(figure: Figure, found: Sequence[Finding]) -> None:
    axes = figure.axes[1]
    for verdict in VERDICTS:
        if any(finding.verdict == verdict for finding in found):
            axes.plot([], [], MARKERS[verdict], color=VERDICTS[verdict], label=verdict)
    if any(finding.evidence and finding.evidence.differences for finding in found):
        axes.plot([], [], "o", color=INK, label="mean probability")
        axes.plot([], [], "o", color=INK, markerfacecolor="white", label="share of answers")
    if any(finding.counterfactual is not None for finding in found):
        axes.plot([], [], "|", color="black", markersize=12, markeredgewidth=2, label="same images, attribute swapped")
    if axes.get_legend_handles_labels()[0]:
        legend(figure, axes)
