# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The silhouette as a control: who reads the outline best, and whether its own models have learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.fits import Fit
from monai_shortcut.region_study.scores import Condition
from monai_shortcut.region_study.wording import Measured, area, diagonal, measured
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Unmeasurable, plain

SILHOUETTE = diagonal("silhouette")


@dataclass(frozen=True)
class Gain:
    """What models that see a part of the image beside the outline gain on models that see the outline alone.

    Attributes:
        on_silhouette: on the silhouette's own models.
        least: on those models, of whatever strategy, that read silhouettes best.
        reader: what these were trained on.
        doubt: why the silhouette's own models are no control; empty if they are one.
    """

    on_silhouette: Measured
    least: Measured
    reader: str
    doubt: str


def gain(areas: LabelAreas, strategy: str, fits: Sequence[Fit], tolerance: float) -> Gain:
    """The gain of models trained and tested on one strategy, held against everybody who reads silhouettes.

    Any model's area on silhouettes shows what the outline can tell, whatever it was trained on, and an area below one
    half as much as its mirror image. A gain is shown only where it is shown against each of them.
    """
    own = measured(areas, {diagonal(strategy): 1, SILHOUETTE: -1})
    if isinstance(own, str):
        return Gain(own, own, "silhouette", "")
    against = {"silhouette": own}
    for reader, sign in readers(areas):
        found = measured(areas, {diagonal(strategy): 1, reader: -sign}, 0.0 if sign > 0 else 1.0)
        if isinstance(found, Contrast):
            against[reader.trained_on] = found
    best = min(against, key=lambda name: against[name].interval[0])
    doubt = _untested(areas) or _surpassed(areas, against[best].interval[0], tolerance)
    return Gain(own, against[best], best, doubt or _unfit(areas, strategy, fits))


def readers(areas: LabelAreas) -> list[tuple[Condition, int]]:
    """Models of other strategies that tell silhouettes apart, with the sign of their area minus one half.

    Those that cannot be told from chance, as they are, show nothing.
    """
    found = []
    for condition in _others(areas):
        alone = _as_it_is(areas, {condition: 1}, 0.5)
        if alone is not None and alone.p_value < 1 - areas.level:
            found.append((condition, 1 if alone.difference > 0 else -1))
    return found


def _as_it_is(areas: LabelAreas, weights: Mapping[Condition, float], null: float) -> Contrast | None:
    """A comparison that holds for the models at hand, or None; more sensitive than one that allows for luck."""
    try:
        return areas.contrast(weights, null)
    except Unmeasurable:
        return None


def _others(areas: LabelAreas) -> list[Condition]:
    return [one for one in areas.study.matrix() if one.evaluated_on == "silhouette" and one != SILHOUETTE]


def _untested(areas: LabelAreas) -> str:
    """Why nobody else shows what the outline can tell."""
    return "" if _others(areas) else "no other models were tested on silhouettes, to show whether its own have learned"


def _surpassed(areas: LabelAreas, certain: float, tolerance: float) -> str:
    """Who reads silhouettes better than the models that were trained on them.

    Such a control is known to fall short, and only a gain that is certainly larger than that does without it.
    """
    compared = {
        reader.trained_on: _as_it_is(areas, {reader: sign, SILHOUETTE: -1}, 0.0 if sign > 0 else -1.0)
        for reader, sign in readers(areas)
    }
    better = {name: one for name, one in compared.items() if one is not None and one.difference > 0}
    shown = holm([one.p_value for one in better.values()]) < 1 - areas.level
    for (name, one), known in zip(better.items(), shown, strict=True):
        if known and certain < max(tolerance, one.difference):
            words = name.replace("_", " ")
            return f"models trained on {words} read silhouettes better than its own, by {plain(one.difference)}"
    return ""


def _unfit(areas: LabelAreas, strategy: str, fits: Sequence[Fit]) -> str:
    """Whether the silhouette's models fit their own training images worse than these models do new ones."""
    reached = area(areas, diagonal(strategy))
    fit = next((one for one in fits if (one.label, one.trained_on) == (areas.label, "silhouette")), None)
    if fit is None or isinstance(reached, str) or fit.training >= reached.difference + 0.5:
        return ""
    return (
        f"the silhouette's models have not learned: they reach {plain(fit.training)} on their own training images, "
        f"less than these on new ones ({plain(reached.difference + 0.5)})"
    )
