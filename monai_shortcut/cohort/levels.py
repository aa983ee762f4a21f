# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An attribute as a few levels: categories and ordinal levels as they are, continuous values cut at their quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.cohort.columns import (
    CATEGORICAL,
    CONTINUOUS,
    ORDINAL,
    as_numbers,
    as_text,
    as_texts,
    in_order,
    is_number,
    level_order,
    many_numbers,
    require_kind,
)


@dataclass(frozen=True)
class Levels:
    """The levels of an attribute that can be analysed.

    Attributes:
        names: M names, in the order of the codes.
        codes: (N,) int64 level of each image; -1 where missing or left out.
        missing: number of images without a value.
        left_out: images per level that too few patients have.
        edges: inner cut points of a continuous attribute, in its own unit; empty for the other kinds.
        problem: why the attribute cannot be analysed; empty when it can.
        kind: "categorical", "ordinal" or "continuous".
    """

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    missing: int
    left_out: dict[str, int]
    edges: tuple[float, ...] = ()
    problem: str = ""
    kind: str = CATEGORICAL

    @property
    def ordered(self) -> bool:
        """Whether a higher code means more: so do ordinal levels and the bins of continuous values."""
        return self.kind != CATEGORICAL


class _Coded(NamedTuple):
    """All levels, rare ones too: M names, (N,) int64 codes that are -1 where missing, inner cut points."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]
    edges: tuple[float, ...] = ()


def attribute_levels(
    values: Sequence[object] | ArrayLike,
    patients: ArrayLike,
    *,
    bins: int = 3,
    minimum_patients: int = 10,
    maximum_levels: int = 20,
    edges: Sequence[float] = (),
    kind: str | None = None,
    order: Sequence[str] | None = None,
) -> Levels:
    """Turn the values of an attribute into levels, counting whatever cannot be used.

    Codes ascend with continuous values and with the order of ordinal levels. Categories are sorted: as numbers if all
    of them are numbers, else as text.

    Args:
        values: (N,) numbers or strings; NaN and None are missing.
        patients: (N,) patient of each image.
        bins: number of quantile bins of a continuous attribute.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.
        edges: inner cut points of a continuous attribute, ascending, instead of quantiles; bins are closed above.
        kind: "categorical", "ordinal" or "continuous". None means continuous if values are floats, or whole numbers of
            which more than ten are different; else categorical.
        order: levels of an ordinal attribute, low to high; not needed where they are numbers.

    Returns:
        The levels; ``problem`` says why when fewer than two remain.

    Raises:
        ValueError: If values and patients differ in length, a patient is unknown, a number is out of its range, the
            kind is unknown or does not fit the values, an order or edges are given to another kind, edges do not
            ascend, or the order lacks a level.

    Example:
        >>> attribute_levels([1.0, 2.0, 3.0, 4.0], list("abcd"), bins=2, minimum_patients=1).names
        ('<= 2', '> 2')
        >>> attribute_levels([10, 9], ["a", "b"], minimum_patients=1, kind="ordinal").names
        ('9', '10')
    """
    patient, array = np.asarray(patients), column_values(values)
    if array.shape != patient.shape:
        raise ValueError(f"values must have shape {patient.shape} to match patients, got {array.shape}.")
    if pd.isna(patient).any():
        raise ValueError(f"patients must be known for every image, got {int(pd.isna(patient).sum())} that are not.")
    require_kind(kind, order or ())
    for name, value, least in (("bins", bins, 2), ("minimum_patients", minimum_patients, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}.")
    kind = kind or (CONTINUOUS if array.dtype.kind == "f" or many_numbers(pd.Series(array)) else CATEGORICAL)
    cuts = _checked(edges, kind)
    coded = _bins(array, bins, cuts) if kind == CONTINUOUS else _named(array, kind, order or ())
    known, found = coded.codes >= 0, coded.names
    missing = int((~known).sum())
    if len(found) > maximum_levels:
        categories = f"{len(found)} different categories in {int(known.sum())} images"
        problem = f"{categories}, more than the {maximum_levels} that are analysed"
        return Levels((), np.full(len(array), -1), missing, {}, coded.edges, problem, kind)
    if len(found) < 2:
        problem = f"every image has the same value ({found[0]})" if found else "all values are missing"
        return Levels(found, coded.codes, missing, {}, coded.edges, problem, kind)
    names, codes, left_out = _without_rare(coded, patient, minimum_patients)
    problem = "" if len(names) > 1 else f"fewer than two levels with at least {minimum_patients} patients"
    return Levels(names, codes, missing, left_out, coded.edges, problem, kind)


def column_values(values: Sequence[object] | ArrayLike) -> NDArray[Any]:
    """(N,) values as they were given: NumPy would write a missing value among strings as "nan".

    Returns:
        Numbers as they are, float64 with NaN where missing if there are fractions; anything else as objects.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        return values
    column = pd.Series(values) if hasattr(values, "dtype") else pd.Series(list(values), dtype=object)  # type: ignore[arg-type]
    if pd.api.types.is_numeric_dtype(column.dtype) and not column.isna().any():
        return column.to_numpy()
    known = [value for value in column.tolist() if as_text(value) is not None]
    if known and any(isinstance(value, float | np.floating) for value in known) and all(map(is_number, known)):
        return pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return column.to_numpy(object)


