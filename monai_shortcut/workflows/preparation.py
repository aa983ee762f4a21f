# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Whether the steps that follow a mask leave anything of what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import Compose

from monai_shortcut.regions.strategies import RegionError
from monai_shortcut.transforms import MaskROId

_LOOKED_AT = 3  # images that a mask left something of


def require_shown(prepare: Callable[[Any], Any], items: Iterable[Mapping[str, Any]], strategy: str) -> None:
    """Refuse a preparation that makes one grey of every image that a masking strategy shows something of.

    A normalisation over the pixels that are not 0 does so with silhouettes, which are 1 there: a control that shows
    nothing proves nothing.

    Args:
        prepare: preprocessing of an item, with a `MaskROId` of this strategy.
        items: images; those whose region cannot be used are passed over.
        strategy: of the mask.

    Raises:
        ValueError: If it does, with the name of the step.
    """
    steps = list(prepare.flatten().transforms) if isinstance(prepare, Compose) else [prepare]
    seen: list[str] = []
    for item in items:
        try:
            found = erased_by(steps, item)
        except RegionError:
            continue
        seen += [] if found is None else [found]
        if len(seen) == _LOOKED_AT:
            break
    if seen and all(seen):
        raise ValueError(
            f"every step after the mask must leave something of what it shows, got {seen[0]}, which makes one grey of "
            f"images under {strategy!r}: see the order of steps in docs/how-to/region-study.md."
        )


def erased_by(steps: Sequence[Callable[[Any], Any]], item: Mapping[str, Any]) -> str | None:
    """The name of the step that leaves one value in each channel of a masked image, "" if none does.

    Args:
        steps: the preparation.
        item: an image.

    Returns:
        None if there is no mask, or it leaves nothing to be seen itself.
    """
    data, keys = dict(item), ()
    for step in steps:
        data = step(data)
        if isinstance(step, MaskROId):
            keys = tuple(step.keys)
            if _uniform(data, keys):
                return None
        elif keys and _uniform(data, keys):
            return type(step).__name__
    return "" if keys else None


def _uniform(data: Mapping[Any, Any], keys: Sequence[Any]) -> bool:
    images = [torch.as_tensor(data[key]).flatten(1) for key in keys if key in data]
    return all(bool((image.amax(dim=1) <= image.amin(dim=1)).all()) for image in images)
