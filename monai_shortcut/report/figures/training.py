# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of a training's audits, drawn from its record alone."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.report.figures.style import INK, SERIES, TOLERANCE, WIDTH, legend, styled
from monai_shortcut.types import Estimate

_BLUE, _ORANGE, _GREEN = SERIES[:3]
_PANELS = (
    "used: leading difference of the answers",
    "encoded: AUC of the probe within labels",
    "aligned: largest |alignment|",
)


@styled
def training_curves(curves: TrainingCurves) -> Figure:
    """Use, encoding and alignment of each attribute over the epochs, a row of panels for each.

    Use is the size of the leading difference in probability, decision or rank, above grey bars of its tolerance; in
    records before version 3 the prediction gap.

    Epochs at which an attribute counts as used have filled diamonds, others open circles. A dashed line marks the
    onset, dotted if it is at the last audited epoch only. The black line is the model's own area under the ROC curve.

    Args:
        curves: a record with at least one audited epoch.

    Raises:
        ValueError: If it has none.
    """
    if not curves.epochs:
        raise ValueError("the training curves must hold an audited epoch to be drawn, got none.")
    count = max(len(curves.attributes), 1)
    figure = Figure(figsize=(WIDTH, 1.2 + 4.8 * count), layout="constrained")
    grid: Any = figure.subplots(3 * count, 1, squeeze=False, sharex=True).reshape(count, 3)
    for row in grid[1:]:
        for axes, first in zip(row, grid[0], strict=True):
            axes.sharey(first)
    for row, name in zip(grid, curves.attributes, strict=False):
        _row(row, curves, name)
    low, high = grid[0][0].get_ylim()
    grid[0][0].set_ylim(min(low, 0.0), max(high, 0.6))  # small differences look small
    for row in grid:
        for axes, title in zip(row, _PANELS, strict=True):
            axes.set(title=title, xlabel="epoch")
            axes.tick_params(labelbottom=True)  # a wide page shows the panels side by side
    grid[-1][-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, grid[0][0])
    return figure


def _row(row: Sequence[Axes], curves: TrainingCurves, name: str) -> None:
    found = [epoch.points.get(name) for epoch in curves.epochs]
    epochs, used = [epoch.epoch for epoch in curves.epochs], np.array(curves.used(name))
    moved, area, aligned = row
    tolerances = [0.0 if p is None else curves.tolerance(p) for p in found]
    moved.bar(epochs, tolerances, curves.interval, color=TOLERANCE, zorder=0)
    _band(moved, epochs, np.array([_limits(None if p is None else p.moved) for p in found]), used)
    area.axhline(0.5, color=INK, linewidth=1)
    _band(area, epochs, np.array([_limits(None if p is None else p.own_auroc) for p in found]), used)
    own = np.array([_limits(epoch.auroc) for epoch in curves.epochs])
    area.plot(epochs, own[:, 0], color="black", linewidth=1.2)
    area.fill_between(epochs, own[:, 1], own[:, 2], color="black", alpha=0.1, linewidth=0)
    largest = np.array([[np.nan if p is None else p.alignment] * 3 for p in found])
    _band(aligned, epochs, largest, used)
    aligned.plot(epochs, [np.nan if p is None else p.wsc for p in found], ":", color=_GREEN, linewidth=1.5)
    aligned.set_ylim(0, 1.02)
    for axes in row:
        axes.set_ylabel(fill(name, 16))
    onset = curves.onset(name)
    if onset is not None:
        for axes in row:
            axes.axvline(onset.epoch, color=_ORANGE, linewidth=1.2, linestyle="--" if onset.audits > 1 else ":")
        text = f"from epoch {onset.epoch} on" if onset.audits > 1 else "last epoch only"
        moved.text(onset.epoch, 0.98, f" {text}", transform=moved.get_xaxis_transform(), va="top")


def _limits(found: Estimate | None) -> tuple[float, float, float]:
    """Value, low and high; NaN, which is not drawn, where nothing was measured."""
    return (np.nan, np.nan, np.nan) if found is None else (found.value, found.low, found.high)


def _band(axes: Axes, epochs: Sequence[int], values: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
    """A line with its interval, whose markers tell whether the attribute counts as used."""
    centre, low, high = values.T
    at = np.array(epochs)
    axes.fill_between(at, low, high, color=_BLUE, alpha=0.18, linewidth=0)
    axes.vlines(at, low, high, color=_BLUE, linewidth=0.8)  # a rough interval need not hold its estimate
    axes.plot(at, centre, color=_BLUE, linewidth=1.2)
    axes.plot(at[~used], centre[~used], "o", color=_BLUE, markerfacecolor="white", markersize=5)
    axes.plot(at[used], centre[used], "D", color=_ORANGE, markersize=6)


def _legend(figure: Figure, axes: Axes) -> None:
    axes.plot([], [], "D", color=_ORANGE, label="used: certain to exceed a tolerance (grey)")
    axes.plot([], [], "o-", color=_BLUE, markerfacecolor="white", label="not shown to be used")
    axes.plot([], [], color="black", label="AUC of the model for its label")
    axes.plot([], [], ":", color=_GREEN, label="largest |WSC|, as published")
    legend(figure, axes)
