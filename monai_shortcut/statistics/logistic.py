# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Many penalized logistic regressions on rows of the same points, fitted together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from monai_shortcut.types import Booleans, Floats, Integers, Points

_TOLERANCE = 3e-4  # nearer to the minimum than scikit-learn by default
_START_TOLERANCE = 1e-2  # of the pooled head, from which the others move further than that
_LEAST_VARIANCE = 1e-3  # of an answer in the pooled head's Hessian
_BLOCK = 2**22  # numbers in an array of rows by heads: 16 MB in float32, of which a fit holds about eight
_ROWS = 4096  # rows copied at once; bounds the memory
_MOST_STEPS = 1000
_MOST_CUTS = 30  # of one step
_OVERSHOT = 0.5  # slope at the end of a step, upwards, over that at its start, downwards, from which on it is cut
_TINY = np.finfo(np.float64).tiny
STRENGTH = 10.0  # of the data in a clinical head that is fitted again: the penalty per image is |w|^2 over twice this
_FAR = 10.0  # mean of a column over its standard deviation, from which on products in float32 lose digits
_DONE = 0.2  # share of converged heads from which on it pays to copy the others


@dataclass(frozen=True, eq=False)
class Heads:
    """H linear heads with K logits each: with two classes one, the second's; else one for each class.

    Attributes:
        weight: (K, D, H) float64.
        bias: (K, H) float64; -inf for a class that the head was not fitted to.
    """

    weight: Floats
    bias: Floats

    def logits(self, points: Points) -> Points:
        """Logits (K, n, H) of points (n, D), in their precision."""
        result: Points = points @ self.weight.astype(points.dtype)
        result += self.bias[:, None].astype(points.dtype)
        return result


def log_odds(logits: Points) -> Points:
    """Log odds (C, ...) of each class against the rest, from the logits (K, ...) of heads."""
    if len(logits) == 1:
        return np.concatenate([-logits, logits])
    odds = np.empty_like(logits)
    for index, own in enumerate(logits):
        # Not from probabilities, which round to 1 where an image is far away, and tie.
        others = np.delete(logits, index, axis=0)
        largest = others.max(axis=0)
        odds[index] = own - largest - np.log(np.exp(others - largest).sum(axis=0))
    return odds


def fit_many(
    points: Points, targets: Integers, rows: Booleans, strength: float, tolerance: float = _TOLERANCE
) -> Heads:
    """Fit logistic regressions to different rows of the same points.

    Args:
        points: (N, D) float32 or float64, finite. In float32 columns should be roughly standardized, for large means
            lose digits; their exact centre and scale do not matter.
        targets: (N,) class of each row, integers in [0, C).
        rows: (N, H) the rows that each head is fitted to.
        strength: strength of the data against the penalty.
        tolerance: see `PooledHead.fit`.

    Returns:
        The heads, as they apply to the points.

    Raises:
        ValueError: If the rows of a head hold fewer than two classes.

    Example:
        >>> points, label = np.arange(8.0)[:, None], np.tile([0, 0, 1, 1], 2)
        >>> heads = fit_many(points, label, np.stack([points[:, 0] < 4, points[:, 0] >= 4], axis=1), 10.0)
        >>> (-heads.bias / heads.weight[:, 0]).round(1).tolist()
        [[1.5, 5.5]]
    """
    return PooledHead.of(points, targets, strength).fit(rows, tolerance)


