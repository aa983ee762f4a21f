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
    edges: Sequence[float] = (),
) -> Levels:
    """Turn the values of an attribute into levels, counting whatever cannot be used.

    Args:
        values: (N,) numbers with NaN where missing (a continuous attribute), or strings with None where missing.
        patients: (N,) patient of each image.
        bins: number of quantile bins of a continuous attribute.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.
        edges: inner cut points of a continuous attribute, ascending, instead of quantiles; bins are closed above.

    Returns:
        The levels; ``problem`` says why when fewer than two remain.

    Raises:
        ValueError: If values and patients differ in length, or edges are given for categories or do not ascend.

    Example:
        >>> attribute_levels([1.0, 2.0, 3.0, 4.0], list("abcd"), bins=2, minimum_patients=1).names
        ('<= 2', '> 2')
    """
    patient, array = np.asarray(patients), np.asarray(values)
    if array.shape != patient.shape:
        raise ValueError(f"values must have shape {patient.shape} to match patients, got {array.shape}.")
    continuous = array.dtype.kind == "f"
    given = [float(edge) for edge in edges]
    if given and not continuous:
        raise ValueError(f"edges must be of a continuous attribute, got {given} for categories.")
    if not all(low < high for low, high in pairwise(given)) or not np.isfinite(given).all():
        raise ValueError(f"edges must be finite and ascend, got {given}.")
    known = ~np.isnan(array) if continuous else np.array([value is not None for value in array], dtype=bool)
    missing, codes = int((~known).sum()), np.full(len(array), -1, dtype=np.int64)
    if not known.any():
        return Levels((), codes, missing, {}, problem="all values are missing")
    found, edges, raw = _bins(array[known], bins, given) if continuous else _categories(array[known])
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


def _bins(
    values: NDArray[np.float64], bins: int, edges: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...], NDArray[np.int64]]:
    """Bins closed above, at given cut points or quantiles; cut points that leave a bin empty are dropped."""
    distinct = np.unique(values)
    if len(distinct) == 1:
        return (f"{distinct[0]:.4g}",), (), np.zeros(len(values), dtype=np.int64)
    # Cut points that are values themselves leave no bin empty.
    if edges:
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        filled = np.flatnonzero(counts)
        cuts = np.array([edges[i] for i in filled[:-1]])
        if not len(cuts):
            return (f"within {distinct[0]:.4g} to {distinct[-1]:.4g}",), (), np.zeros(len(values), dtype=np.int64)
    else:
        cuts = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
        cuts = cuts[cuts < distinct[-1]] if (cuts < distinct[-1]).any() else distinct[-2:-1]
    # Four digits, or as many as it takes to tell the cut points apart (dates such as 20140131 take eight).
    written = next(t for t in ([f"{cut:.{n}g}" for cut in cuts] for n in range(4, 18)) if len(set(t)) == len(cuts))
    names = (f"<= {written[0]}", *(f"{low} to {high}" for low, high in pairwise(written)), f"> {written[-1]}")
    return names, tuple(float(cut) for cut in cuts), np.searchsorted(cuts, values, side="left")


def association(first: NDArray[np.int64], second: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """How closely two attributes go along with each other among images of one label: Cramer's V, bias-corrected.

    Args:
        first: (N,) level of each image, integers from 0.
        second: (N,) level of each image, integers from 0.
        labels: (N,) class of each image.

    Returns:
        V in [0, 1], mean over classes by their images.

    References:
        Bergsma (2013), J. Korean Statistical Society 42(3).

    Example:
        >>> code = np.repeat([0, 1], 50)
        >>> association(code, code, np.zeros(100, int)), association(code, np.tile([0, 1], 50), np.zeros(100, int))
        (1.0, 0.0)
    """
    total = 0.0
    for value in np.unique(labels):
        chosen = labels == value
        table = np.zeros((int(first.max()) + 1, int(second.max()) + 1))
        np.add.at(table, (first[chosen], second[chosen]), 1)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        count, (rows, columns) = table.sum(), table.shape
        if min(rows, columns) < 2 or count < 2:
            continue
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / count
        phi = ((table - expected) ** 2 / expected).sum() / count
        excess = max(0.0, phi - (rows - 1) * (columns - 1) / (count - 1))
        least = min(rows - (rows - 1) ** 2 / (count - 1), columns - (columns - 1) ** 2 / (count - 1)) - 1
        total += count * min(1.0, float(np.sqrt(excess / least))) if least > 0 else 0.0
    return float(total / len(labels))
