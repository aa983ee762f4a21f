# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The order of images in which everything is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.ordering import OrderedRows, by_appearance, canonical_order


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_the_order_is_by_label_and_then_by_a_projection(rng, dtype, layout):
    """Against a slow sort by an exact sum."""
    points = np.asarray(rng.normal(size=(50, 7)).astype(dtype), order=layout)
    label, direction = rng.integers(3, size=50), np.random.default_rng(0).normal(size=7)
    place = [sum(float(x) * w for x, w in zip(row, direction, strict=True)) for row in points]
    expected = sorted(range(50), key=lambda row: (label[row], place[row]))
    assert canonical_order(points, label).tolist() == expected


def test_the_order_does_not_depend_on_that_of_the_rows(rng):
    """Of more rows than are read at once."""
    points, label = rng.normal(size=(9000, 3)).astype(np.float32), rng.integers(2, size=9000)
    rows = rng.permutation(9000)
    first, again = canonical_order(points, label), canonical_order(points[rows], label[rows])
    np.testing.assert_array_equal(rows[again], first)


def test_equal_embeddings_are_told_apart_by_what_else_is_known():
    points, label = np.ones((6, 2)), [0, 0, 0, 1, 1, 1]
    site, age = ["b", None, "a", "x", "x", "x"], [1.0, 2.0, 3.0, 9.0, 10.0, np.nan]
    order = canonical_order(points, label, [age, site])
    assert [site[row] for row in order[:3]] == [None, "a", "b"]
    assert [str(age[row]) for row in order[3:]] == ["10.0", "9.0", "nan"]
    assert canonical_order(points, label).tolist() == list(range(6))  # exchangeable, as they come


def test_large_numbers_do_not_stop_it():
    points = np.array([[1e300, -1e300], [1e-300, 0.0], [1.7e308, 1.7e308]])
    assert sorted(canonical_order(points, [0, 0, 0])) == [0, 1, 2]


def test_rows_are_read_in_their_order_without_a_copy(rng):
    points, order = rng.normal(size=(5000, 3)), rng.permutation(5000)[:4500]
    rows, weight = OrderedRows(points, order), rng.normal(size=(2, 3))
    assert len(rows) == 4500
    assert rows.points is points
    np.testing.assert_array_equal(rows.rows(slice(10, 20)), points[order[10:20]])
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks())), points[order])
    np.testing.assert_allclose(rows.times(weight), points[order] @ weight.T)
    part = rows.those(np.array([7, 2]))
    assert part.points is points
    np.testing.assert_array_equal(part.rows(slice(None)), points[order[[7, 2]]])
    assert len(OrderedRows(points)) == 5000
    np.testing.assert_array_equal(OrderedRows(points).those(np.array([4])).rows(slice(None)), points[4:5])


def test_values_are_numbered_as_they_appear():
    assert by_appearance(np.array([7, 3, 7, 9, 3])).tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(("columns", "small"), [(2, True), (2**20, False)])
def test_rows_of_many_bytes_are_not_copied(columns, small):
    rows = OrderedRows(np.broadcast_to(np.float32(0), (2**10, columns)))
    assert rows.small is small
