# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Transforms for MONAI pipelines: mask a region, plant a shortcut, remove burned-in text, show the pixel spacing."""

from __future__ import annotations

from monai_shortcut.transforms.masking import MaskROI, MaskROID, MaskROId, MaskROIDict
from monai_shortcut.transforms.overlays import RemoveOverlay, RemoveOverlayD, RemoveOverlayd, RemoveOverlayDict
from monai_shortcut.transforms.planting import PlantShortcut, PlantShortcutD, PlantShortcutd, PlantShortcutDict
from monai_shortcut.transforms.spacing import (
    AppendSpacing,
    AppendSpacingD,
    AppendSpacingd,
    AppendSpacingDict,
    SetSpacing,
    SetSpacingD,
    SetSpacingd,
    SetSpacingDict,
)

__all__ = [
    "AppendSpacing",
    "AppendSpacingD",
    "AppendSpacingDict",
    "AppendSpacingd",
    "MaskROI",
    "MaskROID",
    "MaskROIDict",
    "MaskROId",
    "PlantShortcut",
    "PlantShortcutD",
    "PlantShortcutDict",
    "PlantShortcutd",
    "RemoveOverlay",
    "RemoveOverlayD",
    "RemoveOverlayDict",
    "RemoveOverlayd",
    "SetSpacing",
    "SetSpacingD",
    "SetSpacingDict",
    "SetSpacingd",
]
