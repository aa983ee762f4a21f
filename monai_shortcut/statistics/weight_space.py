# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is the clinical head aligned with the probe of an attribute?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.statistics.checks import checked_points, checked_rows
from monai_shortcut.statistics.subspaces import (
    contrasts,
    cosines,
    metric_root,
    principal_axes,
    principal_components,
)

__all__ = [
    "Sweep",
    "alignment",
    "alignment_null",
    "component_sweep",
    "principal_components",
    "weight_space_correlation",
]

Floats = NDArray[np.float64]
_FEWEST, _PUBLISHED, _STEPS = 10, 50, 12  # of a sweep: where it starts, what it must include, how many entries


@dataclass(frozen=True)
class Sweep:
    """Weight space correlation against the number of principal components.

    Attributes:
        components: (K,) numbers of components, each at most the number the embeddings span.
        cosines: (K, C, M) cosines in the subspace of that many components; the rows of several probes stand side by
            side, row m of probe b in column b M + m.
    """

    components: tuple[int, ...]
    cosines: tuple[tuple[tuple[float, ...], ...], ...]


def weight_space_correlation(
    head: ArrayLike,
    probe: ArrayLike,
    embeddings: ArrayLike,
    variance: float | None = 0.99,
    min_components: int = 50,
) -> Floats:
    """Cosines between the rows of two heads in the principal subspace of the embeddings, as published.

    Embeddings are centred; the fewest principal components that explain the asked share of their variance are kept, but
    at least `min_components` (and never more than the embeddings span); both heads are projected onto them. Without
    that projection (variance None) the cosines are those of the rows as they are, directions that no image takes
    included; the embeddings then only have to fit, and `min_components` plays no part.

    Args:
        head: (C, D) weights of the clinical head.
        probe: (M, D) weights of the attribute's probe, or (B, M, D) of several probes.
        embeddings: (N, D) embeddings that both read.
        variance: share of the variance to explain, in (0, 1]; None for the raw space.
        min_components: least number of components.

    Returns:
        (C, M) cosines in [-1, 1], or (B, C, M); 0 where a projected row is zero.

    Raises:
        ValueError: If the shapes disagree, a number is not finite, or variance or min_components is out of range.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315, section 3.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(20, 3))
        >>> float(weight_space_correlation([[1, 0, 0]], [[2, 0, 0]], points)[0, 0].round(6))
        1.0
    """
    rows, others, points = _checked(head, probe, embeddings)
    if variance is None:
        return cosines(rows, others, rows, others, 1.0)
    axes = principal_components(points, variance, min_components)
    return cosines(rows @ axes.T, others @ axes.T, rows, others, 1.0)


def component_sweep(
    head: ArrayLike, probe: ArrayLike, embeddings: ArrayLike, components: Sequence[int] | None = None
) -> Sweep:
    """Weight space correlation for several numbers of principal components, from one decomposition.

    The published number depends on how many components are kept: few leave little of the rows, and their cosines
    unstable; the last ones hold little of the embeddings' variance but much of the rows.

    Args:
        head: (C, D) weights of the clinical head.
        probe: (M, D) weights of the attribute's probe, or (B, M, D) of several probes.
        embeddings: (N, D) embeddings that both read; they span r components, at most N - 1 and D.
        components: numbers of components, each in [1, r]; about a dozen from 10 to r by default, evenly spaced on a
            logarithmic scale, 50 among them where r allows, r last.

    Returns:
        The cosines for each number of components.

    Raises:
        ValueError: If the shapes disagree, a number is not finite, or components are not integers in [1, r].

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315: cosines are unstable below about 50.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(200, 60))
        >>> component_sweep(np.eye(3, 60), np.ones((1, 60)), points).components
        (10, 12, 14, 16, 19, 23, 27, 31, 37, 43, 50, 51, 60)
    """
    rows, others, points = _checked(head, probe, embeddings)
    return swept(rows, others.reshape(-1, others.shape[-1]), principal_axes(points)[1], components)


