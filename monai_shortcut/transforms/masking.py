# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Show or hide a region of interest, in a MONAI pipeline."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import ImageMetaKey, TransformBackends, convert_to_tensor

from monai_shortcut.regions.pixels import check_labels, choose_labels
from monai_shortcut.regions.strategies import TABLE, Strategy, check_settings, mask_roi
from monai_shortcut.transforms.metadata import like, placed_like, require_values, spacing_of


class MaskROI(Transform):  # type: ignore[misc]
    """Hide a region of interest, or everything else.

    :py:func:`monai_shortcut.regions.mask_roi` does the arithmetic. The result keeps the image's dtype, device and
    metadata. Hidden pixels cannot be restored: the transform is not invertible, and ``Compose.inverse`` skips it. It is
    deterministic: the region alone decides the noise and the place of a shifted region, so that workers, caches and
    epochs agree.

    A region must lie on its image, not only have its shape: where the files of both have an affine, a region that was
    stored with other directions of the axes is turned, and one that lies elsewhere is refused; so are pictures with
    different EXIF orientations or shapes of pixels, and a region whose palette shows value 0 brighter than the rest
    (with ``roi_labels`` the numbers of colours are the labels). ``EnsureTyped("roi", track_meta=False)`` drops a
    header that is wrong.

    Put it before every step that looks at the whole image, such as ``ScaleIntensity``; after it, hidden pixels would
    have set the scale of the visible ones. ``PersistentDataset`` does not notice other settings: give it
    ``hash_transform=pickle_hashing``, or one folder per setting. A lazy ``Compose`` forgets ``mode="nearest"`` (MONAI
    issue 6850) unless it gets ``overrides={"roi": {"mode": "nearest"}}``, and the same for "swapped_roi".

    ``unit="mm"`` reads the spacing from the metadata of the ROI, else of the image. Images without one are an error:
    plain arrays, PNG and JPEG files (resized or not), and metadata of one millimetre per pixel at the origin, which
    readers write if they find no spacing. One case is not recognized: an array that became a MetaTensor without a
    spacing and was then resized.

    Args:
        strategy: One of ``monai_shortcut.regions.strategies.STRATEGIES``.
        margin: Distance by which the region first grows (> 0) or shrinks (< 0), in ``unit``.
        unit: "pixel", "mm", or "area" (a share of the region's area).
        fill: Value of hidden pixels: a number, or "mean", "noise", "blur" or "inpaint", made from the visible pixels of
            the channel; see ``monai_shortcut.regions.fills``.
        metric: Metric of the margin, "euclidean" or "taxicab" (n pixels equal n passes of a 3 x 3 cross).
        roi_labels: Labels of a multi-label mask that make up the region; every image must have all of them. None: the
            mask holds one region, as 0 and 1, or 0 and 255.

    Raises:
        ValueError: If a setting does not exist; the message lists what exists.

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
            roi: (1, *spatial) or (C, *spatial) region; bool, or values 0 and 1, or 0 and 255; with ``roi_labels`` any
                whole numbers.
            swapped_roi: Region of another patient, like ``roi``; only the strategy "swapped_roi" needs it.

        Returns:
            (C, *spatial) masked image: a MetaTensor while MONAI tracks metadata, a tensor otherwise.

        Raises:
            RegionError: If these settings cannot use the region; see :py:func:`monai_shortcut.regions.mask_roi`.
            ValueError: If shapes or values do not fit, or the files say that the region does not lie on the image.
        """
        with _named(roi):
            return self._masked(img, roi, swapped_roi)

    def _masked(self, img: NdarrayOrTensor, roi: NdarrayOrTensor, swapped_roi: NdarrayOrTensor | None) -> torch.Tensor:
        if self.row.needs_roi:
            roi = placed_like(roi, img, labels=self.roi_labels is not None)
        spacing = spacing_of(roi) or spacing_of(img) if self.unit == "mm" else None
        swapped = None
        if swapped_roi is not None and self.row.needs_swapped_roi:
            require_values(swapped_roi, labels=self.roi_labels is not None)
            swapped = self._region(swapped_roi)
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
        """The strategy's row in the table of strategies."""
        return TABLE[self.strategy]

    def _region(self, roi: NdarrayOrTensor) -> torch.Tensor:
        region: torch.Tensor = convert_to_tensor(roi, track_meta=False)
        if self.roi_labels is None:
            return region
        if not self.row.needs_roi:  # and so no labels
            return torch.zeros_like(region, dtype=torch.bool)
        return choose_labels(region, self.roi_labels)


@contextmanager
def _named(roi: Any) -> Iterator[None]:
    """Name the region's file in what is wrong with it."""
    try:
        yield
    except ValueError as error:
        file = str(getattr(roi, "meta", {}).get(ImageMetaKey.FILENAME_OR_OBJ, ""))
        if not file or file in str(error):
            raise
        raise type(error)(f"{error} The region is that of {file}.") from error


class MaskROId(MapTransform):  # type: ignore[misc]
    """Dictionary-based wrapper of :py:class:`MaskROI`: each image is masked with the region in the same dictionary.

    Args:
        keys: Keys of the images to mask.
        roi_key: Key of the region, which stays as it is.
        strategy, margin, unit, fill, metric, roi_labels: As in :py:class:`MaskROI`.
        allow_missing_keys: Skip images that are missing. A missing region remains an error, except for "full".
        swapped_key: Key of another patient's region; only the strategy "swapped_roi" reads it. Load and resize it like
            the image's own. :py:meth:`monai_shortcut.cohort.table.Cohort.with_swapped_roi` chooses it.

    Raises:
        ValueError: If a setting does not exist; the message lists what exists.
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
