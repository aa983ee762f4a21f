# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page on which readers answer, the key that stays with who organises the study, and the page of what they saw."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from monai_shortcut.reader_study import ReaderSet, ReaderStudy
from monai_shortcut.report.drawings import drawing
from monai_shortcut.report.figures.readers import reader_areas
from monai_shortcut.report.files import PAGE, in_base64, report_files
from monai_shortcut.report.pages import render
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.privacy import written

FOR_READERS, FOR_ORGANISERS = "for_readers/reading.html", "for_organisers/key.json"


def write_reading_page(study: ReaderSet, folder: str | Path) -> Path:
    """Write the page for readers and the key.

    The page is one file. It needs no network and sends nothing. It holds the pictures and their names, which tell
    nothing; what they are is in the key alone, in a folder of its own.

    Args:
        study: pictures and key.
        folder: where ``for_readers/reading.html`` and ``for_organisers/key.json`` go; made when absent.

    Returns:
        The path of the page.

    Raises:
        PermissionError: If a folder cannot be written to.
        FolderInUseError: If another process writes there.
    """
    html = _html(study)
    files = {FOR_ORGANISERS: study.key.to_json, FOR_READERS: lambda path: path.write_text(html, encoding="utf-8")}
    return replace_files(folder, files, FOR_READERS)


def _html(study: ReaderSet) -> str:
    key = study.key
    # Named one by one: whatever else the key holds must not reach readers.
    sessions = [
        sorted(shown.case for shown in key.presentations if shown.session == number)
        for number in range(1, key.sessions + 1)
    ]
    pictures = {case: [in_base64(picture.png), round(picture.ratio, 4)] for case, picture in study.pictures.items()}
    return render(
        "reading",
        title=key.title,
        question=key.question,
        answers=key.answers,
        levels=key.levels,
        study=key.study,
        count=len(pictures),
        sessions=len(sessions),
        data={"study": key.study, "sessions": sessions, "pictures": pictures},
    )


def write_reader_report(study: ReaderStudy | str | Path, folder: str | Path) -> Path:
    """Write the report of a reader study.

    Args:
        study: the record, or the path of its JSON.
        folder: where ``report.html`` (self-contained), ``reader_study.json``, ``readers.csv`` (a row for each
            reader and strategy) and ``figures/readers.svg`` go; made when absent.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: If the JSON is not the record of a reader study, or of a newer version.
        PermissionError: If the folder cannot be written to.
    """
    record = written(study if isinstance(study, ReaderStudy) else ReaderStudy.from_json(study))
    picture = drawing("readers", reader_areas(record))
    html = render("reader_study", title=record.title, readers=record, pictures={"readers": picture})
    files = {"reader_study.json": record.to_json}
    return replace_files(
        folder, report_files(files, {"readers": readers_table(record)}, {"readers": picture}, html), PAGE
    )


def readers_table(study: ReaderStudy) -> pd.DataFrame:
    """One row for each strategy and reader: counts, share of right answers and areas with their limits."""
    rows = []
    for reading in study.strategies:
        for one in reading.readers:
            row: dict[str, object] = {"strategy": reading.strategy, "reader": one.reader, "answered": one.answered}
            row |= {"cannot_tell": one.cannot_tell, "seconds": one.seconds}
            for name, found in (("accuracy", one.accuracy), ("auc", one.auc), ("behind", one.behind)):
                limits = (None, None, None) if found is None else (found.value, found.low, found.high)
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), limits, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)
