# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is explained, by which methods, and against what."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from monai_shortcut.regions.fills import check_fill
from monai_shortcut.regions.margins import check_margin
from monai_shortcut.regions.strategies import STRATEGIES, check_settings

REGIONAL = "regional_shapley"
_LEAST = {
    "images": 1,
    "checked_images": 2,
    "batch": 1,
    "background": 1,
    "steps": 2,
    "cells": 2,
    "samples": 1,
    "seed": 0,
}


@dataclass(frozen=True)
class AttributionSettings:
    """How attributions are computed, and of how many images.

    Attributes:
        methods: names of `METHODS`, in the order in which they are shown; the first that can be computed chooses the
            images that are shown.
        fills: what hidden pixels become, numbers or names of fills; several, because black pixels that become black get
            nothing by construction. The first is the one that is told first. A method whose baseline is one image takes
            the mean of each channel for every name.
        images: number of images that are explained, at most; as many of each label, at random by their pixels:
            neither names nor the order of the images move the choice.
        pixel_images: number of those that methods explain that take many passes for an image, at most: all but
            `regional_shapley`.
        checked_images: number of those that the checks are run on, at most.
        ring: width of the ring around the region, in ``unit``.
        unit: "pixel" or "area"; 1 in "area" is a ring as large as the region.
        batch: images that a method explains at once.
        background: images that GradientShap and DeepLiftShap draw their baselines from.
        steps: of the paths of integrated gradients.
        curve_steps: of the deletion and insertion curves.
        cells: squares along each axis, for methods that hide squares.
        samples: of GradientShap, for each image, and orders of Shapley sampling.
        strategies: masking strategies that one image of each label is mapped under; none if empty.
        significance: below which levels of an attribute are said to differ.
        seed: of everything that is drawn.

    Raises:
        ValueError: If a fill or strategy does not exist, or a number is out of range.
    """

    methods: tuple[str, ...] = (REGIONAL, "integrated_gradients", "gradient_shap")
    fills: tuple[float | str, ...] = ("mean", "blur", 0.0)
    images: int = 100
    pixel_images: int = 20
    checked_images: int = 12
    ring: float = 1.0
    unit: str = "area"
    batch: int = 8
    background: int = 8
    steps: int = 24
    curve_steps: int = 6
    cells: int = 8
    samples: int = 8
    strategies: tuple[str, ...] = STRATEGIES
    significance: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(self.methods))
        object.__setattr__(self, "fills", tuple(self.fills))
        object.__setattr__(self, "strategies", tuple(self.strategies))
        for strategy in self.strategies:
            check_settings(strategy)
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        if not self.methods or not self.fills:
            raise ValueError(f"methods and fills must not be empty, got {self.methods} and {self.fills}.")
        for fill in self.fills:
            check_fill(fill)
        check_margin(self.ring, self.unit, "euclidean")
        if not self.ring > 0 or self.unit == "mm":
            raise ValueError(f"ring must be above 0, in pixel or area, got {self.ring} {self.unit}.")
        if not 0 < self.significance < 1:
            raise ValueError(f"significance must be between 0 and 1, got {self.significance}.")
