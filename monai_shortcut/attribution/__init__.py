# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where does a network look? It takes the network and images, not a sample."""

from __future__ import annotations

from monai_shortcut.attribution.measure import attribution
from monai_shortcut.attribution.methods import METHODS, Answers
from monai_shortcut.attribution.parts import PARTS, region_parts
from monai_shortcut.attribution.record import Attribution
from monai_shortcut.attribution.settings import AttributionSettings
from monai_shortcut.attribution.shapley import regional_shapley

__all__ = [
    "METHODS",
    "PARTS",
    "Answers",
    "Attribution",
    "AttributionSettings",
    "attribution",
    "region_parts",
    "regional_shapley",
]
