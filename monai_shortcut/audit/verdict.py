# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The rule that turns evidence into a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from scipy.stats import norm

from monai_shortcut.analyses.differences import MEANS, ODDS, PREDICTION, PROBABILITY, Difference, Differences
from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.audit.leading import capped, exceeds, judged, leading, tolerated, too_small
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED, Evidence, Finding
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.audit.settling import settling, undecided
from monai_shortcut.types import Estimate, plain, with_limits

_NAMED = 4  # exceptions that are spelled out


@dataclass(frozen=True)
class Judgement:
    """A verdict.

    Attributes:
        verdict: "used", "encoded, not used", "not encoded", "not used" or "inconclusive".
        reason: why, in sentences with numbers.
        shared_with: attributes that cannot be told apart from this one, if the verdict is "used".
    """

    verdict: str
    reason: str
    shared_with: tuple[str, ...] = ()


def judge(evidence: Evidence, settings: AuditSettings, names: Names) -> Judgement:
    """Turn the evidence for an attribute into a verdict and its reason.

    *Used*: the largest studentized difference is significant, and some difference is certain to exceed its tolerance.
    *Encoded, not used*: every difference of every label and pair of levels with enough patients stays below its
    tolerance (an intersection of one-sided tests, so that none needs to be adjusted for the others), and answers do not
    scatter more at one level. Attributes that are used or go along are held equal. Smaller cells are named.
    *Not used*: the same where only predicted probabilities are known.
    *Not encoded*: no probe finds a trace, and the intervals of all of them stay below what counts as readable. Anything
    else is inconclusive. An attribute that goes along with others is judged at equal levels of them.

    Args:
        evidence: what was measured.
        settings: what counts.
        names: what labels and levels are called.
    """
    found = evidence.differences
    if found is None or evidence.differences_p_value is None:
        why = evidence.not_computed.get("differences", "answers were not compared")
        return Judgement(INCONCLUSIVE, f"Whether the answers differ with it cannot be told: {why}.")
    differs = evidence.differences_p_value <= settings.significance
    certain = [row for row in found.rows if exceeds(row, settings, names)]
    if differs and certain:
        return _used(evidence, certain, settings, names)
    if evidence.slices:
        said = "Answers do not differ with it over all images, but do in part of them"
        return Judgement(USED, f"{said}: {said_first(evidence.slices, settings, names)}. {_CAUSE}")
    rows = judged(evidence, settings)
    encoding = evidence.encoding
    if encoding is not None and (evidence.encoding_p_value or 0.0) > settings.significance:
        return _unread(encoding, rows, differs, settings, names)
    read = "Whether the model sees it is not known"
    if encoding is not None:
        read = f"The embedding encodes it ({_read(encoding)})"
    cleared, why = without_use(found, evidence.spread_p_value, rows, settings, names)
    return Judgement(_unused(evidence), f"{read}, but {why}") if cleared else Judgement(INCONCLUSIVE, f"{read}; {why}")


def _unused(evidence: Evidence) -> str:
    """The verdict on an attribute that answers do not differ with, although the model may see it."""
    return UNUSED if evidence.encoding is None else NOT_USED


def without_use(
    found: Differences,
    spread_p_value: float | None,
    rows: Sequence[Difference],
    settings: AuditSettings,
    names: Names,
) -> tuple[bool, str]:
    """Whether answers that are not certain to differ can be said not to, and why.

    Args:
        found: the differences over all images.
        spread_p_value: of the scatter of the answers, adjusted over the attributes.
        rows: the differences, at equal levels of others where these are known.
        settings: what counts.
        names: what labels and levels are called.

    Returns:
        True, and the largest difference with the cells that this does not speak of; or False, and what is open.
    """
    doubt = _doubt(found, spread_p_value, rows, settings, names)
    if doubt:
        return False, doubt
    most = said_first(rows, settings, names)
    return True, f"answers differ by less than the tolerances, at most {most}.{_exceptions(found, settings, names)}"


def said_first(rows: Sequence[Difference], settings: AuditSettings, names: Names) -> str:
    """The leading one of at least one difference in words: "probability moves by 0.30 (0.20 to 0.40) among ..."."""
    found = leading(rows, settings, names)
    assert found is not None
    return _said(found, names)


