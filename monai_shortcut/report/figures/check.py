# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a check of a table: how well attributes alone tell the label."""

from __future__ import annotations

from textwrap import fill

from matplotlib.figure import Figure

from monai_shortcut.report.figures.style import (
    INK,
    TOLERANCE,
    WIDTH,
    legend,
    level_marker,
    place_of,
    series,
    styled,
    told,
)
from monai_shortcut.table_check.record import TableCheck

_TOGETHER = 0.5  # rows that the classes of an attribute share


@styled
def areas(check: TableCheck) -> Figure:
    """Areas under the ROC curve of every attribute, with limits, a colour for each class."""
    figure = Figure(figsize=(WIDTH, 1.6 + 0.45 * len(check.telling)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(0.5 - check.settings.tolerance, 0.5 + check.settings.tolerance, color=TOLERANCE, linewidth=0)
    axes.axvline(0.5, color=INK, linewidth=1)
    labels = list(check.telling[0].areas)
    for place, one in enumerate(check.telling):
        for index, (label, area) in enumerate(one.areas.items()):
            row = place + _TOGETHER * ((index + 0.5) / len(labels) - 0.5)
            named, number = label if place == 0 else None, place_of(label, check.label_names)
            axes.plot([area.low, area.high], [row, row], color=series(number), linewidth=2)
            axes.plot(area.value, row, level_marker(number), color=series(number), label=named)
    axes.set_yticks(range(len(check.telling)), [fill(one.attribute, 20) for one in check.telling])
    axes.set_ylim(len(check.telling) - 0.5, -0.5)
    axes.set(xlabel="AUC, label from the attribute alone", xlim=(0, 1.01))
    legend(figure, axes)
    told_of = [(f"{label} from {one.attribute}", area) for one in check.telling for label, area in one.areas.items()]
    figure.set_label(told("AUC", told_of))
    return figure
