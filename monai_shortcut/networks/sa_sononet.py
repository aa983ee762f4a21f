# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""SA-SonoNet, a SonoNet that also reads the shapes that a frozen network segments, and the pixel spacing."""

from __future__ import annotations

import torch
from torch import nn
from torch.jit import is_scripting  # type: ignore[attr-defined]

from monai_shortcut.networks.sononet import SonoNet


class SASonoNet(nn.Module):
    """A classifier of an image, the logits of a segmentation network and planes of pixel spacing.

    A batch holds, in this order, channels of the cleaned image; of the image as the segmentation network is to see it,
    with calipers and text (`segmentation_channels`, none without a segmentation network); and a constant plane of
    pixel spacing for each spatial axis, in millimetres (none without spacing). The classifier reads the image, then the
    first logits of the segmentation, then the spacing: 1, 3 (with spacing) or 8 (with spacing and five structures)
    channels for grey images in two dimensions. A pipeline puts them together::

        {"_target_": "CopyItemsd", "keys": "image", "names": "uncleaned"},
        {"_target_": "monai_shortcut.transforms.RemoveOverlayd", "keys": "image"},
        {"_target_": "ConcatItemsd", "keys": ["image", "uncleaned"], "name": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [224, 288]},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": -1, "b_max": 1},
        {"_target_": "monai_shortcut.transforms.AppendSpacingd", "keys": "image"}

    The segmentation network is frozen: its parameters need no gradient, it runs without one, and `train` leaves it in
    evaluation mode. It is part of the state dict, since the classifier is worth nothing with another one.

    Args:
        spatial_dims: number of axes of the image, 2 or 3.
        segmentation: any network that returns a map of logits of the image's size (or a sequence that begins with it),
            trained already; it is taken over and frozen. None: the classifier reads no shapes.
        structures: number of its logits to read, the first ones.
        spacing: whether the batch ends with planes of pixel spacing.
        image_channels: number of channels of the image.
        segmentation_channels: number of channels of the image for the segmentation network.
        out_channels: number of logits; one for an outcome that comes or not.
        width: width of the SonoNet; its weights are loaded by ``load_sononet_weights(network.classifier, path,
            first_convolution="initial")``.

    Raises:
        ValueError: If an argument is out of its range, a batch has other channels, or the segmentation network
            returns another size or fewer logits than there are structures.

    References:
        Pegios et al. (2023), Leveraging Shape and Spatial Information for Spontaneous Preterm Birth Prediction, ASMUS.

    Example:
        >>> network = SASonoNet(segmentation=nn.Conv2d(1, 14, 1), width=4)
        >>> network.classifier.in_channels, network(torch.zeros(2, 4, 32, 48)).shape
        (8, torch.Size([2, 1]))
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        segmentation: nn.Module | None = None,
        structures: int = 5,
        spacing: bool = True,
        image_channels: int = 1,
        segmentation_channels: int = 1,
        out_channels: int = 1,
        width: int = 32,
    ) -> None:
        super().__init__()
        counts = {"image_channels": image_channels, "structures": structures}
        for name, value in {**counts, "segmentation_channels": segmentation_channels}.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}.")
        self.image_channels, self.structures = image_channels, structures
        self.segmentation_channels = 0 if segmentation is None else segmentation_channels
        self.spacing_channels = spatial_dims if spacing else 0
        self.in_channels = image_channels + self.segmentation_channels + self.spacing_channels
        shapes = 0 if segmentation is None else structures
        self.classifier = SonoNet(spatial_dims, image_channels + shapes + self.spacing_channels, out_channels, width)
        self.segmentation = segmentation
        if self.segmentation is not None:
            self.segmentation.requires_grad_(False)
            self.segmentation.eval()

    def train(self, mode: bool = True) -> SASonoNet:
        """Training mode for the classifier; the segmentation network stays in evaluation mode."""
        super().train(mode)
        if self.segmentation is not None:
            self.segmentation.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Classify a batch.

        Args:
            images: (B, in_channels, H, W), or (B, in_channels, H, W, D) in 3D: image, image for the segmentation
                network, spacing.

        Returns:
            (B, out_channels) logits.
        """
        logits: torch.Tensor = self.classifier(self.with_shapes(images))
        return logits

    def with_shapes(self, images: torch.Tensor) -> torch.Tensor:
        """What the classifier reads (B, image + structures + spacing, H, W)."""
        if images.shape[1] != self.in_channels:
            raise ValueError(
                f"images must have {self.in_channels} channels ({self.image_channels} of the image, "
                f"{self.segmentation_channels} for the segmentation network, {self.spacing_channels} of spacing), "
                f"got shape {list(images.shape)}."
            )
        if self.segmentation is None:
            return images
        end = self.image_channels + self.segmentation_channels
        with torch.no_grad():
            logits = self.segmentation(images[:, self.image_channels : end])
        if not is_scripting() and isinstance(logits, (tuple, list)):  # deep supervision: the finest first
            logits = logits[0]
        if logits.shape[2:] != images.shape[2:] or logits.shape[1] < self.structures:
            raise ValueError(
                f"segmentation must return a map of at least {self.structures} logits of the size of its images "
                f"{list(images.shape)}, got shape {list(logits.shape)}."
            )
        return torch.cat([images[:, : self.image_channels], logits[:, : self.structures], images[:, end:]], dim=1)
