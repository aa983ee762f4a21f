# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Steps of a MONAI pipeline: mask a region of interest, plant a known shortcut."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform, Transform
from monai.utils import MetaKeys, TransformBackends, convert_to_dst_type, convert_to_tensor

from monai_shortcut.planting import LEVELS, check_mark, check_tie, plant_mark, planted_levels
from monai_shortcut.regions import check_settings, mask_roi

__all__ = [
    "MaskROI",
    "MaskROID",
    "MaskROIDict",
    "MaskROId",
    "PlantShortcut",
    "PlantShortcutD",
    "PlantShortcutDict",
    "PlantShortcutd",
]


class MaskROI(Transform):  # type: ignore[misc]
    """Hide a region of interest, or everything else.

    See :py:func:`monai_shortcut.regions.mask_roi` for the arithmetic. The result keeps the image's dtype, device and
    metadata. Nothing can restore hidden pixels, so the transform is not invertible: ``Compose.inverse`` skips it.

    Put it before every step that looks at the whole image, such as ``ScaleIntensity``: hidden pixels would otherwise
    still set the scale of what is left. ``PersistentDataset`` keeps no track of these settings: give it
    ``hash_transform=pickle_hashing``, or one folder per setting. A lazy ``Compose`` forgets ``mode="nearest"`` (MONAI
    issue 6850) unless it gets ``overrides={"roi": {"mode": "nearest"}}``.

    ``unit="mm"`` reads the spacing from the metadata of the ROI, else of the image, and refuses images without one:
    plain arrays, PNG and JPEG files (resized or not), and metadata that say one millimetre per pixel at the origin,
    which is what readers write for want of a spacing. An array that became a MetaTensor without a spacing and was then
    resized cannot be told from one with a spacing.

    Args:
        strategy: One of ``monai_shortcut.regions.STRATEGIES``.
        margin: How far to grow (> 0) or shrink (< 0) the region first, in ``unit``.
        unit: "pixel", "mm", or "area" (a share of the region's area).
        fill: What replaces a hidden pixel: a number, or "mean" (of the pixels that stay visible, per channel).

    Raises:
        ValueError: If a setting does not exist; the message lists those that do.

    Example:
        >>> MaskROI("roi_only")(torch.tensor([[[5, 6, 7]]]), torch.tensor([[[0, 1, 0]]])).tolist()
        [[[0, 6, 0]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(
        self, strategy: str = "without_roi", margin: float = 0.0, unit: str = "pixel", fill: float | str = 0.0
    ) -> None:
        check_settings(strategy, margin, unit, fill)
        self.strategy = strategy
        self.margin = margin
        self.unit = unit
        self.fill = fill

    def __call__(self, img: NdarrayOrTensor, roi: NdarrayOrTensor) -> torch.Tensor:
        """Mask one image with its own region.

        Args:
            img: (C, *spatial) image.
            roi: (1, *spatial) or (C, *spatial) region; bool, or values 0 and 1, or 0 and 255.

        Returns:
            (C, *spatial) masked image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.
        """
        spacing = _spacing(roi) or _spacing(img) if self.unit == "mm" else None
        image, region = (convert_to_tensor(item, track_meta=False) for item in (img, roi))
        masked = mask_roi(image, region, self.strategy, self.margin, self.unit, self.fill, spacing)
        result: torch.Tensor = convert_to_dst_type(masked, dst=convert_to_tensor(img, track_meta=get_track_meta()))[0]
        return result


class MaskROId(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`MaskROI`: each image is masked with the region in the same dictionary.

    Args:
        keys: Keys of the images to mask.
        roi_key: Key of the region, left as it is.
        strategy, margin, unit, fill: As in :py:class:`MaskROI`.
        allow_missing_keys: Skip images that are missing; a missing region is an error whenever there is an image.

    Raises:
        ValueError: If a setting does not exist; the message lists those that do.
    """

    backend = MaskROI.backend

    def __init__(
        self,
        keys: KeysCollection,
        roi_key: Hashable,
        strategy: str = "without_roi",
        margin: float = 0.0,
        unit: str = "pixel",
        fill: float | str = 0.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.roi_key = roi_key
        self.converter = MaskROI(strategy, margin, unit, fill)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Mask the images of one dictionary.

        Raises:
            KeyError: If an image or the region is missing.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            if self.roi_key not in data:
                present = ", ".join(repr(name) for name in data)
                raise KeyError(f"roi_key must be one of the data's keys ({present}), got {self.roi_key!r}.")
            d[key] = self.converter(d[key], data[self.roi_key])
        return d


class PlantShortcut(Transform):  # type: ignore[misc]
    """Put a known mark on an image, so that the shortcut a model may learn is known exactly.

    See :py:func:`monai_shortcut.planting.plant_mark`. The result keeps the image's dtype, device and metadata. Nothing
    can take the mark away again: the transform is not invertible.

    Args:
        mark: "tag" (burned-in text), "gain" or "blur".
        amount: how much of it; see ``plant_mark``.

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
        result: torch.Tensor = convert_to_dst_type(marked, dst=convert_to_tensor(img, track_meta=get_track_meta()))[0]
        return result


class PlantShortcutd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`PlantShortcut`, which ties the mark to the label.

    Whether an image is marked follows from its label, its id and the seed alone
    (:py:func:`monai_shortcut.planting.planted_levels`), so that epochs, workers and caches agree with each other and
    with a cohort's column. To MONAI it is no random transform: ``CacheDataset`` keeps its results, and may.
    ``PersistentDataset`` keeps no track of these settings: give it ``hash_transform=pickle_hashing``, or one folder per
    setting.

    Args:
        keys: Keys of the images to mark.
        mark, amount: As in :py:class:`PlantShortcut`.
        strength: 0 marks independently of the label, 1 marks all images of a marked label and no other.
        seed: Changes which images are marked.
        label_key: Key of the label, an integer.
        id_key: Key of the image id, or of the patient id, so that a patient's images of one label agree.
        marked_labels: Labels that the mark goes along with.
        attribute_key: Key that receives "absent" or "present"; where the data hold one of them there, it is obeyed. Two
            marks on one image need a key each.
        swapped_suffix: Adds ``key + swapped_suffix``, the same image under the other level: its counterfactual.
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


def _spacing(img: NdarrayOrTensor) -> list[float] | None:
    """Millimetres per pixel along each axis, or None where the metadata do not tell."""
    if not isinstance(img, MetaTensor):
        return None
    from_file = "filename_or_obj" in img.meta
    origin = img.meta.get(MetaKeys.ORIGINAL_AFFINE) if from_file else img.affine
    if origin is None:  # a reader of plain pictures: the affine only counts pixels, even after a resize
        return None
    origin = torch.as_tensor(origin)
    unit_spacing = (affine_to_spacing(origin, r=img.ndim - 1) == 1).all()
    if unit_spacing and not (from_file and origin[:-1, -1].any()):
        return None
    spacing: list[float] = img.pixdim.tolist()
    return spacing


MaskROID = MaskROIDict = MaskROId
PlantShortcutD = PlantShortcutDict = PlantShortcutd
