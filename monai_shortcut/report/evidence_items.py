# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What reporting guidelines ask that an audit answers: one row for each item, with the function that answers it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from monai_shortcut.audit.leading import least_noticed, naming, told
from monai_shortcut.audit.record import USED, Audit, Evidence, Finding
from monai_shortcut.audit.wording import performed
from monai_shortcut.report.dimensions import dimensions
from monai_shortcut.types import p_text, plain, with_limits

ANSWERED, NOT_APPLICABLE, NOT_MEASURED = STATES = "answered", "not applicable", "not measured"

_SITE = ("site", "hospital", "center", "centre", "clinic", "institution", "department", "country")
_EQUIPMENT = (
    *("scanner", "device", "manufacturer", "vendor", "machine", "equipment", "transducer", "probe", "detector"),
    *("camera", "station", "protocol", "sequence", "coil", "kvp", "tesla", "kernel", "exposure", "projection", "view"),
    *("modality", "spacing"),
)
_PEOPLE = ("sex", "gender", "age", "race", "ethnicity", "ethnic", "ancestry", "skin", "bmi", "language", "insurance")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_REASONS = 5  # reasons of exclusion that are listed


@dataclass(frozen=True)
class Answer:
    """What an audit says to an item.

    Attributes:
        state: "answered", "not applicable" or "not measured".
        sentence: the answer with its numbers; of what was not measured, why.
        place: where the numbers stand in the folder of the report; empty where there are none.
    """

    state: str
    sentence: str
    place: str = ""


@dataclass(frozen=True)
class Document:
    """A guideline.

    Attributes:
        name: its name and year.
        read: what of it was read for the items below.
    """

    name: str
    read: str


@dataclass(frozen=True)
class Item:
    """An item of a guideline.

    Attributes:
        document: the guideline.
        number: of the item, as the guideline numbers it; its subject where it does not.
        asks: what it asks, in words of our own.
        answer: what an audit says to it.
    """

    document: Document
    number: str
    asks: str
    answer: Callable[[Audit], Answer]


def _missing(audit: Audit) -> Answer:
    lacking = [f"{one.attribute} {one.missing}" for one in audit.findings if one.missing]
    told_of = (
        f"without a value: {_listed(lacking)} of {_images(audit)}" if lacking else "no audited image lacks a value"
    )
    how = "Images without a value of an attribute are left out of the analysis of that attribute alone"
    return Answer(ANSWERED, f"{how}; {told_of}.", "findings.csv, column missing")


def _disjoint(audit: Audit) -> Answer:
    drawn = (
        f"Of the audit: every fold, permutation and bootstrap is drawn by patient ({audit.patients} patients, "
        f"{_images(audit)})."
    )
    said = f"{drawn} {_alike(audit)}{_TRAINED[_unseen(audit)]}"
    return Answer(ANSWERED, said, "audit.json, settings, linked and identity")


def _leakage(audit: Audit) -> Answer:
    state = NOT_MEASURED if _unseen(audit) is None else ANSWERED
    place = "audit.json, linked and identity" if state == ANSWERED or audit.linked else ""
    return Answer(state, f"{_alike(audit)}{_TRAINED[_unseen(audit)]}", place)


_TRAINED = {
    None: "Whether these patients are apart from those of the training is not in the record.",
    True: "The record says that the model was trained on none of these patients.",
    False: "The record says that the model was trained on some of these patients.",
}


def _unseen(audit: Audit) -> bool | None:
    return audit.identity.unseen_patients if audit.identity else None


def _alike(audit: Audit) -> str:
    if not audit.linked:
        return ""
    return f"{len(audit.linked)} groups of images of different patients look the same; these patients count as one. "


def _sample_size(audit: Audit) -> Answer:
    told_of = []
    for finding in audit.findings:
        found = finding.evidence and finding.evidence.differences
        least = least_noticed(found, audit.settings, naming(finding, audit)) if found else {}
        if least:
            told_of.append(f"{finding.attribute}: {_listed(f'{label} {plain(size)}' for label, size in least.items())}")
    if not told_of:
        return Answer(NOT_MEASURED, "The answers of no attribute's levels were compared.")
    unit = f"in {audit.unit or 'the unit of the outcome'}" if audit.regression else "in probability"
    size = f"{_images(audit)} of {audit.patients} patients. Smallest use that four of five such cohorts would show, "
    return Answer(ANSWERED, f"{size}{unit}: {'; '.join(told_of)}.", "report.html, table of findings")


