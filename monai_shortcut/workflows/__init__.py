# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Studies that train a user's own bundle many times, and audits added to bundles as they are."""

from __future__ import annotations

from monai_shortcut.workflows.add_on import attach_audit, audit_cohort, audited_network, exit_by_verdict
from monai_shortcut.workflows.before_and_after import compare_records
from monai_shortcut.workflows.memory import keep_freed_memory
from monai_shortcut.workflows.readers import analyse_readers, export_reader_study, read_predictions
from monai_shortcut.workflows.region_study import RegionStudy
from monai_shortcut.workflows.training import check_training

__all__ = [
    "RegionStudy",
    "analyse_readers",
    "attach_audit",
    "audit_cohort",
    "audited_network",
    "check_training",
    "compare_records",
    "exit_by_verdict",
    "export_reader_study",
    "keep_freed_memory",
    "read_predictions",
]
