# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear probes: a door to `monai_shortcut.statistics.probes`."""

from __future__ import annotations

from monai_shortcut.statistics.probes import LinearProbe, fit_probe, null_probes

__all__ = ["LinearProbe", "fit_probe", "null_probes"]