def _statistics(audit: Audit) -> Answer:
    used = audit.settings
    return Answer(
        ANSWERED,
        f"{used.permutations} permutations and {used.bootstraps} bootstrap samples of patients; limits at "
        f"{plain(100 * used.confidence, 0)} %, significance {used.significance:g}. {_corrected(audit)}",
        "audit.json, settings",
    )


def _multiplicity(audit: Audit) -> Answer:
    within = "Within an attribute, the largest of all differences of labels, pairs of levels and scales is tested."
    return Answer(ANSWERED, f"{_corrected(audit)} {within}", "audit.json, settings; findings.csv, columns ending in _p")


def _corrected(audit: Audit) -> str:
    how = {"holm": "Holm's method", "fdr": "the false discovery rate"}[audit.settings.correction]
    return f"All p-values are adjusted over {_counted(len(audit.findings), 'attribute')} by {how}."


def _robustness(audit: Audit) -> Answer:
    swapped = [
        f"Swapped in the same {one.counterfactual.images} images, {one.attribute} moves "
        f"{with_limits(one.counterfactual.change)} of the probability."
        for one in audit.findings
        if one.counterfactual
    ]
    masked = _dimension("Region sensitivity", "regions.csv", audit)
    if masked.state == ANSWERED or not swapped:
        return Answer(masked.state, " ".join([masked.sentence, *swapped]), masked.place)
    return Answer(ANSWERED, " ".join(swapped), "findings.csv, columns swapped")


def _explained(audit: Audit) -> Answer:
    return _dimension("Interpretability", "report.html; attribution.csv", audit)


def _dimension(name: str, place: str, audit: Audit) -> Answer:
    """A dimension of the page in its own words."""
    state, colon, reason = (said := dimensions(audit)[name]).partition(": ")
    if colon and state in ("Not measured", "Not computed"):
        return Answer(NOT_MEASURED, _sentence(f"{reason[:1].upper()}{reason[1:]}"))
    return Answer(ANSWERED, said, place)


def _external(audit: Audit) -> Answer:
    where = "Whether these images come from other places than those of the training is not in the record."
    told_of, reasons = [], dict[str, None]()
    for one in audit.findings:
        if not _is_named(one, _SITE + _EQUIPMENT) or one.evidence is None:
            continue
        if one.evidence.held_out:
            worst = max(one.evidence.held_out, key=lambda row: row.difference.value)
            names = naming(one, audit)
            told_of.append(
                f"{one.attribute}: at most {with_limits(worst.difference)} of the AUC is lost "
                f"({names.levels[worst.level]}, {names.labels[worst.label]})"
            )
        elif "held_out" in one.evidence.not_computed:
            reasons[f" {one.attribute}: {one.evidence.not_computed['held_out']}."] = None
    if told_of:
        said = f"Of heads fitted anew without one level, tested on it: {'; '.join(told_of)}. {where}"
        return Answer(ANSWERED, said, "report.html, heads that have never seen a level")
    return Answer(NOT_MEASURED, where + "".join(reasons))


def _flow(audit: Audit) -> Answer:
    reasons = Counter(audit.excluded.values())
    listed = [f"{reason}: {count}" for reason, count in reasons.most_common(_REASONS)]
    more = [f"{len(reasons) - _REASONS} further reasons"] if len(reasons) > _REASONS else []
    why = f" ({'; '.join(listed + more)})" if reasons else ""
    unseen = f" {_counted(len(audit.unseen), 'row')} of the table had no evaluated image." if audit.unseen else ""
    said = f"{_images(audit)} of {audit.patients} patients audited, {len(audit.excluded)} excluded{why}.{unseen}"
    return Answer(ANSWERED, said, "excluded.csv")


def _characteristics(audit: Audit) -> Answer:
    labels = _listed(f"{name} {count}" for name, count in audit.labels.items())
    by_attribute = [f"{one.attribute} ({_levels(one)})" for one in audit.findings if one.levels]
    told_of = f" By attribute: {'; '.join(by_attribute)}." if by_attribute else ""
    said = f"Of the audited images, by label: {labels}.{told_of} Other images are not in the record."
    return Answer(ANSWERED, said, "findings.csv, column levels")


def _participants(audit: Audit) -> Answer:
    who, missing = _characteristics(audit), _missing(audit)
    return Answer(ANSWERED, f"{who.sentence} {missing.sentence}", f"{who.place}; {missing.place}")


