# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The numbers of an audit that loggers of metrics take, under names that they take."""

from __future__ import annotations

import re
from collections.abc import Mapping

from monai_shortcut.audit.leading import size, told
from monai_shortcut.audit.record import USED, Audit

_REFUSED = re.compile(r"[^\w. -]")  # by MLflow; slashes too where they begin, or stand beside dots


def logged(audit: Audit, prefix: str = "") -> dict[str, float]:
    """The numbers of each attribute that could be analysed.

    Args:
        audit: the record.
        prefix: what names begin with.

    Returns:
        ``<attribute>_own_auroc`` where the embedding is known, ``<attribute>_prediction_gap``,
        ``<attribute>_difference``, the size of the leading difference of the answers, where they were compared, and
        ``<attribute>_used``, 1 or 0.
    """
    numbers: dict[str, float] = {}
    for finding in audit.findings:
        name, shown, one = f"{prefix}{finding.attribute}", finding.evidence, told(finding, audit)
        if shown is None:
            continue
        if shown.encoding is not None:
            numbers[f"{name}_own_auroc"] = shown.encoding.own_auroc.value
        numbers[f"{name}_prediction_gap"] = shown.gap.effect.value
        if one is not None and one.row is not None:
            numbers[f"{name}_difference"] = size(one.row).value
        numbers[f"{name}_used"] = float(finding.verdict == USED)
    return numbers


def loggable(numbers: Mapping[str, float]) -> dict[str, float]:
    """The same numbers, with underscores in their names for what MLflow refuses.

    Example:
        >>> loggable({"age (years)_used": 1.0, "age [years]_used": 0.0})
        {'age _years__used': 1.0, 'age _years__used_': 0.0}
    """
    found: dict[str, float] = {}
    for name, value in numbers.items():
        plain = _REFUSED.sub("_", name)
        while plain in found:
            plain += "_"
        found[plain] = value
    return found
