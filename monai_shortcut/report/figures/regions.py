# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a region study, drawn from its record alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from monai_shortcut.attribution.record import MaskedPanel
from monai_shortcut.region_study import CurvePoint, RegionStudyRecord
from monai_shortcut.report.figures.attribution import attribution_figures
from monai_shortcut.report.figures.maps import embedding_figures
from monai_shortcut.report.figures.readers import reader_areas
from monai_shortcut.report.figures.style import (
    INK,
    ON_DARK,
    ON_LIGHT,
    WIDTH,
    dashes,
    legend,
    level_marker,
    series,
    styled,
    told,
)
from monai_shortcut.report.wording import number, words
from monai_shortcut.types import Estimate

_DASHES = ("--", "-.", ":")
GROWN = {"all": "all images", "positives": "images of the class only", "negatives": "all other images only"}


def region_figures(record: RegionStudyRecord) -> Iterator[tuple[str, Figure]]:
    """All figures of a region study with their names.

    Args:
        record: the record.

    Returns:
        (name, figure) pairs: "diagonal", "matrix"; "strategies", an image under each, where the study holds one;
        "curves" where margins were studied; "learning" where learning curves were kept; those of `embedding_figures`;
        of each label, with its number from the second on, those of `attribution_figures` of the first model, and
        "readers" where people have read the images.
    """
    yield "diagonal", diagonal(record)
    seen = next((panel for one in record.attribution for panel in one.found.masked), None)
    if seen is not None:
        yield "strategies", strategies_shown(seen)
    yield "matrix", matrix(record)
    if record.curves:
        yield "curves", curves(record)
    if record.learning_curves:
        yield "learning", learning(record)
    yield from embedding_figures(record.moves.get("full"), record.maps, record.labels)
    for place, models in enumerate(record.looked().values()):
        for name, figure in attribution_figures(models[0].found):
            yield numbered(name, place), figure
    for place, study in enumerate(record.readers.values()):
        yield numbered("readers", place), reader_areas(study)


def numbered(name: str, place: int) -> str:
    """Name of a figure of one of several labels.

    Example:
        >>> numbered("readers", 0), numbered("readers", 1)
        ('readers', 'readers_2')
    """
    return f"{name}_{place + 1}" if place else name


def own_area(record: RegionStudyRecord, label: str, strategy: str) -> Estimate | None:
    """The area that the sentences of a label state for models tested as they were trained; None in former records."""
    found = [reading.areas.get(strategy) for reading in record.readings if reading.label == label]
    return found[0] if found else None


