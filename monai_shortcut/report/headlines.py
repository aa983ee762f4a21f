# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit says of each attribute in a sentence: its size, its limits, and how certain it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from monai_shortcut.analyses.differences import DECISION, ODDS, PREDICTION, PROBABILITY, RANK, Difference
from monai_shortcut.audit.leading import (
    Told,
    capped,
    exceeds,
    judged,
    naming,
    size,
    together,
    told,
    tolerated,
    without_sign,
)
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, USED, Audit, Evidence, Finding
from monai_shortcut.statistics.cells import t_value
from monai_shortcut.statistics.contrasts import LevelContrasts
from monai_shortcut.types import Estimate, p_text, plain, with_limits

CAUTION, OPEN, BELOW, UNSEEN, UNMEASURED = "caution", "open", "below", "unseen", "unmeasured"
KINDS = (CAUTION, OPEN, BELOW, UNSEEN, UNMEASURED)
_UNREAD, _UNKNOWN = "no readable trace in the model", "not measurable"
_CLEAR = 0.01  # largest adjusted p of what is called clear evidence


@dataclass(frozen=True)
class Headline:
    """One attribute, or several that share a verdict.

    Attributes:
        name: "scanner", or "scanner or site".
        kind: one of `KINDS`.
        verdict: the verdict in words for readers.
        lead: the first words, which stand out.
        said: a sentence with the size.
        amount: the size with its limits alone.
        certainty: how certain it is, in a sentence.
        point: where the model is wrong most plainly, in a sentence; "" if nowhere for certain.
        strength: what the headlines are sorted by; larger is stronger.
    """

    name: str
    kind: str
    verdict: str
    lead: str
    said: str = ""
    amount: str = "-"
    certainty: str = ""
    point: str = ""
    strength: tuple[float, ...] = ()


@dataclass(frozen=True)
class Amount:
    """A size with its limits and the user's limit, in one unit.

    Attributes:
        found: the size, not below zero; of odds a factor, not below one.
        limit: the smallest one that matters to the user.
        unit: "points" (hundredths), "AUC", "factor", or that of the outcome of a regression.
    """

    found: Estimate
    limit: float
    unit: str

    @classmethod
    def of(cls, row: Difference, limit: float, own: str = "") -> Amount:
        """Of a difference and its tolerance, of odds their logarithms, of predictions in a unit of their own."""
        unit = {RANK: "AUC", ODDS: "factor", PREDICTION: own}.get(row.scale, "points")
        found = size(row)
        if unit == "factor":
            found, limit = Estimate(*(math.exp(min(end, 50.0)) for end in _ends(found))), math.exp(limit)
        return cls(found, limit, unit)

    @property
    def measurable(self) -> bool:
        """Whether the limits say anything."""
        return self.unit not in ("points", "AUC") or not (self.found.low <= 0 and self.found.high >= 1)

    @property
    def inside(self) -> bool:
        """Whether all of it lies below the user's limit."""
        return self.found.high < self.limit

    @property
    def above(self) -> bool:
        """Whether all of it lies above the user's limit."""
        return self.found.low > self.limit

    @property
    def text(self) -> str:
        """Such as "8 points (3 to 11)"; "not measurable" if the limits say nothing."""
        if not self.measurable:
            return _UNKNOWN
        value, low, high = (self.number(end) for end in _ends(self.found))
        if self.unit == "points":
            return f"{value} points ({low} to {high})"
        return self._with_unit(f"{value} ({low} to {high})")

    def _with_unit(self, text: str) -> str:
        return text if self.unit in ("AUC", "factor") else f"{text} {self.unit}".rstrip()

    @property
    def named(self) -> str:
        """The size with what it is one of, where it stands alone."""
        before = {"AUC": "AUC by ", "factor": "odds by a factor of "}.get(self.unit, "")
        return f"{before if self.measurable else ''}{self.text}"

    @property
    def limit_text(self) -> str:
        """The user's limit with its unit."""
        if self.unit == "points":
            return f"{100 * self.limit:g} points"
        return f"a factor of {self.limit:g}" if self.unit == "factor" else self._with_unit(f"{self.limit:g}")

    def number(self, value: float) -> str:
        """A number in the unit, with as many digits as tell it and the ends from the user's limit."""
        scale, digits = (100, 0) if self.unit == "points" else (1, 1 if self.unit == "factor" else 2)
        ends = (*_ends(self.found), value)
        alike = [more for more in range(2) if any(_same(end, self.limit, scale, digits + more) for end in ends)]
        return plain(scale * value, digits + len(alike))


