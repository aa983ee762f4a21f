# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is an attribute encoded in the embedding? Linear probes, cross-validated by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve
from sklearn.covariance import ledoit_wolf_shrinkage

from monai_shortcut.classification import clustered_auroc, confusion_metrics, stratified_auroc, with_interval
from monai_shortcut.resampling import (
    bootstrap_weights,
    patient_folds,
    permutation_p_value,
    permute_by_patient,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_COLUMNS = 512  # permuted levels that are solved for at once; bounds the memory


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of an attribute's levels.

    Attributes:
        weight: (M, D) float64, one row per level.
        bias: (M,) float64.
    """

    weight: Floats
    bias: Floats

    def __call__(self, embeddings: ArrayLike) -> Floats:
        """Logits (N, M) of embeddings (N, D)."""
        return np.asarray(embeddings, dtype=np.float64) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Encoding:
    """How well an attribute can be read off the embedding, on patients the probe has not seen.

    Attributes:
        metrics: accuracy, macro precision, recall and F1 of the probe, each with its interval (value, low, high).
        auroc: area under the ROC curve, mean over levels, with its interval; the label plays no part.
        own_auroc: the same, but comparing only images of the same label, with a probe fitted within labels:
            what the embedding knows of the attribute beyond the label.
        p_value: of own_auroc, by permutation between patients.
        null: (B,) own_auroc under permutation.
    """

    metrics: dict[str, tuple[float, float, float]]
    auroc: tuple[float, float, float]
    own_auroc: tuple[float, float, float]
    p_value: float
    null: tuple[float, ...]


def fit_probe(embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None = None) -> LinearProbe:
    """Fit a linear probe: a linear discriminant with equal priors and a shrunken covariance.

    The weight of a level is the inverse covariance times the mean of the level. Covariance and shrinkage come from the
    embeddings alone, so one factorization serves an attribute and all its permutations.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        strata: (N,) optional class of each image; the probe then separates levels within classes only.

    Returns:
        The probe; with strata its logits are comparable between images of one class only.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, or a level is empty or alone.

    References:
        Hastie, Tibshirani and Friedman (2009), section 4.3; Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).

    Example:
        >>> probe = fit_probe([[0.0], [0.2], [1.0], [1.2]], [0, 0, 1, 1])
        >>> probe([[0.1], [1.1]]).argmax(axis=1).tolist()
        [0, 1]
    """
    points, code, stratum = _checked(embeddings, codes, strata)
    prepared = _Prepared.of(points)
    weight, bias = prepared.fit(np.arange(len(points)), code[None], stratum, int(code.max()) + 1)
    original = prepared.original(weight[0])
    return LinearProbe(original, bias[0] - original @ prepared.centre)


def null_probes(
    embeddings: ArrayLike,
    codes: ArrayLike,
    patients: ArrayLike,
    permutations: int,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    within: bool = False,
) -> Floats:
    """Weights of probes for the attribute permuted between patients.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        patients: (N,) patient of each image.
        permutations: number B of permutations.
        rng: source of the permutations.
        strata: (N,) optional class of each image, whose tie to the attribute the permutations keep.
        within: fit the probes within classes too, as `fit_probe` does with strata.

    Returns:
        (B, M, D) float64: the weights `fit_probe` gives to each permuted attribute.

    Raises:
        ValueError: As `fit_probe`.
    """
    points, code, stratum = _checked(embeddings, codes, strata)
    prepared, rows = _Prepared.of(points), np.arange(len(points))
    draws = _permuted(code, patients, stratum, permutations, rng)
    own, levels = stratum if within else None, int(code.max()) + 1
    return np.concatenate([prepared.original(prepared.fit(rows, block, own, levels)[0]) for block in _blocks(draws)])


def probe_encoding(
    embeddings: ArrayLike,
    codes: ArrayLike,
    patients: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    permutations: int = 999,
    bootstraps: int = 999,
    level: float = 0.95,
    rng: np.random.Generator,
) -> Encoding:
    """Measure how well an attribute can be read off the embedding.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        patients: (N,) patient of each image; no patient is in two folds.
        labels: (N,) class of each image, integers.
        folds: number of folds.
        permutations: number B of permutations of the attribute between patients.
        bootstraps: number of bootstrap samples of patients, for the intervals of the metrics.
        level: of the intervals.
        rng: source of folds, permutations and bootstraps.

    Returns:
        The metrics with their intervals and null draws.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty or alone, or no class holds
            images of two levels.
    """
    points, code, stratum = _checked(embeddings, codes, labels)
    assert stratum is not None
    if all(len(np.unique(code[stratum == value])) < 2 for value in np.unique(stratum)):
        raise ValueError("at least one label must hold images of two levels, got an attribute that coincides with it.")
    patient, prepared = np.asarray(patients), _Prepared.of(points)
    fold = patient_folds(patient, stratum, folds, rng)
    logits = _held_out(prepared, code[None], fold, None)[0]
    own = _held_out(prepared, code[None], fold, stratum)[0]
    null = [
        stratified_auroc(_held_out(prepared, block, fold, stratum), block, stratum)
        for block in _blocks(_permuted(code, patient, stratum, permutations, rng))
    ]
    null_draws = np.concatenate(null)
    area, error = clustered_auroc(own, code, stratum, patient)
    whole, whole_error = clustered_auroc(logits, code, np.zeros_like(code), patient)
    # DeLong's error takes the probe as given; the spread under permutation also holds what refitting it adds. It is
    # largest at an area of one half and vanishes at 1, as a proportion's does.
    spread = 2 * float(null_draws.std())
    return Encoding(
        metrics=confusion_metrics(code, logits.argmax(axis=0), bootstrap_weights(patient, bootstraps, rng), level),
        auroc=with_interval((whole, max(whole_error, spread * np.sqrt(whole * (1 - whole)))), level),
        own_auroc=with_interval((area, max(error, spread * np.sqrt(area * (1 - area)))), level),
        p_value=permutation_p_value(area, null_draws),
        null=tuple(null_draws.tolist()),
    )


@dataclass(frozen=True)
class _Prepared:
    """Standardized embeddings and their shrinkage, into which no attribute enters."""

    points: Floats
    centre: Floats
    scale: Floats
    rotation: Floats | None
    shrinkage: float

    @classmethod
    def of(cls, embeddings: Floats) -> _Prepared:
        centre, scale = embeddings.mean(axis=0), embeddings.std(axis=0)
        scale = np.where(scale > 1e-9 * np.abs(embeddings).max(), scale, np.inf)  # a constant column has no say
        points, rotation = (embeddings - centre) / scale, None
        shrinkage = max(float(ledoit_wolf_shrinkage(points, assume_centered=True)), 1e-4)
        if points.shape[1] > len(points):
            # Shrinkage treats all directions alike, so those without images can be rotated away: nothing changes.
            left, singular, rotation = np.linalg.svd(points, full_matrices=False)
            points = left * singular
        return cls(points, centre, scale, rotation, shrinkage)

    def fit(self, rows: Integers, codes: Integers, strata: Integers | None, levels: int) -> tuple[Floats, Floats]:
        """Weights (B, M, D) and biases (B, M) of probes fitted to some rows, for B codings (B, n) of them."""
        points = self.points[rows]
        centre = points.mean(axis=0)
        member = _one_hot(np.zeros(len(rows), dtype=np.int64) if strata is None else strata[rows])
        points = points - member @ (member.T @ points / np.maximum(member.sum(axis=0), 1)[:, None])
        chosen = (codes[:, :, None] == np.arange(levels)).transpose(1, 0, 2).reshape(len(rows), -1).astype(np.float64)
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


def _held_out(prepared: _Prepared, codes: Integers, fold: Integers, strata: Integers | None) -> Floats:
    """Logits (B, M, N) for codings (B, N), each image's by the probe that has not seen its patient."""
    levels = int(codes.max()) + 1
    logits = np.empty((len(codes), levels, len(fold)))
    for index in range(fold.max() + 1):
        held_out = fold == index
        weight, bias = prepared.fit(np.flatnonzero(~held_out), codes[:, ~held_out], strata, levels)
        logits[:, :, held_out] = weight @ prepared.points[held_out].T + bias[:, :, None]
    return logits


