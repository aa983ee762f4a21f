# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2
import csv
import gzip
import logging
import lzma
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.storage import tables
from monai_shortcut.storage.tables import MISSING_WORDS, named_columns, read_blocks, read_csv, write_csv


@pytest.fixture
def written(tmp_path):
    def write(text: str, encoding: str = "utf-8") -> Path:
        (tmp_path / "t.csv").write_bytes(text.encode(encoding))
        return tmp_path / "t.csv"

    return write


def column(path: Path, **options) -> list[object]:
    values = read_csv(path, **options).iloc[:, -1]
    return [None if pd.isna(value) else value for value in values.tolist()]


def numbered(words: list[str]) -> str:
    return "id,x\n" + "".join(f"r{i},{word}\n" for i, word in enumerate(words))


def test_a_plain_table_is_read_as_pandas_reads_it(tmp_path, rng):
    frame = pd.DataFrame(
        {
            "name": [f"n{i}" for i in range(50)],
            "whole": rng.integers(-9, 9, 50),
            "part": rng.normal(size=50),
            "gaps": np.where(np.arange(50) % 3, np.arange(50.0), np.nan),
            "word": np.array(["F", "M"])[np.arange(50) % 2],
            "true": np.arange(50) % 2 == 0,
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    read = read_csv(tmp_path / "t.csv")
    assert read.index.tolist() == list(range(2, 52))  # the lines
    pd.testing.assert_frame_equal(read.reset_index(drop=True), frame, check_column_type=False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["None", "NA", "Mild"], ["None", "NA", "Mild"]),
        (["1", "", " "], [1.0, None, None]),
        (["0", "NaN", "1"], [0.0, None, 1.0]),
        (["0", "NA", "1"], ["0", "NA", "1"]),
        ([*map(str, range(11)), "NA"], [*map(float, range(11)), None]),
        ([*map(str, range(11)), "old"], [*map(str, range(11)), "old"]),
        (["01", "1", ""], ["01", "1", None]),
        ([f"{i:03d}" for i in range(12)], list(range(12))),
        (["12345678901234567", "12345678901234568"], ["12345678901234567", "12345678901234568"]),
        (["1.0", "2", "-.5e1"], [1.0, 2.0, -5.0]),
        (["inf", "1"], [np.inf, 1.0]),
        (["TRUE", "false", ""], [True, False, None]),
        (["0x10", "1_0", "\u0661"], ["0x10", "1_0", "\u0661"]),
        ([' "a, b"', '"x\ny"'], ["a, b", "x\ny"]),
    ],
)
def test_what_a_cell_says(written, words, expected):
    assert column(written(numbered(words))) == expected
    assert column(written(numbered(words)), text=None) == [word.strip(' "') or None for word in words]


def test_missing_words_are_those_that_are_named(written, caplog):
    path = written(numbered(["NA", "F", "unknown", "NA"]))
    with caplog.at_level(logging.WARNING):
        assert column(path) == ["NA", "F", "unknown", "NA"]
    assert "column x holds 'NA' 2 times: a value, unless missing=['NA'] is given." in caplog.text
    assert column(path, missing=["NA", "unknown"]) == [None, "F", None, None]
    assert {"NA", "N/A", "NaN", "None", "NULL", "null", "nan", "<NA>", "#N/A"} <= MISSING_WORDS


