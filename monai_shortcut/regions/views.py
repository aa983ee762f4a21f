# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One image under many masking strategies."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from monai_shortcut.regions.margins import RegionMargins
from monai_shortcut.regions.strategies import mask_roi


def masked_views(
    image: torch.Tensor, roi: torch.Tensor, strategies: Sequence[str], swapped_roi: torch.Tensor | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """An image under every masking strategy that its region allows, and why not under the others.

    Args:
        image: (C, *spatial) of two or three spatial axes; it is not changed.
        roi: (1, *spatial) or (C, *spatial) region, on the CPU, where distances are computed.
        strategies: as for `mask_roi`.
        swapped_roi: region of another patient, like ``roi``; only "swapped_roi" needs it.

    Returns:
        (C, *spatial) image by strategy, in dtype and on the device of the image; and the reason by strategy: a large
        region cannot be shifted, though it can be hidden.

    Example:
        >>> image, roi = torch.ones(1, 1, 3), torch.tensor([[[0, 1, 0]]])
        >>> views, problems = masked_views(image, roi, ["roi_only", "swapped_roi"])
        >>> views["roi_only"].tolist(), list(problems)
        ([[[0.0, 1.0, 0.0]]], ['swapped_roi'])
    """
    views: dict[str, torch.Tensor] = {}
    problems: dict[str, str] = {}
    margins: RegionMargins | None = None
    for strategy in strategies:
        try:
            margins = margins or RegionMargins(roi)
            views[strategy] = mask_roi(image, margins, strategy, swapped_roi=swapped_roi)
        except ValueError as error:
            problems[strategy] = str(error)
    return views, problems
