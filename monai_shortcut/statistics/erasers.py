# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Affine maps that remove an attribute from embeddings and move them as little as possible, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.covariance import ledoit_wolf_shrinkage

from monai_shortcut.statistics.checks import checked_levels, checked_points, checked_strata
from monai_shortcut.types import Floats, Integers

_ROUNDING = 1e-12  # correlations of attribute and embedding, and relative deviations of a column, that count as zero
_SHARED = 1e-6  # sine of the angle below which directions of two attributes are one


@dataclass(frozen=True)
class Eraser:
    """An affine map that takes directions out of embeddings and leaves the rest as it is.

    Attributes:
        centre: (D,) float64, which stays where it is.
        left: (D, r) float64 directions along which embeddings move.
        right: (r, D) float64 rows that read how far; right @ left is the identity.
    """

    centre: Floats
    left: Floats
    right: Floats

    def __call__(self, embeddings: ArrayLike) -> Floats:
        """Embeddings (N, D) without the erased directions, float64."""
        points = np.asarray(embeddings, dtype=np.float64)
        return np.asarray(points - (points - self.centre) @ self.right.T @ self.left.T)

    @property
    def rank(self) -> int:
        """Number of directions that are erased."""
        return len(self.right)


def fit_eraser(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None = None, shrinkage: float | None = 0.0
) -> Eraser:
    """Fit the affine map that removes an attribute from embeddings and moves them as little as possible.

    Afterwards the embeddings have no covariance with the attribute, so that no linear probe fitted to them does better
    than one that ignores them; of all affine maps that achieve this, none has a smaller mean squared change.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present; or (N, A) of several attributes, which are
            erased together.
        strata: (N,) optional class of each image. Covariances are then those within classes, so that what only tracks
            the class is not erased.
        shrinkage: share of the columns' variances in the covariance, in [0, 1]; None for Ledoit and Wolf's estimate.
            Erasure of these images is complete for any; other images move less where it is larger, as the
            covariance of few images hardly varies in some directions by chance.

    Returns:
        The eraser, of rank M - 1 at most, summed over the attributes; 0 where there is no covariance to remove.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty, or shrinkage is out of range.

    References:
        Belrose et al. (2023), LEACE, NeurIPS 36, theorem 4.3; Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).

    Example:
        >>> eraser = fit_eraser([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0]], [0, 0, 1, 1])
        >>> eraser([[5.0, 7.0]]).round(6).tolist()
        [[0.5, 7.0]]
    """
    points = checked_points(embeddings, least=2).astype(np.float64)
    given = np.asarray(codes)
    columns = [checked_levels(column, len(points)) for column in (given.T if given.ndim == 2 else [given])]
    stratum = checked_strata(strata, len(points))
    space = _Space.of(points, stratum, shrinkage)
    found = [space.directions(code[None], stratum, int(code.max()) + 1)[0] for code in columns]
    if len(found) > 1:  # attributes that go along share directions
        left, size, _ = np.linalg.svd(np.concatenate(found, axis=1), full_matrices=False)
        return space.eraser(left[:, size > _SHARED])
    return space.eraser(found[0][:, found[0].any(axis=0)])


def random_eraser(
    embeddings: ArrayLike,
    rank: int,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    shrinkage: float | None = 0.0,
) -> Eraser:
    """Erase directions drawn at random in the space where `fit_eraser` chooses its own.

    Args:
        embeddings: (N, D) what the head reads.
        rank: number of directions, at most as many as the embeddings span.
        rng: source of the directions.
        strata: (N,) optional class of each image, as in `fit_eraser`.
        shrinkage: as in `fit_eraser`.

    Returns:
        The eraser. Its directions are uniform once the embeddings are whitened, as those of an attribute are that
        independent images receive at random.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, or rank or shrinkage is out of range.
    """
    points = checked_points(embeddings, least=2).astype(np.float64)
    space = _Space.of(points, checked_strata(strata, len(points)), shrinkage)
    spanned = len(space.whitening)
    if not 0 <= rank <= spanned:
        raise ValueError(f"rank must be between 0 and {spanned}, which the embeddings span, got {rank}.")
    return space.eraser(np.linalg.qr(rng.normal(size=(spanned, rank))).Q)


@dataclass(frozen=True)
class _Space:
    """Embeddings of some images, and coordinates in which they vary alike in all q directions that they span.

    Attributes:
        centre: (D,) mean of the embeddings.
        points: (N, q) whitened deviations from class means.
        whitening: (q, D) from deviations to those coordinates.
        colouring: (D, q) back again.
    """

    centre: Floats
    points: Floats
    whitening: Floats
    colouring: Floats

    @classmethod
    def of(cls, embeddings: Floats, stratum: Integers, shrinkage: float | None) -> _Space:
        """Whiten embeddings (N, D) of classes (N,), their columns standardized first so that none drowns in others."""
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage must be in [0, 1], got {shrinkage}.")
        deviations = _within(embeddings, stratum)
        scale = np.sqrt((deviations**2).mean(axis=0))
        varies = scale > _ROUNDING * np.abs(embeddings).max(axis=0)  # where it does not, deviations are rounding
        scale = np.where(varies, scale, 1.0)
        standard = np.where(varies, deviations, 0.0) / scale
        share = float(ledoit_wolf_shrinkage(standard, assume_centered=True)) if shrinkage is None else shrinkage
        left, singular, axes = np.linalg.svd(standard, full_matrices=False)
        # Relative to the embeddings before their means were subtracted, which rounds.
        size = float(np.linalg.norm(np.where(varies, embeddings, 0.0) / scale))
        spanned = singular > size * max(standard.shape) * np.finfo(np.float64).eps
        left, singular, axes = left[:, spanned], singular[spanned], axes[spanned]
        power = (1 - share) * singular**2 / len(standard) + share * varies.mean()
        spread = np.sqrt(power)
        return cls(
            centre=embeddings.mean(axis=0),
            points=left * (singular / spread),
            whitening=axes / spread[:, None] / scale,
            colouring=scale[:, None] * axes.T * spread,
        )

    def directions(self, codes: Integers, stratum: Integers, levels: int) -> Floats:
        """Orthonormal columns (B, q, m) that span the covariance with codings (B, N), zeros after the last."""
        member = (codes[:, :, None] == np.arange(levels)).astype(np.float64)
        member /= np.sqrt(np.maximum(member.sum(axis=1, keepdims=True), 1.0))
        flat = member.transpose(1, 0, 2).reshape(len(self.points), -1)
        covariance = self.points.T @ _within(flat, stratum) / np.sqrt(len(self.points))
        stacked = covariance.reshape(-1, len(codes), levels).transpose(1, 0, 2)
        if not stacked.size:
            return np.asarray(stacked)
        columns, size, _ = np.linalg.svd(stacked, full_matrices=False)
        most = min(levels - 1, size.shape[1])  # memberships of all levels sum to a constant
        return np.asarray((columns * (size > _ROUNDING)[:, None])[:, :, :most])

    def eraser(self, directions: Floats) -> Eraser:
        """Eraser of orthonormal directions (q, r)."""
        return Eraser(self.centre, self.colouring @ directions, directions.T @ self.whitening)


def _within(values: Floats, stratum: Integers) -> Floats:
    """Values (N, K) as deviations from the means of their classes (N,)."""
    member = np.eye(int(stratum.max()) + 1)[stratum]
    return np.asarray(values - member @ (member.T @ values / np.maximum(member.sum(axis=0), 1.0)[:, None]))
