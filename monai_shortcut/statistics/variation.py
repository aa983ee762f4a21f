# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether embeddings and answers vary by more than their rounding: what does not vary says nothing of anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from monai_shortcut.statistics.ordering import ROWS, OrderedRows
from monai_shortcut.statistics.standardized import Moments, rounding
from monai_shortcut.types import Floats, Integers

SAME = "the embedding does not vary"
SAME_WITHIN = f"{SAME} among images of one label"
_LEAST = 1e-12  # difference of two logits that moves no probability


def vary_within(source: OrderedRows, labels: Integers, rows: Integers) -> bool:
    """Whether the embeddings of some images vary among those of one label; of most networks the first block shows it.

    Args:
        source: (N, D) embeddings.
        labels: (N,) label of each image.
        rows: (n,) the images.
    """
    return any(vary(source, rows[labels[rows] == value]) for value in np.unique(labels[rows]))


def vary(source: OrderedRows, rows: Integers | None = None) -> bool:
    """Whether any column of the embeddings (N, D) varies among some images (n,), all by default.

    Example:
        >>> vary(OrderedRows(np.full((5, 2), 0.1))), vary(OrderedRows(np.arange(10.0).reshape(5, 2)))
        (False, True)
    """
    chosen = np.arange(len(source)) if rows is None else rows
    return any(np.isfinite(moments.scale(source.points.dtype)).any() for moments in _growing(source, chosen))


def _growing(source: OrderedRows, rows: Integers) -> Iterator[Moments]:
    """Moments of the first block of rows, of the first two, and so on."""
    moments: Moments | None = None
    for start in range(0, len(rows), ROWS):
        block = Moments.of(source.rows(rows[start : start + ROWS]))
        moments = moments.joined(block) if moments else block
        yield moments


def answers_vary(logits: Floats, bias: Floats, dtype: Any) -> bool:
    """Whether the differences of an image's logits, which its probabilities and ranks follow from, vary between images.

    Args:
        logits: (N, C) of each image.
        bias: (C,) of the head.
        dtype: of the embeddings that the logits were computed from; their products are rounded in it.

    Example:
        >>> logits, bias = np.array([[0.1, 0.3], [5.1, 5.3]]), np.zeros(2)  # a softmax sees what they differ by
        >>> answers_vary(logits, bias, np.float64), answers_vary(logits * [1, 2], bias, np.float64)
        (False, True)
    """
    apart = logits - logits.mean(axis=1, keepdims=True)
    products, sums = (float(np.abs(values).max(initial=0.0)) for values in (logits - bias, logits))
    least = max(_LEAST, rounding(dtype) * products, rounding(np.float64) * sums)
    return bool(np.ptp(apart, axis=0).max() > least)
