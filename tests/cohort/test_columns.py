# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.cohort.columns import as_text, as_texts, in_order, read_attribute

COLUMNS = [
    pd.Series([1.0, np.nan, -0.0, 2.5, np.inf, 1e20]),
    pd.Series([0.1, 3.0, np.nan], dtype="float32"),
    pd.Series([3, 0, 2**60 + 1]),
    pd.Series([3, None, 1], dtype="Int64"),
    pd.Series([True, False, True]),
    pd.Series([True, None, False], dtype="boolean"),
    pd.Series([" a ", "", "b", "a", None]),
    pd.Series(["x", None, "x "], dtype="category"),
    pd.to_datetime(pd.Series(["2020-01-02", None])),
    pd.Series([1, 1.0, True, "1", " 1", None, np.nan, pd.NA, pd.NaT, "", [1, 2], np.float64(4)], dtype=object),
    pd.Series([], dtype=object),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.dtype))
def test_a_column_reads_as_its_cells_do(column):
    assert as_texts(column).tolist() == [as_text(value) for value in column.astype(object)]


def test_numbers_are_read_alike_from_a_typed_column_and_from_cells():
    numbers = [float(value) for value in np.linspace(-1, 1, 12)] + [np.nan, np.inf, 0.0]
    typed, cells, texts = (pd.Series(numbers), pd.Series(numbers, dtype=object), pd.Series(map(str, numbers)))
    expected = np.array([*np.linspace(-1, 1, 12), np.nan, np.nan, 0.0])
    for column, kind in ((typed, None), (cells, None), (texts.replace("nan", ""), "continuous")):
        read = read_attribute(column, "x", kind)
        assert read.kind == "continuous"
        np.testing.assert_array_equal(read.values, expected)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "-1", "2.5"], ("-1", "2.5", "9", "10")),
        (["10", "9", ""], ("", "10", "9")),
        (["1e1", "9", "nan"], ("1e1", "9", "nan")),
        (["1.0", "1", "0"], ("0", "1", "1.0")),
        ([], ()),
    ],
)
def test_names_sort_as_numbers_only_if_all_are_finite_ones(names, expected):
    assert in_order(names) == in_order(names[::-1]) == expected
