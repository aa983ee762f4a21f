# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights and tables for a training anew in which label and attribute are independent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.statistics.checks import checked_length
from monai_shortcut.statistics.codings import balanced_weights
from monai_shortcut.storage.files import replacing
from monai_shortcut.types import Floats, Unmeasurable


def sampling_weights(labels: ArrayLike, codes: ArrayLike) -> Floats:
    """Weights with which a sampler draws label and attribute independently of each other; their shares stay.

    Args:
        labels: (N,) class of each image, integers from 0.
        codes: (N,) level of each image, integers from 0, -1 where unknown.

    Returns:
        (N,) float64 of mean 1; 1 where the level is unknown.

    Raises:
        ValueError: If the shapes disagree.
        Unmeasurable: If a label has no image of a level that others have; the message names the cells.

    References:
        Kamiran and Calders (2012), Knowledge and Information Systems 33(1), section 5.3 (reweighing).

    Example:
        >>> sampling_weights([0, 0, 0, 1], [0, 0, 1, 0])
        Traceback (most recent call last):
        ...
        monai_shortcut.types.Unmeasurable: each label must have images of each level, got none of label 1 at level 1
        >>> sampling_weights([0, 0, 0, 1, 1, 1], [0, 0, 1, 0, 1, 1]).tolist()
        [0.75, 0.75, 1.5, 1.5, 0.75, 0.75]
    """
    label, code = np.asarray(labels), np.asarray(codes)
    checked_length("codes", code, len(label), "labels")
    weights, known = np.ones(len(label)), np.flatnonzero(code >= 0)
    rows, levels = (np.unique(values[known], return_inverse=True) for values in (label, code))
    cells = np.bincount(rows[1] * len(levels[0]) + levels[1], minlength=len(rows[0]) * len(levels[0]))
    empty = [divmod(cell, len(levels[0])) for cell in np.flatnonzero(cells == 0).tolist()]
    if empty:
        named = ", ".join(f"label {rows[0][row]} at level {levels[0][level]}" for row, level in empty)
        raise Unmeasurable(f"each label must have images of each level, got none of {named}")
    weights[known] = balanced_weights(levels[1][None], rows[1].astype(np.int64), len(levels[0]))[0]
    return weights


def balanced_table(cohort: Cohort, attribute: str) -> dict[str, dict[str, int]]:
    """The largest table of equal counts, for ``cohort.draw(attribute, table, seed)``.

    Args:
        cohort: the images.
        attribute: a categorical or ordinal attribute.

    Returns:
        Number of images by class and level, the same in all.

    Raises:
        ValueError: If the cohort has no such attribute.
        Unmeasurable: If a label has no image of a level that others have; the message names the cells.
    """
    levels = cohort.values(attribute).tolist()
    cells = Counter(zip(cohort.table["label"].tolist(), levels, strict=True))
    known = sorted({level for level in levels if level is not None})
    empty = [f"{label} at {level}" for label in cohort.label_names for level in known if not cells[label, level]]
    if empty:
        raise Unmeasurable(f"each label must have images of each level, got none of {', '.join(empty)}")
    least = min(cells[label, level] for label in cohort.label_names for level in known)
    return {label: dict.fromkeys(known, least) for label in cohort.label_names}


def write_weighted_datalist(
    cohort: Cohort, attributes: Sequence[str], path: str | Path, *, section: str = "training", **options: object
) -> None:
    """Write the cohort as a MONAI datalist in which each image has the ``weight`` to be drawn with.

    ``monai.data.load_decathlon_datalist`` reads it; give the weights to torch's ``WeightedRandomSampler``.

    Args:
        cohort: the images, with their paths.
        attributes: what the label shall be independent of; of several, of their combination.
        path: the JSON file.
        section: its name of the list.
        **options: of `Cohort.datalist`.

    Raises:
        ValueError: As `Cohort.levels` and `Cohort.datalist`.
        Unmeasurable: As `sampling_weights`, or if an attribute has no two levels.
    """
    codes = []
    for name in attributes:
        levels = cohort.levels(name)
        if levels.problem:
            raise Unmeasurable(f"{name} must have two levels to be balanced: {levels.problem}")
        codes.append(levels.codes)
    stacked = np.stack(codes)
    joint = np.unique(stacked, axis=1, return_inverse=True)[1].reshape(-1)
    weights = sampling_weights(cohort.labels, np.where((stacked >= 0).all(axis=0), joint, -1))
    items = [
        {**item, "weight": float(weight)}
        for item, weight in zip(cohort.datalist(**options), weights, strict=True)  # type: ignore[arg-type]
    ]
    with replacing(path) as part:
        part.write_text(json.dumps({section: items}, indent=1), encoding="utf-8")
