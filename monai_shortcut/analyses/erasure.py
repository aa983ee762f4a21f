# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the output change when the attribute is removed from the embedding? Linear erasure in closed form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf_shrinkage

from monai_shortcut.statistics.areas import clustered_auroc
from monai_shortcut.statistics.delong import auc_covariance, compare_aucs
from monai_shortcut.statistics.discriminant import Discriminant
from monai_shortcut.statistics.gaps import mean_gaps
from monai_shortcut.statistics.resampling import (
    bootstrap_weights,
    patient_folds,
    permutation_p_value,
    permute_by_patient,
)
from monai_shortcut.statistics.subspaces import checked_embeddings, checked_rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_ROUNDING = 1e-12  # correlations of attribute and embedding, and relative deviations of a column, that count as zero
_BLOCK = 64  # draws at once; bounds the memory


@dataclass(frozen=True)
class Eraser:
    """An affine map that takes directions out of embeddings and leaves the rest as it is.

    Attributes:
        centre: (D,) float64, which stays where it is.
        left: (D, r) float64 directions along which embeddings move.
        right: (r, D) float64 rows that read how far; right @ left is the identity.
    """

    centre: Floats
    left: Floats
    right: Floats

    def __call__(self, embeddings: ArrayLike) -> Floats:
        """Embeddings (N, D) without the erased directions, float64."""
        points = np.asarray(embeddings, dtype=np.float64)
        return np.asarray(points - (points - self.centre) @ self.right.T @ self.left.T)

    @property
    def rank(self) -> int:
        """Number of directions that are erased."""
        return len(self.right)


@dataclass(frozen=True)
class ClassChange:
    """Area under the ROC curve of one class before and after erasure.

    Attributes:
        label: the class, told apart from all others.
        before: the area of the head as it is.
        after: the area when the attribute is erased.
        difference: before minus after.
        interval: confidence limits of the difference.
        p_value: two-sided, of no difference.
    """

    label: int
    before: float
    after: float
    difference: float
    interval: tuple[float, float]
    p_value: float


@dataclass(frozen=True)
class ErasureEffect:
    """What becomes of a head's output when an attribute is erased from the embedding.

    Attributes:
        change: mean total variation between the probabilities before and after (value, low, high), patients drawn with
            replacement and the erasers kept.
        random: (B,) the same value for the attribute of other patients: erasures of equal rank that mean nothing.
        p_value: of the change against them.
        gap: within-label prediction gap between levels, with its noise, (before, after).
        auc: of each class that enough patients have and lack; of two classes only the second.
        encoded: AUROC within labels of a probe of the attribute, (before, after), on patients that neither probe nor
            eraser has seen; what is left is what the eraser misses, which is less the more images it has.
    """

    change: tuple[float, float, float]
    random: tuple[float, ...]
    p_value: float
    gap: tuple[float, float]
    auc: tuple[ClassChange, ...]
    encoded: tuple[float, float]


def fit_eraser(
    embeddings: ArrayLike, codes: ArrayLike, strata: ArrayLike | None = None, shrinkage: float | None = 0.0
) -> Eraser:
    """Fit the affine map that removes an attribute from embeddings and moves them as little as possible.

    Afterwards the embeddings have no covariance with the attribute, so that no linear probe fitted to them does better
    than one that ignores them; of all affine maps that achieve this, none has a smaller mean squared change.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        strata: (N,) optional class of each image. Covariances are then those within classes, so that what only tracks
            the class is not erased.
        shrinkage: of the covariance towards the variances of the columns, in [0, 1]; None for Ledoit and Wolf's
            estimate. Erasure of these images is complete for any; other images move less where it is larger, as the
            covariance of few images hardly varies in some directions by chance.

    Returns:
        The eraser, of rank M - 1 at most; 0 where there is no covariance to remove.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, a level is empty, or shrinkage is out of range.

    References:
        Belrose et al. (2023), LEACE, NeurIPS 36, theorem 4.3; Ledoit and Wolf (2004), J. Multivariate Analysis 88(2).

    Example:
        >>> eraser = fit_eraser([[0.0, 1.0], [0.0, 2.0], [1.0, 1.0], [1.0, 2.0]], [0, 0, 1, 1])
        >>> eraser([[5.0, 7.0]]).round(6).tolist()
        [[0.5, 7.0]]
    """
    points = checked_embeddings(embeddings)
    code, stratum = _checked_codes(codes, len(points)), _checked_strata(strata, len(points))
    space = _Space.of(points, stratum, shrinkage)
    directions = space.directions(code[None], stratum, int(code.max()) + 1)[0]
    return space.eraser(directions[:, directions.any(axis=0)])


