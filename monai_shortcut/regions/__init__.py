# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The region of interest: which part of an image to hide, and how."""

from __future__ import annotations

from monai_shortcut.regions.margins import RegionMargins, dilate
from monai_shortcut.regions.pixels import RegionError, bounding_box, choose_labels
from monai_shortcut.regions.placement import shift_region
from monai_shortcut.regions.strategies import STRATEGIES, mask_roi

__all__ = [
    "STRATEGIES",
    "RegionError",
    "RegionMargins",
    "bounding_box",
    "choose_labels",
    "dilate",
    "mask_roi",
    "shift_region",
]
