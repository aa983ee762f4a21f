# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A linear discriminant in closed form: one factorization serves every attribute and all its permutations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from monai_shortcut.types import Floats, Integers, Points

_ROWS = 4096  # rows read at once; bounds the memory
_KEPT_BYTES = 2**27  # embeddings up to this size are kept standardized beside the original
_LEAST_SHRINKAGE = 1e-4


@dataclass(frozen=True, eq=False)
class Standardized:
    """Embeddings with columns of mean 0 and standard deviation 1, into which no attribute enters.

    Rows are standardized as they are read, so that large embeddings are not kept twice. Where columns
    outnumber rows, coordinates are those of the directions that the rows span: shrinkage treats all directions alike,
    so the others can be rotated away and nothing changes.

    Attributes:
        centre: (D,) mean of the embeddings.
        scale: (D,) their standard deviation, infinite where a column does not vary.
        rotation: (q, D) directions that the rows span, if columns outnumber rows; else None and q is D.
        shrinkage: share of the identity in the covariance, in (0, 1], estimated from all rows.

    References:
        Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).
    """

    centre: Floats
    scale: Floats
    rotation: Floats | None
    shrinkage: float
    _source: Points
    gram: Floats

    @classmethod
    def of(cls, embeddings: Points) -> Standardized:
        """Prepare embeddings (N, D), float32 or float64; sums over rows are float64."""
        centre, scale = _moments(embeddings)
        if embeddings.shape[1] <= len(embeddings):
            gram, fourth = _second_moments(_standard(block, centre, scale) for block in _blocks(embeddings))
            share = _ledoit_wolf(gram, fourth, len(embeddings))
            return cls(centre, scale, None, share, embeddings, gram)
        dense = _standard(embeddings, centre, scale).astype(np.float64)
        left, singular, rotation = np.linalg.svd(dense, full_matrices=False)
        gram, fourth = np.diag(singular**2), float(((dense**2).sum(axis=1) ** 2).sum())
        share = _ledoit_wolf(gram, fourth, len(dense), columns=dense.shape[1])
        return cls(centre, scale, rotation, share, (left * singular).astype(embeddings.dtype), gram)

    @cached_property
    def _kept(self) -> Points | None:
        """All coordinates, where they are small enough to be kept."""
        if self.rotation is not None:
            return self._source
        return _standard(self._source, self.centre, self.scale) if self._source.nbytes <= _KEPT_BYTES else None

    def rows(self, chosen: Integers | slice) -> Points:
        """(n, q) coordinates of some rows, in the precision of the embeddings."""
        if self._kept is not None:
            return self._kept[chosen]
        return _standard(self._source[chosen], self.centre, self.scale)

    def blocks(self, chosen: Integers) -> Iterator[tuple[slice, Points]]:
        """Coordinates of some rows, a few thousand at a time, with their place among the chosen ones."""
        for start in range(0, len(chosen), _ROWS):
            place = slice(start, min(start + _ROWS, len(chosen)))
            yield place, self.rows(chosen[place])

    def coordinates(self, weight: Floats) -> Floats:
        """Rows of a head (..., D) in these coordinates (..., q); what they say of constant columns is a constant."""
        scaled = weight * np.where(np.isfinite(self.scale), self.scale, 0.0)
        return np.asarray(scaled if self.rotation is None else scaled @ self.rotation.T)

    def original(self, weight: Floats) -> Floats:
        """Rows (..., q) in these coordinates as they apply to the embeddings (..., D)."""
        return np.asarray((weight if self.rotation is None else weight @ self.rotation) / self.scale)


def _blocks(embeddings: Points) -> Iterator[Points]:
    return (embeddings[start : start + _ROWS] for start in range(0, len(embeddings), _ROWS))


def _moments(embeddings: Points) -> tuple[Floats, Floats]:
    centre = embeddings.mean(axis=0, dtype=np.float64)
    square, largest = np.zeros(len(centre)), np.zeros(len(centre))
    for block in _blocks(embeddings):
        square += ((block - centre) ** 2).sum(axis=0)
        np.maximum(largest, np.abs(block).max(axis=0), out=largest)
    scale = np.sqrt(square / len(embeddings))
    # A column that varies by no more than its rounding has no say.
    rounding = 1e-9 if embeddings.dtype == np.float64 else 1e-6
    return centre, np.where(scale > rounding * largest, scale, np.inf)


def _standard(block: Points, centre: Floats, scale: Floats) -> Points:
    standard: Points = block - centre.astype(block.dtype)
    standard *= (1 / scale).astype(block.dtype)
    return standard


def _second_moments(blocks: Iterator[Points]) -> tuple[Floats, float]:
    """Sum of x x' over rows x, and that of the fourth powers of their lengths."""
    gram: Any = 0.0
    fourth = 0.0
    for block in blocks:
        rows = block.astype(np.float64)
        gram = gram + rows.T @ rows
        fourth += float(((rows**2).sum(axis=1) ** 2).sum())
    return np.asarray(gram), fourth


