# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the clinical head point into the subspace of all attributes' probes together?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.resampling import permute_by_patient
from monai_shortcut.statistics.subspaces import GRAM_ROUNDING
from monai_shortcut.statistics.task_space import HeadSpace
from monai_shortcut.types import Floats, Tested, Unmeasurable


@dataclass(frozen=True)
class JointAlignment:
    """The clinical head against the subspace of all attributes' probes together.

    Attributes:
        attributes: those that were joined.
        correlations: canonical correlations of the logits within labels, largest first.
        test: the largest, under permutation of all attributes together.
        share: share of the clinical logits' variance within labels that the attributes' logits explain.
    """

    attributes: tuple[str, ...]
    correlations: tuple[float, ...]
    test: Tested
    share: float


def joint_alignment(images: Sample, attributes: Mapping[str, AttributeSample]) -> JointAlignment:
    """Compare the clinical head with the probes of several attributes, on images with every one of them known.

    The attributes are permuted together, which keeps what they have in common.

    Args:
        images: the sample.
        attributes: at least one.

    Returns:
        The canonical correlations and the share of the variance that they explain.

    Raises:
        Unmeasurable: If there are no embeddings, or an attribute has a single level among images with all of them.
    """
    known = np.all([one.levels.codes >= 0 for one in attributes.values()], axis=0)
    rows = np.flatnonzero(known)
    if not len(rows):
        raise Unmeasurable("no image has every attribute")
    order = permute_by_patient(
        images.patients[rows], images.draws.erasures, images.rng("joint alignment"), images.labels[rows]
    )
    order = np.concatenate([np.arange(len(rows))[None], order])
    probes = []
    for name, one in attributes.items():
        present, codes, sizes = np.unique(one.levels.codes[rows], return_inverse=True, return_counts=True)
        if len(present) < 2 or sizes.min() < 2:
            raise Unmeasurable(f"too few images with every attribute have two levels of {name}")
        codes = present[codes] if one.ordered else codes  # what lies between ordered levels stays
        probes.append(_probes(images, Codings(rows, codes[order], int(codes.max()) + 1, one.ordered)))
    points = images.points.standardized
    space = HeadSpace(images.head, images.metric(within=True), float(np.sqrt(np.trace(points.gram))), GRAM_ROUNDING)
    largest = space.largest(probes)
    return JointAlignment(
        attributes=tuple(attributes),
        correlations=space.correlations([each[0] for each in probes]),
        test=Tested.of(largest),
        share=space.share([each[0] for each in probes]),
    )


def _probes(images: Sample, codings: Codings) -> Floats:
    """(B, m, q) weights within labels, in the coordinates of the standardized embeddings."""
    return np.moveaxis(images.together.totals(codings).fit((0,), within=True).weight, 0, -1)
