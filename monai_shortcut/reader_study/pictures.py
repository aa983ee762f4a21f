# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An image as readers see it under each masking strategy: a plane of 8 bits, and nothing else in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from monai_shortcut.regions.margins import RegionMargins
from monai_shortcut.regions.strategies import TABLE, check_settings, mask_roi

VISIBLE = "visible"
_TAILS = (1, 99)  # percentiles of the visible pixels that become black and white


@dataclass(frozen=True)
class Display:
    """How images are masked and shown.

    Attributes:
        window: the value that is black and the one that is white, for all images; or "visible": percentiles 1 and 99
            of the pixels that a picture shows, for each picture by itself. Hidden pixels never set the scale.
            Silhouettes are black and white.
        rows_first: whether images are (C, rows, columns). MONAI's ``LoadImage`` gives PNG and JPEG files as (C,
            columns, rows) unless ``reverse_indexing=False``; say False then, or readers see them transposed.
        section: of volumes, the axis across which one slice is cut: the slice with most of the region. None: volumes
            are refused.
        margin: distance by which the region first grows (> 0) or shrinks (< 0), in ``unit``.
        unit: "pixel", "mm" or "area".
        fill: value of hidden pixels, as in `mask_roi`.

    Raises:
        ValueError: If a setting is not as described.
    """

    window: tuple[float, float] | str = VISIBLE
    rows_first: bool = True
    section: int | None = None
    margin: float = 0.0
    unit: str = "pixel"
    fill: float | str = 0.0

    def __post_init__(self) -> None:
        check_settings("full", self.margin, self.unit, self.fill)
        if self.window != VISIBLE and not (len(self.window) == 2 and float(self.window[0]) < float(self.window[1])):
            raise ValueError(f'window must be two numbers, the lower first, or "{VISIBLE}", got {self.window!r}.')
        if self.section not in (None, 0, 1, 2):
            raise ValueError(f"section must be the axis 0, 1 or 2 of a volume, or None, got {self.section!r}.")


@dataclass(frozen=True)
class Picture:
    """A picture for the page.

    Attributes:
        png: the file, without text and times.
        ratio: width over height on the screen, pixels having the size that they have in the patient.
    """

    png: bytes
    ratio: float


def masked(item: Mapping[str, Any], strategies: Sequence[str], display: Display) -> dict[str, torch.Tensor]:
    """One image under each strategy, as a model may see it.

    Args:
        item: ``image`` (C, *spatial), ``roi`` (1, *spatial) or (C, *spatial), perhaps ``swapped_roi``, the region of
            another patient, and ``spacing`` (n_spatial,), millimetres per pixel along each axis.
        strategies: masking strategies.
        display: margin and fill.

    Raises:
        ValueError: As `mask_roi`.
    """
    image, spacing = torch.as_tensor(item["image"]), item.get("spacing")
    needed = any(TABLE[name].needs_roi for name in strategies)
    margins = RegionMargins(torch.as_tensor(item["roi"] if needed else torch.zeros_like(image[:1])))
    swapped = None if item.get("swapped_roi") is None else torch.as_tensor(item["swapped_roi"])
    settings = display.margin, display.unit, display.fill, spacing
    return {name: mask_roi(image, margins, name, *settings, swapped_roi=swapped) for name in strategies}


def visible(item: Mapping[str, Any], strategies: Sequence[str], display: Display) -> dict[str, NDArray[np.bool_]]:
    """Which pixels of an image (C, *spatial) each strategy shows."""
    ones = torch.ones(torch.as_tensor(item["image"]).shape, dtype=torch.uint8)
    plain = Display(margin=display.margin, unit=display.unit)
    found = masked({**item, "image": ones}, strategies, plain)
    whole = [name for name in strategies if TABLE[name].shown == "silhouette"]
    return {name: np.ones(ones.shape, bool) if name in whole else seen.numpy() > 0 for name, seen in found.items()}


def pictures(item: Mapping[str, Any], images: Mapping[str, torch.Tensor], display: Display) -> dict[str, Picture]:
    """The pictures of one image.

    Args:
        item: the image, as in `masked`.
        images: the same under each strategy.
        display: how they are shown.

    Returns:
        A picture for each strategy, grey of one channel or in colours of three.

    Raises:
        ValueError: If images have neither one nor three channels, or three spatial axes and no section is named.
    """
    seen = visible(item, list(images), display)
    cut = _Cut.of(item, display)
    found = {}
    for name, image in images.items():
        values = image.detach().cpu().double().numpy()
        window = (0.0, 1.0) if TABLE[name].shown == "silhouette" else _window(values, seen[name], display)
        found[name] = Picture(png(cut.plane(eight_bits(values, window))), cut.ratio)
    return found


def eight_bits(values: NDArray[np.float64], window: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels: 0 up to the lower end of the window, 255 from the upper one on, linear between; NaN is 0.

    Example:
        >>> eight_bits(np.array([-1.0, 0.0, 0.5, 2.0, np.nan]), (0.0, 1.0)).tolist()
        [0, 0, 128, 255, 0]
    """
    low, high = window
    share = np.nan_to_num((values - low) / (high - low), nan=0.0).clip(0, 1)
    return np.asarray(np.floor(255 * share + 0.5), dtype=np.uint8)


def png(plane: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels (rows, columns) or (rows, columns, 3), without any text."""
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(plane)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _window(values: NDArray[np.float64], seen: NDArray[np.bool_], display: Display) -> tuple[float, float]:
    if display.window != VISIBLE:
        return float(display.window[0]), float(display.window[1])
    shown = values[seen & np.isfinite(values)]
    low, high = np.percentile(shown, _TAILS).tolist() if shown.size else (0.0, 1.0)
    return low, max(high, low + 1e-12)


@dataclass(frozen=True)
class _Cut:
    """The plane of an image that is shown.

    Attributes:
        axis: axis of the volume, after the channels, that is cut across; None of images.
        place: number of the slice.
        rows_first: as in `Display`.
        ratio: as in `Picture`.
    """

    axis: int | None
    place: int
    rows_first: bool
    ratio: float

    @classmethod
    def of(cls, item: Mapping[str, Any], display: Display) -> _Cut:
        shape = tuple(torch.as_tensor(item["image"]).shape)
        if shape[0] not in (1, 3):
            raise ValueError(f"images must have one channel, or three that are colours, got shape {shape}.")
        if len(shape) == 4 and display.section is None:
            raise ValueError(f"images must have two axes, or section must name the axis to cut across, got {shape}.")
        axis = display.section if len(shape) == 4 else None
        place = 0
        if axis is not None:
            region = torch.as_tensor(item["roi"]) != 0
            others = tuple(other for other in range(4) if other != axis + 1)
            place = int(region.sum(dim=others).argmax())
        sizes = [length for number, length in enumerate(shape[1:]) if number != axis]
        spacing = item.get("spacing") or [1.0] * (len(shape) - 1)
        steps = [float(step) for number, step in enumerate(spacing) if number != axis]
        first, second = (size * step for size, step in zip(sizes, steps, strict=True))
        return cls(axis, place, display.rows_first, second / first if display.rows_first else first / second)

    def plane(self, levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(rows, columns) or (rows, columns, 3) of an image (C, *spatial)."""
        flat = levels if self.axis is None else np.moveaxis(levels, self.axis + 1, 0)[self.place]
        flat = flat if self.rows_first else np.moveaxis(flat, 1, 2)
        return flat[0] if len(flat) == 1 else np.moveaxis(flat, 0, -1)
