# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The first two readings of a stream: what probes and gaps are made from."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.sample import COINCIDES
from monai_shortcut.audit.streaming.source import Part, Source
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Folded, Totals
from monai_shortcut.statistics.gaps import CellSums
from monai_shortcut.statistics.hashing import SampledPatients
from monai_shortcut.statistics.resampling import patient_bootstrap
from monai_shortcut.statistics.standardized import Moments, Standardized
from monai_shortcut.statistics.variation import SAME, SAME_WITHIN
from monai_shortcut.types import Floats, Unmeasurable

_LEAST = 1e-9  # variance within labels, of all columns of variance 1, that is rounding


@dataclass(frozen=True, eq=False)
class _Counts:
    """What the first reading gives.

    Attributes:
        images: N.
        frame: coordinates of the embeddings.
        chances: (C, M) share of each level among the images of a class.
        kept: probability that an image takes its patient's level in a null copy.
    """

    images: int
    frame: Standardized
    chances: Floats
    kept: float


def _counts(source: Source) -> _Counts:
    moments: Moments | None = None
    labels, cells, sampled = np.zeros(source.classes), np.zeros(source.classes * source.levels), SampledPatients()
    for part in source.parts():
        own, dtype = Moments.of(part.points), part.points.dtype
        moments = moments.joined(own) if moments else own
        labels += np.bincount(part.labels, minlength=len(labels))
        cell = part.labels[part.known] * source.levels + part.codes[part.known]
        cells += np.bincount(cell, minlength=len(cells))
        sampled.add(part.keys[part.known], cell)
    if moments is None:
        raise ValueError("blocks must hold at least one image, got none.")
    counts = cells.reshape(source.classes, -1)
    _require_contrast(labels, counts)
    chances = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Two images that both keep the patient's level agree beyond chance.
    kept, frame = float(np.sqrt(sampled.agreement(chances))), Standardized.frame(moments, dtype)
    if not np.isfinite(frame.scale).any():
        raise Unmeasurable(SAME)
    return _Counts(moments.count, frame, chances, kept)


def _require_contrast(labels: Floats, cells: Floats) -> None:
    """Refuse numbers of images by class (C,), and by class and level (C, M), that cannot answer."""
    if (labels > 0).sum() < 2:
        raise Unmeasurable(f"labels must hold at least two classes, got {np.flatnonzero(labels).tolist()}")
    absent = np.flatnonzero(cells.sum(axis=0) == 0)
    if len(absent):
        raise Unmeasurable(f"each of {cells.shape[1]} levels must have an image, got none of {absent.tolist()}")
    if ((cells > 0).sum(axis=1) < 2).all():
        raise Unmeasurable(COINCIDES)


@dataclass(frozen=True, eq=False)
class Sums:
    """What the first two readings give.

    Attributes:
        source: the stream.
        counts: counts of the first reading.
        totals: for probes of the attribute as observed and of its B null copies.
        named: for probes of the attribute as observed, its levels without order.
        cells: (1 + B, C, M, C + 1) sums of the answers of each label and level, and the number of images last.
        groups: (G, C, M, C + 1) the same for the attribute as observed, by group of patients.
        seen: (G,) whether a group has images.
    """

    source: Source
    counts: _Counts
    totals: Totals
    named: Totals
    cells: Floats
    groups: Floats
    seen: NDArray[np.bool_]

    @classmethod
    def of(cls, source: Source) -> Sums:
        """Read the stream twice."""
        counts, draws = _counts(source), source.draws.permutations + 1
        folded = Folded.zeros(counts.frame, source.draws.folds, source.classes)
        totals = Totals.zeros(folded, draws, source.levels, source.ordered)
        named = Totals.zeros(folded, 1, source.levels, False)
        cell = source.classes, source.levels, source.classes + 1
        groups = np.zeros((source.patients.groups, *cell))
        found = cls(source, counts, totals, named, np.zeros((draws, *cell)), groups, np.zeros(len(groups), bool))
        fourth = sum(found._add(part) for part in source.parts(counts.images))
        empty = np.flatnonzero(folded.counts.sum(axis=1) == 0)
        if len(empty):
            raise Unmeasurable(f"each of {source.draws.folds} folds must have a patient, got none in {empty.tolist()}")
        if np.trace(folded.covariance(tuple(range(folded.folds)))) < _LEAST:
            raise Unmeasurable(SAME_WITHIN)
        whole = replace(folded, points=counts.frame.joined(folded.gram.sum(axis=0), fourth, counts.images))
        return replace(found, totals=replace(totals, folded=whole), named=replace(named, folded=whole))

    def _add(self, part: Part) -> float:
        """Add the images of a part, in place; the sum of the fourth powers of their lengths."""
        own, folded, levels = self.folded(part), self.totals.folded, self.source.levels
        own = Folded.of(own.points, own.fold, part.labels, folded.counts.shape)
        folded.add(own)
        group = self.source.patients.group(part.keys)
        self.seen[group] = True
        label = part.labels[part.known]
        answers = CellSums(self.source.answers(part.points[part.known]), label, levels, self.source.classes)
        place = (group[part.known] * self.source.classes + label) * levels + part.codes[part.known]
        for column, values in enumerate(answers.values.T):
            sums = np.bincount(place, values, self.groups[..., 0].size)
            self.groups[..., column] += sums.reshape(self.groups.shape[:-1])
        self.named.add(own.totals(Codings(part.known, part.codes[None, part.known], levels)), slice(0, 1))
        for chunk, codes in self.coded(part, slice(0, len(self.cells))):
            self.totals.add(own.totals(Codings(part.known, codes, levels, self.source.ordered)), chunk)
            self.cells[chunk] += answers.of(codes)
        return own.points.fourth

    @property
    def plain(self) -> Totals:
        """For probes of the attribute as observed, as their scores are ranked."""
        return self.totals.block(slice(0, 1))

    def folded(self, part: Part) -> Folded:
        """Images of a part in the coordinates and folds of the stream."""
        whole = self.totals.folded
        return replace(whole, points=whole.points.block(part.points), fold=self.source.patients.fold(part.keys))

    def coded(self, part: Part, draws: slice) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Levels (b, n) of the known images in a few draws at a time; draw 0 is as observed, all others are null."""
        known = part.known
        keys, labels, codes, hashed = part.keys[known], part.labels[known], part.codes[known], self.source.patients
        images = hashed.images(part.points[known]) if self.counts.kept < 1 else keys  # which are not asked for
        for chunk in part.chunks(draws, self.source.levels):
            null = range(max(chunk.start, 1), chunk.stop)
            drawn = hashed.levels(keys, images, labels, null, self.counts.chances, self.counts.kept)
            yield chunk, drawn if chunk.start else np.concatenate([codes[None].astype(drawn.dtype), drawn])

    def bootstrap(self, sums: Floats) -> Floats:
        """(S, ...) sums over groups (G, ...) that are drawn with replacement."""
        draws = self.source.draws
        rng = np.random.default_rng([draws.seed, zlib.crc32(b"bootstrap")])
        drawn, flat = patient_bootstrap(int(self.seen.sum()), draws.bootstraps, rng), sums[self.seen]
        blocks = (drawn[start : start + 64].astype(np.float64) for start in range(0, len(drawn), 64))
        return np.concatenate([np.tensordot(block, flat, axes=1) for block in blocks])
