# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pages, tables and figures, written from a record alone."""

from __future__ import annotations

from monai_shortcut.report.files import writable
from monai_shortcut.report.pages import write_overview, write_report
from monai_shortcut.report.reading_page import write_reader_report, write_reading_page
from monai_shortcut.report.region_page import write_region_report
from monai_shortcut.report.training_page import write_training_report

__all__ = [
    "writable",
    "write_overview",
    "write_reader_report",
    "write_reading_page",
    "write_region_report",
    "write_report",
    "write_training_report",
]
