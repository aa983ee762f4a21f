# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An attribute as a few levels: categories as they are, continuous values cut at their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Levels:
    """The levels of an attribute that can be analysed.

    Attributes:
        names: M names, in the order of the codes.
        codes: (N,) int64 level of each image; -1 where missing or left out.
        missing: number of images without a value.
        left_out: images per level that too few patients have.
        edges: inner cut points of a continuous attribute, in its own unit; empty for categories.
        problem: why the attribute cannot be analysed; empty when it can.
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    missing: int
    left_out: dict[str, int]
    edges: tuple[float, ...] = ()
    problem: str = ""


def attribute_levels(
    values: Sequence[object] | ArrayLike,
    patients: ArrayLike,
    *,
    bins: int = 3,
    minimum_patients: int = 10,
    maximum_levels: int = 20,
) -> Levels:
    """Turn the values of an attribute into levels, counting whatever cannot be used.

    Args:
        values: (N,) numbers with NaN where missing (a continuous attribute), or strings with None where missing.
        patients: (N,) patient of each image.
        bins: number of quantile bins of a continuous attribute.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.

    Returns:
        The levels; ``problem`` says why when fewer than two remain.

    Raises:
        ValueError: If values and patients differ in length.

    Example:
        >>> attribute_levels([1.0, 2.0, 3.0, 4.0], list("abcd"), bins=2, minimum_patients=1).names
        ('<= 2', '> 2')
    """
    patient, array = np.asarray(patients), np.asarray(values)
    if array.shape != patient.shape:
        raise ValueError(f"values must have shape {patient.shape} to match patients, got {array.shape}.")
    continuous = array.dtype.kind == "f"
    known = ~np.isnan(array) if continuous else np.array([value is not None for value in array], dtype=bool)
    missing, codes = int((~known).sum()), np.full(len(array), -1, dtype=np.int64)
    if not known.any():
        return Levels((), codes, missing, {}, problem="all values are missing")
    found, edges, raw = _bins(array[known], bins) if continuous else _categories(array[known])
    if len(found) == 1:
        codes[known] = 0
        return Levels(found, codes, missing, {}, edges, f"every image has the same value ({found[0]})")
    if len(found) > maximum_levels:
        categories = f"{len(found)} different categories in {int(known.sum())} images"
        problem = f"{categories}, more than the {maximum_levels} that are analysed"
        return Levels((), codes, missing, {}, edges, problem)
    rare = [len(np.unique(patient[known][raw == code])) < minimum_patients for code in range(len(found))]
    left_out = {name: int((raw == code).sum()) for code, name in enumerate(found) if rare[code]}
    renumbered = np.where(rare, -1, np.cumsum(~np.array(rare)) - 1)
    codes[known] = renumbered[raw]
    names = tuple(name for name in found if name not in left_out)
    problem = "" if len(names) > 1 else f"fewer than two levels with at least {minimum_patients} patients"
    return Levels(names, codes, missing, left_out, edges, problem)


def _categories(values: NDArray[np.object_]) -> tuple[tuple[str, ...], tuple[float, ...], NDArray[np.int64]]:
    names, codes = np.unique(values.astype(str), return_inverse=True)
    return tuple(str(name) for name in names), (), codes


def _bins(values: NDArray[np.float64], bins: int) -> tuple[tuple[str, ...], tuple[float, ...], NDArray[np.int64]]:
    """Quantile bins, closed above; equal cut points are merged, so heavily tied values give fewer bins."""
    distinct = np.unique(values)
    if len(distinct) == 1:
        return (f"{distinct[0]:.4g}",), (), np.zeros(len(values), dtype=np.int64)
    # Cut points that are values themselves leave no bin empty.
    cuts = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
    cuts = cuts[cuts < distinct[-1]] if (cuts < distinct[-1]).any() else distinct[-2:-1]
    # Four digits, or as many as it takes to tell the cut points apart (dates such as 20140131 take eight).
    written = next(t for t in ([f"{cut:.{n}g}" for cut in cuts] for n in range(4, 18)) if len(set(t)) == len(cuts))
    names = (f"<= {written[0]}", *(f"{low} to {high}" for low, high in pairwise(written)), f"> {written[-1]}")
    return names, tuple(float(cut) for cut in cuts), np.searchsorted(cuts, values, side="left")
