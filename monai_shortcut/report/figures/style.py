# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How figures and pages look: sizes, colours of both schemes, markers.

Figures are drawn once, for a telephone: `WIDTH` fills its screen with text of 11 pixels, and a page never shows them
wider than is good to read. Colours of a row differ in lightness, so that they are told apart in grey too.

References:
    Okabe and Ito (2008), Color Universal Design: hues that colour-blind readers tell apart.
    WCAG 2.2, 1.4.3 and 1.4.11: contrast of 4.5 for text and 3 for graphics.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED
from monai_shortcut.types import Estimate, with_limits

_RED, _BLUE, _GREEN, _GREY = "#B54708", "#0068A3", "#00734F", "#5F5F5F"
VERDICTS = {USED: _RED, NOT_USED: _BLUE, NOT_ENCODED: _GREEN, UNUSED: "#70479A", INCONCLUSIVE: _GREY}
RULINGS = {"repaired": _GREEN, "reduced": _BLUE, "no change": "#555555", "worse": _RED, "cannot tell": _GREY}
ANSWERS = {"yes": _RED, "no": _BLUE, "inconclusive": _GREY}
MARKERS = {USED: "D", NOT_USED: "o", NOT_ENCODED: "s", UNUSED: "P", INCONCLUSIVE: "X"}
SERIES = ("#0072B2", "#E0662A", "#00543C", "#3A1A63", "#C04C8F", "#7A4B00", "#3E8FC4", "#111111")
# The same on a dark ground.
_BRIGHT = ("#4AA3E0", "#FFB37A", "#12906A", "#E4CCFF", "#F08CC4", "#C79A55", "#9AD0F5", "#F2F2F2")
INK, PAPER = "#333333", "#FFFFFF"
TOLERANCE, NULL, MISSING, GUIDE = "#DDDDDD", "#BBBBBB", "#8A8A8A", "#767676"
ON_DARK, ON_LIGHT = "#FEFEFE", "#010101"  # text within a picture that is the same in both schemes
DARK = {
    **dict(zip(SERIES, _BRIGHT, strict=True)),
    **{_RED: "#FF9A57", _BLUE: "#6CB8F0", _GREEN: "#4CC79A", _GREY: "#ABABAB", "#70479A": "#C3A1EA"},
    **{INK: "#E4E4E8", PAPER: "#17181B", "#000000": "#F4F4F6", "#555555": "#B5B5B5"},
    **{TOLERANCE: "#3D4047", NULL: "#6B6E76", MISSING: "#909090", GUIDE: "#9A9A9A"},
}
_LETTERS = 40  # in a line below axes of the whole width
WIDTH = 4.6  # inches of every figure: 331 points
_LOOK: Any = {
    "text.parse_math": False,  # figures draw names: a dollar sign is a dollar sign
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "legend.fontsize"), 10.0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 10.0),
}
styled = rc_context(_LOOK)  # decorates what draws
_BIN = re.compile(r"(<= |> |)(-?[\d.]+(?:e[+-]?\d+)?)(?: to .*)?")
_DIGITS = re.compile(r"(\d+)")


def series(index: int) -> str:
    """Colour of the i-th line of a figure; after the last colour, the first again."""
    return SERIES[index % len(SERIES)]


def level_marker(index: int) -> str:
    """Marker of the i-th level of an attribute; after the last marker, the first again."""
    return "osD^vP*X"[index % 8]


def place_of(name: str, classes: Sequence[str], seen: Sequence[str] = ()) -> int:
    """Number of a class, which has its colour in all figures; one that is no class comes after them.

    Example:
        >>> place_of("b", ["a", "b"]), place_of("d", ["a", "b"], seen=["c", "d"])
        (1, 3)
    """
    every = list(dict.fromkeys((*classes, *seen, name)))
    return every.index(name)


def dashes(index: int) -> str:
    """How the i-th line of a figure is drawn, beside its colour."""
    return ("-", "--", "-.", ":")[index % 4]


def legend(figure: Figure | SubFigure, axes: Axes, columns: int = 2) -> None:
    """Name what is drawn, below a figure."""
    handles, names = axes.get_legend_handles_labels()
    if names:
        longest = max(map(len, names))
        figure.legend(handles, names, loc="outside lower center", ncols=1 if longest > 26 else columns, frameon=False)


def name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Name the places 0, 1, ... along the horizontal axis; names that would touch each other are turned."""
    places = list(range(len(names)))
    if sum(len(name) + 2 for name in names) <= _LETTERS:
        axes.set_xticks(places, names)
    else:
        axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")


def told(name: str, numbers: Iterable[tuple[str, Estimate | None]]) -> str:
    """Numbers of a figure in words, for who does not see it.

    Example:
        >>> told("AUC", [("full", Estimate(0.8, 0.75, 0.875)), ("masked", None)])
        'AUC full 0.80 (0.75 to 0.88)'
    """
    return f"{name} ".lstrip() + ", ".join(f"{of} {with_limits(value)}" for of, value in numbers if value is not None)


def in_order(values: Iterable[str], known: Sequence[str] = ()) -> list[str]:
    """Distinct names as people expect them: known ones in their order, then numbers and bins, names, the missing one.

    Example:
        >>> in_order(["> 100", "20 to 100", "", "<= 20", "lens 10", "lens 9"])
        ['<= 20', '20 to 100', '> 100', 'lens 9', 'lens 10', '']
        >>> in_order(["a", "b", "c"], known=["b"])
        ['b', 'a', 'c']
    """
    place = {name: index for index, name in enumerate(known)}
    return sorted(set(values), key=lambda name: (name == "", place.get(name, len(place)), *_reading(name)))


def _reading(name: str) -> tuple[int, float, int, list[tuple[bool, int, str]]]:
    """Bins by where they begin, before names, whose numbers count as such."""
    found = _BIN.fullmatch(name)
    if found:
        return 0, float(found[2]), ("<= ", "", "> ").index(found[1]), []
    return 1, 0.0, 0, [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _DIGITS.split(name)]
