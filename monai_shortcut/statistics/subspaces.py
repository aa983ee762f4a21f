# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Directions in the space of the embeddings: principal axes, the metric of the cohort, contrasts and cosines."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
GRAM_ROUNDING = 1e-9  # share of a map that is rounding, where it was computed from sums of squares
_RANK = 1e-10  # singular values up to this share of the largest count as zero


def principal_axes(embeddings: Floats) -> tuple[Floats, Floats]:
    """Singular values (r,) of the centred embeddings (N, D) and the principal axes (r, D) they span, largest first."""
    centred = embeddings - embeddings.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    # Relative to the embeddings before centring, which rounds: embeddings that are all alike span nothing.
    spanned = singular > np.linalg.norm(embeddings) * max(centred.shape) * np.finfo(np.float64).eps
    return np.asarray(singular[spanned]), np.asarray(axes[spanned])


def principal_components(embeddings: Floats, variance: float, min_components: int) -> Floats:
    """The fewest principal axes that explain a share of the variance, but at least a number of them.

    Args:
        embeddings: (N, D) float64.
        variance: share of the variance to explain, in (0, 1].
        min_components: least number of axes.

    Returns:
        (k, D) orthonormal axes, most important first; never more than the embeddings span.

    Raises:
        ValueError: If variance or min_components is out of range.
    """
    singular, axes = principal_axes(embeddings)
    return np.asarray(axes[: enough_axes(singular**2, variance, min_components)])


def enough_axes(power: Floats, variance: float, min_components: int) -> int:
    """Number of principal axes of variance (r,), largest first, that explain a share of it; at least a number of them.

    Raises:
        ValueError: If variance or min_components is out of range.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance must be in (0, 1], got {variance}.")
    if min_components < 1:
        raise ValueError(f"min_components must be at least 1, got {min_components}.")
    share = np.cumsum(power) / max(float(power.sum()), 1e-300)
    return max(int(np.searchsorted(share, variance - 1e-12)) + 1, min_components)


def leading_axes(gram: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (r,) of a symmetric matrix (q, q) that are more than rounding, largest first, and axes (r, q)."""
    power, vectors = np.linalg.eigh(gram)
    kept = power > power[-1:] * len(gram) * np.finfo(np.float64).eps
    return np.asarray(power[kept][::-1]), np.asarray(vectors[:, kept].T[::-1])


def symmetric_root(gram: Floats) -> Floats:
    """A root R (r, q) of a sum of squares: R'R = gram, directions of rounding left out."""
    power, axes = leading_axes(gram)
    return np.asarray(np.sqrt(power)[:, None] * axes)


def metric_root(embeddings: Floats, labels: ArrayLike | None = None) -> Floats:
    """Triangular root R of the metric of the embeddings.

    With Z the deviations of the embeddings from their mean, or from the mean of their label, R'R = Z'Z: inner products
    of rows times R' are those of the rows' logits over the cohort, at D x D cost for any number of rows.

    Args:
        embeddings: (N, D) float64.
        labels: (N,) optional class of each image.

    Returns:
        (min(N, D), D) float64.

    Raises:
        ValueError: If labels do not match the embeddings.
    """
    if labels is None:
        return np.asarray(np.linalg.qr(embeddings - embeddings.mean(axis=0), mode="r"))
    label = np.asarray(labels)
    if label.shape != (len(embeddings),):
        raise ValueError(f"labels must have shape ({len(embeddings)},) to match embeddings, got {label.shape}.")
    classes = [embeddings[label == value] for value in np.unique(label)]
    return np.asarray(np.linalg.qr(np.concatenate([z - z.mean(axis=0) for z in classes]), mode="r"))


def projected(rows: Floats, axes: Floats) -> Floats:
    """Images (..., M, k) of rows (..., M, D) under axes (k, D), in a single product."""
    return np.asarray((rows.reshape(-1, rows.shape[-1]) @ axes.T).reshape(*rows.shape[:-1], len(axes)))


def contrasts(rows: Floats) -> Floats:
    """Rows (..., M, D) relative to their mean, which a softmax head leaves free; a single row stays."""
    return rows - rows.mean(axis=-2, keepdims=True) if rows.shape[-2] > 1 else rows


def cosines(
    first: Floats, second: Floats, rows: Floats, others: Floats, size: float, precision: float = 1e-13
) -> Floats:
    """Cosines (..., C, M) of images (C, k) and (..., M, k) of rows and others under a map no larger than `size`.

    An image that is zero but for the rounding of its row and of the map has no direction: its cosines are 0.
    """

    def unit(image: Floats, origin: Floats) -> Floats:
        length = np.linalg.norm(image, axis=-1, keepdims=True)
        rounding = precision * size * np.linalg.norm(origin, axis=-1, keepdims=True)
        return np.asarray(np.divide(image, length, out=np.zeros_like(image), where=length > rounding))

    return np.asarray(np.clip(unit(first, rows) @ np.swapaxes(unit(second, others), -1, -2), -1.0, 1.0))


def orthonormal_rows(image: Floats, rounding: ArrayLike = 0.0) -> Floats:
    """Orthonormal rows (..., m, k) that span the rows of images (..., M, k), and rows of zeros after the last.

    Args:
        image: (..., M, k) float64, of any rank.
        rounding: (...) length up to which an image is no more than rounding.

    Returns:
        (..., m, k) float64, m the smaller of M and k.
    """
    _, singular, axes = np.linalg.svd(image, full_matrices=False)
    kept = singular > np.maximum(np.asarray(rounding)[..., None], _RANK * singular[..., :1])
    return np.asarray(axes * kept[..., None])


def principal_cosines(first: Floats, second: Floats) -> Floats:
    """Cosines (..., m) in [0, 1] of the principal angles between spans of orthonormal rows, largest first.

    References:
        Björck and Golub (1973), Mathematics of Computation 27, theorem 1.
    """
    return np.clip(np.linalg.svd(first @ np.swapaxes(second, -1, -2), compute_uv=False), 0.0, 1.0)
