# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Find out whether a medical-image classifier uses shortcuts."""

from __future__ import annotations

# Bundle configs find classes by name only in modules that are imported: "imports": ["$import monai_shortcut"].
# Their expressions, such as "$monai_shortcut.levels.attribute_levels(...)", find the former paths in the same way.
from monai_shortcut import (
    datasets,
    delong,
    erasure,
    handlers,
    levels,
    matching,
    networks,
    phantom,
    probes,
    repair,
    sensitivity,
    training_curves,
    transforms,
    weight_space,
)
from monai_shortcut.handlers.classifier import audit_classifier
from monai_shortcut.regions.properties import image_properties
from monai_shortcut.repair import compare_audits
from monai_shortcut.versions import __version__

__all__ = [
    "__version__",
    "audit_classifier",
    "compare_audits",
    "datasets",
    "delong",
    "erasure",
    "handlers",
    "image_properties",
    "levels",
    "matching",
    "networks",
    "phantom",
    "probes",
    "repair",
    "sensitivity",
    "training_curves",
    "transforms",
    "weight_space",
]
