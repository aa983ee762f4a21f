# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit of a regression takes in another way than that of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from monai_shortcut.analyses.outcome_errors import errors_of
from monai_shortcut.analyses.region_sensitivity import RegionSensitivity
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.record import Regression
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.types import Outcome

SMALL = 0.2  # standard deviations of the outcome that matter unless a tolerance is given: Cohen's small effect
NO_AREAS = RegionSensitivity("full", (), {"Regions": "this is a regression, which has no classes."})


def check_outcome(outcome: Outcome | None, label_names: Sequence[str], regions: Any = None, masked: Any = None) -> None:
    """Refuse what does not go with a regression, and the lack of names of a classifier.

    Raises:
        ValueError: If anything else is given.
    """
    if outcome is None:
        if not len(label_names):
            raise ValueError("label_names must name the classes, or outcome what a regression predicts, got neither.")
        return
    given = {"label_names": label_names, "regions": regions, "masked": masked}
    wrong = [name for name, value in given.items() if value is not None and not (name != "masked" and not len(value))]
    if wrong:
        raise ValueError(f"a regression (outcome) must go without {', '.join(given)}, got {', '.join(wrong)}.")


def require_classes(what: str, outcome: str | None) -> None:
    """Refuse a regression where only classes are known, and say what can be done instead.

    Args:
        what: what takes classes.
        outcome: what a regression predicts; None of a classifier.

    Raises:
        ValueError: If it is a regression.
    """
    if outcome:
        raise ValueError(
            f"{what} must be given a classifier, got a regression of {outcome}. Audit each of the models by itself, "
            f'with outcome="{outcome}" of audit_classifier or ShortcutAudit, audit_outcome of the overlays inference '
            "and evaluate, or --outcome of the command, and with one outcome_tolerance: the differences of their "
            "reports are in the unit of the outcome, and stand side by side."
        )


def check_predictions(columns: Mapping[str, Any], images: int) -> None:
    """Refuse predictions that are not one number for each image."""
    for name, values in columns.items():
        if np.shape(values) != (images, 1):
            raise ValueError(f"{name} must have shape {(images, 1)}, got {np.shape(values)}.")


def regarded(
    sample: Sample, label_names: Sequence[str], settings: AuditSettings
) -> tuple[Sequence[str], AuditSettings, Regression | None]:
    """Names, settings and description of a regression; those of a classifier as they are.

    Returns:
        Names of the strata and of all of them together, the settings with a tolerance, and what is predicted how well.
    """
    known = sample.outcome
    if known is None:
        return label_names, settings, None
    spread, called = float(known.values.std()), known.called
    found = Regression(
        name=called.name,
        unit=called.unit,
        spread=spread,
        edges=known.edges,
        errors=errors_of(sample),
        assumed=settings.outcome_tolerance is None,
    )
    chosen = replace(settings, outcome_tolerance=settings.outcome_tolerance or SMALL * spread)
    return (*known.strata, f"any {called.name}"), chosen, found