def _ledoit_wolf(gram: Floats, fourth: float, images: int, columns: int | None = None) -> float:
    """Ledoit and Wolf's shrinkage towards the identity, equations 14 and 15, from sums over the centred rows."""
    width = columns or len(gram)
    mean = float(np.trace(gram)) / images / width
    squares = float((gram**2).sum()) / images**2
    distance = (squares - width * mean**2) / width
    noise = min((fourth / images - squares) / (width * images), distance)
    share = noise / distance if noise > 0 else 0.0
    return min(max(share, _LEAST_SHRINKAGE), 1.0)


@dataclass(frozen=True, eq=False)
class Solver:
    """A factorized covariance of some rows and what else a discriminant takes from them.

    Attributes:
        factor: Cholesky factor of the shrunken covariance (q, q).
        centre: (q,) mean of the rows.
        class_means: (L, q) mean of the rows of each class; one row, the mean of all, where classes play no part.
    """

    factor: tuple[Floats, bool]
    centre: Floats
    class_means: Floats

    @classmethod
    def of(cls, gram: Floats, sums: Floats, counts: Floats, shrinkage: float, columns: int) -> Solver:
        """Factorize.

        Args:
            gram: (q, q) sum of x x' over the rows.
            sums: (L, q) sum of the rows of each class.
            counts: (L,) their number.
            shrinkage: share of the identity.
            columns: D, over which the mean variance is taken.
        """
        means = sums / np.maximum(counts, 1)[:, None]
        covariance = (gram - sums.T @ means) / counts.sum()
        ridge = shrinkage * max(float(np.trace(covariance)) / columns, 1e-12)
        covariance *= 1 - shrinkage
        covariance[np.diag_indices_from(covariance)] += ridge
        return cls(cho_factor(covariance, lower=True, check_finite=False), sums.sum(axis=0) / counts.sum(), means)

    def __call__(self, values: Floats) -> Floats:
        """Inverse covariance times values (q, ...)."""
        return np.asarray(cho_solve(self.factor, values, check_finite=False))


@dataclass(frozen=True, eq=False)
class Codings:
    """Several codings of the same images, each a level per image: an attribute and its permutations.

    Attributes:
        rows: (n,) position of the images among the embeddings.
        codes: (B, n) small integers: level of each image, in [0, M).
        levels: M.
        ordered: levels are ordered, and a probe has one row, along which they ascend; otherwise a row per level.
    """

    rows: Integers
    codes: NDArray[Any]
    levels: int
    ordered: bool = False

    @property
    def columns(self) -> int:
        """Columns of the design of one coding: the level itself if ordered, else an indicator of all but level 0."""
        return 1 if self.ordered else self.levels - 1

    def block(self, draws: slice) -> Codings:
        """Some of the codings."""
        return Codings(self.rows, self.codes[draws], self.levels, self.ordered)

    def design(self, place: slice | Integers, dtype: Any) -> NDArray[Any]:
        """(B columns, n) design of some of the images."""
        codes = self.codes[:, place]
        if self.ordered:
            return np.asarray(codes, dtype)
        chosen = codes[:, None] == np.arange(1, self.levels, dtype=codes.dtype)[:, None]
        return np.asarray(chosen.reshape(-1, codes.shape[1]), dtype)


