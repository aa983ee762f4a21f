# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A continuous outcome: its strata, and what is left of other values when the outcome is taken out of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.types import Floats, Integers

MOST_STRATA = 5
_PATIENTS = 40  # of a stratum, where there are enough for two
_DEGREE = 2  # of the polynomial in each stratum
_SPAN = 1e-9  # relative size of a direction that is rounding


def cut_points(outcome: Floats, patients: Integers) -> tuple[float, ...]:
    """Inner edges of the strata: quantiles of the patients' mean outcome, as many as leave each stratum forty of them.

    Args:
        outcome: (N,) of each image.
        patients: (N,) patient of each image, integers in [0, P).

    Returns:
        One to four ascending numbers, fewer where values are tied; a stratum holds what is above its lower edge, up to
        its upper one.

    Example:
        >>> cut_points(np.arange(90.0), np.arange(90))
        (44.0,)
    """
    means = np.bincount(patients, outcome) / np.maximum(np.bincount(patients), 1)
    strata = int(np.clip(len(means) // _PATIENTS, 2, MOST_STRATA))
    cuts = np.quantile(means, np.arange(1, strata) / strata, method="inverted_cdf")
    kept: list[float] = []
    for cut in np.unique(cuts).tolist():
        if ((outcome <= cut) & (outcome > max(kept, default=-np.inf))).any() and (outcome > cut).any():
            kept.append(cut)
    return tuple(kept)


def strata_of(outcome: Floats, edges: tuple[float, ...]) -> Integers:
    """(N,) stratum of each image, integers from 0.

    Example:
        >>> strata_of(np.array([1.0, 2.0, 3.0]), (2.0,)).tolist()
        [0, 0, 1]
    """
    return np.searchsorted(edges, outcome, side="left").astype(np.int64)


def outcome_basis(outcome: Floats, strata: Integers) -> Floats:
    """Parabolas of the outcome in each stratum.

    Args:
        outcome: (N,) of each image.
        strata: (N,) stratum of each image.

    Returns:
        (N, K) orthonormal columns, two of each stratum where its outcomes differ, each 0 in the other strata and of
        mean 0 in its own.
    """
    columns = []
    for stratum in np.unique(strata):
        inside = strata == stratum
        own = outcome[inside] - outcome[inside].mean()
        own = own / max(float(np.abs(own).max()), 1e-300)
        powers = np.stack([own**power for power in range(1, _DEGREE + 1)], axis=1)
        left, size, _ = np.linalg.svd(powers - powers.mean(axis=0), full_matrices=False)
        for column in left.T[size > _SPAN * np.sqrt(len(own))]:
            columns.append(np.zeros(len(outcome)))
            columns[-1][inside] = column
    return np.stack(columns, axis=1) if columns else np.zeros((len(outcome), 0))


def freed(points: NDArray[Any], basis: Floats) -> NDArray[Any]:
    """Values (N, D) without what a linear map of the basis (N, K) tells of them; in their own precision."""
    return np.asarray(points - basis @ (basis.T @ points), dtype=points.dtype)
