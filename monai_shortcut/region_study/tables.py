# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of a region study as tables, for CSV files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import pandas as pd

from monai_shortcut.region_study.contrasts import Contrast
from monai_shortcut.region_study.curves import CurvePoint
from monai_shortcut.region_study.external import ExternalArea
from monai_shortcut.region_study.fits import Fit
from monai_shortcut.region_study.matrix import Baseline
from monai_shortcut.region_study.record import RegionStudyRecord


def study_tables(record: RegionStudyRecord) -> dict[str, pd.DataFrame]:
    """All tables of a study by name.

    They are "matrix", "baselines", "readings", "curves", "external", "learning_curves" and "fits". Tables of what was
    not studied have their columns and no row.

    Args:
        record: the record.
    """
    return {
        "matrix": matrix_table(record),
        "baselines": _table(record.matrix.baselines, Baseline),
        "readings": readings_table(record),
        "curves": _table(record.curves, CurvePoint),
        "external": _table(record.external, ExternalArea),
        "learning_curves": pd.DataFrame(
            [(c.trained_on, c.fold, *epoch) for c in record.learning_curves for epoch in c.epochs],
            columns=["trained_on", "fold", "epoch", "loss", "metric"],
        ),
        "fits": _table(record.fits, Fit),
    }


def matrix_table(record: RegionStudyRecord) -> pd.DataFrame:
    """One row per label, training strategy and test strategy, with all comparisons."""
    rows = []
    for cell in record.matrix.cells:
        row: dict[str, Any] = {"label": cell.label, "trained_on": cell.trained_on, "evaluated_on": cell.evaluated_on}
        row |= {"images": cell.images, "patients": cell.patients, "folds": len(cell.fold_aucs), "auc": cell.auc}
        row |= {"low": cell.interval[0], "high": cell.interval[1]}
        row |= {"chance_p_value": cell.chance_p_value, "adjusted_chance_p_value": cell.adjusted_chance_p_value}
        row |= _contrast(cell.to_full, "to_full") | _contrast(cell.to_metadata, "to_metadata")
        rows.append(row)
    return pd.DataFrame(rows)


def readings_table(record: RegionStudyRecord) -> pd.DataFrame:
    """One row per label and source, with the comparison that decides."""
    return pd.DataFrame(
        [
            {"label": reading.label, "source": source, "answer": found.answer, "reason": found.reason}
            | _contrast(found.contrast, "contrast")
            for reading in record.readings
            for source, found in (
                ("outline", reading.outline),
                ("outside", reading.outside),
                ("inside", reading.inside),
            )
        ]
    )


def _contrast(found: Contrast | None, name: str) -> dict[str, float | None]:
    values: tuple[float | None, ...] = (None,) * 5
    if found is not None:
        values = found.difference, *found.interval, found.p_value, found.adjusted_p_value
    columns = name, f"{name}_low", f"{name}_high", f"{name}_p_value", f"{name}_adjusted_p_value"
    return dict(zip(columns, values, strict=True))


def _table(rows: Iterable[Any], kind: type[Any]) -> pd.DataFrame:
    """Fields as columns; limits in two columns, what there is per fold left out."""
    found = []
    for row in rows:
        values = {name: value for name, value in asdict(row).items() if not name.startswith("fold_")}
        for name in [name for name in values if name.endswith("interval")]:
            low, high = values.pop(name) or (None, None)
            start = name.removesuffix("interval")
            values |= {f"{start}low": low, f"{start}high": high}
        found.append(values)
    names = [field.name for field in fields(kind) if not field.name.startswith("fold_")]
    return pd.DataFrame(found) if found else pd.DataFrame(columns=names)
