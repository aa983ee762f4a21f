# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from difference_cases import LABELS, LEVELS, compared, row

from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.settling import settling, undecided

SETTINGS, NAMES = AuditSettings(), Names(LABELS, LEVELS)
ONE_SIDED, TWO_SIDED, POWER, CRITICAL = 1.6449, 1.96, 0.8416, 2.6
SPREAD = 0.3  # of answers of one label and level, between patients


def seen(value: float, *patients: int):
    """The difference that two cells of so many patients show, if it is this one."""
    error = SPREAD * np.sqrt(sum(1 / count for count in patients))
    half = TWO_SIDED * error if value == 0 else 0.9 * value  # a difference that is there is certain not to be zero
    given = {"possible": value + ONE_SIDED * error, "detectable": (CRITICAL + POWER) * error}
    return row(value, half, patients=min(patients), **given)


def settled(value: float, *patients: int) -> float:
    """The share of cohorts in which a difference of this size is settled, patients being drawn."""
    rng, cohorts = np.random.default_rng(sum(patients)), 3000
    first, second = (rng.normal(mean, SPREAD, (cohorts, n)) for mean, n in zip((0, value), patients, strict=True))
    sizes = np.abs(second.mean(axis=1) - first.mean(axis=1))
    errors = np.sqrt(first.var(axis=1, ddof=1) / patients[0] + second.var(axis=1, ddof=1) / patients[1])
    below, above = sizes + ONE_SIDED * errors < SETTINGS.tolerance, sizes - CRITICAL * errors > SETTINGS.tolerance
    return float(np.mean(above if value > SETTINGS.tolerance else below))


@pytest.mark.parametrize(
    ("value", "patients"),
    [(0.0, (40, 40)), (0.0, (20, 80)), (0.0, (25, 400)), (0.06, (80, 80)), (0.2, (40, 40)), (0.2, (30, 90))],
)
def test_of_cohorts_of_the_size_that_is_named_four_in_five_settle_it(value, patients):
    """By drawing such cohorts; of the size that there is, fewer than half do."""
    found = seen(value, *patients)
    needed = settling([found], compared(found, patients=(patients, patients)), SETTINGS, NAMES)
    assert needed is not None
    assert needed.cells == "benign at A and at B"
    assert settled(value, needed.patients, max(needed.patients, *patients)) == pytest.approx(0.8, abs=0.05)
    assert settled(value, *patients) < 0.5


def test_the_difference_that_needs_most_is_named_and_what_is_settled_or_small_is_not():
    small = row(0.0, possible=0.5, patients=19)
    done, open_, wider = row(0.0, possible=0.09), row(0.0, possible=0.15), row(0.0, possible=0.3, second=2)
    rows = [small, done, open_, wider]
    assert undecided(rows, SETTINGS, NAMES) == [open_, wider]
    needed = settling(rows, compared(*rows), SETTINGS, NAMES)
    assert needed is not None
    assert (needed.row, needed.cells) == (wider, "benign at A and at C")
    assert settling([small, done], compared(small, done), SETTINGS, NAMES) is None


def test_what_lies_at_the_limit_only_another_limit_settles():
    found = row(0.099, half=0.04, possible=0.15)
    needed = settling([found], compared(found), SETTINGS, NAMES)
    assert needed is not None
    assert needed.patients is None
    assert needed.text == "It lies so near the tolerance that only another tolerance settles it"
