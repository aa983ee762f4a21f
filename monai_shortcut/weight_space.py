# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Weight space correlation: a door to `monai_shortcut.statistics.weight_space`."""

from __future__ import annotations

from monai_shortcut.statistics.weight_space import (
    Sweep,
    alignment,
    alignment_null,
    component_sweep,
    weight_space_correlation,
)

__all__ = ["Sweep", "alignment", "alignment_null", "component_sweep", "weight_space_correlation"]
