# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The pixels of a region: read from a mask's values or labels, their box, and their own random generator."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from numpy.typing import NDArray

Box = tuple[slice, ...]
_SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}


class RegionError(ValueError):
    """A region that these settings cannot use: it is empty, becomes empty, or has no room."""


def bounding_box(roi: torch.Tensor) -> Box:
    """The smallest box that holds a region.

    Args:
        roi: (*spatial) region; bool, or values 0 and 1, or 0 and 255.

    Returns:
        One slice per axis: ``roi[bounding_box(roi)]`` holds every pixel of the region.

    Raises:
        RegionError: If the region is empty.
        ValueError: If it holds other values.

    Example:
        >>> roi = torch.zeros(4, 5)
        >>> roi[1, 2] = roi[3, 3] = 1
        >>> bounding_box(roi)
        (slice(1, 4, None), slice(2, 4, None))
    """
    return box_of(as_booleans(roi).cpu().numpy())


def box_of(inside: NDArray[np.bool_]) -> Box:
    """``bounding_box`` of an array.

    Args:
        inside: (*spatial) region.

    Raises:
        RegionError: If the region is empty.
    """
    part, box = nonempty(inside), []
    for axis in range(inside.ndim):
        lines = np.flatnonzero(part.any(axis=tuple(other for other in range(inside.ndim) if other != axis)))
        box.append(slice(int(lines[0]), int(lines[-1]) + 1))
        part = inside[tuple(box)]  # the next axis looks at what is left
    return tuple(box)


def choose_labels(roi: torch.Tensor, labels: int | Sequence[int]) -> torch.Tensor:
    """The region made of some labels of a multi-label mask.

    Args:
        roi: tensor of any shape, of whole numbers: one label per pixel.
        labels: one label or several. All of them must be in the mask: without a part, it is another region.

    Returns:
        Tensor of the same shape, bool: whether the pixel has one of the labels.

    Raises:
        RegionError: If a label is absent; the message lists the labels that are there.
        ValueError: If the labels or the mask are not whole numbers.

    Example:
        >>> choose_labels(torch.tensor([0, 1, 2, 3]), [1, 3]).tolist()
        [False, True, False, True]
    """
    wanted = check_labels(labels)
    found = [float(value) for value in np.unique(roi.cpu().double().numpy())]
    broken = [value for value in found if not value.is_integer()]
    if broken:
        raise ValueError(
            f"roi must hold whole numbers to choose labels from, got {_listed(broken)}; "
            'resize it with mode="nearest" so that no values appear in between.'
        )
    absent = [label for label in wanted if label not in found]
    if absent:
        raise RegionError(
            f"roi_labels must be among the labels of the image ({_listed(found)}), got {_listed(absent)}."
        )
    region: torch.Tensor = torch.stack([roi == label for label in wanted]).any(dim=0)
    return region


def check_labels(labels: int | Sequence[int]) -> tuple[int, ...]:
    """Labels as a tuple of int.

    Raises:
        ValueError: If there are none, or one is not a whole number.
    """
    several = (labels,) if isinstance(labels, Integral | str) or not isinstance(labels, Sequence) else tuple(labels)
    if not several or not all(isinstance(label, Integral) and not isinstance(label, bool) for label in several):
        raise ValueError(f"roi_labels must be an integer or several of them, got {labels!r}.")
    return tuple(int(label) for label in several)


def as_booleans(roi: torch.Tensor) -> torch.Tensor:
    """A region as booleans.

    Raises:
        ValueError: If it holds values other than 0 and 1, or 0 and 255.
    """
    if roi.dtype == torch.bool:
        return roi
    if roi.isnan().any():
        raise ValueError("roi must hold only 0 and 1 (or 0 and 255), got NaN.")
    inside = roi != 0
    if not any((inside == (roi == one)).all() for one in (1, 255)):
        raise ValueError(
            f"roi must hold only 0 and 1 (or 0 and 255), got {_listed(np.unique(roi.cpu().numpy()).tolist())}; "
            'threshold it, or resize it with mode="nearest" so that no values appear in between; '
            "roi_labels chooses from several labels."
        )
    return inside


def where(condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """`torch.where`, also of unsigned integers, of which PyTorch before 2.12 has none: their bits are chosen as signed.

    Args:
        condition: bool, (*spatial) or of a shape that broadcasts.
        first: where the condition holds.
        second: elsewhere, of the dtype of ``first``.

    Example:
        >>> large, small = torch.tensor([2**63, 2], dtype=torch.uint64)
        >>> where(torch.tensor([True, False]), large, small).tolist()
        [9223372036854775808, 2]
    """
    signed = _SIGNED.get(first.dtype, first.dtype)
    return torch.where(condition, first.view(signed), second.view(signed)).view(first.dtype)


def nonempty(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region itself.

    Args:
        inside: (*spatial) region.

    Raises:
        RegionError: If it has no pixel.
    """
    if not inside.any():
        raise RegionError("roi must hold at least one pixel, got an empty region.")
    return inside


def region_generator(inside: NDArray[np.bool_]) -> np.random.Generator:
    """A random generator whose seed is the region: workers, caches, runs and devices draw alike.

    Args:
        inside: (*spatial) region.
    """
    content = f"{inside.shape}".encode() + np.packbits(inside).tobytes()
    return np.random.default_rng(int.from_bytes(hashlib.sha256(content).digest()[:16], "big"))


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
