# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Audits in which the truth is known, and evidence made of given numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from monai_shortcut.analyses.alignment import Alignment
from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.prediction_gap import PredictionGap
from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.record import Evidence
from monai_shortcut.types import Estimate, Tested

QUICK = AuditSettings(permutations=99, bootstraps=39, repeats=2, erasures=9, held_out=1)
ALIGNED = Alignment(((0.99, -0.99),), Tested(0.99, (0.1, 0.2)), ((1.0, -1.0),), Tested(1.0, (0.1, 0.3)))
NOT_ALIGNED = Alignment(((0.0, 0.0),), Tested(0.0, (0.1, 0.2)), ((0.0, 0.0),), Tested(0.0, (0.1, 0.3)))


def simulated(seed: int = 0, patients: int = 40, classes: int = 2) -> dict[str, Any]:
    """Arguments of an audit in which the head reads the label and one of four attributes.

    "used" and "visible" have a coordinate of the embedding each, of which the head reads only the first; "absent" has
    none; nor has "tracks", which mostly goes along with the label.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 3)
    n = len(patient)
    label = rng.integers(classes, size=n)
    used, visible, absent = rng.integers(2, size=(3, n))
    tracks = np.where(rng.random(n) < 0.8, label % 2, 1 - label % 2)
    points = rng.normal(size=(n, 16)) + 0.3 * rng.normal(size=(patients, 16))[patient]
    points[:, 0] += 1.5 * used
    points[:, 1] += 1.5 * visible
    points[np.arange(n), 2 + label] += 2
    weight = np.zeros((classes, 16))
    weight[np.arange(classes), 2 + np.arange(classes)] = 1
    weight[1, 0] = 1.5
    named = {"used": used, "visible": visible, "absent": absent, "tracks": tracks}
    return {
        "embeddings": points,
        "weight": weight,
        "bias": np.arange(classes) * -0.75,
        "labels": label,
        "patients": [f"p{number}" for number in patient],
        "attributes": {name: [f"{name} {code}" for code in codes] for name, codes in named.items()},
        "label_names": [f"class {index}" for index in range(classes)],
        "settings": QUICK,
    }


def measured(
    encoding_p: float, high: float, gap_p: float, effect: float, gap_high: float, alignment: Alignment = NOT_ALIGNED
) -> Evidence:
    """Evidence with given adjusted p-values, upper limit of the area, gap and its upper limit."""
    area = Estimate(high - 0.08, high - 0.16, high)
    encoding = Encoding({"accuracy": Estimate(0.5, 0.4, 0.625)}, area, area, Tested(area.value, (0.5, 0.25)))
    means = (((0.25, 0.75), (0.5, 0.5)), ((None, None), (1.0, 0.0)))
    gap = PredictionGap(Estimate(effect, -0.05, gap_high), Tested(0.2, (0.1, 0.2, 0.3)), means)
    return Evidence(encoding, encoding_p, gap, gap_p, alignment)