def random_eraser(
    embeddings: ArrayLike,
    rank: int,
    rng: np.random.Generator,
    strata: ArrayLike | None = None,
    shrinkage: float | None = 0.0,
) -> Eraser:
    """Erase directions drawn at random in the space where `fit_eraser` chooses its own.

    Args:
        embeddings: (N, D) what the head reads.
        rank: number of directions, at most as many as the embeddings span.
        rng: source of the directions.
        strata: (N,) optional class of each image, as in `fit_eraser`.
        shrinkage: as in `fit_eraser`.

    Returns:
        The eraser. Its directions are uniform once the embeddings are whitened, as those of an attribute are that
        independent images receive at random.

    Raises:
        ValueError: If the shapes disagree, an embedding is not finite, or rank or shrinkage is out of range.
    """
    points = checked_embeddings(embeddings)
    space = _Space.of(points, _checked_strata(strata, len(points)), shrinkage)
    spanned = len(space.whitening)
    if not 0 <= rank <= spanned:
        raise ValueError(f"rank must be between 0 and {spanned}, which the embeddings span, got {rank}.")
    return space.eraser(np.linalg.qr(rng.normal(size=(spanned, rank))).Q)


def erasure_effect(
    embeddings: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    patients: ArrayLike,
    weight: ArrayLike,
    offset: ArrayLike,
    *,
    folds: int = 5,
    draws: int = 99,
    bootstraps: int = 999,
    level: float = 0.95,
    rng: np.random.Generator,
) -> ErasureEffect:
    """Erase an attribute from the embeddings, within labels, and see what becomes of the head's output.

    Erasers have a shrunken covariance and are fitted to other patients than those whose embeddings they change. The
    control erases the attribute after it was handed to other patients with the same labels, as `permute_by_patient`
    does: directions of the same rank, and as dependent on patients as the attribute itself.

    Args:
        embeddings: (N, D) what the head reads.
        codes: (N,) level of each image, integers in [0, M), each present.
        labels: (N,) class of each image, integers in [0, C).
        patients: (N,) patient of each image, at least four; no patient is in two folds.
        weight: (C, D) of the head, C at least 2.
        offset: (C,) of the head.
        folds: number of folds.
        draws: number B of permutations of the attribute between patients.
        bootstraps: number of bootstrap samples of patients, for the interval of the change.
        level: of the intervals.
        rng: source of folds, permutations and bootstraps.

    Returns:
        The change of the probabilities with its control, and what is left of gap, accuracy and encoding. The probes of
        the encoding and their erasers are fitted to two halves of the patients that are not in the fold: to a probe of
        the eraser's own images nothing is left, whatever others may find.

    Raises:
        ValueError: If the shapes disagree, a number is not finite, a level is empty, a label is out of range, there are
            too few patients, or no label holds images of two levels.
    """
    points = checked_embeddings(embeddings)
    code, rows, bias = _checked_codes(codes, len(points)), *_checked_head(weight, offset, points.shape[1])
    label, patient = _checked_labels(labels, patients, code, len(rows))
    fold = patient_folds(patient, label, folds, rng)
    codings = np.concatenate([code[None], code[permute_by_patient(patient, draws, rng, label)]])
    logits = points @ rows.T + bias
    before, after, moved = softmax(logits, axis=1), np.empty_like(logits), np.zeros(draws + 1)
    for held_out, block, changed in _erased_logits(points, codings, label, fold, logits, rows):
        probabilities = softmax(changed, axis=-1)
        moved[block] += 0.5 * np.abs(probabilities - before[held_out]).sum(axis=(1, 2)) / len(points)
        if block.start == 0:
            after[held_out] = probabilities[0]
    weights, tail = bootstrap_weights(patient, bootstraps, rng), (1 - level) / 2
    resampled = weights @ (0.5 * np.abs(after - before).sum(axis=1)) / weights.sum(axis=1)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    ones = np.ones((1, len(points)))
    old, new = (float(mean_gaps(score, code[None], label, ones)[0]) for score in (before, after))
    return ErasureEffect(
        change=(float(moved[0]), float(low), float(high)),
        random=tuple(moved[1:].tolist()),
        p_value=permutation_p_value(float(moved[0]), moved[1:]),
        gap=(old, new),
        auc=_class_changes(before, after, label, patient, level),
        encoded=_encoded(points, code, label, patient, fold, rng),
    )


