# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Studies that train a user's own bundle many times."""

from __future__ import annotations

from monai_shortcut.workflows.region_study import RegionStudy

__all__ = ["RegionStudy"]
