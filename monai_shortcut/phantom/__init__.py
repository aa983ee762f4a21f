# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images whose truth is known: drawn with a shortcut, or marked with one."""

from __future__ import annotations

from monai_shortcut.phantom.fetal_planes import Phantom, Scanner, draw_phantom
from monai_shortcut.phantom.regions import RegionPhantom, draw_region_phantom

__all__ = ["Phantom", "RegionPhantom", "Scanner", "draw_phantom", "draw_region_phantom"]
