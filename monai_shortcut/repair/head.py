# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A head after a repair, and what was done to it."""

from __future__ import annotations

from dataclasses import dataclass, field

from monai_shortcut.types import Floats


@dataclass(frozen=True, eq=False)
class RepairedHead:
    """A candidate for a head. Whether it is any better, only an audit on other patients tells.

    Attributes:
        weight: (C, D) float64, of the shape that was given.
        bias: (C,) float64.
        method: "erase" or "rebalance".
        images: number of images it was fitted to: those whose levels are known.
        patients: names of the patients they are of; audit the head on others (`require_apart`).
        told: what was done, number by name.
    """

    weight: Floats
    bias: Floats
    method: str
    images: int
    patients: tuple[str, ...]
    told: dict[str, float] = field(default_factory=dict)
