# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A linear discriminant in closed form, with one factorization for an attribute and all its permutations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve
from sklearn.covariance import ledoit_wolf_shrinkage

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Discriminant:
    """Standardized embeddings and their shrinkage, into which no attribute enters.

    Attributes:
        points: (N, D) standardized embeddings, or (N, N) of them when columns outnumber images.
        centre: (D,) mean of the embeddings.
        scale: (D,) their standard deviation, infinite where a column does not vary.
        rotation: (N, D) directions that the images span, when columns outnumber images.
        shrinkage: in (0, 1].

    References:
        Hastie, Tibshirani and Friedman (2009), section 4.3; Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).
    """

    points: Floats
    centre: Floats
    scale: Floats
    rotation: Floats | None
    shrinkage: float

    @classmethod
    def of(cls, embeddings: Floats) -> Discriminant:
        """Prepare embeddings (N, D)."""
        centre, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
        scale = np.where(scale > 1e-9 * np.abs(embeddings).max(), scale, np.inf)  # a constant column has no say
        points, rotation = (embeddings - centre) / scale, None
        shrinkage = max(float(ledoit_wolf_shrinkage(points, assume_centered=True)), 1e-4)
        if points.shape[1] > len(points):
            # Shrinkage treats all directions alike, so those without images can be rotated away: nothing changes.
            left, singular, rotation = np.linalg.svd(points, full_matrices=False)
            points = left * singular
        return cls(points, centre, scale, rotation, shrinkage)

    def fit(
        self, rows: Integers, codes: Integers, strata: Integers | None, levels: int, balanced: bool = False
    ) -> tuple[Floats, Floats]:
        """Fit probes for several codings of the same images.

        Args:
            rows: (n,) images to fit to.
            codes: (B, n) level of each of them, integers in [0, M).
            strata: (N,) optional class of each image, integers.
            levels: M.
            balanced: with strata, weigh the images so that class and level are independent, instead of fitting to
                deviations from class means.

        Returns:
            Weights (B, M, d) in the coordinates of ``points`` and biases (B, M), -inf for a level without images.
        """
        points = self.points[rows]
        centre = points.mean(axis=0)
        stratum = np.zeros(len(rows), dtype=np.int64) if strata is None else strata[rows]
        member = _one_hot(np.zeros_like(stratum) if balanced else stratum)
        points = points - member @ (member.T @ points / np.maximum(member.sum(axis=0), 1)[:, None])
        chosen = (codes[:, :, None] == np.arange(levels)).astype(np.float64)
        if balanced:
            chosen *= _balance(codes, stratum, levels)[:, :, None]
        chosen = chosen.transpose(1, 0, 2).reshape(len(rows), -1)
        count = chosen.sum(axis=0)
        means = points.T @ chosen / np.maximum(count, 1)
        covariance = points.T @ points / len(rows)
        ridge = self.shrinkage * max(float(np.trace(covariance)) / len(self.scale), 1e-12)
        covariance = (1 - self.shrinkage) * covariance + ridge * np.eye(len(covariance))
        weight = solve(covariance, means, assume_a="pos")
        bias = -0.5 * (means * weight).sum(axis=0) - centre @ weight
        bias[count == 0] = -np.inf  # a level that is absent here must not be predicted
        return weight.T.reshape(len(codes), levels, -1), bias.reshape(len(codes), levels)

    def original(self, weight: Floats) -> Floats:
        """Weights (..., D) as they apply to the embeddings before standardization."""
        return np.asarray((weight if self.rotation is None else weight @ self.rotation) / self.scale)


def _balance(codes: Integers, stratum: Integers, levels: int) -> Floats:
    """Weights (B, n) under which class and level are independent: what their margins say of a cell, over its images.

    Kamiran and Calders (2012), Knowledge and Information Systems 33(1), section 5.3 (reweighing).
    """
    classes = int(stratum.max()) + 1
    weights = np.empty(codes.shape)
    for row, code in enumerate(codes):
        cells = np.bincount(stratum * levels + code, minlength=classes * levels).reshape(classes, levels)
        expected = cells.sum(axis=1, keepdims=True) * cells.sum(axis=0) / len(code)
        weights[row] = (expected / np.maximum(cells, 1))[stratum, code]
    return weights


def _one_hot(code: Integers) -> Floats:
    return np.asarray(np.eye(int(code.max()) + 1)[code])