@dataclass(frozen=True)
class _Space:
    """Embeddings of some images, and coordinates in which they vary alike in all q directions that they span.

    Attributes:
        centre: (D,) mean of the embeddings.
        points: (N, q) whitened deviations from class means.
        whitening: (q, D) from deviations to those coordinates.
        colouring: (D, q) back again.
    """

    centre: Floats
    points: Floats
    whitening: Floats
    colouring: Floats

    @classmethod
    def of(cls, embeddings: Floats, stratum: Integers, shrinkage: float | None) -> _Space:
        """Whiten embeddings (N, D) of classes (N,), their columns standardized first so that none drowns in others."""
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage must be in [0, 1], got {shrinkage}.")
        deviations = _within(embeddings, stratum)
        scale = np.sqrt((deviations**2).mean(axis=0))
        varies = scale > _ROUNDING * np.abs(embeddings).max(axis=0)  # where it does not, deviations are rounding
        scale = np.where(varies, scale, 1.0)
        standard = np.where(varies, deviations, 0.0) / scale
        share = float(ledoit_wolf_shrinkage(standard, assume_centered=True)) if shrinkage is None else shrinkage
        left, singular, axes = np.linalg.svd(standard, full_matrices=False)
        # Relative to the embeddings before their means were subtracted, which rounds.
        size = float(np.linalg.norm(np.where(varies, embeddings, 0.0) / scale))
        spanned = singular > size * max(standard.shape) * np.finfo(np.float64).eps
        left, singular, axes = left[:, spanned], singular[spanned], axes[spanned]
        power = (1 - share) * singular**2 / len(standard) + share * varies.mean()
        spread = np.sqrt(power)
        return cls(
            centre=embeddings.mean(axis=0),
            points=left * (singular / spread),
            whitening=axes / spread[:, None] / scale,
            colouring=scale[:, None] * axes.T * spread,
        )

    def directions(self, codes: Integers, stratum: Integers, levels: int) -> Floats:
        """Orthonormal columns (B, q, m) that span the covariance with codings (B, N), zeros after the last."""
        member = (codes[:, :, None] == np.arange(levels)).astype(np.float64)
        member /= np.sqrt(np.maximum(member.sum(axis=1, keepdims=True), 1.0))
        flat = member.transpose(1, 0, 2).reshape(len(self.points), -1)
        covariance = self.points.T @ _within(flat, stratum) / np.sqrt(len(self.points))
        stacked = covariance.reshape(-1, len(codes), levels).transpose(1, 0, 2)
        if not stacked.size:
            return np.asarray(stacked)
        columns, size, _ = np.linalg.svd(stacked, full_matrices=False)
        most = min(levels - 1, size.shape[1])  # memberships of all levels sum to a constant
        return np.asarray((columns * (size > _ROUNDING)[:, None])[:, :, :most])

    def eraser(self, directions: Floats) -> Eraser:
        """Eraser of orthonormal directions (q, r)."""
        return Eraser(self.centre, self.colouring @ directions, directions.T @ self.whitening)


def _erased_logits(
    points: Floats, codings: Integers, label: Integers, fold: Integers, logits: Floats, rows: Floats
) -> Iterator[tuple[NDArray[np.bool_], slice, Floats]]:
    """Images held out, a block of codings, and the images' logits (b, n, C) by erasers of other patients."""
    levels = int(codings.max()) + 1
    for index in range(int(fold.max()) + 1):
        held_out = fold == index
        space = _Space.of(points[~held_out], label[~held_out], None)
        whitened, head = (points[held_out] - space.centre) @ space.whitening.T, rows @ space.colouring
        for start in range(0, len(codings), _BLOCK):
            block = slice(start, min(start + _BLOCK, len(codings)))
            directions = space.directions(codings[block][:, ~held_out], label[~held_out], levels)
            yield held_out, block, logits[held_out] - (whitened @ directions) @ np.swapaxes(head @ directions, 1, 2)


