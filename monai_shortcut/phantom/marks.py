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

from monai_shortcut.regions.pixels import where

MARKS = ("tag", "gain", "blur")
AMOUNTS = {"tag": 0.1, "gain": 0.3, "blur": 1.0}  # the usual ones
LEVELS = ("absent", "present")
_GLYPHS = ((1, 0, 1, 1, 1, 0, 1, 1, 0, 1), (1, 1, 1, 0, 1, 0, 0, 1, 1, 1), (1, 0, 1, 1, 1, 0, 1, 0, 0, 1))


def plant_mark(
    image: torch.Tensor, mark: str = "tag", amount: float | None = None, value: float | None = None
) -> torch.Tensor:
    """Put a mark on an image.

    Args:
        image: (C, *spatial) of two or three spatial axes and any real dtype; it is not changed.
        mark: "tag", a bright burned-in pattern on black in the first corner, in every channel and slice; "gain",
            intensities stretched from the image's minimum; or "blur", a Gaussian blur of each channel.
        amount: height of the tag as a share of the shorter of the first two sides (0.1 by default), share by which
            intensities are stretched (0.3), or standard deviation of the blur in pixels (1.0).
        value: intensity of the tag's pattern; the image's maximum by default, so that an image of one intensity shows
            no tag. Its black is the image's minimum.

    Returns:
        (C, *spatial) new tensor with the dtype and device of ``image``. Integers are rounded and kept in the range of
        their dtype (those beyond 2^53 lose their last digits); floats are not clipped.

    Raises:
        ValueError: If the mark or the shape is not as described, the amount is not positive, the image is complex or
            holds values that are not finite, or the value is not finite or of another mark than the tag.

    Example:
        >>> plant_mark(torch.tensor([[[0.0, 1.0, 2.0]]]), "gain", 0.5).tolist()
        [[[0.0, 1.5, 3.0]]]
    """
    check_mark(mark, amount, value)
    _check_image(image)
    image, size = image.detach(), AMOUNTS[mark] if amount is None else float(amount)
    if mark == "tag":
        return _tagged(image, size, value)
    # Half precision has no Gaussian filter, and integers must not overflow.
    values = image.cpu().double()
    if mark == "gain":
        low = values.min()
        values = low + (values - low) * (1 + size)
    else:
        values = torch.from_numpy(gaussian_filter(values.numpy(), (0, *[size] * (image.ndim - 1))))
    return _in_range(values, image.dtype).to(image.device)


def planted(
    labels: ArrayLike, units: Sequence[object], strength: float, seed: int = 0, marked_labels: Sequence[int] = (1,)
) -> NDArray[np.bool_]:
    """Which images carry the mark.

    The mark is present with probability (1 + strength) / 2 in images of a marked label, (1 - strength) / 2 in others.
    Chance comes from a hash of seed and unit, not from a random stream: every process, epoch and table agrees.

    Args:
        labels: (N,) class of each image, integers.
        units: (N,) image ids, or patient ids, so that images of a patient with one label agree; 7 and "7" are one id.
        strength: in [-1, 1]; 0 plants independently of the label, 1 ties mark and label completely, -1 the other way.
        seed: changes which images are marked.
        marked_labels: classes that the mark goes along with, integers.

    Returns:
        (N,) bool.

    Raises:
        ValueError: If labels and units differ in length, labels are not integers or strength is out of range.

    Example:
        >>> planted([0, 1], ["a", "b"], strength=1.0).tolist()
        [False, True]
    """
    check_tie(strength, marked_labels)
    label = np.asarray(labels)
    if label.shape != (len(units),):
        raise ValueError(f"labels must have shape ({len(units)},) to match units, got {label.shape}.")
    if label.size and label.dtype.kind not in "biu":
        raise ValueError(f"labels must be integers, got {label.dtype}.")
    chance = np.array([_chance(seed, unit) for unit in units], dtype=np.float64)
    is_marked = np.isin(label, np.asarray(marked_labels))
    return np.asarray(chance < (1 + np.where(is_marked, strength, -strength)) / 2)


