# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pages, tables and figures, written from a record alone."""

from __future__ import annotations

from monai_shortcut.report.check_page import write_check
from monai_shortcut.report.comparison_page import write_comparison
from monai_shortcut.report.pages import write_overview, write_report, write_reports
from monai_shortcut.report.reading_page import write_reader_report, write_reading_page
from monai_shortcut.report.region_page import write_region_report
from monai_shortcut.report.training_page import write_training_report
from monai_shortcut.storage.folders import writable

__all__ = [
    "writable",
    "write_check",
    "write_comparison",
    "write_overview",
    "write_reader_report",
    "write_reading_page",
    "write_region_report",
    "write_report",
    "write_reports",
    "write_training_report",
]