@dataclass(frozen=True, eq=False)
class PooledHead:
    """A head fitted to all rows. Heads of some of the rows start there and share its curvature.

    A head of n rows minimizes, over its weights w and bias b,

        sum_i a_i loss(y_i, z_i) + |w|^2 / (2 strength)    with    z_i = b + sum_d w_d (x_id - m_d) / s_d

    where m and s are mean and standard deviation of its rows and a_i = 1 / (classes x rows of class y_i), so that
    classes weigh the same. That is scikit-learn's ``LogisticRegression(C=strength / n, class_weight="balanced")`` on
    points standardized by those rows: a single logit for two classes, the softmax for more.

    All heads are columns of one problem: a step is a product of the points with D x H directions, and one of their
    transpose with N x H residuals. Steps are nonlinear conjugate gradients, preconditioned for all heads by the one
    Hessian of the pooled head. Each column has a step length of its own and leaves when it has converged.

    Attributes:
        points: (N, D) float32 or float64. What has N rows keeps this precision; all else is float64.
        member: (C, N) the rows of each class.
        strength: strength of the data against the penalty.
        start: the pooled head.
        solve: H^-1 g of gradients g (K, D + 1, M), weights and bias, where H is the pooled head's Hessian on points
            standardized by all rows, without its terms between classes.

    References:
        Nocedal and Wright (2006), Numerical Optimization, section 5.2 (Polak and Ribiere's method with restarts);
        Boehning and Lindsay (1988), Ann. Inst. Statist. Math. 40(4) (a bound of the Hessian to fit the pooled head).
    """

    points: Points
    member: Booleans
    strength: float
    start: Heads
    solve: Callable[[Floats], Floats]

    @classmethod
    def of(cls, points: Points, targets: Integers, strength: float) -> PooledHead:
        """Fit the pooled head; arguments are those of `fit_many`."""
        member = targets == np.arange(int(targets.max()) + 1)[:, None]
        logits = 1 if len(member) == 2 else len(member)
        nothing = Heads(np.zeros((logits, points.shape[1], 1)), np.zeros((logits, 1)))
        descent = _Descent(points, member, strength, np.ones((len(points), 1), dtype=np.bool_), nothing)
        share, inverse = descent.share[:, 0], descent.inverse[:, 0]
        some = slice(None, None, max(1, len(points) // (4 * points.shape[1])))  # enough for a single head
        start = descent.run(
            _solver(points[some], share[some] / share[some].sum() / 4, inverse, strength), _START_TOLERANCE
        )
        chance = descent.chance[:, :, 0]
        # Where the pooled head is certain of all rows the others need not be.
        variance = np.maximum((chance * (1 - chance)).sum(axis=0) / max(logits - 1, 1), _LEAST_VARIANCE)
        return cls(points, member, strength, start, _solver(points, share * variance, inverse, strength))

    def fit(self, rows: Booleans, tolerance: float = _TOLERANCE) -> Heads:
        """Fit heads to rows.

        Args:
            rows: (N, H) the rows that each head is fitted to.
            tolerance: largest length of a gradient g in the metric of the pooled Hessian H, the root of g' H^-1 g. It
                is about the error of the logits: root mean square, images weighted by a_i p_i (1 - p_i).

        Returns:
            The heads, as they apply to the points.

        Raises:
            ValueError: If the rows of a head hold fewer than two classes.
        """
        size = max(1, _BLOCK // (len(rows) * len(self.start.bias)))
        parts = []
        for first in range(0, rows.shape[1], size):
            chosen = rows[:, first : first + size]
            descent = _Descent(self.points, self.member, self.strength, chosen, self.start)
            parts.append(descent.run(self.solve, tolerance))
        weight, bias = ([getattr(part, name) for part in parts] for name in ("weight", "bias"))
        return Heads(np.concatenate(weight, axis=-1), np.concatenate(bias, axis=-1))


class _Descent:
    """Heads on their way to the minimum. The last axis of all arrays is the head.

    Attributes:
        share: (N, H) a_i of the head's rows, 0 for others.
        centre: (D, H) mean over the head's rows.
        inverse: (D, H) inverse standard deviation over them, 0 for a constant column, which then has no say.
        ridge: (H,) factor of the weights in the gradient.
        theta: (K, D + 1, H) weights on points standardized by the head's rows, and bias.
        logits: (K, N, H) of all points.
        chance: (K, N, H) probabilities that they stand for.
        residual: (K, N, H) derivative of the loss by the logits.
        gradient: (K, D + 1, H) by theta.
        length: (H,) squared length of the gradient.
        direction: (K, D + 1, H) in which theta moves.
        still: (H,) heads that move no more: their gradient is short enough, or their slope is rounding.
    """

    def __init__(self, points: Points, member: Booleans, strength: float, rows: Booleans, start: Heads) -> None:
        self.points, self.member = points, member[-len(start.bias) :, :, None]
        self.share, present = _shares(member, rows, points.dtype)
        self.centre, self.inverse = _moments(points, rows)
        # The softmax of two of several classes has two opposite weight vectors. Their squared lengths add up to half
        # that of their difference, which is the weight vector of a single logit.
        self.ridge = np.where((len(member) > 2) & (present.sum(axis=0) == 2), 2, 1) / strength
        scale = np.divide(1, self.inverse, out=np.zeros_like(self.inverse), where=self.inverse > 0)
        bias = start.bias + (start.weight * self.centre).sum(axis=1)
        known = present[-len(bias) :]
        self.theta = np.concatenate(
            [start.weight * scale * known[:, None], np.where(known, bias, -np.inf)[:, None]], axis=1
        )
        self.logits = self._heads(self.theta).logits(points)
        self._answer()
        self.gradient = self.direction = np.zeros_like(self.theta)
        self.length = np.full(rows.shape[1], np.inf)
        self.still = np.zeros(rows.shape[1], dtype=np.bool_)

    def run(self, solve: Callable[[Floats], Floats], tolerance: float) -> Heads:
        """Descend until all gradients are short enough."""
        result, left = self._heads(self.theta), np.arange(len(self.ridge))
        for _ in range(_MOST_STEPS):
            self._turn(solve)
            self.still |= self.length <= tolerance**2
            done = self.still
            if done.all():
                break
            if done.mean() > _DONE:
                self._write(result, left)
                self._drop(done)
                left = left[~done]
            self._step()
        else:
            worst = float(np.sqrt(self.length.max()))
            warnings.warn(
                f"gradients must be at most {tolerance:.3g} long, got {worst:.3g}.", RuntimeWarning, stacklevel=3
            )
        self._write(result, left)
        return result

    def _write(self, result: Heads, left: Integers) -> None:
        heads = self._heads(self.theta)
        result.weight[..., left], result.bias[..., left] = heads.weight, heads.bias

    def _drop(self, done: Booleans) -> None:
        for name, values in vars(self).items():
            if name not in ("points", "member"):
                setattr(self, name, values[..., ~done])

    def _heads(self, theta: Floats) -> Heads:
        """The heads as they apply to the points."""
        weight = theta[:, :-1] * self.inverse
        return Heads(weight, theta[:, -1] - (weight * self.centre).sum(axis=1))

    def _answer(self) -> None:
        """Probabilities and residuals at the logits."""
        if len(self.logits) == 1:
            self.chance = (1 + np.tanh(self.logits / 2)) / 2
        else:
            self.chance = np.exp(self.logits - self.logits.max(axis=0))
            self.chance /= self.chance.sum(axis=0)
        self.residual = (self.chance - self.member) * self.share

    def _turn(self, solve: Callable[[Floats], Floats]) -> None:
        """Choose the next direction from the gradient at the logits."""
        before, length = self.gradient, self.length
        total = np.ones(len(self.points), self.points.dtype) @ self.residual
        sums = (self.points.T @ self.residual - self.centre * total[:, None]) * self.inverse
        sums += self.ridge * self.theta[:, :-1]
        self.gradient = np.concatenate([sums, total[:, None]], axis=1)
        ahead = solve(self.gradient)
        self.length = _inner(self.gradient, ahead)
        conjugate = np.maximum(self.length - _inner(before, ahead), 0) / np.maximum(length, _TINY)
        self.direction = conjugate * self.direction - ahead
        astray = _inner(self.gradient, self.direction) > -self.length / 10
        self.direction[..., astray] = -ahead[..., astray]

    def _step(self) -> None:
        """Go along the direction to the minimum of a parabola, and back where that is uphill already."""
        weight, change = self.direction[:, :-1], self._heads(self.direction).logits(self.points)
        slope = -_inner(self.gradient, self.direction)
        spread = (self.chance * change**2).sum(axis=0) - (self.chance * change).sum(axis=0) ** 2
        bend = np.einsum("nh,nh->h", self.share, spread) + self.ridge * _inner(weight, weight)
        step: Floats = np.where(self.still, 0.0, slope / np.maximum(bend, _TINY))
        theta, logits = self.theta, self.logits
        for _ in range(_MOST_CUTS):
            self.theta, self.logits = theta + step * self.direction, logits + change * step.astype(change.dtype)
            self._answer()
            uphill = np.einsum("knh,knh->h", self.residual, change) + self.ridge * _inner(self.theta[:, :-1], weight)
            long = (uphill > _OVERSHOT * slope) & ~self.still
            if not long.any():
                break
            step = np.where(long, step * slope / np.maximum(slope + uphill, _TINY), step)
        else:  # the slope is rounding: these heads are as good as they get
            self.still |= long


def in_single(points: Points, centre: Floats, scale: Floats) -> NDArray[np.float32]:
    """Points (N, D) in float32; standardized, which copies them, only where large means would lose digits."""
    if (np.abs(centre) > _FAR * scale).any():
        points = points - centre.astype(points.dtype)
        points /= np.where(scale > 0, scale, np.inf).astype(points.dtype)
    return points.astype(np.float32, copy=False)


def _inner(first: Floats, second: Floats) -> Floats:
    return np.asarray(np.einsum("kdh,kdh->h", first, second))


def _shares(member: Booleans, rows: Booleans, dtype: np.dtype[np.floating]) -> tuple[Points, Booleans]:
    """Weights (N, H) of the rows, with which classes weigh the same, and the classes (C, H) that each head knows."""
    count = member.astype(np.float64) @ rows
    present = count > 0
    classes = present.sum(axis=0)
    if classes.min() < 2:
        raise ValueError(f"rows of each head must hold at least two classes, got {classes.min()}.")
    share = 1 / np.maximum(count, 1) / classes
    return (member.T.astype(dtype) @ share.astype(dtype)) * rows, present


def _moments(points: Points, rows: Booleans) -> tuple[Floats, Floats]:
    """Mean and inverse standard deviation (D, H) of the points over rows (N, H); 0 for a constant column."""
    sums = np.zeros((2, points.shape[1], rows.shape[1]))
    for block in _blocks(len(points)):
        chosen: NDArray[Any] = rows[block].astype(points.dtype)
        sums[0] += points[block].T @ chosen
        sums[1] += (points[block] ** 2).T @ chosen
    centre, square = sums / rows.sum(axis=0)
    variance = square - centre**2
    # The difference of the two loses up to 60 times the precision of a product over a block.
    varies = variance > 300 * np.finfo(points.dtype).eps * square
    return centre, np.where(varies, 1 / np.sqrt(np.where(varies, variance, 1)), 0)


def _solver(points: Points, share: Points, inverse: Floats, strength: float) -> Callable[[Floats], Floats]:
    """Solve the Hessian of rows that weigh (N,), on columns times inverse (D,), for gradients (K, D + 1, H)."""
    total = float(share.sum(dtype=np.float64))
    centre = (share @ points).astype(np.float64) / total
    invert = (_by_columns if points.shape[1] <= len(points) else _by_rows)(points, share, centre, inverse, strength)

    def solve(gradient: Floats) -> Floats:
        flat = gradient.transpose(1, 0, 2).reshape(gradient.shape[1], -1)
        solved = np.concatenate([invert(flat[:-1]), flat[-1:] / total])
        return solved.reshape(len(solved), len(gradient), -1).transpose(1, 0, 2)

    return solve


def _by_columns(
    points: Points, share: Points, centre: Floats, inverse: Floats, strength: float
) -> Callable[[Floats], Floats]:
    gram = -float(share.sum(dtype=np.float64)) * np.outer(centre, centre)
    for block in _blocks(len(points)):
        part = points[block] * np.sqrt(share[block])[:, None]
        gram += part.T @ part
    gram *= np.outer(inverse, inverse)
    gram.flat[:: len(gram) + 1] += 1 / strength
    factor = cho_factor(gram, lower=True, overwrite_a=True)
    return lambda gradient: cho_solve(factor, gradient, check_finite=False)


def _by_rows(
    points: Points, share: Points, centre: Floats, inverse: Floats, strength: float
) -> Callable[[Floats], Floats]:
    """The same by the rows' N x N products (Woodbury), where columns outnumber rows."""
    part = (points - centre) * inverse * np.sqrt(share)[:, None]
    factor = cho_factor(part @ part.T + np.eye(len(part)) / strength, lower=True)
    return lambda gradient: strength * (gradient - part.T @ cho_solve(factor, part @ gradient))


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(first, first + _ROWS) for first in range(0, rows, _ROWS))
