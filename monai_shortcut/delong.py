# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves, their limits and comparisons: a door to `monai_shortcut.statistics.delong`."""

from __future__ import annotations

from monai_shortcut.statistics.delong import (
    AUCComparison,
    AUCEstimate,
    auc_covariance,
    compare_aucs,
    estimate_auc,
    fold_auc_covariance,
)

__all__ = ["AUCComparison", "AUCEstimate", "auc_covariance", "compare_aucs", "estimate_auc", "fold_auc_covariance"]
