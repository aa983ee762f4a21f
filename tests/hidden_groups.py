# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of two scanners that no column names."""

from __future__ import annotations

import numpy as np

from monai_shortcut.audit import Audit, AuditSettings, audit

QUICK = AuditSettings(permutations=59, bootstraps=9, repeats=1, erasures=1, held_out=0, discovered_groups=3)
TURN = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0][:4]


def hidden(seed: int, strength: float, patients: int = 150, trace: float = 8.0):
    """Embeddings, head, labels, patients and the scanner of each, which is independent of the label.

    Four directions hold the label, the scanner's trace, and nothing; the head reads the label, and the scanner as
    strongly as told.
    """
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    label, scanner = rng.integers(2, size=len(patient)), rng.integers(2, size=patients)[patient]
    told = rng.normal(size=(len(patient), 4)) + 0.5 * rng.normal(size=(patients, 4))[patient]
    told[:, 0] += 3 * label
    told[:, 1] += trace * scanner
    points = told @ TURN + 0.2 * rng.normal(size=(len(patient), 16))
    weight = np.stack([np.zeros(16), 1.5 * TURN[0] + 4.5 / 8 * strength * TURN[1]])
    return points, weight, np.array([0, -2.25 * (1 + strength)]), label, patient, scanner


def audited(seed: int, strength: float, settings: AuditSettings = QUICK, rows=None, **changed) -> Audit:
    """An audit in which the scanner's column is withheld, unless it is among the attributes."""
    points, weight, bias, label, patient, _ = hidden(seed, strength)
    other = np.random.default_rng(seed).integers(2, size=len(label))
    order = np.arange(len(label)) if rows is None else rows
    given = {"attributes": {"operator": [f"operator {code}" for code in other[order]]}} | changed
    people, ids = [f"p{number}" for number in patient[order]], [f"image {row}" for row in order]
    names = ["benign", "malignant"]
    given |= {"label_names": names, "image_ids": ids, "settings": settings}
    return audit(points[order], weight, bias, label[order], people, **given)
