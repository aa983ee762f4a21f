# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a region study, with its tables and figures; it needs the record and nothing else."""

from __future__ import annotations

from pathlib import Path

from monai_shortcut.region_study import RegionStudyRecord, study_tables
from monai_shortcut.report.embeddings import cosines_table
from monai_shortcut.report.figures.regions import region_figures
from monai_shortcut.report.files import in_base64, png, write_files
from monai_shortcut.report.pages import render


def write_region_report(record: RegionStudyRecord | str | Path, folder: str | Path) -> Path:
    """Write the report of a region study.

    Args:
        record: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``region_study.json``, ``figures/*.png`` and the tables
            of `study_tables` and `cosines_table` as CSV files go; made when absent. Tables without rows are not
            written.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not the record of a region study, or of a newer version.
        PermissionError: If the folder cannot be written to.
    """
    found = record if isinstance(record, RegionStudyRecord) else RegionStudyRecord.from_json(record)
    named = study_tables(found) | {"cosines": cosines_table(found.moves)}
    tables = {name: table for name, table in named.items() if len(table)}
    drawn = {name: png(figure) for name, figure in region_figures(found)}
    pictures = {name: in_base64(content) for name, content in drawn.items()}
    html = render("regions", title=found.title, record=found, pictures=pictures)
    return write_files(folder, {"region_study.json": found.to_json}, tables, drawn, html)
