# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A head refitted to patients among whom label and attribute are independent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from monai_shortcut.analyses.sample import two_rows
from monai_shortcut.repair.given import Given
from monai_shortcut.repair.head import RepairedHead
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.types import Floats, Integers

STRENGTHS = tuple(float(10.0**power) for power in range(-4, 3))
_FOLDS = 5
_STEPS = 200
_ROUGH, _EXACT = 1e-6, 1e-10  # relative decrease of the loss, of fits in the folds and of the last one
_TRIED = 5  # strengths at least: the weakest hardly move the head, and may be better or worse by chance
_PATIENCE = 2  # strengths after the best one so far


def rebalance(
    weight: ArrayLike,
    bias: ArrayLike,
    embeddings: ArrayLike,
    labels: ArrayLike,
    codes: ArrayLike,
    patients: Sequence[Any] | ArrayLike,
    *,
    seed: int = 0,
) -> RepairedHead:
    """Refit the head to images that weigh so that the levels of an attribute count the same in every label.

    The head W z + b becomes (W + U) z + b + c, where U and c minimize

        sum_i a_i loss(y_i, logits_i) + |U s|^2 / (2 strength)

    with s the standard deviations of the embeddings and a_i the weight of an image: labels keep their shares, the
    levels of a label weigh the same, and so do the patients of a label and level. The penalty pulls towards the old
    head, where the fit starts: few patients move it little. The strength is that of `STRENGTHS` with the smallest loss,
    so weighed, on patients it was not fitted to.

    Args:
        weight: (C, D) of the head, or (1, D) of a single logit for the second of two classes.
        bias: (C,) of the head.
        embeddings: (N, D) what the head reads.
        labels: (N,) class of each image, integers in [0, C).
        codes: (N,) level of each image, integers from 0, -1 where unknown; or (N, A) of several attributes, whose
            combinations are then the levels. Images with an unknown level are left out.
        patients: (N,) patient of each image.
        seed: seed of the folds.

    Returns:
        The head; ``told`` holds the ``strength``, and the ``loss`` of held-out patients ``before`` and ``after``.

    Raises:
        ValueError: If the shapes disagree, a number is not finite, or a label or level is out of range.
        Unmeasurable: If an attribute coincides with the label, or a label of the head has fewer than five patients at a
            level; the message names the cells.

    References:
        Kirichenko, Izmailov and Wilson (2023), Last layer re-training, ICLR (deep feature reweighting).
    """
    given = Given.of(weight, bias, embeddings, labels, codes, patients)
    given.require_cells()
    cell = given.cells
    fold = patient_folds(given.patients, cell, _FOLDS, np.random.default_rng(seed))
    fits, held = ([_Fit.of(given, cell, (fold == k) == own) for k in range(_FOLDS)] for own in (False, True))
    before = float(np.mean([one.loss(*one.nothing) for one in held]))
    losses: list[float] = []
    for found in zip(*(fit.path(_ROUGH) for fit in fits), strict=True):
        losses.append(float(np.mean([one.loss(*added) for one, added in zip(held, found, strict=True)])))
        if len(losses) >= max(_TRIED, int(np.argmin(losses)) + 1 + _PATIENCE):  # stronger fits only take longer
            break
    best = int(np.argmin(losses))
    whole = _Fit.of(given, cell, np.ones(len(cell), dtype=bool))
    added, shift = next(islice(whole.path(_EXACT), best, None))
    return RepairedHead(
        *whole.folded(added, shift),
        method="rebalance",
        images=len(cell),
        patients=tuple(sorted(set(given.names.tolist()))),
        told={"strength": STRENGTHS[best], "before": before, "after": losses[best]},
    )


@dataclass(frozen=True, eq=False)
class _Fit:
    """Images that a head is fitted to, or that say how good it is.

    Attributes:
        given: the old head.
        points: (n, D) standardized by all images.
        logits: (n, K) of the old head, K = 2 of a single logit.
        member: (n, K) one for the class of an image.
        share: (n,) weights, which sum to 1.
    """

    given: Given
    points: Floats
    logits: Floats
    member: Floats
    share: Floats

    @classmethod
    def of(cls, given: Given, cell: Integers, rows: np.ndarray) -> _Fit:
        centre, scale = given.points.mean(axis=0), _spread(given)
        weight, bias = two_rows(given.weight, given.bias)
        points = given.points[rows].astype(np.float64)
        _, own, count = np.unique(
            np.stack([cell[rows], given.patients[rows]]), axis=1, return_inverse=True, return_counts=True
        )
        share, label = 1.0 / count[own.reshape(-1)], given.labels[rows]
        share /= np.bincount(cell[rows], share)[cell[rows]]  # patients of a cell weigh the same
        share *= np.bincount(label)[label] / np.bincount(label, share)[label] / len(label)
        member = np.eye(len(weight))[label]
        return cls(given, (points - centre) / scale, points @ weight.T + bias, member, share)

    @cached_property
    def nothing(self) -> tuple[Floats, Floats]:
        """What leaves the head as it is: (K, D) and (K,)."""
        return np.zeros((self.member.shape[1], self.points.shape[1])), np.zeros(self.member.shape[1])

    def loss(self, added: Floats, shift: Floats) -> float:
        """Mean loss, so weighed, of the head with something added."""
        logits = self.logits + self.points @ added.T + shift
        return float(-(self.share * (log_softmax(logits, axis=1) * self.member).sum(axis=1)).sum())

    def path(self, tolerance: float) -> Iterator[tuple[Floats, Floats]]:
        """What each strength adds, the fit starting at the one before, the first at the old head.

        Args:
            tolerance: relative decrease of the loss at which a fit ends.
        """
        start = np.concatenate([part.ravel() for part in self.nothing])
        size, shape = self.nothing[0].size, self.nothing[0].shape
        options = {"maxiter": _STEPS, "ftol": tolerance}
        for strength in STRENGTHS:
            start = minimize(self._value, start, (strength,), "L-BFGS-B", jac=True, options=options).x
            yield start[:size].reshape(shape), start[size:]

    def _value(self, theta: Floats, strength: float) -> tuple[float, Floats]:
        """Penalized loss and its gradient."""
        size = self.nothing[0].size
        added, shift = theta[:size].reshape(self.nothing[0].shape), theta[size:]
        chance = softmax(self.logits + self.points @ added.T + shift, axis=1)
        residual = (chance - self.member) * self.share[:, None]
        slope = residual.T @ self.points + added / strength
        value = self.loss(added, shift) + float((added**2).sum()) / (2 * strength)
        return value, np.concatenate([slope.ravel(), residual.sum(axis=0)])

    def folded(self, added: Floats, shift: Floats) -> tuple[Floats, Floats]:
        """Weight and bias of the head on the embeddings as they are, a single logit if it was one."""
        weight = added / _spread(self.given)
        bias = shift - weight @ self.given.points.mean(axis=0)
        if len(self.given.weight) == 1:
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        return self.given.weight + weight, self.given.bias + bias


def _spread(given: Given) -> Floats:
    """(D,) standard deviations of the embeddings; infinite where nothing varies, which then adds nothing."""
    spread = np.asarray(given.points.std(axis=0, dtype=np.float64))
    return np.where(spread > 1e-9 * np.abs(given.points).max(axis=0), spread, np.inf)