def _permuted(
    code: Integers, patients: ArrayLike, strata: Integers | None, permutations: int, rng: np.random.Generator
) -> Integers:
    return code[permute_by_patient(patients, permutations, rng, strata)]


def _blocks(draws: Integers) -> list[Integers]:
    """Codings (B, N) in blocks small enough for the memory."""
    size = max(1, _COLUMNS // (int(draws.max()) + 1))
    return [draws[start : start + size] for start in range(0, len(draws), size)]


def _one_hot(code: Integers) -> Floats:
    return np.asarray(np.eye(int(code.max()) + 1)[code])


def _checked(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None
) -> tuple[Floats, Integers, Integers | None]:
    points, code = np.asarray(embeddings, dtype=np.float64), np.asarray(codes)
    if points.ndim != 2:
        raise ValueError(f"embeddings must have shape (N, D), got {points.shape}.")
    if not np.isfinite(points).all():
        raise ValueError(
            f"embeddings must be finite, got {int((~np.isfinite(points)).any(axis=1).sum())} images not so."
        )
    if code.shape != (len(points),):
        raise ValueError(f"codes must have shape ({len(points)},) to match embeddings, got {code.shape}.")
    found = np.unique(code)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(f"codes must be 0 to M - 1, each present and M at least 2, got {found[:10].tolist()}.")
    if strata is None:
        return points, code.astype(np.int64), None
    if np.shape(strata) != code.shape:
        raise ValueError(f"strata must have shape {code.shape} to match codes, got {np.shape(strata)}.")
    return points, code.astype(np.int64), np.unique(np.asarray(strata), return_inverse=True)[1].astype(np.int64)