def _levels(finding: Finding) -> str:
    return _listed(f"{name} {count}" for name, count in finding.levels.items())


def _performance(audit: Audit) -> Answer:
    if audit.regression:
        return Answer(ANSWERED, performed(audit), "report.html")
    areas = [
        f"{one.label} {with_limits(one.auc)}, {one.images} images"
        for one in audit.regions.scores
        if one.evaluated_on == "full"
    ]
    if not areas:
        return Answer(NOT_MEASURED, _sentence("; ".join(f"{k}: {v}" for k, v in audit.regions.untested.items())))
    return Answer(ANSWERED, f"Area under the ROC curve: {'; '.join(areas)}.", "regions.csv")


def _performance_in_groups(audit: Audit) -> Answer:
    whole, groups = _performance(audit), _gaps(audit.findings, audit)
    if whole.state != ANSWERED or not groups:
        return whole
    return Answer(ANSWERED, f"{whole.sentence} {groups}", f"{whole.place}; report.html, sub-groups")


def _gaps(findings: Iterable[Finding], audit: Audit) -> str:
    """How far areas and calibration lie apart between levels."""
    told_of = []
    for one in findings:
        found = one.evidence and one.evidence.subgroups
        if not found:
            continue
        tests = (
            ("area", found.auc_gap, found.auc_test),
            ("calibration", found.calibration_gap, found.calibration_test),
        )
        known = [
            f"{name} {plain(gap)} (p {p_text(test.p_value)})" for name, gap, test in tests if test and gap is not None
        ]
        if known:
            told_of.append(f"{one.attribute} {', '.join(known)}")
    return f"Largest gap between two levels, p unadjusted: {'; '.join(told_of)}." if told_of else ""


def _failures(audit: Audit) -> Answer:
    if not any(one.evidence for one in audit.findings):
        return Answer(NOT_MEASURED, _unmeasured(audit.findings))
    used = [f"{one.attribute}: {one.reason}" for one in audit.findings if one.verdict == USED]
    said = " ".join(used) or "Answers of no attribute's levels are certain to differ by more than the tolerance."
    return Answer(ANSWERED, said, "report.html, findings; findings.csv")


def _how_compared(audit: Audit) -> Answer:
    if not any(_compared(one) for one in audit.findings):
        return Answer(NOT_MEASURED, _unmeasured(audit.findings))
    said = (
        "Answers to images of one label are compared between all levels of an attribute, by permutation between "
        f"patients, and areas and calibration by level: {_listed(one.attribute for one in audit.findings)}."
    )
    return Answer(ANSWERED, said, "report.html, findings")


def _differing(words: Sequence[str], others: bool = False, gaps: bool = True) -> Callable[[Audit], Answer]:
    """What is said of attributes that are named so, or of all others."""

    def answer(audit: Audit) -> Answer:
        chosen = [one for one in audit.findings if _is_named(one, words) != others]
        if not chosen:
            like = "other attribute" if others else f"attribute whose name says {', '.join(words[:3])} or the like"
            return Answer(NOT_MEASURED, f"No {like} was audited.")
        if all(len(one.levels) == 1 for one in chosen):
            alike = _listed(f"{one.attribute} {next(iter(one.levels))}" for one in chosen)
            return Answer(NOT_APPLICABLE, f"All images are of {alike}.", "findings.csv, column levels")
        if not any(one.evidence for one in chosen):
            return Answer(NOT_MEASURED, _unmeasured(chosen))
        said = "; ".join(_said(one, audit) for one in chosen)
        further = _gaps(chosen, audit) if gaps else ""
        return Answer(ANSWERED, f"{said}. {further}".strip(), "report.html, findings; findings.csv")

    return answer


def _said(finding: Finding, audit: Audit) -> str:
    """An attribute with its verdict and leading difference."""
    one = told(finding, audit)
    number = f" ({with_limits(one.value)} in {one.where}, p {p_text(one.p_value)})" if one else ""
    return f"{finding.attribute}: {finding.verdict}{number}"


