# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of images: kept by every transform, and read for the pixel spacing."""

from __future__ import annotations

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.data.utils import affine_to_spacing
from monai.utils import MetaKeys, convert_to_dst_type, convert_to_tensor

SPACING_SET = "spacing_set"  # key in the metadata: the spacing is known, even if it is one millimetre


def like(result: torch.Tensor, img: NdarrayOrTensor) -> torch.Tensor:
    """The result with the dtype, device and metadata of the image."""
    converted: torch.Tensor = convert_to_dst_type(result, dst=convert_to_tensor(img, track_meta=get_track_meta()))[0]
    return converted


def spacing_of(img: NdarrayOrTensor) -> list[float] | None:
    """(n_spatial,) millimetres per pixel along each axis, or None if the metadata do not hold them."""
    if not isinstance(img, MetaTensor):
        return None
    # Not img.pixdim, which has three numbers for some images of two axes.
    spacing: list[float] = affine_to_spacing(img.affine, r=img.ndim - 1).tolist()
    if img.meta.get(SPACING_SET):
        return spacing
    from_file = "filename_or_obj" in img.meta
    origin = img.meta.get(MetaKeys.ORIGINAL_AFFINE) if from_file else img.affine
    if origin is None:  # a reader of plain pictures: the affine only counts pixels, even after a resize
        return None
    origin = torch.as_tensor(origin)
    unit_spacing = (affine_to_spacing(origin, r=img.ndim - 1) == 1).all()
    if unit_spacing and not (from_file and origin[:-1, -1].any()):
        return None
    return spacing
