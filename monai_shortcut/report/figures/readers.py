# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a reader study, drawn from its record alone."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.report.figures.style import GUIDE, INK, SERIES, literal
from monai_shortcut.report.wording import words
from monai_shortcut.types import Estimate

_READERS, _MODEL = SERIES[0], SERIES[1]


@literal
def reader_areas(study: ReaderStudy) -> Figure:
    """Areas of each reader, of their mean and of the model, by strategy, with intervals."""
    figure = Figure(figsize=(8.5, 1.3 + 0.55 * len(study.strategies)), layout="constrained")
    axes = figure.subplots()
    for row, reading in enumerate(study.strategies):
        alone = [one.auc.value for one in reading.readers if one.auc is not None]
        axes.plot(alone, [row - 0.15] * len(alone), "|", color=GUIDE, markersize=9)
        _estimate(axes, reading.auc, row - 0.15, "o", _READERS)
        _estimate(axes, reading.model, row + 0.15, "D", _MODEL)
    axes.plot([], [], "|", color=GUIDE, markersize=9, label="each reader")
    axes.plot([], [], "o", color=_READERS, label="mean of the readers")
    axes.plot([], [], "D", color=_MODEL, label="the model")
    axes.axvline(0.5, color=INK, linewidth=1)
    axes.set(
        xlabel="area under the ROC curve, on the same pictures",
        xlim=(-0.02, 1.02),
        ylim=(len(study.strategies) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(study.strategies)), [words(one.strategy) for one in study.strategies])
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _estimate(axes: Axes, found: Estimate | None, place: float, marker: str, colour: str) -> None:
    if found is not None:
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
        axes.plot(found.value, place, marker, color=colour)
