# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Metadata of images: kept by every transform, and read for the pixel spacing and the place of a region."""

from __future__ import annotations

from dataclasses import replace

import torch
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.data.utils import affine_to_spacing
from monai.utils import MetaKeys, convert_to_dst_type, convert_to_tensor

from monai_shortcut.regions.grids import SPACING_SET, Grid, aligning, grid_of, millimetres_per_unit, require_colours

__all__ = ["SPACING_SET", "like", "placed_like", "require_values", "spacing_of"]


def like(result: torch.Tensor, img: NdarrayOrTensor) -> torch.Tensor:
    """The result with the dtype, device and metadata of the image."""
    converted: torch.Tensor = convert_to_dst_type(result, dst=convert_to_tensor(img, track_meta=get_track_meta()))[0]
    return converted


def spacing_of(img: NdarrayOrTensor) -> list[float] | None:
    """(n_spatial,) millimetres per pixel along each axis, or None if the metadata do not hold them.

    Raises:
        ValueError: If the file names a unit of length that does not exist.
    """
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
    unit = millimetres_per_unit(img.meta)
    if unit_spacing and unit == 1 and not (from_file and origin[:-1, -1].any()):
        return None
    return [unit * length for length in spacing]


def placed_like(roi: NdarrayOrTensor, img: NdarrayOrTensor, *, labels: bool = False) -> NdarrayOrTensor:
    """A region with its pixels on those of its image, as far as the metadata of both tell.

    Args:
        roi: (1, *spatial) or (C, *spatial) region.
        img: (C, *spatial) image.
        labels: whether the region holds labels, so that the colours of a palette say nothing.

    Returns:
        The region itself, or with its axes in other order or direction, where the affines tell that it was stored so.

    Raises:
        ValueError: As `monai_shortcut.regions.grids.aligning`.
    """
    if not isinstance(roi, MetaTensor):
        return roi
    if not isinstance(img, MetaTensor):
        require_values(roi, labels=labels)
        return roi
    axes, flips = aligning(_grid(img), _grid(roi, labels))
    if axes == sorted(axes) and not flips:
        return roi
    turned = torch.permute(roi.as_tensor(), [0, *(axis + 1 for axis in axes)]).flip([axis + 1 for axis in flips])
    result = MetaTensor(turned, affine=img.affine)
    result.meta |= {key: value for key, value in img.meta.items() if key != MetaKeys.AFFINE}
    return result


def require_values(roi: NdarrayOrTensor, *, labels: bool = False) -> None:
    """Refuse a region whose values are not what its file shows.

    Args:
        roi: region.
        labels: whether it holds labels.

    Raises:
        ValueError: As `monai_shortcut.regions.grids.require_colours`.
    """
    if isinstance(roi, MetaTensor):
        require_colours(_grid(roi, labels))


def _grid(img: MetaTensor, labels: bool = False) -> Grid:
    grid = grid_of(img.shape[1:], img.affine.cpu().numpy(), img.meta)
    return replace(grid, palette=False) if labels else grid