def _class_changes(
    before: Floats, after: Floats, label: Integers, patient: NDArray[np.generic], level: float
) -> tuple[ClassChange, ...]:
    found = []
    for value in [1] if before.shape[1] == 2 else range(before.shape[1]):
        positive = label == value
        if min(len(np.unique(patient[chosen])) for chosen in (positive, ~positive)) < 2:
            continue
        first, second = before[:, value], after[:, value]
        areas, _ = auc_covariance(positive, np.stack([first, second]), patient)
        paired = compare_aucs(positive, first, second, patient, level)
        old, new = areas.tolist()
        found.append(ClassChange(value, old, new, paired.difference, paired.interval, paired.p_value))
    return tuple(found)


def _encoded(
    points: Floats,
    code: Integers,
    label: Integers,
    patient: NDArray[np.generic],
    fold: Integers,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """AUROC within labels of a probe on patients that neither it nor the eraser has seen, without and with erasure."""
    levels = int(code.max()) + 1
    logits = np.empty((2, levels, len(code)))
    for index in range(int(fold.max()) + 1):
        held_out, others = fold == index, np.flatnonzero(fold != index)
        half = patient_folds(patient[others], label[others], 2, rng)
        first, second = others[half == 0], others[half == 1]
        space = _Space.of(points[first], label[first], None)
        eraser = space.eraser(space.directions(code[first][None], label[first], levels)[0])
        seen, unseen = points[second], points[held_out]
        for row, (train, test) in enumerate([(seen, unseen), (eraser(seen), eraser(unseen))]):
            probe = Discriminant.of(train)
            weight, bias = probe.fit(np.arange(len(second)), code[second][None], label[second], levels)
            logits[row][:, held_out] = probe.original(weight[0]) @ (test - probe.centre).T + bias[0][:, None]
    before, after = (clustered_auroc(z, code, label, patient)[0] for z in logits)
    return before, after


def _within(values: Floats, stratum: Integers) -> Floats:
    """Values (N, K) as deviations from the means of their classes (N,)."""
    member = np.eye(int(stratum.max()) + 1)[stratum]
    return np.asarray(values - member @ (member.T @ values / np.maximum(member.sum(axis=0), 1.0)[:, None]))


def _checked_codes(codes: ArrayLike, images: int) -> Integers:
    code = np.asarray(codes)
    if code.shape != (images,):
        raise ValueError(f"codes must have shape ({images},) to match embeddings, got {code.shape}.")
    found = np.unique(code)
    if len(found) < 2 or not np.array_equal(found, np.arange(len(found))):
        raise ValueError(f"codes must be 0 to M - 1, each present and M at least 2, got {found[:10].tolist()}.")
    return code.astype(np.int64)


def _checked_strata(strata: ArrayLike | None, images: int) -> Integers:
    if strata is None:
        return np.zeros(images, dtype=np.int64)
    if np.shape(strata) != (images,):
        raise ValueError(f"strata must have shape ({images},) to match embeddings, got {np.shape(strata)}.")
    return np.unique(np.asarray(strata), return_inverse=True)[1].astype(np.int64)


def _checked_head(weight: ArrayLike, offset: ArrayLike, columns: int) -> tuple[Floats, Floats]:
    rows, bias = checked_rows("weight", weight, columns, "C"), np.asarray(offset, dtype=np.float64)
    if len(rows) < 2:
        raise ValueError(f"weight must have a row for each of at least two classes, got {len(rows)}.")
    if bias.shape != (len(rows),):
        raise ValueError(f"offset must have shape ({len(rows)},) to match weight, got {bias.shape}.")
    if not np.isfinite(bias).all():
        raise ValueError(f"offset must be finite, got {int((~np.isfinite(bias)).sum())} numbers that are not.")
    return rows, bias


def _checked_labels(
    labels: ArrayLike, patients: ArrayLike, code: Integers, classes: int
) -> tuple[Integers, NDArray[np.generic]]:
    label, patient = np.asarray(labels), np.asarray(patients)
    for name, values in (("labels", label), ("patients", patient)):
        if values.shape != code.shape:
            raise ValueError(f"{name} must have shape {code.shape} to match embeddings, got {values.shape}.")
    if not np.isin(label, np.arange(classes)).all():
        raise ValueError(f"labels must be 0 to {classes - 1} to match weight, got {np.unique(label)[:10].tolist()}.")
    if len(np.unique(patient)) < 4:
        raise ValueError(f"patients must be at least four, got {len(np.unique(patient))}.")
    if all(len(np.unique(code[label == value])) < 2 for value in np.unique(label)):
        raise ValueError("at least one label must hold images of two levels, got an attribute that coincides with it.")
    return label.astype(np.int64), patient
