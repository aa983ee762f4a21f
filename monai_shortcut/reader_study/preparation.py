# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A reader study from images: a balanced, blinded set of pictures, and its key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from monai_shortcut.reader_study.cases import PUBLISHED, Candidates, checked_percentiles, draw_cases
from monai_shortcut.reader_study.key import Presentation, StudyKey
from monai_shortcut.reader_study.pictures import Display, Picture, masked, pictures
from monai_shortcut.reader_study.schedule import opaque_names, session_numbers
from monai_shortcut.regions.strategies import RegionError, check_settings

Scorer = Callable[[int, str, torch.Tensor], float | None]
READ = ("full", "without_roi", "without_roi_box", "roi_only", "roi_box_only")  # as published


@dataclass(frozen=True, eq=False)
class ReaderSet:
    """What a page for readers is made of, and its key.

    Attributes:
        key: what the pictures are; it stays with who organises the study.
        pictures: the picture of each case, by the name that readers see.
    """

    key: StudyKey
    pictures: dict[str, Picture]


def prepare(
    items: Sequence[Mapping[str, Any]],
    labels: ArrayLike,
    patients: ArrayLike,
    probabilities: ArrayLike,
    *,
    image_ids: Sequence[Any] | None = None,
    strategies: Sequence[str] = READ,
    percentiles: int | Sequence[float] = PUBLISHED,
    per_percentile: int = 1,
    longest: int | None = None,
    display: Display | None = None,
    scorer: Scorer | Mapping[str, ArrayLike] | None = None,
    answers: tuple[str, str] = ("negative", "positive"),
    levels: int = 5,
    title: str = "Reader study",
    question: str = "",
    seed: int | None = None,
) -> ReaderSet:
    """Draw cases, mask them, deal them out over sessions and give them names that tell nothing.

    Args:
        items: N dictionaries with ``image`` and ``roi``, perhaps ``swapped_roi`` and ``spacing``, as in
            `monai_shortcut.reader_study.pictures.masked`: a list, or a MONAI dataset. Only items that are drawn, or
            would be, are read.
        labels: (N,) 0 or 1.
        patients: (N,) patient of each image; a study has one case of a patient.
        probabilities: (N,) the model's probability of class 1 for the whole image.
        image_ids: N names for the key; by default the numbers of the images.
        strategies: masking strategies; each case is seen under each of them, in another session.
        percentiles: where among the probabilities of a class its cases lie: numbers, or how many, evenly spread.
        per_percentile: number of cases of each class at each percentile.
        longest: most pictures of a session; more sessions are made of more cases.
        display: how images are masked and shown; by default `Display()`.
        scorer: what the model gives each picture, for the comparison with readers: a function of the item's number,
            the strategy and the masked image, or (N,) probabilities by strategy, of models that may have been trained
            on images masked so. By default only the whole image has one.
        answers: what classes 0 and 1 are called on the page.
        levels: number of levels of confidence.
        title: heading of the page; readers see it.
        question: what they are asked; by default which of the two it is.
        seed: of all draws; by default another one each time, so that nobody can draw the names again.

    Returns:
        The pictures and the key.

    Raises:
        ValueError: If a setting is not as described, or as `Candidates.of`.
        Unmeasurable: If a class has too few patients.

    References:
        Sourget et al. (2025), Mask of truth: cases at three percentiles of the model's probability.
    """
    shown, names, places = display or Display(), tuple(strategies), checked_percentiles(percentiles)
    _check(names, per_percentile, levels)
    candidates = Candidates.of(labels, patients, probabilities, image_ids)
    if len(items) != len(candidates.image_ids):
        raise ValueError(f"items must be as many as labels ({len(candidates.image_ids)}), got {len(items)}.")
    rng = np.random.default_rng(seed)
    maker = _Maker(items, names, shown, _scorer(scorer, candidates))
    cases, excluded = draw_cases(candidates, places, per_percentile, maker.problem, rng)
    sessions, _ = session_numbers(candidates.labels[cases], len(names), longest, rng)
    opaque = iter(opaque_names(sessions.size, rng))
    presentations, drawn = [], {}
    for image, own in zip(cases.tolist(), sessions.tolist(), strict=True):
        for (strategy, (picture, probability)), session in zip(maker.made[image].items(), own, strict=True):
            case = next(opaque)
            drawn[case] = picture
            presentations.append(_presentation(candidates, image, case, session, strategy, probability))
    settings = {
        "percentiles of the model's probability": ", ".join(f"{place:g}" for place in places),
        "cases of each class at each": str(per_percentile),
        "seed": "random" if seed is None else str(seed),
        **{field.name: str(getattr(shown, field.name)) for field in fields(shown)},
    }
    return ReaderSet(
        StudyKey(
            study=_digest(drawn),
            title=title,
            question=question or f"Is it {answers[0]} or {answers[1]}?",
            answers=(str(answers[0]), str(answers[1])),
            levels=levels,
            strategies=names,
            presentations=tuple(sorted(presentations, key=lambda one: (one.session, one.case))),
            settings=settings,
            excluded=excluded,
        ),
        dict(sorted(drawn.items())),
    )


