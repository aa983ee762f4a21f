# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks as functions from images to logits, and where they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import nn

from monai_shortcut.heads.embeddings import first_output
from monai_shortcut.heads.layers import evaluating
from monai_shortcut.types import Unmeasurable

Network: TypeAlias = nn.Module | Callable[[torch.Tensor], torch.Tensor]
Step: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

MOST_IMAGES = 64  # in one forward pass
MOST_NUMBERS = 2**23  # in one forward pass: 32 MB of float32


def logits_of(network: Network, images: torch.Tensor) -> torch.Tensor:
    """(N, C) logits of a batch, on the network's device, with their gradient.

    Raises:
        ValueError: If the network gives something else.
    """
    found = first_output(network(images), as_is=True)
    if len(found) != len(images):
        raise ValueError(f"network must give a row of logits for each of the {len(images)} images, got {len(found)}.")
    return found


def as_read(network: Network, images: torch.Tensor) -> torch.Tensor:
    """The images without metadata, on the device and in the precision of the network's weights."""
    plain = as_plain(images)
    found = next(network.parameters(), None) if isinstance(network, nn.Module) else None
    return plain.detach() if found is None else plain.detach().to(device=found.device, dtype=found.dtype)


@contextmanager
def judging(network: Network) -> Iterator[None]:
    """Evaluation mode without gradients; training flags and torch's random state are restored afterwards."""
    if isinstance(network, nn.Module):
        with evaluating(network):
            yield
    else:
        with torch.no_grad():
            yield


def prepared(images: torch.Tensor, step: Step | None) -> torch.Tensor:
    """Images (N, C, *spatial) after the last step of their preparation, which sees each alone.

    Raises:
        Unmeasurable: If the step fails.
    """
    if step is None:
        return images
    try:
        own = [image.clone(memory_format=torch.contiguous_format) for image in images]  # steps may work in place
        return torch.stack([as_plain(step(image)).to(images) for image in own])
    except Exception as error:  # the step is the user's own
        raise Unmeasurable(f"after_masking failed on a masked image: {type(error).__name__}: {error}") from error


class Prepared(nn.Module):
    """A network that sees every image after the last step of its preparation.

    Args:
        network: the network.
        step: of one image (C, *spatial).
    """

    def __init__(self, network: nn.Module, step: Step) -> None:
        super().__init__()
        self.network, self.step = network, step

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """What the network says."""
        found: torch.Tensor = self.network(prepared(images, self.step))
        return found


def as_plain(images: torch.Tensor) -> torch.Tensor:
    """The images without metadata."""
    plain: torch.Tensor = images.as_tensor() if hasattr(images, "as_tensor") else images
    return plain


def at_once(images: torch.Tensor) -> int:
    """How many images (N, C, *spatial) of this size one forward pass may take."""
    return max(1, min(MOST_IMAGES, MOST_NUMBERS // max(1, images[0].numel())))


def check_images(images: torch.Tensor) -> None:
    """Refuse what is no batch of finite images.

    Raises:
        ValueError: If shape, dtype or values are not as described.
    """
    if images.ndim not in (4, 5) or 0 in images.shape:
        raise ValueError(f"images must have shape (N, C, H, W) or (N, C, H, W, D), got {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(f"images must be of a floating point dtype, got {images.dtype}.")
    unfit = int((~torch.isfinite(images).flatten(1).all(dim=1)).sum())
    if unfit:
        raise ValueError(f"images must be finite, got {unfit} images that are not.")
