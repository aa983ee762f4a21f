# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the matrix says, in words: whether the class is told inside the region, outside it, or by its outline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from monai_shortcut.region_study.contrasts import Contrast, LabelAreas
from monai_shortcut.region_study.control import SILHOUETTE, Gain, gain, readers
from monai_shortcut.region_study.fits import Fit, fits_of
from monai_shortcut.region_study.scores import StudyScores
from monai_shortcut.region_study.wording import (
    Measured,
    area,
    diagonal,
    of_boxes,
    of_the_content,
    on_full_images,
    with_limits,
    without_the_region,
)
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Estimate, plain

YES, NO, INCONCLUSIVE = "yes", "no", "inconclusive"
ANSWERS = (YES, NO, INCONCLUSIVE)
TOLERANCE = 0.05
_PARTS = {"outside": ("without_roi", "the surroundings"), "inside": ("roi_only", "the inside")}


@dataclass(frozen=True)
class SourceReading:
    """Whether one part of the images tells the class.

    Attributes:
        answer: "yes", "no" or "inconclusive". Of the outline: whether the silhouette alone tells the class. Of the
            inside and the surroundings: whether they tell it better than the outline that comes with them.
        reason: the numbers that decide, or what is missing.
        contrast: that decides: the area of the silhouette minus one half, or the area of models trained and tested with
            this part minus that of those who read silhouettes best (if the answer is "no", of the silhouette's own
            models); its p-value Holm-adjusted over the sources. None if not measured.
    """

    answer: str
    reason: str
    contrast: Contrast | None


@dataclass(frozen=True)
class RegionReading:
    """What a study says about one label.

    Attributes:
        label: told apart from all others.
        inside: inside of what the region contains.
        outside: outside of what surrounds it.
        outline: outline of its size, shape and place.
        sentences: the reading in plain words.
        contrasts: further comparisons that the sentences rest on, by name; not adjusted.
        areas: areas of models tested as they were trained, by strategy, with limits that hold for models trained anew,
            as in the sentences; empty in former records.
    """

    label: str
    inside: SourceReading
    outside: SourceReading
    outline: SourceReading
    sentences: tuple[str, ...]
    contrasts: dict[str, Contrast]
    areas: dict[str, Estimate] = field(default_factory=dict)


def read_regions(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    patients: pd.Series[Any],
    *,
    metadata: pd.DataFrame | None = None,
    fitted: pd.DataFrame | None = None,
    tolerance: float = TOLERANCE,
    level: float = 0.95,
) -> tuple[RegionReading, ...]:
    """Read where the class shows, from models tested as they were trained.

    An image without its region holds the surroundings and the outline of the hole; the region alone holds the inside
    and the outline; the silhouette holds the outline alone. So the outline tells the class if the silhouette's area is
    above one half by more than chance; the surroundings, or the inside, add to it if the area with them is above the
    silhouette's on the same images by more than chance and by at least the tolerance. Each answer is "no" if what the
    interval allows is less than the tolerance. It stays "inconclusive" where the interval allows more, where a strategy
    was not trained, and where models with more to see fall short of the silhouette by more than the tolerance: they
    have not learned all they see.

    The silhouette's models are a control, and a control that has learned badly makes everything else look like a gain.
    So a gain must also be shown against every other model that tells silhouettes apart, for each shows what the outline
    can tell. And the silhouette's models must have learned. No others may read silhouettes better by more than chance,
    unless the gain is certainly larger than that and than the tolerance. On the images that they were trained on they
    must reach what the models with more to see reach on new ones. Where nobody else was tested on silhouettes no gain
    is read.

    Other than those of the matrix, intervals and p-values of a reading allow for models trained anew: two networks that
    learned the same differ by luck, and that must not be read as information. Folds show how much; with fewer than
    five of them little can be excluded, and most answers stay inconclusive.

    "No" means no more than the outline. Where the outline alone tells nearly everything, nothing could be more, and the
    reading says so.

    Args:
        scores: one row per model, condition and image; see `StudyScores.of`.
        outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown.
        patients: patient of each image, indexed by image_id.
        metadata: scores of the metadata baseline: columns fold, image_id and one per label.
        fitted: scores of models on the images that they were made with; see `fits_of`.
        tolerance: smallest difference of areas that matters.
        level: level of the intervals; 1 - level is the largest adjusted p-value that counts as evidence.

    Returns:
        One reading per label.

    Raises:
        ValueError: If the tolerance is not in (0, 0.5), or as `StudyScores.of`.
    """
    study = StudyScores.of(scores, outcomes, patients, metadata)
    fits = () if fitted is None else fits_of(fitted, outcomes)
    return tuple(read_label(LabelAreas(study, label, level), tolerance, fits) for label in study.labels)


