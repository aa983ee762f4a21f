# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What readers answered: the files that the page gives them, checked against the key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from monai_shortcut.reader_study.key import Presentation, StudyKey
from monai_shortcut.storage.tables import named_columns, read_csv

COLUMNS = ("study", "session", "reader", "case", "position", "answer", "confidence", "seconds", "answered_at")
POSITIVE, NEGATIVE, UNSURE = "positive", "negative", "cannot tell"
_SIGNS = {POSITIVE: 1, NEGATIVE: -1, UNSURE: 0}
_NAMED = 10  # rows that an error names


@dataclass(frozen=True)
class _Row:
    """A row of a reader's file.

    Attributes:
        file: name of the file.
        line: number of the line.
        cells: values by column.
    """

    file: str
    line: int
    cells: dict[str, str]

    def __str__(self) -> str:
        return f"{self.file} line {self.line}"


def read_answers(paths: Sequence[str | Path], key: StudyKey) -> pd.DataFrame:
    """The answers of all readers.

    Args:
        paths: the files that readers downloaded; one reader may have several.
        key: of the study.

    Returns:
        One row per answer: reader, case, strategy, image_id, patient_id, label, sign (1 positive, -1 negative, 0 cannot
        tell), score (confidence with that sign), seconds.

    Raises:
        ValueError: If a file is no table, a column is absent, or a row is of another study, of an unknown case or
            reader, holds an answer, confidence or time that the page does not give, or answers a case again. The
            message names the rows.
    """
    rows = [row for path in paths for row in _rows(Path(path))]
    cases = {shown.case: shown for shown in key.presentations}
    problems = [f"{row}: {problem}" for row in rows if (problem := _problem(row.cells, key, cases))]
    problems = problems or list(_repeated(rows))
    if problems:
        more = f"; and {len(problems) - _NAMED} more rows" if len(problems) > _NAMED else ""
        raise ValueError(
            f"answers must be those of study {key.study}, one to a case by each reader, got "
            f"{'; '.join(problems[:_NAMED])}{more}."
        )
    if not rows:
        raise ValueError(f"files must hold answers, got none in {', '.join(map(str, paths)) or 'no file'}.")
    return pd.DataFrame([_answer(row.cells, cases[row.cells["case"]]) for row in rows])


def _rows(path: Path) -> Iterator[_Row]:
    table = named_columns(read_csv(path, text=None), path, COLUMNS)[list(COLUMNS)]
    for line, cells in zip(table.index, table.astype(object).fillna("").to_numpy(), strict=True):
        yield _Row(path.name, int(line), dict(zip(COLUMNS, cells, strict=True)))


def _problem(cells: dict[str, str], key: StudyKey, cases: dict[str, Presentation]) -> str:
    """What is wrong with a row, or nothing."""
    answer, confidence = cells["answer"], cells["confidence"]
    if cells["study"] != key.study:
        return f"it is of study {cells['study']!r}"
    if cells["case"] not in cases:
        return f"case {cells['case']!r} is unknown"
    if not cells["reader"]:
        return "it names no reader"
    if answer not in _SIGNS:
        return f"answer {answer!r} is none of {', '.join(_SIGNS)}"
    if answer == UNSURE and confidence:
        return f"confidence {confidence!r} with {UNSURE!r}"
    if answer != UNSURE and confidence not in map(str, range(1, key.levels + 1)):
        return f"confidence {confidence!r} is no number from 1 to {key.levels}"
    if not _is_time(cells["seconds"]):
        return f"seconds {cells['seconds']!r} is no time"
    return ""


def _is_time(text: str) -> bool:
    try:
        return 0 <= float(text) < float("inf")
    except ValueError:
        return False


def _repeated(rows: Sequence[_Row]) -> Iterator[str]:
    first: dict[tuple[str, str], _Row] = {}
    for row in rows:
        name = row.cells["reader"], row.cells["case"]
        if name in first:
            yield f"{row}: reader {name[0]} answered case {name[1]} in {first[name]} already"
        first.setdefault(name, row)


def _answer(cells: dict[str, str], shown: Presentation) -> dict[str, object]:
    sign = _SIGNS[cells["answer"]]
    return {
        "reader": cells["reader"],
        "case": shown.case,
        "strategy": shown.strategy,
        "image_id": shown.image_id,
        "patient_id": shown.patient_id,
        "label": shown.label,
        "sign": sign,
        "score": sign * int(cells["confidence"] or 0),
        "seconds": float(cells["seconds"]),
    }
