# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A linear discriminant in closed form: one factorization serves every attribute and all its permutations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.linalg.lapack import dpotri

from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.types import Floats, Integers

_MANY = 256  # columns from which on an inverse is kept, to multiply as many
_LEAST_VARIANCE = 1e-8  # mean one of columns of variance 1, of which nothing but rounding is left


@dataclass(frozen=True, eq=False)
class Solver:
    """A factorized covariance of some rows.

    Attributes:
        factor: Cholesky factor of the shrunken covariance (q, q).
    """

    factor: tuple[Floats, bool]

    @classmethod
    def of(cls, gram: Floats, sums: Floats, counts: Floats, shrinkage: float, columns: int) -> Solver:
        """Factorize.

        Args:
            gram: (q, q) sum of x x' over the rows.
            sums: (L, q) sum of the rows of each class; one row, the sum of all, where classes play no part.
            counts: (L,) their number.
            shrinkage: share of the identity.
            columns: D, over which the mean variance is taken.
        """
        covariance = gram - sums.T @ (sums / np.maximum(counts, 1)[:, None])
        covariance /= counts.sum()
        return cls.of_covariance(covariance, shrinkage, columns)

    @classmethod
    def of_covariance(cls, covariance: Floats, shrinkage: float, columns: int) -> Solver:
        """Shrink a covariance (q, q) of standardized columns in place, and factorize it; the rest as `of`."""
        ridge = shrinkage * max(float(np.trace(covariance)) / columns, _LEAST_VARIANCE)
        covariance *= 1 - shrinkage
        covariance[np.diag_indices_from(covariance)] += ridge
        return cls(cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False))

    @cached_property
    def _inverse(self) -> Floats:
        inverse, _ = dpotri(self.factor[0], lower=1)
        inverse = np.tril(inverse)
        inverse += np.tril(inverse, -1).T
        return np.asarray(inverse)

    def __call__(self, values: Floats) -> Floats:
        """Inverse covariance times values (q, ...); many of them are worth the inverse, a product is faster."""
        if values.ndim == 2 and _MANY <= len(values) <= 2 * values.shape[1]:
            return np.asarray(self._inverse @ values)
        return np.asarray(cho_solve(self.factor, values, check_finite=False))


@dataclass(frozen=True, eq=False)
class Probes:
    """Probes of several codings, fitted to the same rows.

    Attributes:
        means: (q, B, m) mean of each level as deviation from class means; of ordered levels, the covariance with them.
        weight: (q, B, m) inverse covariance times means.
        bias: (B, m), -inf for a level without images.
        direction: (q, B, columns) sum of products of rows and design, both as deviations, which the weights come from.
        solved: (q, B, columns) inverse covariance times direction.
        centre: (q, 1 or B) mean of the rows that are coded.
    """

    means: Floats
    weight: Floats
    bias: Floats
    direction: Floats
    solved: Floats
    centre: Floats


@dataclass(frozen=True, eq=False)
class Scorer:
    """What scores of several codings take.

    Attributes:
        direction: (q, B, columns) sum of products of rows and design, both as deviations.
        solved: (q, B, columns) inverse covariance times direction.
        scale: (B, m) factor of each level, one over its number of images.
        bias: (B, m), -inf for a level without images.
        centre: (q, 1 or B) mean of the rows that are coded.
    """

    direction: Floats
    solved: Floats
    scale: Floats
    bias: Floats
    centre: Floats

    def of_levels(self, values: NDArray[Any], axis: int) -> NDArray[Any]:
        """What columns of the design say, for each level: they sum to nothing, so the first follows from the others."""
        return _with_first(values, axis) if self.scale.shape[1] > values.shape[axis] else values

    @property
    def weight(self) -> Floats:
        """(q, B, m) inverse covariance times the mean of each level; of ordered levels, the covariance with them."""
        return np.asarray(self.of_levels(self.solved, axis=2) * self.scale)

    @property
    def second(self) -> Scorer:
        """The second of two levels alone, which ranks as both do."""
        return replace(self, scale=self.scale[:, 1:], bias=self.bias[:, 1:])

    def block(self, draws: slice) -> Scorer:
        """Some of the codings, which have no weights."""
        direction, solved = self.direction[:, draws], self.solved[:, draws]
        return Scorer(direction, solved, self.scale[draws], self.bias[draws], self.centre)


