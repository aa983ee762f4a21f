# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Differences of the answers, and their tolerances, as the page's tables show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monai_shortcut.analyses.differences import DECISION, ODDS, PREDICTION, PROBABILITY, RANK, SCALES, Difference
from monai_shortcut.audit.leading import as_told, between, exceeds, leading, naming
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.report.wording import limits
from monai_shortcut.types import Estimate, Outcome

Place = tuple[int, int, int, tuple[str, int] | None]  # label, levels, part of the images

COLUMNS = {
    PROBABILITY: "probability",
    DECISION: "decision (share of answers)",
    RANK: "rank (AUC)",
    ODDS: "ratio of the odds",
    PREDICTION: "mean prediction, in the unit of the outcome",
}


@dataclass(frozen=True)
class Cell:
    """A difference on one scale.

    Attributes:
        text: the number with its limits; the class first, if it is one of several whose odds are compared.
        beyond: whether it is certain to exceed its tolerance.
    """

    text: str
    beyond: bool


@dataclass(frozen=True)
class Line:
    """The differences between two levels among images of one label.

    Attributes:
        label: the label.
        levels: "B against A", and the part of the images.
        cells: differences by scale; of odds one for each rare class.
        p_value: the smallest of its scales.
        patients: of the smaller cell.
        few: whether these are too few for "not used" to speak of them.
    """

    label: str
    levels: str
    cells: dict[str, list[Cell]]
    p_value: float
    patients: int
    few: bool


def lines(rows: Sequence[Difference], finding: Finding, audit: Audit) -> list[Line]:
    """One line for each label and pair of levels: that of the leading difference first, then by the largest difference.

    Odds are not counted for the order.
    """
    first = leading(rows, audit.settings, naming(finding, audit))
    groups: dict[Place, list[Difference]] = {}
    for row in rows:
        groups.setdefault(_place(row), []).append(row)

    def order(place: Place) -> tuple[bool, float]:
        sizes = [abs(row.estimate.value) for row in groups[place] if row.scale != ODDS]
        return first is not None and place != _place(first), -max(sizes, default=0.0)

    return [_line(groups[place], finding, audit) for place in sorted(groups, key=order)]


def _place(row: Difference) -> Place:
    return row.label, row.first, row.second, row.within


def shifted(row: Difference | None, told: Estimate) -> str:
    """A difference with its limits; "not measurable" of one that may be any at all."""
    bounded = row is not None and row.scale in (PROBABILITY, DECISION, RANK)
    return "not measurable" if bounded and told.low <= -1 and told.high >= 1 else limits(told)


def _line(rows: Sequence[Difference], finding: Finding, audit: Audit) -> Line:
    names, settings, cells = naming(finding, audit), audit.settings, {}
    for scale in COLUMNS:
        own = [row for row in rows if row.scale == scale]
        cells[scale] = [
            Cell(
                ("" if row.outcome is None else f"{names.labels[row.outcome]}: ") + shifted(row, as_told(row)),
                exceeds(row, settings, names),
            )
            for row in own
        ]
    one = rows[0]
    return Line(
        label=names.labels[one.label],
        levels=between(one, names),
        cells=cells,
        p_value=min(row.p_value for row in rows),
        patients=one.patients,
        few=one.patients < settings.judged_patients,
    )


def beside(row: Difference, finding: Finding) -> dict[str, Difference]:
    """The differences in mean answer and decision beside another one; at equal levels, if that is one there."""
    shown = finding.evidence
    assert shown is not None
    assert shown.differences is not None
    among = shown.equal if row in shown.equal else (*shown.differences.rows, *shown.slices)
    same = [other for other in among if _place(other) == _place(row)]
    return {other.scale: other for other in same if other.scale in (PROBABILITY, DECISION, PREDICTION)}


def scales(found: Sequence[Line]) -> dict[str, str]:
    """The scales that occur, with the heads of their columns."""
    return {scale: head for scale, head in COLUMNS.items() if any(line.cells[scale] for line in found)}


def tolerances(settings: AuditSettings, labels: Sequence[str], unit: str | None = None) -> dict[str, str]:
    """The tolerances in words with their units, by the labels that have them; of a regression its one tolerance."""
    if unit is not None:
        return {"all strata": Outcome("", unit).of(f"{settings.tolerated('', PREDICTION):g}")}
    by_words: dict[str, list[str]] = {}
    for label in labels:
        by_words.setdefault(_in_words(settings, label), []).append(label)
    if len(by_words) == 1:
        return {"all labels": next(iter(by_words))}
    return {", ".join(those): words for words, those in by_words.items()}


def _in_words(settings: AuditSettings, label: str) -> str:
    own = {scale: settings.tolerated(label, scale) for scale in SCALES}
    return (
        f"{100 * own[PROBABILITY]:g} points of probability, {100 * own[DECISION]:g} points of the answers, "
        f"{own[RANK]:g} of the AUC that a label has at one level, a ratio of the odds of {math.exp(own[ODDS]):g}"
    )
