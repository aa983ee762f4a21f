# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Former path of `monai_shortcut.cohort.matching`, which users' code names."""

from __future__ import annotations

from monai_shortcut.cohort.matching import ImageMatcher

__all__ = ["ImageMatcher"]
