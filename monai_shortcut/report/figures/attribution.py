# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of where a network looks, drawn from the record alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from monai_shortcut.attribution.record import Attribution, Explained, MaskedPanel, Plane
from monai_shortcut.report.attribution import told, told_name
from monai_shortcut.report.figures.style import NULL, WIDTH, legend, series, styled
from monai_shortcut.report.figures.style import told as told_numbers
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


@styled
def shares(found: Attribution) -> Figure:
    """Share of each part in the absolute attribution, by method, with the part's share of the pixels as a bar."""
    figure = Figure(figsize=(WIDTH, 1.9 + 0.75 * len(found.methods)), layout="constrained")
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
    axes.set_yticks(range(len(found.methods)), [_titled(one, 22) for one in found.methods])
    legend(figure, axes)
    first = found.methods[0].labels[0].parts
    figure.set_label(told_numbers(f"{told(found.methods[0])}, share", [(part.part, part.share) for part in first]))
    return figure


@styled
def curves(found: Attribution) -> Figure:
    """The answer while the foremost pixels are hidden (solid) and shown (dashed), a panel for each method."""
    checked = [one for one in found.methods if one.checks is not None and one.checks.deletion]
    columns = min(2, len(checked))
    rows = -(-len(checked) // columns)
    figure = Figure(figsize=(WIDTH, 2.3 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(checked) :]:
        axes.set_axis_off()
    for axes, one in zip(grid.flat, checked, strict=False):
        assert one.checks is not None
        share = np.linspace(0, 1, len(one.checks.deletion))
        axes.plot(share, one.checks.deletion, "o-", color=series(0), markersize=3, label="hidden first")
        axes.plot(share, one.checks.insertion, "s--", color=series(1), markersize=3, label="shown first")
        axes.set_title(_titled(one, 24))
    legend(figure, grid[0, 0])
    for axes in grid[:, 0]:
        axes.set_ylabel("answer, 1: whole image")
    grid[-1, 0].set_xlabel("share of the pixels, largest attribution first", loc="left")
    return figure


@styled
def panels(found: Attribution) -> Figure:
    """Images chosen by rule: each, and the map of every method over it, with region and ring."""
    names = list(dict.fromkeys(name for panel in found.panels for name in panel.maps))
    columns = min(1 + len(names), 3)
    figure, lines = _grid(len(found.panels), 1 + len(names), columns, WIDTH / columns + 0.75)
    for line, panel in zip(lines, found.panels, strict=True):
        line[0].imshow(panel.image.array, cmap="gray", vmin=0, vmax=255)
        _outline(line[0], panel.parts)
        _say(line[0], f"{panel.label}, {panel.rule}", f"{panel.image_id}: {panel.outside:.0%} outside", columns=columns)
        for axes, name in zip(line[1:], names, strict=True):
            if name in panel.maps:
                _over(axes, panel.image, panel.maps[name], panel.parts)
                _say(axes, told_name(name), f"{panel.shares[name][-1]:.0%} outside", columns=columns)
    if names:
        _scale(figure, [axes for line in lines for axes in line])
    return figure


@styled
def masked_panels(found: Sequence[MaskedPanel]) -> Figure:
    """An image of each label under every strategy: what the network saw, and the map over it."""
    strategies = list(dict.fromkeys(view.strategy for panel in found for view in panel.views))
    figure, lines = _grid(len(found), 2 * len(strategies), 4, WIDTH / 4 + 0.55)
    for line, panel in zip(lines, found, strict=True):
        for index, strategy in enumerate(strategies):
            view = panel.view(strategy)
            if view is None:
                continue
            seen, over = line[2 * index : 2 * index + 2]
            seen.imshow(view.image.array, cmap="gray", vmin=0, vmax=255)
            _outline(seen, panel.parts)
            _over(over, view.image, view.map, panel.parts)
            about = [f"{panel.label}: {panel.image_id}"] if index == 0 else []
            _say(seen, *about, words(strategy), columns=4)
            _say(over, "nothing decides" if view.outside is None else f"{view.outside:.0%} outside", columns=4)
    _scale(figure, [axes for line in lines for axes in line])
    return figure


def _grid(count: int, pictures: int, columns: int, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure, and for each of so many things the places of its pictures; each begins on a new row."""
    rows = -(-pictures // columns)
    figure = Figure(figsize=(WIDTH, height * rows * count + 0.8), layout="constrained")
    places = figure.subplots(rows * count, columns, squeeze=False).reshape(count, rows * columns)
    for axes in places.flat:
        axes.set_axis_off()
    for axes in places[:, pictures:].flat:
        axes.remove()
    return figure, places[:, :pictures].tolist()


def _say(axes: Axes, *lines: str, columns: int) -> None:
    """A title that fits in one of so many columns."""
    axes.set_title("\n".join(fill(line, 54 // columns) for line in lines))


def _over(axes: Axes, image: Plane, found: Plane, parts: Plane) -> None:
    """A map over its image."""
    axes.imshow(image.array, cmap="gray", vmin=0, vmax=255)
    strength = found.array / 255
    axes.imshow(strength, cmap=_MAP, vmin=0, vmax=1, alpha=np.clip(0.35 + strength, 0, 1))
    _outline(axes, parts)


def _scale(figure: Figure, places: Sequence[Axes]) -> None:
    """The legend of the maps."""
    scale = ScalarMappable(Normalize(0, 1), _MAP)
    bar = figure.colorbar(scale, ax=places, location="bottom", shrink=0.6, aspect=30, pad=0.01)
    bar.set_label("absolute attribution of a pixel,\n1 the largest of its map:\nbright decides, dark does not")


def _outline(axes: Axes, regions: Plane) -> None:
    """Region solid and ring dotted, white on black, so that they show on any ground."""
    parts = regions.array.astype(np.float64)
    for level, style in ((0.5, "solid"), (1.5, "dotted")):
        inside = parts < level
        if inside.any() and not inside.all():
            axes.contour(inside, levels=[0.5], colors="black", linewidths=2.2)
            axes.contour(inside, levels=[0.5], colors="white", linewidths=1.0, linestyles=style)


def _titled(one: Explained, width: int) -> str:
    passed = "" if one.checks is None or one.checks.passed else "\nfailed a check"
    return fill(told(one), width) + passed
