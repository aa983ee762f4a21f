# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The one reader and the one writer of CSV files.

What is an index, missing, a number or a text does not depend on the other rows. No cell that is written is a formula to
a spreadsheet; the reader gives back what was meant.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import logging
import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

# What programs write for "nothing"; beside more than a few numbers it can mean nothing else.
MISSING_WORDS = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN"}
    | {"<NA>", "N/A", "NA", "NULL", "None", "n/a", "null", "NaT", "NaN", "nan", "NAN", "-NaN", "-nan"}
)
_NOT_A_NUMBER = frozenset({"NaN", "nan", "NAN", "-NaN", "-nan"})  # beside any number
_BROKEN = frozenset({"#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})  # errors of a spreadsheet's formulas
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
_WHOLE = re.compile(r"[+-]?[0-9]{1,15}")
_CODE = re.compile(r"[+-]?(?:0[0-9]+|[0-9]{16,})")  # a number would lose its leading zeros, or its last digits
_COMMA = re.compile(r"[+-]?[0-9]+(?:,[0-9]+)+(?:\.[0-9]+)?")  # a decimal comma, or thousands
_BOOLEANS = {**dict.fromkeys(("True", "TRUE", "true"), True), **dict.fromkeys(("False", "FALSE", "false"), False)}
# What a spreadsheet may take for a formula, after any "'" in front. Wide forms of the signs are taken for the signs.
_FORMULA = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
_FEW = 10  # different values up to which numbers may be names
_TEXT: Any = pd.Series([], dtype=str).dtype  # of text with missing values: object, or str from pandas 3 on
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_AT_ONCE = 2**9  # rows; of more, Python would look for garbage among them again and again
_LONGEST = 2**31 - 1  # characters of a cell; run-length codes exceed Python's own limit
_LOG = logging.getLogger(__name__)


def read_csv(
    path: str | Path,
    *,
    text: Collection[str] | None = (),
    only: Callable[[str], bool] | None = None,
    separator: str = ",",
    encoding: str | None = None,
    missing: Collection[str] = (),
    rows: int | None = None,
) -> pd.DataFrame:
    """Read a CSV file as it stands.

    No column is taken for an index. Empty cells, also those of blanks, are missing, and nothing else is, but for a word
    such as "NA" or "NaN" in a column whose other cells are numbers, more than ten of them different ("NaN" beside any
    number). A column of numbers is numbers; with leading zeros, or more than 15 digits, it is text where ten values or
    fewer make it one of codes. "True" and "False" in any case are booleans. Rows without any content are passed over,
    like a cell too many that is empty. Blanks around names and cells are removed, and so is the "'" that `write_csv`
    puts before what a spreadsheet would take for a formula.

    Args:
        path: the file, with a header row; .gz, .bz2, .xz and .zip are unpacked.
        text: columns to leave as text; None means all.
        only: whether to read the column of a name; None means all.
        separator: what stands between cells; a first line "sep=;" overrules it.
        encoding: of the text; by default UTF-8, or UTF-16 where the file says so.
        missing: further words that mean a missing value, in all columns.
        rows: number of rows to read; None means all.

    Returns:
        (N, columns) whose index are the numbers of the lines in which the rows end. Columns without a name are called
        "", and names may be repeated: `named_columns` removes the one and refuses the other.

    Raises:
        ValueError: If the file is no text of that encoding or cannot be unpacked, there is no header, a row has another
            number of cells, or a cell holds the error of a spreadsheet; the message names file and line.
    """
    with _lines(path, separator, encoding) as (header, found):
        chosen = [place for place, name in enumerate(header) if only is None or only(name)]
        lines: list[int] = []
        columns: list[list[str]] = [[] for _ in chosen]
        seen: list[dict[str, str]] = [{} for _ in chosen]
        limited = islice(found, rows)
        while block := list(islice(limited, _AT_ONCE)):
            lines += [line for line, _ in block]
            by_place = list(zip(*[row for _, row in block], strict=True))
            for place, column, known in zip(chosen, columns, seen, strict=True):
                column += map(known.setdefault, by_place[place], by_place[place])  # equal cells are one string
    index = pd.Index(lines, dtype=np.int64)
    series = []
    for place in reversed(chosen):  # what was read is let go, column by column
        name, cells, distinct = header[place], columns.pop(), seen.pop()
        series.append(_typed(cells, distinct, index, text is None or name in text, missing, f"{path}: column {name}"))
    series.reverse()
    frame = pd.concat(series, axis=1) if series else pd.DataFrame(index=index)
    frame.columns = pd.Index([header[place] for place in chosen], dtype=object)
    return frame


def read_blocks(
    path: str | Path, only: Collection[str], *, rows: int, encoding: str | None = None
) -> Iterator[pd.DataFrame]:
    """Read a large CSV file a few rows at a time, as `read_csv` does, all columns as text.

    Args:
        path: the file.
        only: columns to read.
        rows: number of rows of a block.
        encoding: of the text.

    Raises:
        ValueError: As `read_csv`.
    """
    with _lines(path, ",", encoding) as (header, found):
        chosen = [place for place, name in enumerate(header) if name in only]
        names = pd.Index([header[place] for place in chosen], dtype=object)
        while block := list(islice(found, rows)):
            cells = [[_meant(row[place].strip()) or None for place in chosen] for _, row in block]
            yield pd.DataFrame(cells, [line for line, _ in block], names, dtype=object)


def write_csv(table: pd.DataFrame, path: str | Path, *, index: bool = False, float_format: str | None = None) -> None:
    """Write a table as a CSV file that `read_csv` reads, and in which nothing is a formula to a spreadsheet.

    A "'" is put before texts and names of columns that begin with "=", "+", "-", "@", a tab or a line end, also after
    blanks or such a "'". Numbers stay as they are, also where they are texts.

    Args:
        table: what to write; its index has a name if it is written.
        path: the file.
        index: whether to write the index, too.
        float_format: of numbers, such as "%.9g"; by default all their digits.
    """
    shown = table.reset_index() if index else table.copy(deep=False)
    quoting: Any = csv.QUOTE_MINIMAL
    for place, kind in enumerate(shown.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            cells = [_harmless(cell) for cell in shown.iloc[:, place]]
            if any(isinstance(cell, str) and "\r" in cell for cell in cells):
                quoting = csv.QUOTE_NONNUMERIC  # Python before 3.13 sees no line end in it
            shown.isetitem(place, np.array([*cells, None], dtype=object)[:-1])  # the last one, lest all be of a shape
    shown.columns = pd.Index([_harmless(name) for name in shown.columns], dtype=object)
    shown.to_csv(path, index=False, float_format=float_format, quoting=quoting, errors="backslashreplace")


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def _meant(cell: str) -> str:
    """What a cell without blanks around it said before `_harmless`."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(cell: str) -> bool:
    return _FORMULA.match(cell) is not None and _NUMBER.fullmatch(cell.lstrip("'").strip()) is None


def named_columns(frame: pd.DataFrame, path: str | Path, needed: Collection[str] | None = None) -> pd.DataFrame:
    """A table that was read, without columns that have no name.

    Args:
        frame: the table, as of `read_csv`.
        path: its file, for messages.
        needed: columns that must be there once; others come once, too. None means all must.

    Raises:
        ValueError: If a needed column is absent or repeated; or, with needed None, any is repeated, or one without a
            name holds anything but the number of the row.
    """
    names = list(frame.columns)
    absent = [name for name in needed or () if name not in names]
    if absent:
        raise ValueError(f"{path} must have columns {', '.join(needed or ())}, got none named {', '.join(absent)}.")
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    wrong = twice if needed is None else [name for name in twice if name in needed]
    if wrong:
        raise ValueError(f"{path} must name each column once, got {', '.join(wrong)} repeated: rename or remove them.")
    if needed is None:
        for place, name in enumerate(names):
            if not name and not _counts(frame.iloc[:, place], place):
                raise ValueError(f"{path} must name its columns, got column {place + 1} without: name or remove it.")
    first = {name: place for place, name in reversed(list(enumerate(names))) if name}
    return frame.iloc[:, sorted(first.values())]


def _counts(values: pd.Series[Any], place: int) -> bool:
    """Whether a column says nothing: it is empty, or the first one and numbers the rows."""
    if values.isna().all():
        return True
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    return place == 0 and any(np.array_equal(numbers, np.arange(len(numbers)) + start) for start in (0, 1))


@contextmanager
def _lines(
    path: str | Path, separator: str, encoding: str | None
) -> Iterator[tuple[list[str], Iterator[tuple[int, list[str]]]]]:
    """Names of the columns, and the rows with the number of the line they end in, as long as the header each."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
    reader = None
    try:
        with _opened(Path(path), encoding) as file:
            start = file.readline()
            told = re.fullmatch(r'"?sep=(.)"?\s*', start)
            reader = csv.reader(
                file if told else chain([start], file), delimiter=told[1] if told else separator, skipinitialspace=True
            )
            header = _header(next(reader, []), path)
            yield header, _rows(reader, header, path)
    except UnicodeError as error:
        hint = "give its encoding, such as encoding='cp1252'"
        raise ValueError(f"{path} must be text in {encoding or 'UTF-8'}, got {error}: {hint}.") from error
    except (csv.Error, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, gzip.BadGzipFile) as error:
        place = f" after line {reader.line_num}" if reader is not None else ""
        raise ValueError(f"{path} must be a CSV file, got one that cannot be read{place}: {error}.") from error


def _header(cells: list[str], path: str | Path) -> list[str]:
    names = [_meant(plain(cell)) for cell in cells]
    if not any(names):
        raise ValueError(f"{path} must start with the names of its columns, got none.")
    if any("\0" in name for name in names):
        raise ValueError(f"{path} must be text, got zero bytes: give its encoding, such as encoding='utf-16-le'.")
    other = next((sign for sign in (";", "\t", "|") if len(names) == 1 and sign in names[0]), None)
    if other:
        raise ValueError(f"{path} must have cells separated as said, got {names[0]!r}: give separator={other!r}.")
    return names


def _rows(reader: Any, header: Sequence[str], path: str | Path) -> Iterator[tuple[int, list[str]]]:
    width, least = len(header), max(place for place, name in enumerate(header) if name) + 1
    for cells in reader:
        if len(cells) != width:
            if not cells:
                continue
            if any(map(str.strip, cells[width:])) or (len(cells) < least and any(map(str.strip, cells))):
                raise ValueError(
                    f"{path} must have a cell for each of its {width} columns in every row, got {len(cells)} in line "
                    f"{reader.line_num} ({separated(cells)}): is a name missing in the header, or a row cut off?"
                )
            cells = (cells + [""] * width)[:width]
        if cells[0] or any(map(str.strip, cells)):
            yield reader.line_num, cells


def separated(cells: Sequence[str]) -> str:
    """A row for a message, not too long."""
    shown = " ".join(",".join(cells).split())
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


@contextmanager
def _opened(path: Path, encoding: str | None) -> Iterator[IO[str]]:
    """The file as text, its line ends as they are."""
    with _unpacked(path) as file:
        if encoding is None:
            start = file.read(2)
            file.seek(0)
            encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with TextIOWrapper(file, encoding=encoding, newline="") as opened:
            yield opened


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if not name.endswith("/")]
            if len(names) != 1:
                raise ValueError(f"{path} must hold one file, got {len(names)}: unpack it.")
            with packed.open(names[0]) as file:
                yield file
    else:
        opened: Any = _OPENERS[suffix](path, "rb") if suffix in _OPENERS else path.open("rb")
        with opened as file:
            yield file


def plain(text: str) -> str:
    """A name without blanks and marks that cannot be seen around it."""
    return text.strip().strip("\ufeff\u200b\u200e\u200f\u2060").strip()


def _typed(
    cells: list[str], distinct: Collection[str], index: pd.Index[Any], text: bool, missing: Collection[str], what: str
) -> pd.Series[Any]:
    """A column as numbers, booleans or text."""
    words = {cell: word for cell in distinct if (word := _meant(cell.strip())) and word not in missing}
    known = set(words.values())
    if broken := known & _BROKEN:
        first = next(line for line, cell in zip(index, cells, strict=True) if words.get(cell) in broken)
        raise ValueError(f"{what} must hold values, got {min(broken)} of a spreadsheet in line {first}: correct it.")
    if not text and known and (numbers := _numbers(known)) is not None:
        whole = len(words) == len(distinct) and all(isinstance(numbers.get(word), int) for word in known)
        values = {cell: numbers.get(word, np.nan) for cell, word in words.items()}
        return _series(cells, values, index, np.int64 if whole else np.float64)
    for word in sorted(MISSING_WORDS & known):
        count = sum(words.get(cell) == word for cell in cells)
        _LOG.warning("%s holds %r %d times: a value, unless missing=[%r] is given.", what, word, count, word)
    commas = set(filter(_COMMA.fullmatch, known)) if not text else ()
    if commas and all(map(_NUMBER.fullmatch, known - commas)):
        _LOG.warning("%s holds %r: texts, not numbers, unless they are written with points.", what, min(commas))
    if not text and known and known <= _BOOLEANS.keys():
        truths = {cell: _BOOLEANS[word] for cell, word in words.items()}
        return _series(cells, truths, index, bool if len(words) == len(distinct) else object)
    return _series(cells, words, index, _TEXT)


def _series(cells: list[str], values: Mapping[str, Any], index: pd.Index[Any], dtype: Any) -> pd.Series[Any]:
    found: pd.Series[Any] = pd.Series([values.get(cell, np.nan) for cell in cells], index, dtype=dtype)
    return found


def _numbers(known: Collection[str]) -> dict[str, float] | None:
    """The numbers that words say; None if the words are names."""
    numbers = set(filter(_NUMBER.fullmatch, known))
    others = set(known) - numbers
    several = len(numbers) > _FEW
    if not numbers or not others <= (MISSING_WORDS if several else _NOT_A_NUMBER):
        return None
    if not several and any(map(_CODE.fullmatch, numbers)):
        return None
    return {word: int(word) if _WHOLE.fullmatch(word) else float(word) for word in numbers}
