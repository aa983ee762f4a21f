# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Former path of `monai_shortcut.cohort.levels`, which user configs name."""

from __future__ import annotations

from monai_shortcut.cohort.levels import Levels, attribute_levels

__all__ = ["Levels", "attribute_levels"]
