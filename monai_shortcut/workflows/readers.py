# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Reader studies from a MONAI dataset and a model's predictions, and the reading of their answers."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from monai_shortcut.audit.record import Audit
from monai_shortcut.cohort.matching import ImageMatcher
from monai_shortcut.handlers.reading_items import ReadingItems, item_names, raw_items
from monai_shortcut.reader_study import ReaderStudy, analyse, prepare
from monai_shortcut.region_study import RegionStudyRecord
from monai_shortcut.report import write_reader_report, write_reading_page, write_region_report, write_report

KEYS = {"image": "image", "roi": "roi", "id": "image_id", "patient": "patient_id", "label": "label"}


def export_reader_study(
    data: Any,
    output_dir: str | Path,
    *,
    predictions: str | Path | None = None,
    positive: int = 1,
    keys: dict[str, str] | None = None,
    probability_key: str = "probability",
    **settings: Any,
) -> Path:
    """Write a page for readers, and its key, from a MONAI dataset or a list of dictionaries.

    Args:
        data: items with image (C, *spatial) and region, as the model sees them, their name, patient and label. Names,
            patients, labels and probabilities are read before the dataset's transforms, where it has them there.
        output_dir: folder of the study; see `monai_shortcut.report.write_reading_page`.
        predictions: a CSV file as MONAI's ``ClassificationSaver`` writes it: the image's file, then the probability of
            each class, or that of class 1 alone. Without it, items have an entry ``probability_key``.
        positive: number of the class that readers tell from all others.
        keys: entries of the items where they are not "image", "roi", "id": "image_id", "patient": "patient_id" and
            "label", by these five names.
        probability_key: entry of the probability.
        **settings: as in `monai_shortcut.reader_study.prepare`.

    Returns:
        The path of the page.

    Raises:
        ValueError: If an entry is absent, an image has no prediction, or as `monai_shortcut.reader_study.prepare`.
    """
    known = KEYS | (keys or {})
    if unknown := sorted(set(known) - set(KEYS)):
        raise ValueError(f"keys must be of {', '.join(KEYS)}, got {', '.join(unknown)}.")
    needed = [known["patient"], known["label"], *([] if predictions else [probability_key])]
    rows = [_entries(item, needed) for item in raw_items(data)]
    names = item_names(data, known["image"], known["id"])
    given = read_predictions(predictions, names, positive) if predictions else [row[2] for row in rows]
    study = prepare(
        ReadingItems(data, range(len(names)), known["image"], known["roi"]),
        [int(row[1]) == positive for row in rows],
        [str(row[0]) for row in rows],
        given,
        image_ids=names,
        **settings,
    )
    return write_reading_page(study, output_dir)


def read_predictions(path: str | Path, names: Sequence[str], positive: int = 1) -> list[float]:
    """The probability of a class for each image, from a file without a header.

    Args:
        path: a CSV file: the image's file or name, then the probability of each class, or that of class 1 alone.
        names: names or files of the images.
        positive: number of the class.

    Returns:
        One number for each name.

    Raises:
        ValueError: If a row has no such number, or a name no row; the message names it.
    """
    matcher, found = ImageMatcher(list(dict.fromkeys(names))), dict[str, float]()
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        for line, cells in enumerate(csv.reader(file), 1):
            name = matcher.find(cells[0]) if cells else None
            if name is not None:
                found[name] = _probability(cells[1:], positive, f"{Path(path).name} line {line}")
    if absent := [name for name in names if name not in found]:
        raise ValueError(f"{Path(path).name} must have a row for each image, got none for {absent[0]}.")
    return [found[name] for name in names]


def analyse_readers(
    answers: str | Path | Sequence[str | Path],
    key: str | Path,
    output_dir: str | Path,
    *,
    record: str | Path | None = None,
    finding: str = "",
    **settings: Any,
) -> ReaderStudy:
    """Read the answers, write their report, and add it to the page of an audit or a region study.

    Args:
        answers: the CSV files that readers downloaded; or one.
        key: the key of the study.
        output_dir: folder of the report; see `monai_shortcut.report.write_reader_report`.
        record: ``audit.json`` or ``region_study.json`` of the same models; it and the page beside it gain the section.
        finding: which one of a region study of several it is.
        **settings: as in `monai_shortcut.reader_study.analyse`.

    Raises:
        ValueError: As `monai_shortcut.reader_study.analyse`, or if the record is neither.
    """
    study = analyse(answers, key, **settings)
    pages = [write_reader_report(study, output_dir)]
    if record is not None:
        pages.append(_with_readers(Path(record), study, finding))
    for reading in study.strategies:
        print(f"{reading.strategy}: {reading.answer}. {reading.reason}")
    print(f"report: {' and '.join(map(str, pages))}", flush=True)
    return study


def _with_readers(record: Path, study: ReaderStudy, finding: str) -> Path:
    """Write the record and its page again, with what readers see."""
    if record.name == "region_study.json":
        found = RegionStudyRecord.from_json(record)
        return write_region_report(replace(found, readers={**found.readers, finding: study}), record.parent)
    return write_report(replace(Audit.from_json(record), readers=study), record.parent)


def _entries(item: Any, keys: Sequence[str]) -> list[Any]:
    if absent := [key for key in keys if key not in item]:
        raise ValueError(f"items must have the keys {', '.join(keys)}, got none named {', '.join(absent)}.")
    return [item[key] for key in keys]


def _probability(cells: Sequence[str], positive: int, where: str) -> float:
    column = 0 if len(cells) == 1 and positive == 1 else positive
    try:
        return float(cells[column])
    except (IndexError, ValueError) as error:
        raise ValueError(f"{where} must have a probability of class {positive}, got {', '.join(cells)}.") from error
