# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Drawing images: to a table of classes by levels of an attribute, or one of another patient for each."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Cell = tuple[str, str | None]  # class and level


def draw_table(
    labels: Sequence[str],
    levels: Sequence[str | None],
    patients: Sequence[str],
    table: Mapping[str, Mapping[str, int]],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Draw images so that each class and level has as many as a table asks for.

    Images of a class and level that the table does not name are not drawn, and count for nothing below. Patients come
    in random order, in two rounds:

    1. A patient is taken with all images if they fit into their cells and leave as many images to be taken with later
       whole patients as skipping the patient would.
    2. Where a cell lacks images still, patients are split: first who fills most, with the first images (in the order of
       the rows) that still fit.

    Where the images of each patient are all of one class and level, as few patients as possible are split: none if the
    counts allow it, else one in a cell. Where patients have images in several cells this is a heuristic.

    Args:
        labels: (N,) class of each image.
        levels: (N,) level of each image, None where missing.
        patients: (N,) patient of each image.
        table: number of images by class and level.
        rng: source of the order of the patients.

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
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    wanted: list[dict[Cell, list[int]]] = [{} for _ in names]
    for row, (code, cell) in enumerate(zip(patient.tolist(), zip(labels, levels, strict=True), strict=True)):
        if room.get(cell, 0) > 0:
            wanted[code].setdefault(cell, []).append(row)
    queue = [wanted[code] for code in np.argsort(rng.permutation(len(names))) if wanted[code]]
    whole, others = _whole(queue, room)
    return np.sort(np.array(whole + _split(others, room), dtype=np.int64))


def _whole(queue: list[dict[Cell, list[int]]], room: dict[Cell, int]) -> tuple[list[int], list[dict[Cell, list[int]]]]:
    """Rows of the patients who are taken whole, and the other patients; the room they need is taken away."""
    # Bit n of a number: whether later patients have n images of the cell together.
    sums, later = dict.fromkeys(room, 1), []
    for own in reversed(queue):
        later.append({cell: sums[cell] for cell in own})
        for cell, rows in own.items():
            sums[cell] = (sums[cell] | sums[cell] << len(rows)) & ((2 << room[cell]) - 1)
    taken, others = [], []
    for own, after in zip(queue, reversed(later), strict=True):
        fits = all(len(rows) <= room[cell] for cell, rows in own.items())
        if fits and sum(_gain(after[cell], room[cell], len(rows)) for cell, rows in own.items()) >= 0:
            for cell, rows in own.items():
                room[cell] -= len(rows)
                taken += rows
        else:
            others.append(own)
    return taken, others


def _gain(sums: int, room: int, count: int) -> int:
    """How many more images fill a cell if a patient with some is taken, than with later whole patients alone."""
    most_with, most_without = ((sums & ((2 << space) - 1)).bit_length() - 1 for space in (room - count, room))
    return count + most_with - most_without


def _split(others: list[dict[Cell, list[int]]], room: dict[Cell, int]) -> list[int]:
    """Rows that fill what room is left, from few patients; the room they need is taken away."""
    taken: list[int] = []
    # What a patient can fill only shrinks, so the first of the heap whose number still holds fills most.
    heap = [(-sum(map(len, own.values())), turn) for turn, own in enumerate(others)]
    heapq.heapify(heap)
    while any(room.values()):
        told, turn = heapq.heappop(heap)
        fills = {cell: min(len(rows), room[cell]) for cell, rows in others[turn].items()}
        if sum(fills.values()) < -told:
            heapq.heappush(heap, (-sum(fills.values()), turn))
            continue
        for cell, count in fills.items():
            room[cell] -= count
            taken += others[turn][cell][:count]
    return taken


def _checked(
    labels: Sequence[str], levels: Sequence[str | None], table: Mapping[str, Mapping[str, int]]
) -> dict[Cell, int]:
    """Wanted images by class and level, none of them impossible."""
    known_labels, known_levels = sorted(set(labels)), sorted({level for level in levels if level is not None})
    images = Counter(zip(labels, levels, strict=True))
    room: dict[Cell, int] = {}
    for label, row in table.items():
        if label not in known_labels:
            raise ValueError(f"table must name classes among {known_labels}, got {label!r}.")
        for level, count in row.items():
            if level not in known_levels:
                raise ValueError(f"table must name levels among {known_levels}, got {level!r}.")
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
                raise ValueError(f"table must hold integers of at least 0, got {count!r} of {label} / {level}.")
            there = images[label, level]
            if count > there:
                raise ValueError(
                    f"table must ask for at most the images there are, got {count} of {label} / {level} "
                    f"where there are {there}."
                )
            room[label, level] = int(count)
    if not any(room.values()):
        raise ValueError("table must ask for at least one image, got none.")
    return room


def other_patients_rows(
    patients: NDArray[np.str_], candidates: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """(N,) for each image one of the candidate rows, drawn with equal chances from those of other patients.

    Args:
        patients: (N,) patient of each image.
        candidates: (M,) rows that may be drawn; of two patients at least, unless none of the images is theirs.
        rng: source of the draws.
    """
    owners = patients[candidates]
    order = np.argsort(owners, kind="stable")
    first, last = (np.searchsorted(owners[order], patients, side=side) for side in ("left", "right"))
    drawn = rng.integers(len(candidates) - (last - first))
    return candidates[order[np.where(drawn < first, drawn, drawn + last - first)]]  # the patient's own are skipped
