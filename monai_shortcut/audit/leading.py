# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is told of an attribute first: its leading difference, the least use noticed, what a verdict leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from monai_shortcut.analyses.differences import MEANS, ODDS, PREDICTION, Difference, Differences
from monai_shortcut.audit.former import PREDICTION_GAP
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED, UNUSED, Audit, Evidence, Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.types import Estimate

_LARGEST = 50.0  # logarithm of a ratio of odds, beyond which it is printed as that


@dataclass(frozen=True)
class Told:
    """The number that speaks for an attribute.

    Attributes:
        value: the number with its limits; of odds, their ratio.
        where: scale, label and levels, "decision, malignant: B against A".
        p_value: of the largest difference, adjusted over the attributes; in part of the images, of this one.
        row: the difference; None where the record holds only a prediction gap.
    """

    value: Estimate
    where: str
    p_value: float | None
    row: Difference | None = None


def told(finding: Finding, audit: Audit) -> Told | None:
    """The leading difference of a finding; in records before version 5 its prediction gap.

    Where the verdict rests on part of the images, it is the leading one of these. Of an attribute that is not used it
    is the leading one at equal levels of others, where these are known. Where answers differ, and none exceeds its
    tolerance for certain, it is the one that shows it most plainly.

    Returns:
        None where answers were not compared.
    """
    shown = finding.evidence
    if shown is None or "differences" in shown.not_computed:
        return None
    if shown.differences is None:
        return Told(shown.gap.effect, PREDICTION_GAP, shown.gap_p_value)
    names, settings = naming(finding, audit), audit.settings
    row, p_value = leading(shown.differences.rows, settings, names), shown.differences_p_value
    differs = p_value is not None and p_value <= settings.significance
    if not (differs and row is not None and exceeds(row, settings, names)):
        rows = shown.differences.rows if finding.verdict == INCONCLUSIVE and differs else judged(shown, settings)
        row, part = (
            (plainest(rows) if differs else leading(rows, settings, names)),
            leading(shown.slices, settings, names),
        )
        row, p_value = (row, p_value) if part is None else (part, part.p_value)
    return None if row is None else Told(as_told(row), where(row, names), p_value, row)


def judged(evidence: Evidence, settings: AuditSettings) -> list[Difference]:
    """The differences of an attribute that is not used: at equal levels of others, where enough patients are left."""
    return at_equal_levels(evidence.differences.rows, evidence.equal, settings) if evidence.differences else []


def at_equal_levels(
    rows: Sequence[Difference], equal: Sequence[Difference], settings: AuditSettings
) -> list[Difference]:
    """Differences over all images (rows), or in their place those at equal levels of others, of enough patients."""
    known = {_place(row): row for row in equal if row.patients >= settings.judged_patients}
    return [known.get(_place(row), row) for row in rows]


def _place(row: Difference) -> tuple[int, int, int, str, int | None]:
    return row.label, row.first, row.second, row.scale, row.outcome


def leading(rows: Sequence[Difference], settings: AuditSettings, names: Names) -> Difference | None:
    """The difference that is certain to exceed its tolerance by the largest factor.

    If none exceeds it for certain: the largest difference in probability, decision or rank between cells with enough
    patients, else between any.
    """
    certain = [row for row in rows if exceeds(row, settings, names)]
    if certain:
        return max(certain, key=lambda row: (1 - tolerated(row, settings, names) / row.certain, row.certain))
    return max(
        rows,
        key=lambda row: (row.scale != ODDS, row.patients >= settings.judged_patients, abs(row.estimate.value)),
        default=None,
    )


def plainest(rows: Sequence[Difference]) -> Difference | None:
    """The difference with the smallest p, of several the one that is largest beside its limits."""
    return min(rows, key=lambda row: (row.p_value, -abs(row.estimate.value) / max(_width(row), 1e-12)), default=None)


def _width(row: Difference) -> float:
    return row.estimate.high - row.estimate.low


def least_noticed(found: Differences, settings: AuditSettings, names: Names) -> dict[str, float]:
    """The smallest use in mean answers that four of five such cohorts would show, by label.

    It is the tolerance and what has to come on top, between the two levels with the most patients.
    """
    best: dict[int, Difference] = {}
    for row in found.rows:
        known = best.get(row.label)
        more = known is None or (row.patients, -row.detectable) > (known.patients, -known.detectable)
        if row.scale in MEANS and more:
            best[row.label] = row
    return {
        names.labels[label]: capped(tolerated(row, settings, names) + row.detectable, row.scale)
        for label, row in sorted(best.items())
    }


