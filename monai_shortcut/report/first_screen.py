# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What stands before the methods of an audit's page: what was asked of what, what was not, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.region_sensitivity import RegionScore
from monai_shortcut.analyses.subgroups import calibration_limits
from monai_shortcut.audit.leading import exceptions, judged, naming, without_sign
from monai_shortcut.audit.record import INCONCLUSIVE, Audit, Identity
from monai_shortcut.audit.settling import settling
from monai_shortcut.audit.wording import performed
from monai_shortcut.report.headlines import CAUTION, OPEN, UNMEASURED, Headline, headlines
from monai_shortcut.types import Estimate, p_text, plain, with_limits

NOT_KNOWN = "not known"
_FULL, _HIDDEN, _ALONE = "full", "without_roi", "roi_only"
_NEARLY = 0.75  # share of what an area has above chance that is left when it is nearly as good
_DIGITS = 12  # of a SHA-256, as people compare it
_NAMED = 3


@dataclass(frozen=True)
class FirstScreen:
    """What a reader sees first.

    Attributes:
        question: what is asked.
        identity: model, data and run, by what they are.
        cautions: the sentences that matter, at most three, strongest first.
        further: names of what is to be cautious of beside these.
        others: the names and sizes of what is no caution, by what is said of them.
        untested: what the audit does not speak of.
        next_steps: what to do.
        performance: discrimination and calibration.
        table: every verdict.
    """

    question: str
    identity: dict[str, str]
    cautions: list[Headline]
    further: list[str]
    others: dict[str, list[str]]
    untested: list[str]
    next_steps: list[str]
    performance: str
    table: list[Headline]


def first_screen(audit: Audit) -> FirstScreen:
    """What stands before the methods of the page of an audit."""
    found, region = headlines(audit), regions_headline(audit)
    first, further = cautions(found, region)
    others: dict[str, list[str]] = {}
    for one in found:
        if one.kind not in (CAUTION, UNMEASURED):
            size = "" if one.amount == "-" else f", {one.amount}"
            others.setdefault(one.lead.partition(":")[0], []).append(f"{one.name}{size}")
    return FirstScreen(
        question=question(audit),
        identity=identity(audit),
        cautions=first,
        further=further,
        others=others,
        untested=untested(audit, found),
        next_steps=next_steps(audit, found, region),
        performance=performance(audit),
        table=[*([region] if region else []), *found],
    )


def question(audit: Audit) -> str:
    """What the audit asks."""
    names = [finding.attribute for finding in audit.findings]
    asked = f" on {_listed(names, 'or')}" if names else ""
    same = audit.regression.name if audit.regression else "the diagnosis"
    return f"Do the answers of this model depend{asked}, where {same} is the same?"


def identity(audit: Audit) -> dict[str, str]:
    """Model, data and run, by what they are."""
    known = audit.identity or Identity()
    files = [f"{name} (SHA-256 {digest[:_DIGITS]}...)" for digest, name in (audit.weights or {}).items()]
    classes = ", ".join(f"{count} {name}" for name, count in audit.labels.items())
    unseen = {True: "all", False: "not all: some were trained on", None: NOT_KNOWN}[known.unseen_patients]
    version = audit.software.get("monai_shortcut")
    return {
        "Model": f"{known.network or 'network ' + NOT_KNOWN}; head: {known.head or NOT_KNOWN}",
        "Checkpoint": ", ".join(files) or NOT_KNOWN,
        "Data": f"{known.table or 'table ' + NOT_KNOWN}; {sum(audit.labels.values())} images of {audit.patients} "
        f"patients ({classes})",
        "Patients not trained on": unseen,
        "Audit": f"{known.date or 'date ' + NOT_KNOWN}; monai_shortcut {version or 'version ' + NOT_KNOWN}",
        "Use": "research use only",
    }


def regions_headline(audit: Audit) -> Headline | None:
    """What is left of the model's answers when the region of interest is hidden, in the class where most is left.

    Returns:
        None where nothing was hidden, or full images do not tell the class.
    """
    areas: dict[str, dict[str, RegionScore]] = {}
    for score in audit.regions.scores:
        areas.setdefault(score.label, {})[score.evaluated_on] = score
    known = {label: own for label, own in areas.items() if _HIDDEN in own and own[_FULL].auc.low > 0.5}
    if not known:
        return None
    left = {label: _left(own) for label, own in known.items()}
    label = max(known, key=lambda one: (known[one][_HIDDEN].auc.low > 0.5, left[one]))
    own, others = known[label], [one for one in known if one != label and known[one][_HIDDEN].auc.low > 0.5]
    alone = f", {plain(own[_ALONE].auc.value)} with the region alone" if _ALONE in own else ""
    amount = f"AUC {with_limits(own[_HIDDEN].auc)}"
    said = f"Class {label}: {amount} hidden against {with_limits(own[_FULL].auc)} whole{alone}."
    if own[_HIDDEN].auc.low <= 0.5:
        lead = "Without the region of interest it is no better than chance."
        return Headline("region of interest", "", "needed", lead, said, amount)
    well = "nearly as well" if left[label] >= _NEARLY else "better than chance"
    also = f" The same, less plainly: {_listed(others)}." if others else ""
    certainty = (
        f"Better than chance for certain (p {p_text(own[_HIDDEN].chance_p_value)}).{also} Hidden pixels make an "
        "unfamiliar image, and the outline may tell something: a model trained on such images settles it."
    )
    lead = f"Caution: it scores {well} without the region of interest."
    return Headline("region of interest", CAUTION, f"scores {well} without it", lead, said, amount, certainty)


