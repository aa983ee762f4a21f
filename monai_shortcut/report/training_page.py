# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a training's audits, with its table and figure; it needs their record and nothing else."""

from __future__ import annotations

from pathlib import Path

from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.report.differences import tolerances
from monai_shortcut.report.drawings import Drawing, drawing
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.files import report_files
from monai_shortcut.report.pages import render
from monai_shortcut.report.tables import curves_table
from monai_shortcut.storage.folders import replace_files

RECORD, PAGE = "training_curves.json", "training_report.html"


def write_training_report(
    curves: TrainingCurves | str | Path, folder: str | Path, picture: Drawing | None = None
) -> Path:
    """Write the report of a training's audits.

    Args:
        curves: the record, with at least one audited epoch, or the path of its JSON.
        folder: where ``training_report.html`` (self-contained), ``training_curves.json``, ``training_curves.csv`` and
            ``figures/training_curves.svg`` go; made when absent. They take the place of a former report as one.
        picture: the figure; drawn by default.

    Returns:
        The path of ``training_report.html``.

    Raises:
        ValueError: If the JSON is not that of training curves, or of a newer version, or no epoch was audited.
        PermissionError: If the folder cannot be written to.
    """
    record = curves if isinstance(curves, TrainingCurves) else TrainingCurves.from_json(curves)
    content = picture or drawing("training_curves", training_curves(record))
    began = {name: record.onset(name) is not None for name in record.attributes}
    html = render(
        "training",
        title=record.title,
        curves=record,
        # First what is used, then the rest, each in the order of the attributes.
        answers=[record.answer(name) for name in sorted(began, key=lambda name: not began[name])],
        used={name: record.used(name) for name in record.attributes},
        tolerances=tolerances(record.settings, record.label_names),
        former=record.rule == "prediction gap",
        picture=content,
    )
    tables, drawn = {"training_curves": curves_table(record)}, {"training_curves": content}
    return replace_files(folder, report_files({RECORD: record.to_json}, tables, drawn, html, PAGE), PAGE)
