# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How figures and pages look: colours, markers, and names as they are written.

References:
    Okabe and Ito (2008), Color Universal Design: colours that colour-blind readers tell apart.
"""

from __future__ import annotations

from matplotlib import rc_context

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED

VERDICTS = {
    USED: "#D55E00",
    NOT_USED: "#0072B2",
    NOT_ENCODED: "#009E73",
    UNUSED: "#8055A0",
    INCONCLUSIVE: "#777777",
}
RULINGS = {
    "repaired": "#009E73",
    "reduced": "#0072B2",
    "no change": "#555555",
    "worse": "#D55E00",
    "cannot tell": "#777777",
}
ANSWERS = {"yes": "#D55E00", "no": "#0072B2", "inconclusive": "#777777"}
MARKERS = {USED: "D", NOT_USED: "o", NOT_ENCODED: "s", UNUSED: "P", INCONCLUSIVE: "X"}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
INK = "#333333"
TOLERANCE, NULL, MISSING, GUIDE = "#DDDDDD", "#BBBBBB", "#CCCCCC", "#999999"

literal = rc_context({"text.parse_math": False})  # decorates what draws names: a dollar sign is a dollar sign


def series(index: int) -> str:
    """Colour of the i-th line of a figure; after the last colour, the first again."""
    return SERIES[index % len(SERIES)]


def level_marker(index: int) -> str:
    """Marker of the i-th level of an attribute; after the last marker, the first again."""
    return "osD^vP*X"[index % 8]
