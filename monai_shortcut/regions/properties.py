# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What can be measured of any image, and may tell where it comes from: brightness, noise, borders, burned-in text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from monai_shortcut.regions.overlays import find_overlay

MEAN, SPREAD, BORDER, SHARPNESS, NOISE = (
    "image mean",
    "image spread",
    "image border",
    "image sharpness",
    "image noise",
)
BLOCKING, TEXT, ASPECT, SIZE = "image blocking", "image text", "image aspect ratio", "image original size"
PROPERTIES = {
    MEAN: "mean of its pixels, in their unit",
    SPREAD: "standard deviation of its pixels, in their unit",
    BORDER: "share of pixels that are black, as are all from there to an edge along their row or column",
    SHARPNESS: "variance of the Laplacian over that of the pixels, without black border; noise raises it too",
    NOISE: "standard deviation of noise by second differences along all axes, in the pixels' unit",
    BLOCKING: "steps at the strongest of 8 places of a grid of 8 pixels over those at all, from 1 (no grid) to 8",
    TEXT: "burned-in text or calipers, as by the rule of remove_overlay",
    ASPECT: "rows by columns of the file as it is read, or of the image where that is not known",
    SIZE: "number of pixels of the file",
}
_DARK = 0.02  # share of an image's range up to which a pixel is black
_GRID = 8  # pixels a side of a block of JPEG
_BLOCKS = 3  # along an axis, at least
Floats = NDArray[np.float64]


def image_properties(images: torch.Tensor, original: Sequence[Sequence[int] | None] | None = None) -> dict[str, Floats]:
    """Measure images as a network sees them.

    Channels are measured one by one and averaged; a pixel is black if it is in all channels. Black is what lies within
    2 % of the range of an image and channel above its smallest value.

    Args:
        images: (N, C, H, W) or (N, C, H, W, D) of any real dtype, on any device.
        original: of each image, the shape of the file that it was read from, None where not known.

    Returns:
        (N,) float64 by name, in the order of ``PROPERTIES``, which says what each is. Text is 1 where there is some,
        else 0. NaN is not measurable: all of an image with values that are not finite, but shapes; what needs a range
        of an image of one value; text of volumes, and of images a quarter of which would be text (colour maps);
        blocking of less than three blocks; and the size of a file that is not known.

    Raises:
        ValueError: If the images have another shape or dtype, or the shapes are not one for each image.

    References:
        Immerkaer (1996), Fast noise variance estimation, CVIU 64(2), for noise; Pech-Pacheco et al. (2000), ICPR, for
        the variance of the Laplacian; Wang, Sheikh and Bovik (2002), ICIP, for steps at the borders of blocks.

    Example:
        >>> image = torch.zeros(1, 1, 8, 8)
        >>> image[..., 2:6, 2:6] = torch.tensor([[1.0, 2.0], [2.0, 1.0]]).repeat(2, 2)
        >>> {name: round(float(found[0]), 2) for name, found in image_properties(image).items()}[BORDER]
        0.75
    """
    if images.ndim not in (4, 5) or images.is_complex() or 0 in images.shape[1:]:
        raise ValueError(
            "images must have shape (N, C, H, W) or (N, C, H, W, D) and a real dtype, got "
            f"{tuple(images.shape)}, {images.dtype}."
        )
    shapes = [None] * len(images) if original is None else list(original)
    if len(shapes) != len(images):
        raise ValueError(f"original must hold a shape for each of the {len(images)} images, got {len(shapes)}.")
    values = images.detach().as_subclass(torch.Tensor).double()
    finite = values.flatten(1).isfinite().all(dim=1)
    values = values.nan_to_num(0.0, 0.0, 0.0)
    found = _of_pixels(values)
    found[TEXT] = torch.tensor([_text(image) for image in values], dtype=torch.float64, device=values.device)
    measured = {name: column.masked_fill(~finite, math.nan).cpu().numpy() for name, column in found.items()}
    given = images.shape[2:]
    measured[ASPECT] = np.array([_aspect(given if shape is None else shape) for shape in shapes], dtype=np.float64)
    sizes = [math.nan if shape is None else math.prod(map(int, shape[: len(given)])) for shape in shapes]
    return {name: np.asarray(measured.get(name, sizes), dtype=np.float64) for name in PROPERTIES}


