# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The images of an evaluation that are kept, to be explained when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.utils import convert_to_tensor
from torch import nn

from monai_shortcut.attribution.measure import NO_REGION, attribution, not_asked, place_of
from monai_shortcut.attribution.methods import Answers, check_methods
from monai_shortcut.attribution.record import Attribution
from monai_shortcut.attribution.settings import AttributionSettings
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.handlers.masking import finished
from monai_shortcut.handlers.processes import gather
from monai_shortcut.handlers.tasks import ClinicalTask, CohortMatcher, analysable_levels
from monai_shortcut.transforms.metadata import placed_like

Place = tuple[float, str, str]  # by the pixels, id in the cohort, name in the batch


class KeptImages:
    """Images and regions of at most so many images of each label, the first by `place_of`.

    Args:
        matchers: cohort of each clinical label.
        settings: how many images.
        after_masking: as of `ShortcutAudit`.
    """

    def __init__(
        self,
        matchers: Mapping[str, CohortMatcher],
        settings: AttributionSettings,
        after_masking: Callable[[Any], Any] | None = None,
    ) -> None:
        self._matchers, self._settings = matchers, settings
        self._after_masking = after_masking and partial(finished, after_masking=after_masking)
        self._pixels: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._chosen: dict[tuple[str, str], dict[str, Place]] = {}  # by clinical label and class: places by id

    def look(self, names: Sequence[str], images: Any, regions: Any) -> None:
        """See the images (N, C, *spatial) and regions (N, 1 or C, *spatial) of a batch."""
        for name, image, region in zip(names, images, regions, strict=True):
            found = {label: matcher.find(name) for label, matcher in self._matchers.items()}
            self._pixels[name] = as_explained(image, region)
            place = place_of(self._pixels[name][0], self._settings.seed)
            for label, row in found.items():
                if row is not None:
                    self._choose(label, (place, row, name))
        self._forget()

    def unite(self) -> None:
        """Take over what all processes kept."""
        for pixels, chosen in gather((self._pixels, self._chosen)):
            self._pixels |= pixels
            for key, places in chosen.items():
                self._chosen.setdefault(key, {}).update(places)
        for key, places in self._chosen.items():
            self._chosen[key] = self._first(key[0], places)
        self._forget()

    def explained(
        self, task: ClinicalTask, network: nn.Module, output: str | int | None, audit: AuditSettings
    ) -> Attribution:
        """Where the network looks, of one clinical label."""
        rows_of = {image: row for row, image in enumerate(task.cohort.image_ids)}
        chosen = [place for key, places in self._chosen.items() if key[0] == task.name for place in places.values()]
        order = sorted(place for place in chosen if place[1] in rows_of)
        rows = np.array([rows_of[image] for _, image, _ in order], dtype=np.int64)
        levels = analysable_levels(task.cohort, task.attributes, audit)
        kept = [self._pixels[name] for *_, name in order]
        return attribution(
            Answers(network, output, task.outputs, task.images.head.activation),
            [image for image, _ in kept],
            [region for _, region in kept],
            task.cohort.labels[rows],
            [str(patient) for patient in task.cohort.patients[rows]],
            label_names=task.cohort.label_names,
            image_ids=[image for _, image, _ in order],
            attributes={name: (found.codes[rows], found.names) for name, found in levels.items()},
            settings=self._settings,
            draws=audit,
            after_masking=self._after_masking,
        )

    def _choose(self, label: str, place: Place) -> None:
        cohort, row = self._matchers[label].cohort, place[1]
        key = label, str(cohort.labels[self._matchers[label].places[row]])
        self._chosen[key] = self._first(label, {**self._chosen.get(key, {}), row: place})

    def _first(self, label: str, places: Mapping[str, Place]) -> dict[str, Place]:
        most = -(-self._settings.images // len(self._matchers[label].cohort.label_names))
        return {place[1]: place for place in sorted(places.values())[:most]}

    def _forget(self) -> None:
        wanted = {place[2] for places in self._chosen.values() for place in places.values()}
        self._pixels = {name: pixels for name, pixels in self._pixels.items() if name in wanted}


def as_explained(image: Any, region: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """An image (C, *spatial) and its region on the CPU; an empty one where the files say that it lies elsewhere."""
    try:
        placed = _plain(placed_like(region, image))
    except ValueError:
        placed = torch.zeros_like(_plain(region))
    return _plain(image).float(), placed


def checked_settings(asked: bool | str | AttributionSettings) -> AttributionSettings | None:
    """Settings of an attribution; None if nobody asked. A command line gives "true" as text.

    Raises:
        ValueError: If it is neither true, false nor settings, or a method does not exist.
    """
    asked = {"true": True, "false": False}.get(asked.lower(), asked) if isinstance(asked, str) else asked
    if not isinstance(asked, bool | AttributionSettings):
        raise ValueError(f"attribution must be true, false or AttributionSettings, got {asked!r}.")
    settings = AttributionSettings() if asked is True else asked or None
    if settings is not None:
        check_methods(settings.methods)
    return settings


def without_region() -> Attribution:
    """The record of an evaluation that has no regions."""
    return not_asked(NO_REGION)


def _plain(values: Any) -> torch.Tensor:
    found: torch.Tensor = convert_to_tensor(values, track_meta=False)
    return found.detach().cpu().clone()
