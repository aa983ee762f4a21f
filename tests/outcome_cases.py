# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regressions of which the truth is known: a head circumference, and a scanner that goes along with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.types import Outcome

CIRCUMFERENCE = Outcome("head circumference", "mm")
FEW = AuditSettings(
    permutations=99, bootstraps=99, repeats=1, erasures=9, held_out=0, outcome_tolerance=4.0, readable=0.7
)


def regression(
    seed: int = 0,
    images: int = 600,
    *,
    tie: float = 0.5,
    used: float = 0.0,
    encoded: float = 2.0,
    error: float = 0.0,
    noise: float = 8.0,
    scatter: float = 0.0,
    seen: Callable[[Any], Any] = lambda outcome: outcome,
) -> dict[str, Any]:
    """Arguments of an audit; one image of each patient, outcomes of 200 mm with a standard deviation of 20 mm.

    Args:
        seed: of the draws.
        images: number of images.
        tie: correlation of the outcome with what the scanner is cut from.
        used: by how many mm the head raises predictions of scanner B.
        encoded: standard deviations between the scanners along a coordinate of the embedding.
        error: standard deviation of the error with which the outcome is recorded, in mm.
        noise: standard deviation of the predictions around what they see, in mm.
        scatter: by what factor it is larger at scanner B, less one.
        seen: what a network that predicts without error sees of an outcome.
    """
    rng = np.random.default_rng(seed)
    true, other = rng.normal(size=(2, images))
    scanner = (tie * true + np.sqrt(1 - tie**2) * other > 0).astype(int)
    outcome, points = 200 + 20 * true, rng.normal(size=(images, 12))
    points[:, 0] = seen(outcome) + noise * (1 + scatter * scanner) * points[:, 0]
    points[:, 1] += encoded * scanner
    weight = np.zeros((1, 12))
    weight[0, :2] = 1.0, used / encoded if encoded else 0.0
    points[:, 1] -= points[:, 1] - encoded * scanner if used else 0.0  # what the head adds is the same for all
    return {
        "embeddings": points,
        "weight": weight,
        "bias": np.zeros(1),
        "labels": outcome + error * rng.normal(size=images),
        "patients": [f"p{number}" for number in range(images)],
        "attributes": {"scanner": np.array(["A", "B"])[scanner]},
        "outcome": CIRCUMFERENCE,
        "settings": FEW,
    }


def asked(case: dict[str, Any], draws: Any = FEW) -> AttributeSample:
    """The images of such arguments, and the scanner."""
    head = (case[name] for name in ("embeddings", "weight", "bias", "labels", "patients"))
    images = Sample.of_outcome(*head, outcome=case["outcome"], draws=draws)
    return images.by("scanner", attribute_levels(case["attributes"]["scanner"], images.patients))
