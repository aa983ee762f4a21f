# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a check of a table: how well attributes alone tell the label."""

from __future__ import annotations

from textwrap import fill

from matplotlib.figure import Figure

from monai_shortcut.report.figures.style import INK, TOLERANCE, literal, series
from monai_shortcut.table_check.record import TableCheck

_TOGETHER = 0.5  # rows that the classes of an attribute share


@literal
def areas(check: TableCheck) -> Figure:
    """Areas under the ROC curve of every attribute, with limits, a colour for each class."""
    figure = Figure(figsize=(8, 1.6 + 0.45 * len(check.telling)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(0.5 - check.settings.tolerance, 0.5 + check.settings.tolerance, color=TOLERANCE, linewidth=0)
    axes.axvline(0.5, color=INK, linewidth=1)
    labels = list(check.telling[0].areas)
    for place, one in enumerate(check.telling):
        for index, (label, area) in enumerate(one.areas.items()):
            row = place + _TOGETHER * ((index + 0.5) / len(labels) - 0.5)
            named = label if place == 0 else None
            axes.plot([area.low, area.high], [row, row], color=series(index), linewidth=2)
            axes.plot(area.value, row, "o", color=series(index), label=named)
    axes.set_yticks(range(len(check.telling)), [fill(one.attribute, 28) for one in check.telling])
    axes.set_ylim(len(check.telling) - 0.5, -0.5)
    axes.set(xlabel="area under the ROC curve, label from the attribute alone", xlim=(0, 1.01))
    figure.legend(loc="outside right upper", title="label", fontsize=9)
    return figure