def read_label(areas: LabelAreas, tolerance: float = TOLERANCE, fits: Sequence[Fit] = ()) -> RegionReading:
    """Read where one label shows; see `read_regions`.

    Raises:
        ValueError: If the tolerance is not in (0, 0.5).
    """
    if not 0 < tolerance < 0.5:
        raise ValueError(f"tolerance must be in (0, 0.5), got {tolerance}.")
    silhouette = area(areas, SILHOUETTE)
    gains = {source: gain(areas, strategy, fits, tolerance) for source, (strategy, _) in _PARTS.items()}
    least = _adjusted({"outline": silhouette} | {source: found.least for source, found in gains.items()})
    own = _adjusted({"outline": silhouette} | {source: found.on_silhouette for source, found in gains.items()})
    significance = 1 - areas.level
    outline = _outline(least["outline"], [area(areas, reader) for reader, _ in readers(areas)], tolerance, significance)
    outside, inside = (
        _beyond(
            _PARTS[source][1],
            replace(found, on_silhouette=own[source], least=least[source]),
            silhouette,
            tolerance,
            significance,
        )
        for source, found in gains.items()
    )
    sentences, contrasts = on_full_images(areas)
    boxes, content = of_boxes(areas), of_the_content(areas)
    sentences += without_the_region(areas)
    sentences += [f"Outline: {outline.answer}; {outline.reason}."]
    sentences += [f"Surroundings beyond the outline: {outside.answer}; {outside.reason}."]
    sentences += [f"Inside beyond the outline: {inside.answer}; {inside.reason}."]
    return RegionReading(
        areas.label,
        inside,
        outside,
        outline,
        (*sentences, *boxes[0], *content[0]),
        contrasts | boxes[1] | content[1],
        _own_areas(areas),
    )


def _own_areas(areas: LabelAreas) -> dict[str, Estimate]:
    """Areas of models tested as they were trained, by strategy."""
    own = [key.trained_on for key in areas.study.conditions if key == diagonal(key.trained_on)]
    found = {strategy: area(areas, diagonal(strategy)) for strategy in own}
    return {
        strategy: Estimate(0.5 + one.difference, 0.5 + one.interval[0], 0.5 + one.interval[1])
        for strategy, one in found.items()
        if isinstance(one, Contrast)
    }


def _adjusted(found: Mapping[str, Measured]) -> dict[str, Measured]:
    """The comparisons with p-values that Holm's method adjusts over them."""
    p_values = holm([one.p_value if isinstance(one, Contrast) else float("nan") for one in found.values()]).tolist()
    return {
        name: replace(one, adjusted_p_value=p_value) if isinstance(one, Contrast) else one
        for (name, one), p_value in zip(found.items(), p_values, strict=True)
    }


def _outline(found: Measured, others: Sequence[Measured], tolerance: float, significance: float) -> SourceReading:
    if isinstance(found, str):
        return SourceReading(INCONCLUSIVE, found, None)
    reached = f"the silhouette alone reaches {with_limits(found, 0.5)}"
    if _significant(found, significance):
        if found.difference > 0:
            return SourceReading(YES, reached, found)
        return SourceReading(
            INCONCLUSIVE, f"{reached}, below chance: its models learned what does not hold elsewhere", found
        )
    best = max([abs(one.difference) for one in others if isinstance(one, Contrast)], default=0.0)
    if best >= tolerance > max(map(abs, found.interval)):
        known = f"models trained otherwise tell silhouettes apart by {plain(best)} from chance"
        return SourceReading(INCONCLUSIVE, f"{reached}, but {known}", found)
    if max(map(abs, found.interval)) < tolerance:
        return SourceReading(NO, f"{reached}, within {tolerance:g} of chance", found)
    return SourceReading(INCONCLUSIVE, f"{reached}, which may be chance or not", found)


def _beyond(part: str, found: Gain, outline: Measured, tolerance: float, significance: float) -> SourceReading:
    """Whether models that see a part of the image beside the outline do better than those of the outline alone."""
    least, own = found.least, found.on_silhouette
    if isinstance(least, str) or isinstance(own, str):
        return SourceReading(INCONCLUSIVE, f"{own}, so that {part} cannot be told from the outline", None)
    text = _gained(part, least, found.reader)
    if _significant(least, significance) and least.difference > 0:
        if found.doubt:
            return SourceReading(INCONCLUSIVE, f"{text}, but {found.doubt}", least)
        if least.difference >= tolerance:
            return SourceReading(YES, text, least)
        luck = f"{text}, less than the {tolerance:g} that matter: trainings may differ as much by luck"
        return SourceReading(INCONCLUSIVE, luck, least)
    if least.difference < -tolerance:
        return SourceReading(INCONCLUSIVE, f"{text}: they see the outline too, and have not learned it as well", least)
    room = 0.5 - outline.difference if isinstance(outline, Contrast) else 0.5
    full = (
        f"; the outline leaves room for no more than {plain(room)}, so {part} may tell the same again"
        if room < tolerance
        else ""
    )
    low, high = own.interval
    # Without room the upper limit says nothing: only an interval that is narrow on both sides shows equality.
    if high < tolerance and (low > -tolerance or not full):
        equal = f"{_gained(part, own, 'silhouette')}, no more than the outline to within {tolerance:g}{full}"
        return SourceReading(NO, equal, own)
    return SourceReading(INCONCLUSIVE, f"{text}, which may be chance or not{full}", least)


def _gained(part: str, found: Contrast, reader: str) -> str:
    words = "the silhouette"
    if reader != "silhouette":
        words = f"what models trained on {reader.replace('_', ' ')} read off the silhouette"
    better, count = sum(value > 0 for value in found.fold_values), len(found.fold_values)
    return f"with {part}, models gain {with_limits(found)} on {words}, in {better} of {count} folds"


def _significant(found: Contrast, significance: float) -> bool:
    return found.adjusted_p_value is not None and found.adjusted_p_value < significance
