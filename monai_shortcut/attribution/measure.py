# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where does a network look? Every method asked about the same images, its shares compared and itself checked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from monai_shortcut.attribution.checks import run_checks
from monai_shortcut.attribution.masked import drawn, drawn_map, masked_panel, regions_of, slice_of
from monai_shortcut.attribution.methods import METHODS, Method, Question, attributions, check_methods, question_of
from monai_shortcut.attribution.network import Step, as_plain
from monai_shortcut.attribution.parts import OUTSIDE, ROI, region_parts, region_problem
from monai_shortcut.attribution.record import RULES, Attribution, Checks, Explained, MaskedPanel, Panel, Plane
from monai_shortcut.attribution.settings import REGIONAL, AttributionSettings
from monai_shortcut.attribution.shares import Cases, Explanation, label_shares, level_differences
from monai_shortcut.statistics.ordering import by_appearance
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Booleans, Floats, Integers, Unmeasurable

_PIXELS = 4096  # of an image, evenly spread, that tell its place
_SPREAD = 1000  # angles are far closer to each other than their thousandths
NO_REGION = "the audit has no region of interest; name its entry of the batch (roi_key, --audit_roi_key)"


def not_asked(reason: str) -> Attribution:
    """The record of an attribution that could not be made at all."""
    return Attribution(0, 0, "", not_computed={"all": reason})