def _left(own: dict[str, RegionScore]) -> float:
    return (own[_HIDDEN].auc.value - 0.5) / (own[_FULL].auc.value - 0.5)


def cautions(found: Sequence[Headline], region: Headline | None) -> tuple[list[Headline], list[str]]:
    """The sentences that matter, at most three, strongest first; and the names of the others.

    What hides the region stands behind what is above the user's limit, and before what may be.
    """
    every = [one for one in found if one.kind == CAUTION]
    if region is not None and region.kind == CAUTION:
        above = sum(one.strength[:1] == (1.0,) for one in every)
        every.insert(above, region)
    if len(every) > _NAMED and region in every[_NAMED:] and region is not None:  # it is never left out
        every.remove(region)
        every.insert(_NAMED - 1, region)
    return every[:_NAMED], [one.name for one in every[_NAMED:]]


def performance(audit: Audit) -> str:
    """Discrimination and calibration in a line."""
    if audit.regression:
        return performed(audit)
    scores = [score for score in audit.regions.scores if score.evaluated_on == _FULL]
    areas = ", ".join(f"{score.label} {with_limits(score.auc)}" for score in scores)
    return f"AUC: {areas or 'not measurable'}. {calibration(audit)}"


def calibration(audit: Audit) -> str:
    """How often the model says the class that it is most wrong about, how often it is true, and the limits of that."""
    if audit.answers is None:
        return "Calibration: not recorded."
    sample = audit.answers.sample(audit.settings)
    are = np.bincount(sample.labels, minlength=sample.classes) / len(sample)
    says = sample.probabilities.mean(axis=0)
    worst = 1 if sample.classes == 2 else int(np.abs(says - are).argmax())
    residual = sample.probabilities[:, worst] - (sample.labels == worst)
    limits = calibration_limits(residual, sample.patients, audit.settings.confidence)
    size, amount = says[worst] - are[worst], "too few patients for limits"
    if limits is not None:
        shown = without_sign(Estimate(size, *limits))
        value, low, high = (plain(100 * end, 0) for end in (shown.value, shown.low, shown.high))
        amount = f"{value} points too {'many' if size > 0 else 'few'} ({low} to {high})"
    most = "" if sample.classes == 2 else ", the class that it is most wrong about"
    return (
        f"Calibration: on average it says {plain(100 * says[worst], 0)} % {audit.label_names[worst]}; "
        f"{plain(100 * are[worst], 0)} % are: {amount}{most}."
    )


def untested(audit: Audit, found: Sequence[Headline]) -> list[str]:
    """What the audit does not speak of."""
    said = [f"{one.name}: {one.certainty}" for one in found if one.kind == UNMEASURED]
    for finding in audit.findings:
        small = exceptions(finding, audit)
        if small:
            more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
            said.append(f"{finding.attribute}: {', '.join(small[:_NAMED])}{more}, too few to judge.")
    said += [f"AUC of {name}: {reason}" for name, reason in audit.regions.untested.items()]
    said += _unasked(audit)
    return [*said, "Whatever is not a column of the table."]


def _unasked(audit: Audit) -> Iterator[str]:
    if not any(score.evaluated_on == _HIDDEN for score in audit.regions.scores):
        given = "too few images have a usable one" if audit.without_roi else "no region was given"
        yield f"Whether it needs the region of interest: {given}."
    if audit.attribution is None:
        yield "Where it looks: nobody asked."
    if audit.readers is None:
        yield "What people see in these images: nobody has read them."
    if not any(finding.counterfactual for finding in audit.findings):
        yield "Cause and effect: no image was shown with only an attribute swapped."
    if audit.discovered is None:
        yield "Groups that no column names: nobody asked."


def next_steps(audit: Audit, found: Sequence[Headline], region: Headline | None) -> list[str]:
    """What to do, the most urgent first."""
    check = "Check weights and label names first: the model tells no class apart."
    if audit.regression:
        check = "Check weights and outcome first: predictions do not rise with the outcome."
    said = [] if audit.works else [check]
    used = [one.name for one in found if one.kind == CAUTION and one.strength[:1] == (1.0,)]
    shown = [one.name for one in found if one.kind == CAUTION and one.name not in used]
    unclear = [one.name for one in found if one.kind == OPEN]
    if used:
        said.append(
            f'Do not rely on it across {_listed(used)} before you know why: the guide "After used" has four ways.'
        )
    if region is not None and region.kind == CAUTION:
        said.append("Find out what it reads outside the region: a region study trains models on masked images.")
    if shown:
        said.append(f"Treat {_listed(shown)} as a risk until more patients tell how large it is.")
    if unclear and audit.works:
        more = f" and {len(unclear) - _NAMED} more" if len(unclear) > _NAMED else ""
        said.append(f"Add patients, or set another limit, for {_listed(unclear[:_NAMED])}{more}.")
    if audit.works:
        said += _settled(audit)
    return said or ["Audit again where scanner, site or patients change: nothing found is no proof of safety."]


def _settled(audit: Audit) -> list[str]:
    """How many patients would settle what is inconclusive, attribute by attribute."""
    said = []
    for finding in audit.findings:
        shown = finding.evidence
        if finding.verdict != INCONCLUSIVE or shown is None or shown.differences is None:
            continue
        rows = judged(shown, audit.settings)
        needed = settling(rows, shown.differences, audit.settings, naming(finding, audit))
        if needed:
            text = needed.text if needed.patients else "Only another limit settles it"
            said.append(f"For {finding.attribute}, {text[0].lower()}{text[1:]}.")
    more = len(said) - _NAMED
    return [*said[:_NAMED], *([f"The reasons of {more} more are below."] if more > 0 else [])]


def _listed(names: Sequence[str], last: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
