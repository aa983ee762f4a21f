# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Find out whether a medical-image classifier uses shortcuts."""

from __future__ import annotations

# Bundle configs find classes by name only in modules that are imported: "imports": ["$import monai_shortcut"].
from monai_shortcut import datasets, handlers, networks, phantom, transforms
from monai_shortcut.versions import __version__

__all__ = ["__version__", "datasets", "handlers", "networks", "phantom", "transforms"]
