# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A region's own shape at another place of the same image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from monai_shortcut.regions.pixels import RegionError, bounding_box, region_generator


def shift_region(region: torch.Tensor) -> torch.Tensor:
    """The region's shape moved to a place where it covers as little of the region as possible.

    The shape is neither turned nor cut. Of all places where it fits into the image, those that share the fewest pixels
    with the region are kept, and one of them is drawn with equal chances. The region is the seed: workers, caches,
    epochs and devices draw alike. The image's content plays no part; a place may lie in an empty border.

    Args:
        region: (*spatial) bool.

    Returns:
        (*spatial) bool, with as many pixels as ``region``, on its device.

    Raises:
        RegionError: If the region is empty, or every place covers more than half of it.

    Example:
        >>> shift_region(torch.tensor([[True, True, False, False]])).tolist()
        [[False, False, True, True]]
    """
    pixels = region.cpu().numpy()
    box = bounding_box(region)
    shape = pixels[box]
    overlap = _overlaps(shape, [part.start for part in box], pixels.shape)
    fewest, area = int(overlap.min()), int(shape.sum())
    if 2 * fewest > area:
        raise RegionError(
            "shifted_roi needs a place that leaves at least half of the region visible, got a region of "
            f"{area} pixels in an image of {pixels.shape}, of which at most {area - fewest} stay visible."
        )
    places = np.flatnonzero(overlap == fewest)
    place = np.unravel_index(region_generator(pixels).choice(places), overlap.shape)
    moved = np.zeros_like(pixels)
    moved[tuple(slice(start, start + n) for start, n in zip(place, shape.shape, strict=True))] = shape
    return torch.from_numpy(moved).to(region.device)


def _overlaps(shape: NDArray[np.bool_], start: list[int], image_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Pixels that the shape shares with itself at ``start``, for every place of its box in the image."""
    counts = shape.astype(np.float64)
    shared = np.rint(fftconvolve(counts, np.flip(counts))).astype(np.int64)  # index n - 1 is no displacement
    overlap = np.zeros([n - size + 1 for n, size in zip(image_shape, shape.shape, strict=True)], dtype=np.int64)
    here, there = [], []
    for first, size, places in zip(start, shape.shape, overlap.shape, strict=True):
        lowest, highest = max(0, first - size + 1), min(places, first + size)
        here.append(slice(lowest, highest))
        there.append(slice(lowest - first + size - 1, highest - first + size - 1))
    overlap[tuple(here)] = shared[tuple(there)]
    return overlap
