# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Set the pixel spacing of an image, or show it to a network, in a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import MapTransform, Transform
from monai.utils import MetaKeys, TransformBackends, convert_to_tensor, ensure_tuple

from monai_shortcut.transforms.metadata import SPACING_SET, spacing_of


class SetSpacing(Transform):  # type: ignore[misc]
    """Set the pixel spacing of an image, which PNG and JPEG files do not hold.

    The affine of the image becomes diagonal; a later resize updates it. Margins in millimetres (:py:class:`MaskROI`)
    and :py:class:`AppendSpacing` read it.

    Example:
        >>> SetSpacing()(torch.zeros(1, 4, 6), [0.5, 0.2]).pixdim.tolist()
        [0.5, 0.2]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __call__(self, img: NdarrayOrTensor, spacing: Sequence[float]) -> torch.Tensor:
        """The same image with its spacing.

        Args:
            img: (C, *spatial) image.
            spacing: (n_spatial,) millimetres per pixel along each axis, in the order of the axes.

        Returns:
            (C, *spatial) image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.

        Raises:
            ValueError: If it is not one positive number per axis.
        """
        image: Any = convert_to_tensor(img, track_meta=get_track_meta())
        scale = torch.as_tensor(spacing, dtype=torch.float64).flatten()
        if len(scale) != image.ndim - 1 or not (scale.isfinite() & (scale > 0)).all():
            raise ValueError(f"spacing must be {image.ndim - 1} positive numbers, one per axis, got {scale.tolist()}.")
        if isinstance(image, MetaTensor):
            image = image.clone()
            affine = torch.eye(max(len(scale), 3) + 1, dtype=torch.float64)
            affine[range(len(scale)), range(len(scale))] = scale
            image.affine = affine
            image.meta |= {MetaKeys.ORIGINAL_AFFINE: affine.clone(), SPACING_SET: True}
        result: torch.Tensor = image
        return result


class SetSpacingd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`SetSpacing`; the spacing comes from columns of the table.

    Put it before the resize if the columns describe the files, after it if they describe the resized images.

    Args:
        keys: Keys of the images.
        spacing_keys: Key of each axis's spacing in millimetres, or one key for all axes.
        factor: Millimetres per unit of the columns: 10 if they are in centimetres.
        allow_missing_keys: Skip images that are missing.
    """

    backend = SetSpacing.backend

    def __init__(
        self,
        keys: KeysCollection,
        spacing_keys: KeysCollection,
        factor: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_keys = ensure_tuple(spacing_keys)
        self.factor = factor
        self.converter = SetSpacing()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the spacing of the images of one dictionary.

        Raises:
            KeyError: If an image or a spacing is missing.
            ValueError: If a spacing is not positive, or the keys are neither one nor one per axis.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            for name in self.spacing_keys:
                if name not in data:
                    present = ", ".join(repr(other) for other in data)
                    raise KeyError(f"spacing_keys must be among the data's keys ({present}), got {name!r}.")
            spacing = [self.factor * float(data[name]) for name in self.spacing_keys]
            d[key] = self.converter(d[key], spacing * (d[key].ndim - 1) if len(spacing) == 1 else spacing)
        return d


class AppendSpacing(Transform):  # type: ignore[misc]
    """Append one constant plane per axis that holds the pixel spacing in millimetres, for a network that needs sizes.

    The metadata at this step give the spacing: put it after the resize, and after every step that changes intensities.
    Integer images become float32.

    References:
        Pegios et al. (2023), Leveraging Shape and Spatial Information for Spontaneous Preterm Birth Prediction, ASMUS.

    Example:
        >>> AppendSpacing()(SetSpacing()(torch.zeros(1, 1, 2), [0.5, 0.2])).tolist()
        [[[0.0, 0.0]], [[0.5, 0.5]], [[0.20000000298023224, 0.20000000298023224]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Append the planes of one image.

        Args:
            img: (C, *spatial) image whose metadata hold its spacing.

        Returns:
            (C + axes, *spatial) image, in the order of its axes.

        Raises:
            ValueError: If the metadata do not hold the spacing.
        """
        spacing = spacing_of(img)
        if spacing is None:
            raise ValueError(f"image must know its spacing (use SetSpacing), got a {type(img).__name__} that does not.")
        image = img if img.is_floating_point() else img.float()
        planes = [torch.full_like(image[:1], millimetres) for millimetres in spacing]
        result: torch.Tensor = torch.cat([image, *planes])
        return result


class AppendSpacingd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`AppendSpacing`.

    Args:
        keys: Keys of the images.
        allow_missing_keys: Skip images that are missing.
    """

    backend = AppendSpacing.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = AppendSpacing()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Append the planes of the images of one dictionary."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


SetSpacingD = SetSpacingDict = SetSpacingd
AppendSpacingD = AppendSpacingDict = AppendSpacingd
