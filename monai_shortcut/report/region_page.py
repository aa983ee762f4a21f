# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page of a region study, with its tables and figures; it needs the record and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from monai_shortcut.attribution import Attribution
from monai_shortcut.region_study import ModelAttribution, RegionReading, RegionStudyRecord, study_tables
from monai_shortcut.region_study.record import IDENTITY
from monai_shortcut.report.attribution import attribution_table
from monai_shortcut.report.dimensions import study_dimensions
from monai_shortcut.report.drawings import Drawing, drawn
from monai_shortcut.report.embeddings import cosines_table
from monai_shortcut.report.figures.attribution import FIGURES
from monai_shortcut.report.figures.regions import numbered, region_figures
from monai_shortcut.report.files import PAGE, report_files
from monai_shortcut.report.pages import render
from monai_shortcut.report.wording import words
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.privacy import written

_ANSWERED = ("Outline: ", "Surroundings beyond the outline: ", "Inside beyond the outline: ")


def write_region_report(record: RegionStudyRecord | str | Path, folder: str | Path) -> Path:
    """Write the report of a region study.

    Args:
        record: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``region_study.json``, ``figures/*.svg`` and the tables
            of `study_tables`, `cosines_table` and `attribution_table` as CSV files go; made when absent. Tables without
            rows are not written.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not the record of a region study, or of a newer version.
        PermissionError: If the folder cannot be written to.
    """
    found = written(record if isinstance(record, RegionStudyRecord) else RegionStudyRecord.from_json(record))
    looked = [attribution_table(one.found).assign(finding=one.label, fold=one.fold) for one in found.attribution]
    named = study_tables(found) | {"cosines": cosines_table(found.moves)}
    named |= {"excluded": pd.DataFrame(found.excluded.items(), columns=["image_id", "reason"])}
    named |= {"attribution": pd.concat(looked) if looked else pd.DataFrame()}
    tables = {name: table for name, table in named.items() if len(table)}
    pictures = drawn(region_figures(found))
    html = render(
        "regions",
        title=found.title,
        record=found,
        identity=identity(found),
        pictures=pictures,
        dimensions=study_dimensions(found),
        said={reading.label: _said(reading) for reading in found.readings},
        looked=_looked(found, pictures),
        read=[
            (label, study, {"readers": pictures[numbered("readers", place)]})
            for place, (label, study) in enumerate(found.readers.items())
        ]
        or [("", None, {})],
    )
    return replace_files(folder, report_files({"region_study.json": found.to_json}, tables, pictures, html), PAGE)


def identity(record: RegionStudyRecord) -> dict[str, str]:
    """Models, data and run, by what they are, as on the page of an audit."""
    network, configuration, table, date = (
        record.settings.get(name, f"{what} not known")
        for name, what in zip(IDENTITY, ("network", "configuration", "table", "date"), strict=True)
    )
    counts, trained = record.counts, len(record.learning_curves)
    unknown = {name: f" ({count} unknown)" for name, count in counts.unknown.items() if count}
    labels = ", ".join(f"{count} {name}{unknown.get(name, '')}" for name, count in counts.positives.items())
    strategies = ", ".join(words(name) for name in record.strategies)
    return {
        "Models": f"{network}, trained with {configuration}",
        "Data": f"{table}; {counts.images} test images of {counts.patients} patients ({labels})",
        "Trained": f"{trained or 'several'} times, once for each fold and masking strategy ({strategies}), and tested "
        "under every strategy",
        "Patients not trained on": "all",
        "Study": f"{date}; monai_shortcut {record.software.get('monai_shortcut', 'version not known')}",
        "Use": "research use only",
    }


def _said(reading: RegionReading) -> list[str]:
    """The sentences of a reading but for its three answers, which have a table."""
    return [sentence for sentence in reading.sentences if not sentence.startswith(_ANSWERED)]


def _looked(
    record: RegionStudyRecord, pictures: Mapping[str, Drawing]
) -> list[tuple[str, Attribution | None, list[ModelAttribution], dict[str, Drawing]]]:
    """Label, first model, the other models and the first one's pictures; one entry of nothing if nobody asked."""
    found: list[tuple[str, Attribution | None, list[ModelAttribution], dict[str, Drawing]]] = []
    for place, (label, models) in enumerate(record.looked().items()):
        kept = {name: numbered(name, place) for name in FIGURES}
        own = {name: pictures[found_as] for name, found_as in kept.items() if found_as in pictures}
        found.append((label, models[0].found, models[1:], own))
    return found or [("", None, [], {})]
