# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The rule that says what became of an attribute between two audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monai_shortcut.analyses.changes import Change
from monai_shortcut.analyses.differences import RANK
from monai_shortcut.audit.leading import exceeds, naming
from monai_shortcut.audit.record import NOT_ENCODED, NOT_USED, UNUSED, USED, Audit, Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.types import with_limits

REPAIRED = "repaired"
REDUCED = "reduced"
NO_CHANGE = "no change"
WORSE = "worse"
CANNOT_TELL = "cannot tell"
RULINGS = (REPAIRED, REDUCED, NO_CHANGE, WORSE, CANNOT_TELL)
_LEAST = 0.01  # of an area under the ROC curve, by which a ranking is another
_TENTH = 0.1  # of a difference: probabilities rounded to 0 and 1 have tied ranks, which a temperature unties
CLEARED = (NOT_USED, NOT_ENCODED, UNUSED)
_WORDS = {
    "probability": "the probability that moves",
    "decision": "the share of answers that moves",
    "rank": "the difference of AUC",
}


@dataclass(frozen=True)
class Ruling:
    """What became of an attribute.

    Attributes:
        verdict: "repaired", "reduced", "no change", "worse" or "cannot tell".
        reason: why, with its numbers.
        leading: the change that is told first; None if nothing was compared.
    """

    verdict: str
    reason: str
    leading: Change | None


def rule(
    before: Finding,
    after: Finding,
    rows: Sequence[Change],
    p_value: float,
    settings: AuditSettings,
    audit: Audit,
) -> Ruling:
    """Say what became of an attribute, which is the first of these that holds.

    *Worse*: a difference is certain to have grown, and is now beyond its tolerance.
    *Repaired*: the attribute was used, and is cleared now: of these patients too, the audit says that no difference
    reaches its tolerance. And a difference that was certain to exceed its tolerance is certain to have shrunk.
    *Reduced*: the attribute was used, and such a difference is certain to have shrunk, in the ranking of the images
    too: a temperature moves probabilities alone.
    *No change*: it is cleared before and after; or no change of a label and two levels with enough patients possibly
    reaches its tolerance.
    *Cannot tell*: anything else.

    Args:
        before: the finding of the first audit.
        after: that of the second.
        rows: how the differences changed.
        p_value: of the largest change, adjusted over the attributes.
        settings: what counts.
        audit: the second audit, for the names of labels and levels.
    """
    chosen = _Rows(before, rows, settings, audit)
    moved, cleared = p_value <= settings.significance, after.verdict in CLEARED
    grown = [row for row in rows if row.grows and abs(row.after.value) > chosen.tolerance(row)]
    if moved and grown:
        return chosen.ruling(WORSE, grown, "It has grown")
    shrunk = [row for row in chosen.exceeded if row.shrinks] if moved else []
    if before.verdict == USED and shrunk:
        if cleared:
            return chosen.ruling(REPAIRED, shrunk, "It was used, and is within the tolerances now")
        if lower := [row for row in shrunk if chosen.lower_rank(row)]:
            return chosen.ruling(REDUCED, lower, "It is less, but not shown to be within the tolerances")
        return chosen.ruling(CANNOT_TELL, shrunk, "Probabilities lie closer together, but the ranking shows no less")
    if before.verdict in CLEARED and cleared:
        return chosen.ruling(NO_CHANGE, rows, "It was not used, and is not")
    judged = [row for row in rows if row.patients >= settings.judged_patients]
    if judged and all(row.possible < chosen.tolerance(row) for row in judged):
        return chosen.ruling(NO_CHANGE, judged, "No difference has changed by as much as its tolerance")
    return chosen.ruling(CANNOT_TELL, rows, "The patients are too few to say, or the change too near a tolerance")


class _Rows:
    """Changes of an attribute, beside what the first audit said of it."""

    def __init__(self, before: Finding, rows: Sequence[Change], settings: AuditSettings, audit: Audit) -> None:
        self.rows, self.settings, self.names = rows, settings, naming(before, audit)
        found = before.evidence
        known = [*found.differences.rows, *found.slices] if found and found.differences else []
        beyond = {_place(row) for row in known if exceeds(row, settings, self.names)}
        self.exceeded = [row for row in rows if _place(row) in beyond]

    def tolerance(self, row: Change) -> float:
        return self.settings.tolerated(self.names.labels[row.label], row.scale)

    def lower_rank(self, row: Change) -> bool:
        """Whether the difference in rank at the same place is smaller, by more than rounding and a tenth of it."""
        where = _place(row)[:-2], row.within
        same = [one for one in self.rows if one.scale == RANK and (_place(one)[:-2], one.within) == where]
        return any(one.size.value < -max(_LEAST, _TENTH * abs(one.before.value)) for one in same)

    def ruling(self, verdict: str, rows: Sequence[Change], said: str) -> Ruling:
        """A verdict with the change that says most: what exceeded its tolerance before, by the largest factor."""

        def order(row: Change) -> tuple[bool, float]:
            told = row.after if verdict == WORSE else row.before
            return row in self.exceeded, abs(told.value) / max(self.tolerance(row), 1e-9)

        return Ruling(verdict, f"{said}: {self._said(leading := max(rows, key=order))}", leading)

    def _said(self, row: Change) -> str:
        levels = f"{self.names.levels[row.second]} against {self.names.levels[row.first]}"
        if row.within:
            levels += f", where {row.within[0]} is {self.names.others[row.within[0]][row.within[1]]}"
        where = f"{_WORDS[row.scale]} among images of {self.names.labels[row.label]}, {levels}"
        ends = f"was {with_limits(row.before)} and is {with_limits(row.after)}"
        return f"{where}, {ends}; its size changes by {with_limits(row.size)}."


def _place(row: object) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in ("label", "first", "second", "scale", "within"))
