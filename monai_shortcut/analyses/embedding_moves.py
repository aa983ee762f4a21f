# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How far does an image's embedding move when a part of the image is hidden?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.statistics.cosines import other_patients, patient_means, row_cosines
from monai_shortcut.statistics.ordering import OrderedRows
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.statistics.variation import SAME, vary
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Points

ANOTHER = "another patient"  # stands where a strategy does: full images of two patients of one label
ALL = "all images"


@dataclass(frozen=True, eq=False)
class MaskedEmbeddings:
    """What the head reads of masked images; build it with `of`, which checks.

    Attributes:
        rows: (n,) positions of the images among all.
        points: (n, D) by masking strategy; NaN rows where a strategy could not be applied.
    """

    rows: Integers
    points: Mapping[str, Points]

    @classmethod
    def of(cls, points: Mapping[str, ArrayLike], rows: ArrayLike | None = None) -> MaskedEmbeddings:
        """Check the arrays.

        Args:
            points: (n, D) by masking strategy; "full" is not among them.
            rows: (n,) positions of the images among all; by default they are all.

        Raises:
            ValueError: If there is no strategy, "full" is one, or the shapes disagree.
        """
        arrays = {name: np.asarray(values) for name, values in points.items()}
        if not arrays or "full" in arrays:
            raise ValueError(f'masked embeddings must be of strategies other than "full", got {sorted(arrays)}.')
        shapes = {values.shape for values in arrays.values()}
        if len(shapes) > 1 or len(next(iter(shapes))) != 2:
            raise ValueError(f"masked embeddings must have one shape (n, D), got {sorted(shapes)}.")
        (shape,) = shapes
        places = np.arange(shape[0]) if rows is None else np.asarray(rows)
        if places.shape != shape[:1] or len(np.unique(places)) < len(places):
            raise ValueError(f"rows must hold each of {shape[0]} images once, got shape {places.shape}.")
        return cls(places.astype(np.int64), arrays)

    def among(self, kept: Integers) -> MaskedEmbeddings:
        """The same without images that are left out, in another order; positions are those among the rest.

        Args:
            kept: (n,) positions of the images that stay, in their order.
        """
        place = np.full(1 + max(kept.max(initial=-1), self.rows.max(initial=-1)), -1)
        place[kept] = np.arange(len(kept))
        found = place[self.rows]
        own = np.argsort(found, kind="stable")[np.count_nonzero(found < 0) :]
        return MaskedEmbeddings(found[own], {name: points[own] for name, points in self.points.items()})


@dataclass(frozen=True)
class Cosine:
    """The cosine between an image's embedding and another one, over images of a class.

    Attributes:
        strategy: how the other image is masked; `ANOTHER` for the full image of another patient of the same label.
        label: the class; `ALL` for all images.
        images: images that count.
        patients: their patients.
        zero: images left out because one of the two embeddings is zero and has no direction.
        mean: its mean, with limits by patient.
        spread: its standard deviation over images.
        centred: the same after the mean of the full embeddings is subtracted from both.
        centred_spread: its standard deviation over images.
    """

    strategy: str
    label: str
    images: int
    patients: int
    zero: int
    mean: Estimate
    spread: float
    centred: Estimate
    centred_spread: float


@dataclass(frozen=True)
class EmbeddingMoves:
    """How far embeddings move under masking.

    Attributes:
        cosines: by strategy and class, `ANOTHER` last.
        images: images whose masked embeddings were kept.
        of: images there were.
        not_computed: why there is no cosine, by "strategy, class".
    """

    cosines: tuple[Cosine, ...]
    images: int
    of: int
    not_computed: dict[str, str]

    def get(self, strategy: str, label: str = ALL) -> Cosine | None:
        """The cosine of a strategy and class; None if there is none."""
        return next((one for one in self.cosines if (one.strategy, one.label) == (strategy, label)), None)


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """Images as one network embeds them, whole and masked.

    Attributes:
        full: (n, D) of full images.
        masked: (n, D) by strategy; NaN rows where it could not be applied.
        patients: (n,) patient of each image, integers in [0, P).
        strata: (n,) images that are alike in all labels have one number.
        groups: (n,) whether an image is of a class, by class.
    """

    full: Points
    masked: Mapping[str, Points]
    patients: Integers
    strata: Integers
    groups: Mapping[str, Booleans]