def _check(strategies: Sequence[str], per_percentile: int, levels: int) -> None:
    for name in strategies:
        check_settings(name)
    if not strategies or len(set(strategies)) < len(strategies):
        raise ValueError(f"strategies must be at least one, each once, got {', '.join(strategies) or 'none'}.")
    if per_percentile < 1:
        raise ValueError(f"per_percentile must be at least 1, got {per_percentile}.")
    if not 1 <= levels <= 9:
        raise ValueError(f"levels must be 1 to 9, for each has a key, got {levels}.")


class _Maker:
    """Pictures of drawn items, each with what the model gives it; masked images are not kept."""

    def __init__(
        self, items: Sequence[Mapping[str, Any]], strategies: Sequence[str], display: Display, scorer: Scorer
    ) -> None:
        self._items, self._strategies, self._display, self._scorer = items, strategies, display, scorer
        self.made: dict[int, dict[str, tuple[Picture, float | None]]] = {}

    def problem(self, image: int) -> str:
        """Make the pictures of an item; why they cannot be made, or nothing."""
        item = self._items[image]
        try:
            images = masked(item, self._strategies, self._display)
        except RegionError as error:
            return str(error)
        found = pictures(item, images, self._display)
        self.made[image] = {name: (found[name], self._scorer(image, name, images[name])) for name in images}
        return ""


def _presentation(
    candidates: Candidates, image: int, case: str, session: int, strategy: str, probability: float | None
) -> Presentation:
    return Presentation(
        case=case,
        session=session,
        strategy=strategy,
        image_id=candidates.image_ids[image],
        patient_id=str(candidates.patients[image]),
        label=int(candidates.labels[image]),
        probability=probability,
    )


def _scorer(scorer: Scorer | Mapping[str, ArrayLike] | None, candidates: Candidates) -> Scorer:
    if callable(scorer):
        return scorer
    known = {name: np.asarray(values, dtype=np.float64) for name, values in (scorer or {}).items()}
    known.setdefault("full", candidates.probabilities)
    for name, values in known.items():
        if values.shape != candidates.probabilities.shape:
            raise ValueError(f"scores of {name} must have shape {candidates.probabilities.shape}, got {values.shape}.")

    def given(image: int, strategy: str, masked_image: torch.Tensor) -> float | None:
        return float(known[strategy][image]) if strategy in known and np.isfinite(known[strategy][image]) else None

    return given


def _digest(drawn: Mapping[str, Picture]) -> str:
    content = hashlib.sha256()
    for case in sorted(drawn):
        content.update(case.encode() + hashlib.sha256(drawn[case].png).digest())
    return content.hexdigest()[:16]
