# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Former path of `monai_shortcut.audit.training`, which user configs name."""

from __future__ import annotations

from monai_shortcut.audit.training import TrainingCurves, curve_settings

__all__ = ["TrainingCurves", "curve_settings"]