def _ends(found: Estimate) -> tuple[float, float, float]:
    return found.value, found.low, found.high


def _same(one: float, other: float, scale: int, digits: int) -> bool:
    """Whether two different numbers are printed alike."""
    return one != other and plain(scale * one, digits) == plain(scale * other, digits)


def headlines(audit: Audit) -> list[Headline]:
    """A headline for each verdict of the audit, strongest first; attributes that share a verdict are one."""
    named = [(" ".join(name for name, _ in group), group[0][1]) for group in together(audit.findings)]
    found = [_headline(name, finding, audit) for name, finding in named]
    return sorted(found, key=lambda one: (KINDS.index(one.kind), *(-part for part in one.strength)))


def _headline(name: str, finding: Finding, audit: Audit) -> Headline:
    if finding.verdict == INCONCLUSIVE and audit.works is False:
        why = "The model tells no class from the others on these images."
        why = "Predictions do not rise with the outcome on these images." if audit.regression else why
        return Headline(name, OPEN, "not judged", f"Not judged: {name}.", certainty=why)
    one, shown = told(finding, audit), finding.evidence
    if shown is None or one is None:
        if finding.verdict == NOT_ENCODED:
            return Headline(name, UNSEEN, _UNREAD, f"No readable trace: {name}.", certainty=finding.reason)
        return Headline(name, UNMEASURED, _UNKNOWN, f"Not measurable: {name}.", certainty=finding.reason)
    case = _Case(name, finding, shown, audit, one)
    if finding.verdict == USED:
        return case.used()
    if finding.verdict == NOT_ENCODED:
        return case.unread()
    if finding.verdict == INCONCLUSIVE:
        return case.shown_to_differ() if case.differs else case.open()
    return case.explained() if case.others and not case.keeps else case.below()


