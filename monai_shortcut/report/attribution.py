# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the section "Where it looks" says, and its table."""

from __future__ import annotations

import pandas as pd

from monai_shortcut.attribution.record import Attribution, Explained
from monai_shortcut.types import Estimate, plain

_NAMES = {
    "regional_shapley": "exact Shapley values of the parts",
    "integrated_gradients": "integrated gradients",
    "gradient_shap": "GradientShap",
    "deep_lift_shap": "DeepLiftShap",
    "feature_ablation": "squares hidden one by one",
    "shapley_sampling": "sampled Shapley values of squares",
}


def told(found: Explained) -> str:
    """A method in words, with what it is held against.

    Example:
        >>> told(Explained("integrated_gradients", "0", 1, 0.1, (), (), {}, None))
        'integrated gradients (hidden: 0)'
    """
    against = "against other images" if found.fill == "background" else f"hidden: {found.fill}"
    return f"{_NAMES.get(found.method, found.method)} ({against})"


def told_name(name: str) -> str:
    """The same of a method's name and fill, as panels have them."""
    method, fill = name.split(", ", 1)
    return told(Explained(method, fill, 0, 0.0, (), (), {}, None))


def looks(found: Attribution) -> str:
    """The section in a sentence: the share outside, by the first method that passed its checks, or by the first at all.

    Example:
        >>> looks(Attribution(0, 0, "", not_computed={"all": "there are no regions"}))
        'Not computed: there are no regions.'
    """
    shown = _shown(found)
    if shown is None:
        reasons = list(dict.fromkeys(found.not_computed.values()))
        return f"Not computed: {'; '.join(reasons) or 'no method was asked'}."
    part = shown.labels[0].of("outside")
    text = (
        f"{_share(part.share)} of what decides lies outside the region and the ring around it, which is "
        f"{plain(100 * part.area.value, 0)} % of the image ({told(shown)}, {shown.images} images). "
    )
    if found.trusted is not None:
        return text + "The method passed its checks."
    return text + "No method passed its checks: do not rely on it."


def outside(found: Attribution) -> str:
    """The share outside alone, by the method of `looks`; "" if there is none."""
    shown = _shown(found)
    if shown is None:
        return ""
    failed = "" if shown is found.trusted else ", no method passed its checks"
    return _share(shown.labels[0].of("outside").share) + failed


def _shown(found: Attribution) -> Explained | None:
    return found.trusted or (found.methods[0] if found.methods else None)


def attribution_table(found: Attribution) -> pd.DataFrame:
    """One row per method, label and part: shares with limits, area, gain and the method's checks."""
    rows: list[dict[str, object]] = []
    for one in found.methods:
        checks = one.checks
        for group in one.labels:
            for part in group.parts:
                row: dict[str, object] = {"method": one.method, "fill": one.fill, "label": group.label or "all"}
                row |= {"part": part.part, "images": group.images, "patients": group.patients}
                for name, value in (("share", part.share), ("area", part.area), ("gain", part.gain)):
                    row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
                row |= {"seconds_per_image": one.seconds, "passed": checks and checks.passed}
                row |= {"complaints": "; ".join(checks.complaints) if checks else ""}
                rows.append(row)
    return pd.DataFrame(rows)


def _share(found: Estimate) -> str:
    low, high = plain(100 * found.low, 0), plain(100 * found.high, 0)
    return f"{plain(100 * found.value, 0)} % ({low} to {high})"
