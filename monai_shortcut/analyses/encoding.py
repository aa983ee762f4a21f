# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is an attribute encoded in the embedding? Linear probes, cross-validated by patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.statistics.areas import clustered_auroc, confusion_metrics, stratified_auroc, with_interval
from monai_shortcut.statistics.discriminant import Discriminant
from monai_shortcut.statistics.resampling import (
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
        null: (B,) own_auroc under permutation: control tasks in which the attribute means nothing.
        spread: standard deviation over repeated draws of the folds, of each metric, "auroc" and "own_auroc"; empty
            when the folds were drawn once.
    """

    metrics: dict[str, tuple[float, float, float]]
    auroc: tuple[float, float, float]
    own_auroc: tuple[float, float, float]
    p_value: float
    null: tuple[float, ...]
    spread: dict[str, float] = field(default_factory=dict)

    @property
    def selectivity(self) -> float:
        """Own AUROC above the mean of the control tasks (Hewitt and Liang 2019)."""
        return self.own_auroc[0] - sum(self.null) / len(self.null)


def fit_probe(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None = None, balanced: bool = False
) -> LinearProbe:
    """Fit a linear probe: a linear discriminant with equal priors and a shrunken covariance.

    The weight of a level is the inverse covariance times the mean of the level. Covariance and shrinkage come from the
    embeddings alone, so one factorization serves an attribute and all its permutations.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        strata: (N,) optional class of each image; the probe then separates levels within classes only.
        balanced: with strata, weigh the images so that class and level are independent, instead of comparing within
            classes only: an attribute that merely goes along with the class then leaves no direction.

    Returns:
        The probe; with strata and not balanced, its logits are comparable between images of one class only.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty or alone, or balanced has no
            strata.

    References:
        Hastie, Tibshirani and Friedman (2009), section 4.3; Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).

    Example:
        >>> probe = fit_probe([[0.0], [0.2], [1.0], [1.2]], [0, 0, 1, 1])
        >>> probe([[0.1], [1.1]]).argmax(axis=1).tolist()
        [0, 1]
    """
    points, code, stratum = _checked(embeddings, codes, strata)
    if balanced and stratum is None:
        raise ValueError("balanced weights need strata, the class of each image, got none.")
    prepared = Discriminant.of(points)
    weight, bias = prepared.fit(np.arange(len(points)), code[None], stratum, int(code.max()) + 1, balanced)
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
    balanced: bool = False,
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
        balanced: fit them with balanced weights, as `fit_probe` does.

    Returns:
        (B, M, D) float64: the weights `fit_probe` gives to each permuted attribute.

    Raises:
        ValueError: As `fit_probe`.
    """
    points, code, stratum = _checked(embeddings, codes, strata)
    if balanced and stratum is None:
        raise ValueError("balanced weights need strata, the class of each image, got none.")
    prepared, rows = Discriminant.of(points), np.arange(len(points))
    draws = _permuted(code, patients, stratum, permutations, rng)
    own, levels = stratum if within or balanced else None, int(code.max()) + 1
    weights = (prepared.fit(rows, block, own, levels, balanced)[0] for block in _blocks(draws))
    return np.concatenate([prepared.original(weight) for weight in weights])


def probe_encoding(
    embeddings: ArrayLike,
    codes: ArrayLike,
    patients: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    repeats: int = 1,
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
        repeats: number of draws of the folds, for the spread of the metrics; all other numbers are of the first.
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
    patient, prepared = np.asarray(patients), Discriminant.of(points)
    fold = patient_folds(patient, stratum, folds, rng)
    logits = _held_out(prepared, code[None], fold, None)[0]
    own = _held_out(prepared, code[None], fold, stratum)[0]
    null = [
        stratified_auroc(_held_out(prepared, block, fold, stratum), block, stratum)
        for block in _blocks(_permuted(code, patient, stratum, permutations, rng))
    ]
    null_draws = np.concatenate(null)
    others = [patient_folds(patient, stratum, folds, rng) for _ in range(repeats - 1)]
    area, error = clustered_auroc(own, code, stratum, patient)
    whole, whole_error = clustered_auroc(logits, code, np.zeros_like(code), patient)
    # DeLong's error takes the probe as given; the spread under permutation also holds what refitting it adds. It is
    # largest at an area of one half and vanishes at 1, as a proportion's does.
    spread = 2 * float(null_draws.std())
    return Encoding(
        metrics=confusion_metrics(code, logits.argmax(axis=0), bootstrap_weights(patient, bootstraps, rng), level),
        auroc=with_interval((whole, max(whole_error, spread * _binomial(whole))), level),
        own_auroc=with_interval((area, max(error, spread * _binomial(area))), level),
        p_value=permutation_p_value(area, null_draws),
        null=tuple(null_draws.tolist()),
        spread=_spread(prepared, code, stratum, [fold, *others]),
    )


def held_out_margins(
    embeddings: ArrayLike,
    codes: ArrayLike,
    patients: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    rng: np.random.Generator,
) -> Floats:
    """How plainly each image gives its level away to a probe, among images of its label.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        patients: (N,) patient of each image; no patient is in two folds.
        labels: (N,) class of each image.
        folds: number of folds.
        rng: source of the folds.

    Returns:
        (N,) float64: logit of the image's own level above the best other one, by a probe fitted within labels to other
        patients; logits of a fold are centred within labels. Negative where the probe is wrong.

    Raises:
        ValueError: As `fit_probe`.
    """
    points, code, stratum = _checked(embeddings, codes, labels)
    assert stratum is not None
    fold = patient_folds(np.asarray(patients), stratum, folds, rng)
    logits = _held_out(Discriminant.of(points), code[None], fold, stratum)[0]
    for index in np.unique(fold):
        for value in np.unique(stratum):
            chosen = (fold == index) & (stratum == value)
            known = np.isfinite(logits[:, chosen])
            logits[:, chosen] -= np.where(known, logits[:, chosen], 0).sum(axis=1, keepdims=True) / max(chosen.sum(), 1)
    own = logits[code, np.arange(len(code))]
    logits[code, np.arange(len(code))] = -np.inf
    return np.asarray(own - logits.max(axis=0))


def _binomial(area: float) -> float:
    return float(np.sqrt(area * max(1 - area, 0.0)))  # rounding may put an area just above 1


def _spread(prepared: Discriminant, code: Integers, stratum: Integers, draws: list[Integers]) -> dict[str, float]:
    """Standard deviations of the metrics over draws of the folds."""
    if len(draws) < 2:
        return {}
    values: dict[str, list[float]] = {}
    for fold in draws:
        logits = _held_out(prepared, code[None], fold, None)
        own = _held_out(prepared, code[None], fold, stratum)
        one = np.ones((1, len(code)))
        found = {
            name: value for name, (value, _, _) in confusion_metrics(code, logits[0].argmax(axis=0), one, 0.95).items()
        }
        found["auroc"] = float(stratified_auroc(logits, code[None], np.zeros_like(code))[0])
        found["own_auroc"] = float(stratified_auroc(own, code[None], stratum)[0])
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.std(found, ddof=1)) for name, found in values.items()}


def _held_out(prepared: Discriminant, codes: Integers, fold: Integers, strata: Integers | None) -> Floats:
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
