# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Steps of a MONAI pipeline: mask a region, plant a known shortcut, remove burned-in text, show the pixel spacing."""

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
from monai.utils import MetaKeys, TransformBackends, convert_to_dst_type, convert_to_tensor, ensure_tuple

from monai_shortcut.overlays import USUAL, OverlayRule, remove_overlay
from monai_shortcut.planting import LEVELS, check_mark, check_tie, plant_mark, planted_levels
from monai_shortcut.regions import check_labels, check_settings, choose_labels, mask_roi

__all__ = [
    "AppendSpacing",
    "AppendSpacingD",
    "AppendSpacingDict",
    "AppendSpacingd",
    "MaskROI",
    "MaskROID",
    "MaskROIDict",
    "MaskROId",
    "PlantShortcut",
    "PlantShortcutD",
    "PlantShortcutDict",
    "PlantShortcutd",
    "RemoveOverlay",
    "RemoveOverlayD",
    "RemoveOverlayDict",
    "RemoveOverlayd",
    "SetSpacing",
    "SetSpacingD",
    "SetSpacingDict",
    "SetSpacingd",
]

SPACING_SET = "spacing_set"  # of an image's metadata: its spacing is known, even if it is one millimetre


class MaskROI(Transform):  # type: ignore[misc]
    """Hide a region of interest, or everything else.

    See :py:func:`monai_shortcut.regions.mask_roi` for the arithmetic. The result keeps the image's dtype, device and
    metadata. Nothing can restore hidden pixels, so the transform is not invertible: ``Compose.inverse`` skips it.
    Nothing is random either: noise and the place of a shifted region follow from the region alone, so that workers,
    caches and epochs agree.

    Put it before every step that looks at the whole image, such as ``ScaleIntensity``: hidden pixels would otherwise
    still set the scale of what is left. ``PersistentDataset`` keeps no track of these settings: give it
    ``hash_transform=pickle_hashing``, or one folder per setting. A lazy ``Compose`` forgets ``mode="nearest"`` (MONAI
    issue 6850) unless it gets ``overrides={"roi": {"mode": "nearest"}}``, and the same for "swapped_roi".

    ``unit="mm"`` reads the spacing from the metadata of the ROI, else of the image, and refuses images without one:
    plain arrays, PNG and JPEG files (resized or not), and metadata that say one millimetre per pixel at the origin,
    which is what readers write for want of a spacing. An array that became a MetaTensor without a spacing and was then
    resized cannot be told from one with a spacing.

    Args:
        strategy: One of ``monai_shortcut.regions.STRATEGIES``.
        margin: How far to grow (> 0) or shrink (< 0) the region first, in ``unit``.
        unit: "pixel", "mm", or "area" (a share of the region's area).
        fill: What replaces a hidden pixel: a number, or "mean", "noise", "blur" or "inpaint", all made from the pixels
            that stay visible, per channel; see ``monai_shortcut.fills``.
        metric: Of the margin: "euclidean", or "taxicab" (n pixels are n passes of a 3 x 3 cross).
        roi_labels: Labels of a multi-label mask that make up the region, all of which the image must have. None: the
            mask holds one region, as 0 and 1, or 0 and 255.

    Raises:
        ValueError: If a setting does not exist; the message lists those that do.

    Example:
        >>> MaskROI("roi_only")(torch.tensor([[[5, 6, 7]]]), torch.tensor([[[0, 1, 0]]])).tolist()
        [[[0, 6, 0]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(
        self,
        strategy: str = "without_roi",
        margin: float = 0.0,
        unit: str = "pixel",
        fill: float | str = 0.0,
        metric: str = "euclidean",
        roi_labels: int | Sequence[int] | None = None,
    ) -> None:
        check_settings(strategy, margin, unit, fill, metric)
        self.strategy = strategy
        self.margin = margin
        self.unit = unit
        self.fill = fill
        self.metric = metric
        self.roi_labels = None if roi_labels is None else check_labels(roi_labels)

    def __call__(
        self, img: NdarrayOrTensor, roi: NdarrayOrTensor, swapped_roi: NdarrayOrTensor | None = None
    ) -> torch.Tensor:
        """Mask one image with its own region, or with that of another patient.

        Args:
            img: (C, *spatial) image.
            roi: (1, *spatial) or (C, *spatial) region; bool, or values 0 and 1, or 0 and 255; any whole numbers if
                there are ``roi_labels``.
            swapped_roi: Region of another patient, as ``roi``; only the strategy "swapped_roi" uses it.

        Returns:
            (C, *spatial) masked image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.
        """
        spacing = _spacing(roi) or _spacing(img) if self.unit == "mm" else None
        swapped = self._region(swapped_roi) if self.strategy == "swapped_roi" and swapped_roi is not None else None
        masked = mask_roi(
            convert_to_tensor(img, track_meta=False),
            self._region(roi),
            self.strategy,
            self.margin,
            self.unit,
            self.fill,
            spacing,
            metric=self.metric,
            swapped_roi=swapped,
        )
        return _like(masked, img)

    def _region(self, roi: NdarrayOrTensor) -> torch.Tensor:
        region: torch.Tensor = convert_to_tensor(roi, track_meta=False)
        if self.roi_labels is None:
            return region
        if self.strategy == "full":  # which needs no region, and so no labels
            return torch.zeros_like(region, dtype=torch.bool)
        return choose_labels(region, self.roi_labels)


class MaskROId(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`MaskROI`: each image is masked with the region in the same dictionary.

    Args:
        keys: Keys of the images to mask.
        roi_key: Key of the region, left as it is.
        strategy, margin, unit, fill, metric, roi_labels: As in :py:class:`MaskROI`.
        allow_missing_keys: Skip images that are missing; a missing region is an error whenever there is an image that
            needs it, which only "full" does not.
        swapped_key: Key of the region of another patient, which only the strategy "swapped_roi" reads; load and resize
            it as the image's own. :py:meth:`monai_shortcut.cohort.Cohort.with_swapped_roi` chooses it.

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
        metric: str = "euclidean",
        roi_labels: int | Sequence[int] | None = None,
        swapped_key: Hashable = "swapped_roi",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.roi_key = roi_key
        self.swapped_key = swapped_key
        self.converter = MaskROI(strategy, margin, unit, fill, metric, roi_labels)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Mask the images of one dictionary.

        Raises:
            KeyError: If an image or a region is missing.
        """
        d = dict(data)
        wanted = {"roi_key": self.roi_key}
        if self.converter.strategy == "swapped_roi":
            wanted["swapped_key"] = self.swapped_key
        for key in self.key_iterator(d):
            if self.converter.strategy == "full" and self.roi_key not in data:
                continue  # images of cohorts without regions can be shown whole
            for name, region in wanted.items():
                if region not in data:
                    present = ", ".join(repr(other) for other in data)
                    raise KeyError(f"{name} must be one of the data's keys ({present}), got {region!r}.")
            d[key] = self.converter(d[key], *(data[region] for region in wanted.values()))
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
        return _like(marked, img)


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


