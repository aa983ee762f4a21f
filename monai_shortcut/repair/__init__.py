# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Candidates for the repair of a head that uses an attribute, and the audit that says whether one worked."""

from __future__ import annotations

from monai_shortcut.repair.comparison import Comparison, compare_audits
from monai_shortcut.repair.given import require_apart
from monai_shortcut.repair.head import RepairedHead
from monai_shortcut.repair.linear_erasure import erase
from monai_shortcut.repair.rebalancing import rebalance
from monai_shortcut.repair.sampling import balanced_table, sampling_weights, write_weighted_datalist
from monai_shortcut.repair.thresholds import LevelThresholds, thresholds

__all__ = [
    "Comparison",
    "LevelThresholds",
    "RepairedHead",
    "balanced_table",
    "compare_audits",
    "erase",
    "rebalance",
    "require_apart",
    "sampling_weights",
    "thresholds",
    "write_weighted_datalist",
]