def place_of(image: torch.Tensor, seed: int = 0) -> float:
    """Where an image (C, *spatial) comes when images are chosen: at random in [0, 1), by its pixels and by no name.

    It is a digit of the image's angle with a direction at random: pixels that differ by rounding, as on another device,
    move it by a ten-thousandth. An image of zeros or of pixels that are not finite comes last, at 1.
    """
    pixels = image.detach().flatten()
    values: Floats = pixels[:: -(-len(pixels) // _PIXELS)].cpu().double().numpy()
    length = float(np.sqrt((values**2).sum()))
    if not 0 < length < np.inf:
        return 1.0
    direction = np.random.default_rng(seed).normal(size=len(values))
    return float((direction * values).sum() / length * _SPREAD % 1)


def first_images(places: Sequence[Any], labels: ArrayLike, classes: int, settings: AttributionSettings) -> list[int]:
    """Rows of as many images of each label as the settings explain, the first by their place.

    Args:
        places: of N images, in the order of which they are chosen; see `place_of`.
        labels: (N,) class of each image, integers in [0, classes); others are not chosen.
        classes: number of classes.
        settings: number of images.
    """
    code, most = np.asarray(labels), -(-settings.images // classes)
    rows = (sorted(np.flatnonzero(code == label).tolist(), key=places.__getitem__)[:most] for label in range(classes))
    return sorted((row for own in rows for row in own), key=places.__getitem__)


def attribution(
    network: nn.Module,
    images: Sequence[torch.Tensor],
    regions: Sequence[torch.Tensor],
    labels: ArrayLike,
    patients: Sequence[str],
    *,
    label_names: Sequence[str],
    image_ids: Sequence[str] | None = None,
    attributes: Mapping[str, tuple[ArrayLike, Sequence[str]]] | None = None,
    settings: AttributionSettings | None = None,
    draws: Resampling | None = None,
    after_masking: Step | None = None,
) -> Attribution:
    """Ask every method where the network looks, for the answer of each image's own label.

    Args:
        network: gives (N, classes) answers, as `monai_shortcut.attribution.methods.Answers` does: what is explained is
            the answer for the image's label.
        images: N images (C, *spatial), which may differ in size.
        regions: N regions (1 or more channels, *spatial), not 0 inside in any channel. An image whose region is empty
            or covers it is left out and counted.
        labels: (N,) class of each image.
        patients: N patients, the independent units.
        label_names: by class.
        image_ids: N names; default "0", "1", and so on.
        attributes: (N,) codes, negative where unknown, and names of their levels, by attribute.
        settings: see `AttributionSettings`. All given images are explained; ``settings.images`` is for who gives them.
        draws: how bootstrap samples and permutations are drawn; see `Resampling`.
        after_masking: what is done for an image (C, *spatial) with hidden pixels before the network sees it, such as
            the intensity scaling again. It leaves an image as it is for which it was done before.

    Returns:
        The record. A method that fails is named with its reason, and the others go on.

    Raises:
        ValueError: If lengths disagree or a method does not exist.

    References:
        Lundberg and Lee (2017), NeurIPS; Sundararajan et al. (2017), ICML; Adebayo et al. (2018), Sanity checks for
        saliency maps, NeurIPS; Petsiuk et al. (2018), RISE, BMVC, for deletion and insertion.
    """
    chosen = settings or AttributionSettings()
    check_methods(chosen.methods)
    names = [str(index) for index in range(len(images))] if image_ids is None else list(image_ids)
    code = np.asarray(labels, dtype=np.int64)
    given = {"regions": len(regions), "labels": len(code), "patients": len(patients), "image_ids": len(names)}
    for name, count in given.items():
        if count != len(images):
            raise ValueError(f"{name} must have one value for each of the {len(images)} images, got {count}.")
    unusable = {names[i]: why for i in range(len(images)) if (why := _problem(images[i], regions[i]))}
    rows = [index for index, name in enumerate(names) if name not in unusable]
    ring = f"{chosen.ring:g} times the region's area" if chosen.unit == "area" else f"{chosen.ring:g} pixels"
    if not rows:
        reason = "no image has a region with something inside and something outside"
        return Attribution(0, 0, ring, not_computed={"all": reason}, unusable=unusable)
    whole = [(images[i], regions[i], int(code[i])) for i in rows]
    batches = list(_batches(network, whole, chosen, after_masking))
    patient = by_appearance([str(patients[i]) for i in rows])
    cases = Cases(code[rows], patient, label_names, draws or Resampling())
    levels = {name: (np.asarray(own)[rows], words) for name, (own, words) in (attributes or {}).items()}
    asked = _Asked(batches, cases, levels, chosen)
    asked.ask_all()
    shown = [names[i] for i in rows]
    return Attribution(
        images=len(rows),
        patients=len(set(patient.tolist())),
        ring=ring,
        methods=tuple(asked.explained),
        not_computed=asked.problems,
        unusable=unusable,
        panels=asked.panels(shown),
        masked=asked.masked_panels(shown),
    )


def _problem(image: torch.Tensor, region: torch.Tensor) -> str:
    if tuple(region.shape[1:]) != tuple(image.shape[1:]):
        return f"the region has shape {tuple(region.shape)}, the image {tuple(image.shape)}"
    if not torch.isfinite(image).all():
        return "the image holds values that are not finite"
    return region_problem(_inside(region))


def _inside(region: torch.Tensor) -> torch.Tensor:
    """(1, *spatial) bool: not 0 in any channel."""
    return (as_plain(region).nan_to_num() != 0).any(dim=0, keepdim=True)


def _batches(
    network: nn.Module,
    cases: list[tuple[torch.Tensor, torch.Tensor, int]],
    settings: AttributionSettings,
    after_masking: Step | None,
) -> Iterator[Question]:
    """Questions about images of one size that follow each other."""
    for _, group in groupby(cases, key=lambda case: tuple(case[0].shape)):
        alike = list(group)
        background = torch.stack([image for image, *_ in alike[: settings.background]])
        for first in range(0, len(alike), settings.batch):
            images, regions, targets = zip(*alike[first : first + settings.batch], strict=True)
            parts = region_parts(torch.stack([_inside(region) for region in regions]), settings.ring, settings.unit)
            yield question_of(
                network,
                torch.stack(images),
                parts,
                torch.tensor(targets),
                settings.fills[0],
                settings,
                background,
                after_masking,
            )


@dataclass(eq=False)
class _Asked:
    """Questions, and what the methods have said so far."""

    batches: list[Question]
    cases: Cases
    levels: Mapping[str, tuple[Integers, Sequence[str]]]
    settings: AttributionSettings
    explained: list[Explained] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[Method, float | str]] = field(default_factory=list)
    outside: Floats | None = None

    def ask_all(self) -> None:
        for name in self.settings.methods:
            method = METHODS[name]
            fills = _fills(method, self.settings.fills)
            for fill in fills:
                try:
                    self.explained.append(self._ask(method, fill))
                except Unmeasurable as reason:
                    self.problems[name if len(fills) == 1 else f"{name}, {_told(method, fill)}"] = str(reason)
                else:
                    self.asked.append((method, fill))

    def _ask(self, method: Method, fill: float | str) -> Explained:
        most = len(self.cases.labels) if method.name == REGIONAL else self.settings.pixel_images
        questions = [replace(one, fill=fill) for one in _first(self.batches, most)]
        began, maps = time.perf_counter(), []
        for one in questions:
            maps.append(attributions(method, one))
        found = Explanation.together(
            [Explanation.of(*pair) for pair in zip(maps, (q.parts for q in questions), strict=True)]
        )
        seconds = (time.perf_counter() - began) / len(found.area)
        outside = found.shares[:, OUTSIDE]
        if not np.isfinite(outside).any():
            raise Unmeasurable("all its attributions are 0")
        cases = self.cases.first(len(outside))
        levels = {name: (codes[: len(outside)], words) for name, (codes, words) in self.levels.items()}
        differences, untested = level_differences(outside, cases, levels)
        self.outside = outside if self.outside is None else self.outside
        return Explained(
            method=method.name,
            fill=_told(method, fill),
            images=int(np.isfinite(outside).sum()),
            seconds=seconds,
            labels=label_shares(found, cases),
            levels=differences,
            untested=untested,
            checks=self._checked(method, questions, maps),
        )

    def _checked(self, method: Method, questions: Sequence[Question], maps: Sequence[torch.Tensor]) -> Checks | None:
        """The checks of the first images, as far as they have one size."""
        size = questions[0].images.shape[1:]
        alike = list(takewhile(lambda one: one.images.shape[1:] == size, questions))
        rows = slice(0, self.settings.checked_images)
        images, parts, targets = (
            torch.cat([getattr(one, name) for one in alike])[rows] for name in ("images", "parts", "targets")
        )
        if len(images) < 2:
            return None
        question = replace(questions[0], images=images, parts=parts, targets=targets)
        return run_checks(
            method, question, torch.cat(list(maps[: len(alike)]))[rows], self.cases.first(len(images)).ratio
        )

    def panels(self, names: Sequence[str]) -> tuple[Panel, ...]:
        if self.outside is None:
            return ()
        shown = []
        for label, name in enumerate(self.cases.label_names):
            for rule, index in _by_rule(self.outside, self.cases.labels == label).items():
                shown.append(self._panel(index, names[index], name, rule))
        return tuple(shown)

    def _panel(self, index: int, image_id: str, label: str, rule: str) -> Panel:
        assert self.outside is not None
        own = self._alone(index)
        parts = own.parts
        plane = slice_of(parts[0, 0])
        maps: dict[str, Plane] = {}
        shares: dict[str, tuple[float, ...]] = {}
        seen: set[str] = set()
        for (method, fill), told in zip(self.asked, self.explained, strict=True):
            if method.name in seen and method.name != REGIONAL:  # the map with the first fill is shown
                continue
            seen.add(method.name)
            found = attributions(method, replace(own, fill=fill))
            shares[told.name] = tuple(np.nan_to_num(Explanation.of(found, parts).shares[0]).tolist())
            if method.name != REGIONAL:  # whose map is the parts
                maps[told.name] = drawn_map(found[0], plane)
        image, regions = drawn(own.images[0], plane), regions_of(parts, plane)
        return Panel(image_id, label, rule, float(self.outside[index]), image, regions, maps, shares)

    def masked_panels(self, names: Sequence[str]) -> tuple[MaskedPanel, ...]:
        """The median image of each label under every strategy, by the first method of pixels that passed its checks."""
        pairs = [pair for pair in zip(self.asked, self.explained, strict=True) if pair[1].method != REGIONAL]
        if self.outside is None or not pairs or not self.settings.strategies:
            return ()
        passed = (pair for pair in pairs if pair[1].checks is not None and pair[1].checks.passed)
        (method, fill), told = next(passed, pairs[0])
        found = []
        for label, name in enumerate(self.cases.label_names):
            rules = _by_rule(self.outside, self.cases.labels == label)
            index = rules.get("median", rules.get("highest"))  # of a single image
            if index is not None:
                own = replace(self._alone(index), fill=fill)
                found.append(masked_panel(method, own, self._swapped(index), names[index], name, told.name))
        return tuple(found)

    def _alone(self, index: int) -> Question:
        """The question about one image."""
        batch, place = next(_places(self.batches, index))
        return batch.rows(slice(place, place + 1))

    def _swapped(self, index: int) -> torch.Tensor | None:
        """(1, *spatial) bool region of the next patient whose image has the size of this one."""
        patients, shape = self.cases.patients, self._alone(index).parts.shape
        for other in (*range(index + 1, len(patients)), *range(index)):
            parts = self._alone(other).parts
            if patients[other] != patients[index] and parts.shape == shape:
                return (parts[0] == ROI).cpu()
        return None


def _first(batches: Sequence[Question], count: int) -> list[Question]:
    """Questions about the first images."""
    found: list[Question] = []
    for batch in batches:
        rows = slice(0, count - sum(len(one.images) for one in found))
        if rows.stop > 0:
            found.append(batch.rows(rows))
    return found


def _fills(method: Method, fills: Sequence[float | str]) -> list[float | str]:
    """The fills that differ for a method: names are all one to a method whose baseline is a single image."""
    if method.baseline == "background":
        return [fills[0]]
    if method.name == REGIONAL:
        return list(dict.fromkeys(fills))
    return list(dict.fromkeys("mean" if isinstance(fill, str) else fill for fill in fills))


def _told(method: Method, fill: float | str) -> str:
    return "background" if method.baseline == "background" else fill if isinstance(fill, str) else f"{fill:g}"


def _by_rule(outside: Floats, rows: Booleans) -> dict[str, int]:
    """The image of a label with the highest, the median and the lowest share outside; each image once."""
    known = np.flatnonzero(rows & np.isfinite(outside))
    order = known[np.argsort(-outside[known], kind="stable")]
    if not len(order):
        return {}
    found = dict(zip(RULES, order[[0, len(order) // 2, -1]].tolist(), strict=True))
    return {rule: index for rule, index in found.items() if index not in [found[r] for r in RULES[: RULES.index(rule)]]}


def _places(batches: Sequence[Question], index: int) -> Iterator[tuple[Question, int]]:
    """The batch that holds an image, and its place in it."""
    for batch in batches:
        if index < len(batch.images):
            yield batch, index
        index -= len(batch.images)
        if index < 0:
            return