class RemoveOverlay(Transform):  # type: ignore[misc]
    """Replace burned-in text and calipers by their surroundings.

    See :py:class:`monai_shortcut.overlays.OverlayRule` for what counts as burned in, and look at what is found before
    you train on it. The result keeps the image's dtype, device and metadata; the transform is not invertible. Put it
    before every resampling, which softens strokes, and copy the image first (``CopyItemsd``) if another network is to
    see it with its calipers. ``PersistentDataset`` keeps no track of these settings: give it
    ``hash_transform=pickle_hashing``, or one folder per setting.

    Args:
        brightness, contrast, window, least, colour, margin: As in :py:class:`monai_shortcut.overlays.OverlayRule`.

    Raises:
        ValueError: If a setting is out of its range.

    Example:
        >>> image = torch.zeros(1, 32, 32)
        >>> image[0, 8, 4:12] = 1.0
        >>> float(RemoveOverlay()(image).max())
        0.0
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(
        self,
        brightness: float = USUAL.brightness,
        contrast: float = USUAL.contrast,
        window: int = USUAL.window,
        least: int = USUAL.least,
        colour: float | None = USUAL.colour,
        margin: int = USUAL.margin,
    ) -> None:
        self.rule = OverlayRule(brightness, contrast, window, least, colour, margin)

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Clean one image.

        Args:
            img: (C, H, W) image.

        Returns:
            (C, H, W) image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.
        """
        cleaned = remove_overlay(convert_to_tensor(img, track_meta=False), self.rule)
        return _like(cleaned, img)


