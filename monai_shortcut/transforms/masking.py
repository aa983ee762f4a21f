# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Hide or keep a region of interest, in a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends, convert_to_tensor

from monai_shortcut.regions.pixels import check_labels, choose_labels
from monai_shortcut.regions.strategies import TABLE, Strategy, check_settings, mask_roi
from monai_shortcut.transforms.metadata import like, spacing_of


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
        strategy: One of ``monai_shortcut.regions.strategies.STRATEGIES``.
        margin: How far to grow (> 0) or shrink (< 0) the region first, in ``unit``.
        unit: "pixel", "mm", or "area" (a share of the region's area).
        fill: What replaces a hidden pixel: a number, or "mean", "noise", "blur" or "inpaint", all made from the pixels
            that stay visible, per channel; see ``monai_shortcut.regions.fills``.
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
        spacing = spacing_of(roi) or spacing_of(img) if self.unit == "mm" else None
        swapped = None if swapped_roi is None or not self.row.needs_swapped_roi else self._region(swapped_roi)
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
        return like(masked, img)

    @property
    def row(self) -> Strategy:
        """What the table of strategies says of this one."""
        return TABLE[self.strategy]

    def _region(self, roi: NdarrayOrTensor) -> torch.Tensor:
        region: torch.Tensor = convert_to_tensor(roi, track_meta=False)
        if self.roi_labels is None:
            return region
        if not self.row.needs_roi:  # and so no labels
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
            it as the image's own. :py:meth:`monai_shortcut.cohort.table.Cohort.with_swapped_roi` chooses it.

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
        if self.converter.row.needs_swapped_roi:
            wanted["swapped_key"] = self.swapped_key
        for key in self.key_iterator(d):
            if not self.converter.row.needs_roi and self.roi_key not in data:
                continue  # images of cohorts without regions can be shown whole
            for name, region in wanted.items():
                if region not in data:
                    present = ", ".join(repr(other) for other in data)
                    raise KeyError(f"{name} must be one of the data's keys ({present}), got {region!r}.")
            d[key] = self.converter(d[key], *(data[region] for region in wanted.values()))
        return d


MaskROID = MaskROIDict = MaskROId
