# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images of a head that reads the scanner, to be repaired."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from monai_shortcut.audit import Audit, AuditSettings, audit

WIDE = {"tolerance": 0.2, "decision_tolerance": 0.2, "rank_tolerance": 0.2}  # few patients tell what is within
SETTINGS = AuditSettings(permutations=99, bootstraps=99, repeats=1, erasures=5, held_out=0, **WIDE)


class Images(NamedTuple):
    """Embeddings (N, 8) of two labels, two scanners that the head below reads, and two sites that it does not."""

    points: np.ndarray
    labels: np.ndarray
    scanner: np.ndarray
    site: np.ndarray
    patients: np.ndarray

    @property
    def to_fit(self) -> tuple[Any, ...]:
        return self.points, self.labels, self.scanner, self.patients


WEIGHT = np.array([[0.0] * 8, [1.5, 1.5, 0, 0, 0, 0.2, 0, 0]])
BIAS = np.array([0.0, -3.0])


def draw(seed: int, patients: int = 150, tie: float = 0.5, trace: float = 2.0) -> Images:
    """Two images of each patient; the scanner is the label's own with probability `tie`, else either."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    label = rng.integers(2, size=2 * patients)
    scanner = np.where(rng.random(2 * patients) < tie, label, rng.integers(2, size=2 * patients))
    site = rng.integers(2, size=patients)[patient]
    points = rng.normal(size=(2 * patients, 8)) + 0.3 * rng.normal(size=(patients, 8))[patient]
    points[:, 0] += 2 * label
    points[:, 1] += trace * scanner
    points[:, 2] += site
    return Images(points, label, scanner, site, np.array([f"seed {seed} patient {one}" for one in patient]))


def audited(images: Images, weight: np.ndarray, bias: np.ndarray, title: str = "", **changed: Any) -> Audit:
    given = {
        "image_ids": [f"{name} image {row}" for row, name in enumerate(images.patients)],
        "attributes": {"scanner": ["AB"[code] for code in images.scanner], "site": ["NS"[one] for one in images.site]},
        "label_names": ["benign", "malignant"],
        "settings": SETTINGS,
    }
    return audit(images.points, weight, bias, images.labels, images.patients.tolist(), title=title, **given | changed)
