# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Who sees what when: sessions in which no case comes twice, and names that tell nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.types import Integers


def session_numbers(
    labels: ArrayLike, strategies: int, longest: int | None, rng: np.random.Generator
) -> tuple[Integers, int]:
    """In which session each case is seen under each strategy: a Latin square, apart for each class.

    Args:
        labels: (C,) class of each case, 0 or 1.
        strategies: number S of strategies.
        longest: most images of a session; None if all cases are seen in each.
        rng: decides which case begins with which strategy.

    Returns:
        (C, S) number of the session, from 1, and how many sessions there are: S, or S times as many as needed. A case
        is never twice in a session, and each strategy has the same share of a session's images of each class, as nearly
        as their numbers allow. Sessions of one case are as far apart as they can be.

    Raises:
        ValueError: If longest is below 2.
    """
    label = np.asarray(labels)
    if longest is not None and longest < 2:
        raise ValueError(f"longest must be at least 2 images, got {longest}.")
    blocks = 1 if longest is None else -(-len(label) // (longest - longest % 2))
    number = np.empty((len(label), strategies), dtype=np.int64)
    start = 0
    for value in (1, 0):
        members = rng.permutation(np.flatnonzero(label == value))
        place = np.arange(len(members))
        first = (start + place // blocks)[:, None] + np.arange(strategies)
        number[members] = 1 + first % strategies * blocks + (place % blocks)[:, None]
        start += len(members)
    return number, strategies * blocks


def opaque_names(count: int, rng: np.random.Generator) -> list[str]:
    """Different names of 16 hexadecimal digits.

    Args:
        count: how many.
        rng: what they are drawn from.
    """
    names: dict[str, None] = {}
    while len(names) < count:
        names[rng.bytes(8).hex()] = None
    return list(names)
