# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables beside the pages: the numbers of a record, unrounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from monai_shortcut.audit.leading import between, naming, told
from monai_shortcut.audit.record import Audit, Evidence, Finding
from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.types import Estimate


def findings_table(audit: Audit) -> pd.DataFrame:
    """One row per attribute: verdict, evidence and counts. A leading difference in odds is their ratio."""
    return pd.DataFrame([_finding_row(finding, audit) for finding in audit.findings])


def regions_table(audit: Audit) -> pd.DataFrame:
    """One row per class and masking strategy: area under the ROC curve and its loss against full images."""
    return pd.DataFrame(
        [
            {
                "label": score.label,
                "trained_on": audit.regions.trained_on,
                "evaluated_on": score.evaluated_on,
                "images": score.images,
                **_limits("auc", score.auc),
                "chance_p": score.chance_p_value,
                "difference": score.difference,
                "difference_p": score.p_value,
            }
            for score in audit.regions.scores
        ]
    )


def curves_table(curves: TrainingCurves) -> pd.DataFrame:
    """One row per audited epoch and attribute that could be measured.

    The difference is the leading one, without its sign; in records before version 3 it is the prediction gap.
    """
    rows: list[dict[str, object]] = []
    for index, audited in enumerate(curves.epochs):
        for name, point in audited.points.items():
            row: dict[str, object] = {"epoch": audited.epoch, "attribute": name, "images": point.images}
            row |= _limits("own_auroc", point.own_auroc) | (_limits("difference", point.moved) if point.moved else {})
            row |= {"difference_where": point.where, "differences_p": point.p_value, "cleared": point.cleared}
            row |= {"noticed": max(point.noticed.values(), default=None)} | _limits("label_auroc", audited.auroc)
            row |= {"own_auroc_p": point.own_auroc_p_value, "wsc": point.wsc}
            row |= {"alignment": point.alignment, "alignment_z": point.alignment_z}
            row |= {"alignment_p": point.alignment_p_value, "used": curves.used(name)[index]}
            row |= {"audit_seconds": audited.cost and audited.cost.audit}
            row |= {"evaluation_seconds": audited.cost and audited.cost.evaluation}
            rows.append(row)
    return pd.DataFrame(rows)


def _finding_row(finding: Finding, audit: Audit) -> dict[str, object]:
    row: dict[str, object] = {
        "attribute": finding.attribute,
        "verdict": finding.verdict,
        "shared_with": "; ".join(finding.shared_with),
        "images": sum(finding.levels.values()),
        "patients": finding.patients,
        "missing": finding.missing,
        "left_out": sum(finding.left_out.values()),
        "levels": "; ".join(f"{name}: {count}" for name, count in finding.levels.items()),
    }
    if finding.evidence is not None:
        row |= _tested(finding.evidence) | _leading(finding, finding.evidence, audit) | _described(finding.evidence)
    if finding.counterfactual is not None:
        row |= _limits("swapped", finding.counterfactual.change)
    return {**row, "reason": finding.reason}


def _tested(shown: Evidence) -> dict[str, object]:
    """What the verdict rests on."""
    row: dict[str, object] = {}
    if shown.encoding is not None:
        row |= _limits("own_auroc", shown.encoding.own_auroc) | {"own_auroc_p": shown.encoding_p_value}
        row |= {"auroc": shown.encoding.auroc.value}
        row |= {name: value.value for name, value in shown.encoding.metrics.items()}
    return row | _limits("gap", shown.gap.effect) | {"gap_p": shown.gap_p_value}


def _leading(finding: Finding, shown: Evidence, audit: Audit) -> dict[str, object]:
    """The leading difference, and p-values adjusted over the attributes; empty in records before version 5."""
    one = told(finding, audit)
    tests: dict[str, object] = {"differences_p": shown.differences_p_value, "spread_p": shown.spread_p_value}
    if one is None or one.row is None:
        return tests
    names = naming(finding, audit)
    place = {
        "difference_scale": one.row.scale,
        "difference_label": names.labels[one.row.label],
        "difference_levels": between(one.row, names),
    }
    return place | _limits("difference", one.value) | tests


def _described(shown: Evidence) -> dict[str, object]:
    """The further statistics, which decide nothing."""
    aligned, erased = shown.alignment, shown.erasure
    return {
        "largest_wsc": aligned and _largest(aligned.wsc),
        "wsc_p": aligned and aligned.wsc_test.p_value,
        "largest_alignment": aligned and _largest(aligned.within),
        "largest_wsc_balanced": aligned and _largest(aligned.balanced),
        "gap_detectable": shown.gap.detectable,
        "own_auroc_q": shown.encoding_q_value,
        "gap_q": shown.gap_q_value,
        "latent_counterfactual": shown.latent and shown.latent.effect,
        "erasure": erased and erased.change.value,
        "erasure_p": erased and erased.test.p_value,
        "alignment_z": aligned and aligned.test.z,
        "alignment_p": aligned and aligned.test.p_value,
    }


def _limits(name: str, found: Estimate) -> dict[str, object]:
    """The three columns of a number with limits."""
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _largest(values: Sequence[Sequence[float]]) -> float | None:
    """Largest absolute value, None of an empty matrix."""
    return float(np.abs(values).max()) if values else None
