# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Remove burned-in text and calipers, in a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_shortcut.regions.overlays import USUAL, OverlayRule, remove_overlay
from monai_shortcut.transforms.metadata import like


class RemoveOverlay(Transform):  # type: ignore[misc]
    """Replace burned-in text and calipers by their surroundings.

    :py:class:`monai_shortcut.regions.overlays.OverlayRule` says which pixels are burned in; look at what it finds
    before you train. The result keeps the image's dtype, device and metadata. The transform is not invertible. Put it
    before every resampling, which softens strokes. Copy the image first (``CopyItemsd``) if another network needs its
    calipers. ``PersistentDataset`` does not notice other settings: give it ``hash_transform=pickle_hashing``, or one
    folder per setting.

    Args:
        brightness, contrast, window, least, colour, margin: As in
            :py:class:`monai_shortcut.regions.overlays.OverlayRule`.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> image = torch.zeros(1, 32, 32)
        >>> image[0, 8, 4:12] = 1.0
        >>> float(RemoveOverlay()(image).max())
        0.0
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(
        self,
        brightness: float = USUAL.brightness,
        contrast: float = USUAL.contrast,
        window: int = USUAL.window,
        least: int = USUAL.least,
        colour: float | None = USUAL.colour,
        margin: int = USUAL.margin,
    ) -> None:
        self.rule = OverlayRule(brightness, contrast, window, least, colour, margin)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Clean one image.

        Args:
            img: (C, H, W) image.

        Returns:
            (C, H, W) image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.
        """
        cleaned = remove_overlay(convert_to_tensor(img, track_meta=False), self.rule)
        return like(cleaned, img)


class RemoveOverlayd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`RemoveOverlay`.

    Args:
        keys: Keys of the images to clean.
        brightness, contrast, window, least, colour, margin: As in :py:class:`RemoveOverlay`.
        allow_missing_keys: Skip images that are missing.

    Raises:
        ValueError: If a setting is out of its range.
    """

    backend = RemoveOverlay.backend

    def __init__(
        self,
        keys: KeysCollection,
        brightness: float = USUAL.brightness,
        contrast: float = USUAL.contrast,
        window: int = USUAL.window,
        least: int = USUAL.least,
        colour: float | None = USUAL.colour,
        margin: int = USUAL.margin,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = RemoveOverlay(brightness, contrast, window, least, colour, margin)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Clean the images of one dictionary."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


RemoveOverlayD = RemoveOverlayDict = RemoveOverlayd
