# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The frozen record of where a network looks: everything that a page needs, without the network."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.types import Estimate, Tested

RULES = ("highest", "median", "lowest")


@dataclass(frozen=True)
class PartShare:
    """What one part of the images has.

    Attributes:
        part: "roi", "ring" or "outside".
        share: mean share of the absolute attribution, in [0, 1].
        area: mean share of the pixels, in [0, 1].
        gain: mean attribution, in logits towards the image's own label; negative if it speaks against it.
    """

    part: str
    share: Estimate
    area: Estimate
    gain: Estimate


@dataclass(frozen=True)
class LabelShares:
    """The parts' shares in images of one label.

    Attributes:
        label: its name; "" for all images.
        images: number of images.
        patients: number of patients.
        parts: one for each part.
    """

    label: str
    images: int
    patients: int
    parts: tuple[PartShare, ...]

    def of(self, part: str) -> PartShare:
        """The share of a part.

        Raises:
            ValueError: If there is no such part.
        """
        found = {share.part: share for share in self.parts}
        if part not in found:
            raise ValueError(f"part must be one of {', '.join(found)}, got {part!r}.")
        return found[part]


@dataclass(frozen=True)
class LevelShare:
    """The share outside in images of one label and one level of an attribute.

    Attributes:
        label: name of the label.
        level: name of the level.
        images: number of images.
        patients: number of patients.
        outside: mean share of the absolute attribution outside region and ring.
    """

    label: str
    level: str
    images: int
    patients: int
    outside: Estimate


@dataclass(frozen=True)
class LevelDifference:
    """Does the share outside differ between levels of an attribute, within labels?

    Attributes:
        attribute: its name.
        cells: the share in each label and level.
        test: sum of squares between levels within labels; levels permuted between patients.
        p_value: adjusted over the attributes by Holm's method.
    """

    attribute: str
    cells: tuple[LevelShare, ...]
    test: Tested
    p_value: float