def swept(rows: Floats, others: Floats, axes: Floats, components: Sequence[int] | None = None) -> Sweep:
    """Cosines between rows (C, D) and others (M, D) within the first principal axes (r, D), see `component_sweep`."""
    counts = _default_components(len(axes)) if components is None else _checked_components(components, len(axes))
    first, second = rows @ axes.T, others @ axes.T
    found = [cosines(first[:, :count], second[:, :count], rows, others, 1.0).tolist() for count in counts]
    return Sweep(counts, tuple(tuple(map(tuple, matrix)) for matrix in found))


def alignment(head: ArrayLike, probe: ArrayLike, embeddings: ArrayLike, labels: ArrayLike | None = None) -> Floats:
    """Correlation between the logits of two heads over the cohort: their cosine in the metric of the embeddings.

    Adding one vector to every row of a softmax head changes no probability, so rows are taken relative to their mean
    when a head has several; the number then does not depend on that free choice.

    Args:
        head: (C, D) weights of the clinical head.
        probe: (M, D) weights of the attribute's probe, or (B, M, D) of several probes.
        embeddings: (N, D) embeddings that both read.
        labels: (N,) optional class; logits are then correlated within classes (deviations from the class mean).

    Returns:
        (C, M) correlations in [-1, 1], or (B, C, M); 0 where a logit does not vary.

    Raises:
        ValueError: If the shapes disagree or a number is not finite.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(50, 2))
        >>> float(alignment([[1, 1]], [[-2, -2]], points)[0, 0].round(6))
        -1.0
    """
    rows, others, points = _checked(head, probe, embeddings)
    root = metric_root(points, labels)
    return cosines(contrasts(rows) @ root.T, contrasts(others) @ root.T, rows, others, float(np.linalg.norm(points)))


def alignment_null(
    head: ArrayLike, probes: ArrayLike, embeddings: ArrayLike, labels: ArrayLike | None = None
) -> Floats:
    """Alignment of a head with probes of the permuted attribute.

    Args:
        head: (C, D) weights of the clinical head.
        probes: (B, M, D) weights of the probes of B permutations, as `monai_shortcut.probes.null_probes` gives.
        embeddings: (N, D) embeddings that all read.
        labels: (N,) optional class, as in `alignment`.

    Returns:
        (B,) the largest absolute alignment of each permutation.

    Raises:
        ValueError: If the shapes disagree or a number is not finite.
    """
    if np.ndim(probes) != 3:
        raise ValueError(f"probes must have shape (B, M, D), got {np.shape(probes)}.")
    return np.asarray(np.abs(alignment(head, probes, embeddings, labels)).max(axis=(1, 2)))


def _default_components(spanned: int) -> tuple[int, ...]:
    if spanned <= _FEWEST:
        return (spanned,)
    counts = set(np.geomspace(_FEWEST, spanned, _STEPS).round().astype(int).tolist())
    return tuple(sorted(counts | ({_PUBLISHED} if spanned >= _PUBLISHED else set())))


def _checked_components(components: Sequence[int], spanned: int) -> tuple[int, ...]:
    counts = np.asarray(components)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu":
        raise ValueError(f"components must be one or more integers, got {components!r}.")
    if counts.min() < 1 or counts.max() > spanned:
        raise ValueError(
            f"components must be in [1, {spanned}], which the embeddings span, got {counts.min()} to {counts.max()}."
        )
    return tuple(counts.tolist())


def _checked(head: ArrayLike, probe: ArrayLike, embeddings: ArrayLike) -> tuple[Floats, Floats, Floats]:
    points = checked_points(embeddings, least=2).astype(np.float64)
    columns = points.shape[1]
    return checked_rows("head", head, columns, "C"), checked_rows("probe", probe, columns, dims=(2, 3)), points
