# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.statistics.checks import (
    checked_codes,
    checked_confidence,
    checked_head,
    checked_length,
    checked_levels,
    checked_patients,
    checked_points,
    checked_rows,
    checked_strata,
    usable_rows,
)


@pytest.mark.parametrize(("given", "kept"), [("float32", "float32"), ("float64", "float64"), ("int16", "float64")])
def test_embeddings_keep_their_precision_and_anything_else_becomes_float64(given, kept):
    points = np.arange(6).reshape(3, 2).astype(given)
    found = checked_points(points)
    assert found.dtype == kept
    np.testing.assert_array_equal(found, points)
    assert np.shares_memory(found, points) == (given == kept)  # no copy of what may be large


def test_codes_and_classes_become_int64(rng):
    given = np.array([0, 2, 1, 1], dtype=np.uint8)
    for found in (checked_codes("labels", given, 3), checked_levels(given, 4), checked_strata(given, 4)):
        assert found.dtype == np.int64
        assert found.tolist() == [0, 2, 1, 1]
    assert checked_strata(["b", "a", "b"], 3).tolist() == [1, 0, 1]
    assert checked_strata(None, 3).tolist() == [0, 0, 0]
    assert checked_codes("labels", [0, 4], 5).tolist() == [0, 4]  # not every class need be there
    rows, offset = checked_head([[1, 2]], [3], 2)
    assert (rows.tolist(), offset.tolist(), rows.dtype) == ([[1.0, 2.0]], [3.0], np.float64)


POINTS = np.arange(12.0).reshape(6, 2)
UNFIT = np.where(np.isin(POINTS, [3, 6, 7]), [np.nan, np.inf], POINTS)  # three numbers of two images


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: checked_points(POINTS[0]), r"embeddings must have shape \(N, D\), got \(2,\)\."),
        (lambda: checked_points(POINTS[:1], 2), r"embeddings must have shape \(N, D\) with N at least 2, got \(1, 2\)"),
        (
            lambda: checked_points(UNFIT),
            r"embeddings must be finite, got 2 images not so \(numbers above 1e\+15 count as infinite\)\.",
        ),
        (lambda: checked_rows("probe", POINTS, 3), r"probe must have shape \(M, 3\) to match embeddings, got \(6, 2\)"),
        (lambda: checked_rows("probes", POINTS[0], 2, "B, M", (3,)), r"probes must have shape \(B, M, 2\) to match"),
        (lambda: checked_rows("head", UNFIT, 2), r"head must be finite, got 3 numbers that are not\."),
        (lambda: checked_head(POINTS, [0], 2), r"weight and bias must have shapes \(C, 2\) and \(C,\), got \(6, 2\)"),
        (lambda: checked_head(POINTS, np.zeros(6), 3), r"shapes \(C, 3\) and \(C,\), got \(6, 2\) and \(6,\)\."),
        (lambda: checked_head(UNFIT, np.zeros(6), 2), "weight must be finite, got 3 numbers that are not"),
        (lambda: checked_head(POINTS, np.full(6, np.inf), 2), "bias must be finite, got 6 numbers that are not"),
        (lambda: checked_length("labels", [0, 1], 3), r"labels must have shape \(3,\) to match embeddings, got \(2,\)"),
        (lambda: checked_length("patients", [[0]], 1, "labels"), r"patients must have shape \(1,\) to match labels"),
        (lambda: checked_codes("labels", [0, 3, 1], 2), r"labels must be in 0 to 1, got \[0, 1, 3\]\."),
        (lambda: checked_codes("labels", [0.5, 1], 2), r"labels must be in 0 to 1, got \[0\.5, 1\.0\]\."),
        (lambda: checked_codes("labels", ["a"], 2), r"labels must be in 0 to 1, got \['a'\]\."),
        (lambda: checked_levels([0, 1], 3), r"codes must have shape \(3,\) to match embeddings, got \(2,\)"),
        (lambda: checked_levels([0, 0, 0], 3), r"codes must be 0 to M - 1, each present and M at least 2, got \[0\]"),
        (lambda: checked_levels([0, 2, 0], 3), r"each present and M at least 2, got \[0, 2\]\."),
        (lambda: checked_levels([-1, 0, 1], 3), r"each present and M at least 2, got \[-1, 0, 1\]\."),
        (lambda: checked_strata([0, 1], 3), r"strata must have shape \(3,\) to match embeddings, got \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "unknown", [None, np.nan, float("nan"), "", "  ", "nan", "None", pd.NA, pd.NaT, np.datetime64("NaT", "ns")]
)
def test_unknown_patients_are_refused(unknown):
    with pytest.raises(ValueError, match=r"patients must be known for every image, got 2 .* rows 1, 3(?!, \.)"):
        checked_patients(["a", unknown, "b", unknown])


def test_patients_are_numbered_as_their_names_sort():
    for names in ([3, 1, 3], ["c", "a", "c"], np.array([2.5, 0, 2.5]), pd.Series(["b", "a", "b"]), ["2", 1, "2"]):
        assert checked_patients(names, 3).tolist() == [1, 0, 1]
    assert checked_patients([]).tolist() == []
    many = checked_patients(pd.Series([np.nan, 1.0]).fillna(2))
    assert many.tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"patients must have shape \(2,\) to match labels, got \(3,\)\."):
        checked_patients([1, 2, 3], 2, "labels")
    with pytest.raises(ValueError, match=r"patients must have shape \(N,\) to match embeddings, got \(1, 2\)\."):
        checked_patients(np.zeros((1, 2), int))


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 95, np.nan, True, "0.95"])
def test_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got"):
        checked_confidence(confidence)


@pytest.mark.parametrize("values", [[["a", "b"]], [[1j, 2]], [[None, 1.0]]])
def test_embeddings_are_real_numbers(values):
    with pytest.raises(ValueError, match="embeddings must be real numbers, got values of type"):
        checked_points(values)


@pytest.mark.parametrize("unknown", [None, np.nan])
def test_unknown_strata_are_no_class(unknown):
    with pytest.raises(ValueError, match="strata must be known for every image, got 1 that are not"):
        checked_strata([1.0, unknown, 0.0], 3)


def test_a_number_that_is_not_usable_is_found_in_any_row():
    points = np.zeros((5000, 2))
    for row in (0, 4095, 4096, 4999):
        points[row, 1] = [np.nan, np.inf, -1e16, 1.1e15][row % 4]
    assert np.flatnonzero(~usable_rows(points)).tolist() == [0, 4095, 4096, 4999]
