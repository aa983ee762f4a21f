# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Figures as the drawings that a page holds and a report keeps as files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from monai_shortcut.report.figures.style import DARK

_FILE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "monai_shortcut",
}  # text stays text; names do not change by chance
_ID, _LINK = re.compile(r'\sid="([^"]*)"'), re.compile(r'href="#([^"]*)"|url\(#([^)]*)\)')
_COLOUR = re.compile("#(?:" + "|".join(name[1:] for name in DARK) + r")\b", re.I)
_NAMES = {name.lower(): f"var(--c{name[1:].lower()})" for name in DARK}
_THIN = 0.7  # inches of what belongs to the panel below it, such as a curve along its side
_COLORBAR = "<colorbar>"  # how Matplotlib names its axes
_BESIDES = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Drawing:
    """A figure that has been drawn.

    Attributes:
        name: of the figure, different for each of a page.
        svg: the file.
        told: the numbers it shows, in words, for who does not see it; "" if a table holds them.
        plate: whether it stays on a light ground in the dark scheme, because points of it are pixels.
        cuts: where it can be cut between rows of panels, as shares of its height from above; a wide page shows the
            rows side by side.
    """

    name: str
    svg: str
    told: str = ""
    plate: bool = False
    cuts: tuple[float, ...] = ()

    def inline(self, shows: str) -> Markup:
        """The drawing as a part of a page, in the colours of its scheme.

        Args:
            shows: what it shows.
        """
        text = _BESIDES.sub("", self.svg[self.svg.index("<svg") :])
        text = re.sub(r'\sxmlns(:\w+)?="[^"]*"|\sversion="[^"]*"', "", text).replace("xlink:href", "href")
        name = re.sub(r"\W", "-", self.name)
        text = self._in_rows(_COLOUR.sub(lambda found: _NAMES[found[0].lower()], _own_names(text, name)), name)
        said = escape(f"{shows}: {self.told}" if self.told else shows)
        sort = "drawn plate" if self.plate else "drawn"
        return Markup(f'<div class="{sort}" role="img" aria-label="{said}">{text}</div>')

    def _in_rows(self, text: str, name: str) -> str:
        """A window onto the drawing for each of its rows; the first holds the drawing, the others refer to it."""
        opened = re.search(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', text)
        if opened is None:
            return text.strip()
        left, top, width, height = map(float, opened[1].split())
        first, *others = (
            f'<svg viewBox="{left:g} {top + begin * height:g} {width:g} {(end - begin) * height:g}" aria-hidden="true">'
            for begin, end in pairwise((0.0, *self.cuts, 1.0))
        )
        whole = text[opened.end() :].strip().removesuffix("</svg>")
        if not others:
            return f"{first}{whole}</svg>"
        again = "".join(f'{other}<use href="#{name}-whole"/></svg>' for other in others)
        return f'{first}<g id="{name}-whole">{whole}</g></svg>{again}'


def drawn(figures: Iterable[tuple[str, Figure]]) -> dict[str, Drawing]:
    """Figures by their names, drawn; the label of a figure tells its numbers."""
    return {name: drawing(name, figure) for name, figure in figures}


def drawing(name: str, figure: Figure) -> Drawing:
    """A figure, drawn, without the name and version of the program that drew it."""
    buffer = BytesIO()
    with rc_context(_FILE):
        figure.savefig(buffer, format="svg", dpi=144, metadata={"Date": None, "Creator": None})
    told, plate = str(figure.get_label() or ""), bool(figure.findobj(_pixels))
    return Drawing(name, buffer.getvalue().decode("utf-8"), told, plate, _cuts(figure))


def _cuts(figure: Figure) -> tuple[float, ...]:
    """The middles between rows of panels; what belongs to no panel, such as a legend, stays with the row above it."""
    visible = [axes for axes in figure.axes if axes.get_visible()]
    panels = [axes for axes in visible if axes.get_label() != _COLORBAR]
    if len(panels) < 2:
        return ()
    spans = sorted(_span(axes, figure) for axes in panels)
    parts = (figure, *figure.subfigs)
    others = [one for part in parts for one in (*part.legends, *part.texts)]
    for begin, end in (_span(one, figure) for one in (*others, *(axes for axes in visible if axes not in panels))):
        at = max((place for place, (first, _) in enumerate(spans) if first <= begin), default=0)
        spans[at] = min(spans[at][0], begin), max(spans[at][1], end)
    rows = sorted(spans)[:1]
    for begin, end in sorted(spans)[1:]:
        thin = (rows[-1][1] - rows[-1][0]) * figure.get_figheight() < _THIN
        if thin or begin < rows[-1][1]:
            rows[-1] = rows[-1][0], max(rows[-1][1], end)
        else:
            rows.append((begin, end))
    return tuple((above + below) / 2 for (_, above), (below, _) in pairwise(rows))


def _span(artist: Artist, figure: Figure) -> tuple[float, float]:
    """Where an artist begins and ends, as shares of the height of its figure from above."""
    box, height = artist.get_tightbbox(), figure.bbox.height
    return (0.0, 0.0) if box is None else (1 - box.y1 / height, 1 - box.y0 / height)


def _pixels(artist: Artist) -> bool:
    return bool(artist.get_rasterized())


def _own_names(text: str, name: str) -> str:
    """Parts of a drawing that others refer to have names that no other drawing of the page has; the rest has none."""
    used = {found[1] or found[2] for found in _LINK.finditer(text)}
    text = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    return _LINK.sub(lambda found: found[0].replace("#", f"#{name}-"), text)
