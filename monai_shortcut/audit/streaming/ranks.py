# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The later readings of a stream: areas under ROC curves of held-out scores, and how far they are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.audit.streaming.source import Part
from monai_shortcut.audit.streaming.sums import Sums
from monai_shortcut.statistics.binned import bin_of, binned_areas, binned_influence
from monai_shortcut.statistics.discriminant import Folded, Scorer, Totals
from monai_shortcut.types import Floats, Integers

_COUNTS = 2**26  # bins of null copies counted in one reading


@dataclass(frozen=True, eq=False)
class Ranking:
    """Probes of several codings, and the bins in which their held-out scores are counted.

    Attributes:
        scorers: for the images of each fold.
        above: (R,) the level that each row of scores ranks above the others; empty if levels are ordered.
        cells: Q, what the scores tell apart: two, or all levels if they are ordered.
        centre: (B, R, L) mean score of each class, or of all images where classes play no part (L = 1).
        scale: (B, R) their standard deviation within classes.
        bins: J.
    """

    scorers: list[Scorer]
    above: Integers
    cells: int
    centre: Floats
    scale: Floats
    bins: int

    @classmethod
    def of(cls, totals: Totals, within: bool, bins: int) -> Ranking:
        """Fit probes, within classes or not."""
        codings = totals.codings
        two = codings.levels == 2 and not codings.ordered  # which mirror each other
        scorers = list(totals.scorers(within, alone=two))
        above = np.arange(1 if two else 0, 0 if codings.ordered else codings.levels)
        cells = codings.levels if codings.ordered else 2
        return cls(scorers, above, cells, *_moments(totals.folded, scorers, within), bins)

    def counts(self, draws: int) -> NDArray[np.uint32]:
        """(B, R, L, Q, J) zeros."""
        return np.zeros((draws, *self.centre.shape[1:], self.cells, self.bins), dtype=np.uint32)

    def places(self, images: Folded, part: Part, codes: NDArray[Any], draws: slice) -> Integers:
        """Place (b, R, n) of each known image among L Q J bins.

        Args:
            images: those of the part.
            part: the part.
            codes: (b, n) levels of the images whose level is known.
            draws: which of the codings they are.
        """
        scores = images.scores(part.known, [scorer.block(draws) for scorer in self.scorers])
        label = part.labels[part.known] if self.centre.shape[2] > 1 else np.zeros(len(part.known), np.int64)
        place = bin_of(scores, self.centre[draws][..., label], self.scale[draws][..., None], self.bins)
        cell = codes[:, None] == self.above[:, None] if len(self.above) else codes[:, None]
        return np.asarray((label * self.cells + cell) * self.bins + place)

    def areas(self, counts: NDArray[np.uint32]) -> Floats:
        """(B,) areas, mean over rows, from counts (B, R, L, Q, J)."""
        return np.array([binned_areas(draw).mean() for draw in counts])


def _moments(folded: Folded, scorers: Sequence[Scorer], within: bool) -> tuple[Floats, Floats]:
    """Mean (B, R, L) of the held-out scores of each class and their standard deviation (B, R) within classes."""
    sums, counts = (values if within else values.sum(axis=1, keepdims=True) for values in (folded.sums, folded.counts))
    mean: Any = 0.0
    square: Any = 0.0
    for index, scorer in enumerate(scorers):
        weight, offset = scorer.weight, np.where(np.isfinite(scorer.bias), scorer.bias, 0.0)
        scores = np.tensordot(sums[index], weight, axes=1)
        mean = mean + scores + counts[index][:, None, None] * offset
        square = square + (weight * np.tensordot(folded.gram[index], weight, axes=1)).sum(axis=0)
        square = square + offset * (2 * scores.sum(axis=0) + counts[index].sum() * offset)
    images = counts.sum(axis=0)[:, None, None]
    centre = mean / np.maximum(images, 1)
    variance = (square - (images * centre**2).sum(axis=0)) / images.sum()
    return np.moveaxis(centre, 0, -1), np.sqrt(np.where(variance > 0, variance, 1.0))


def areas(sums: Sums, own: Ranking, plain: Ranking) -> tuple[Floats, tuple[NDArray[np.uint32], NDArray[np.uint32]]]:
    """Read the stream, once or for a few null copies at a time.

    Args:
        sums: the stream.
        own: probes within labels, of the attribute as observed and its B null copies.
        plain: probes without regard to labels, of the attribute as observed.

    Returns:
        The areas (1 + B,) of `own`, and counts (1, R, L, Q, J) of both probes of the attribute as observed.
    """
    step, found, kept = max(1, _COUNTS // own.counts(1).size), [], (own.counts(1), plain.counts(1))
    for start in range(0, len(sums.cells), step):
        draws = slice(start, min(start + step, len(sums.cells)))
        counts = own.counts(draws.stop - draws.start)
        for part in sums.source.parts(sums.counts.images):
            images = sums.folded(part)
            for chunk, codes in sums.coded(part, draws):
                _count(counts[chunk.start - start :], own.places(images, part, codes, chunk))
                if not chunk.start:
                    _count(kept[1], plain.places(images, part, codes[:1], slice(0, 1)))
        if not start:
            kept[0][:] = counts[:1]
        found.append(own.areas(counts))
    return np.concatenate(found), kept


def _count(counts: NDArray[np.uint32], places: Integers) -> None:
    """Add places (b, R, n) to the first of the counts (B, R, ...), in place."""
    for draw, rows in enumerate(places):
        for row, place in enumerate(rows):
            total = counts[draw, row]
            total += np.bincount(place, minlength=total.size).astype(np.uint32).reshape(total.shape)


def told_apart(
    sums: Sums, rankings: tuple[Ranking, Ranking], counts: tuple[NDArray[np.uint32], NDArray[np.uint32]]
) -> tuple[list[float], Floats]:
    """Read the stream a last time, for the attribute as observed.

    Args:
        sums: the stream.
        rankings: two kinds of probes.
        counts: (1, R, L, Q, J) of each.

    Returns:
        The standard errors of the areas, and numbers (G, M, M) of images of each level that a probe says to be of each
        level, by group of patients.
    """
    tables = [binned_influence(count[0]).reshape(count.shape[1], -1) for count in counts]
    groups, levels = len(sums.seen), sums.source.levels
    influence, said = np.zeros((len(tables), groups)), np.zeros(groups * levels**2)
    scorers = list(sums.named.scorers(within=False))
    for part in sums.source.parts(sums.counts.images):
        images, codes = sums.folded(part), part.codes[part.known]
        group = sums.source.patients.group(part.keys[part.known])
        for total, table, ranking in zip(influence, tables, rankings, strict=True):
            place = ranking.places(images, part, codes[None], slice(0, 1))[0]
            total += np.bincount(group, np.take_along_axis(table, place, axis=1).mean(axis=0), groups)
        guess = images.scores(part.known, scorers)[0].argmax(axis=0)
        said += np.bincount((group * levels + codes) * levels + guess, minlength=len(said))
    units = int((sums.groups[..., -1].sum(axis=(1, 2)) > 0).sum())
    errors = np.sqrt(units / max(units - 1, 1) * (influence**2).sum(axis=1))
    return errors.tolist(), said.reshape(groups, levels, levels)
