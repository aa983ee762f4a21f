# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Items of a MONAI dataset as a reader study takes them: found by name, read only when they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.utils import convert_to_tensor

from monai_shortcut.transforms.metadata import placed_like, spacing_of


class ReadingItems(Sequence[dict[str, Any]]):
    """Image, region and spacing of some items of a dataset.

    Args:
        dataset: what gives dictionaries by number, such as a MONAI dataset with its transforms.
        places: numbers of the items.
        image_key: entry that holds the image (C, *spatial).
        roi_key: entry that holds the region of interest; None if only whole images are read.
        swapped_key: entry that holds another patient's region, where there is one.
    """

    def __init__(
        self,
        dataset: Any,
        places: Sequence[int],
        image_key: str = "image",
        roi_key: str | None = "roi",
        swapped_key: str = "swapped_roi",
    ) -> None:
        self.dataset, self.places = dataset, list(places)
        self._keys = {"image": image_key, "roi": roi_key, "swapped_roi": swapped_key}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        item = self.dataset[self.places[index]]
        if not isinstance(item, Mapping):
            raise ValueError(f"items of the dataset must be dictionaries, got {type(item).__name__}.")
        needed = [key for name, key in self._keys.items() if name != "swapped_roi" and key is not None]
        if absent := [key for key in needed if key not in item]:
            raise ValueError(f"items must have the keys {', '.join(needed)}, got none named {', '.join(absent)}.")
        if self._keys["roi"] in needed:
            item = {**item, self._keys["roi"]: placed_like(item[self._keys["roi"]], item[self._keys["image"]])}
        found = {
            name: convert_to_tensor(item[key], track_meta=False) for name, key in self._keys.items() if key in item
        }
        origins = [item[key] for key in needed[::-1]]
        return found | {"spacing": next(filter(None, map(spacing_of, origins)), None)}


def raw_items(dataset: Any) -> Sequence[Any]:
    """What a dataset has before its transforms, if it says so as MONAI's do, else its items themselves."""
    raw = getattr(dataset, "data", None)
    return raw if isinstance(raw, Sequence) and len(raw) == len(dataset) else _All(dataset)


class _All(Sequence[Any]):
    """Items of what has a length and numbers, one after the other."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        return self._dataset[index]


def item_names(dataset: Any, image_key: str, id_key: str) -> list[str]:
    """Names of all items: their entry, or the path of the file that the image is in.

    Args:
        dataset: as in `ReadingItems`.
        image_key: entry of the image, or of its path.
        id_key: entry of the name.

    Raises:
        ValueError: If an item has neither.
    """
    return [_name(item, image_key, id_key) for item in raw_items(dataset)]


def _name(item: Any, image_key: str, id_key: str) -> str:
    if id_key in item:
        name = item[id_key]
        return str(name.item() if isinstance(name, torch.Tensor) else name)
    image = item.get(image_key)
    path = image if isinstance(image, str | Path) else getattr(image, "meta", {}).get("filename_or_obj")
    if path is None:
        raise ValueError(f"items must have the key {id_key!r}, or an image from a file, got {sorted(item)}.")
    return str(path)
