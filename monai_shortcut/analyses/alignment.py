# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Does the clinical head point the same way as the probe of an attribute?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.statistics.checks import checked_rows
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Totals
from monai_shortcut.statistics.probes import fitted
from monai_shortcut.statistics.subspaces import GRAM_ROUNDING, contrasts, cosines, enough_axes, projected
from monai_shortcut.statistics.task_space import TaskMatrix, task_cosines
from monai_shortcut.statistics.weight_space import Sweep, swept
from monai_shortcut.types import Floats, Tested

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Alignment:
    """How the clinical head and the probe of an attribute point.

    The test of each number is that of its largest absolute value under permutation of the attribute.

    Attributes:
        wsc: (C, M) weight space correlation as published, with the post-hoc probe that ignores the label.
        wsc_test: its test.
        within: (C, M) correlation of the logits within labels, the probe fitted within labels.
        test: its test.
        raw: (C, M) cosines without the projection onto principal components.
        balanced: (C, M) weight space correlation with a probe under whose weights label and attribute are independent.
        multi_task: (C, M) weight space correlation with the attribute's own head, for a network that was trained
            with one; empty otherwise.
        logits: (C, M) correlation of the logits over all images: the cosine in the metric of the embeddings.
        sweep: the published number against the number of components.
    """

    wsc: Rows
    wsc_test: Tested
    within: Rows
    test: Tested
    raw: Rows = ()
    balanced: Rows = ()
    multi_task: Rows = ()
    logits: Rows = ()
    sweep: Sweep | None = None


def alignment(
    sample: AttributeSample, variance: float = 0.99, min_components: int = 50, own_head: ArrayLike | None = None
) -> Alignment:
    """Compare the directions of the clinical head with those of an attribute's probes.

    Args:
        sample: the images and the attribute.
        variance: share of the embeddings' variance that the published number is restricted to, in (0, 1].
        min_components: least number of principal components for it.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.

    Returns:
        The cosines, the published one and its kin, with their permutation tests.

    Raises:
        Unmeasurable: If there are no embeddings, or fewer patients than folds.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315.
    """
    images, everyone = sample.images, sample.images.together
    power, axes = images.points.axes
    kept = axes[: enough_axes(power, variance, min_components)]
    probes = {kind: fitted(everyone, sample.observed, *flags)[0][0] for kind, flags in _PROBES.items()}
    nulls = [
        (np.abs(_published(images, kept, blind)).max(axis=(1, 2)), np.abs(_logits(images, own, True)).max(axis=(1, 2)))
        for blind, own in (_both(images, totals) for totals in sample.in_blocks())
    ]
    published, within = (np.concatenate(parts).tolist() for parts in zip(*nulls, strict=True))
    head = images.weight
    return Alignment(
        wsc=nested(_published(images, kept, probes["blind"])),
        wsc_test=Tested(published[0], tuple(published[1:])),
        within=nested(_logits(images, probes["within"], True)),
        test=Tested(within[0], tuple(within[1:])),
        raw=nested(cosines(head, probes["blind"], head, probes["blind"], 1.0)),
        balanced=nested(_published(images, kept, probes["balanced"])),
        multi_task=() if own_head is None else nested(_published(images, kept, _own(own_head, images))),
        logits=nested(_logits(images, probes["blind"], False)),
        sweep=swept(head, probes["blind"], axes),
    )


_PROBES = {"blind": (False, False), "within": (True, False), "balanced": (False, True)}  # within, balanced


def head_matrix(
    images: Sample,
    attributes: Mapping[str, AttributeSample],
    own_heads: Mapping[str, ArrayLike],
    variance: float = 0.99,
    min_components: int = 50,
) -> TaskMatrix:
    """Cosines between the rows of all heads: the clinical one, each attribute's probe and own head.

    Args:
        images: the sample.
        attributes: the attributes.
        own_heads: (M, D) weights by attribute, of the heads that a multi-task network was trained with.
        variance: share of the embeddings' variance to explain, in (0, 1].
        min_components: least number of principal components.

    Raises:
        Unmeasurable: If there are no embeddings.
    """
    rows = {"label": images.weight}
    rows |= {f"{name} (probe)": fitted(images.together, one.observed, False)[0][0] for name, one in attributes.items()}
    rows |= {f"{name} (own head)": _own(own_heads[name], images) for name in attributes if name in own_heads}
    power, axes = images.points.axes
    return task_cosines(rows, axes[: enough_axes(power, variance, min_components)])


def label_alignment(images: Sample, variance: float = 0.99, min_components: int = 50) -> Rows:
    """(C, L) weight space correlation of the clinical head with a probe of the label itself, of the classes present.

    Args:
        images: the sample.
        variance: share of the embeddings' variance to explain, in (0, 1].
        min_components: least number of principal components.

    Raises:
        Unmeasurable: If there are no embeddings.
    """
    codes = Codings(np.arange(len(images)), images.strata[None], int(images.strata.max()) + 1)
    power, axes = images.points.axes
    probe = fitted(images.together, codes, within=False)[0][0]
    return nested(_published(images, axes[: enough_axes(power, variance, min_components)], probe))


def nested(values: Floats) -> Rows:
    """A matrix as tuples, for a record."""
    return tuple(map(tuple, values.tolist()))


def _own(own_head: ArrayLike, images: Sample) -> Floats:
    return checked_rows("attribute head", own_head, images.weight.shape[1])


def _both(images: Sample, folds: Totals) -> tuple[Floats, Floats]:
    """Weights (B, m, D) of probes without regard to labels and within them, from the same sums."""
    totals, points = folds.together(images.together), images.together.points
    blind, own = (points.original(np.moveaxis(totals.scorer((0,), within).weight, 0, -1)) for within in (False, True))
    return blind, own


def _published(images: Sample, axes: Floats, probe: Floats) -> Floats:
    """(..., C, M) cosines within the span of principal axes (k, D)."""
    return cosines(images.weight @ axes.T, projected(probe, axes), images.weight, probe, 1.0)


def _logits(images: Sample, probe: Floats, within: bool) -> Floats:
    """(..., C, M) correlations of logits over the images: cosines in the metric of the embeddings."""
    root, points = images.metric(within), images.points.standardized
    head, other = images.head, points.coordinates(probe)
    size = float(np.sqrt(np.trace(points.gram)))
    seen = projected(contrasts(other), root)
    return cosines(contrasts(head) @ root.T, seen, head, other, size, GRAM_ROUNDING)
