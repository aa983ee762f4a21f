# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Readers of tables and records on inputs that nobody thought of, drawn by hypothesis: few, and the same each time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monai_shortcut.storage.records import decode, encode, read_json, read_record, write_record
from monai_shortcut.storage.tables import MISSING_WORDS, read_csv

FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
NAMES = TEXT.map(str.strip).filter(lambda text: text.isidentifier())
FINITE = st.floats(allow_nan=False, allow_infinity=False)
BROKEN = {"#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"}


def attempt(question: Callable[[], Any]) -> tuple[Any, str]:
    """What a reader gives, or its message; no other error than the documented one is caught."""
    try:
        return question(), ""
    except ValueError as error:
        return None, str(error)


@st.composite
def tables(draw: Any) -> tuple[list[str], list[list[str]]]:
    """A header of different names, and rows of any text."""
    header = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.lists(TEXT, min_size=len(header), max_size=len(header)), max_size=5))
    return header, rows


def meant(cell: str) -> str | None:
    """What a cell of text says: blanks around it do not count, and nothing is missing."""
    return cell.strip() or None


@FEW
@given(tables())
def test_a_table_is_read_as_it_was_written(tmp_path, table):
    """All columns as text, against the cells that went in; rows without content are passed over."""
    header, rows = table
    path = tmp_path / "table.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    if any(cell.strip() in BROKEN for row in rows for cell in row):
        with pytest.raises(ValueError, match=r"must hold values, got #"):
            read_csv(path, text=None)
        return
    found = read_csv(path, text=None)
    expected = [[meant(cell) for cell in row] for row in rows if any(map(meant, row))]
    assert list(found.columns) == header
    assert [[None if pd.isna(cell) else cell for cell in row] for row in found.to_numpy().tolist()] == expected


@FEW
@given(st.lists(FINITE, min_size=1, max_size=20))
def test_numbers_are_read_to_the_last_digit(tmp_path, values):
    path = tmp_path / "numbers.csv"
    path.write_text("\n".join(["value", *map(repr, values)]), encoding="utf-8")
    found = read_csv(path)["value"]
    assert found.map(float).tolist() == values


@FEW
@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_one_error(tmp_path, content):
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    found, refused = attempt(lambda: read_csv(path))
    assert str(path) in refused if found is None else len(found.columns) >= 1


@FEW
@given(st.sampled_from(sorted(MISSING_WORDS)), st.lists(st.integers(0, 9), min_size=1, max_size=9))
def test_no_word_is_lost_beside_few_numbers(tmp_path, word, numbers):
    """Beside more than ten different numbers a word such as NA can mean nothing else; beside fewer it may be a name."""
    path = tmp_path / "words.csv"
    path.write_text("\n".join(["value", word, *map(str, numbers)]), encoding="utf-8")
    first = read_csv(path)["value"].iloc[0]
    assert pd.isna(first) if word.lower().strip("-") == "nan" else first == word


@dataclass(frozen=True)
class Part:
    name: str
    limits: tuple[float, float]
    p_value: float | None = None


@dataclass(frozen=True)
class Whole:
    version: int
    title: str
    count: int
    known: bool
    parts: tuple[Part, ...]
    by_name: dict[str, Part]
    cells: tuple[tuple[float | None, ...], ...]
    note: str | None = None
    settings: dict[str, str] = field(default_factory=dict)


SHARES = st.none() | st.floats(0, 1)
PARTS = st.builds(Part, st.text(), st.tuples(FINITE, FINITE), SHARES)
WHOLES = st.builds(
    Whole,
    st.just(1),
    st.text(),
    st.integers(),
    st.booleans(),
    st.lists(PARTS, max_size=3).map(tuple),
    st.dictionaries(TEXT, PARTS, max_size=3),
    st.lists(st.lists(st.none() | FINITE, max_size=3).map(tuple), max_size=3).map(tuple),
    st.none() | st.text(),
    st.dictionaries(TEXT, TEXT, max_size=2),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def read_whole(path: Path) -> Whole:
    return decode(Whole, read_record(path, "a whole", 1, "parts"), "whole")


@FEW
@given(WHOLES)
def test_a_record_equals_what_is_read_back(tmp_path, record):
    path = tmp_path / "record.json"
    write_record(record, path)
    assert read_whole(path) == record


@FEW
@given(WHOLES, st.data())
def test_a_damaged_record_gives_the_one_error_or_a_record(tmp_path, record, data):
    """A byte changed, or the end cut off: what is read is whole, or refused by a ValueError."""
    path = tmp_path / "record.json"
    write_record(record, path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] = data.draw(st.integers(0, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    found, refused = attempt(lambda: read_whole(path))
    if not refused:
        write_record(found, path)
        assert read_whole(path) == found


@FEW
@given(WHOLES, JSON, st.data())
def test_a_record_with_other_content_gives_the_one_error_or_a_record(tmp_path, record, other, data):
    """A field, or a field of a part, holds any JSON in its place."""
    plain = encode(record)
    inner = [*plain["parts"], *plain["by_name"].values()]
    place = data.draw(st.sampled_from([plain, *inner]))
    place[data.draw(st.sampled_from(sorted(place)))] = other
    path = tmp_path / "record.json"
    path.write_text(json.dumps(plain), encoding="utf-8")
    found, refused = attempt(lambda: read_whole(path))
    assert refused or decode(Whole, encode(found)) == found


@FEW
@given(st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_json_or_one_error(tmp_path, content):
    path = tmp_path / "any.json"
    path.write_bytes(content)
    found, refused = attempt(lambda: read_json(path, "a whole"))
    if refused:
        assert refused.startswith(f"{path} must hold the JSON of a whole, got ")
    else:
        assert found == json.loads(content.decode("utf-8-sig"))
