# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A model in three dimensions: which regions it needs, where it looks, and what people see there."""

from __future__ import annotations

from collections.abc import Mapping

from monai_shortcut.attribution.record import Attribution
from monai_shortcut.audit.record import Audit
from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.region_study import RegionStudyRecord
from monai_shortcut.report.attribution import looks, outside
from monai_shortcut.report.wording import words
from monai_shortcut.types import Estimate, p_text, with_limits

NOT_MEASURED = "Not measured"
_FULL, _WITHOUT, _ALONE = "full", "without_roi", "roi_only"
_SAID = {_WITHOUT: "without the region", _ALONE: "with the region alone"}

Areas = dict[str, tuple[Estimate, float | None]]  # area and p against full images, by strategy


def dimensions(audit: Audit) -> dict[str, str]:
    """Each dimension in words, with its uncertainty; "Not measured" and what would measure it where it was not."""
    areas: dict[str, Areas] = {}
    for score in audit.regions.scores:
        areas.setdefault(score.label, {})[score.evaluated_on] = score.auc, score.p_value
    without = "too few images have a usable region" if audit.without_roi else "the audit has no region of interest"
    unmasked = f"{NOT_MEASURED}: {without} (audit_roi_key)."
    unasked = f"{NOT_MEASURED}: nobody asked where the model looks (audit_attribution)."
    return {
        "Region sensitivity": _regions(areas) or unmasked,
        "Interpretability": unasked if audit.attribution is None else looks(audit.attribution),
        "Clinical plausibility": _readers({} if audit.readers is None else {"": audit.readers}),
    }


def study_dimensions(record: RegionStudyRecord) -> dict[str, str]:
    """The same of the models of a region study, over all its labels."""
    areas: dict[str, Areas] = {}
    for cell in record.matrix.cells:
        if cell.trained_on == cell.evaluated_on:
            p_value = None if cell.to_full is None else cell.to_full.adjusted_p_value
            areas.setdefault(cell.label, {})[cell.trained_on] = Estimate(cell.auc, *cell.interval), p_value
    needed = _regions(areas)
    looked = [_labelled(label, _models([one.found for one in found])) for label, found in record.looked().items()]
    return {
        "Region sensitivity": f"{needed} Each by models trained on such images."
        if needed
        else f"{NOT_MEASURED}: no model was trained without the region, or on it alone (strategies).",
        "Interpretability": " ".join(looked)
        or f"{NOT_MEASURED}: nobody asked where the models look (attribution of RegionStudy).",
        "Clinical plausibility": _readers(record.readers),
    }


def _regions(areas: Mapping[str, Areas]) -> str:
    said = []
    for label, own in areas.items():
        hidden = [
            f"{with_limits(own[name][0])} {_SAID[name]} (p {p_text(own[name][1])})" for name in _SAID if name in own
        ]
        if hidden and _FULL in own:
            said.append(f"{label}: AUC {with_limits(own[_FULL][0])} on full images, {', '.join(hidden)}.")
    return " ".join(said)


def _models(found: list[Attribution]) -> str:
    """The first model in a sentence, and the share outside of the others."""
    shares = [share for share in map(outside, found[1:]) if share]
    return looks(found[0]) + (f" Outside in the models of other folds: {', '.join(shares)}." if shares else "")


def _readers(found: Mapping[str, ReaderStudy]) -> str:
    said = [_labelled(label, _reader_study(study)) for label, study in found.items()]
    return " ".join(said) or f"{NOT_MEASURED}: nobody has read these images."


def _reader_study(found: ReaderStudy) -> str:
    said = []
    for one in found.strategies:
        areas = [f"{who} {with_limits(auc)}" for who, auc in (("model", one.model), ("readers", one.auc)) if auc]
        said.append(f"{words(one.strategy)}: {one.answer}" + (f" ({', '.join(areas)})" if areas else ""))
    return f"Does the model see what no reader sees? {'; '.join(said)}."


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label else text