@styled
def diagonal(record: RegionStudyRecord) -> Figure:
    """Areas of models tested as they were trained, with intervals, beside what the metadata alone reach."""
    labels, strategies = record.labels, record.strategies
    figure = Figure(figsize=(WIDTH, 1.2 + 0.4 * len(strategies) + 0.45 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for index, label in enumerate(labels):
        colour, offset = series(index), (index - (len(labels) - 1) / 2) * 0.6 / len(labels)
        for row, strategy in enumerate(strategies):
            cell = record.matrix.get(label, strategy, strategy)
            if cell is not None:
                shown = own_area(record, label, strategy) or Estimate(cell.auc, *cell.interval)
                axes.plot([shown.low, shown.high], [row + offset] * 2, color=colour, linewidth=2)
                axes.plot(
                    shown.value, row + offset, level_marker(index), color=colour, label=label if row == 0 else None
                )
        for baseline in (b for b in record.matrix.baselines if b.label == label):
            axes.axvline(
                baseline.auc,
                color=colour,
                linestyle=_DASHES[index % 3],
                linewidth=1.2,
                label=f"{label}: metadata alone",
            )
    axes.axvline(0.5, color=INK, linewidth=1)
    axes.set(xlabel="AUC, trained and tested on it", ylim=(len(strategies) - 0.5, -0.5))
    axes.set_yticks(range(len(strategies)), [words(name) for name in strategies])
    legend(figure, axes)
    numbers = [(f"{one}, {words(name)}", own_area(record, one, name)) for one in labels for name in strategies]
    figure.set_label(told("AUC", numbers))
    return figure


@styled
def strategies_shown(panel: MaskedPanel) -> Figure:
    """One image as models of each strategy are given it."""
    count, columns = len(panel.views), 3
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, WIDTH / columns * 1.15 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in places:
        axes.set_axis_off()
    for axes, view in zip(places, panel.views, strict=False):
        axes.imshow(view.image.array, cmap="gray", vmin=0, vmax=255)
        axes.set_title(words(view.strategy))
    return figure


@styled
def matrix(record: RegionStudyRecord) -> Figure:
    """Area for every strategy trained on (rows) and tested on (columns), one panel per class."""
    labels, strategies = record.labels, record.strategies
    size = 2.0 + 0.3 * len(strategies)
    figure = Figure(figsize=(WIDTH, len(labels) * size), layout="constrained")
    for axes, label in zip(figure.subplots(len(labels), 1, squeeze=False).flat, labels, strict=True):
        _panel(axes, record, label)
        axes.set_ylabel("trained on")
    return figure


def _panel(axes: Axes, record: RegionStudyRecord, label: str) -> None:
    names = [words(name) for name in record.strategies]
    found = [[record.matrix.get(label, t, e) for e in record.strategies] for t in record.strategies]
    areas = np.array([[np.nan if cell is None else cell.auc for cell in row] for row in found])
    axes.imshow(areas, cmap="PuOr", vmin=0, vmax=1, aspect="auto")
    for (row, column), area in np.ndenumerate(areas):
        if np.isfinite(area):
            colour = ON_DARK if abs(area - 0.5) > 0.25 else ON_LIGHT
            axes.text(column, row, number(area), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_title(label)
    axes.set_xlabel("tested on")


@styled
def curves(record: RegionStudyRecord) -> Figure:
    """Area against margin, a panel per class and strategy, a line per model and per choice of whose region grows."""
    panels = list(dict.fromkeys((point.label, point.evaluated_on) for point in record.curves))
    rows = len(panels)
    lines = list(dict.fromkeys((point.trained_on == "full", point.grown) for point in record.curves))
    figure = Figure(figsize=(WIDTH, 2.6 * rows + 0.4 * len(lines)), layout="constrained")
    for axes, (label, strategy) in zip(figure.subplots(rows, 1, squeeze=False, sharey=True).flat, panels, strict=True):
        for index, line in enumerate(lines):
            _band(
                axes,
                [p for p in record.curves if (p.label, p.evaluated_on, *_line(p)) == (label, strategy, *line)],
                index,
            )
        axes.axhline(0.5, color=INK, linewidth=1)
        axes.set_title(f"{label}: {words(strategy)}")
        axes.set(xlabel="margin of the region", ylabel="AUC")
    for index, (full, grown) in enumerate(lines):
        name = f"trained on {'full images' if full else 'what it is tested on'};\ngrown: {GROWN[grown]}"
        figure.axes[0].plot([], [], _style(index), color=series(index), label=name)
    legend(figure, figure.axes[0])
    return figure


def _style(index: int) -> str:
    """Marker and dashes of a line."""
    return f"{level_marker(index)}{dashes(index)}"


def _line(point: CurvePoint) -> tuple[bool, str]:
    return point.trained_on == "full", point.grown


def _band(axes: Axes, points: list[CurvePoint], index: int) -> None:
    line = sorted(points, key=lambda point: point.margin)
    margins, colour = [point.margin for point in line], series(index)
    low, high = ([point.interval[side] for point in line] for side in (0, 1))
    axes.plot(margins, [point.auc for point in line], _style(index), markersize=4, color=colour)
    axes.fill_between(margins, low, high, color=colour, alpha=0.15, linewidth=0)


@styled
def learning(record: RegionStudyRecord) -> Figure:
    """Loss and validation metric by epoch, a line per model."""
    names = list(dict.fromkeys(curve.trained_on for curve in record.learning_curves))
    figure = Figure(figsize=(WIDTH, 4.6 + 0.18 * len(names)), layout="constrained")
    left, right = figure.subplots(2, 1)
    for curve in record.learning_curves:
        index = names.index(curve.trained_on)
        style = {"color": series(index), "linewidth": 1, "linestyle": dashes(index)}
        epochs, losses, metrics = np.array(curve.epochs, dtype=np.float64).T  # None becomes NaN: a gap
        left.plot(epochs, losses, **style)
        right.plot(epochs, metrics, **style)
    for index, name in enumerate(names):
        right.plot([], [], color=series(index), linestyle=dashes(index), label=words(name))
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel="validation metric")
    legend(figure, right)
    return figure
