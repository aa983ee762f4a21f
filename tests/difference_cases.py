# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Differences of the answers, findings and records made of given numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from audit_cases import measured

from monai_shortcut.analyses.differences import Difference, Differences
from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.record import USED, Audit, EmbeddingMap, Evidence, Finding
from monai_shortcut.types import Estimate, Tested

LABELS = ("benign", "malignant")
LEVELS = ("A", "B", "C")
TOLD_APART = RegionScore("malignant", "full", 120, Estimate(0.9, 0.8, 0.95), 0.01, 0.0, 1.0)


def row(value: float = 0.2, half: float = 0.125, **changed: Any) -> Difference:
    """A difference with limits on either side; in probability, of benign images, B against A, unless changed."""
    given = {"label": 0, "first": 0, "second": 1, "scale": "probability", "certain": 0.0, "possible": abs(value) + half}
    given |= {"detectable": 0.0625, "patients": 40, "p_value": 0.25}
    return Difference(**{**given, "estimate": Estimate(value, value - half, value + half), **changed})


def compared(*rows: Difference, **changed: Any) -> Differences:
    """Differences with a test, and their scatter."""
    given = {"spread": Tested(1.5, (1.0, 2.0)), "scattered": (1, 0, 2), "patients": ((40, 40, 40), (40, 40, 40))}
    return Differences(rows, Tested(3.0, (1.0, 2.0, 1.0)), **{**given, **changed})


def shown(*rows: Difference, **changed: Any) -> Evidence:
    """Evidence with these differences."""
    evidence = measured(0.01, 0.9, 0.02, 0.3, 0.4)
    given = {"differences": compared(*rows), "differences_p_value": 0.03, "spread_p_value": 0.75}
    return replace(evidence, **{**given, **changed})


def found(attribute: str, evidence: Evidence | None, verdict: str = USED, **changed: Any) -> Finding:
    """A finding of three levels."""
    given = {"reason": f"Because of {attribute}.", "levels": dict.fromkeys(LEVELS, 40), "edges": (), "missing": 0}
    given |= {"left_out": {}, "patients": 120, "counterfactual": None}
    return Finding(attribute=attribute, verdict=verdict, evidence=evidence, **{**given, **changed})


def bare(*findings: Finding, **settings: Any) -> Audit:
    """A record of nothing but findings, of a model that tells the classes apart."""
    return Audit(
        title="",
        label_names=LABELS,
        labels=dict.fromkeys(LABELS, 60),
        patients=120,
        excluded={},
        settings=AuditSettings(**settings),
        regions=RegionSensitivity("full", (TOLD_APART,), {}),
        findings=findings,
        embedding_map=EmbeddingMap(((0.0, 0.0),), (0.5, 0.25), ("benign",), {}),
    )
