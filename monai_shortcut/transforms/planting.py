# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Plant a known shortcut in real images, in a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_shortcut.phantom.marks import LEVELS, check_mark, check_tie, plant_mark, planted_levels
from monai_shortcut.transforms.metadata import like


class PlantShortcut(Transform):  # type: ignore[misc]
    """Put a known mark on an image, so that the shortcut that a model may learn is known.

    :py:func:`monai_shortcut.phantom.marks.plant_mark` draws it. The result keeps the image's dtype, device and
    metadata. The mark cannot be removed: the transform is not invertible.

    Args:
        mark: "tag" (burned-in text), "gain" or "blur".
        amount: its strength; see ``plant_mark``.

    Raises:
        ValueError: If the mark does not exist or the amount is not positive.

    Example:
        >>> PlantShortcut("gain", amount=1.0)(torch.tensor([[[0.0, 1.0]]]), present=True).tolist()
        [[[0.0, 2.0]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, mark: str = "tag", amount: float | None = None) -> None:
        check_mark(mark, amount)
        self.mark = mark
        self.amount = amount

    def __call__(self, img: NdarrayOrTensor, present: bool = True) -> torch.Tensor:
        """Mark one image, or give a copy of it.

        Args:
            img: (C, *spatial) image.
            present: whether it gets the mark.

        Returns:
            (C, *spatial) image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.
        """
        image = convert_to_tensor(img, track_meta=False)
        marked = plant_mark(image, self.mark, self.amount) if present else image.clone()
        return like(marked, img)


class PlantShortcutd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`PlantShortcut` that ties the mark to the label.

    The label, the id and the seed decide whether an image is marked
    (:py:func:`monai_shortcut.phantom.marks.planted_levels`), so that epochs, workers, caches and a cohort's column
    agree. MONAI treats it as deterministic, so ``CacheDataset`` may cache its output. ``PersistentDataset`` does not
    notice other settings: give it ``hash_transform=pickle_hashing``, or one folder per setting.

    Args:
        keys: Keys of the images to mark.
        mark, amount: As in :py:class:`PlantShortcut`.
        strength: 0 marks independently of the label, 1 marks all images of a marked label and no other.
        seed: Another seed marks other images.
        label_key: Key of the label, an integer.
        id_key: Key of the image id; or of the patient id, so that a patient's images of one label agree.
        marked_labels: Labels that the mark belongs to.
        attribute_key: Key that receives "absent" or "present". If the data already hold one of them, it decides. Two
            marks on one image need two keys.
        swapped_suffix: The key ``key + swapped_suffix`` receives the image under the other level: its counterfactual.
        allow_missing_keys: Skip images that are missing.

    Raises:
        ValueError: If a setting does not exist; the message lists those that do.
    """

    backend = PlantShortcut.backend

    def __init__(
        self,
        keys: KeysCollection,
        mark: str = "tag",
        strength: float = 1.0,
        seed: int = 0,
        label_key: Hashable = "label",
        id_key: Hashable = "image_id",
        marked_labels: Sequence[int] = (1,),
        attribute_key: Hashable = "shortcut",
        swapped_suffix: str | None = None,
        amount: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        check_tie(strength, marked_labels)
        if swapped_suffix == "":
            raise ValueError("swapped_suffix must not be empty, or swapped images would replace the images, got ''.")
        self.strength = strength
        self.seed = seed
        self.label_key = label_key
        self.id_key = id_key
        self.marked_labels = tuple(marked_labels)
        self.attribute_key = attribute_key
        self.swapped_suffix = swapped_suffix
        self.converter = PlantShortcut(mark, amount)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Mark the images of one dictionary.

        Raises:
            KeyError: If an image, the label or the id is missing.
            ValueError: If the attribute's entry is neither "absent" nor "present".
        """
        d = dict(data)
        level = data[self.attribute_key] if self.attribute_key in data else self._drawn(data)
        if level not in LEVELS:
            raise ValueError(f"{self.attribute_key} must be one of {', '.join(LEVELS)}, got {level!r}.")
        d[self.attribute_key] = level
        for key in self.key_iterator(d):
            d[key] = self.converter(data[key], level == LEVELS[1])
            if self.swapped_suffix is not None:
                d[f"{key}{self.swapped_suffix}"] = self.converter(data[key], level != LEVELS[1])
        return d

    def _drawn(self, data: Mapping[Hashable, Any]) -> str:
        for key in (self.label_key, self.id_key):
            if key not in data:
                present = ", ".join(repr(name) for name in data)
                raise KeyError(f"the data must have the key {key!r} to plant a shortcut, got {present}.")
        labels, units = [int(data[self.label_key])], [data[self.id_key]]
        return str(planted_levels(labels, units, self.strength, self.seed, self.marked_labels)[0])


PlantShortcutD = PlantShortcutDict = PlantShortcutd
