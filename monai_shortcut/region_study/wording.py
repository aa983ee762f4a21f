# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The sentences of a reading: what each part of the images and the metadata tell about one label."""

from __future__ import annotations

from collections.abc import Mapping

from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.scores import METADATA, Condition
from monai_shortcut.types import Unmeasurable, plain

Measured = Contrast | str  # a comparison, or why there is none
BOXES = {"without_roi_box": "without the region's box", "roi_box_only": "with the region's box alone"}
CONTROLS = {"shifted_roi": "the same shape elsewhere in the image", "swapped_roi": "another patient's region"}


def diagonal(strategy: str) -> Condition:
    """Models trained and tested on one strategy."""
    return Condition(strategy, strategy)


def measured(areas: LabelAreas, weights: Mapping[Condition, float], null: float = 0.0) -> Measured:
    """A comparison that holds for models trained anew, or in words why it cannot be made."""
    missing = [key for key in weights if key not in areas.study.conditions]
    if missing:
        names = " or ".join(key.trained_on if key.trained_on == key.evaluated_on else str(key) for key in missing)
        return f"no model was trained and tested on {names}"
    try:
        return areas.contrast(weights, null, retrained=True)
    except Unmeasurable as error:
        return f"too few patients: {error}"


def with_limits(contrast: Contrast, offset: float = 0.0) -> str:
    """A value and its confidence limits."""
    low, high = (limit + offset for limit in contrast.interval)
    return f"{plain(contrast.difference + offset)} ({plain(low)} to {plain(high)})"


def area(areas: LabelAreas, condition: Condition) -> Measured:
    """An area minus one half, so that its p-value is of chance."""
    return measured(areas, {condition: 1}, 0.5)


def on_full_images(areas: LabelAreas) -> tuple[list[str], dict[str, Contrast]]:
    """How well full images tell the label, and how much of that the metadata know."""
    full, metadata = area(areas, diagonal("full")), area(areas, METADATA)
    sentences, contrasts = list[str](), dict[str, Contrast]()
    if isinstance(full, Contrast):
        counts = f"{full.images} images of {full.patients} patients"
        sentences.append(f"Models of full images reach an AUC of {with_limits(full, 0.5)} in {counts}.")
    if not isinstance(metadata, Contrast):
        return [*sentences, "What the metadata know was not measured."], contrasts
    text = f"The metadata alone reach {with_limits(metadata, 0.5)}"
    gain = measured(areas, {diagonal("full"): 1, METADATA: -1})
    if isinstance(gain, Contrast):
        contrasts["full against metadata"] = gain
        text += f"; full images tell {with_limits(gain)} more{_doubt(gain, areas)}"
    return [*sentences, f"{text}."], contrasts


def without_the_region(areas: LabelAreas) -> list[str]:
    """What is left without the region, and how much of that its silhouette tells."""
    left, outline = area(areas, diagonal("without_roi")), area(areas, diagonal("silhouette"))
    if not isinstance(left, Contrast):
        return [f"What is left without the region is unknown: {left}."]
    text = f"Without the region, models trained so reach {with_limits(left, 0.5)}"
    if not isinstance(outline, Contrast):
        return [f"{text}; how much of that is the outline of the hole cannot be told: {outline}."]
    text += f"; its silhouette alone reaches {with_limits(outline, 0.5)}"
    above, of_outline = left.difference, outline.difference
    if left.interval[0] <= 0:
        return [f"{text}. What is left cannot be told from chance."]
    if of_outline >= above:
        return [f"{text}. All of what is left can be the outline of the hole."]
    share = f"Of the {plain(above)} above chance that are left, {plain(max(of_outline, 0))}"
    return [f"{text}. {share} can be the outline."]


def of_boxes(areas: LabelAreas) -> tuple[list[str], dict[str, Contrast]]:
    """The same comparisons with bounding boxes, whose outline tells less and whose hole hides more."""
    parts, contrasts = list[str](), dict[str, Contrast]()
    for strategy, words in BOXES.items():
        found = measured(areas, {diagonal(strategy): 1, diagonal("box_silhouette"): -1})
        if isinstance(found, Contrast):
            contrasts[f"{strategy} against box_silhouette"] = found
            parts.append(f"{with_limits(found)} {words}{_doubt(found, areas)}")
    if not parts:
        return [], {}
    note = " Hiding the box also hides the surroundings near the region." if "without the" in parts[0] else ""
    return [f"Against the silhouette of its box, models gain {'; '.join(parts)}.{note}"], contrasts


def of_the_content(areas: LabelAreas) -> tuple[list[str], dict[str, Contrast]]:
    """Whether models of full images need what the region holds more than an equal area elsewhere."""
    sentences, contrasts = list[str](), dict[str, Contrast]()
    hidden = Condition("full", "without_roi")
    for strategy, words in CONTROLS.items():
        control = Condition("full", strategy)
        lost, elsewhere = (
            measured(areas, {diagonal("full"): 1, hidden: -1}),
            measured(areas, {diagonal("full"): 1, control: -1}),
        )
        extra = measured(areas, {control: 1, hidden: -1})
        if not (isinstance(lost, Contrast) and isinstance(elsewhere, Contrast) and isinstance(extra, Contrast)):
            continue
        contrasts[f"full, {strategy} against full, without_roi"] = extra
        needs = "it is not shown that they need the region more"
        if extra.interval[0] > 0:
            needs = f"they need the region more, by {with_limits(extra)}"
        elif extra.interval[1] < 0:
            needs = f"they need the region less, by {plain(-extra.difference)}"
        sentences.append(
            f"Models of full images lose {with_limits(lost)} when the region is hidden, and {with_limits(elsewhere)} "
            f"when {words} is: {needs}."
        )
    return sentences, contrasts


def _doubt(contrast: Contrast, areas: LabelAreas) -> str:
    return "" if contrast.p_value < 1 - areas.level else ", which may be chance"