@dataclass(frozen=True)
class _Case:
    """A finding whose answers were compared."""

    name: str
    finding: Finding
    shown: Evidence
    audit: Audit
    one: Told

    @property
    def amount(self) -> Amount:
        row, value = self.one.row, self.one.value
        if row is not None:
            limit = tolerated(row, self.audit.settings, naming(self.finding, self.audit))
            return Amount.of(row, limit, self.audit.unit)
        return Amount(without_sign(value), self.audit.settings.tolerance, "points")

    @property
    def differs(self) -> bool:
        return self.one.p_value is not None and self.one.p_value <= self.audit.settings.significance

    @property
    def evidence(self) -> str:
        """Such as "Clear evidence (adjusted p 0.007)"."""
        if self.one.p_value is None:
            return "No test"
        words = "Clear evidence" if self.one.p_value <= _CLEAR else "Some evidence"
        return f"{words if self.differs else 'No clear evidence of a shift'} (adjusted p {p_text(self.one.p_value)})"

    @property
    def keeps(self) -> bool:
        """Whether the differences stay at equal levels of what goes along with the attribute."""
        return self.shown.company is None or self.shown.company.keeps

    @property
    def others(self) -> str:
        """What goes along with the attribute and keeps its own differences."""
        return " and ".join(self.shown.company.kept) if self.shown.company else ""

    def headline(self, kind: str, verdict: str, lead: str, certainty: str, point: str = "") -> Headline:
        amount, limit = self.amount, max(self.amount.limit, 1e-9)
        strength = float(self.finding.verdict == USED), amount.found.low / limit, amount.found.value / limit
        said = _said(self.one, amount, self.finding, self.audit)
        return Headline(
            self.name, kind, verdict, f"{lead}: {self.name}.", said, amount.named, certainty, point, strength
        )

    def caution(self, verdict: str, certainty: str) -> Headline:
        point = plain_point(self.one, self.finding, self.audit)
        found = self.headline(CAUTION, verdict, "", f"{self.evidence}; {certainty}.{self._by_class}", point)
        return replace(found, lead=f"Caution: predictions differ by {self.name}.")

    @property
    def _by_class(self) -> str:
        """What limits that reach zero do not say, of several classes: which of them moves for certain."""
        row, low = self.one.row, self.amount.found.low
        several = row is not None and row.scale in (PROBABILITY, DECISION) and len(self.audit.label_names) > 2
        if not (several and self.differs and float(self.amount.number(low)) == 0):
            return ""
        found = plainest_class(row, self.finding, self.audit) if row else None
        most = f", most plainly {found[0]} by {_points(found[1])}" if found else ""
        return f" Limits are of all movement among classes and may reach 0; the test looks at each class{most}."

    def used(self) -> Headline:
        test = "" if self.amount.above else " by the test of all comparisons"
        return self.caution(
            "predictions differ, above your limit", f"above your limit of {self.amount.limit_text}{test}"
        )

    def shown_to_differ(self) -> Headline:
        """Predictions differ for certain, and no verdict rests on it."""
        row, settings = self.one.row, self.audit.settings
        still = f"whether above your limit of {self.amount.limit_text} is open"
        if row is not None and not self.keeps and exceeds(row, settings, naming(self.finding, self.audit)):
            others = self.others or " and ".join(self.shown.company.association if self.shown.company else ())
            still = f"whether it is {self.name} or {others}, which goes along with it, is open"
        elif self.amount.inside:
            still = f"this one is below your limit of {self.amount.limit_text}, whether all are is open"
        return self.caution("predictions differ; whether above your limit is open", still)

    def open(self) -> Headline:
        said = f"{self.evidence}; your limit is {self.amount.limit_text}."
        found, p_value = self.shown.differences, self.shown.spread_p_value
        if found and found.scattered and p_value is not None and p_value <= self.audit.settings.significance:
            said += f" Answers scatter more at one level (adjusted p {p_text(p_value)})."
        return self.headline(OPEN, "open: these images cannot tell", "Open", said)

    def explained(self) -> Headline:
        certainty = f"{self.evidence}; at equal levels of {self.others}, which goes along with it, none was found."
        return self.headline(
            BELOW, f"{self._sees}; nothing found beside {self.others}", f"Explained by {self.others}", certainty
        )

    def below(self) -> Headline:
        """What is not used, said no more strongly than the limits allow."""
        if self._all_inside:
            certainty = f"{self.evidence}; smaller than your limit of {self.amount.limit_text}."
            return self.headline(BELOW, f"{self._sees}; effect below your limit", "Below your limit", certainty)
        certainty = f"{self.evidence}; {self._bound}your limit is {self.amount.limit_text}."
        if self.amount.found.value >= self.amount.limit:  # which older rules could call unused
            return self.headline(BELOW, f"{self._sees}; no effect shown", "No effect shown", certainty)
        return self.headline(
            BELOW, f"{self._sees}; effect probably below your limit", "Probably below your limit", certainty
        )

    def unread(self) -> Headline:
        area = with_limits(self.shown.encoding.own_auroc) if self.shown.encoding else "unknown"
        certainty = f"A probe tells its levels apart with AUC {area}."
        if not self.differs:
            return self.headline(UNSEEN, _UNREAD, "No readable trace", certainty)
        found = self.caution(f"{_UNREAD}; yet predictions differ", f"your limit is {self.amount.limit_text}")
        return replace(
            found, certainty=f"{found.certainty} No readable trace in the model: {certainty[0].lower()}{certainty[1:]}"
        )

    @property
    def _sees(self) -> str:
        return "visible" if self.finding.verdict == NOT_USED else "visible or not is unknown"

    @property
    def _bound(self) -> str:
        """What the shift stays below with one-sided confidence, which the verdict rests on."""
        row, unit = self.one.row, self.amount.unit
        if row is None or unit == "factor":
            return ""
        most = self.amount.number(capped(row.possible, row.scale))
        named = "" if unit == "AUC" else f" {unit}".rstrip()
        return f"at most {most}{named} by a one-sided test, "

    @property
    def _all_inside(self) -> bool:
        """Whether the limits of every difference that the verdict speaks of lie below the user's."""
        names, settings = naming(self.finding, self.audit), self.audit.settings
        rows = [row for row in judged(self.shown, settings) if row.patients >= settings.judged_patients]
        return self.amount.inside and all(size(row).high < tolerated(row, settings, names) for row in rows)


