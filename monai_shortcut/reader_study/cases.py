# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which images are read: of both classes, at given places among the model's probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.statistics.checks import checked_length
from monai_shortcut.types import Floats, Integers, Unmeasurable

PUBLISHED = (25.0, 50.0, 75.0)  # percentiles of Sourget et al. (2025)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The images that cases are drawn from; build it with `of`, which checks them.

    Attributes:
        image_ids: N names, all different.
        patients: (N,) names of their patients.
        labels: (N,) 0 or 1.
        probabilities: (N,) the model's probability of class 1 for the whole image.
    """

    image_ids: tuple[str, ...]
    patients: NDArray[np.str_]
    labels: Integers
    probabilities: Floats

    @classmethod
    def of(
        cls, labels: ArrayLike, patients: ArrayLike, probabilities: ArrayLike, image_ids: Sequence[Any] | None = None
    ) -> Candidates:
        """Check what is known of the images.

        Args:
            labels: (N,) 0 or 1, both present.
            patients: (N,) patient of each image.
            probabilities: (N,) the model's probability of class 1; any score will do whose order is that.
            image_ids: N names; by default the numbers of the images.

        Raises:
            ValueError: If lengths differ, a label is neither 0 nor 1 or absent, a probability is not finite, or a name
                occurs twice.
        """
        label, patient, probability = (np.asarray(values) for values in (labels, patients, probabilities))
        checked_length("patients", patient, len(label), "labels")
        checked_length("probabilities", probability, len(label), "labels")
        if set(np.unique(label).tolist()) != {0, 1}:
            raise ValueError(f"labels must be 0 and 1, both present, got {np.unique(label)[:5].tolist()}.")
        if not np.isfinite(probability.astype(np.float64)).all():
            count = int((~np.isfinite(probability.astype(np.float64))).sum())
            raise ValueError(f"probabilities must be finite, got {count} that are not.")
        names = tuple(map(str, range(len(label)) if image_ids is None else image_ids))
        checked_length("image_ids", names, len(label), "labels")
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"image_ids must differ, got {', '.join(twice[:5])} again.")
        return cls(names, patient.astype(str), label.astype(np.int64), probability.astype(np.float64))


def checked_percentiles(percentiles: int | Sequence[float]) -> tuple[float, ...]:
    """Places among the probabilities of a class.

    Args:
        percentiles: numbers in [0, 100]; or how many, evenly spread.

    Raises:
        ValueError: If there are none, or one is out of range.

    Example:
        >>> checked_percentiles(3), checked_percentiles([10, 90])
        ((25.0, 50.0, 75.0), (10.0, 90.0))
    """
    if isinstance(percentiles, int):
        places = tuple(100 * (place + 1) / (percentiles + 1) for place in range(percentiles))
    else:
        places = tuple(map(float, percentiles))
    if not places or not all(0 <= place <= 100 for place in places):
        raise ValueError(f"percentiles must be between 0 and 100, at least one, got {percentiles!r}.")
    return places


def draw_cases(
    candidates: Candidates,
    places: Sequence[float],
    per_place: int,
    problem: Callable[[int], str],
    rng: np.random.Generator,
) -> tuple[Integers, dict[str, str]]:
    """As many images of either class, each of another patient, nearest to given places among the probabilities.

    Args:
        candidates: the images.
        places: percentiles of the probabilities of each class.
        per_place: number of images at each place, of each class.
        problem: why the image with this number cannot be shown; empty if it can. It is asked of images that would be
            chosen, alone.
        rng: decides between equal probabilities.

    Returns:
        (C,) numbers of the images, class 1 and 0 in turn, and the reason by name of those that could not be shown.

    Raises:
        Unmeasurable: If a class has too few patients whose images can be shown.
    """
    taken, excluded = set[str](), dict[str, str]()
    ranked = [_by_probability(candidates, label, rng) for label in (1, 0)]
    chosen = []
    for place in places:
        for _ in range(per_place):
            for order in ranked:
                distance = np.abs(np.arange(len(order)) - place / 100 * (len(order) - 1))
                nearest = order[np.argsort(distance, kind="stable")]
                chosen.append(_first_usable(candidates, nearest, taken, excluded, problem, len(places) * per_place))
                taken.add(str(candidates.patients[chosen[-1]]))
    return np.array(chosen, dtype=np.int64), excluded


def _by_probability(candidates: Candidates, label: int, rng: np.random.Generator) -> Integers:
    members = rng.permutation(np.flatnonzero(candidates.labels == label))
    return members[np.argsort(candidates.probabilities[members], kind="stable")]


def _first_usable(
    candidates: Candidates,
    nearest: Integers,
    taken: set[str],
    excluded: dict[str, str],
    problem: Callable[[int], str],
    wanted: int,
) -> int:
    for image in nearest.tolist():
        name = candidates.image_ids[image]
        if candidates.patients[image] in taken or name in excluded:
            continue
        if not (why := problem(image)):
            return int(image)
        excluded[name] = why
    label = int(candidates.labels[nearest[0]])
    people = len(set(candidates.patients[nearest].tolist()))
    reason = f", and {len(excluded)} images that cannot be shown ({next(iter(excluded.values()))})" if excluded else ""
    raise Unmeasurable(
        f"class {label} must have an image of another patient for each of {wanted} cases, got {people} patients, some "
        f"of whom the other class may have taken{reason}."
    )