class RemoveOverlayd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`RemoveOverlay`.

    Args:
        keys: Keys of the images to clean.
        brightness, contrast, window, least, colour, margin: As in :py:class:`RemoveOverlay`.
        allow_missing_keys: Skip images that are missing.

    Raises:
        ValueError: If a setting is out of its range.
    """

    backend = RemoveOverlay.backend

    def __init__(
        self,
        keys: KeysCollection,
        brightness: float = USUAL.brightness,
        contrast: float = USUAL.contrast,
        window: int = USUAL.window,
        least: int = USUAL.least,
        colour: float | None = USUAL.colour,
        margin: int = USUAL.margin,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = RemoveOverlay(brightness, contrast, window, least, colour, margin)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Clean the images of one dictionary."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


class SetSpacing(Transform):  # type: ignore[misc]
    """Tell an image its pixel spacing, which a PNG or JPEG file cannot.

    The affine of the image becomes diagonal; a later resize changes it along. Margins in millimetres
    (:py:class:`MaskROI`) and :py:class:`AppendSpacing` read it.

    Example:
        >>> SetSpacing()(torch.zeros(1, 4, 6), [0.5, 0.2]).pixdim.tolist()
        [0.5, 0.2]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __call__(self, img: NdarrayOrTensor, spacing: Sequence[float]) -> torch.Tensor:
        """The same image with its spacing.

        Args:
            img: (C, *spatial) image.
            spacing: Millimetres per pixel along each of its axes, rows first if rows are.

        Returns:
            (C, *spatial) image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.

        Raises:
            ValueError: If there is not one positive number for each axis.
        """
        image: Any = convert_to_tensor(img, track_meta=get_track_meta())
        scale = torch.as_tensor(spacing, dtype=torch.float64).flatten()
        if len(scale) != image.ndim - 1 or not (scale.isfinite() & (scale > 0)).all():
            raise ValueError(f"spacing must be {image.ndim - 1} positive numbers, one per axis, got {scale.tolist()}.")
        if isinstance(image, MetaTensor):
            image = image.clone()
            affine = torch.eye(max(len(scale), 3) + 1, dtype=torch.float64)
            affine[range(len(scale)), range(len(scale))] = scale
            image.affine = affine
            image.meta |= {MetaKeys.ORIGINAL_AFFINE: affine.clone(), SPACING_SET: True}
        result: torch.Tensor = image
        return result