def as_attributes(found: Mapping[str, Floats]) -> dict[str, NDArray[np.generic]]:
    """Properties (N,) as attributes of images: numbers, and "present" or "absent" of text, None where missing."""
    attributes: dict[str, NDArray[np.generic]] = dict(found)
    if TEXT in found:
        words = [None if math.isnan(value) else "present" if value > 0 else "absent" for value in found[TEXT].tolist()]
        attributes[TEXT] = np.array(words, dtype=object)
    return attributes


def _of_pixels(values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Properties (N,) of finite values (N, C, *spatial)."""
    axes = tuple(range(2, values.ndim))
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)
    varies = (high > low).any(dim=1)
    dark = _to_the_edge((values <= low + _DARK * (high - low)).all(dim=1) & varies)
    flat = values.flatten(1)
    found = {
        MEAN: flat.mean(dim=1),
        SPREAD: flat.std(dim=1, correction=0),
        BORDER: dark.flatten(1).double().mean(dim=1).masked_fill(~varies.flatten(), math.nan),
        BLOCKING: torch.stack([_steps(values, axis) for axis in (2, 3)]).mean(dim=0),
    }
    return found | _of_windows(values, dark)


def _to_the_edge(dark: torch.Tensor) -> torch.Tensor:
    """Pixels (N, *spatial) that are dark, with all from there to an edge of the image along one axis."""
    found = torch.zeros_like(dark)
    for axis in range(1, dark.ndim):
        for run in (dark, dark.flip(axis)):
            reached = run.byte().cummin(dim=axis).values.bool()
            found |= reached if run is dark else reached.flip(axis)
    return found


def _of_windows(values: torch.Tensor, dark: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sharpness and noise (N,) by windows of three pixels a side that hold no pixel of the black border (dark)."""
    axes = tuple(range(2, values.ndim))
    if min(values.shape[2:]) < 3:
        return dict.fromkeys((SHARPNESS, NOISE), values.new_full((len(values),), math.nan))
    pool = torch.nn.functional.max_pool2d if len(axes) == 2 else torch.nn.functional.max_pool3d
    seen = pool(dark[:, None].float(), 3, stride=1) == 0

    def mean(windows: torch.Tensor) -> torch.Tensor:
        """(N, C) over the windows that are seen."""
        return torch.where(seen, windows, 0.0).sum(axes) / seen.sum(axes)

    def variance(windows: torch.Tensor) -> torch.Tensor:
        middle = mean(windows).reshape(*windows.shape[:2], *[1] * len(axes))
        return mean((windows - middle) ** 2)

    curved = [values.diff(n=2, dim=axis)[_inside(axis, values.ndim)] for axis in axes]
    residual = values
    for axis in axes:
        residual = residual.diff(n=2, dim=axis)
    spread = variance(values[_inside(0, values.ndim)])
    sharp = variance(torch.stack(curved).sum(dim=0)) / spread.masked_fill(spread == 0, math.nan)
    noise = mean(residual.abs()) * math.sqrt(math.pi / 2) / 6 ** (len(axes) / 2)
    return {SHARPNESS: sharp.nanmean(dim=1), NOISE: noise.nanmean(dim=1)}


def _inside(axis: int, dimensions: int) -> tuple[slice, ...]:
    """Without the first and last pixel along all axes of space but this one."""
    return tuple(slice(None) if other in (0, 1, axis) else slice(1, -1) for other in range(dimensions))


def _steps(values: torch.Tensor, axis: int) -> torch.Tensor:
    """(N,) mean step at the strongest place of a grid of 8 over that at all places; single edges do not count."""
    if values.shape[axis] < _GRID * _BLOCKS:
        return values.new_full((len(values),), math.nan)
    steps = values.diff(dim=axis).abs()
    profile = steps.mean(dim=[other for other in range(1, values.ndim) if other != axis])
    places = torch.stack([profile[:, place::_GRID].quantile(0.5, dim=1) for place in range(_GRID)], dim=1)
    return places.amax(dim=1) / places.mean(dim=1)


def _text(image: torch.Tensor) -> float:
    """1 if something is burned into an image (C, H, W), 0 if not; NaN where the rule does not say."""
    if image.ndim != 3:
        return math.nan
    try:
        return float(find_overlay(image).any())
    except ValueError:  # a quarter of the image: a colour map, or another kind of image
        return math.nan


def _aspect(shape: Sequence[int]) -> float:
    return float(shape[0]) / float(shape[1])
