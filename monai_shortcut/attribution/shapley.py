# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Exact Shapley values of the parts of an image: how much of a logit each part is worth."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from monai_shortcut.attribution.network import Network, as_read, at_once, check_images, judging, logits_of
from monai_shortcut.attribution.parts import check_parts
from monai_shortcut.regions.fills import check_fill, fill_hidden
from monai_shortcut.types import Floats

MOST_PARTS = 12  # 4,096 forward passes an image


def regional_shapley(
    network: Network,
    images: torch.Tensor,
    parts: torch.Tensor,
    fill: float | str = 0.0,
    *,
    count: int | None = None,
) -> torch.Tensor:
    """The share of each part of an image in the logits.

    A coalition is a set of parts that stay visible; the others are filled. The worth of a coalition is the logits of
    that image. The share of part k is the mean, over all orders in which parts can appear, of what the logits gain
    when k appears:

        share_k = sum over S without k of |S|! (K - |S| - 1)! / K! (f(S and k) - f(S))

    It needs no gradient, and 2^K forward passes for an image that holds K parts. A part that an image lacks has the
    share 0, and costs nothing.

    Args:
        network: gives (N, classes) logits for (N, C, *spatial) images, or (N,) or a tuple or dict that holds them
            as for `monai_shortcut.heads.embeddings.first_output`. A module runs in evaluation mode, on its device
            and in its precision, without gradients; its training flags are restored.
        images: (N, C, *spatial) of two or three spatial axes, floating point, finite.
        parts: (N, 1, *spatial) part of each pixel, whole numbers in [0, K) of any dtype.
        fill: value of hidden pixels: a number, "black" for 0, or "mean", "noise", "blur" or "inpaint", made from the
            visible pixels as in `monai_shortcut.regions.fills.fill_hidden`. Where nothing is visible, a fill that is no
            number is the mean of each channel. A black fill gives black pixels nothing by construction: hold several
            fills against each other.
        count: K; by default one more than the largest number in ``parts``.

    Returns:
        (N, K, classes) shares, dtype and device of the network's logits. They sum to f(image) - f(all parts filled).

    Raises:
        ValueError: If an argument is not as described, or K is above 12.
        ImportError: If scikit-image is missing for "inpaint".

    References:
        Shapley (1953), A value for n-person games; Lundberg and Lee (2017), A unified approach to interpreting model
        predictions, NeurIPS, of which this is the exact form for few features.

    Example:
        >>> images, parts = torch.tensor([[[[1.0, 2.0, 4.0]]]]), torch.tensor([[[[0, 1, 1]]]])
        >>> regional_shapley(lambda shown: shown.sum(dim=(1, 2, 3))[:, None], images, parts).tolist()
        [[[1.0], [6.0]]]
    """
    check_images(images)
    fill = 0.0 if fill == "black" else fill
    check_fill(fill)
    whole = check_parts(parts, images, count)
    total = int(whole.max()) + 1 if count is None else count
    if total > MOST_PARTS:
        raise ValueError(f"parts must be at most {MOST_PARTS}, for all 2^K coalitions are shown, got {total}.")
    shown = as_read(network, images)
    present = [torch.unique(own).tolist() for own in whole]
    coalitions = _coalitions(shown, whole.to(shown.device), present, fill)
    rows: list[torch.Tensor] = []
    with judging(network):
        while batch := list(islice(coalitions, at_once(shown))):
            rows.append(logits_of(network, torch.stack(batch)))
    logits = torch.cat(rows)
    return torch.from_numpy(_shares(logits.double().cpu().numpy(), present, total)).to(logits)


def _coalitions(
    images: torch.Tensor, parts: torch.Tensor, present: list[list[int]], fill: float | str
) -> Iterator[torch.Tensor]:
    """Every image with every set of its parts visible; bit i of a set's number is the i-th part that is there."""
    for image, own, there in zip(images, parts, present, strict=True):
        for number in range(2 ** len(there)):
            visible = torch.zeros_like(own, dtype=torch.bool)
            for bit, part in enumerate(there):
                if number >> bit & 1:
                    visible |= own == part
            yield _filled(image, visible, fill)


def _filled(image: torch.Tensor, visible: torch.Tensor, fill: float | str) -> torch.Tensor:
    if isinstance(fill, str) and not visible.any():
        return image.flatten(1).mean(dim=1).reshape(-1, *[1] * (image.ndim - 1)).expand_as(image).clone()
    return fill_hidden(image, visible.expand_as(image), fill)


def _shares(logits: Floats, present: list[list[int]], total: int) -> Floats:
    """(N, K, classes) from the logits of all coalitions, image after image."""
    shares, first = np.zeros((len(present), total, logits.shape[1])), 0
    for image, there in enumerate(present):
        players, worth = len(there), logits[first : first + 2 ** len(there)]
        first += len(worth)
        numbers = np.arange(len(worth))
        size = np.array([number.bit_count() for number in range(len(worth))])
        for bit, part in enumerate(there):
            without = numbers[numbers >> bit & 1 == 0]
            weight = [1 / (players * math.comb(players - 1, members)) for members in size[without].tolist()]
            shares[image, part] = weight @ (worth[without | 1 << bit] - worth[without])
    return shares