def _checked(edges: Sequence[float], kind: str) -> list[float]:
    given = [float(edge) for edge in edges]
    if given and kind != CONTINUOUS:
        raise ValueError(f"edges must be of a continuous attribute, got {given} for one that is {kind}.")
    if not all(low < high for low, high in pairwise(given)) or not np.isfinite(given).all():
        raise ValueError(f"edges must be finite and ascend, got {given}.")
    return given


def _without_rare(
    coded: _Coded, patient: NDArray[Any], minimum: int
) -> tuple[tuple[str, ...], NDArray[np.int64], dict[str, int]]:
    """Names and codes of the levels that enough patients have, and images by name of the others."""
    count, known = len(coded.names), coded.codes >= 0
    persons, _ = pd.factorize(patient[known])
    pairs = pd.unique(persons * count + coded.codes[known])  # one of each patient and level
    rare = np.bincount(pairs % count, minlength=count) < minimum
    images = np.bincount(coded.codes[known], minlength=count).tolist()
    left_out = {name: images[code] for code, name in enumerate(coded.names) if rare[code]}
    renumbered = np.append(np.where(rare, -1, np.cumsum(~rare) - 1), -1)  # the last for missing values
    return tuple(name for name in coded.names if name not in left_out), renumbered[coded.codes], left_out


def _named(values: NDArray[Any], kind: str, order: Sequence[str]) -> _Coded:
    """Categories, sorted, or ordinal levels in their order."""
    texts = as_texts(pd.Series(values))
    found = pd.unique(texts[~pd.isna(texts)]).tolist()
    ordered = level_order(found, order, "an ordinal attribute") if kind == ORDINAL else in_order(found)
    names = tuple(name for name in ordered if name in set(found))
    return _Coded(names, pd.Index(names, dtype=object).get_indexer(pd.Index(texts, dtype=object)).astype(np.int64))


def _bins(values: NDArray[Any], bins: int, edges: Sequence[float]) -> _Coded:
    """Bins of numbers, closed above."""
    numbers = as_numbers(pd.Series(values), "values")
    known = ~np.isnan(numbers)
    codes = np.full(len(numbers), -1)
    if not known.any():
        return _Coded((), codes)
    names, cuts = _cut_points(numbers[known], bins, edges)
    codes[known] = np.searchsorted(cuts, numbers[known], side="left")
    return _Coded(names, codes, cuts)


def _cut_points(
    values: NDArray[np.float64], bins: int, edges: Sequence[float]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names of bins, and the cut points between them: given ones or quantiles, without those that leave a bin empty."""
    distinct = np.unique(values)
    if len(distinct) == 1:
        return (f"{distinct[0]:.4g}",), ()
    # Cut points that are values themselves leave no bin empty.
    if edges:
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        filled = np.flatnonzero(counts)
        cuts = np.array([edges[i] for i in filled[:-1]])
        if not len(cuts):
            return (f"within {distinct[0]:.4g} to {distinct[-1]:.4g}",), ()
    else:
        cuts = np.unique(np.quantile(values, np.arange(1, bins) / bins, method="inverted_cdf"))
        cuts = cuts[cuts < distinct[-1]] if (cuts < distinct[-1]).any() else distinct[-2:-1]
    # Four digits, or as many as it takes to tell the cut points apart (dates such as 20140131 take eight).
    written = next(t for t in ([f"{cut:.{n}g}" for cut in cuts] for n in range(4, 18)) if len(set(t)) == len(cuts))
    names = (f"<= {written[0]}", *(f"{low} to {high}" for low, high in pairwise(written)), f"> {written[-1]}")
    return names, tuple(float(cut) for cut in cuts)


def intersection(
    first: Levels, second: Levels, patients: ArrayLike, *, minimum_patients: int = 10, maximum_levels: int = 20
) -> Levels:
    """Two attributes as one, whose levels are the pairs of theirs.

    Args:
        first: levels of (N,) images.
        second: levels of the same images.
        patients: (N,) patient of each image.
        minimum_patients: pairs that fewer patients have are left out, and counted; also those of none.
        maximum_levels: with more pairs it is not analysed.

    Example:
        >>> sex, scanner = (attribute_levels(list(text), range(4), minimum_patients=1) for text in ("FFMM", "ABAA"))
        >>> intersection(sex, scanner, range(4), minimum_patients=1).left_out
        {'M, B': 0}
    """
    both = (first.codes >= 0) & (second.codes >= 0)
    pairs = tuple(f"{one}, {other}" for one in first.names for other in second.names)
    coded = _Coded(pairs, np.where(both, first.codes * len(second.names) + second.codes, -1))
    missing, nothing = int((~both).sum()), np.full(len(both), -1)
    if first.problem or second.problem:
        return Levels((), nothing, missing, {}, problem=f"of one of the two: {first.problem or second.problem}")
    names, codes, left_out = _without_rare(coded, np.asarray(patients), minimum_patients)
    if len(names) > maximum_levels:
        problem = f"{len(names)} pairs of levels, more than the {maximum_levels} that are analysed"
        return Levels((), nothing, missing, left_out, problem=problem)
    problem = "" if len(names) > 1 else f"fewer than two pairs of levels with at least {minimum_patients} patients"
    return Levels(names, codes, missing, left_out, problem=problem)


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
