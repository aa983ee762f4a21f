# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Erasure of attributes from what a head reads, folded into the head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from monai_shortcut.repair.given import Given
from monai_shortcut.repair.head import RepairedHead
from monai_shortcut.statistics.erasers import fit_eraser


def erase(
    weight: ArrayLike,
    bias: ArrayLike,
    embeddings: ArrayLike,
    labels: ArrayLike,
    codes: ArrayLike,
    patients: Sequence[Any] | ArrayLike,
    *,
    shrinkage: float | None = None,
) -> RepairedHead:
    """Erase attributes from the embeddings, within labels, and fold the map into the head.

    With the eraser z - L R (z - m) of `fit_eraser`, the head W z + b becomes (W - W L R) z + b + W L R m: the network
    keeps its architecture. Afterwards logits have no covariance with the attribute among images of one label. That
    holds of the images it is fitted to, and removes means only: a use that is not linear stays.

    Args:
        weight: (C, D) of the head, or (1, D) of a single logit for the second of two classes.
        bias: (C,) of the head.
        embeddings: (N, D) what the head reads.
        labels: (N,) class of each image, integers in [0, C).
        codes: (N,) level of each image, integers from 0, -1 where unknown; or (N, A) of several attributes, which are
            erased together. Images with an unknown level are left out.
        patients: (N,) patient of each image.
        shrinkage: of the covariance, as in `fit_eraser`; by default as Ledoit and Wolf estimate it.

    Returns:
        The head; ``told`` holds the ``rank`` of what was erased, and the mean ``change`` of the logits.

    Raises:
        ValueError: If the shapes disagree, a number is not finite, or a label or level is out of range.
        Unmeasurable: If an attribute coincides with the label, has too few patients or is not encoded.

    References:
        Belrose et al. (2023), LEACE, NeurIPS 36, theorem 4.3.
    """
    given = Given.of(weight, bias, embeddings, labels, codes, patients)
    given.require_contrasts()
    given.require_encoded()
    eraser = fit_eraser(given.points, given.codes, given.labels, shrinkage)
    taken = given.weight @ eraser.left @ eraser.right
    moved = (given.points - eraser.centre) @ taken.T
    return RepairedHead(
        weight=given.weight - taken,
        bias=given.bias + taken @ eraser.centre,
        method="erase",
        images=len(given.labels),
        patients=tuple(sorted(set(given.names.tolist()))),
        told={"rank": float(eraser.rank), "change": float(abs(moved).mean())},
    )
