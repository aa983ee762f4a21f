# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the table is of the images that were evaluated: the labels of the batches beside those of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_shortcut.cohort.table import Cohort

_SHOWN = 5


def given_labels(batch: Mapping[str, Any], key: str, images: int, columns: int) -> NDArray[np.float64]:
    """(images, columns) class, or presence of each finding, that a batch gives; NaN where it gives neither.

    Args:
        batch: of the data loader.
        key: entry that holds the labels: numbers, or one-hot rows of classes.
        images: images of the batch.
        columns: 1 for classes, else the number of findings.

    Example:
        >>> given_labels({"label": torch.tensor([[0, 1], [1, 0]])}, "label", 2, 1).tolist()
        [[1.0], [0.0]]
    """
    unknown = np.full((images, columns), np.nan)
    try:
        values = np.asarray(torch.as_tensor(batch[key]).cpu(), dtype=np.float64)
    except (KeyError, TypeError, ValueError, RuntimeError):
        return unknown
    if not values.size or len(np.atleast_1d(values)) != images:
        return unknown
    rows = values.reshape(images, -1)
    if columns == 1 and rows.shape[1] > 1:
        one_hot = np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()
        rows = rows.argmax(axis=1)[:, None].astype(np.float64) if one_hot else unknown
    return rows if rows.shape == unknown.shape else unknown


def disagreement(given: NDArray[np.float64], cohort: Cohort, most: float) -> str:
    """How many labels of the evaluation are not those of the table, in a sentence; "" if none.

    Args:
        given: (N,) class that the evaluation gives for each row, NaN where it gives none; values that are no class of
            the cohort, such as those of a continuous outcome, are not compared.
        cohort: the N rows.
        most: share of the labels that may differ.

    Raises:
        ValueError: If more do, with examples.
    """
    codes, names = cohort.labels, cohort.label_names
    known = np.isin(given, np.arange(len(names)))
    wrong = np.flatnonzero(known & (given != codes))
    if not len(wrong):
        return ""
    said = f"{len(wrong)} of {int(known.sum())} images have another label in the table than in the evaluation"
    if len(wrong) / int(known.sum()) > most:
        raise ValueError(
            f"at most {most:.0%} of the labels of the table may differ from those of the evaluation (mislabelled), got "
            f"{len(wrong)} of {int(known.sum())}: {_examples(wrong, given, cohort)}. Is the table of other files of "
            "the same names, or are label_names in another order than the outputs?"
        )
    return f"{said}; the table's are taken."


def _examples(rows: Sequence[int] | NDArray[np.int64], given: NDArray[np.float64], cohort: Cohort) -> str:
    names, ids, codes = cohort.label_names, cohort.image_ids, cohort.labels
    shown = [f"{ids[row]} is {names[codes[row]]}, not {names[int(given[row])]}" for row in rows[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(rows) > _SHOWN else "")