def capped(size: float, scale: str) -> float:
    """The size of a difference; of probabilities at most 1."""
    return size if scale == PREDICTION else min(size, 1.0)


def exceptions(finding: Finding, audit: Audit) -> list[str]:
    """Cells with too few patients for "not used" to speak of them, in words; none of other verdicts."""
    found = finding.evidence and finding.evidence.differences
    if not found or finding.verdict not in (NOT_USED, UNUSED):
        return []
    return too_small(found, audit.settings, naming(finding, audit))


def too_small(found: Differences, settings: AuditSettings, names: Names) -> list[str]:
    """Cells with fewer patients than are judged, in words; labels without a patient are left out."""
    return [
        f"{names.labels[label]} at {names.levels[level]} ({count} patients)"
        for label, counts in enumerate(found.patients)
        for level, count in enumerate(counts)
        if count < settings.judged_patients and any(counts)
    ]


def together(findings: Sequence[Finding]) -> list[list[tuple[str, Finding]]]:
    """The findings with their names; those that share a verdict, because nothing tells them apart, are one.

    Returns:
        Groups of findings, named "scanner" and "or site"; a name that shares the verdict of the first and has another
        verdict itself is added to the first: "scanner or site".
    """
    groups: dict[frozenset[str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault(frozenset((finding.attribute, *finding.shared_with)), []).append(finding)
    return [_named(group) for group in groups.values()]


def _named(group: Sequence[Finding]) -> list[tuple[str, Finding]]:
    first, members = group[0], [finding.attribute for finding in group]
    further = [name for name in first.shared_with if name not in members]
    lines = [" or ".join([first.attribute, *further]), *(f"or {name}" for name in members[1:])]
    return list(zip(lines, group, strict=True))


def naming(finding: Finding, audit: Audit) -> Names:
    """What labels and levels of a finding are called."""
    levels = {other.attribute: tuple(other.levels) for other in audit.findings}
    return Names(tuple(audit.label_names), tuple(finding.levels), levels, audit.unit)


def exceeds(row: Difference, settings: AuditSettings, names: Names) -> bool:
    """Whether a difference is certain to exceed its tolerance."""
    return row.certain > tolerated(row, settings, names)


def tolerated(row: Difference, settings: AuditSettings, names: Names) -> float:
    """The tolerance of a difference, in its unit; of odds the logarithm of the ratio."""
    return settings.tolerated(names.labels[row.label], row.scale)


def as_told(row: Difference) -> Estimate:
    """A difference as people read it: odds as a ratio."""
    if row.scale != ODDS:
        return row.estimate
    return Estimate(
        *(math.exp(min(end, _LARGEST)) for end in (row.estimate.value, row.estimate.low, row.estimate.high))
    )


def size(row: Difference) -> Estimate:
    """A difference without its sign, and its limits.

    Example:
        >>> size(Difference(0, 0, 1, "rank", Estimate(-0.25, -0.5, 0.125), 0.0, 0.5, 0.25, 40, 0.5))
        Estimate(value=0.25, low=0.0, high=0.5)
    """
    return without_sign(row.estimate)


def without_sign(found: Estimate) -> Estimate:
    """A number without its sign, and the limits of that."""
    return Estimate(abs(found.value), max(found.low, -found.high, 0.0), max(found.high, -found.low))


def where(row: Difference, names: Names) -> str:
    """Scale, label and levels of a difference."""
    of = "" if row.outcome is None else f" of {names.labels[row.outcome]}"
    unit = f" in {names.unit}" if names.unit and row.scale == PREDICTION else ""
    return f"{row.scale}{unit}{of}, {names.labels[row.label]}: {between(row, names)}"


def between(row: Difference, names: Names) -> str:
    """The levels of a difference, "B against A", and the part of the images."""
    part = f" where {row.within[0]} is {names.others[row.within[0]][row.within[1]]}" if row.within else ""
    return f"{names.levels[row.second]} against {names.levels[row.first]}{part}"
