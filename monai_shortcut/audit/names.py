# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What labels and levels are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Names:
    """Names by code.

    Attributes:
        labels: of the classes.
        levels: of the levels of an attribute.
        others: of the levels of other attributes.
        unit: of the predictions of a regression; empty of a classifier.
    """

    labels: tuple[str, ...]
    levels: tuple[str, ...]
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unit: str = ""
