# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Former path of `monai_shortcut.phantom.regions`, which user configs name."""

from __future__ import annotations

from monai_shortcut.phantom.regions import LABELS, RegionPhantom, draw_region_phantom

__all__ = ["LABELS", "RegionPhantom", "draw_region_phantom"]
