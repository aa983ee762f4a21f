# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A known mark on real images, tied to the label with a chosen strength."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

MARKS = {"tag": 0.1, "gain": 0.3, "blur": 1.0}  # with their usual amounts
LEVELS = ("absent", "present")
_GLYPHS = ((1, 0, 1, 1, 1, 0, 1, 1, 0, 1), (1, 1, 1, 0, 1, 0, 0, 1, 1, 1), (1, 0, 1, 1, 1, 0, 1, 0, 0, 1))


def plant_mark(image: torch.Tensor, mark: str = "tag", amount: float | None = None) -> torch.Tensor:
    """Put a mark on an image.

    Args:
        image: (C, *spatial) of two or three spatial axes and any dtype; it is not changed.
        mark: "tag", a bright burned-in pattern on black in the first corner, in every channel and slice; "gain",
            intensities stretched from the image's minimum; or "blur", a Gaussian blur of each channel.
        amount: height of the tag as a share of the shorter of the first two sides (0.1 by default), share by which
            intensities are stretched (0.3), or standard deviation of the blur in pixels (1.0).

    Returns:
        (C, *spatial) new tensor with the dtype and device of ``image``. Integers are rounded and kept in the range of
        their dtype; floats are not clipped.

    Raises:
        ValueError: If the mark or the shape is not as described, or the amount is not positive.

    Example:
        >>> plant_mark(torch.tensor([[[0.0, 1.0, 2.0]]]), "gain", 0.5).tolist()
        [[[0.0, 1.5, 3.0]]]
    """
    check_mark(mark, amount)
    if image.ndim not in (3, 4):
        raise ValueError(f"image must have shape (C, H, W) or (C, H, W, D), got {tuple(image.shape)}.")
    size = MARKS[mark] if amount is None else float(amount)
    if mark == "tag":
        return _tagged(image, size)
    # Half precision has no Gaussian filter, and integers must not overflow.
    values = image.detach().cpu().double()
    if mark == "gain":
        low = values.min()
        values = low + (values - low) * (1 + size)
    else:
        values = torch.from_numpy(gaussian_filter(values.numpy(), (0, *[size] * (image.ndim - 1))))
    if not image.is_floating_point():
        limits = (0, 1) if image.dtype == torch.bool else (torch.iinfo(image.dtype).min, torch.iinfo(image.dtype).max)
        values = values.round().clamp(*limits)
    return values.to(dtype=image.dtype, device=image.device)


def planted_levels(
    labels: ArrayLike, units: Sequence[object], strength: float, seed: int = 0, marked_labels: Sequence[int] = (1,)
) -> NDArray[np.object_]:
    """Which images carry the mark.

    The mark is present with probability (1 + strength) / 2 in images of a marked label, (1 - strength) / 2 in others.
    Chance comes from a hash of seed and unit, not from a random stream: every process, epoch and table agrees.

    Args:
        labels: (N,) class of each image, integers.
        units: (N,) image ids, or patient ids, so that images of a patient with one label agree.
        strength: in [-1, 1]; 0 plants independently of the label, 1 ties mark and label completely.
        seed: changes which images are marked.
        marked_labels: classes that the mark goes along with.

    Returns:
        (N,) object: "absent" or "present".

    Raises:
        ValueError: If labels and units differ in length or strength is out of range.

    Example:
        >>> planted_levels([0, 1], ["a", "b"], strength=1.0).tolist()
        ['absent', 'present']
    """
    if not -1 <= strength <= 1:
        raise ValueError(f"strength must be in [-1, 1], got {strength}.")
    label = np.asarray(labels)
    if label.shape != (len(units),):
        raise ValueError(f"labels must have shape ({len(units)},) to match units, got {label.shape}.")
    chance = np.array([_chance(seed, unit) for unit in units])
    present = chance < (1 + np.where(np.isin(label, marked_labels), strength, -strength)) / 2
    return np.where(present, LEVELS[1], LEVELS[0]).astype(object)


def check_mark(mark: str, amount: float | None) -> None:
    """Refuse settings of ``plant_mark`` that do not exist, before there is an image.

    Args:
        mark: one of ``MARKS``.
        amount: a positive number, or None.

    Raises:
        ValueError: If a setting is not as described.
    """
    if mark not in MARKS:
        raise ValueError(f"mark must be one of {', '.join(MARKS)}, got {mark!r}.")
    if amount is not None and not (isinstance(amount, Real) and 0 < amount < float("inf")):
        raise ValueError(f"amount must be a positive number, got {amount!r}.")


def _chance(seed: int, unit: object) -> float:
    """A number in [0, 1), even over units."""
    digest = hashlib.blake2b(f"{seed}/{unit}".encode(), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def _tagged(image: torch.Tensor, share: float) -> torch.Tensor:
    """A few letters in white on black, which any display burns in."""
    glyphs = torch.tensor(_GLYPHS, dtype=torch.bool, device=image.device)
    cell = max(1, round(share * min(image.shape[1:3]) / len(glyphs)))
    pattern = glyphs.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    pattern = pattern[: image.shape[1], : image.shape[2]]
    pattern = pattern.reshape(*pattern.shape, *[1] * (image.ndim - 3))
    marked = image.clone()
    corner = marked[:, : pattern.shape[0], : pattern.shape[1]]
    corner[:] = torch.where(pattern, image.max(), image.min())
    return marked
