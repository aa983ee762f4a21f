# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the model see what no reader sees? The rule, and its answer in words."""

from __future__ import annotations

from dataclasses import replace

from monai_shortcut.reader_study.record import INCONCLUSIVE, NO, NOT_MEASURED, YES, StrategyReading
from monai_shortcut.types import p_text, with_limits

SIGNIFICANCE = 0.05


def answered(reading: StrategyReading, tolerance: float) -> StrategyReading:
    """The reading with its answer.

    "Yes": the model's area is above chance, above every reader's, and ahead of the readers' mean, both with an
    adjusted p of at most 0.05. "No": the interval leaves the model no lead of as much as the tolerance. Else
    "inconclusive".

    Args:
        reading: with its numbers.
        tolerance: smallest difference of areas that matters.
    """
    if reading.ahead is None or reading.auc is None or reading.model is None:
        return replace(reading, answer=NOT_MEASURED, reason=_missing(reading))
    best = max(one.auc.value for one in reading.readers if one.reader in reading.joint and one.auc)
    above_all = reading.model.value > max(best, 0.5)
    certain = _significant(reading.ahead_p_value) and _significant(reading.model_p_value)
    if certain and above_all and reading.ahead.value > 0:
        answer, meaning = YES, "It sees there what these readers do not."
    elif reading.ahead.high < tolerance:
        answer, meaning = NO, f"A lead of {tolerance:g} is ruled out."
    else:
        answer, meaning = INCONCLUSIVE, "These cases and readers cannot tell whether it sees more than they do."
    return replace(reading, answer=answer, reason=f"{_numbers(reading, best)} {meaning} {_at_chance(reading)}".strip())


def _significant(p_value: float | None) -> bool:
    return p_value is not None and p_value <= SIGNIFICANCE


def _missing(reading: StrategyReading) -> str:
    if not reading.joint:
        return "No reader has answered all of these pictures."
    if reading.auc is None:
        return "Each class must have cases of at least two patients."
    return "Nobody asked the model about these pictures."


def _numbers(reading: StrategyReading, best: float) -> str:
    assert reading.model is not None
    assert reading.auc is not None
    assert reading.ahead is not None
    mean = with_limits(reading.auc)
    readers = (
        f"the only reader's is {mean}, which says nothing of others"
        if len(reading.joint) == 1
        else f"the mean of {len(reading.joint)} readers is {mean}, the best has {best:.2f}"
    )
    return (
        f"The model's AUC is {with_limits(reading.model)}; {readers}. The model's lead is "
        f"{with_limits(reading.ahead)}, p {p_text(reading.ahead_p_value)}."
    )


def _at_chance(reading: StrategyReading) -> str:
    better = reading.auc is not None and reading.auc.value > 0.5
    return (
        "" if better and _significant(reading.chance_p_value) else "The readers are not shown to do better than chance."
    )
