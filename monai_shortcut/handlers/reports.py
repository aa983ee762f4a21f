# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Audits, written and told on the console."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monai_shortcut.audit.progress import terminal_width
from monai_shortcut.audit.record import Audit
from monai_shortcut.audit.wording import summary
from monai_shortcut.report.pages import write_report, write_reports


def write_and_tell(audits: Mapping[str, Audit], folder: str | Path, title: str, problems: Mapping[str, str]) -> None:
    """Write the report of each label, print its findings, and say where to start.

    Args:
        audits: by label; "" if there is one label.
        folder: where the report goes; with several labels an overview, and the report of each in a folder.
        title: of the overview.
        problems: why a label could not be audited.
    """
    print("audited; drawing the figures and writing the report", flush=True)
    if set(audits) == {""}:
        page, beside = write_report(audits[""], folder), "audit.json, CSV tables and figures"
    else:
        page = write_reports(audits, folder, title=title, problems=problems)
        beside = "findings.csv, and the report of each label in a folder"
    for record in audits.values():
        print(f"\n{record.title}\n\n{summary(record, terminal_width())}\n", flush=True)
    print(f"report: {page} (beside it {beside})\n", flush=True)
