# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images of a batch as an evaluation of masking strategies shows them to the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor

from monai_shortcut.regions.views import masked_views
from monai_shortcut.transforms.metadata import like, placed_like, require_values

NO_SWAPPED = (
    "the batch has no other patient's region (swapped_key); Cohort.with_swapped_roi draws one for each image, and the "
    "preprocessing loads it like the image's own"
)


def masked_images(
    image: torch.Tensor,
    region: torch.Tensor,
    strategies: Sequence[str],
    after_masking: Callable[[Any], Any] | None = None,
    swapped: torch.Tensor | None = None,
) -> tuple[dict[str, torch.Tensor], str]:
    """One image under every masking strategy that its region allows.

    Args:
        image: (C, *spatial), a MetaTensor or not; it is not changed.
        region: (1, *spatial) or (C, *spatial), on the CPU, where distances are computed.
        strategies: as for `mask_roi`.
        after_masking: transform of a masked image, with the metadata of the image.
        swapped: region of another patient, like ``region``; only "swapped_roi" needs it.

    Returns:
        (C, *spatial) image by strategy, in dtype and on the device of the image, and why the first missing one is
        missing.
    """
    try:
        own = convert_to_tensor(placed_like(region, image), track_meta=False)
        if swapped is not None:
            require_values(swapped)
            swapped = convert_to_tensor(swapped, track_meta=False)
    except ValueError as error:
        return {}, str(error)
    masked, problems = masked_views(convert_to_tensor(image, track_meta=False), own, strategies, swapped)
    seen = {name: finished(hidden, after_masking, image) for name, hidden in masked.items()}
    return seen, next(iter(problems.values()), "")


def finished(
    hidden: torch.Tensor, after_masking: Callable[[Any], Any] | None, image: torch.Tensor | None = None
) -> torch.Tensor:
    """A masked image as the network sees it: after the last step of its preparation, without metadata.

    Args:
        hidden: (C, *spatial) masked image.
        after_masking: that step; None if there is none.
        image: whose metadata the step sees.
    """
    if after_masking is None:
        return hidden
    given = hidden if image is None else like(hidden, image)
    found: torch.Tensor = convert_to_tensor(after_masking(given), track_meta=False).to(hidden)
    return found
