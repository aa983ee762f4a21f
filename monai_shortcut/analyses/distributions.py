# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Are the embeddings of one label distributed alike at all levels of an attribute?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.gaps import without_noise
from monai_shortcut.statistics.two_samples import OTHERS, comparisons, ks_distances, mean_distances
from monai_shortcut.types import Floats, Integers, Tested, Unmeasurable

_COMPONENTS = 4  # principal components whose distributions are compared
_PATIENTS = 10  # of a label at a level, for the two levels to be compared by themselves


@dataclass(frozen=True)
class LevelPair:
    """Two levels of an attribute among images of one label.

    Attributes:
        label: index of the class.
        first: index of a level.
        second: index of the other level; -1 for all others, where there are more than five levels.
        images: images of each.
        patients: patients of each.
        mmd: maximum mean discrepancy, what noise gives it subtracted; negative below that.
        mmd_p_value: of the two levels, adjusted over labels and pairs by the largest one under permutation.
        ks: Kolmogorov-Smirnov distance along each principal component.
        ks_p_values: likewise adjusted over labels, pairs and components.
    """

    label: int
    first: int
    second: int
    images: tuple[int, int]
    patients: tuple[int, int]
    mmd: float
    mmd_p_value: float
    ks: tuple[float, ...]
    ks_p_values: tuple[float, ...]


@dataclass(frozen=True)
class Distributions:
    """Whether embeddings of images of one label have one distribution at all levels.

    Attributes:
        test: sum over labels and pairs of levels of the squared maximum mean discrepancy, by images; of more than five
            levels, of each against all others.
        ks_test: largest scaled Kolmogorov-Smirnov distance of all labels, pairs and components.
        pairs: two levels of one label, where each has ten patients.
        variance: share of the variance along each principal component.
        images: images that were compared.
    """

    test: Tested
    ks_test: Tested
    pairs: tuple[LevelPair, ...]
    variance: tuple[float, ...]
    images: int


@dataclass(frozen=True, eq=False)
class _Label:
    """Distances (1 + B, pairs) within one label, the observed ones first, and the weight of each."""

    rows: Integers
    mmd: Floats
    ks: Floats  # (1 + B, pairs, components)
    weight: Floats


def distributions(sample: AttributeSample) -> Distributions:
    """Compare the embeddings of the levels within each label, as a whole and along principal components.

    As a whole by the maximum mean discrepancy of a Gaussian kernel, whose bandwidth is the median distance of images
    of the label; the kernel is that of 512 random features, so that cost grows with the images and not with their
    square. Along each of the four leading principal components of all embeddings by the distance of Kolmogorov and
    Smirnov. The null is that of all analyses: the attribute permuted between patients within labels, so that neither
    several images of a patient nor what ties the attribute to the label makes a difference. Distances of a pair are
    scaled by sqrt(n m / (n + m)) and compared with the largest one of each permutation, which adjusts for all that
    were looked at. As no verdict rests on them, the first permutations do, as many as for erasure. More than 10,000
    images are too many: patients are then drawn, the same for all attributes.

    Args:
        sample: the images and the attribute.

    Returns:
        The tests, and every pair of levels of a label with ten patients of each.

    Raises:
        Unmeasurable: If only the answers are known, or the patients who were drawn have no label with two levels.

    References:
        Glocker et al. (2023), eBioMedicine 89 (PCA modes and Kolmogorov-Smirnov tests of embeddings; there by image);
        Gretton et al. (2012), J. Machine Learning Research 13; Rahimi and Recht (2007), NeurIPS 20; Westfall and Young
        (1993), Resampling-based Multiple Testing.
    """
    points = sample.images.points
    found = list(_labels(sample, points.components(_COMPONENTS)))
    if not found:
        raise Unmeasurable("a label must hold images of two levels among those drawn by patient, got none")
    scaled = np.concatenate([one.weight * one.mmd for one in found], axis=1)
    ks = np.concatenate([np.sqrt(one.weight)[..., None] * one.ks for one in found], axis=1)
    largest = scaled.max(axis=1), ks.max(axis=(1, 2), initial=0.0)
    power = points.axes[0]
    return Distributions(
        test=Tested.of(scaled.sum(axis=1)),
        ks_test=Tested.of(largest[1]),
        pairs=tuple(pair for one in found for pair in _pairs(sample, one, *largest)),
        variance=tuple((power[:_COMPONENTS] / max(float(power.sum()), 1e-300)).tolist()),
        images=int(np.isin(sample.rows, np.concatenate([rows for rows, _ in sample.images.compared.values()])).sum()),
    )


def _labels(sample: AttributeSample, components: Floats) -> Iterator[_Label]:
    """Distances within each label that holds two levels."""
    permuted = sample.permuted[: 1 + sample.draws.erasures]
    for rows, features in sample.images.compared.values():
        _, own, known = np.intersect1d(sample.rows, rows, assume_unique=True, return_indices=True)
        codes = permuted[:, own]
        if len(np.unique(codes[0])) < 2:
            continue
        mmd, images = mean_distances(features[known], codes, sample.count)
        distances = [ks_distances(column, codes, sample.count) for column in components[rows[known]].T]
        ks = np.stack(distances, axis=2) if distances else np.zeros((*mmd.shape, 0))
        yield _Label(own, mmd, ks, images.prod(axis=2) / np.maximum(images.sum(axis=2), 1))


def _pairs(sample: AttributeSample, found: _Label, largest: Floats, largest_ks: Floats) -> Iterator[LevelPair]:
    """Pairs of levels of one label, p-values by the largest scaled distance of each permutation."""
    for place, levels in enumerate(comparisons(sample.count)):
        codes = sample.codes[found.rows]
        own = [codes == levels[0], codes != levels[0] if levels[1] == OTHERS else codes == levels[1]]
        patients = tuple(len(np.unique(sample.patients[found.rows[one]])) for one in own)
        if min(patients) < _PATIENTS:
            continue
        square, null = found.mmd[0, place], found.mmd[1:, place]
        weight = found.weight[0, place]
        ks = found.ks[0, place].tolist()
        yield LevelPair(
            label=int(sample.labels[found.rows[0]]),
            first=levels[0],
            second=levels[1],
            images=(int(own[0].sum()), int(own[1].sum())),
            patients=(patients[0], patients[1]),
            mmd=float(without_noise(square, float(null.mean()))),
            mmd_p_value=Tested(float(weight * square), tuple(largest[1:].tolist())).p_value,
            ks=tuple(ks),
            ks_p_values=tuple(
                Tested(float(np.sqrt(weight) * one), tuple(largest_ks[1:].tolist())).p_value for one in ks
            ),
        )
