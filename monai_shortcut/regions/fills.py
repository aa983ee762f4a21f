# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Values for hidden pixels, made from the visible ones alone."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.signal import fftconvolve

from monai_shortcut.regions.pixels import RegionError, region_generator, where

FILLS = ("mean", "noise", "blur", "inpaint")


def fill_hidden(image: torch.Tensor, visible: torch.Tensor, fill: float | str = 0.0) -> torch.Tensor:
    """The image with its hidden pixels replaced. No hidden value, not even NaN, reaches the result.

    Args:
        image: (C, *spatial) of any real dtype; it is not changed.
        visible: (C, *spatial) bool, which pixels stay.
        fill: Value of the others:

            - a number;
            - "mean": the mean of the channel's visible pixels;
            - "noise": values of visible pixels of the same channel, drawn with replacement. Channels with one region
              draw from the same places, so that colours stay colours. The region is the seed: workers, caches, epochs
              and devices draw alike;
            - "blur": Gaussian average of the visible pixels (normalized convolution, zero outside the image). Its
              standard deviation is a quarter of the largest distance, in pixels, of a hidden pixel to a visible one;
            - "inpaint": smooth continuation of the visible pixels, by the biharmonic equation. It needs scikit-image;
              time and memory grow fast with the number of hidden pixels.

    Returns:
        (C, *spatial) new tensor with the dtype and device of ``image``. Integer images get rounded values. A fill other
        than a number stays within the range of the channel's visible pixels.

    Raises:
        RegionError: If the fill is no number and a channel has no visible pixel.
        ValueError: If the fill is no number and a visible pixel is not finite, or if the image's dtype cannot hold the
            number.
        ImportError: If scikit-image is missing for "inpaint".

    References:
        Knutsson and Westin (1993), Normalized and differential convolution, CVPR, for "blur"; Damelin and Hoang (2018),
        On surface completion and image inpainting by biharmonic functions, IJMMS, for "inpaint".

    Example:
        >>> fill_hidden(torch.tensor([[1, 2, 9]]), torch.tensor([[True, True, False]]), 5).tolist()
        [[1, 2, 5]]
    """
    if not isinstance(fill, str):
        return where(visible, image, _number(image, fill))
    means = _visible_means(image, visible, fill)
    channels = [
        pixels if seen.all() else where(seen, pixels, _replacements(pixels, seen, mean, fill))
        for pixels, seen, mean in zip(image, visible, means, strict=True)
    ]
    return torch.stack(channels)


def check_fill(fill: float | str) -> None:
    """Raise an error for a fill that does not exist.

    Raises:
        ValueError: If it is neither a finite number nor one of ``FILLS``.
    """
    if not (fill in FILLS if isinstance(fill, str) else isinstance(fill, Real) and math.isfinite(fill)):
        raise ValueError(f"fill must be a finite number or one of {', '.join(FILLS)}, got {fill!r}.")


def _number(image: torch.Tensor, fill: float) -> torch.Tensor:
    wanted = torch.tensor(float(fill), dtype=torch.float64, device=image.device)
    value = wanted.to(image.dtype)
    if not (value.isfinite() if image.is_floating_point() else value.double() == wanted):
        raise ValueError(f"fill must be a value that an image of {image.dtype} can hold, got {fill}.")
    return value


def _visible_means(image: torch.Tensor, visible: torch.Tensor, fill: str) -> list[float]:
    means = [pixels[seen].double().mean().item() for pixels, seen in zip(image, visible, strict=True)]
    if not all(map(math.isfinite, means)):
        kind = ValueError if all(seen.any() for seen in visible) else RegionError
        raise kind(f'fill="{fill}" needs visible pixels, all finite, in every channel, got channel means {means}.')
    return means


def _replacements(pixels: torch.Tensor, seen: torch.Tensor, mean: float, fill: str) -> torch.Tensor:
    """(*spatial) or () values for the hidden pixels of one channel, in its dtype and on its device."""
    known = seen.cpu().numpy()
    if fill == "noise":
        source, places = pixels[seen], np.zeros(known.shape, dtype=np.int64)
        places[~known] = region_generator(known).integers(len(source), size=int((~known).sum()))
        return source[torch.from_numpy(places).to(source.device)]
    if fill == "mean":
        values = np.full((), mean)
    else:
        numbers = pixels.double().cpu().numpy()
        # deviations from the mean: hidden pixels are 0, and a large offset costs no digits
        shown = np.where(known, numbers - mean, 0.0)
        values = np.zeros(known.shape)
        values[~known] = _blurred(shown, known) if fill == "blur" else _inpainted(shown, known)
        values = (values + mean).clip(numbers[known].min(), numbers[known].max())
    return torch.as_tensor(values if pixels.is_floating_point() else values.round()).to(pixels)


def _blurred(shown: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n_hidden,) means of the known pixels, weighted by a Gaussian of their distance."""
    sigma = distance_transform_edt(~known).max() / 4
    weighted, weight = shown, known.astype(np.float64)
    for axis, n in enumerate(known.shape):
        # 4 sigma is the depth of the hole: every hidden pixel sees a known one
        reach = min(math.ceil(4 * sigma), n - 1)
        along = np.arange(-reach, reach + 1).reshape([-1 if other == axis else 1 for other in range(known.ndim)])
        kernel = np.exp(-((along / sigma) ** 2) / 2)
        weighted, weight = (fftconvolve(array, kernel, "same", axes=axis) for array in (weighted, weight))
    hidden: NDArray[np.float64] = weighted[~known] / weight[~known]
    return hidden


def _inpainted(shown: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise ImportError('fill="inpaint" needs scikit-image: pip install ".[inpaint]" from a clone') from error
    hidden: NDArray[np.float64] = inpaint_biharmonic(shown, ~known)[~known]
    return hidden