@dataclass(frozen=True, eq=False)
class _Values:
    """Cosines (n,) of one strategy, those of centred embeddings, and whether an embedding is zero."""

    plain: Floats
    centred: Floats
    zero: Booleans

    @classmethod
    def of(cls, first: Points, second: Points, centre: Floats) -> _Values:
        given = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
        plain, centred = row_cosines(first, second), row_cosines(first, second, centre)
        return cls(plain, centred, given & np.isnan(plain))

    @classmethod
    def joined(cls, parts: Sequence[_Values]) -> _Values:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def embedding_moves(
    spaces: Sequence[EmbeddingSpace], draws: Resampling, rng: np.random.Generator, images: int | None = None
) -> EmbeddingMoves:
    """Cosines between full and masked embeddings, beside those of two patients.

    cos(f, g) = f'g / (|f| |g|), and centred cos(f - m, g - m), with m the mean of the full embeddings of a network.
    Embeddings that are averages after a ReLU have no negative number, so that any two of them have a high cosine;
    centred ones have not. The same is therefore given of full images of two patients of one label: a masked image
    whose cosine is no higher is no nearer to its own full image than to that of another patient.

    Args:
        spaces: images by network, such as the networks of several folds; centred by the mean of each.
        draws: bootstrap samples and the confidence of the limits.
        rng: source of the bootstrap, and of the other patients.
        images: number of images that these were chosen from; as many as there are by default.

    References:
        Sourget et al. (2025), Mask of truth, arXiv 2412.04030 (the cosine of full and masked embeddings).
    """
    if not any(vary(OrderedRows(space.full)) for space in spaces):
        return EmbeddingMoves((), 0, images or 0, {ALL: SAME})
    named = list(dict.fromkeys(name for space in spaces for name in space.masked))
    found: dict[str, list[_Values]] = {name: [] for name in [*named, ANOTHER]}
    for space in spaces:
        centre = space.full.mean(axis=0, dtype=np.float64)
        for name in named:
            masked = space.masked.get(name, np.full_like(space.full, np.nan))
            found[name].append(_Values.of(space.full, masked, centre))
        other = other_patients(space.patients, space.strata, rng)
        partner = np.where(other[:, None] >= 0, space.full[other], np.nan)
        found[ANOTHER].append(_Values.of(space.full, partner, centre))
    patients = np.unique(np.concatenate([space.patients for space in spaces]), return_inverse=True)[1]
    labels = list(dict.fromkeys(label for space in spaces for label in space.groups))
    inside = {
        label: np.concatenate([space.groups.get(label, np.zeros(len(space.full), bool)) for space in spaces])
        for label in labels
    }
    cells = [
        (strategy, label, rows, values)
        for strategy, values in ((name, _Values.joined(parts)) for name, parts in found.items())
        for label, rows in {ALL: np.ones(len(patients), dtype=bool), **inside}.items()
    ]
    return _described(cells, patients, draws, rng, images or len(patients))


def _described(
    cells: Sequence[tuple[str, str, Booleans, _Values]],
    patients: Integers,
    draws: Resampling,
    rng: np.random.Generator,
    of: int,
) -> EmbeddingMoves:
    """Means and limits of all cells, by the same bootstrap samples."""
    columns = [np.where(rows, part, np.nan) for _, _, rows, one in cells for part in (one.plain, one.centred)]
    means = patient_means(np.stack(columns, axis=1), patients, draws.bootstraps, draws.confidence, rng)
    cosines: list[Cosine] = []
    not_computed: dict[str, str] = {}
    for place, (strategy, label, rows, values) in enumerate(cells):
        mean, centred = means[2 * place], means[2 * place + 1]
        known = rows & np.isfinite(values.plain)
        zero = int((rows & values.zero).sum())
        if mean is None or centred is None:
            count = len(np.unique(patients[known]))
            more = f" and {zero} zero embeddings" if zero else ""
            not_computed[f"{strategy}, {label}"] = f"there must be images of two patients, got {count}{more}"
            continue
        cosines.append(
            Cosine(
                strategy=strategy,
                label=label,
                images=int(known.sum()),
                patients=len(np.unique(patients[known])),
                zero=zero,
                mean=mean,
                spread=float(values.plain[known].std()),
                centred=centred,
                centred_spread=float(np.nanstd(values.centred[known])),
            )
        )
    return EmbeddingMoves(tuple(cosines), len(patients), of, not_computed)


def one_network(
    full: Points, masked: MaskedEmbeddings, labels: Integers, patients: Integers, label_names: Sequence[str]
) -> EmbeddingSpace:
    """The space of one network whose images have one label each.

    Args:
        full: (N, D) embeddings of all images.
        masked: those of masked ones.
        labels: (N,) class of each image.
        patients: (N,) patient of each image, integers.
        label_names: names of the classes.
    """
    rows = masked.rows
    names = {label_names[value]: labels[rows] == value for value in np.unique(labels).tolist()}
    return EmbeddingSpace(full[rows], masked.points, patients[rows], labels[rows], names)
