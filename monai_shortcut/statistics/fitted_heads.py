# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A linear head for embeddings that have none, fitted in folds of patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.types import Floats, Integers

_STEPS = 5000
_CLOSE = 1e-6  # of the largest logit


@dataclass(frozen=True, eq=False)
class FittedHead:
    """One head, and embeddings of which it gives the logits of heads that have not seen the patient.

    Attributes:
        embeddings: (N, D) float64.
        weight: (C, D) mean of the folds' heads; of two classes (1, D), the logit of the second.
        bias: (C,) or (1,).
        logits: (N, C) or (N, 1) of each image, by the head that was fitted to the other folds.
    """

    embeddings: Floats
    weight: Floats
    bias: Floats
    logits: Floats


def fitted_head(
    embeddings: ArrayLike, labels: Integers, patients: ArrayLike, folds: int, rng: np.random.Generator
) -> FittedHead:
    """Fit a logistic regression to all folds of patients but one, for each of them.

    Every image is answered by the head that was not fitted to its patient. The K heads are made one: each embedding is
    moved along the rows of their mean W by what its own head says otherwise,

        x' = x + pinv(W) (W_k x + b_k - W x - b)    so that    W x' + b = W_k x + b_k.

    Nothing of an attribute enters, so that the audit's tests hold for them as for any model's embeddings.

    Args:
        embeddings: (N, D) finite.
        labels: (N,) class of each image, integers from 0 without a gap.
        patients: (N,) patient of each image.
        folds: number K of folds.
        rng: draws the folds.

    Raises:
        ValueError: If a class is absent outside a fold, or the embeddings have fewer numbers than classes tell apart.
    """
    points = np.asarray(embeddings, dtype=np.float64)
    fold = patient_folds(patients, labels, folds, rng)
    heads = [_fitted(points[fold != index], labels[fold != index], int(labels.max()) + 1) for index in range(folds)]
    weight, bias = (np.mean(part, axis=0) for part in zip(*heads, strict=True))
    logits = np.empty((len(points), len(bias)))
    for index, (own, offset) in enumerate(heads):
        logits[fold == index] = points[fold == index] @ own.T + offset
    moved = points + (logits - points @ weight.T - bias) @ np.linalg.pinv(weight).T
    if not np.allclose(moved @ weight.T + bias, logits, rtol=0, atol=_CLOSE * max(np.abs(logits).max(), 1)):
        raise ValueError(
            f"embeddings must have as many numbers as the head tells classes apart by, got {points.shape[1]} numbers "
            f"for {len(np.unique(labels))} classes."
        )
    return FittedHead(moved, weight, bias, logits)


def _fitted(points: Floats, labels: Integers, classes: int) -> tuple[Floats, Floats]:
    """Weight (C, D) and bias (C,) of a head; of two classes (1, D) and (1,). Those of more add up to zero."""
    counts = np.bincount(labels, minlength=classes)
    if not counts.all():
        lacking = np.flatnonzero(counts == 0).tolist()
        raise ValueError(
            f"every class must have patients in two folds or more for a head to be fitted, got none outside one fold "
            f"of class {lacking}."
        )
    fit = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS)).fit(points, labels)
    scaler, head = fit.named_steps.values()
    weight = head.coef_ / scaler.scale_
    bias = head.intercept_ - weight @ scaler.mean_
    return (weight, bias) if classes == 2 else (weight - weight.mean(axis=0), bias - bias.mean())
