# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import numpy as np
import pytest
from reader_answers import STUDY, make_key, rows_of, write_answers

from monai_shortcut.reader_study.answers import COLUMNS, read_answers

KEY = make_key(3, ("full", "roi_only"))


@pytest.fixture
def rows():
    return rows_of(KEY, "R1", {"full": 1.0, "roi_only": 0.0}, np.random.default_rng(0))


def test_answers_are_joined_with_the_key(rows, tmp_path):
    rows[0] |= {"answer": "negative", "confidence": 4, "seconds": 1.25}
    rows[1] |= {"answer": "cannot tell", "confidence": ""}
    found = read_answers([write_answers(tmp_path / "a.csv", rows)], KEY)
    assert found.columns.tolist() == [
        *("reader", "case", "strategy", "image_id", "patient_id", "label", "sign", "score", "seconds")
    ]
    first, second = KEY.presentations[:2]
    assert found.iloc[0].tolist() == ["R1", first.case, "full", "image 0", "p0", 0, -1, -4, 1.25]
    assert found.iloc[1].tolist() == ["R1", second.case, "roi_only", "image 0", "p0", 0, 0, 0, 2.5]
    assert len(found) == 12


def test_a_reader_may_give_several_files_that_another_program_has_saved(rows, tmp_path):
    first = write_answers(tmp_path / "a.csv", rows[:5])
    first.write_bytes(b"\xef\xbb\xbf" + first.read_bytes())
    second = write_answers(tmp_path / "b.csv", rows[5:], columns=[*reversed(COLUMNS), "note"])
    assert len(read_answers([first, second], KEY)) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "other"}, "a.csv line 4: it is of study 'other'"),
        ({"case": "ffff"}, "a.csv line 4: case 'ffff' is unknown"),
        ({"reader": " "}, "a.csv line 4: it names no reader"),
        ({"answer": "maybe"}, "a.csv line 4: answer 'maybe' is none of positive, negative, cannot tell"),
        ({"answer": "cannot tell", "confidence": 2}, "a.csv line 4: confidence '2' with 'cannot tell'"),
        ({"answer": "positive", "confidence": 6}, "a.csv line 4: confidence '6' is no number from 1 to 5"),
        ({"answer": "positive", "confidence": ""}, "a.csv line 4: confidence '' is no number from 1 to 5"),
        ({"seconds": "soon"}, "a.csv line 4: seconds 'soon' is no time"),
        ({"seconds": "-1"}, "a.csv line 4: seconds '-1' is no time"),
        ({"seconds": "inf"}, "a.csv line 4: seconds 'inf' is no time"),
    ],
)
def test_a_wrong_row_is_named(rows, tmp_path, change, message):
    rows[2] |= change
    with pytest.raises(
        ValueError, match=re.escape(f"must be those of study {STUDY}, one to a case by each reader, got ")
    ):
        read_answers([write_answers(tmp_path / "a.csv", rows)], KEY)
    with pytest.raises(ValueError, match=re.escape(f"got {message}.")):
        read_answers([tmp_path / "a.csv"], KEY)


def test_answers_are_read_as_every_table(rows, tmp_path):
    path = write_answers(tmp_path / "a.csv", [row | {"reader": "'=R1"} for row in rows])
    assert set(read_answers([path], KEY)["reader"]) == {"=R1"}
    path.write_text(path.read_text() + "\n" + ",".join(["x"] * (len(COLUMNS) + 1)))
    with pytest.raises(ValueError, match=r"a\.csv must have a cell for each of its 9 columns in every row, got 10 in"):
        read_answers([path], KEY)


def test_double_answers_are_named_with_both_places(rows, tmp_path):
    first, second = write_answers(tmp_path / "a.csv", rows), write_answers(tmp_path / "b.csv", rows[3:4])
    with pytest.raises(
        ValueError, match=f"b.csv line 2: reader R1 answered case {rows[3]['case']} in a.csv line 5 already"
    ):
        read_answers([first, second], KEY)


def test_many_wrong_rows_are_counted(rows, tmp_path):
    path = write_answers(tmp_path / "a.csv", [row | {"study": "other"} for row in rows])
    with pytest.raises(ValueError, match=r"a.csv line 2: .*; a.csv line 11: it is of study 'other'; and 2 more rows\."):
        read_answers([path], KEY)


def test_files_without_columns_or_answers_are_named(rows, tmp_path):
    path = write_answers(tmp_path / "a.csv", rows, columns=[name for name in COLUMNS if name not in ("case", "answer")])
    with pytest.raises(ValueError, match=r"a\.csv must have columns study, .*, got none named case, answer\."):
        read_answers([path], KEY)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.csv must start with the names of its columns, got none\."):
        read_answers([tmp_path / "empty.csv"], KEY)
    with pytest.raises(ValueError, match=r"files must hold answers, got none in .*a\.csv\."):
        read_answers([write_answers(tmp_path / "a.csv", [])], KEY)
    with pytest.raises(ValueError, match=r"files must hold answers, got none in no file\."):
        read_answers([], KEY)
