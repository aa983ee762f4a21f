# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the output change when the attribute is removed from the embedding?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.areas import clustered_auroc, clustered_concordance
from monai_shortcut.statistics.delong import auc_covariance, compare_aucs
from monai_shortcut.statistics.discriminant import Folded, Probes, Solver, Totals
from monai_shortcut.statistics.gaps import CellSums, mean_gaps
from monai_shortcut.types import Estimate, Floats, Tested, Unmeasurable

_ROUNDING = 1e-12  # share of a difference of means that erasure leaves of one that it takes whole
_FEWEST_FOLDS = 3  # one held out, one for the eraser, one for the probe of what is left


@dataclass(frozen=True)
class ClassChange:
    """Area under the ROC curve of one class before and after erasure.

    Attributes:
        label: the class, told apart from all others.
        before: the area of the head as it is.
        after: the area when the attribute is erased.
        difference: before minus after.
        p_value: two-sided, of no difference.
    """

    label: int
    before: float
    after: float
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class ErasureEffect:
    """What becomes of a head's output when an attribute is erased from the embedding.

    Attributes:
        change: mean total variation between the probabilities before and after; patients are drawn with replacement and
            the erasers kept.
        test: the same for the attribute of other patients: erasures of equal rank that mean nothing.
        gap: within-label prediction gap between levels, with its noise, (before, after).
        auc: auc of each class that enough patients have and lack; of two classes only the second.
        encoded: AUROC within labels of a probe of the attribute, (before, after), on patients that neither probe nor
            eraser has seen; what is left is what the eraser misses, which is less the more images it has.
    """

    change: Estimate
    test: Tested
    gap: tuple[float, float]
    auc: tuple[ClassChange, ...]
    encoded: tuple[float, float]


def erasure(sample: AttributeSample) -> ErasureEffect:
    """Erase an attribute from the embeddings, within labels, and see what becomes of the head's output.

    With the covariance S of the embeddings within labels, shrunken, and that of embeddings and attribute V, the eraser
    takes V (V' S^-1 V)^-1 V' S^-1 (x - mean) out of an embedding x: of all affine maps after which a linear probe finds
    nothing, the one that moves embeddings least. S^-1 V is the probe of the attribute, so probes and erasers share
    their factorizations. Erasers are fitted to other patients than those whose embeddings they change. The control
    erases the attribute after it was handed to other patients with the same labels: directions of the same rank, and as
    dependent on patients as the attribute itself.

    Args:
        sample: the images and the attribute.

    Returns:
        The change of the probabilities with its control, and what is left of gap, accuracy and encoding. Eraser and
        probe of what is left are fitted to different folds: to a probe of the eraser's own images nothing is left,
        whatever others may find.

    Raises:
        Unmeasurable: If there are no embeddings, fewer than three folds, or fewer patients than folds.

    References:
        Belrose et al. (2023), LEACE, NeurIPS 36, theorem 4.3.
    """
    folded = sample.images.folds()
    if folded.folds < _FEWEST_FOLDS:
        raise Unmeasurable(f"erasure takes at least {_FEWEST_FOLDS} folds, got {folded.folds}")
    before = sample.probabilities
    parts = [_erased(sample, folded, totals) for totals in sample.in_blocks(sample.draws.erasures)]
    moved, after = np.concatenate([each[0] for each in parts]), parts[0][1]
    label = np.unique(sample.labels, return_inverse=True)[1]
    old, new = (
        float(mean_gaps(CellSums(score, label, sample.count).of(sample.codes[None]))[0]) for score in (before, after)
    )
    return ErasureEffect(
        change=sample.mean(0.5 * np.abs(after - before).sum(axis=1)),
        test=Tested.of(moved),
        gap=(old, new),
        auc=_class_changes(sample, after),
        encoded=_encoded(sample, folded),
    )


def _erased(sample: AttributeSample, folded: Folded, totals: Totals) -> tuple[Floats, Floats]:
    """Mean change (B,) of the answers by erasers of other patients, and the answers (n, C) under the first coding."""
    fold, head = folded.fold[sample.rows], sample.images.head
    logits = sample.images.unlinked(sample.probabilities)
    moved, first = np.zeros(len(totals.codings.codes)), np.empty_like(logits)
    for index in range(folded.folds):
        eraser, own = _Eraser.of(totals.fit(folded.others(index), within=True)), np.flatnonzero(fold == index)
        shown = eraser.shown(head)
        for place, block in folded.points.blocks(sample.rows[own]):
            chosen = own[place]
            answers = sample.images.linked(logits[chosen] - eraser.read(block) @ shown)
            moved += 0.5 * np.abs(answers - sample.probabilities[chosen]).sum(axis=(1, 2))
            first[chosen] = answers[0]
    return moved / len(sample), first