@dataclass(frozen=True)
class Checks:
    """What shows whether a method explains this network.

    Attributes:
        images: number of images checked.
        completeness: mean absolute difference of the attributions' sum from the answer less that of the baseline, as a
            share of the mean absolute answer; None of a method that does not claim to sum to it.
        survival: mean rank correlation of the absolute attributions with those of the same network with shuffled
            weights; of parts, that of the shares outside, over the images.
        shuffled_outside: mean share outside of the network with shuffled weights.
        deletion: mean answer, as a share of the whole image's, with the pixels of largest attribution hidden first, in
            equal steps from none to all.
        insertion: the same with these pixels shown first, from none to all.
        gain: area under insertion less that under deletion, with limits over patients; 0 of pixels in random order.
        not_computed: why a check has no number, by its name.
        complaints: what speaks against the method, in sentences; none if it passes.
    """

    images: int
    completeness: float | None
    survival: float | None
    shuffled_outside: float | None
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    gain: Estimate | None
    not_computed: dict[str, str] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing that could be checked speaks against the method."""
        return not self.complaints


@dataclass(frozen=True)
class Explained:
    """What one method says, with one fill.

    Attributes:
        method: a name of `METHODS`.
        fill: what hidden pixels became, or "background".
        images: number of images explained.
        seconds: for each image.
        labels: all images first, then each label.
        levels: by attribute.
        untested: why the levels of an attribute were not compared, by attribute.
        checks: None if there were too few images.
    """

    method: str
    fill: str
    images: int
    seconds: float
    labels: tuple[LabelShares, ...]
    levels: tuple[LevelDifference, ...]
    untested: dict[str, str]
    checks: Checks | None

    @property
    def name(self) -> str:
        """Method and fill."""
        return f"{self.method}, {self.fill}"


@dataclass(frozen=True)
class Plane:
    """A small picture of whole numbers 0 to 255, compressed.

    Attributes:
        rows: number of rows.
        columns: number of columns.
        content: zlib in base64.

    Example:
        >>> Plane.of([[0.0, 0.5], [1.0, 2.0]], 0.0, 2.0).array.tolist()
        [[0, 64], [128, 255]]
    """

    rows: int
    columns: int
    content: str

    @classmethod
    def of(cls, values: ArrayLike, low: float, high: float) -> Plane:
        """A picture from numbers, of which low becomes 0 and high 255."""
        array = np.asarray(values, dtype=np.float64)
        scaled = np.rint(255 * np.clip((array - low) / max(high - low, 1e-12), 0, 1)).astype(np.uint8)
        rows, columns = scaled.shape
        return cls(rows, columns, base64.b64encode(zlib.compress(scaled.tobytes(), 9)).decode("ascii"))

    @property
    def array(self) -> NDArray[np.uint8]:
        """(rows, columns)."""
        content = zlib.decompress(base64.b64decode(self.content))
        return np.frombuffer(content, dtype=np.uint8).reshape(self.rows, self.columns)


@dataclass(frozen=True)
class Panel:
    """An image that is shown, chosen by rule.

    Attributes:
        image_id: its name.
        label: its label.
        rule: "highest", "median" or "lowest" share outside among the images of its label.
        outside: that share, of the first method.
        image: first channel; of a volume, the slice with most of the region.
        parts: 0 region, 1 ring, 2 outside.
        maps: absolute attribution of each pixel by method and fill, 255 that of the hundredth with the largest.
        shares: share of each part by method and fill.
    """

    image_id: str
    label: str
    rule: str
    outside: float
    image: Plane
    parts: Plane
    maps: dict[str, Plane]
    shares: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class MaskedView:
    """An image under one masking strategy, with the map of what decides there.

    Attributes:
        strategy: its name.
        image: as the network saw it, as in `Panel`.
        map: absolute attribution of each pixel, as in `Panel`.
        outside: share of the attribution outside region and ring; None if all of it is 0.
    """

    strategy: str
    image: Plane
    map: Plane
    outside: float | None


@dataclass(frozen=True)
class MaskedPanel:
    """One image under every masking strategy: that with the median share outside among those of its label.

    Attributes:
        image_id: its name.
        label: its label.
        method: name and fill of the method that made the maps.
        parts: as in `Panel`, of the full image.
        views: one for each strategy that could be applied.
        not_computed: why others have none, by strategy.
    """

    image_id: str
    label: str
    method: str
    parts: Plane
    views: tuple[MaskedView, ...]
    not_computed: dict[str, str]

    def view(self, strategy: str) -> MaskedView | None:
        """The image under a strategy; None if there is none."""
        return next((one for one in self.views if one.strategy == strategy), None)


@dataclass(frozen=True)
class Attribution:
    """Where a network looks.

    Attributes:
        images: number of images that were to be explained.
        patients: number of their patients.
        ring: width of the ring, in words.
        methods: what each method says, in the order of the settings.
        not_computed: why a method says nothing, by method; "all" if none could be asked.
        unusable: reason by image_id, of images without inside or outside.
        panels: images that are shown.
        masked: one image of each label under every masking strategy.
    """

    images: int
    patients: int
    ring: str
    methods: tuple[Explained, ...] = ()
    not_computed: dict[str, str] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()
    masked: tuple[MaskedPanel, ...] = ()

    def method(self, name: str, fill: str | None = None) -> Explained:
        """What a method says; with the first fill that was used, unless one is named.

        Raises:
            ValueError: If it says nothing; the message lists those that do.
        """
        for found in self.methods:
            if found.method == name and fill in (None, found.fill):
                return found
        listed = "; ".join(found.name for found in self.methods)
        raise ValueError(f"method must be one of {listed or 'none'}, got {name!r}, {fill!r}.")

    @property
    def trusted(self) -> Explained | None:
        """The first method that passed its checks; None if none did."""
        return next((found for found in self.methods if found.checks is not None and found.checks.passed), None)