def _read(encoding: Encoding) -> str:
    linear = encoding.anywhere is None or encoding.test.p_value <= encoding.anywhere.p_value
    told = _read_linearly(encoding)
    return told if linear else f"{told}, a probe of one label or a non-linear one reads more"


def _read_linearly(encoding: Encoding) -> str:
    area = with_limits(encoding.own_auroc)
    return f"a linear probe tells its levels apart with AUC {area} among images of one label"


def _unread(
    encoding: Encoding, rows: Sequence[Difference], differs: bool, settings: AuditSettings, names: Names
) -> Judgement:
    """No probe finds a trace."""
    read = _read_by_all(encoding)
    if differs and undecided(rows, settings, names):
        return Judgement(
            INCONCLUSIVE, f"No reader finds a trace ({read}), yet answers differ with it: more images are needed."
        )
    readers = [encoding.own_auroc, *encoding.by_label, encoding.nonlinear]
    if all(_at_most(area, settings) < settings.readable for area in readers if area is not None):
        unread = [names.labels[index] for index, area in enumerate(encoding.by_label) if area is None]
        except_for = (
            f" Within {' and '.join(unread)} there are too few patients to say, or one embedding." if unread else ""
        )
        return Judgement(NOT_ENCODED, f"The embedding holds no readable trace of it: {read}.{except_for}")
    return Judgement(INCONCLUSIVE, f"Too few images to say whether it is encoded: {read}{_widest(encoding, names)}.")


def _widest(encoding: Encoding, names: Names) -> str:
    """The area of the label whose own probe says least, in words."""
    known = [(area.high, names.labels[index], area) for index, area in enumerate(encoding.by_label) if area is not None]
    if not known:
        return ""
    _, label, area = max(known, key=lambda one: one[:2])
    return f", one of {label} alone with {with_limits(area)}"


def _at_most(area: Estimate, settings: AuditSettings) -> float:
    """The limit of an area with one-sided confidence: all readers must stay below, each in a test of its own."""
    two_sided = float(norm.ppf(0.5 + settings.confidence / 2))
    return area.value + (area.high - area.value) * float(norm.ppf(settings.confidence)) / two_sided


def _read_by_all(encoding: Encoding) -> str:
    other = encoding.nonlinear
    return _read_linearly(encoding) + (f", a non-linear one with {with_limits(other)}" if other else "")


def _doubt(
    found: Differences,
    scatter: float | None,
    rows: Sequence[Difference],
    settings: AuditSettings,
    names: Names,
) -> str:
    """Why an attribute whose use is not certain cannot be called unused; empty if it can."""
    if all(row.patients < settings.judged_patients for row in rows):
        return (
            f"no label has two levels of at least {settings.judged_patients} patients each, too few to say that "
            "answers do not differ with it."
        )
    needed = settling(rows, found, settings, names)
    if needed:
        near = _number(needed.row, tolerated(needed.row, settings, names))
        return f"{_said(needed.row, names)}: too uncertain, or too near {near}. {needed.text}."
    small = [
        row
        for row in rows
        if row.patients < settings.judged_patients
        and max(row.estimate.low, -row.estimate.high) > 0
        and abs(row.estimate.value) > tolerated(row, settings, names)
    ]
    if small:
        return f"among few patients answers may differ: {_said(small[0], names)}."
    if found.scattered and scatter is not None and scatter <= settings.significance:
        label, first, second = found.scattered
        return (
            f"answers do not differ in the mean, but among images of {names.labels[label]} they scatter unequally at "
            f"{names.levels[first]} and {names.levels[second]}. Images that vary more look so, and so does a use to "
            "and fro: another attribute on which its direction depends, or images with it swapped, can tell."
        )
    return ""


def _used(evidence: Evidence, certain: list[Difference], settings: AuditSettings, names: Names) -> Judgement:
    """Whether it is this attribute that is used, or another that goes along with it."""
    moved = f"Answers differ with it: {said_first(certain, settings, names)}"
    company = evidence.company
    if company is None:
        return Judgement(USED, f"{moved}.{_closer(certain, names)} {_CAUSE}")
    if company.keeps:
        at = f"also at equal levels of {_listed(company.association)}, which it goes along with"
        return Judgement(USED, f"{moved}, {at}.{_closer(certain, names)} {_CAUSE}")
    if not company.kept:
        others = tuple(company.association)
        return Judgement(
            USED,
            f"{moved}. It cannot be told apart from {_listed(others)}, which goes along with it: one of them is "
            f"used. {_CAUSE}",
            others,
        )
    return _explained(evidence, moved, settings, names)


