# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from monai_shortcut.statistics.ordering import ROWS, OrderedRows
from monai_shortcut.statistics.variation import answers_vary, vary, vary_within

LABEL = np.repeat([0, 1], 20)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (np.full((40, 3), 0.1), False),
        (np.full((40, 3), 0.1, np.float32), False),
        (np.full((40, 3), 0.1) + 1e-16 * np.arange(40)[:, None], False),  # its rounding
        (np.float32(5) + np.float32(1e-7) * np.arange(40, dtype=np.float32)[:, None], False),
        (1e-200 * np.arange(40.0)[:, None], False),
        (1e-9 * np.arange(40.0)[:, None], True),
        (1.6e9 + np.arange(40.0)[:, None], True),  # seconds of a minute
        (np.eye(40)[:, :1], True),  # a single image
    ],
)
def test_embeddings_vary_by_more_than_their_rounding(points, expected):
    assert vary(OrderedRows(points)) is expected


def test_what_differs_between_blocks_alone_varies():
    points = np.repeat([0.0, 1.0], ROWS)[:, None]
    assert vary(OrderedRows(points))
    assert not vary(OrderedRows(points), np.arange(ROWS))


def test_the_label_alone_is_no_variation_within_labels(rng):
    points, rows = LABEL[:, None] * np.array([[1.0, -2.0]]), np.arange(40)
    assert vary(OrderedRows(points))
    assert not vary_within(OrderedRows(points), LABEL, rows)
    points[3] += 1  # an image of the first label
    assert vary_within(OrderedRows(points), LABEL, rows)
    assert not vary_within(OrderedRows(points), LABEL, rows[4:])
    mixed = rng.permutation(40)
    assert not vary_within(OrderedRows(points, mixed), LABEL[mixed], np.flatnonzero(mixed > 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_of_a_head_give_one_answer_whatever_rounding_makes_of_it(rng, dtype):
    points, row = 30 * rng.normal(size=(40, 64)).astype(dtype), rng.normal(size=64)
    bias = np.array([1.0, -1.0])
    logits = OrderedRows(points).times(np.stack([row, row * (1 + 1e-16)])) + bias
    logits[:, 1] += 1e-7 * rng.normal(size=40) * (dtype == np.float32) * np.abs(logits).max()  # as another BLAS rounds
    assert not answers_vary(logits, bias, dtype)
    other = OrderedRows(points).times(np.stack([row, -row])) + bias
    assert answers_vary(other, bias, dtype)


def test_saturated_answers_vary_as_long_as_their_ranks_do(rng):
    logits, nothing = rng.normal((80, 0), size=(40, 2)), np.zeros(2)
    assert answers_vary(logits, nothing, np.float64)
    assert not answers_vary(1e-13 * logits, nothing, np.float64)
    assert not answers_vary(np.log(np.full((40, 2), [1.0, 1e-300])), nothing, np.float64)
