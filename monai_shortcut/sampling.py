# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Balanced and biased subsets: images drawn to a table of classes by levels of an attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def draw_table(
    labels: Sequence[str],
    levels: Sequence[str | None],
    patients: Sequence[str],
    table: Mapping[str, Mapping[str, int]],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw images so that each class and level has as many as a table asks for.

    Patients come in random order, each with all images that their cells still have room for: the images of a patient
    stay together unless a cell fills up. Classes and levels that the table does not name are not drawn.

    Args:
        labels: (N,) class of each image.
        levels: (N,) level of each image, None where missing.
        patients: (N,) patient of each image.
        table: number of images by class and level.
        rng: source of the order.

    Returns:
        Indices of the drawn images, ascending, int64.

    Raises:
        ValueError: If the table names an unknown class or level, holds a count that is not an integer of at least 0 or
            nothing but zeros, or asks for more images than there are.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315, Table 2 (induced bias).

    Example:
        >>> rng, table = np.random.default_rng(0), {"sick": {"A": 1}, "well": {"B": 1}}
        >>> draw_table(["sick", "sick", "well"], ["A", "B", "B"], ["x", "y", "z"], table, rng).tolist()
        [0, 2]
    """
    room = _checked(labels, levels, table)
    _, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    turn = rng.permutation(int(patient.max()) + 1)[patient]
    chosen = []
    for index in np.argsort(turn, kind="stable").tolist():
        cell = (labels[index], levels[index])
        if room.get(cell, 0) > 0:
            room[cell] -= 1
            chosen.append(index)
    return np.sort(np.array(chosen, dtype=np.int64))


def _checked(
    labels: Sequence[str], levels: Sequence[str | None], table: Mapping[str, Mapping[str, int]]
) -> dict[tuple[str, str | None], int]:
    """Wanted images by class and level, none of them impossible."""
    known_labels, known_levels = sorted(set(labels)), sorted({level for level in levels if level is not None})
    room: dict[tuple[str, str | None], int] = {}
    for label, row in table.items():
        if label not in known_labels:
            raise ValueError(f"table must name classes among {known_labels}, got {label!r}.")
        for level, count in row.items():
            if level not in known_levels:
                raise ValueError(f"table must name levels among {known_levels}, got {level!r}.")
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
                raise ValueError(f"table must hold integers of at least 0, got {count!r} of {label} / {level}.")
            there = sum(pair == (label, level) for pair in zip(labels, levels, strict=True))
            if count > there:
                raise ValueError(
                    f"table must ask for at most the images there are, got {count} of {label} / {level} "
                    f"where there are {there}."
                )
            room[label, level] = int(count)
    if not any(room.values()):
        raise ValueError("table must ask for at least one image, got none.")
    return room
