# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves compared: a door to `monai_shortcut.statistics.delong`."""

from __future__ import annotations

from monai_shortcut.statistics.delong import AUCComparison, auc_covariance, compare_aucs, fold_auc_covariance

__all__ = ["AUCComparison", "auc_covariance", "compare_aucs", "fold_auc_covariance"]
