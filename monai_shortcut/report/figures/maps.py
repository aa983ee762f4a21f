# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of how embeddings move under masking: cosines, and maps with what lies along each side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from monai_shortcut.analyses.embedding_maps import EmbeddingMaps, StrategyMap
from monai_shortcut.analyses.embedding_moves import ALL, ANOTHER, EmbeddingMoves
from monai_shortcut.report.embeddings import PUBLISHED
from monai_shortcut.report.figures.style import (
    INK,
    MISSING,
    SERIES,
    WIDTH,
    dashes,
    in_order,
    legend,
    level_marker,
    place_of,
    series,
    styled,
    told,
)
from monai_shortcut.report.wording import words
from monai_shortcut.types import Floats

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_BINS = 30
_LONGEST, _NAMED = 24, 9  # letters of a name, and names, in the legend of a map


def embedding_figures(
    moves: EmbeddingMoves | None,
    maps: EmbeddingMaps | None,
    classes: Sequence[str] = (),
    known: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[tuple[str, Figure]]:
    """The figures of the section on embeddings with their names.

    Args:
        moves: cosines, where there are any.
        maps: maps, where there are any.
        classes: names of the classes, which have their colours in all figures.
        known: levels of attributes in their order.

    Returns:
        (name, figure) pairs: "cosines", and "map_" with its method for each map.
    """
    if moves is not None and moves.cosines:
        yield "cosines", cosines(moves, classes)
    for shown in maps.maps if maps is not None else ():
        assert maps is not None
        yield f"map_{shown.method}", strategy_map(shown, maps, {"label": classes, **(known or {})})


@styled
def cosines(moves: EmbeddingMoves, classes: Sequence[str] = ()) -> Figure:
    """Cosines by strategy and class, plain and centred, with limits; published means beside the plain ones."""
    strategies = list(dict.fromkeys(one.strategy for one in moves.cosines))
    labels = list(dict.fromkeys(one.label for one in moves.cosines))
    size = 0.8 + (0.25 + 0.1 * len(labels)) * len(strategies)
    figure = Figure(figsize=(WIDTH, 2 * size + 0.25 * (len(labels) + len(PUBLISHED))), layout="constrained")
    left, right = figure.subplots(2, 1, sharey=True)
    for one in moves.cosines:
        index = labels.index(one.label)
        row = strategies.index(one.strategy) + (index - (len(labels) - 1) / 2) * 0.6 / len(labels)
        name = one.label if one.strategy == strategies[0] else None
        place = place_of(one.label, classes, labels)
        colour = INK if one.label == ALL else series(place)
        for axes, mean in ((left, one.mean), (right, one.centred)):
            axes.plot([mean.low, mean.high], [row, row], color=colour, linewidth=2)
            axes.plot(mean.value, row, level_marker(place), color=colour, markersize=5, label=name)
    for marker, (name, values) in zip("<>", PUBLISHED.items(), strict=True):
        known = [strategy for strategy in strategies if strategy in values]
        if known:
            places = [strategies.index(strategy) for strategy in known]
            style = {"color": INK, "markerfacecolor": "white", "linestyle": ""}
            left.plot([values[s] for s in known], places, marker, label=f"published, {name}", **style)
    right.axvline(0, color=INK, linewidth=1)
    left.set(xlabel="cosine with the full image's embedding", ylim=(len(strategies) - 0.5, -0.5))
    right.set_xlabel("the same, mean embedding subtracted")
    left.set_yticks(range(len(strategies)), [_named(strategy) for strategy in strategies])
    legend(figure, left)
    whole = [(_named(one.strategy), one.mean) for one in moves.cosines if one.label in (ALL, labels[0])]
    figure.set_label(told("cosine", whole))
    return figure


def _named(strategy: str) -> str:
    return "full, another patient" if strategy == ANOTHER else words(strategy)


@styled
def strategy_map(shown: StrategyMap, maps: EmbeddingMaps, known: Mapping[str, Sequence[str]] | None = None) -> Figure:
    """One map, once for each way to colour it, with a histogram along each side.

    Args:
        shown: the map.
        maps: the maps that it is one of.
        known: classes as "label" and levels of attributes, in their order.
    """
    points, names, images = _flat(shown)
    every = {"strategy": [words(name) for name in names], "label": [maps.labels[image] for image in images]}
    every |= {name: [values[image] for image in images] for name, values in maps.colours.items()}
    orders = {name: in_order(values, (known or {}).get(name, ())) for name, values in every.items()}
    orders["strategy"] = list(dict.fromkeys(every["strategy"]))
    named = [0.19 * min(len(order), _NAMED + 1) for order in orders.values()]
    heights = [2.3 + max(named[at : at + 2]) for at in range(0, len(named), 2)]
    figure = Figure(figsize=(WIDTH, sum(heights) + 0.5), layout="constrained")
    panels: Any = figure.subfigures(len(heights), 2, squeeze=False, height_ratios=heights)
    for panel, (name, values) in zip(panels.flat, every.items(), strict=False):
        _panel(panel, points, name, values, orders[name])
    figure.suptitle(fill(f"{METHODS[shown.method]}: {shown.settings}", 56))
    return figure


def _flat(shown: StrategyMap) -> tuple[Floats, list[str], list[int]]:
    """(m, 2) points of all strategies, their strategies and the numbers of their images."""
    found = [
        (point, name, image)
        for name, points in shown.points.items()
        for image, point in enumerate(points)
        if point is not None
    ]
    points, names, images = zip(*found, strict=True)
    return np.array(points), list(names), list(images)


def _panel(panel: SubFigure, points: Floats, name: str, values: Sequence[str], order: Sequence[str]) -> None:
    grid: Any = panel.subplots(2, 2, width_ratios=[4, 1], height_ratios=[1, 4], gridspec_kw={"wspace": 0, "hspace": 0})
    (top, corner), (axes, side) = grid
    corner.set_axis_off()
    ranges = [_range(column) for column in points.T]
    for index, value in enumerate(order):
        chosen = points[np.array([item == value for item in values])]
        colour, again = series(index) if value else MISSING, index // len(SERIES)  # how often the colours are used up
        style = {
            "color": colour,
            "marker": level_marker(index + again),
            "linewidths": 0,
            "alpha": 0.6,
            "rasterized": True,
        }
        shown = value or "missing or left out"
        shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
        axes.scatter(*chosen.T, s=8, label=shown if index < _NAMED else None, **style)
        steps = {"density": True, "histtype": "step", "color": colour, "linestyle": dashes(index)}
        top.hist(chosen[:, 0], _BINS, range=ranges[0], **steps)
        side.hist(chosen[:, 1], _BINS, range=ranges[1], orientation="horizontal", **steps)
    _bare(top, axes, side, ranges)
    top.set_title(name)
    if len(order) > _NAMED:
        axes.scatter([], [], s=0, label=f"and {len(order) - _NAMED} more")
    axes.legend(markerscale=1.6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), handletextpad=0.1)


def _bare(top: Axes, axes: Axes, side: Axes, ranges: Sequence[tuple[float, float]]) -> None:
    """Coordinates of such a map have no unit."""
    for one in (top, axes, side):
        one.set(xticks=[], yticks=[])
    for edge in (top, side):
        edge.spines[:].set_visible(False)
    axes.set(xlim=ranges[0], ylim=ranges[1])
    top.set_xlim(ranges[0])
    side.set_ylim(ranges[1])


def _range(values: Floats) -> tuple[float, float]:
    """A little more than the values take up, and never nothing."""
    low, high = float(values.min()), float(values.max())
    room = 0.04 * (high - low) or 1.0
    return low - room, high + room