@dataclass(frozen=True, eq=False)
class _Eraser:
    """Erasers of several codings in the coordinates of the standardized embeddings.

    Attributes:
        reading: (q, B, r) S^-1 V, which reads how far an embedding moves.
        offset: (B, r) what it reads at the mean.
        moving: (B, r, q) (V' S^-1 V)^-1 V', along which it moves.
    """

    reading: Floats
    offset: Floats
    moving: Floats

    @classmethod
    def of(cls, probes: Probes) -> _Eraser:
        direction, solved = (np.moveaxis(values, 1, 0) for values in (probes.direction, probes.solved))
        inner = np.swapaxes(direction, 1, 2) @ solved
        # The covariance with the attribute may be of lower rank, or nothing.
        moving = np.linalg.pinv(inner, rcond=1e-10, hermitian=True) @ np.swapaxes(direction, 1, 2)
        return cls(probes.solved, np.tensordot(probes.centre[:, 0], probes.solved, axes=1), moving)

    def read(self, points: np.ndarray) -> Floats:
        """(B, n, r) how far each embedding (n, q) moves."""
        flat = self.reading.reshape(len(self.reading), -1).astype(points.dtype)
        read = (points @ flat).reshape(len(points), *self.reading.shape[1:])
        return np.asarray(np.moveaxis(read, 1, 0) - self.offset[:, None])

    def shown(self, head: Floats) -> Floats:
        """(B, r, C) what a head (C, q) sees of it."""
        return np.asarray(self.moving @ head.T)

    def adjoint(self, weight: Floats) -> Floats:
        """Weights (q, n) that give embeddings the logits that these weights give erased ones, but for a constant."""
        return np.asarray(weight - self.reading[:, 0] @ (self.moving[0] @ weight))

    def linear(self, values: Floats) -> Floats:
        """Values (q, n) under the linear part of the first map, I - moving' reading'."""
        return np.asarray(values - self.moving[0].T @ (self.reading[:, 0].T @ values))


def _class_changes(sample: AttributeSample, after: Floats) -> tuple[ClassChange, ...]:
    if sample.images.outcome is not None:
        return ()  # there are no classes
    before, patient, found = sample.probabilities, sample.patients, []
    for value in [1] if before.shape[1] == 2 else range(before.shape[1]):
        positive = sample.labels == value
        if min(len(np.unique(patient[chosen])) for chosen in (positive, ~positive)) < 2:
            continue
        first, second = before[:, value], after[:, value]
        areas, _ = auc_covariance(positive, np.stack([first, second]), patient)
        paired = compare_aucs(positive, first, second, patient, sample.draws.confidence)
        old, new = areas.tolist()
        difference = Estimate(paired.difference, *paired.interval)
        found.append(ClassChange(value, old, new, difference, paired.p_value))
    return tuple(found)


def _encoded(sample: AttributeSample, folded: Folded) -> tuple[float, float]:
    """AUROC within labels of a probe on patients that neither it nor the eraser has seen, without and with erasure."""
    totals, fold, own = folded.totals(sample.observed), folded.fold[sample.rows], sample.observed
    logits = np.empty((2, 1 if own.ordered else own.levels, len(sample)))
    for index in range(folded.folds):
        others = folded.others(index)
        first, second = others[: len(others) // 2], others[len(others) // 2 :]
        here, probe = np.flatnonzero(fold == index), totals.fit(second, within=True)
        eraser = _Eraser.of(totals.fit(first, within=True))
        weight, bias = _erased_probe(folded, second, probe, eraser, own.ordered)
        for place, block in folded.points.blocks(sample.rows[here]):
            points = block.astype(np.float64)
            logits[0][:, here[place]] = (points @ probe.weight[:, 0] + probe.bias[0]).T
            logits[1][:, here[place]] = (points @ weight + bias).T
    area = clustered_concordance if own.ordered else clustered_auroc
    before, after = (area(z, sample.codes, sample.strata, sample.patients)[0] for z in logits)
    return before, after


def _erased_probe(
    folded: Folded, folds: tuple[int, ...], probe: Probes, eraser: _Eraser, ordered: bool
) -> tuple[Floats, Floats]:
    """Weight (q, m) and bias (m,) with which embeddings get the logits that a probe gives erased ones of some folds.

    Erasing is a linear map A, so the covariance of erased embeddings is A S A' and their covariance with the attribute
    A V: nothing is read again. The shift that the map adds to all embeddings alike goes into no logit within a label.
    """
    covariance = eraser.linear(eraser.linear(folded.covariance(folds)).T)
    solver = Solver.of_covariance(covariance, folded.points.shrinkage, len(folded.points.scale))
    means = eraser.linear(probe.means[:, 0])
    means[np.abs(means) <= _ROUNDING * np.abs(probe.means[:, 0]).max()] = 0.0  # no probe is made of rounding
    weight = solver(means)
    constant = 0.0 if ordered else -0.5 * (means * weight).sum(axis=0)  # as of the probe itself
    bias = constant - eraser.linear(probe.centre)[:, 0] @ weight
    bias[~np.isfinite(probe.bias[0])] = -np.inf
    return eraser.adjoint(weight), np.asarray(bias)
