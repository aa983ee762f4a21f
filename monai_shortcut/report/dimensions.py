# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit in three dimensions: which regions the model needs, where it looks, and what people see there."""

from __future__ import annotations

from monai_shortcut.analyses.region_sensitivity import RegionSensitivity
from monai_shortcut.attribution.record import Attribution
from monai_shortcut.audit.record import Audit
from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.report.attribution import looks
from monai_shortcut.report.wording import words
from monai_shortcut.types import p_text, with_limits

NOT_MEASURED = "Not measured"
_WITHOUT, _ALONE = "without_roi", "roi_only"
_SAID = {_WITHOUT: "without the region", _ALONE: "with the region alone"}


def dimensions(audit: Audit) -> dict[str, str]:
    """Each dimension in words, with its uncertainty; "Not measured" and what would measure it where it was not."""
    return {
        "Region sensitivity": _regions(audit.regions),
        "Interpretability": _attribution(audit.attribution),
        "Clinical plausibility": _readers(audit.readers),
    }


def _regions(found: RegionSensitivity) -> str:
    scores = {(score.label, score.evaluated_on): score for score in found.scores}
    said = []
    for label in dict.fromkeys(score.label for score in found.scores):
        hidden = [scores[label, name] for name in _SAID if (label, name) in scores]
        if hidden:
            parts = [f"{with_limits(one.auc)} {_SAID[one.evaluated_on]} (p {p_text(one.p_value)})" for one in hidden]
            said.append(f"{label}: area {with_limits(scores[label, 'full'].auc)} on full images, {', '.join(parts)}.")
    return " ".join(said) or f"{NOT_MEASURED}: the audit has no region of interest (audit_roi_key)."


def _attribution(found: Attribution | None) -> str:
    return f"{NOT_MEASURED}: nobody asked where the model looks (audit_attribution)." if found is None else looks(found)


def _readers(found: ReaderStudy | None) -> str:
    if found is None:
        return f"{NOT_MEASURED}: nobody has read these images."
    said = []
    for one in found.strategies:
        areas = [f"{who} {with_limits(auc)}" for who, auc in (("model", one.model), ("readers", one.auc)) if auc]
        said.append(f"{words(one.strategy)}: {one.answer}" + (f" ({', '.join(areas)})" if areas else ""))
    return f"Does the model see what no reader sees? {'; '.join(said)}."
