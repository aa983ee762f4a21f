# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of where a network looks, drawn from the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from monai_shortcut.attribution.record import Attribution, Explained, MaskedPanel, Plane
from monai_shortcut.report.attribution import told, told_name
from monai_shortcut.report.figures.style import NULL, literal, series
from monai_shortcut.report.wording import words

_MAP = "inferno"  # dark to bright in print without colour, too
_PARTS = ("roi", "ring", "outside")
_MARKERS = ("o", "s", "D")
FIGURES = ("attribution_shares", "attribution_curves", "attribution_panels", "attribution_masked")


def attribution_figures(found: Attribution | None) -> Iterator[tuple[str, Figure]]:
    """(name, figure) pairs with the names of `FIGURES`, where there are any."""
    if found is None or not found.methods:
        return
    yield "attribution_shares", shares(found)
    if any(one.checks is not None and one.checks.deletion for one in found.methods):
        yield "attribution_curves", curves(found)
    if found.panels:
        yield "attribution_panels", panels(found)
    if found.masked:
        yield "attribution_masked", masked_panels(found.masked)


@literal
def shares(found: Attribution) -> Figure:
    """Share of each part in the absolute attribution, by method, with the part's share of the pixels as a bar."""
    figure = Figure(figsize=(9, 1.3 + 0.55 * len(found.methods)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(found.methods):
        for index, part in enumerate(one.labels[0].parts):
            place = row + (index - 1) * 0.22
            axes.barh(place, part.area.value, height=0.2, color=NULL, zorder=0)
            axes.plot([part.share.low, part.share.high], [place, place], color=series(index), linewidth=2)
            axes.plot(part.share.value, place, _MARKERS[index], color=series(index))
    for index, name in enumerate(_PARTS):
        axes.plot([], [], _MARKERS[index], color=series(index), label=f"share of the attribution, {name}")
    axes.barh([0], [0], color=NULL, label="share of the pixels")
    axes.set(xlabel="share", xlim=(0, 1), ylim=(len(found.methods) - 0.5, -0.5))
    axes.set_yticks(range(len(found.methods)), [_titled(one) for one in found.methods], fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@literal
def curves(found: Attribution) -> Figure:
    """The answer while the foremost pixels are hidden (solid) and shown (dashed), a panel for each method."""
    checked = [one for one in found.methods if one.checks is not None and one.checks.deletion]
    columns = min(3, len(checked))
    rows = -(-len(checked) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(checked) :]:
        axes.set_axis_off()
    for axes, one in zip(grid.flat, checked, strict=False):
        assert one.checks is not None
        share = np.linspace(0, 1, len(one.checks.deletion))
        axes.plot(share, one.checks.deletion, "o-", color=series(0), markersize=3, label="hidden first")
        axes.plot(share, one.checks.insertion, "s--", color=series(1), markersize=3, label="shown first")
        axes.set_title(_titled(one), fontsize=8)
    grid[0, 0].legend(frameon=False, fontsize=7)
    figure.supxlabel("share of the pixels, those of largest attribution first", fontsize=9)
    figure.supylabel("answer, 1 of the whole image", fontsize=9)
    return figure


@literal
def panels(found: Attribution) -> Figure:
    """Images chosen by rule, a row each: the image, and the map of each method over it, with region and ring."""
    names = list(dict.fromkeys(name for panel in found.panels for name in panel.maps))
    figure = Figure(figsize=(2.3 * (1 + len(names)) + 0.6, 2.5 * len(found.panels)), layout="constrained")
    grid = figure.subplots(len(found.panels), 1 + len(names), squeeze=False)
    for line, panel in zip(grid, found.panels, strict=True):
        for axes in line:
            axes.set_axis_off()
        line[0].imshow(panel.image.array, cmap="gray", vmin=0, vmax=255)
        _outline(line[0], panel.parts)
        line[0].set_title(f"{panel.label}, {panel.rule}\n{panel.image_id}: {panel.outside:.0%} outside", fontsize=7)
        for axes, name in zip(line[1:], names, strict=True):
            if name in panel.maps:
                _over(axes, panel.image, panel.maps[name], panel.parts)
                axes.set_title(f"{told_name(name)}\n{panel.shares[name][-1]:.0%} outside", fontsize=7)
    if names:
        _scale(figure, grid)
    return figure


@literal
def masked_panels(found: Sequence[MaskedPanel]) -> Figure:
    """An image of each label under every strategy, a row each: what the network saw, and the map over it."""
    strategies = list(dict.fromkeys(view.strategy for panel in found for view in panel.views))
    figure = Figure(figsize=(4.2 * len(found) + 0.6, 2.1 * len(strategies) + 0.8), layout="constrained")
    grid = figure.subplots(len(strategies), 2 * len(found), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for column, panel in enumerate(found):
        for line, strategy in zip(grid[:, 2 * column : 2 * column + 2], strategies, strict=True):
            view = panel.view(strategy)
            if view is None:
                continue
            line[0].imshow(view.image.array, cmap="gray", vmin=0, vmax=255)
            _outline(line[0], panel.parts)
            _over(line[1], view.image, view.map, panel.parts)
            line[0].set_title(words(strategy), fontsize=8)
            line[1].set_title("nothing decides" if view.outside is None else f"{view.outside:.0%} outside", fontsize=8)
        first = grid[0, 2 * column]
        first.set_title(f"{panel.label}: {panel.image_id}\n{first.get_title()}", fontsize=8)
    _scale(figure, grid)
    return figure


def _over(axes: Axes, image: Plane, found: Plane, parts: Plane) -> None:
    """A map over its image."""
    axes.imshow(image.array, cmap="gray", vmin=0, vmax=255)
    strength = found.array / 255
    axes.imshow(strength, cmap=_MAP, vmin=0, vmax=1, alpha=np.clip(0.35 + strength, 0, 1))
    _outline(axes, parts)


def _scale(figure: Figure, grid: Any) -> None:
    """The legend of the maps."""
    scale = ScalarMappable(Normalize(0, 1), _MAP)
    bar = figure.colorbar(scale, ax=grid, location="bottom", shrink=0.4, aspect=40, pad=0.01)
    bar.set_label(
        "absolute attribution of a pixel, 1 the largest of its map:\nbright decides, dark does not", fontsize=8
    )


def _outline(axes: Axes, regions: Plane) -> None:
    """Region solid and ring dotted, white on black, so that they show on any ground."""
    parts = regions.array.astype(np.float64)
    for level, style in ((0.5, "solid"), (1.5, "dotted")):
        inside = parts < level
        if inside.any() and not inside.all():
            axes.contour(inside, levels=[0.5], colors="black", linewidths=2.2)
            axes.contour(inside, levels=[0.5], colors="white", linewidths=1.0, linestyles=style)


def _titled(one: Explained) -> str:
    passed = "" if one.checks is None or one.checks.passed else "\nfailed a check"
    return told(one) + passed
