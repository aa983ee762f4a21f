# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What labels and levels are called."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """Names by code.

    Attributes:
        labels: of the classes.
        levels: of the levels of an attribute.
    """

    labels: tuple[str, ...]
    levels: tuple[str, ...]
