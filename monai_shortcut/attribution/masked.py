# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a network looks when a region of the image is hidden: one image under every masking strategy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from monai_shortcut.attribution.methods import Method, Question, attributions
from monai_shortcut.attribution.network import prepared
from monai_shortcut.attribution.parts import OUTSIDE, ROI
from monai_shortcut.attribution.record import MaskedPanel, MaskedView, Plane
from monai_shortcut.attribution.shares import Explanation
from monai_shortcut.regions.views import masked_views
from monai_shortcut.types import Floats, Unmeasurable


def masked_panel(
    method: Method, question: Question, swapped: torch.Tensor | None, image_id: str, label: str, name: str
) -> MaskedPanel:
    """The map of one image under every strategy of the settings.

    Args:
        method: gives the maps.
        question: about that image alone.
        swapped: (1, *spatial) bool region of another patient, on the CPU; None if there is none of this size.
        image_id: name of the image.
        label: its label.
        name: method and fill.
    """
    image, parts = question.images[0], question.parts
    plane = slice_of(parts[0, 0])
    shown, problems = masked_views(image.cpu(), (parts[0] == ROI).cpu(), question.settings.strategies, swapped)
    views = []
    for strategy, hidden in shown.items():
        seen = hidden[None].to(image)
        try:
            seen = seen if strategy == "full" else prepared(seen, question.after_masking)
            found = attributions(method, replace(question, images=seen))
        except Unmeasurable as reason:
            problems[strategy] = str(reason)
            continue
        outside = float(Explanation.of(found, parts).shares[0, OUTSIDE])
        views.append(
            MaskedView(
                strategy, drawn(seen[0], plane), drawn_map(found[0], plane), outside if np.isfinite(outside) else None
            )
        )
    return MaskedPanel(image_id, label, name, regions_of(parts, plane), tuple(views), problems)


Cut = tuple[slice, slice, slice | int] | tuple[slice, slice]


def slice_of(parts: torch.Tensor) -> Cut:
    """Where the picture of parts (*spatial) is cut: of a volume, the slice with most of the region."""
    if parts.ndim == 2:
        return slice(None), slice(None)
    return slice(None), slice(None), int((parts == ROI).sum(dim=(0, 1)).argmax())


def drawn(image: torch.Tensor, plane: Cut) -> Plane:
    """The first channel of an image (C, *spatial), from its darkest to its brightest pixel."""
    pixels = _cut(image[0], plane)
    return Plane.of(pixels, float(pixels.min()), float(pixels.max()))


def drawn_map(found: torch.Tensor, plane: Cut) -> Plane:
    """The absolute attributions of an image (*spatial), up to those of the hundredth with the largest."""
    absolute = np.abs(_cut(found, plane))
    return Plane.of(absolute, 0.0, float(np.quantile(absolute, 0.99)))


def regions_of(parts: torch.Tensor, plane: Cut) -> Plane:
    """The number of the part of each pixel, of parts (1, 1, *spatial)."""
    return Plane.of(_cut(parts[0, 0], plane), 0, 255)


def _cut(values: torch.Tensor, plane: Cut) -> Floats:
    return np.asarray(values.double().cpu().numpy()[plane])
