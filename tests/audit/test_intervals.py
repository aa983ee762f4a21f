# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""No number of an audit lies outside its own interval, of however few patients and draws: 0.93 (-0.31 to 0.92)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from audit_cases import simulated

from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.types import Estimate

# Of nine samples the middle ones often do not hold the estimate.
FEW = AuditSettings(permutations=19, bootstraps=9, repeats=1, erasures=3, held_out=1, confidence=0.6)


def estimates(found: Any, where: str = "") -> Iterator[tuple[str, Estimate]]:
    """Every estimate within a record, and where it stands."""
    if isinstance(found, Estimate):
        yield where, found
    elif is_dataclass(found):
        for one in fields(found):
            yield from estimates(getattr(found, one.name), f"{where}.{one.name}")
    elif isinstance(found, dict):
        for name, value in found.items():
            yield from estimates(value, f"{where}.{name}")
    elif isinstance(found, list | tuple):
        for value in found:
            yield from estimates(value, where)


def outside(found: Any) -> list[str]:
    """Where a number lies outside its interval, by more than rounding."""
    wrong = [(where, one) for where, one in estimates(found) if not np.isnan(one.value)]
    return [f"{where}: {one}" for where, one in wrong if not one.low - 1e-12 <= one.value <= one.high + 1e-12]


@pytest.mark.parametrize(("seed", "patients", "classes"), [(0, 12, 2), (1, 14, 2), (2, 24, 3), (3, 40, 2)])
def test_every_number_lies_within_its_interval(seed, patients, classes):
    given = simulated(seed, patients, classes)
    record = audit(**{**given, "settings": FEW})
    places = {where for where, _ in estimates(record.findings)}
    assert {".evidence.gap.effect", ".evidence.encoding.own_auroc"} <= places
    assert outside(record) == []


def test_a_number_outside_its_interval_is_found():
    record = {"gap": [Estimate(0.93, -0.31, 0.92), Estimate(0.5, 0.5, 0.5)]}
    assert outside(record) == [".gap: Estimate(value=0.93, low=-0.31, high=0.92)"]
