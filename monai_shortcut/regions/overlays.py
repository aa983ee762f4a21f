# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Text and calipers burned into an image by a screen: their pixels, and the image without them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label, uniform_filter

from monai_shortcut.regions.fills import fill_hidden

LARGEST_SHARE = 0.25  # text and calipers cover less of an image; more is a colour map or another kind of image
CHUNK = 4096  # windows at a time, to bound memory


@dataclass(frozen=True)
class OverlayRule:
    """Which pixels are burned in.

    The image's range is max - min of its values. A pixel is burned in if it is coloured, or if

    1. it is almost as bright as the brightest one: screens draw in one bright value, which tissue seldom reaches;
    2. it is brighter than the median of its window: strokes are thin, and fill less than half of a window;
    3. it touches enough other such pixels: speckle of that brightness comes in single pixels.

    Resampling and compression soften the pixels around a stroke; `margin` takes them too. The rule is for images as the
    screen showed them. Fainter or resampled text needs a lower `brightness`, which also takes bright anatomy; look at
    what is found. (On BUS-BRA at 224 pixels, brightness 0.6, contrast 0.35 and margin 2 find most text and calipers,
    and some bright fascia.) Grey wedges, logos and anything as wide as half a window are not found.

    Attributes:
        brightness: least (value - min) / range of a stroke.
        contrast: least (value - median of its window) / range.
        window: side of the window in pixels, odd; several times the width of a stroke.
        least: number of pixels that must touch, corners included.
        colour: least (max - min of a pixel's three channels) / range of a coloured pixel. None: colours are no sign.
        margin: number of pixels around the burned-in ones that are taken too.

    Raises:
        ValueError: If a setting is out of its range.
    """

    brightness: float = 0.99
    contrast: float = 0.3
    window: int = 21
    least: int = 6
    colour: float | None = 0.25
    margin: int = 1

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "colour"):
            value = getattr(self, name)
            if not (0 < value <= 1 if value is not None else name == "colour"):
                raise ValueError(f"{name} must be in (0, 1], got {value!r}.")
        if not isinstance(self.window, int) or self.window < 3 or self.window % 2 == 0:
            raise ValueError(f"window must be an odd number of at least 3 pixels, got {self.window!r}.")
        for name, low in (("least", 1), ("margin", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}.")


USUAL = OverlayRule()


def find_overlay(image: torch.Tensor, rule: OverlayRule = USUAL) -> torch.Tensor:
    """The pixels of burned-in text and calipers.

    Args:
        image: (C, H, W) of any real dtype; three channels are colours, others are averaged.
        rule: which pixels are burned in.

    Returns:
        (H, W) bool, on the image's device. It does not change if all intensities are stretched or shifted.

    Raises:
        ValueError: If the image has another shape or values that are not finite, or more than a quarter of it is found.

    Example:
        >>> image = torch.zeros(1, 32, 32)
        >>> image[0, 8, 4:12] = 1.0
        >>> int(find_overlay(image, OverlayRule(margin=0)).sum())
        8
    """
    if image.ndim != 3 or not image.numel() or image.is_complex():
        raise ValueError(f"image must have shape (C, H, W) and a real dtype, got {tuple(image.shape)}, {image.dtype}.")
    values = image.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise ValueError(f"image must be finite, got {int((~np.isfinite(values)).sum())} values that are not.")
    low, high = values.min(), values.max()
    if low == high:
        return torch.zeros(image.shape[1:], dtype=torch.bool, device=image.device)
    values = (values - low) / (high - low)
    found = _strokes(values.mean(axis=0), rule)
    if rule.colour is not None and len(values) == 3:
        found |= np.ptp(values, axis=0) >= rule.colour
    if found.any() and rule.margin:
        found = binary_dilation(found, np.ones((3, 3)), iterations=rule.margin)
    if found.mean() > LARGEST_SHARE:
        raise ValueError(
            f"text and calipers must cover less than {LARGEST_SHARE:.0%} of the image, got {found.mean():.0%}; "
            "make a coloured map grey first, or set colour to None."
        )
    return torch.from_numpy(found).to(image.device)


def remove_overlay(image: torch.Tensor, rule: OverlayRule = USUAL) -> torch.Tensor:
    """The image with its burned-in pixels replaced by scikit-image's biharmonic inpainting.

    Equal images give equal results.

    Args:
        image: (C, H, W) of any real dtype; it is not changed.
        rule: which pixels are burned in.

    Returns:
        (C, H, W) new tensor with the dtype and device of ``image``. Pixels that are not burned in keep their values.

    Raises:
        ValueError: As `find_overlay`.
        ImportError: If scikit-image is missing.

    References:
        Damelin and Hoang (2018), On surface completion and image inpainting by biharmonic functions, IJMMS; Mikolaj et
        al. (2023), Removing confounding information from fetal ultrasound images, arXiv 2303.13918, for the purpose.

    Example:
        >>> image = torch.full((1, 32, 32), 0.2)
        >>> image[0, 8, 4:12], image[0, 20, 20] = 1.0, 0.0
        >>> round(float(remove_overlay(image).max()), 6)
        0.2
    """
    found = find_overlay(image, rule)
    return fill_hidden(image.detach(), ~found.expand(image.shape), "inpaint") if found.any() else image.clone()


def _strokes(grey: NDArray[np.float64], rule: OverlayRule) -> NDArray[np.bool_]:
    """(H, W) thin, bright, connected pixels of a grey image."""
    grey = (grey - grey.min()) / (np.ptp(grey) or 1.0)
    found = _of_size(grey >= rule.brightness, rule.least)
    if not found.any():
        return found
    # Where more than half of a window is dark enough, or too bright, its median need not be known.
    thin = _mostly(grey <= rule.brightness - rule.contrast, rule.window)
    places = np.nonzero(found & ~thin & ~_mostly(grey > 1 - rule.contrast, rule.window))
    found &= thin
    windows = sliding_window_view(np.pad(grey, rule.window // 2, mode="reflect"), (rule.window, rule.window))
    for start in range(0, len(places[0]), CHUNK):
        rows, columns = (axis[start : start + CHUNK] for axis in places)
        medians = np.median(windows[rows, columns], axis=(1, 2))
        found[rows, columns] = grey[rows, columns] - medians >= rule.contrast
    return _of_size(found, rule.least)


def _mostly(pixels: NDArray[np.bool_], window: int) -> NDArray[np.bool_]:
    """(H, W) where more than half of the window around a pixel is of these; images are mirrored at their edges."""
    counts = uniform_filter(pixels.astype(np.float64), window, mode="mirror") * window**2
    return np.asarray(counts > window**2 / 2 + 0.25, dtype=np.bool_)


def _of_size(found: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    parts, _ = label(found, np.ones((3, 3)))
    kept = np.bincount(parts.ravel()) >= least
    kept[0] = False
    return np.asarray(kept[parts], dtype=np.bool_)
