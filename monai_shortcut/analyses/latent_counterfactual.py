# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How far do predictions move when images are given another level's mean position among the logits?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.statistics.gaps import without_noise
from monai_shortcut.types import Floats, Integers, Tested


@dataclass(frozen=True)
class LatentCounterfactual:
    """How far predictions move when each image is given the other level's mean position among the logits.

    Attributes:
        effect: probability, in [0, 1], that moves between classes, noise subtracted; negative below chance.
        test: the same with its noise, under permutation between patients.
    """

    effect: float
    test: Tested


def latent_counterfactual(sample: AttributeSample) -> LatentCounterfactual:
    """Move each image by the mean difference of two levels and see how far its prediction goes.

    Logits are linear in the embedding, so moving an embedding by the mean difference of two levels among images of its
    label moves its logits by theirs. Labels that hold few images of a level borrow from the others: the difference of a
    label is drawn towards the mean over labels as far as its own noise demands. Unlike a gap between means, it does not
    cancel between images on either side of the decision, and rare combinations of label and level count as much as
    they know.

    Args:
        sample: the images and the attribute; only their answers are used.

    Returns:
        The mean total variation between predictions before and after, over pairs of levels by image pairs:
        effect^2 = observed^2 - mean(null^2).

    References:
        Shrinkage as the random-effects model of DerSimonian and Laird (1986), Controlled Clinical Trials 7(3).
    """
    score, label = sample.probabilities, np.unique(sample.labels, return_inverse=True)[1]
    logits = sample.images.unlinked(score, 1e-12)
    logits = logits - logits.mean(axis=1, keepdims=True)
    codes, linked = sample.permuted[: 1 + sample.draws.erasures], sample.images.linked
    moved = np.array([_moved(logits, score, code.astype(np.int64), label, linked) for code in codes])
    effect = float(without_noise(moved[0] ** 2, float((moved[1:] ** 2).mean())))
    return LatentCounterfactual(effect, Tested.of(moved))


def _moved(logits: Floats, score: Floats, code: Integers, label: Integers, linked: Callable[[Floats], Floats]) -> float:
    """Mean total variation between predictions before and after each image moves to the other level of each pair."""
    labels, levels = int(label.max()) + 1, int(code.max()) + 1
    cell = label * levels + code
    count: Floats = np.bincount(cell, minlength=labels * levels).astype(np.float64).reshape(labels, levels)
    sums = np.stack([np.bincount(cell, column, labels * levels) for column in logits.T], axis=1)
    means = sums.reshape(labels, levels, -1) / np.maximum(count, 1)[..., None]
    square = (logits - means[label, code]) ** 2
    variance: Floats = np.stack([np.bincount(label, column, labels) for column in square.T], axis=1)
    variance = variance / np.maximum(count.sum(axis=1), 1)[:, None]
    total, pairs = 0.0, 0.0
    for first in range(levels):
        for second in range(first):
            weight = count[:, first] * count[:, second] / np.maximum(count[:, first] + count[:, second], 1)
            if not weight.any():
                continue
            difference = _shrunken(means[:, second] - means[:, first], variance, weight)
            for level, sign in ((first, 1.0), (second, -1.0)):
                chosen = code == level
                moved = linked(logits[chosen] + sign * difference[label[chosen]])
                share = float((count[:, first] * count[:, second]).sum())
                total += share * float(0.5 * np.abs(moved - score[chosen]).sum(axis=1).mean())
                pairs += share
    return total / max(pairs, 1e-300)


def _shrunken(difference: Floats, variance: Floats, weight: Floats) -> Floats:
    """Differences (L, C) of labels drawn towards their mean as far as their sampling noise demands."""
    known = weight > 0
    pooled = weight @ difference / weight.sum()
    sampling = variance / np.maximum(weight, 1e-300)[:, None]
    between = np.maximum(((difference - pooled) ** 2 - sampling)[known].mean(axis=0), 0.0)
    own = np.divide(between, between + sampling, out=np.zeros_like(sampling), where=between + sampling > 0)
    return np.asarray(np.where(known[:, None], pooled + own * (difference - pooled), pooled))
