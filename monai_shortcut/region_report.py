# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a region study, with its tables and figures; it needs the record and nothing else."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from monai_shortcut.region_plots import region_figures
from monai_shortcut.region_study import RegionStudyRecord, study_tables
from monai_shortcut.report import png, writable

ANSWER_COLOURS = {"yes": "#D55E00", "no": "#0072B2", "inconclusive": "#777777"}


def write_region_report(record: RegionStudyRecord | str | Path, folder: str | Path) -> Path:
    """Write the report of a region study.

    Args:
        record: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``region_study.json``, ``figures/*.png`` and the tables
            of `study_tables` as CSV files go; made when absent. Tables without rows are not written.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not the record of a region study, or of a newer version.
        PermissionError: If the folder cannot be written to.
    """
    found = record if isinstance(record, RegionStudyRecord) else RegionStudyRecord.from_json(record)
    place = Path(folder)
    writable(place)
    found.to_json(place / "region_study.json")
    for name, table in study_tables(found).items():
        if len(table):
            table.to_csv(place / f"{name}.csv", index=False)
    pictures = {}
    for name, figure in region_figures(found):
        content = png(figure)
        (place / "figures" / f"{name}.png").write_bytes(content)
        pictures[name] = base64.b64encode(content).decode("ascii")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = files(__package__).joinpath("region_report.html.jinja").read_text(encoding="utf-8")
    page = place / "report.html"
    page.write_text(
        environment.from_string(text).render(record=found, pictures=pictures, colours=ANSWER_COLOURS), encoding="utf-8"
    )
    return page
