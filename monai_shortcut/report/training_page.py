# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a training's audits, with its table and figure; it needs their record and nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.pages import in_base64, png, render, write_files

RECORD = "training_curves.json"


def write_training_report(
    curves: TrainingCurves | str | Path, folder: str | Path, picture: bytes | None = None
) -> Path:
    """Write the report of a training's audits.

    Args:
        curves: the record, with at least one audited epoch, or the path of its JSON.
        folder: where ``training_report.html`` (self-contained), ``training_curves.json``, ``training_curves.csv`` and
            ``figures/training_curves.png`` go; made when absent. A file appears complete, the page last.
        picture: PNG file of the figure; by default it is drawn.

    Returns:
        The path of ``training_report.html``.

    Raises:
        ValueError: If the JSON is not that of training curves, or of a newer version, or no epoch was audited.
        PermissionError: If the folder cannot be written to.
    """
    record = curves if isinstance(curves, TrainingCurves) else TrainingCurves.from_json(curves)
    content = picture or png(training_curves(record))
    began = {name: record.onset(name) is not None for name in record.attributes}
    html = render(
        "training.html.jinja",
        curves=record,
        # What is used first, then the rest, each in the order of the attributes.
        answers=[record.answer(name) for name in sorted(began, key=lambda name: not began[name])],
        used={name: record.used(name) for name in record.attributes},
        picture=in_base64(content),
    )
    tables, drawn = {"training_curves": curves_table(record)}, {"training_curves": content}
    return write_files(folder, {RECORD: record.to_json}, tables, drawn, html, "training_report.html")


def curves_table(curves: TrainingCurves) -> pd.DataFrame:
    """One row per audited epoch and attribute that could be measured."""
    rows: list[dict[str, object]] = []
    for index, audited in enumerate(curves.epochs):
        for name, point in audited.points.items():
            row: dict[str, object] = {"epoch": audited.epoch, "attribute": name, "images": point.images}
            for column, limits in (("own_auroc", point.own_auroc), ("gap", point.gap), ("label_auroc", audited.auroc)):
                row |= dict(zip((column, f"{column}_low", f"{column}_high"), limits, strict=True))
            row |= {"own_auroc_p": point.own_auroc_p_value, "gap_p": point.gap_p_value, "wsc": point.wsc}
            row |= {"alignment": point.alignment, "alignment_z": point.alignment_z}
            row |= {"alignment_p": point.alignment_p_value, "used": curves.used(name)[index]}
            row |= {"audit_seconds": audited.cost and audited.cost.audit}
            row |= {"evaluation_seconds": audited.cost and audited.cost.evaluation}
            rows.append(row)
    return pd.DataFrame(rows)
