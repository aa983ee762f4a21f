# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear probes: a door to `monai_shortcut.analyses.encoding`."""

from __future__ import annotations

from monai_shortcut.analyses.encoding import LinearProbe, fit_probe, null_probes, probe_encoding

__all__ = ["LinearProbe", "fit_probe", "null_probes", "probe_encoding"]
