# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How many patients it takes to tell whether a difference exceeds what a user tolerates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import ndtri

from monai_shortcut.analyses.differences import Difference, Differences
from monai_shortcut.audit.leading import tolerated
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.settings import AuditSettings

_HOPELESS = 25  # times as many patients that nobody will find
_POWER = 0.8


@dataclass(frozen=True)
class Settling:
    """What would settle the difference of an attribute that needs most.

    Attributes:
        row: the difference.
        patients: of each of its two cells, for a chance of four in five; None where only another tolerance settles it.
        cells: the two cells in words.
    """

    row: Difference
    patients: int | None
    cells: str

    @property
    def text(self) -> str:
        """Such as "About 200 patients each of benign at A and at B would settle it; the smaller cell has 40"."""
        if self.patients is None:
            return "It lies so near the tolerance that only another tolerance settles it"
        held = f"the smaller cell has {self.row.patients}"
        return f"About {self.patients} patients each of {self.cells} would settle it; {held}"


def undecided(rows: Sequence[Difference], settings: AuditSettings, names: Names) -> list[Difference]:
    """Differences of cells with enough patients that may reach the tolerance."""
    return [
        row
        for row in rows
        if row.patients >= settings.judged_patients and row.possible >= tolerated(row, settings, names)
    ]


def settling(rows: Sequence[Difference], found: Differences, settings: AuditSettings, names: Names) -> Settling | None:
    """What would settle these differences: what the one that needs most takes; None where all are settled.

    Args:
        rows: differences that are judged.
        found: all differences of the attribute, for the patients of its cells.
        settings: what counts.
        names: what labels and levels are called.
    """
    needs = [(_times(row, tolerated(row, settings, names), settings), row) for row in undecided(rows, settings, names)]
    if not needs:
        return None
    times, row = max(needs, key=lambda pair: pair[0])
    cells = f"{names.labels[row.label]} at {names.levels[row.first]} and at {names.levels[row.second]}"
    if times > _HOPELESS:
        return Settling(row, None, cells)
    held = [found.patients[row.label][level] for level in (row.first, row.second)] if found.patients else ()
    wanted = int(round(each(times, row.patients, max([row.patients, *held])), -1)) or 10
    least = math.ceil(1.1 * row.patients)  # a chance of four in five is not that exact
    return Settling(row, max(wanted, least), cells)


def each(times: float, fewer: int, more: int) -> float:
    """Patients of each of two cells for a variance so many times smaller; a larger cell keeps what it has.

    The variance of a difference is proportional to 1 / fewer + 1 / more where both cells vary alike.

    Example:
        >>> [round(each(*given)) for given in ((4, 50, 50), (2, 60, 60), (1.5, 100, 300))]
        [200, 120, 180]
    """
    target = (1 / fewer + 1 / more) / times
    return 2 / target if 2 / target >= more else 1 / (target - 1 / more)


def _times(row: Difference, tolerance: float, settings: AuditSettings) -> float:
    """Times as small a variance it takes, for a chance of four in five, until a difference is settled.

    If there may be no difference, or one below the tolerance, its one-sided limit has to fall below the tolerance. If
    it is above, its limit among all differences of the attribute has to exceed the tolerance.
    """
    value, one_sided = abs(row.estimate.value), float(ndtri(settings.confidence))
    error = (row.possible - value) / one_sided
    if row.estimate.low <= 0 <= row.estimate.high:  # the estimate errs to both sides
        return float(((one_sided + ndtri(0.5 + _POWER / 2)) * error / max(tolerance, 1e-9)) ** 2)
    if value < tolerance:
        return float(((one_sided + ndtri(_POWER)) * error / (tolerance - value)) ** 2)
    return float((row.detectable / max(value - tolerance, 1e-9)) ** 2)
