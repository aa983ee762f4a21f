# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit of these images can find, told before it begins."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.differences import MEANS, PREDICTION, PROBABILITY, foreseen
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.leading import capped
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.types import Unmeasurable, plain

logger = logging.getLogger(__name__)


def detectable(
    sample: Sample,
    coded: Mapping[str, Levels],
    settings: AuditSettings,
    audits: int = 1,
    parts: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, dict[int, tuple[float, int]]]:
    """The smallest use in mean answers that would be found in four of five such cohorts, before any permutation.

    Args:
        sample: the images.
        coded: levels by attribute.
        settings: settings of the audit.
        audits: number of audits over which p-values are adjusted.
        parts: the two attributes of each intersection, beyond which it is tested.

    Returns:
        By attribute and label: how far the mean answer between the two levels with the most patients has to move for
        the verdict "used", and the patients of the smaller of these two cells.
    """
    found: dict[str, dict[int, tuple[float, int]]] = {}
    for name, levels in coded.items():
        try:
            one = replace(sample.by(name, levels), beyond=beyond((parts or {}).get(name, ()), coded))
            rows = foreseen(one, len(coded) * audits, 1 - settings.significance, settings.threshold)
        except Unmeasurable:
            continue
        best: dict[int, tuple[float, int]] = {}
        for row in sorted((row for row in rows if row.scale in MEANS), key=lambda row: row.patients):
            best[row.label] = row.detectable, row.patients
        found[name] = best
    return found


def beyond(parts: Sequence[str], coded: Mapping[str, Levels]) -> tuple[NDArray[np.int64], ...]:
    """Levels (N,) of the attributes that an intersection is tested beyond; none of another attribute."""
    return tuple(coded[part].codes for part in parts)


def tell_permutations(asked: int, needed: int, tests: int) -> None:
    """Warn where so many tests need more permutations than were asked for, which are then drawn."""
    if needed > asked:
        logger.warning(
            "%d permutations cannot make one of %d tests significant: the least that can, %d, are drawn. More, such "
            "as 999, tell small p-values apart.",
            *(asked, tests, needed),
        )


def tell_power(found: Mapping[str, str]) -> None:
    """Log what can be found, by attribute, as `least_use` says it."""
    for name, told in found.items():
        logger.info("%s: %s.", name, told)


def least_use(
    sample: Sample,
    coded: Mapping[str, Levels],
    settings: AuditSettings,
    label_names: Sequence[str],
    audits: int,
    parts: Mapping[str, tuple[str, ...]],
) -> dict[str, str]:
    """What can be found, in words, by attribute."""
    found, scale = {}, PROBABILITY if sample.outcome is None else PREDICTION
    for name, labels in detectable(sample, coded, settings, audits, parts).items():
        each = [
            f"{plain(capped(settings.tolerated(label_names[label], scale) + reach, scale))} in {label_names[label]} "
            f"({patients} patients)"
            for label, (reach, patients) in sorted(labels.items())
        ]
        told = ", ".join(each) or "none: fewer than five patients in each label and level"
        found[name] = f"smallest use that these images would show, in {sample.unit or scale}: {told}"
    return found
