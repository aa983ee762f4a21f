# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Held-out areas of many probes, from rows that are whitened once: each probe is then two products and a sort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Folded, Totals
from monai_shortcut.types import Floats, Integers, Points

_ROWS = 4096  # rows read at once
_NUMBERS = 2**24  # sums and scores held at once; bounds the memory
_CELLS = 2**17  # scores ranked at once; few enough for the cache
_KEPT_BYTES = 2**26  # whitened rows up to this size are kept
_ALL = slice(None)

Singles = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Whitened:
    """Rows in folds of patients, and the same rows times the inverse covariance of the folds that they are not in.

    A probe that has not seen a fold has the weight S^-1 d, where S is the covariance within classes of the other folds
    and d depends on the coding. The score of a row x of the fold is d' S^-1 x, so S^-1 x serves every coding. Where
    rows are too many to be kept twice, S^-1 d is computed instead. Products are float32.

    Attributes:
        folded: the rows, at least two folds.
    """

    folded: Folded

    @cached_property
    def kept(self) -> Singles | None:
        """All whitened rows (N, q), None where they are too large."""
        fold, points = self.folded.fold, self.folded.points
        if len(fold) * len(points.gram) * 4 > _KEPT_BYTES:
            return None
        kept = np.empty((len(fold), len(points.gram)), np.float32)
        for index in range(self.folded.folds):
            for rows in _in_blocks(np.flatnonzero(fold == index)):
                kept[rows] = self._solved(points.rows(rows), index)
        return kept

    def _solved(self, rows: Points, index: int) -> Singles:
        """Rows (n, q) times the inverse covariance of the other folds."""
        solver = self.folded.solver(self.folded.others(index), within=True)
        return np.ascontiguousarray(solver(rows.T.astype(np.float64)).T, dtype=np.float32)

    def _rows(self, chosen: Integers) -> Singles:
        """Rows (n, q) of some images, whitened if they are kept."""
        if self.kept is not None:
            return np.asarray(self.kept[chosen])
        return self.folded.points.rows(chosen).astype(np.float32, copy=False)

    def scores(self, codings: Codings, sums: Sums) -> Iterator[tuple[Integers, Singles]]:
        """Scores of the images of one fold and class after the other, by probes that have not seen the fold.

        Level m of an unordered coding has the weight S^-1 sum over the classes l of n_lm (mean_lm - mean_l), with n_lm
        images of level m among those of class l; an ordered one has S^-1 times the covariance with the level within
        classes. Factors that all images of a fold share are left out, for they do not change their order.

        Args:
            codings: the codings. If their images are of one class, so are those that the means are taken over.
            sums: of the codings.

        Yields:
            Place (n,) of the images among the coded ones, and scores (B, columns, n) of the columns of the design.
        """
        fold, classes = (values[codings.rows] for values in (self.folded.fold, self.folded.classes))
        for index in range(self.folded.folds):
            direction = sums.direction(index)
            if self.kept is None:
                direction = self._solved(direction, index)
            for value in np.unique(classes[fold == index]):
                place = np.flatnonzero((fold == index) & (classes == value))
                found = np.empty((len(direction), len(place)), np.float32)
                for part in _in_blocks(np.arange(len(place))):
                    found[:, part[0] : part[-1] + 1] = direction @ self._rows(codings.rows[place[part]]).T
                yield place, found.reshape(-1, codings.columns, len(place))

    def areas(
        self, codings: Codings, ranked: Sequence[int], sums: Sums | None = None, own: Integers | slice = _ALL
    ) -> tuple[Floats, Singles]:
        """Areas under ROC curves among held-out images of the same fold and class.

        Args:
            codings: the codings.
            ranked: levels that are each ranked against all others; the area is the mean over them. Ordered levels are
                all compared, each with the lower ones, and it plays no part.
            sums: of these images, where they are known.
            own: (n,) which of the coded images; all by default.

        Returns:
            Areas (B,), ties one half; one half where no fold holds two levels of one class. And scores (m, n) of the
            first coding: of all levels, or of the direction along which ordered ones ascend.
        """
        width = self.folded.folds * len(self.folded.points.gram)
        step = max(1, _NUMBERS // (codings.columns * max(width, len(codings.rows[own]))))
        found = []
        for draws in (slice(start, start + step) for start in range(0, len(codings.codes), step)):
            part = codings.block(draws).images(own)  # a few at a time: codes of all draws are many
            known = Sums.of(self.folded, part) if sums is None else sums.block(draws, codings.columns)
            found.append(self._areas(part, ranked, known))
        return np.concatenate([areas for areas, _ in found]), found[0][1]

    def _areas(self, codings: Codings, ranked: Sequence[int], sums: Sums) -> tuple[Floats, Singles]:
        levels = range(1, codings.levels) if codings.ordered else ranked
        won, pairs = np.zeros((2, len(codings.codes), len(levels)))
        first = np.empty((1 if codings.ordered else codings.levels, len(codings.rows)), np.float32)
        for place, scores in self.scores(codings, sums):
            for level, row in enumerate(first):
                row[place] = _of_level(scores[:1], level, codings.ordered)[0]
            codes, step = codings.codes[:, place], max(1, _CELLS // len(place))
            for rows in (slice(start, start + step) for start in range(0, len(codes), step)):
                for column, level in enumerate(levels):
                    found = _pairs(_of_level(scores[rows], level, codings.ordered), codes[rows], level, codings.ordered)
                    won[rows, column] += found[0]
                    pairs[rows, column] += found[1]
        if codings.ordered:
            won, pairs = won.sum(axis=1, keepdims=True), pairs.sum(axis=1, keepdims=True)
        return np.where(pairs > 0, won / np.maximum(pairs, 1), 0.5).mean(axis=1), first


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the coded images of each fold; class by class where the means of classes enter.

    Attributes:
        design: (K, B columns, q) sum of the design times x, float32.
        counts: (K, B columns, L) sum of the design.
        whole: (K, L, q) sum of x.
        known: (K, L) number of images.
    """

    design: Singles
    counts: Singles
    whole: Floats
    known: Floats

    @classmethod
    def of(cls, folded: Folded, codings: Codings, own: Integers | slice = _ALL) -> Sums:
        """Sum over some of the coded images, all by default, once."""
        every = np.arange(len(codings.rows))[own]
        fold, draws = folded.fold[codings.rows[every]], len(codings.codes) * codings.columns
        folds, labels, width = folded.sums.shape
        design, counts = (np.zeros((folds, draws, many), np.float32) for many in (width, labels))
        whole, known = np.zeros((folds, labels, width)), np.zeros((folds, labels))
        for index in range(folds):
            for chosen in _in_blocks(every[fold == index]):
                rows = folded.points.rows(codings.rows[chosen]).astype(np.float32, copy=False)
                member: NDArray[Any] = np.eye(labels, dtype=np.float32)[folded.classes[codings.rows[chosen]]]
                coded = codings.design(chosen, np.float32)
                design[index] += coded @ rows
                counts[index] += coded @ member
                whole[index] += member.T @ rows
                known[index] += member.sum(axis=0)
        return cls(design, counts, whole, known)

    @classmethod
    def of_totals(cls, totals: Totals) -> Sums:
        """What is known already of codings without weights."""
        design, counts = (
            np.ascontiguousarray(values.transpose(0, 2, 1), dtype=np.float32) for values in (totals.sums, totals.counts)
        )
        return cls(design, counts, totals.whole[..., 0].transpose(0, 2, 1).copy(), totals.known[..., 0].copy())

    def remove(self, part: Sums) -> None:
        """Take the sums over some of the images away, in place."""
        for own, other in (
            (self.design, part.design),
            (self.counts, part.counts),
            (self.whole, part.whole),
            (self.known, part.known),
        ):
            own -= other

    def block(self, draws: slice, columns: int) -> Sums:
        """Sums of some of the codings."""
        place = slice(draws.start * columns, draws.stop * columns)  # may end beyond the last
        return Sums(self.design[:, place], self.counts[:, place], self.whole, self.known)

    def direction(self, index: int) -> Singles:
        """(B columns, q) sum over all other folds of design times x, as deviations from the classes' means there."""
        whole, known = (values.sum(axis=0) - values[index] for values in (self.whole, self.known))
        means = (whole / np.maximum(known, 1)[:, None]).astype(np.float32)
        others = [fold for fold in range(len(self.known)) if fold != index]
        counts, direction = self.counts[others].sum(axis=0), self.design[others[0]].copy()
        for fold in others[1:]:
            direction += self.design[fold]
        return np.asarray(direction - counts @ means, dtype=np.float32)


def _pairs(scores: Singles, codes: NDArray[Any], level: int, ordered: bool) -> tuple[Floats, Integers]:
    """Pairs (B,) of an image of a level and another, or a lower one, that the first wins, and all such pairs (B,)."""
    positive, compared = codes == level, np.int64(codes.shape[1])
    if ordered:  # images of higher levels go last, where they lose against nobody
        lowest = codes <= level
        scores, compared = np.where(lowest, scores, np.float32(np.inf)), lowest.sum(axis=1)
    count = positive.sum(axis=1)
    return wins(scores, positive, count), np.asarray(count * (compared - count))


def wins(scores: Singles, positive: NDArray[np.bool_], count: Integers) -> Floats:
    """Number of pairs of a positive and another image in which the positive one scores higher, ties one half.

    The bits of a float32 ascend with its value as an integer's do. The lowest one is given up to say whether the image
    is positive, so that one sort of small integers brings the ranks; scores that agree to 22 binary digits are tied.

    Args:
        scores: (B, n) float32 without NaN.
        positive: (B, n).
        count: (B,) number of positive images.

    Returns:
        (B,) float64.
    """
    bits = (scores + np.float32(0)).view(np.int32)  # the sum turns -0.0 into 0.0
    bits ^= (bits >> 31) & np.iinfo(np.int32).max  # negative floats descend
    keys = np.sort(bits & -2 | positive, axis=1)
    small = np.int32 if keys.shape[1] < 2**15 else np.int64  # holds the sum of all places
    place, least = np.arange(1, keys.shape[1] + 1, dtype=small), count * (count + 1) / 2
    won: Floats = np.einsum("bn,n->b", keys & 1, place) - least  # ties are won so far
    tied = ((keys[:, 1:] ^ keys[:, :-1]) == 1).any(axis=1)
    if tied.any():
        lost = (np.sort(keys[tied] ^ 1, axis=1) & 1 ^ 1) @ place - least[tied]
        won[tied] = (won[tied] + lost) / 2
    return won


def _of_level(scores: Singles, level: int, ordered: bool) -> Singles:
    """Scores (B, n) of a level from those of the design's columns (B, columns, n), which sum to nothing with it."""
    if ordered:
        return scores[:, 0]
    return np.asarray(scores[:, level - 1] if level else -scores.sum(axis=1), dtype=np.float32)


def _in_blocks(rows: Integers) -> Iterator[Integers]:
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))
