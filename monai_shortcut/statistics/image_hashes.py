# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that are nearly the same: found by a perceptual hash, confirmed on small copies, without a model."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dctn
from torch.nn.functional import adaptive_avg_pool2d

from monai_shortcut.statistics.duplicates import connected
from monai_shortcut.types import Integers

SAME = 0.97  # least correlation of two thumbnails that show the same
DISTANCE = 7  # bits by which hashes of the same picture may differ
SIDE = 32  # pixels along a side of a thumbnail
_LOW = 8  # lowest frequencies along an axis that the hash is made of
_BEHIND = 64  # hashes that share a band and are compared to each; all of them where the band has no more
_BLOCK = 4096  # pairs that are looked at at once; bounds the memory
_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)

Thumbnails = NDArray[np.float16]
Hashes = NDArray[np.uint64]


def thumbnail(pixels: ArrayLike) -> Thumbnails | None:
    """A small copy of an image, without its brightness, contrast, size and aspect ratio.

    Args:
        pixels: (C, H, W) or (C, H, W, D), finite; channels and slices are averaged.

    Returns:
        (32, 32) float16 means over equal parts of the image, of mean 0 and of length 1; None if all are the same.

    Raises:
        ValueError: If the image has another number of axes.
    """
    values = torch.as_tensor(np.asarray(pixels, dtype=np.float64))
    if values.ndim not in (3, 4):
        raise ValueError(f"pixels must have shape (C, H, W) or (C, H, W, D), got {tuple(values.shape)}.")
    plane = values.mean(dim=0) if values.ndim == 3 else values.mean(dim=(0, 3))
    small = adaptive_avg_pool2d(plane[None], SIDE)[0].numpy()
    small = small - small.mean()
    length = float(np.linalg.norm(small))
    return None if length <= 1e-6 * max(float(plane.abs().max()), 1e-300) else (small / length).astype(np.float16)


def perceptual_hashes(thumbnails: Thumbnails) -> Hashes:
    """64 bits of each image: which of its 64 lowest frequencies are above their median.

    Args:
        thumbnails: (N, 32, 32), as from `thumbnail`.

    Returns:
        (N,) uint64. Noise, compression and scaling change few of the bits.

    References:
        Zauner (2010), Implementation and benchmarking of perceptual image hash functions, section 3.2.1.
    """
    found = np.empty(len(thumbnails), dtype=np.uint64)
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK].astype(np.float32)
        low = dctn(block, axes=(1, 2))[:, :_LOW, :_LOW].reshape(-1, _LOW * _LOW)
        bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
        found[start : start + _BLOCK] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return found


def same_pictures(thumbnails: Thumbnails) -> Integers:
    """Group of each image, those of one group showing nearly the same.

    Two images show the same if their hashes differ in at most 7 of 64 bits and their thumbnails correlate by at least
    0.97. Hashes that differ in at most 7 bits share one of 8 bands of 8 bits. Those of a band are sorted by the other
    bands, and each is compared to the 64 that follow it. So the search grows with N log N, and misses a pair only where
    a band is shared by more.

    Args:
        thumbnails: (N, 32, 32), as from `thumbnail`.

    Returns:
        (N,) numbers of groups, from 0; an image without a double has a number of its own.

    Example:
        >>> pictures = np.random.default_rng(0).random((5, 1, 40, 50))
        >>> groups = same_pictures(np.stack([thumbnail(one) for one in [*pictures, pictures[2] * 3 + 1]]))
        >>> bool(groups[5] == groups[2]), len(np.unique(groups))
        (True, 5)
    """
    first, second = near_hashes(perceptual_hashes(thumbnails), DISTANCE)
    flat = thumbnails.reshape(len(thumbnails), -1)
    same = np.zeros(len(first), dtype=bool)
    for start in range(0, len(first), _BLOCK):
        rows = slice(start, start + _BLOCK)
        one, other = (flat[part[rows]].astype(np.float32) for part in (first, second))
        same[rows] = np.einsum("ij,ij->i", one, other) >= SAME
    return connected(np.stack([first[same], second[same]]), len(thumbnails))


def near_hashes(hashes: Hashes, distance: int) -> Integers:
    """(2, P) pairs of hashes that differ in few bits.

    Args:
        hashes: (N,) uint64.
        distance: the most bits in which they differ, at most 7: so many that one of the 8 bytes is the same.
    """
    found = []
    octets = hashes.view(np.uint8).reshape(-1, 8)
    for band in range(8):
        turned = np.ascontiguousarray(np.roll(octets, -band, axis=1)).view(">u8")[:, 0]
        order = np.argsort(turned, kind="stable")
        key = octets[order, band]
        for lag in range(1, min(_BEHIND, len(hashes) - 1) + 1):
            one, other = order[:-lag], order[lag:]
            bits = _ONES[octets[one] ^ octets[other]].sum(axis=1)
            near = (key[:-lag] == key[lag:]) & (bits <= distance)
            found.append(np.sort(np.stack([one[near], other[near]]), axis=0))
    if not found:
        return np.zeros((2, 0), dtype=np.int64)
    return np.unique(np.concatenate(found, axis=1), axis=1)
