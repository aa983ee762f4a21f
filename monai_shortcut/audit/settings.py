# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit is run with."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from monai_shortcut.statistics.resampling import Resampling

CORRECTIONS = ("holm", "fdr")


@dataclass(frozen=True)
class AuditSettings(Resampling):
    """What an audit is run with: how everything is drawn, see `Resampling`, and what counts.

    Attributes:
        significance: largest adjusted p-value that counts as evidence.
        correction: how p-values are adjusted over the attributes: "holm" (family-wise error rate) or "fdr" (false
            discovery rate, Benjamini and Hochberg). Both are reported; this one decides.
        tolerance: smallest prediction gap that matters, in probability.
        readable: smallest area under the ROC curve that counts as readable when it cannot be told from one half.
        bins: quantile bins of a continuous attribute.
        edges: inner cut points of continuous attributes, by attribute, instead of quantiles.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.
        variance: share of variance of the subspace for the weight space correlation.
        min_components: its least number of components.
        associated: least Cramer's V of two attributes whose gaps are also compared at equal levels of the other.
        giveaways: number of images listed that give their level away most.

    Raises:
        ValueError: If a setting is out of its range.
    """

    significance: float = 0.05
    correction: str = "holm"
    tolerance: float = 0.1
    readable: float = 0.6
    bins: int = 3
    edges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    minimum_patients: int = 10
    maximum_levels: int = 20
    variance: float = 0.99
    min_components: int = 50
    associated: float = 0.2
    giveaways: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}, got {self.correction!r}.")
        for name, high in _ABOVE_ZERO.items():
            if not 0 < getattr(self, name) <= high:
                raise ValueError(f"{name} must be above 0 and at most {high:g}, got {getattr(self, name)}.")
        for name, low in _UP_TO_ONE.items():
            if not low <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between {low:g} and 1, got {getattr(self, name)}.")
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        # Lists come from JSON and from bundle configurations.
        edges = {name: tuple(map(float, cuts)) for name, cuts in self.edges.items()}
        for name, cuts in edges.items():
            if not all(low < high for low, high in pairwise(cuts)) or not np.isfinite(cuts).all():
                raise ValueError(f"edges of {name} must be finite and ascend, got {list(cuts)}.")
        object.__setattr__(self, "edges", edges)


_ABOVE_ZERO = {"significance": 0.5, "variance": 1.0}
_UP_TO_ONE = {"tolerance": 0.0, "readable": 0.5, "associated": 0.0}
_COUNTS = {"bins": 2, "minimum_patients": 1, "maximum_levels": 2, "min_components": 1, "giveaways": 0}
