# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is the clinical head aligned with the probe of an attribute?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def weight_space_correlation(
    head: ArrayLike, probe: ArrayLike, embeddings: ArrayLike, variance: float = 0.99, min_components: int = 50
) -> Floats:
    """Cosines between the rows of two heads in the principal subspace of the embeddings, as published.

    Embeddings are centred; the fewest principal components that explain the asked share of their variance are kept, but
    at least `min_components` (and never more than the embeddings span); both heads are projected onto them.

    Args:
        head: (C, D) weights of the clinical head.
        probe: (M, D) weights of the attribute's probe, or (B, M, D) of several probes.
        embeddings: (N, D) embeddings that both read.
        variance: share of the variance to explain, in (0, 1].
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
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be in (0, 1], got {variance}.")
    if min_components < 1:
        raise ValueError(f"min_components must be at least 1, got {min_components}.")
    components = principal_components(points, variance, min_components)
    return _cosines(rows @ components.T, others @ components.T, rows, others, 1.0)


def principal_components(embeddings: Floats, variance: float, min_components: int) -> Floats:
    """Principal axes (k, D) of embeddings (N, D), most important first; see `weight_space_correlation`."""
    centred = embeddings - embeddings.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    power = singular**2
    # Relative to the embeddings before centring, which rounds: embeddings that are all alike span nothing.
    spanned = int((singular > np.linalg.norm(embeddings) * max(centred.shape) * np.finfo(np.float64).eps).sum())
    enough = int(np.searchsorted(np.cumsum(power) / max(power.sum(), 1e-300), variance - 1e-12)) + 1
    return np.asarray(axes[: min(max(enough, min_components), spanned)])


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
    if labels is None:
        centred = points - points.mean(axis=0)
    else:
        label = np.asarray(labels)
        if label.shape != (len(points),):
            raise ValueError(f"labels must have shape ({len(points)},) to match embeddings, got {label.shape}.")
        centred = np.concatenate([points[label == v] - points[label == v].mean(axis=0) for v in np.unique(label)])
    first = rows - rows.mean(axis=0) if len(rows) > 1 else rows
    second = others - others.mean(axis=-2, keepdims=True) if others.shape[-2] > 1 else others
    # R'R = Z'Z, so cosines of rows times R' are correlations of logits, at D x D cost for any number of probes.
    root: Floats = np.linalg.qr(centred).R
    return _cosines(first @ root.T, second @ root.T, rows, others, float(np.linalg.norm(points)))


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


def _cosines(first: Floats, second: Floats, rows: Floats, others: Floats, size: float) -> Floats:
    """Cosines (..., C, M) of images (C, k) and (..., M, k) of rows and others under a map no larger than `size`.

    An image that is zero but for the rounding of its row and of the map has no direction: its cosines are 0.
    """

    def unit(image: Floats, origin: Floats) -> Floats:
        length = np.linalg.norm(image, axis=-1, keepdims=True)
        rounding = 1e-13 * size * np.linalg.norm(origin, axis=-1, keepdims=True)
        return np.asarray(np.divide(image, length, out=np.zeros_like(image), where=length > rounding))

    return np.asarray(np.clip(unit(first, rows) @ np.swapaxes(unit(second, others), -1, -2), -1.0, 1.0))


def _checked(head: ArrayLike, probe: ArrayLike, embeddings: ArrayLike) -> tuple[Floats, Floats, Floats]:
    rows, others, points = (np.asarray(value, dtype=np.float64) for value in (head, probe, embeddings))
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"embeddings must have shape (N, D) with N at least 2, got {points.shape}.")
    columns = points.shape[1]
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise ValueError(f"head must have shape (C, {columns}) to match embeddings, got {rows.shape}.")
    if others.ndim not in (2, 3) or others.shape[-1] != columns:
        raise ValueError(f"probe must have shape (M, {columns}) to match embeddings, got {others.shape}.")
    for name, values in (("head", rows), ("probe", others), ("embeddings", points)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} must be finite, got {int((~np.isfinite(values)).sum())} numbers that are not.")
    return rows, others, points