def _points(size: Estimate) -> str:
    """A size in points with its limits; a small one with the digits that tell it from none."""
    digits = next((more for more in range(3) if float(plain(100 * size.low, more))), 0)
    value, low, high = (plain(100 * end, digits) for end in _ends(size))
    return f"{value} points ({low} to {high})"


def _said(one: Told, amount: Amount, finding: Finding, audit: Audit) -> str:
    """The size in a sentence."""
    row = one.row
    if row is None:
        return f"For images with the same label, predictions shift by {amount.text} on average."
    names = naming(finding, audit)
    between = f"between {names.levels[row.first]} and {names.levels[row.second]}"
    if row.within:
        between += f", where {row.within[0]} is {names.others[row.within[0]][row.within[1]]}"
    among = f"For images {'of' if row.scale == PREDICTION else 'labelled'} {names.labels[row.label]}"
    if not amount.measurable:
        return f"{among}, the shift {between} is not measurable."
    return f"{among}, {_moved(row, amount.text, names.labels)} {between}."


def _moved(row: Difference, text: str, labels: Sequence[str]) -> str:
    if row.scale == RANK:
        return f"the AUC shifts by {text}"
    if row.scale == PREDICTION:
        return f"the mean prediction shifts by {text}"
    if row.scale == ODDS:
        return f"the odds of {labels[row.outcome or 0]} change by a factor of {text}"
    several = len(labels) > 2
    if row.scale == DECISION:
        return f"{text} of the answers change class" if several else f"the share called {labels[1]} shifts by {text}"
    return (
        f"{text} of the probability move to other classes"
        if several
        else f"the probability of {labels[1]} shifts by {text}"
    )


def plainest_class(row: Difference, finding: Finding, audit: Audit) -> tuple[str, Estimate] | None:
    """The class whose answers differ most plainly between the levels of a difference, and its own size with limits.

    Returns:
        None where the record does not hold the answers, or compares them at equal levels or in part of the images.
    """
    answers = audit.answers
    if answers is None or answers.equal or row.within or finding.attribute not in answers.codes:
        return None
    sample, codes = answers.sample(audit.settings), answers.levels(finding.attribute)
    inside = (sample.labels == row.label) & (codes >= 0)
    said = sample.probabilities[inside]
    if row.scale == DECISION:
        said = np.eye(sample.classes)[said.argmax(axis=1)]
    patients = np.unique(sample.patients[inside], return_inverse=True)[1]
    model = LevelContrasts(codes[inside], patients, len(finding.levels))
    moved = [(model.between(row.first, row.second, said[:, place]), name) for place, name in enumerate(audit.outputs)]
    one, name = max(moved, key=lambda pair: pair[0].score if pair[0] else 0.0)
    if one is None or not one.score:
        return None
    reach = float(t_value(float(ndtri(0.5 + audit.settings.confidence / 2)), np.array(one.freedom))) * one.error
    return name, without_sign(Estimate(one.value, one.value - reach, one.value + reach))


def plain_point(one: Told, finding: Finding, audit: Audit) -> str:
    """Where, of the two levels of a difference, the model says a class too often or too rarely for certain.

    Example: "At GE Logiq 7 it says 44 % malignant; 28 % are."
    """
    shown, row = finding.evidence, one.row
    if shown is None or row is None or shown.subgroups is None or row.within:
        return ""
    label = 1 if len(audit.label_names) == 2 else row.label
    wrong = [
        score
        for score in shown.subgroups.scores
        if score.label == label
        and score.level in (row.first, row.second)
        and score.patients >= audit.settings.judged_patients
        and score.calibration_limits is not None
        and not score.calibration_limits[0] <= 0 <= score.calibration_limits[1]
    ]
    if not wrong:
        return ""
    worst = max(wrong, key=lambda score: abs(score.calibration))
    says, are = plain(100 * worst.mean_probability, 0), plain(100 * worst.observed, 0)
    return f"At {list(finding.levels)[worst.level]} it says {says} % {audit.label_names[label]}; {are} % are."