def _confounding(audit: Audit) -> Answer:
    if not any(_compared(one) for one in audit.findings):
        return Answer(NOT_MEASURED, _unmeasured(audit.findings))
    held = audit.settings.adjust_for
    said = [
        f"All answers were compared at equal levels of {_listed(held)}."
        if held
        else "Nothing was held equal (adjust_for)."
    ]
    for one in audit.findings:
        company = one.evidence.company if one.evidence else None
        if company:
            others = _listed(f"{name} (Cramér's V {plain(v)})" for name, v in company.association.items())
            stays = "stay" if company.keeps else "do not stay"
            said.append(f"{one.attribute} goes along with {others}; at equal levels of these its differences {stays}.")
    if len(said) == 1:
        least = f"{audit.settings.associated:g}"
        said.append(
            f"No attribute that answers differ with goes along with another such one (Cramér's V from {least})."
        )
    return Answer(ANSWERED, " ".join(said), "report.html, findings")


def _without_images(_: Audit) -> Answer:
    return Answer(
        NOT_MEASURED,
        "The audit holds the answers against no model without images; python -m monai_shortcut check says how well the "
        "table's attributes tell the label.",
    )


def _compared(finding: Finding) -> bool:
    evidence: Evidence | None = finding.evidence
    return evidence is not None and "differences" not in evidence.not_computed


def _unmeasured(findings: Iterable[Finding]) -> str:
    reasons = [f"{one.attribute}: {one.reason}" for one in findings if one.evidence is None]
    return " ".join(map(_sentence, reasons)) or "No attribute was audited."


def _is_named(finding: Finding, words: Sequence[str]) -> bool:
    """Whether one of the words is in an attribute's name: "ManufacturerModelName" has "manufacturer"."""
    found = {word.lower() for word in _WORD.findall(finding.attribute)}
    return any(word in found or f"{word}s" in found for word in words)


def _images(audit: Audit) -> str:
    return _counted(sum(audit.labels.values()), "image")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _sentence(text: str) -> str:
    return text if not text or text.endswith(".") else f"{text}."


CLAIM = Document("CLAIM, update of 2024 (44 items)", "read only as summaries; numbers as in the update of 2024")
TRIPOD = Document("TRIPOD+AI, 2024 (27 items)", "read only as summaries")
METRICS = Document("METRICS, 2024 (30 items)", "names of all items read, and the explanation of item 24")
FDA = Document(
    "FDA, draft guidance on AI-enabled device software functions, January 2025",
    "read only as summaries; it numbers no items, so that their subjects stand here",
)
DOCUMENTS = (CLAIM, TRIPOD, METRICS, FDA)
ITEMS = (
    Item(CLAIM, "12", "what became of missing data", _missing),
    Item(CLAIM, "13", "how images were acquired", _differing(_EQUIPMENT, gaps=False)),
    Item(CLAIM, "20", "at which level parts of the data are disjoint", _disjoint),
    Item(CLAIM, "21", "how many cases, and why that many", _sample_size),
    Item(CLAIM, "29", "statistical tests and uncertainty", _statistics),
    Item(CLAIM, "30", "robustness or sensitivity analysis", _robustness),
    Item(CLAIM, "31", "methods that explain the model", _explained),
    Item(CLAIM, "33", "tests on data from elsewhere", _external),
    Item(CLAIM, "35", "cases included and excluded", _flow),
    Item(CLAIM, "36", "who the cases are", _characteristics),
    Item(CLAIM, "37", "performance with its uncertainty", _performance),
    Item(CLAIM, "39", "where the model fails", _failures),
    Item(TRIPOD, "12d", "how differences between clusters are dealt with", _how_compared),
    Item(TRIPOD, "14", "what was done for fairness", _differing(_PEOPLE)),
    Item(TRIPOD, "20b", "who the participants are, missing values included", _participants),
    Item(TRIPOD, "23a", "performance with limits, in sub-groups too", _performance_in_groups),
    Item(TRIPOD, "23b", "differences of performance between clusters", _differing(_SITE + _EQUIPMENT)),
    Item(METRICS, "19", "confounders", _confounding),
    Item(METRICS, "24", "comparison with predictors other than images", _without_images),
    Item(FDA, "sub-groups: site", "performance by site of data collection", _differing(_SITE)),
    Item(FDA, "sub-groups: equipment", "performance by equipment and protocol", _differing(_EQUIPMENT)),
    Item(FDA, "sub-groups: others", "performance by other confounders", _differing(_SITE + _EQUIPMENT, others=True)),
    Item(FDA, "multiplicity", "many tests at once", _multiplicity),
    Item(FDA, "sample size", "whether the cases suffice", _sample_size),
    Item(FDA, "leakage", "test cases apart from those of the training", _leakage),
)
