# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear erasure: a door to `monai_shortcut.analyses.erasure`."""

from __future__ import annotations

from monai_shortcut.analyses.erasure import Eraser, fit_eraser, random_eraser

__all__ = ["Eraser", "fit_eraser", "random_eraser"]
