# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""SonoNet, the classifier of fetal standard planes in freehand ultrasound."""

from __future__ import annotations

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import nn
from torch.jit import is_tracing  # type: ignore[attr-defined]

BLOCKS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # channels of each 3x3 convolution, in units of the width
EPSILON = 1e-4  # of every batch normalization
SMALLEST_SIDE = 2 ** (len(BLOCKS) - 1)  # pixels that leave one cell after the pools between the blocks


class SonoNet(nn.Module):
    """A VGG-like network whose logits are the global average of a map of logits.

    Every convolution has no bias and is followed by batch normalization. Softmax stays outside. The last 1x1
    convolution with its batch normalization is the head; it reads 4 * width channels. `load_sononet_weights` loads the
    published weights, of networks that see 224 rows and 288 columns, standardized and times 255.

    Args:
        spatial_dims: number of axes of the image, 2 or 3.
        in_channels: number of channels of the image.
        out_channels: C, number of classes; the published networks have 14.
        width: channels of the first block; 16, 32 and 64 are SonoNet-16, -32 and -64.

    Raises:
        ValueError: If an argument is out of its range, or an image has other channels or a side under 16 pixels.

    References:
        Baumgartner et al. (2017), SonoNet, IEEE TMI 36(11), Table I.

    Example:
        >>> SonoNet(spatial_dims=2, in_channels=1, out_channels=14, width=4)(torch.zeros(2, 1, 32, 48)).shape
        torch.Size([2, 14])
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, out_channels: int = 14, width: int = 16) -> None:
        super().__init__()
        if spatial_dims not in (2, 3):
            raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}.")
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("width", width)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
        self.spatial_dims, self.in_channels, self.smallest_side = spatial_dims, in_channels, SMALLEST_SIDE
        layers: list[nn.Module] = []
        channels = in_channels
        for number, block in enumerate(BLOCKS):
            if number > 0:
                layers.append(Pool[Pool.MAX, spatial_dims](kernel_size=2))
            for multiple in block:
                layers += [*_normalized_convolution(spatial_dims, channels, multiple * width, 3), nn.ReLU(inplace=True)]
                channels = multiple * width
        self.features = nn.Sequential(*layers)
        self.adaptation = nn.Sequential(
            *_normalized_convolution(spatial_dims, channels, 4 * width, 1),
            nn.ReLU(inplace=True),
            *_normalized_convolution(spatial_dims, 4 * width, out_channels, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify a batch.

        Args:
            images: (B, in_channels, H, W), or (B, in_channels, H, W, D) in 3D, each side at least 16 pixels.

        Returns:
            (B, C) logits.
        """
        # A trace would only record that its own example is accepted.
        if not is_tracing():  # type: ignore[no-untyped-call]
            self._check(list(images.shape))
        logit_map: torch.Tensor = self.adaptation(self.features(images))
        return logit_map.flatten(2).mean(dim=2)

    def _check(self, shape: list[int]) -> None:
        if len(shape) != self.spatial_dims + 2 or shape[1] != self.in_channels or min(shape[2:]) < self.smallest_side:
            raise ValueError(
                f"images must have a batch axis, {self.in_channels} channels and {self.spatial_dims} sides of at least "
                f"{self.smallest_side} pixels, got shape {shape}."
            )


def _normalized_convolution(spatial_dims: int, in_channels: int, out_channels: int, size: int) -> list[nn.Module]:
    convolution = Conv[Conv.CONV, spatial_dims](in_channels, out_channels, size, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return [convolution, Norm[Norm.BATCH, spatial_dims](out_channels, eps=EPSILON)]
