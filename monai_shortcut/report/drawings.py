# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Figures as the drawings that a page holds and a report keeps as files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
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
_BESIDES = re.compile(r"<defs>\s*<style.*?</style>\s*</defs>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Drawing:
    """A figure that has been drawn.

    Attributes:
        name: of the figure, different for each of a page.
        svg: the file.
        told: the numbers it shows, in words, for who does not see it; "" if a table holds them.
        plate: whether it stays on a light ground in the dark scheme, because points of it are pixels.
    """

    name: str
    svg: str
    told: str = ""
    plate: bool = False

    def inline(self, shows: str) -> Markup:
        """The drawing as a part of a page, in the colours of its scheme.

        Args:
            shows: what it shows.
        """
        text = _BESIDES.sub("", self.svg[self.svg.index("<svg") :])
        text = re.sub(r'\sxmlns(:\w+)?="[^"]*"|\sversion="[^"]*"', "", text).replace("xlink:href", "href")
        text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text, count=1)
        text = _own_names(text, re.sub(r"\W", "-", self.name))
        text = _COLOUR.sub(lambda found: _NAMES[found[0].lower()], text)
        said = escape(f"{shows}: {self.told}" if self.told else shows)
        sort = "drawn plate" if self.plate else "drawn"
        return Markup(f'<div class="{sort}" role="img" aria-label="{said}">{text.strip()}</div>')


def drawn(figures: Iterable[tuple[str, Figure]]) -> dict[str, Drawing]:
    """Figures by their names, drawn; the label of a figure tells its numbers."""
    return {name: drawing(name, figure) for name, figure in figures}


def drawing(name: str, figure: Figure) -> Drawing:
    """A figure, drawn, without the name and version of the program that drew it."""
    buffer = BytesIO()
    with rc_context(_FILE):
        figure.savefig(buffer, format="svg", dpi=144, metadata={"Date": None, "Creator": None})
    told, plate = str(figure.get_label() or ""), bool(figure.findobj(_pixels))
    return Drawing(name, buffer.getvalue().decode("utf-8"), told, plate)


def _pixels(artist: Artist) -> bool:
    return bool(artist.get_rasterized())


def _own_names(text: str, name: str) -> str:
    """Parts of a drawing that others refer to have names that no other drawing of the page has; the rest has none."""
    used = {found[1] or found[2] for found in _LINK.finditer(text)}
    text = _ID.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    return _LINK.sub(lambda found: found[0].replace("#", f"#{name}-"), text)
