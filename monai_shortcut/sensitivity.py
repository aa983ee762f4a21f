# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Region sensitivity: a door to `monai_shortcut.analyses.region_sensitivity`."""

from __future__ import annotations

from monai_shortcut.analyses.region_sensitivity import RegionSensitivity, region_sensitivity

__all__ = ["RegionSensitivity", "region_sensitivity"]