def planted_levels(
    labels: ArrayLike, units: Sequence[object], strength: float, seed: int = 0, marked_labels: Sequence[int] = (1,)
) -> NDArray[np.object_]:
    """Whether each image carries the mark, as the levels of an attribute: ``planted`` in words.

    Args:
        labels: (N,) class of each image, integers.
        units: (N,) image ids, or patient ids.
        strength: in [-1, 1].
        seed: changes which images are marked.
        marked_labels: classes that the mark goes along with.

    Returns:
        (N,) object: "absent" or "present".

    Raises:
        ValueError: As ``planted``.

    Example:
        >>> planted_levels([0, 1], ["a", "b"], strength=1.0).tolist()
        ['absent', 'present']
    """
    present = planted(labels, units, strength, seed, marked_labels)
    return np.where(present, LEVELS[1], LEVELS[0]).astype(object)


def check_mark(mark: str, amount: float | None = None, value: float | None = None) -> None:
    """Refuse settings of ``plant_mark`` that do not exist, before there is an image.

    Args:
        mark: one of ``MARKS``.
        amount: a positive number, or None.
        value: a finite number if the mark is a tag, or None.

    Raises:
        ValueError: If a setting is not as described.
    """
    if mark not in MARKS:
        raise ValueError(f"mark must be one of {', '.join(MARKS)}, got {mark!r}.")
    if amount is not None and not (isinstance(amount, Real) and 0 < amount < float("inf")):
        raise ValueError(f"amount must be a positive number, got {amount!r}.")
    if value is not None and mark != "tag":
        raise ValueError(f"value must be None unless mark is tag, got {value!r} for {mark}.")
    if value is not None and not (isinstance(value, Real) and np.isfinite(float(value))):
        raise ValueError(f"value must be a finite number, got {value!r}.")


def check_tie(strength: float, marked_labels: Sequence[int]) -> None:
    """Refuse settings of ``planted`` that do not exist, before there is a label.

    Args:
        strength: in [-1, 1].
        marked_labels: integers.

    Raises:
        ValueError: If a setting is not as described.
    """
    if not -1 <= strength <= 1:
        raise ValueError(f"strength must be in [-1, 1], got {strength}.")
    # Names would equal no label, and silently mark none.
    if np.size(marked_labels) and np.asarray(marked_labels).dtype.kind not in "biu":
        raise ValueError(f"marked_labels must be integers, got {marked_labels!r}.")


def _check_image(image: torch.Tensor) -> None:
    if image.ndim not in (3, 4) or not image.numel():
        raise ValueError(f"image must have shape (C, H, W) or (C, H, W, D), got {tuple(image.shape)}.")
    if image.is_complex():
        raise ValueError(f"image must be of a real dtype, got {image.dtype}.")
    if image.is_floating_point() and not image.isfinite().all():
        raise ValueError(f"image must be finite, got {int((~image.isfinite()).sum())} values that are not.")


def _in_range(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Float64 as another dtype; integers rounded and kept in its range."""
    if not dtype.is_floating_point:
        low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        # Float64 rounds the largest 64-bit integers up, out of their range.
        top = float(high) if int(float(high)) <= high else float(np.nextafter(float(high), 0))
        values = values.round().clamp(float(low), top)
    return values.to(dtype)


def _chance(seed: int, unit: object) -> float:
    """A number in [0, 1), even over units."""
    digest = hashlib.blake2b(f"{seed}/{unit}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53  # 53 bits: all 64 may round up to 1


def _tagged(image: torch.Tensor, share: float, value: float | None) -> torch.Tensor:
    """A few letters, bright on black, which any display burns in."""
    glyphs = torch.tensor(_GLYPHS, dtype=torch.bool, device=image.device)
    cell = max(1, round(share * min(image.shape[1:3]) / len(glyphs)))
    pattern = glyphs.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    pattern = pattern[: image.shape[1], : image.shape[2]]
    pattern = pattern.reshape(*pattern.shape, *[1] * (image.ndim - 3))
    marked = image.clone()
    dark, bright = _extremes(image)
    if value is not None:
        bright = _in_range(torch.tensor(float(value), dtype=torch.float64), image.dtype).to(image.device)
    marked[:, : pattern.shape[0], : pattern.shape[1]] = where(pattern, bright, dark)
    return marked


def _extremes(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if image.dtype not in (torch.uint16, torch.uint32, torch.uint64):  # of which PyTorch finds none
        return image.min(), image.max()
    pixels = image.cpu().numpy()
    low, high = (torch.from_numpy(np.asarray(extreme)).to(image.device) for extreme in (pixels.min(), pixels.max()))
    return low, high
