# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Published layouts of image collections, read as cohorts, and a check of the files behind a cohort."""

from __future__ import annotations

from monai_shortcut.datasets.busbra import read_busbra
from monai_shortcut.datasets.files import usable

__all__ = ["read_busbra", "usable"]
