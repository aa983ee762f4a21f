# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Keys and answers of reader studies, drawn with a known skill."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from monai_shortcut.reader_study.answers import COLUMNS, NEGATIVE, POSITIVE, UNSURE
from monai_shortcut.reader_study.key import Presentation, StudyKey

STUDY = "0123456789abcdef"


def make_key(cases: int, strategies: Sequence[str] = ("full",), model: Mapping[str, float] | None = None) -> StudyKey:
    """As many cases of either class, one of a patient; the model's skill by strategy."""
    rng, shown = np.random.default_rng(5), []
    for index in range(2 * cases):
        label = index % 2
        for number, strategy in enumerate(strategies):
            skill = (model or {}).get(strategy)
            seen = None if skill is None else float(skill * (label - 0.5) + rng.normal())
            name = f"{number:04x}{index:012x}"
            shown.append(Presentation(name, 1 + number, strategy, f"image {index}", f"p{index}", label, seen))
    return StudyKey(STUDY, "Study", "Is it?", ("no", "yes"), 5, tuple(strategies), tuple(shown))


def rows_of(
    key: StudyKey, reader: str, skill: Mapping[str, float], rng: np.random.Generator
) -> list[dict[str, object]]:
    """Answers of a reader who sees the class with a skill, in standard deviations; hardly seen is "cannot tell"."""
    rows: list[dict[str, object]] = []
    for position, shown in enumerate(key.presentations, 1):
        seen = skill[shown.strategy] * (shown.label - 0.5) + rng.normal()
        unsure = abs(seen) < 0.1
        answer = UNSURE if unsure else POSITIVE if seen > 0 else NEGATIVE
        confidence = "" if unsure else min(5, 1 + int(2 * abs(seen)))
        values = (
            key.study,
            shown.session,
            reader,
            shown.case,
            position,
            answer,
            confidence,
            2.5,
            "2030-01-01T10:00:00Z",
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def write_answers(path: Path, rows: Sequence[Mapping[str, object]], columns: Sequence[str] = COLUMNS) -> Path:
    """A file as the page gives it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path
