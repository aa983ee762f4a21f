# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What arrays must hold before they are computed with; the only place that checks them."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.types import Floats, Integers, Points

LARGEST = 1e15  # size of a number of an embedding; in float32, squares of larger ones are no numbers
_BEYOND = f" (numbers above {LARGEST:g} count as infinite)"
_UNKNOWN = ("nan", "NaN", "None", "<NA>", "NaT")  # what missing values say of themselves


def checked_points(embeddings: ArrayLike, least: int = 1) -> Points:
    """Embeddings (N, D): float32 as it is, anything else as float64.

    Args:
        embeddings: the array.
        least: smallest N.

    Raises:
        ValueError: If they do not have that shape, or a number is not finite.
    """
    require_unmasked("embeddings", embeddings)
    given = np.asarray(embeddings)
    if given.dtype.kind not in "fiub":
        raise ValueError(f"embeddings must be real numbers, got values of type {given.dtype}.")
    points: Points = given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)
    if points.ndim != 2 or len(points) < least:
        number = f" with N at least {least}" if least > 1 else ""
        raise ValueError(f"embeddings must have shape (N, D){number}, got {points.shape}.")
    unfit = int((~usable_rows(points)).sum())
    if unfit:
        raise ValueError(f"embeddings must be finite, got {unfit} images not so{_BEYOND}.")
    return points


def require_unmasked(name: str, values: Any) -> None:
    """Refuse arrays of NumPy that mask some values, which would be read as if they were not."""
    masked = int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise ValueError(f"{name} must have no masked values, got {masked}: fill them, as by .filled(np.nan).")


def usable_rows(points: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) whether all numbers of a row (N, D) are finite and at most 1e15 in size, so that squares stay finite."""
    blocks = (points[start : start + 4096] for start in range(0, len(points), 4096))
    return np.concatenate([np.zeros(0, dtype=bool), *((np.abs(block) <= LARGEST).all(axis=1) for block in blocks)])


def usable_images(points: NDArray[Any]) -> NDArray[np.bool_]:
    """`usable_rows` of a model's embeddings.

    Raises:
        ValueError: If none is usable.
    """
    usable = usable_rows(points)
    if not usable.any():
        raise ValueError(
            f"at least one embedding must be finite, got none: check the model's weights and inputs{_BEYOND}."
        )
    return usable


def checked_rows(name: str, values: ArrayLike, columns: int, axes: str = "M", dims: tuple[int, ...] = (2,)) -> Floats:
    """Rows of a head (M, D), or of several (B, M, D), as float64.

    Args:
        name: what error messages call them.
        values: the rows.
        columns: D.
        axes: letters of the axes before the last, for error messages.
        dims: the numbers of axes that are allowed.

    Raises:
        ValueError: If they do not have such a shape, or a number is not finite.
    """
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim not in dims or rows.shape[-1] != columns:
        raise ValueError(f"{name} must have shape ({axes}, {columns}) to match embeddings, got {rows.shape}.")
    checked_finite(name, rows)
    return rows


def checked_finite(name: str, values: Floats) -> None:
    """Refuse numbers that are not finite."""
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} numbers that are not.")


def checked_head(weight: ArrayLike, bias: ArrayLike, columns: int) -> tuple[Floats, Floats]:
    """Weights (C, D) and biases (C,) of a head, as float64.

    Raises:
        ValueError: If the shapes disagree with each other or with D columns, or a number is not finite.
    """
    rows, offset = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != columns or offset.shape != (len(rows),):
        expected = f"(C, {columns}) and (C,)"
        raise ValueError(f"weight and bias must have shapes {expected}, got {rows.shape} and {offset.shape}.")
    checked_finite("weight", rows)
    checked_finite("bias", offset)
    return rows, offset


def checked_length(name: str, values: Any, length: int, match: str = "embeddings") -> None:
    """Refuse what does not have one value for each image, or masks one."""
    require_unmasked(name, values)
    if np.shape(values) != (length,):
        raise ValueError(f"{name} must have shape ({length},) to match {match}, got {np.shape(values)}.")


def checked_codes(name: str, values: ArrayLike, count: int) -> Integers:
    """Integers in [0, count) as int64.

    Raises:
        ValueError: If one is not.
    """
    codes = np.asarray(values)
    if not np.isin(codes, np.arange(count)).all():
        raise ValueError(f"{name} must be in 0 to {count - 1}, got {np.unique(codes)[:10].tolist()}.")
    return codes.astype(np.int64)


def checked_levels(codes: ArrayLike, images: int) -> Integers:
    """Levels (N,) of an attribute, 0 to M - 1 with each present, as int64.

    Raises:
        ValueError: If the shape is another, or a level is absent or alone.
    """
    code = np.asarray(codes)
    checked_length("codes", code, images)
    found = np.unique(code)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(f"codes must be 0 to M - 1, each present and M at least 2, got {found[:10].tolist()}.")
    return code.astype(np.int64)


def checked_strata(strata: ArrayLike | None, images: int) -> Integers:
    """Classes (N,), numbered from 0; all alike where there are none.

    Raises:
        ValueError: If the shape is another, or a class is unknown.
    """
    if strata is None:
        return np.zeros(images, dtype=np.int64)
    given: NDArray[Any] = np.asarray(strata)
    checked_length("strata", given, images)
    if given.dtype.kind not in "iub":
        unknown = sum(map(_is_unknown, given.tolist()))
        if unknown:
            raise ValueError(f"strata must be known for every image, got {unknown} that are not.")
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def checked_patients(patients: Any, images: int | None = None, match: str = "embeddings") -> Integers:
    """Patients (N,) as numbers from 0, in the order of their sorted names.

    Args:
        patients: (N,) names or numbers, all known: unknown patients would be one patient.
        images: N, if it is given.
        match: what N is the number of, for the message.

    Raises:
        ValueError: If the shape is another, or a patient is unknown: None, NaN, or text without content or that says
            "nan" or "None".
    """
    given = patients if hasattr(patients, "dtype") else list(patients)
    column: NDArray[Any] = np.asarray(given)
    if column.dtype.kind not in "iub":  # others may hold a missing value, which NumPy may write as text
        column = np.asarray(given, dtype=object) if column.ndim == 1 else column
    if column.ndim != 1 or (images is not None and len(column) != images):
        wanted = "(N,)" if images is None else f"({images},)"
        raise ValueError(f"patients must have shape {wanted} to match {match}, got {column.shape}.")
    if column.dtype.kind == "O":
        unknown = [place for place, value in enumerate(column.tolist()) if _is_unknown(value)]
        if unknown:
            places = ", ".join(map(str, unknown[:5])) + (", ..." if len(unknown) > 5 else "")
            raise ValueError(f"patients must be known for every image, got {len(unknown)} that are not: rows {places}.")
        column = np.asarray(column.tolist()) if len(column) else np.zeros(0)
        column = column if column.dtype.kind in "fiubUS" else np.array([str(value) for value in column.tolist()])
    return np.unique(column, return_inverse=True)[1].astype(np.int64)


def _is_unknown(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in ("", *_UNKNOWN)
    return value is None or str(value) in _UNKNOWN


def checked_confidence(confidence: float) -> None:
    """Refuse a confidence level that is not between 0 and 1."""
    if isinstance(confidence, bool) or not isinstance(confidence, Real) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence!r}.")
