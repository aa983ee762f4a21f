# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a check of a table; it needs its record and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from monai_shortcut.report.drawings import drawn
from monai_shortcut.report.figures.check import areas
from monai_shortcut.report.files import PAGE, Files, report_files
from monai_shortcut.report.pages import render
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.privacy import written
from monai_shortcut.table_check.record import Alike, TableCheck
from monai_shortcut.types import with_limits


def write_check(check: TableCheck | str | Path, folder: str | Path) -> Path:
    """Write the report of a check of a table.

    Args:
        check: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``check.json``, ``telling.csv``, ``associations.csv``,
            ``cells.csv``, ``leaks.csv``, ``duplicates.csv``, ``unusable.csv``, ``excluded.csv`` and
            ``figures/areas.svg`` go; made when absent. They take the place of a former report as one.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is no such record, or of a newer version.
        PermissionError: If the folder cannot be written to.
        FolderInUseError: If another process writes there.
    """
    record = check if isinstance(check, TableCheck) else TableCheck.from_json(check)
    return replace_files(folder, _files(record), PAGE)


def said(check: TableCheck) -> list[str]:
    """What a check found, in lines."""
    lines = [f"{check.images} images of {check.patients} patients, labels {', '.join(check.label_names)}"]
    for one in check.telling:
        told = ", ".join(f"{label} {with_limits(area)}" for label, area in one.areas.items())
        lines.append(f"{one.attribute}: {one.verdict}, AUC from it alone: {told}")
    lines += [f"{name}: not checked: {reason}" for name, reason in check.problems.items()]
    lines += [f"no image is {cell.label} with {cell.attribute} {cell.level}" for cell in check.empty]
    lines += [f"{name}: {told}" for name, told in check.uncommon.items()]
    leaks = "not looked for: the table has no folds" if check.leaks is None else str(len(check.leaks))
    double = "not looked for: no image was read" if check.duplicates is None else str(len(check.duplicates))
    lines += [
        f"patients in several folds: {leaks}",
        f"images of several patients or folds that look the same: {double}",
    ]
    if check.unusable:
        lines.append(f"{len(check.unusable)} images could not be read: {next(iter(written(check).unusable.values()))}")
    return lines


def _files(check: TableCheck) -> Files:
    record = written(check)
    pictures = drawn([("areas", areas(record))] if record.telling else [])
    html = render(
        "check",
        title=record.title,
        check=record,
        pictures=pictures,
    )
    return report_files({"check.json": record.to_json}, _tables(record), pictures, html)


def _tables(record: TableCheck) -> dict[str, pd.DataFrame]:
    told = [
        (one.attribute, label, area.value, area.low, area.high, one.p_value, one.verdict)
        for one in record.telling
        for label, area in one.areas.items()
    ]
    return {
        "telling": pd.DataFrame(told, columns=["attribute", "label", "area", "low", "high", "p", "verdict"]),
        "associations": pd.DataFrame(record.associations, columns=["first", "second", "v"]),
        "cells": pd.DataFrame(record.cells, columns=["attribute", "label", "level", "images", "patients"]),
        "leaks": _alike(record.leaks or ()),
        "duplicates": _alike(record.duplicates or ()),
        "unusable": pd.DataFrame(record.unusable.items(), columns=["image_id", "reason"]),
        "excluded": pd.DataFrame(record.excluded.items(), columns=["image_id", "reason"]),
    }


def _alike(found: Sequence[Alike]) -> pd.DataFrame:
    """A row for each image, those of one group with one number."""
    rows = [
        (number, image, one.patients, ", ".join(one.folds), ", ".join(one.labels))
        for number, one in enumerate(found, 1)
        for image in one.linked
    ]
    return pd.DataFrame(rows, columns=["group", "image_id", "patients", "folds", "labels"])
