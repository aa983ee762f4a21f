# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Small records of where a model looks."""

from __future__ import annotations

from monai_shortcut.attribution.record import Attribution, Checks, Explained, LabelShares, PartShare, Plane
from monai_shortcut.types import Estimate

PLANE = Plane.of([[0.0, 0.5], [1.0, 2.0]], 0.0, 2.0)


def explained(share: float, *complaints: str) -> Attribution:
    """One method, of whose attribution this share lies outside; complaints are those of its checks."""
    area = Estimate(0.8, 0.8, 0.8)
    parts = tuple(
        PartShare(name, Estimate(own, max(own - 0.1, 0.0), own + 0.1), area, area)
        for name, own in (("roi", 0.0), ("ring", 0.0), ("outside", share))
    )
    checks = Checks(9, 0.0, 0.1, 0.1, (), (), None, complaints=complaints)
    found = Explained("regional_shapley", "mean", 9, 0.1, (LabelShares("", 9, 9, parts),), (), {}, checks)
    return Attribution(9, 9, "r", (found,))