@dataclass(frozen=True, eq=False)
class Probes:
    """Probes of several codings, fitted to the same rows.

    Attributes:
        means: (q, B, m) mean of each level as deviation from class means; of ordered levels, the covariance with them.
        weight: (q, B, m) inverse covariance times means.
        bias: (B, m), -inf for a level without images.
        direction: (q, B, columns) covariance of the rows with the design, which the weights come from.
        solved: (q, B, columns) inverse covariance times direction.
        centre: (q,) mean of the rows.
    """

    means: Floats
    weight: Floats
    bias: Floats
    direction: Floats
    solved: Floats
    centre: Floats


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
    def of(cls, points: Standardized, fold: Integers, classes: Integers) -> Folded:
        """Sum over the images, once."""
        folds, labels, width = int(fold.max()) + 1, int(classes.max()) + 1, len(points.gram)
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
        draws, columns, levels = len(codings.codes), codings.columns, int(self.classes.max()) + 1
        width, fold, dtype = len(self.points.gram), self.fold[codings.rows], self.points.rows(slice(0, 1)).dtype
        sums = np.zeros((self.folds, width, draws * columns))
        whole = np.zeros((self.folds, width, draws if weights is not None else 1))
        counts = np.zeros((self.folds, levels, draws * columns))
        known = np.zeros((self.folds, levels, draws if weights is not None else 1))
        for index in range(self.folds):
            own = np.flatnonzero(fold == index)
            for place, block in self.points.blocks(codings.rows[own]):
                chosen, member = own[place], _one_hot(self.classes[codings.rows[own[place]]], levels)
                design = codings.design(chosen, dtype)
                every = np.ones((1, len(chosen)), dtype)
                if weights is not None:
                    every = weights[:, chosen].astype(dtype)
                    design = design * np.repeat(every, columns, axis=0)
                sums[index] += block.T @ design.T
                whole[index] += block.T @ every.T
                counts[index] += member.T @ design.T
                known[index] += member.T @ every.T
        return Totals(self, codings, sums, whole, counts, known)

    def held_out(self, codings: Codings, within: bool, ranked: bool = False) -> NDArray[Any]:
        """Scores (B, m, n) of the images by probes that have not seen their fold, in the embeddings' precision.

        Args:
            codings: the codings.
            within: fit probes within classes.
            ranked: of two levels give only the second's score (B, n), which ranks as both do.
        """
        totals, fold = self.totals(codings), self.fold[codings.rows]
        probed = slice(1, 2) if ranked and codings.levels == 2 and not codings.ordered else slice(None)
        dtype, draws = self.points.rows(slice(0, 1)).dtype, len(codings.codes)
        scores: NDArray[Any] | None = None
        for index in range(self.folds):
            probes, own = totals.fit(self.others(index), within), np.flatnonzero(fold == index)
            weight, bias = probes.weight[..., probed], probes.bias[..., probed].astype(dtype)
            flat: NDArray[Any] = weight.reshape(len(weight), -1).astype(dtype)
            if scores is None:
                scores = np.empty((draws, bias.shape[1], len(fold)), dtype)
            for place, block in self.points.blocks(codings.rows[own]):
                scores[:, :, own[place]] = (flat.T @ block.T).reshape(draws, bias.shape[1], -1) + bias[:, :, None]
        assert scores is not None
        return scores[:, 0] if probed != slice(None) else scores


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums of the design of codings over the images of each fold.

    Attributes:
        folded: the embeddings.
        codings: the codings.
        sums: (K, q, B columns) sum of x times the design.
        whole: (K, q, 1 or B) sum of x over the images that are coded.
        counts: (K, L, B columns) sum of the design over each class.
        known: (K, L, 1 or B) number of coded images of each class.
    """

    folded: Folded
    codings: Codings
    sums: Floats
    whole: Floats
    counts: Floats
    known: Floats

    def fit(self, folds: tuple[int, ...], within: bool) -> Probes:
        """Fit probes to some folds: inverse covariance times the mean of each level, as deviations from class means."""
        solver, chosen = self.folded.solver(folds, within), list(folds)
        draws, columns = len(self.codings.codes), self.codings.columns
        sums, whole = self.sums[chosen].sum(axis=0), self.whole[chosen].sum(axis=0)
        counts, known = self.counts[chosen].sum(axis=0), self.known[chosen].sum(axis=0)
        if not within:
            counts, known = counts.sum(axis=0, keepdims=True), known.sum(axis=0, keepdims=True)
        direction = (sums - solver.class_means.T @ counts).reshape(-1, draws, columns)
        rest = whole - solver.class_means.T @ known
        solved = solver(np.concatenate([direction.reshape(len(direction), -1), rest], axis=1))
        inverse, rest_solved = solved[:, : draws * columns].reshape(-1, draws, columns), solved[:, draws * columns :]
        count, every = counts.sum(axis=0).reshape(draws, columns), known.sum(axis=0)[:, None]
        if self.codings.ordered:
            size = max(float(every.max()), 1.0)
            bias = -np.tensordot(solver.centre, inverse / size, axes=(0, 0))
            return Probes(direction / size, inverse / size, bias, direction, inverse, solver.centre)
        first = rest[:, :, None] - direction.sum(axis=2, keepdims=True)
        first_solved = rest_solved[:, :, None] - inverse.sum(axis=2, keepdims=True)
        sizes = np.concatenate([every - count.sum(axis=1, keepdims=True), count], axis=1)
        means = np.concatenate([first, direction], axis=2) / np.maximum(sizes, 1e-12)
        weight = np.concatenate([first_solved, inverse], axis=2) / np.maximum(sizes, 1e-12)
        bias = -0.5 * (means * weight).sum(axis=0) - np.tensordot(solver.centre, weight, axes=(0, 0))
        absent = sizes < 1e-9  # a level that is absent here must not be predicted
        weight[:, absent], bias[absent] = 0.0, -np.inf
        return Probes(means, weight, bias, direction, inverse, solver.centre)


def balanced_weights(codes: NDArray[Any], classes: Integers, levels: int) -> Floats:
    """Weights (B, n) under which class and level are independent: what their margins say of a cell, over its images.

    Args:
        codes: (B, n) level of each image.
        classes: (n,) class of each image.
        levels: M.

    References:
        Kamiran and Calders (2012), Knowledge and Information Systems 33(1), section 5.3 (reweighing).
    """
    count = int(classes.max()) + 1
    weights = np.empty(codes.shape)
    for row, code in enumerate(codes.astype(np.int64)):
        cells = np.bincount(classes * levels + code, minlength=count * levels).reshape(count, levels)
        expected = cells.sum(axis=1, keepdims=True) * cells.sum(axis=0) / len(code)
        weights[row] = (expected / np.maximum(cells, 1))[classes, code]
    return weights


def _one_hot(codes: Integers, levels: int) -> Floats:
    return np.asarray(np.eye(levels)[codes])
