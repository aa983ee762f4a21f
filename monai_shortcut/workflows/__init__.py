# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Studies that train a user's own bundle many times, and audits added to bundles as they are."""

from __future__ import annotations

from monai_shortcut.workflows.add_on import attach_audit, audit_cohort, audited_network
from monai_shortcut.workflows.readers import analyse_readers, export_reader_study, read_predictions
from monai_shortcut.workflows.region_study import RegionStudy

__all__ = [
    "RegionStudy",
    "analyse_readers",
    "attach_audit",
    "audit_cohort",
    "audited_network",
    "export_reader_study",
    "read_predictions",
]
