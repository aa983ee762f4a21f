# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear erasure: a door to `monai_shortcut.statistics.erasers`."""

from __future__ import annotations

from monai_shortcut.statistics.erasers import Eraser, fit_eraser, random_eraser

__all__ = ["Eraser", "fit_eraser", "random_eraser"]