_CAUSE = (
    "This shows that the answers differ with it, not why: something that goes along with it and is not in the table "
    "looks the same, and so do labels that were recorded otherwise. Only swapping it in the same image tells."
)


def _explained(evidence: Evidence, moved: str, settings: AuditSettings, names: Names) -> Judgement:
    """Others keep their differences at equal levels of this one, and this one does not keep its own."""
    company = evidence.company
    assert company is not None
    rest = company.differences
    kept = _listed(company.kept)
    close = [other for other in company.kept if company.association[other] >= settings.alike]
    judged = [row for row in rest if row.patients >= settings.judged_patients]
    if close:
        return Judgement(
            INCONCLUSIVE,
            f"{moved}, but it is not certain to matter at equal levels of {kept}. It goes along so closely with "
            f"{_listed(close)} that errors in the table would look the same: neither is cleared by the other.",
        )
    if not judged or undecided(rest, settings, names):
        return Judgement(
            INCONCLUSIVE, f"{moved}; whether it is this or {kept}, which goes along with it, takes more images."
        )
    row = max(
        (row for row in judged if row.scale in MEANS), key=lambda row: row.detectable + tolerated(row, settings, names)
    )
    noticed = capped(row.detectable + tolerated(row, settings, names), row.scale)
    return Judgement(
        _unused(evidence),
        f"{moved}, but not among images that agree in {kept}, which it goes along with: there a difference of "
        f"{_with_unit(plain(noticed), row, names)} in {row.scale} would have been found.",
    )


def _closer(certain: list[Difference], names: Names) -> str:
    """A note where two classes lie closer together at one level, which errors of the recorded labels do too."""
    if len(names.labels) != 2 or any(row.scale == PREDICTION for row in certain):
        return ""
    pairs = combinations([row for row in certain if row.scale == PROBABILITY], 2)
    for one, other in pairs:
        same = (one.first, one.second) == (other.first, other.second)
        if same and one.label != other.label and one.estimate.value * other.estimate.value < 0:
            rises = one if one.label == 0 else other
            level = names.levels[rises.second if rises.estimate.value > 0 else rises.first]
            return (
                f" The two classes lie closer together at {level}: poorer images do that, and so do labels recorded "
                "wrongly there."
            )
    return ""


def _exceptions(found: Differences, settings: AuditSettings, names: Names) -> str:
    """Cells of which "not used" does not speak."""
    small = too_small(found, settings, names)
    if not small:
        return ""
    more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
    return f" This does not speak of {', '.join(small[:_NAMED])}{more}: too few."


def _said(row: Difference, names: Names) -> str:
    """A difference in words."""
    where = f"among images of {names.labels[row.label]}, {names.levels[row.second]} against {names.levels[row.first]}"
    if row.within:
        other, level = row.within
        where = f"{where}, where {other} is {names.others[other][level]}"
    value, low, high = (_number(row, end) for end in (row.estimate.value, row.estimate.low, row.estimate.high))
    return f"{_WORDS[row.scale]} {_with_unit(f'{value} ({low} to {high})', row, names)} {where}"


def _with_unit(number: str, row: Difference, names: Names) -> str:
    return f"{number} {names.unit}" if names.unit and row.scale == PREDICTION else number


def _number(row: Difference, value: float) -> str:
    return plain(math.exp(min(value, 50.0))) if row.scale == ODDS else plain(value)


_WORDS = {
    "probability": "probability moves by",
    "decision": "the share of answers moves by",
    "rank": "the AUC moves by",
    "odds": "the ratio of the odds is",
    "prediction": "the mean prediction moves by",
}


def _listed(names: Sequence[str] | dict[str, float]) -> str:
    given = list(names)
    return given[0] if len(given) == 1 else f"{', '.join(given[:-1])} and {given[-1]}"


def withheld(finding: Finding) -> Finding:
    """The finding of a model that tells no class from the others: what it does not use or see reassures nobody."""
    if finding.verdict not in (NOT_USED, NOT_ENCODED, UNUSED):
        return finding
    reason = (
        "These images do not show that the model tells any class from the others, so nothing is said of what it does "
        f"not use. Of another model it would be called {finding.verdict}: {finding.reason}"
    )
    return replace(finding, verdict=INCONCLUSIVE, reason=reason)