def test_commas_in_numbers_are_told(written, caplog):
    """30,5 is a number to one reader, and two to another."""
    path = written("a;b;c\n30,5;1,234;1,2,x\n31;5,678.5;3\n")
    with caplog.at_level(logging.WARNING):
        frame = read_csv(path, separator=";")
    assert frame.to_numpy().tolist() == [["30,5", "1,234", "1,2,x"], ["31", "5,678.5", "3"]]
    told = "t.csv: column {} holds {!r}: texts, not numbers, unless they are written with points."
    assert [told.format(*pair) in caplog.text for pair in (("a", "30,5"), ("b", "1,234"))] == [True, True]
    assert "column c" not in caplog.text
    caplog.clear()
    read_csv(path, separator=";", text=["a", "b"])
    assert not caplog.text


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a,b\n1,2,\n3,4,\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("a,b,\n1,2,\n3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        (",a,b\n0,1,2\n1,3,4\n", ["a", "b"], [[1, 2], [3, 4]]),
        (" a ,b\r\n1,2\r\n\r\n,,\r\n3,4\r\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("sep=;\na;b\n1;2\n3;4\n", ["a", "b"], [[1, 2], [3, 4]]),
        ("\ufeffa,b\r1,2\r3,4", ["a", "b"], [[1, 2], [3, 4]]),
    ],
)
def test_commas_and_lines_as_programs_write_them(written, text, names, rows):
    frame = named_columns(read_csv(written(text)), "t")
    assert frame.columns.tolist() == names
    assert frame.to_numpy().tolist() == rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\n1,2\n3,4,5\n",
            r"t\.csv must have a cell for each of its 2 columns in every row, got 3 in line 3 \(3,4,5",
        ),
        ("a,b\n1,2\n3\n", r"got 1 in line 3 \(3\): is a name missing in the header, or a row cut off\?"),
        ("", r"t\.csv must start with the names of its columns, got none\."),
        (",\n1,2\n", r"must start with the names of its columns, got none"),
        ("a;b\n1;2\n", r"must have cells separated as said, got 'a;b': give separator=';'"),
        ("a,b\n1,#REF!\n", r"column b must hold values, got #REF! of a spreadsheet in line 2: correct it"),
        ("a,b,a\n1,2,3\n", r"must name each column once, got a repeated: rename or remove them"),
        ("a, a\n1,2\n", r"must name each column once, got a repeated"),
        ("a,,b\n1,x,2\n", r"must name its columns, got column 2 without: name or remove it"),
        (",a\n7,2\n9,3\n", r"must name its columns, got column 1 without"),
    ],
)
def test_what_cannot_be_read_is_told_with_file_and_line(written, text, message):
    path = written(text)
    with pytest.raises(ValueError, match=message):
        named_columns(read_csv(path), path)


def test_long_rows_are_shortened_in_messages(written):
    with pytest.raises(ValueError, match=r"\(x{77}\.\.\.\)"):
        read_csv(written("a\n" + "x" * 200 + ",1\n"))


def test_needed_columns_come_once_and_others_may_be_repeated(written):
    path = written("a,,b,b\n1,z,2,3\n")
    assert named_columns(read_csv(path), path, ["a"]).to_dict("list") == {"a": [1], "b": [2]}
    with pytest.raises(ValueError, match=r"must have columns a, c, got none named c\."):
        named_columns(read_csv(path), path, ["a", "c"])
    with pytest.raises(ValueError, match="must name each column once, got b repeated"):
        named_columns(read_csv(path), path, ["b"])