@dataclass(frozen=True, eq=False)
class Folded:
    """Standardized embeddings in folds of patients, with a factorization for each set of folds.

    Attributes:
        points: the embeddings.
        fold: (N,) fold of each image, integers in [0, K).
        classes: (N,) class of each image, integers in [0, L).
        gram: (K, q, q) sum of x x' over the images of each fold.
        sums: (K, L, q) sum of the images of each fold and class.
        counts: (K, L) their number.
    """

    points: Standardized
    fold: Integers
    classes: Integers
    gram: Floats
    sums: Floats
    counts: Floats

    @classmethod
    def of(
        cls, points: Standardized, fold: Integers, classes: Integers, shape: tuple[int, int] | None = None
    ) -> Folded:
        """Sum over the images, once.

        Args:
            points: the embeddings.
            fold: (N,) fold of each image.
            classes: (N,) class of each image.
            shape: K and L; by default the largest fold and class plus one.
        """
        folds, labels = shape or (int(fold.max()) + 1, int(classes.max()) + 1)
        width = len(points.gram)
        gram, sums = np.zeros((folds, width, width)), np.zeros((folds, labels, width))
        if folds == 1:
            gram[0] = points.gram
        for index in range(folds):
            rows = np.flatnonzero(fold == index)
            for place, block in points.blocks(rows):
                values = block.astype(np.float64)
                if folds > 1:
                    gram[index] += values.T @ values
                sums[index] += _one_hot(classes[rows[place]], labels).T @ values
        counts = np.bincount(fold * labels + classes, minlength=folds * labels).reshape(folds, labels).astype(float)
        return cls(points, fold, classes, gram, sums, counts)

    @classmethod
    def zeros(cls, points: Standardized, folds: int, labels: int) -> Folded:
        """No images yet."""
        nobody, width = np.zeros(0, np.int64), len(points.gram)
        sums, counts = np.zeros((folds, labels, width)), np.zeros((folds, labels))
        return cls(points, nobody, nobody, np.zeros((folds, width, width)), sums, counts)

    def add(self, block: Folded) -> None:
        """Add the sums over other images, in place, before anything is solved."""
        for own, other in ((self.gram, block.gram), (self.sums, block.sums), (self.counts, block.counts)):
            own += other

    @property
    def folds(self) -> int:
        """K."""
        return len(self.gram)

    @cached_property
    def _solvers(self) -> dict[tuple[tuple[int, ...], bool], Solver]:
        return {}

    def solver(self, folds: tuple[int, ...], within: bool) -> Solver:
        """The covariance of some folds, within classes or over all; factorized once."""
        key = folds, within
        if key not in self._solvers:
            chosen = list(folds)
            sums, counts = self.sums[chosen].sum(axis=0), self.counts[chosen].sum(axis=0)
            if not within:
                sums, counts = sums.sum(axis=0, keepdims=True), counts.sum(keepdims=True)
            gram, columns = self.gram[chosen[0]].copy(), len(self.points.scale)
            for index in chosen[1:]:
                gram += self.gram[index]
            self._solvers[key] = Solver.of(gram, sums, counts, self.points.shrinkage, columns)
        return self._solvers[key]

    def covariance(self, folds: tuple[int, ...]) -> Floats:
        """(q, q) covariance within classes of the images of some folds, not shrunken."""
        chosen = list(folds)
        sums, counts = self.sums[chosen].sum(axis=0), self.counts[chosen].sum(axis=0)
        gram = self.gram[chosen].sum(axis=0) - sums.T @ (sums / np.maximum(counts, 1)[:, None])
        return np.asarray(gram / counts.sum())

    def others(self, index: int) -> tuple[int, ...]:
        """All folds but one; of a single fold, that one."""
        return tuple(other for other in range(self.folds) if other != index) or (0,)

    def totals(self, codings: Codings, weights: Floats | None = None) -> Totals:
        """Sums of the images' design over each fold, which every probe of these codings is made from.

        Args:
            codings: the codings.
            weights: (B, n) optional weight of each image in the means of the levels.
        """
        draws, columns, levels = len(codings.codes), codings.columns, self.counts.shape[1]
        width, fold, dtype = len(self.points.gram), self.fold[codings.rows], self.points.rows(slice(0, 1)).dtype
        shares = np.ones((1, len(fold))) if weights is None else weights
        sums, counts = (np.zeros((self.folds, rows, draws * columns)) for rows in (width, levels))
        whole, known = (np.zeros((self.folds, rows, levels * len(shares))) for rows in (width, 1))
        for index in range(self.folds):
            own = np.flatnonzero(fold == index)
            for place, block in self.points.blocks(codings.rows[own]):
                chosen = own[place]
                member: NDArray[Any] = _one_hot(self.classes[codings.rows[chosen]], levels).astype(dtype)
                design, every = codings.design(chosen, dtype), np.asarray(shares[:, chosen], dtype)
                if weights is not None:
                    design *= np.repeat(every, columns, axis=0)
                coded: NDArray[Any] = (member[:, :, None] * every.T[:, None]).reshape(len(chosen), -1)
                sums[index] += block.T @ design.T
                whole[index] += block.T @ coded
                counts[index] += member.T @ design.T
                known[index] += coded.sum(axis=0)
        shape = levels, len(shares)
        return Totals(
            self, codings, sums, whole.reshape(self.folds, width, *shape), counts, known.reshape(self.folds, *shape)
        )

    def held_out(self, codings: Codings | Totals, within: bool, ranked: bool = False) -> NDArray[Any]:
        """Scores (B, m, n) of the images by probes that have not seen their fold, in the embeddings' precision.

        Args:
            codings: the codings, or their sums where they are known.
            within: fit probes within classes.
            ranked: of two levels give only the second's score (B, n), which ranks as both do.
        """
        totals = self.totals(codings) if isinstance(codings, Codings) else codings
        order, scores = self.by_fold(totals, within, ranked)
        return _in_place(order, scores)

    def by_fold(self, totals: Totals, within: bool, ranked: bool = False) -> tuple[Integers, NDArray[Any]]:
        """Order (n,) of the images, fold after fold, and their scores in it; arguments are those of `held_out`."""
        alone = ranked and totals.codings.levels == 2 and not totals.codings.ordered
        order, scores = self._by_fold(totals.codings.rows, totals.scorers(within, alone))
        return order, scores[:, 0] if alone else scores

    def scores(self, rows: Integers, scorers: Iterable[Scorer]) -> NDArray[Any]:
        """Scores (B, m, n) of some images, in the embeddings' precision.

        Args:
            rows: (n,) their position.
            scorers: for the images of each fold in turn.
        """
        return _in_place(*self._by_fold(rows, scorers))

    def _by_fold(self, rows: Integers, scorers: Iterable[Scorer]) -> tuple[Integers, NDArray[Any]]:
        fold, dtype = self.fold[rows], self.points.rows(slice(0, 1)).dtype
        order, ends = np.argsort(fold, kind="stable"), np.cumsum(np.bincount(fold, minlength=self.folds))
        scores: NDArray[Any] | None = None
        for index, scorer in enumerate(scorers):
            first = int(ends[index - 1]) if index else 0
            own = order[first : ends[index]]
            flat: NDArray[Any] = scorer.solved.reshape(len(scorer.solved), -1).astype(dtype)
            scale, bias = (values[:, :, None].astype(dtype) for values in (scorer.scale, scorer.bias))
            if scores is None:
                scores = np.empty((*scorer.bias.shape, len(fold)), dtype)
            for place, block in self.points.blocks(rows[own]):
                found = scorer.of_levels((flat.T @ block.T).reshape(len(scale), -1, len(block)), axis=1)
                found *= scale
                found += bias
                scores[:, :, first + place.start : first + place.stop] = found
        assert scores is not None
        return order, scores


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums of the design of codings over the images of each fold.

    Attributes:
        folded: the embeddings.
        codings: the codings.
        sums: (K, q, B columns) sum of x times the design.
        whole: (K, q, L, 1 or B) sum of x over the images of each class that are coded.
        counts: (K, L, B columns) sum of the design over each class.
        known: (K, L, 1 or B) number of coded images of each class.
    """

    folded: Folded
    codings: Codings
    sums: Floats
    whole: Floats
    counts: Floats
    known: Floats

    @classmethod
    def zeros(cls, folded: Folded, draws: int, levels: int, ordered: bool) -> Totals:
        """No images yet, of a number of codings."""
        codings = Codings(np.zeros(0, np.int64), np.zeros((draws, 0), np.int8), levels, ordered)
        (folds, width, _), labels, columns = folded.gram.shape, folded.counts.shape[1], draws * codings.columns
        sums, counts = (np.zeros((folds, rows, columns)) for rows in (width, labels))
        return cls(folded, codings, sums, np.zeros((folds, width, labels, 1)), counts, np.zeros((folds, labels, 1)))

    def add(self, block: Totals, draws: slice) -> None:
        """Add the sums over other images, in place, of some of the codings."""
        place = slice(draws.start * self.codings.columns, draws.stop * self.codings.columns)
        self.sums[..., place] += block.sums
        self.counts[..., place] += block.counts
        if draws.start == 0:  # the images are the same for all codings
            self.whole[:] += block.whole
            self.known[:] += block.known

    def block(self, draws: slice) -> Totals:
        """Sums of some of the codings, which have no weights."""
        place = slice(draws.start * self.codings.columns, draws.stop * self.codings.columns)  # may end beyond the last
        codings, sums, counts = self.codings.block(draws), self.sums[..., place], self.counts[..., place]
        return replace(self, codings=codings, sums=sums, counts=counts)

    def together(self, folded: Folded) -> Totals:
        """Sums over all folds, for probes that are fitted to all images; ``folded`` has them in a single fold."""
        sums, whole, counts, known = (
            values.sum(axis=0, keepdims=True) for values in (self.sums, self.whole, self.counts, self.known)
        )
        return Totals(folded, self.codings, sums, whole, counts, known)

    def scorers(self, within: bool, alone: bool = False) -> Iterator[Scorer]:
        """What scores the images of each fold in turn, of probes that have not seen them.

        Args:
            within: fit probes within classes.
            alone: of two levels give the second only.
        """
        scorers = (self.scorer(self.folded.others(index), within) for index in range(self.folded.folds))
        return (scorer.second if alone else scorer for scorer in scorers)

    def fit(self, folds: tuple[int, ...], within: bool) -> Probes:
        """Fit probes to some folds: inverse covariance times the mean of each level, as deviations from class means.

        The covariance is that of all images; the means are of those that are coded, so that probes do not turn towards
        images without a level.
        """
        found = self.scorer(folds, within)
        means = found.of_levels(found.direction, axis=2) * found.scale
        return Probes(means, found.weight, found.bias, found.direction, found.solved, found.centre)

    def scorer(self, folds: tuple[int, ...], within: bool) -> Scorer:
        """The same without the products that scores do not need.

        With v the sum of products of rows and design, a level of n images has the weight S^-1 v / n and the bias
        -1/2 v' S^-1 v / n^2 - centre' S^-1 v / n.
        """
        direction, centre = self._direction(list(folds), within)
        solved = self.folded.solver(folds, within)(direction.reshape(len(direction), -1)).reshape(direction.shape)
        every = self.known[list(folds)].sum(axis=(0, 1))[:, None]
        shift = (
            np.einsum("qk,qbc->bc", centre, solved) if centre.shape[1] == 1 else np.einsum("qb,qbc->bc", centre, solved)
        )
        if self.codings.ordered:
            scale = np.full(shift.shape, 1 / max(float(every.max()), 1.0))
            return Scorer(direction, solved, scale, -shift * scale, centre)
        count = self.counts[list(folds)].sum(axis=(0, 1)).reshape(direction.shape[1:])
        sizes = np.concatenate([every - count.sum(axis=1, keepdims=True), count], axis=1)
        square = np.einsum("qbc,qbc->bc", direction, solved)
        first = square  # two levels mirror each other
        if square.shape[1] > 1:
            first = np.einsum("qb,qb->b", direction.sum(axis=2), solved.sum(axis=2))[:, None]
        absent = sizes < 1e-9  # a level that is absent here must not be predicted
        scale = np.where(absent, 0.0, 1 / np.maximum(sizes, 1e-9))
        shift = _with_first(shift, axis=1)
        bias = -0.5 * np.concatenate([first, square], axis=1) * scale**2 - shift * scale
        return Scorer(direction, solved, scale, np.where(absent, -np.inf, bias), centre)

    def _direction(self, folds: list[int], within: bool) -> tuple[Floats, Floats]:
        """Sum (q, B, columns) of products of rows and design, both as deviations, and mean (q, 1 or B) of the rows."""
        sums, counts, whole, known = (
            _over(values, folds) for values in (self.sums, self.counts, self.whole, self.known)
        )
        centre = whole.sum(axis=1) / np.maximum(known.sum(axis=0), 1e-12)
        counts = counts.reshape(len(counts), -1, self.codings.columns)
        if within:
            expected = _times(whole / np.maximum(known, 1e-12), counts)
        else:
            expected = _times(centre[:, None], counts.sum(axis=0, keepdims=True))
        return sums.reshape(expected.shape) - expected, centre


def _in_place(order: Integers, scores: NDArray[Any]) -> NDArray[Any]:
    """Scores (..., n) of images in an order, each in its place."""
    found: NDArray[Any] = np.empty_like(scores)
    found[..., order] = scores
    return found


def _over(values: Floats, folds: list[int]) -> Floats:
    """Sum over some folds, which are not copied first: they may be large."""
    total: Floats = values[folds[0]].copy()
    for index in folds[1:]:
        total += values[index]
    return total


def _with_first(values: NDArray[Any], axis: int) -> NDArray[Any]:
    return np.concatenate([-values.sum(axis=axis, keepdims=True), values], axis=axis)


def _times(means: Floats, counts: Floats) -> Floats:
    """(q, B, columns) means (q, L, 1 or B) times counts (L, B, columns)."""
    if means.shape[2] == 1:
        return np.asarray(np.tensordot(means[:, :, 0], counts, axes=1))
    return np.asarray(np.einsum("qlb,lbc->qbc", means, counts))


def _one_hot(codes: Integers, levels: int) -> Floats:
    return np.asarray(np.eye(levels)[codes])