class SetSpacingd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`SetSpacing`: the spacing comes from columns of the table.

    Put it before the resize if the columns are of the images as they are filed, after it if they are of the resized.

    Args:
        keys: Keys of the images.
        spacing_keys: Key of each axis's spacing in millimetres, or one key for all axes.
        factor: What the columns are multiplied by: 10 if they are in centimetres.
        allow_missing_keys: Skip images that are missing.
    """

    backend = SetSpacing.backend

    def __init__(
        self,
        keys: KeysCollection,
        spacing_keys: KeysCollection,
        factor: float = 1.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.spacing_keys = ensure_tuple(spacing_keys)
        self.factor = factor
        self.converter = SetSpacing()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Tell the images of one dictionary their spacing.

        Raises:
            KeyError: If an image or a spacing is missing.
            ValueError: If a spacing is not positive, or the keys are neither one nor one per axis.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            for name in self.spacing_keys:
                if name not in data:
                    present = ", ".join(repr(other) for other in data)
                    raise KeyError(f"spacing_keys must be among the data's keys ({present}), got {name!r}.")
            spacing = [self.factor * float(data[name]) for name in self.spacing_keys]
            d[key] = self.converter(d[key], spacing * (d[key].ndim - 1) if len(spacing) == 1 else spacing)
        return d


class AppendSpacing(Transform):  # type: ignore[misc]
    """Append a constant plane of pixel spacing for each axis, in millimetres, for a network that is to know sizes.

    The spacing is that of the metadata at this step: put it after the resize, and after every step that changes
    intensities. Images of integers become float32.

    References:
        Pegios et al. (2023), Leveraging Shape and Spatial Information for Spontaneous Preterm Birth Prediction, ASMUS.

    Example:
        >>> AppendSpacing()(SetSpacing()(torch.zeros(1, 1, 2), [0.5, 0.2])).tolist()
        [[[0.0, 0.0]], [[0.5, 0.5]], [[0.20000000298023224, 0.20000000298023224]]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012

    def __call__(self, img: NdarrayOrTensor) -> torch.Tensor:
        """Append the planes of one image.

        Args:
            img: (C, *spatial) image whose metadata tell its spacing.

        Returns:
            (C + axes, *spatial) image, in the order of its axes.

        Raises:
            ValueError: If the metadata do not tell the spacing.
        """
        spacing = _spacing(img)
        if spacing is None:
            raise ValueError(f"image must know its spacing (use SetSpacing), got a {type(img).__name__} that does not.")
        image = img if img.is_floating_point() else img.float()
        planes = [torch.full_like(image[:1], millimetres) for millimetres in spacing]
        result: torch.Tensor = torch.cat([image, *planes])
        return result


class AppendSpacingd(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`AppendSpacing`.

    Args:
        keys: Keys of the images.
        allow_missing_keys: Skip images that are missing.
    """

    backend = AppendSpacing.backend

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.converter = AppendSpacing()

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        """Append the planes of the images of one dictionary."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.converter(d[key])
        return d


def _like(result: torch.Tensor, img: NdarrayOrTensor) -> torch.Tensor:
    """The result with the dtype, device and metadata of the image."""
    converted: torch.Tensor = convert_to_dst_type(result, dst=convert_to_tensor(img, track_meta=get_track_meta()))[0]
    return converted


def _spacing(img: NdarrayOrTensor) -> list[float] | None:
    """Millimetres per pixel along each axis, or None where the metadata do not tell."""
    if not isinstance(img, MetaTensor):
        return None
    # Not img.pixdim, which has three numbers for some images of two axes.
    spacing: list[float] = affine_to_spacing(img.affine, r=img.ndim - 1).tolist()
    if img.meta.get(SPACING_SET):
        return spacing
    from_file = "filename_or_obj" in img.meta
    origin = img.meta.get(MetaKeys.ORIGINAL_AFFINE) if from_file else img.affine
    if origin is None:  # a reader of plain pictures: the affine only counts pixels, even after a resize
        return None
    origin = torch.as_tensor(origin)
    unit_spacing = (affine_to_spacing(origin, r=img.ndim - 1) == 1).all()
    if unit_spacing and not (from_file and origin[:-1, -1].any()):
        return None
    return spacing


MaskROID = MaskROIDict = MaskROId
PlantShortcutD = PlantShortcutDict = PlantShortcutd
RemoveOverlayD = RemoveOverlayDict = RemoveOverlayd
SetSpacingD = SetSpacingDict = SetSpacingd
AppendSpacingD = AppendSpacingDict = AppendSpacingd
