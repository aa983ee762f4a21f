# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images that analyses are asked about: checked once, prepared once, shared by every question."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.checks import (
    checked_codes,
    checked_finite,
    checked_head,
    checked_length,
    checked_patients,
    checked_points,
)
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Folded, Totals
from monai_shortcut.statistics.kernel_features import random_features
from monai_shortcut.statistics.logistic import STRENGTH, PooledHead, in_single
from monai_shortcut.statistics.ordering import OrderedRows, by_appearance
from monai_shortcut.statistics.outcomes import cut_points, freed, outcome_basis, strata_of
from monai_shortcut.statistics.resampling import Resampling, patient_bootstrap, patient_folds, permuted_codes
from monai_shortcut.statistics.standardized import Standardized
from monai_shortcut.statistics.subspaces import leading_axes, symmetric_root
from monai_shortcut.statistics.two_samples import patients_within
from monai_shortcut.statistics.variation import SAME, SAME_WITHIN, answers_vary, vary, vary_within
from monai_shortcut.statistics.whitened import Whitened
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Outcome, Unmeasurable

_COMPONENTS, _FEATURES = 10, 128  # principal components that the non-linear reader sees, and its random features
_COMPARED, _DISTANCE_FEATURES = 10_000, 512  # images whose distributions are compared, and random features of distances
_FEW = 7  # classes that are summed one after the other, by any sum
_SUMS = 2**25  # numbers of sums that are kept at once; bounds the memory
COINCIDES = "at least one label must hold images of two levels, got an attribute that coincides with it"


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What the head reads, and what follows from it alone: no label and no attribute enters.

    Attributes:
        source: (N, D) float32 or float64, finite, in the order of the sample.
    """

    source: OrderedRows

    @cached_property
    def standardized(self) -> Standardized:
        """Centred and scaled, with their shrinkage."""
        return Standardized.of(self.source)

    @cached_property
    def vary(self) -> bool:
        """Whether they are not the same for all images."""
        return vary(self.source)

    @cached_property
    def axes(self) -> tuple[Floats, Floats]:
        """Sum of squares (r,) along the principal axes, largest first, and the axes (r, D)."""
        prepared = self.standardized
        scale = np.where(np.isfinite(prepared.scale), prepared.scale, 0.0)
        if prepared.rotation is None:
            return leading_axes(prepared.gram * np.outer(scale, scale))
        # Columns outnumber rows: the axes of the rows' own span are cheaper, and exact.
        root = np.sqrt(np.diag(prepared.gram))[:, None] * prepared.rotation * scale
        power, left = leading_axes(root @ root.T)
        return power, np.asarray((left @ root) / np.sqrt(power)[:, None])

    def components(self, most: int) -> Floats:
        """(N, k) leading principal components, of mean 0 and variance 1; fewer where the rows span fewer."""
        power, axes = (values[:most] for values in self.axes)
        prepared, images = self.standardized, len(self.source)
        turned = (prepared.coordinates(axes) / np.sqrt(power / images)[:, None]).T
        found = [block @ turned for _, block in prepared.blocks(np.arange(images))]
        return np.concatenate(found)


@dataclass(frozen=True, eq=False)
class OutcomeValues:
    """What a regression predicts, and what it should.

    Attributes:
        called: name and unit.
        values: (N,) true outcome, in its unit.
        predicted: (N,) prediction, in the same unit.
        edges: inner edges of the strata that stand for labels.
        basis: (N, K) parabolas of the outcome in each stratum, see `outcome_basis`.
    """

    called: Outcome
    values: Floats
    predicted: Floats
    edges: tuple[float, ...]
    basis: Floats

    def rows(self, chosen: Integers | Booleans) -> OutcomeValues:
        """The same of some images."""
        parts = {name: getattr(self, name)[chosen] for name in ("values", "predicted", "basis")}
        return replace(self, **parts)

    @property
    def strata(self) -> tuple[str, ...]:
        """Names of the strata."""
        name, (first, *_), last = self.called.name, self.edges, self.edges[-1]
        between = [f"{name} {self.called.of(f'{low:.4g} to {high:.4g}')}" for low, high in pairwise(self.edges)]
        up_to, above = self.called.of(f"{first:.4g}"), self.called.of(f"{last:.4g}")
        return (f"{name} up to {up_to}", *between, f"{name} above {above}")


@dataclass(frozen=True, eq=False)
class Sample:
    """Images that a classifier was not trained on, checked; what is costly is computed once and shared.

    Build it with `of` or `of_probabilities`, which check; of a regression with `of_outcome`. Labels are then strata of
    the outcome, embeddings and answers are freed of what the outcome tells of them within its stratum, and the answers
    to an image are two, -f and f of a prediction f: what one gains the other loses, and half of the sum of their
    changes is the change of f.

    Attributes:
        embeddings: what the head reads; None if only its answers are known.
        probabilities: (N, C) float64 answers, rows sum to 1; of a regression (N, 2).
        labels: (N,) class of each image, integers in [0, C).
        patients: (N,) patient of each image, integers in [0, P) in the order in which they first appear.
        weight: (C, D) of the clinical head; (C, 0) if only its answers are known.
        bias: (C,) of the clinical head.
        image_ids: (N,) names.
        draws: how often and how folds, permutations and bootstrap samples are drawn.
        outcome: of a regression.
    """

    embeddings: Embeddings | None
    probabilities: Floats
    labels: Integers
    patients: Integers
    weight: Floats
    bias: Floats
    image_ids: NDArray[np.str_]
    draws: Resampling
    outcome: OutcomeValues | None = None

    @classmethod
    def of(
        cls,
        embeddings: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike,
        labels: ArrayLike,
        patients: Sequence[Any] | ArrayLike,
        *,
        image_ids: Sequence[str] | None = None,
        draws: Resampling | None = None,
        order: Integers | None = None,
    ) -> Sample:
        """Check arrays, once for all analyses; images whose embedding is not finite must be left out before.

        Names move nothing. The order of the images moves every draw: `canonical_order` gives one that the order of the
        rows does not move.

        Args:
            embeddings: (N, D) what the head reads; float32 is kept, anything else becomes float64.
            weight: (C, D) weights of the head, or (1, D) of a head with a single logit z, which becomes 0 and z.
            bias: (C,) or (1,).
            labels: (N,) class of each image, integers in [0, C).
            patients: (N,) patient of each image.
            image_ids: (N,) names; default "0", "1", and so on.
            draws: see `Resampling`.
            order: (N,) row of the image in each place of the sample; as given by default.

        Raises:
            ValueError: If the shapes disagree, a number is not finite, a label is out of range, or fewer than two
                classes are present.
        """
        points = checked_points(embeddings)
        source = OrderedRows(points, order)
        head, offset = two_rows(*checked_head(weight, bias, points.shape[1]))
        answers = softmax(source.times(head) + offset, axis=1)
        return cls._checked(Embeddings(source), answers, labels, patients, head, offset, image_ids, draws)

    @classmethod
    def of_probabilities(
        cls,
        probabilities: ArrayLike,
        labels: ArrayLike,
        patients: Sequence[Any] | ArrayLike,
        *,
        image_ids: Sequence[str] | None = None,
        draws: Resampling | None = None,
    ) -> Sample:
        """A sample of answers alone, of which all that needs no embedding can be measured.

        Args:
            probabilities: (N, C) predicted probabilities, rows sum to 1, C at least 2.
            labels: (N,) class of each image, integers in [0, C).
            patients: (N,) patient of each image.
            image_ids: (N,) names; default "0", "1", and so on.
            draws: see `Resampling`.

        Raises:
            ValueError: If the shapes disagree, a probability is not in [0, 1] or rows do not sum to 1, a label is out
                of range, or fewer than two classes are present.
        """
        answers = np.asarray(probabilities, dtype=np.float64)
        if answers.ndim != 2 or answers.shape[1] < 2:
            raise ValueError(f"probabilities must have shape (N, C) with C at least 2, got {answers.shape}.")
        outside = int((~((answers >= 0) & (answers <= 1))).sum())
        if outside:
            raise ValueError(f"probabilities must be in [0, 1], got {outside} that are not.")
        apart = np.abs(answers.sum(axis=1) - 1)
        if len(apart) and apart.max() > 1e-3:
            raise ValueError(f"rows of probabilities must sum to 1, got a row that is off by {apart.max():.3g}.")
        head = np.zeros((answers.shape[1], 0))
        return cls._checked(None, answers, labels, patients, head, np.zeros(len(head)), image_ids, draws)

    @classmethod
    def of_outcome(
        cls,
        embeddings: ArrayLike | None,
        weight: ArrayLike | None,
        bias: ArrayLike | None,
        values: ArrayLike,
        patients: Sequence[Any] | ArrayLike,
        *,
        outcome: Outcome,
        predicted: ArrayLike | None = None,
        image_ids: Sequence[str] | None = None,
        draws: Resampling | None = None,
        order: Integers | None = None,
    ) -> Sample:
        """The images of a regression network.

        Args:
            embeddings: (N, D) what its head reads; None if only its predictions are known.
            weight: (1, D) of the head.
            bias: (1,) of the head.
            values: (N,) true outcome of each image.
            patients: (N,) patient of each image.
            outcome: name and unit of the outcome.
            predicted: (N,) predictions, if only these are known.
            image_ids: as `of`.
            draws: as `of`.
            order: as `of`.

        Raises:
            ValueError: If the shapes disagree, a number is not finite, or the outcome is the same for all images.
        """
        if embeddings is None or weight is None or bias is None:
            said = np.asarray(predicted, dtype=np.float64)[:, None]
            points, head, offset = None, np.zeros((2, 0)), np.zeros(2)
        else:
            points = checked_points(embeddings)
            row, constant = checked_head(weight, bias, points.shape[1])
            if len(row) != 1:
                raise ValueError(f"the head of a regression must have one output, got {len(row)}.")
            head, offset = np.concatenate([-row, row]), np.concatenate([-constant, constant])
            said = np.asarray(OrderedRows(points).times(row) + constant, dtype=np.float64)
        true = np.asarray(values, dtype=np.float64)
        checked_length("values of the outcome", true, len(said))
        checked_finite("values of the outcome", true)
        edges = cut_points(true, by_appearance(checked_patients(patients, len(said))))
        if not edges:
            raise ValueError(f"the outcome {outcome.name} must differ between images, got {true[0]:g} in all.")
        strata = strata_of(true, edges)
        basis = outcome_basis(true, strata)
        kept = None if points is None else Embeddings(OrderedRows(freed(points, basis), order))
        rest: Floats = freed(said, basis)[slice(None) if order is None else order]
        answers = np.concatenate([-rest, rest], axis=1)
        found = cls._checked(kept, answers, strata, patients, head, offset, image_ids, draws, len(edges) + 1)
        known = OutcomeValues(outcome, true, said[:, 0], edges, basis)
        return replace(found, outcome=known if order is None else known.rows(order))

    @classmethod
    def _checked(
        cls,
        embeddings: Embeddings | None,
        answers: NDArray[Any],
        labels: ArrayLike,
        patients: Sequence[Any] | ArrayLike,
        head: Floats,
        offset: Floats,
        image_ids: Sequence[str] | None,
        draws: Resampling | None,
        classes: int | None = None,
    ) -> Sample:
        order = slice(None) if embeddings is None or embeddings.source.order is None else embeddings.source.order
        ids = np.asarray([str(i) for i in (range(len(answers)) if image_ids is None else image_ids)])
        for name, values in (("labels", labels), ("image_ids", ids)):
            checked_length(name, values, len(answers))
        label = checked_codes("labels", labels, classes or len(head))
        if len(np.unique(label)) < 2:
            raise ValueError(f"labels must hold at least two classes, got {np.unique(label).tolist()}.")
        patient = by_appearance(checked_patients(patients, len(answers))[order])
        chosen = draws or Resampling()
        return cls(embeddings, answers.astype(np.float64), label[order], patient, head, offset, ids[order], chosen)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """C; of a regression the number of strata."""
        return len(self.weight) if self.outcome is None else len(self.outcome.strata)

    @property
    def unit(self) -> str:
        """Unit of the answers; empty of probabilities."""
        return "" if self.outcome is None else self.outcome.called.unit

    def linked(self, logits: Floats) -> Floats:
        """Answers (..., C) of logits: their softmax; of a regression themselves."""
        return _softmax(logits) if self.outcome is None else logits

    def unlinked(self, answers: Floats, least: float = 1e-300) -> Floats:
        """Logits (..., C) of answers, up to a constant of each image; smaller probabilities count as the least."""
        return np.asarray(np.log(np.maximum(answers, least)) if self.outcome is None else answers)

    @cached_property
    def strata(self) -> Integers:
        """(N,) class of each image, numbered among those present."""
        return np.unique(self.labels, return_inverse=True)[1].astype(np.int64)

    def rows(self, chosen: Booleans) -> Sample:
        """The same with some images only; itself if all are chosen, so that what is computed stays."""
        if chosen.all():
            return self
        kept = self.embeddings and Embeddings(self.embeddings.source.those(np.flatnonzero(chosen)))
        return replace(
            self,
            embeddings=kept,
            probabilities=self.probabilities[chosen],
            labels=self.labels[chosen],
            patients=by_appearance(self.patients[chosen]),
            image_ids=self.image_ids[chosen],
            outcome=self.outcome and self.outcome.rows(chosen),
        )

    def by(self, attribute: str, levels: Levels) -> AttributeSample:
        """These images and one attribute.

        Args:
            attribute: its name, which seeds its draws, so that other attributes do not change them.
            levels: its levels, (N,) codes in the order of the sample.

        Raises:
            Unmeasurable: If it has no two levels, no label holds images of two levels, or the embedding does not vary
                among images of one label.
        """
        if levels.problem:
            raise Unmeasurable(levels.problem)
        known = np.flatnonzero(levels.codes >= 0)
        codes, labels = levels.codes[known], self.labels[known]
        if all(len(np.unique(codes[labels == value])) < 2 for value in np.unique(labels)):
            raise Unmeasurable(COINCIDES)
        if self.embeddings is not None and not vary_within(self.embeddings.source, self.labels, known):
            raise Unmeasurable(SAME_WITHIN if self.embeddings.vary else SAME)
        return AttributeSample(self, attribute, levels, known, codes)

    def rng(self, *purpose: str) -> np.random.Generator:
        """A random stream of its own for each purpose: no analysis moves another."""
        return np.random.default_rng([self.draws.seed, *(zlib.crc32(word.encode()) for word in purpose)])

    @cached_property
    def bootstrap(self) -> NDArray[np.uint8]:
        """(B, P) how often each patient is drawn, drawn once for all analyses."""
        return patient_bootstrap(int(self.patients.max()) + 1, self.draws.bootstraps, self.rng("bootstrap"))

    def resampled(
        self, values: Floats, rows: Integers | None = None, cell: Integers | None = None, cells: int = 1
    ) -> Floats:
        """Sums (B, cells, K) over the images of each cell when patients are drawn with replacement.

        Args:
            values: (n, K) of the images.
            rows: (n,) their positions in the sample; all by default.
            cell: (n,) cell of each image, integers in [0, cells); one cell by default.
            cells: number of cells.
        """
        place = (self.patients if rows is None else self.patients[rows]) * cells + (0 if cell is None else cell)
        count = self.bootstrap.shape[1]
        sums = np.stack([np.bincount(place, column, count * cells) for column in values.T], axis=1).reshape(count, -1)
        blocks = (self.bootstrap[start : start + 64].astype(np.float64) for start in range(0, len(self.bootstrap), 64))
        return np.concatenate([block @ sums for block in blocks]).reshape(-1, cells, values.shape[1])

    def mean(self, values: Floats, rows: Integers | None = None) -> Estimate:
        """Mean of values (n,) of images with its percentile limits, patients drawn with replacement."""
        sums = self.resampled(np.stack([values, np.ones(len(values))], axis=1), rows)[:, 0]
        return Estimate.of(float(values.mean()), sums[:, 0] / np.maximum(sums[:, 1], 1e-12), self.draws.confidence)

    @cached_property
    def compared(self) -> dict[int, tuple[Integers, NDArray[np.float32]]]:
        """Images whose distributions are compared, the same for every attribute, by label.

        The patients of at most 10,000 images are drawn. Of each label there are the (n,) positions, ascending, and
        (n, 512) random features of a Gaussian kernel, whose bandwidth is the median distance of images of the label.
        """
        drawn = patients_within(self.patients, _COMPARED, self.rng("compared patients"))
        found = {}
        for value in np.unique(self.labels[drawn]).tolist():
            rows = drawn[self.labels[drawn] == value]
            if len(rows) < 2:
                continue
            points = self.points.source.rows(rows)
            rng = self.rng("features of the discrepancy", str(value))
            found[value] = rows, random_features(points - points.mean(axis=0), _DISTANCE_FEATURES, rng)
        return found

    @property
    def points(self) -> Embeddings:
        """The embeddings.

        Raises:
            Unmeasurable: If only the answers are known, or the embeddings do not vary.
        """
        if self.embeddings is None:
            raise Unmeasurable("it takes the embeddings, and only the predicted probabilities are known")
        if not self.embeddings.vary:
            raise Unmeasurable(SAME)
        return self.embeddings

    @cached_property
    def logits(self) -> Floats:
        """(N, C) what the head says; where only the answers are known, their logarithms."""
        if self.embeddings is None:
            return self.unlinked(self.probabilities)
        return np.asarray(self.embeddings.source.times(self.weight) + self.bias)

    @cached_property
    def placements(self) -> Floats:
        """(N,) share of the images of other classes that an image outranks in its own class, ties one half.

        Ranks are those of the log odds of a class against the likeliest other one, which no temperature moves. The mean
        over the images of a class is its area under the ROC curve. Logits are taken where embeddings are known, for
        probabilities may be rounded to 0 and 1.
        """
        logits = self.logits
        found = np.empty(len(self))
        for value in np.unique(self.labels):
            odds = logits[:, value] - np.delete(logits, value, axis=1).max(axis=1)
            inside = self.labels == value
            others = np.sort(odds[~inside])
            below, up_to = (np.searchsorted(others, odds[inside], side) for side in ("left", "right"))
            found[inside] = (below + up_to) / 2 / len(others)
        return found

    @cached_property
    def head(self) -> Floats:
        """(C, q) the clinical head in the coordinates of the standardized embeddings."""
        return self.points.standardized.coordinates(self.weight)

    @cached_property
    def _first_folds(self) -> Folded:
        return self._drawn(0)

    def folds(self, draw: int = 0) -> Folded:
        """Embeddings in folds of patients, labels in equal shares; the same for every attribute.

        The first draw is kept. Further ones are drawn anew at each call, for their factorizations are large.

        Raises:
            Unmeasurable: If there are fewer patients than folds.
        """
        return self._drawn(draw) if draw else self._first_folds

    def _drawn(self, draw: int) -> Folded:
        points, count = self.points.standardized, int(self.patients.max()) + 1
        if count < self.draws.folds:
            raise Unmeasurable(f"there must be a patient for each of {self.draws.folds} folds, got {count}")
        fold = patient_folds(self.patients, self.labels, self.draws.folds, self.rng("folds", str(draw)))
        return Folded.of(points, fold, self.strata)

    @cached_property
    def together(self) -> Folded:
        """Embeddings in a single fold, for probes that are fitted to all images."""
        folded, nobody = self.folds(), np.zeros(len(self), dtype=np.int64)
        sums = (values.sum(axis=0, keepdims=True) for values in (folded.gram, folded.sums, folded.counts))
        return Folded(folded.points, nobody, self.strata, *sums)

    @cached_property
    def whitened(self) -> Whitened:
        """The folds, each whitened by the other folds, for probes of single labels."""
        return Whitened(self.folds())

    @cached_property
    def kernel(self) -> Whitened:
        """The same of random features of the leading principal components: linear probes of them are not linear."""
        features = random_features(self.points.components(_COMPONENTS), _FEATURES, self.rng("kernel features"))
        return Whitened(Folded.of(Standardized.of(features), self.folds().fold, self.strata))

    @cached_property
    def _roots(self) -> dict[bool, Floats]:
        return {}

    @cached_property
    def pooled(self) -> PooledHead:
        """A logistic regression for the label on all images, in float32, where those of some images start."""
        scaled, points = self.points.standardized, self.points.source.rows(slice(None))
        return PooledHead.of(in_single(points, scaled.centre, scaled.scale), self.strata, STRENGTH)

    def metric(self, within: bool) -> Floats:
        """Root R (q, q) of the metric of the standardized embeddings: R'R = Z'Z, of deviations within labels or not.

        Inner products of rows times R' are those of the rows' logits over the images.
        """
        if within not in self._roots:
            folded = self.together
            sums, counts = folded.sums[0], folded.counts[0]
            if not within:
                sums, counts = sums.sum(axis=0, keepdims=True), counts.sum(keepdims=True)
            self._roots[within] = symmetric_root(folded.gram[0] - sums.T @ (sums / np.maximum(counts, 1)[:, None]))
        return self._roots[within]


@dataclass(frozen=True, eq=False)
class AttributeSample:
    """A sample and one attribute, analysed where its level is known.

    Attributes:
        images: the sample.
        name: name of the attribute.
        levels: its levels.
        rows: (n,) position in the sample of the images whose level is known.
        codes: (n,) their levels, integers in [0, M).
        cells: (n,) the attribute is permuted among images of equal cells; their labels, by default.
        beyond: (N,) levels, over the sample, of attributes whose own part in the answers is not this one's: those that
            an intersection is made of.
    """

    images: Sample
    name: str
    levels: Levels
    rows: Integers
    codes: Integers
    cells: Integers | None = None
    beyond: tuple[Integers, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def count(self) -> int:
        """M."""
        return len(self.levels.names)

    @property
    def ordered(self) -> bool:
        """Whether the levels are ordered, and a probe has one direction along which they ascend."""
        return self.levels.kind == "ordinal"

    @property
    def draws(self) -> Resampling:
        """How often and how everything is drawn."""
        return self.images.draws

    @cached_property
    def labels(self) -> Integers:
        """(n,) class of each image."""
        return self.images.labels[self.rows]

    @cached_property
    def strata(self) -> Integers:
        """(n,) class of each image, numbered among those present in the sample."""
        return self.images.strata[self.rows]

    @cached_property
    def patients(self) -> Integers:
        """(n,) patient of each image."""
        return self.images.patients[self.rows]

    @cached_property
    def probabilities(self) -> Floats:
        """(n, C) answers.

        Raises:
            Unmeasurable: If they are the same for all images.
        """
        images = self.images
        dtype = np.dtype(np.float64) if images.embeddings is None else images.embeddings.source.points.dtype
        if not answers_vary(images.logits[self.rows], images.bias, dtype):
            raise Unmeasurable("the answers do not vary")
        return images.probabilities[self.rows]

    def rng(self, purpose: str) -> np.random.Generator:
        """A random stream of its own for each purpose."""
        return self.images.rng(self.name, purpose)

    @cached_property
    def permuted(self) -> NDArray[Any]:
        """(1 + B, n) codes: as observed, then permuted between patients within labels; drawn once for all analyses."""
        cells = self.labels if self.cells is None else self.cells
        rng, draws = self.rng("permutations"), self.draws.permutations
        return permuted_codes(self.codes, self.patients, draws, rng, cells, observed=True)

    def codings(self, draws: int | None = None) -> Codings:
        """The attribute as observed and its first permutations, all by default."""
        codes = self.permuted if draws is None else self.permuted[: 1 + draws]
        return Codings(self.rows, codes, self.count, self.ordered)

    @property
    def observed(self) -> Codings:
        """The attribute as observed, without any permutation."""
        return Codings(self.rows, self.codes[None], self.count, self.ordered)

    def in_blocks(self, draws: int | None = None) -> Iterator[Totals]:
        """Sums of the attribute and its first permutations over each fold, a few codings at a time.

        They are kept where all of them fit the memory, so that every analysis takes the same.
        """
        codings = self.codings(draws)
        if self.kept is not None:
            yield self.kept.block(slice(0, len(codings.codes)))
            return
        for start in range(0, len(codings.codes), self._at_once):
            yield self.images.folds().totals(codings.block(slice(start, start + self._at_once)))

    @property
    def _at_once(self) -> int:
        """Number of codings whose sums fit the memory."""
        width = len(self.images.points.standardized.gram)
        return max(1, _SUMS // (self.draws.folds * width * self.observed.columns))

    @property
    def kept(self) -> Totals | None:
        """Sums of the attribute and all permutations over each fold, None where they do not fit the memory."""
        return self._totals if self._at_once >= len(self.permuted) else None

    @cached_property
    def _totals(self) -> Totals:
        return self.images.folds().totals(self.codings())

    def mean(self, values: Floats) -> Estimate:
        """Mean of values (n,) with its limits, patients drawn with replacement."""
        return self.images.mean(values, self.rows)


Analysis = Callable[[AttributeSample], Any]  # what a module of this package asks


def _softmax(logits: Floats) -> Floats:
    """Softmax over the last axis; of few classes column by column, for sums along a short axis are slow."""
    if logits.shape[-1] > _FEW:
        return np.asarray(softmax(logits, axis=-1))
    shares = np.exp(logits - reduce(np.maximum, np.moveaxis(logits, -1, 0))[..., None])
    shares /= reduce(np.add, np.moveaxis(shares, -1, 0))[..., None]
    return np.asarray(shares)


def two_rows(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """A single logit z as the two logits 0 and z, which have the same probabilities."""
    if len(weight) == 1:
        return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return weight, bias
