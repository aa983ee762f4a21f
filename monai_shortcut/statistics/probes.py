# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Linear probes of an attribute, fitted to arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.statistics.checks import checked_levels, checked_patients, checked_points, checked_strata
from monai_shortcut.statistics.codings import Codings, balanced_weights
from monai_shortcut.statistics.discriminant import Folded
from monai_shortcut.statistics.resampling import permuted_codes
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.types import Floats, Integers


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


def fit_probe(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None = None, balanced: bool = False
) -> LinearProbe:
    """Fit a linear probe: a linear discriminant with equal priors and a shrunken covariance.

    With the covariance S of the embeddings and the mean m of a level, the level's weight is S^-1 m and its bias
    -1/2 m' S^-1 m. S comes from the embeddings alone: one factorization serves an attribute and all its permutations.

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
    folded, code = _prepared(embeddings, codes, strata, balanced)
    weight, bias = fitted(folded, _all(code[None]), strata is not None, balanced)
    return LinearProbe(weight[0], bias[0])


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
    folded, code = _prepared(embeddings, codes, strata, balanced)
    checked_patients(patients, len(code))
    draws = permuted_codes(code, patients, permutations, rng, None if strata is None else folded.classes)
    return fitted(folded, Codings(np.arange(len(code)), draws, int(code.max()) + 1), within, balanced)[0]


def fitted(folded: Folded, codings: Codings, within: bool, balanced: bool = False) -> tuple[Floats, Floats]:
    """Weights (B, m, D) and biases (B, m) of probes of several codings, as they apply to the embeddings.

    Args:
        folded: the embeddings, in a single fold.
        codings: the codings.
        within: fit within classes.
        balanced: weigh the images so that class and level are independent; the probe is then not fitted within classes.
    """
    weights = balanced_weights(codings.codes, folded.classes[codings.rows], codings.levels) if balanced else None
    probes = folded.totals(codings, weights).fit((0,), within and not balanced)
    weight = folded.points.original(np.moveaxis(probes.weight, 0, -1))
    return weight, np.asarray(probes.bias - weight @ folded.points.centre)


def _prepared(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None, balanced: bool
) -> tuple[Folded, Integers]:
    points = checked_points(embeddings)
    code, classes = checked_levels(codes, len(points)), checked_strata(strata, len(points))
    if balanced and strata is None:
        raise ValueError("balanced weights need strata, the class of each image, got none.")
    return Folded.of(Standardized.of(points), np.zeros(len(points), dtype=np.int64), classes), code


def _all(codes: Integers) -> Codings:
    return Codings(np.arange(codes.shape[1]), codes, int(codes.max()) + 1)
