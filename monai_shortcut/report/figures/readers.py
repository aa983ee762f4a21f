# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a reader study, drawn from its record alone."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.report.figures.style import GUIDE, INK, SERIES, WIDTH, legend, styled, told
from monai_shortcut.report.wording import words
from monai_shortcut.types import Estimate

_READERS, _MODEL = SERIES[0], SERIES[1]


@styled
def reader_areas(study: ReaderStudy) -> Figure:
    """Areas of each reader, of their mean and of the model, by strategy, with intervals."""
    figure = Figure(figsize=(WIDTH, 1.6 + 0.5 * len(study.strategies)), layout="constrained")
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
        xlabel="AUC, same pictures",
        xlim=(-0.02, 1.02),
        ylim=(len(study.strategies) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(study.strategies)), [words(one.strategy) for one in study.strategies])
    legend(figure, axes)
    shown = [
        (f"{who}, {words(one.strategy)}", area)
        for one in study.strategies
        for who, area in (("readers", one.auc), ("model", one.model))
    ]
    figure.set_label(told("AUC", shown))
    return figure


def _estimate(axes: Axes, found: Estimate | None, place: float, marker: str, colour: str) -> None:
    if found is not None:
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
        axes.plot(found.value, place, marker, color=colour)