def test_encodings(written):
    text = numbered(["Müller", "Größe"])
    for encoding, given in (("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("cp1252", "cp1252")):
        assert column(written(text, encoding), encoding=given) == ["Müller", "Größe"]
    with pytest.raises(ValueError, match=r"t\.csv must be text in UTF-8, got .*: give its encoding, such as"):
        read_csv(written(text, "cp1252"))
    for encoding in ("utf-16-le", "utf-16-be"):
        with pytest.raises(ValueError, match=r"t\.csv must be text, got zero bytes: give its encoding, such as"):
            read_csv(written("a,b\n1,2\n", encoding))
        assert read_csv(written("a,b\n1,2\n", encoding), encoding=encoding).to_numpy().tolist() == [[1, 2]]


def test_packed_files_and_damaged_ones(tmp_path):
    content = numbered([str(i) for i in range(500)]).encode()
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    for suffix, pack in packers.items():
        (tmp_path / f"t.csv{suffix}").write_bytes(pack(content))
        assert column(tmp_path / f"t.csv{suffix}") == list(range(500))
        (tmp_path / f"u.csv{suffix}").write_bytes(pack(content)[:-20])
        with pytest.raises(ValueError, match=rf"u\.csv\{suffix} must be a CSV file, got one that cannot be read"):
            read_csv(tmp_path / f"u.csv{suffix}")
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as packed:
        packed.writestr("t.csv", content)
    assert column(tmp_path / "t.zip") == list(range(500))
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as packed:
        packed.writestr("u.csv", content)
    with pytest.raises(ValueError, match=r"t\.zip must hold one file, got 2: unpack it"):
        read_csv(tmp_path / "t.zip")
    (tmp_path / "t.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"t\.gz must be a CSV file"):
        read_csv(tmp_path / "t.gz")


def test_some_columns_some_rows_and_blocks(written):
    path = written("a,b,c\n" + "".join(f"{i},x{i},{'y' * 200_000 if i == 3 else ''}\n" for i in range(7)))
    few = read_csv(path, only={"c", "a"}.__contains__, rows=2)
    assert few["a"].tolist() == [0, 1]
    assert few["c"].isna().all()
    blocks = list(read_blocks(path, ["a", "c"], rows=3))
    assert [block["a"].tolist() for block in blocks] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert [block.index.tolist() for block in blocks] == [[2, 3, 4], [5, 6, 7], [8]]
    assert [len(value or "") for value in blocks[1]["c"]] == [200_000, 0, 0]


# What is written

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "-",
    "+",
    "\uff1d1",
    "-x",
    "=",
    "''=1",
]
TEXTS = ["'", "'quoted'", "'=1", "''", "'-1", "-1", "+2.5e3", "a=b", "NA", "\u00e9", 'say "=1"', "a,b", "x\ny", "x\ry"]


def test_no_cell_or_name_is_a_formula_and_all_are_read_back(tmp_path):
    names = ["=image", "'@", "plain", "-1"]
    texts = [*FORMULAS, *TEXTS]
    frame = pd.DataFrame({names[0]: texts, names[1]: texts[::-1], names[2]: range(len(texts)), names[3]: texts})
    write_csv(frame, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    signs = [cell for cell in cells if cell.lstrip(" ")[:1] in tuple("=+-@\t\r\uff1d")]
    assert {cell for cell in signs if cell} == {"-1", "+2.5e3"}  # numbers stay numbers
    assert cells.count("'=image") == 1
    assert cells.count("''=1") == 3  # of '=1 itself, which is not =1
    read = read_csv(tmp_path / "t.csv", text=None)
    assert list(read.columns) == names
    assert read["=image"].tolist() == texts
    assert read["'@"].tolist() == texts[::-1]
    (blocks,) = read_blocks(tmp_path / "t.csv", names[:1], rows=100)
    assert blocks["=image"].tolist() == texts


def test_numbers_truths_and_gaps_are_written_as_pandas_writes_them(tmp_path, rng):
    frame = pd.DataFrame({"a": rng.normal(size=4), "b": [True, False, True, True], "c": [-1, 2, -3, 4]})
    frame = frame.assign(d=np.array([-1, None, "x", -2.5], dtype=object), e=pd.Categorical(["u", "v", None, "u"]))
    write_csv(frame, tmp_path / "mine.csv", float_format="%.3g")
    frame.to_csv(tmp_path / "pandas.csv", index=False, float_format="%.3g")
    assert (tmp_path / "mine.csv").read_bytes() == (tmp_path / "pandas.csv").read_bytes()
    frame = frame.set_axis(pd.Index(["=1", "b", "c", "d"], name="image_id"))
    write_csv(frame, tmp_path / "mine.csv", index=True)
    assert read_csv(tmp_path / "mine.csv")["image_id"].tolist() == ["=1", "b", "c", "d"]
    assert frame.index[0] == "=1"  # it is not changed
    write_csv(pd.DataFrame(columns=["=a"]), tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == "'=a\n"
    write_csv(pd.DataFrame(), tmp_path / "mine.csv")


def test_nothing_else_in_the_package_writes_tables():
    folder = Path(tables.__file__).parents[1]
    writers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"\bto_csv\b|csv\.(?:Dict)?[wW]riter\b|to_excel|savetxt", path.read_text(encoding="utf-8"))
    }
    assert writers == {"storage/tables.py"}
