# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Who is studied: one row per image, with its patient, label and attributes."""

from __future__ import annotations

from monai_shortcut.cohort.levels import Levels, attribute_levels
from monai_shortcut.cohort.reading import Columns
from monai_shortcut.cohort.table import Cohort

__all__ = ["Cohort", "Columns", "Levels", "attribute_levels"]
