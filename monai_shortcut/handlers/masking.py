# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images of a batch as an evaluation of masking strategies shows them to the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor

from monai_shortcut.regions.margins import RegionMargins
from monai_shortcut.regions.strategies import mask_roi
from monai_shortcut.transforms.metadata import like, placed_like


def masked_images(
    image: torch.Tensor,
    region: torch.Tensor,
    strategies: Sequence[str],
    after_masking: Callable[[Any], Any] | None = None,
) -> tuple[dict[str, torch.Tensor], str]:
    """One image under every masking strategy that its region allows.

    Args:
        image: (C, *spatial), a MetaTensor or not; it is not changed.
        region: (1, *spatial) or (C, *spatial), on the CPU, where distances are computed.
        strategies: as for `mask_roi`.
        after_masking: transform of a masked image, with the metadata of the image.

    Returns:
        (C, *spatial) image by strategy, in dtype and on the device of the image, and why the first missing one is
        missing: a large region cannot be shifted, though it can be hidden.
    """
    pixels = convert_to_tensor(image, track_meta=False)
    masked: dict[str, torch.Tensor] = {}
    problems: list[str] = []
    margins: RegionMargins | None = None
    for strategy in strategies:
        try:
            margins = margins or RegionMargins(convert_to_tensor(placed_like(region, image), track_meta=False))
            hidden = mask_roi(pixels, margins, strategy)
        except ValueError as error:
            problems.append(str(error))
            continue
        if after_masking is not None:
            hidden = convert_to_tensor(after_masking(like(hidden, image)), track_meta=False).to(pixels)
        masked[strategy] = hidden
    return masked, next(iter(problems), "")
