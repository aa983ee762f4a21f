# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Cells of a published table, checked one by one: what a spreadsheet changed is found, with its file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monai_shortcut.cohort.columns import as_number
from monai_shortcut.storage.tables import MISSING_WORDS, named_columns, read_csv

_SEPARATORS = (",", ";", "\t")
_SHORTENED = re.compile(r"[0-9](?:[.,][0-9]+)?[eE]\+?[0-9]+")  # how a spreadsheet writes a number of many digits
_WHOLE = re.compile(r"([0-9]+)\.0+")


class Rows(NamedTuple):
    """Rows of a published table, all cells as text.

    Attributes:
        frame: (N, columns) str, None where a cell is empty; the index are the numbers of the file's lines.
        path: the file.
        excluded: image id -> reason, of the rows that were taken out.
    """

    frame: pd.DataFrame
    path: Path
    excluded: dict[str, str]

    def refuse(self, column: str, must_hold: str, wrong: Any) -> None:
        """Raise an error that names file, column and line if any cell is wrong.

        Args:
            column: name of the column.
            must_hold: what the column must hold.
            wrong: (N,) bool.

        Raises:
            ValueError: If any is.
        """
        cells = self.frame[column][np.asarray(wrong, dtype=np.bool_)]
        if len(cells):
            more = f" and {len(cells) - 1} more" if len(cells) > 1 else ""
            raise ValueError(
                f"{self.path}: {column} must hold {must_hold}, got {cells.iloc[0]!r} in line {cells.index[0]}{more}: "
                "correct the table, or read it as published."
            )

    def numbers(self, column: str, *, positive: bool = False, least: float | None = None) -> NDArray[np.float64]:
        """(N,) the numbers of a column, NaN where it is empty.

        Args:
            column: name of the column.
            positive: whether numbers must be above 0.
            least: the least that a number may be.

        Raises:
            ValueError: If a cell holds anything else; the message names file and line.
        """
        cells = self.frame[column]
        found = np.array([np.nan if cell is None else as_number(cell) for cell in cells], dtype=np.float64)
        self.refuse(column, "numbers with a decimal point", cells.notna().to_numpy() & np.isnan(found))
        if positive:
            self.refuse(column, "positive numbers", found <= 0)
        if least is not None:
            self.refuse(column, f"numbers from {least:g}", found < least)
        return found

    def one_of(self, column: str, allowed: Collection[str]) -> pd.Series[Any]:
        """(N,) the cells of a column, of those that are allowed; None where it is empty.

        Raises:
            ValueError: If a cell holds anything else; the message names file and line.
        """
        cells = self.frame[column]
        self.refuse(column, f"{' or '.join(allowed)}", cells.notna() & ~cells.isin(list(allowed)))
        return cells

    def without(self, images: str, reasons: Sequence[str | None]) -> Rows:
        """The rows without a reason; the others' images are excluded with theirs.

        Args:
            images: column of image ids.
            reasons: (N,) why a row is taken out, None if it stays.
        """
        kept = np.array([reason is None for reason in reasons], dtype=np.bool_)
        names = self.frame[images]
        out = {name: reason for name, reason in zip(names, reasons, strict=True) if reason is not None}
        return Rows(self.frame[kept], self.path, {**self.excluded, **out})

    def identified(self, images: str, patients: str | None = None) -> Rows:
        """The rows that name their patient, after a check that each names one image of its own.

        Patients such as "12.0", as programs write numbers beside empty cells, become "12".

        Args:
            images: column of image ids.
            patients: column of patients; None if there is none.

        Raises:
            ValueError: If an image is not named or comes twice, or a spreadsheet has shortened an id such that it may
                stand for several; the message names file and line.
        """
        self.refuse(images, "the name of an image in every row", self.frame[images].isna())
        self.refuse(images, "each image once", self.frame[images].duplicated())
        if patients is None:
            return self
        cells = self.frame[patients]
        shortened = [cell is not None and _SHORTENED.fullmatch(cell) is not None for cell in cells]
        self.refuse(patients, "ids with all their digits, as no spreadsheet has shortened them", shortened)
        plain = [cell and _WHOLE.sub(r"\1", cell) if cell and _WHOLE.fullmatch(cell) else cell for cell in cells]
        frame = self.frame.assign(**{patients: pd.Series(plain, cells.index, dtype=object)})
        lacking = [None if cell else "patient missing" for cell in plain]
        return Rows(frame, self.path, self.excluded).without(images, lacking)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Errors about the rows that are left name the file, and what was excluded before."""
        with exclusions_told(self.excluded, f"{self.path}: "):
            yield


@contextmanager
def exclusions_told(excluded: Mapping[str, str], where: str = "") -> Iterator[None]:
    """Errors about what is left say what was excluded before.

    Args:
        excluded: image id -> reason.
        where: start of the message.
    """
    try:
        yield
    except ValueError as error:
        shown = "; ".join(f"{name}: {reason}" for name, reason in list(excluded.items())[:5])
        more = "; ..." if len(excluded) > 5 else ""
        told = f" {len(excluded)} were excluded before: {shown}{more}." if excluded else ""
        raise ValueError(f"{where}{error}{told}") from error


def text_rows(
    path: Path,
    needed: Sequence[str],
    *,
    sep: str = ",",
    encoding: str | None = None,
    only: Callable[[str], bool] | None = None,
) -> Rows:
    """Read a published table, all cells as text; "NA", "None" and the like are missing, for programs write them so.

    A table that was saved with another separator (comma, semicolon, tab) is read as well.

    Args:
        path: the file, which may be compressed.
        needed: columns that must be there.
        sep: what stands between cells of the published table.
        encoding: of the text; by default UTF-8, or UTF-16 where the file says so.
        only: whether to read the column of a name.

    Raises:
        ValueError: If a column is absent or repeated, or as `monai_shortcut.storage.tables.read_csv`; the message names
            file and line.
    """
    for other in (sep, *_SEPARATORS):
        try:
            header = read_csv(path, text=None, separator=other, encoding=encoding, rows=0)
        except ValueError:  # of one column, which is no table; an unreadable file raises again below
            continue
        if set(needed) <= set(header.columns):
            sep = other
            break
    frame = read_csv(path, text=None, only=only, separator=sep, encoding=encoding, missing=MISSING_WORDS)
    frame = named_columns(frame, path, needed).astype(object)
    return Rows(frame.where(frame.notna(), None), path, {})
