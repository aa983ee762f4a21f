# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings that can be drawn again under another level of an attribute, and what such a swap moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from monai_shortcut.cohort.levels import Levels, attribute_levels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Factors = Mapping[str, NDArray[Any]]
ENOUGH = 20  # patients in both cells of a label, from which on reassurance can be false
SEEDS = ("judge", "choose")  # thresholds are chosen on the second, judged on the first


@dataclass(frozen=True)
class Listed:
    """An attribute of the table.

    Attributes:
        values: (N,) as `monai_shortcut.audit.audit` takes them; by default the factor's own.
        factor: what a swap changes in the world; "" if nothing in the image or the model has to do with it.
        expect: "used"; "unused"; "either", where the effect lies at the tolerance; or "invisible", where no comparison
            within the table can show the use.
        strong: whether a verdict should find the use.
        excuse: why predictions do differ with it although no swap moves them; "used" is then right as a statement about
            predictions, and the words have to tell the rest.
        calibrated: the nulls that hold: "gap" (predictions do not differ within labels), "blank" (no trace either).
        kind: as `audit` takes it.
        order: as `audit` takes it.
    """

    values: NDArray[Any] | None = None
    factor: str = ""
    expect: str = "unused"
    strong: bool = False
    excuse: str = ""
    calibrated: str = ""
    kind: str | None = None
    order: tuple[str, ...] | None = None


@dataclass(frozen=True)
class World:
    """A cohort of embeddings and the head that reads them.

    Attributes:
        labels: (N,) recorded codes.
        patients: (N,) codes.
        factors: (N,) by name, what the images were made under; integers are levels, floats continuous.
        render: coordinates (N, D) of the images under given factors; the same noise each time.
        weight: (C, D) of the head, in those coordinates.
        bias: (C,).
        listed: the table, by attribute.
        adjust_for: attributes whose path to the prediction is legitimate.
    """

    labels: Integers
    patients: Integers
    factors: Factors
    render: Callable[[Factors], Floats]
    weight: Floats
    bias: Floats
    listed: Mapping[str, Listed]
    adjust_for: tuple[str, ...] = ()

    def probabilities(self, **changed: NDArray[Any]) -> Floats:
        """Predictions (N, C), for the same images under changed factors."""
        return np.asarray(softmax(self.render({**self.factors, **changed}) @ self.weight.T + self.bias, axis=1))

    def values(self, name: str) -> NDArray[Any]:
        """The column (N,) of an attribute."""
        listed = self.listed[name]
        found = self.factors[listed.factor] if listed.values is None else listed.values
        return found if found.dtype.kind in "fO" else np.asarray(found).astype(str).astype(object)

    def levels(self, name: str) -> Levels:
        """The attribute's levels, as an audit with its usual settings forms them."""
        listed = self.listed[name]
        return attribute_levels(self.values(name), self.patients, kind=listed.kind, order=listed.order)


@dataclass(frozen=True)
class Swap:
    """What moves when only the attribute changes in the same image.

    Attributes:
        truth: mean probability moved, over images and the levels that each does not have.
        largest: the largest mean over the images of one label at one pair of levels.
        decisions: share of answers (argmax) that change, as `truth`.
        decisions_by_label: (C,) the same for each label, the largest over pairs of levels.
        cells: (C,) the fewest patients of a label at one level.
        reassuring_is_false: whether, in a label and pair of levels with `ENOUGH` patients in both cells, the swap
            changes 10 % of the answers or moves 0.1 of the probability.
    """

    truth: float = 0.0
    largest: float = 0.0
    decisions: float = 0.0
    decisions_by_label: tuple[float, ...] = ()
    cells: tuple[int, ...] = ()
    reassuring_is_false: bool = False


def swapped(world: World, name: str, seed: int = 0) -> Swap:
    """The truth about an attribute; a continuous one is given a random value of another of its bins."""
    listed, recorded = world.listed[name], world.levels(name).codes
    if not listed.factor:
        return Swap(
            cells=tuple(map(int, cells_of(world.labels, recorded, world.patients, len(world.bias)).min(axis=1)))
        )
    factor, rng = world.factors[listed.factor], np.random.default_rng(seed)
    real = recorded if factor.dtype.kind == "f" else np.unique(factor, return_inverse=True)[1]
    given = [rng.choice(factor[real == level], size=len(real)) for level in range(int(real.max()) + 1)]
    after = [world.probabilities(**{listed.factor: values}) for values in given]
    return moved_by(world.labels, world.patients, recorded, real, world.probabilities(), after)


def moved_by(
    labels: Integers,
    patients: NDArray[Any],
    recorded: Integers,
    real: Integers,
    before: Floats,
    after: Sequence[Floats],
) -> Swap:
    """What swaps move.

    Args:
        labels: (N,) recorded codes.
        patients: (N,).
        recorded: (N,) recorded codes of the attribute, -1 where missing.
        real: (N,) codes of the levels that the images were made under.
        before: (N, C) predictions.
        after: (N, C) predictions of the same images, by the level that all are made under.
    """
    cells = cells_of(labels, recorded, patients, before.shape[1])
    moved = np.stack([0.5 * np.abs(probabilities - before).sum(axis=1) for probabilities in after])
    changed = np.stack([probabilities.argmax(axis=1) != before.argmax(axis=1) for probabilities in after]) * 1.0
    others = (np.arange(len(after))[:, None] != real) & (real >= 0)
    pairs = [
        {
            "label": label,
            "enough": max(pair) < cells.shape[1] and bool((cells[label, list(pair)] >= ENOUGH).all()),
            "moved": _both_ways(moved, labels == label, real, pair),
            "changed": _both_ways(changed, labels == label, real, pair),
        }
        for label in range(len(cells))
        for pair in combinations(range(len(after)), 2)
    ]
    return Swap(
        float(moved[others].mean()),
        max(pair["moved"] for pair in pairs),
        float(changed[others].mean()),
        tuple(max(pair["changed"] for pair in pairs if pair["label"] == label) for label in range(len(cells))),
        tuple(map(int, cells.min(axis=1))),
        any(pair["enough"] and max(pair["moved"], pair["changed"]) >= 0.1 for pair in pairs),
    )


def cells_of(labels: Integers, recorded: Integers, patients: NDArray[Any], classes: int) -> Integers:
    """Patients (C, M) by recorded label and level."""
    return np.array(
        [
            [
                len(np.unique(patients[(labels == label) & (recorded == level)]))
                for level in range(int(recorded.max()) + 1)
            ]
            for label in range(classes)
        ]
    )


def _both_ways(effect: Floats, chosen: NDArray[np.bool_], real: Integers, pair: tuple[int, int]) -> float:
    """Mean effect (M, N) on chosen images at two levels, each swapped to the other; both cells weigh the same."""
    ways = [effect[to, chosen & (real == at)] for at, to in (pair, pair[::-1])]
    return float(np.mean([way.mean() for way in ways if len(way)] or [0.0]))


@dataclass(frozen=True)
class Ground:
    """Patients, labels and noise; what a scenario builds on.

    Attributes:
        rng: generator of everything else.
        patients: (N,) codes.
        labels: (N,) codes.
        noise: (N, D) of unit variance, in part the patient's.
    """

    rng: np.random.Generator
    patients: Integers
    labels: Integers
    noise: Floats = field(repr=False)

    @property
    def disease(self) -> Floats:
        """(N,) -0.5 or 0.5 of a binary label."""
        return self.labels - 0.5

    def each(self, people: NDArray[Any]) -> NDArray[Any]:
        """Values of the patients (P,) as values of their images (N,)."""
        return people[self.patients]

    def level(self, share: float = 0.5) -> Integers:
        """A level 0 or 1 of each patient, as values of the images."""
        return self.each((self.rng.random(int(self.patients.max()) + 1) < share).astype(np.int64))

    def like(self, level: Integers, agreement: float) -> Integers:
        """Levels that agree with given ones in a share of the patients."""
        agrees = self.rng.random(int(self.patients.max()) + 1) < agreement
        return np.where(self.each(agrees), level, 1 - level)

    def plus(self, shifts: Mapping[int, Any]) -> Floats:
        """The noise (N, D), shifted in some columns."""
        points = self.noise.copy()
        for column, shift in shifts.items():
            points[:, column] += shift
        return points


def ground(
    rng: np.random.Generator,
    images: int = 1000,
    *,
    columns: int = 64,
    shares: Sequence[float] = (0.5, 0.5),
    sizes: Sequence[int] | Integers = (),
    of_patient: float = 0.7,
    label_of_patient: bool = False,
) -> Ground:
    """Draw patients, labels and noise.

    Args:
        rng: generator.
        images: N, if every patient has one image.
        columns: D.
        shares: of the labels.
        sizes: images of each patient, if they have several.
        of_patient: standard deviation of what a patient's images share, where that of each image is 1.
        label_of_patient: whether all images of a patient have one label.
    """
    patients = np.repeat(np.arange(len(sizes)), sizes) if len(sizes) else np.arange(images)
    people, n = int(patients.max()) + 1, len(patients)
    drawn = rng.choice(len(shares), size=people if label_of_patient else n, p=np.array(shares) / np.sum(shares))
    noise = rng.normal(size=(n, columns)) + of_patient * rng.normal(size=(people, columns))[patients]
    return Ground(rng, patients, drawn[patients] if label_of_patient else drawn, noise / np.hypot(1, of_patient))


def two_classes(reads: Mapping[int, float], columns: int, bias: float = 0.0) -> tuple[Floats, Floats]:
    """Weight (2, D) and bias (2,) of a head whose logit reads some columns."""
    weight = np.zeros(columns)
    weight[list(reads)] = list(reads.values())
    return np.stack([-weight / 2, weight / 2]), np.array([-bias / 2, bias / 2])


def world(
    base: Ground,
    render: Callable[[Factors], Floats],
    factors: Factors,
    listed: Mapping[str, Listed],
    *,
    reads: Mapping[int, float] | None = None,
    bias: float = 0.0,
    scale: float = 1.0,
    head: tuple[Floats, Floats] | None = None,
    labels: Integers | None = None,
    adjust_for: tuple[str, ...] = (),
) -> World:
    """A world on a ground, turned so that no column is special and variance falls over directions.

    Args:
        base: patients, labels and noise.
        render: coordinates under given factors, before they are turned.
        factors: what the images are made under.
        listed: the table.
        reads: what a head of two classes reads, by column; by default 1.5 of the label's.
        bias: of its logit.
        scale: factor of all logits.
        head: weight and bias of a head of several classes, instead.
        labels: recorded labels, if they are not the true ones.
        adjust_for: attributes whose path is legitimate.
    """
    columns = base.noise.shape[1]
    weight, offset = head or two_classes(reads or {0: 1.5}, columns, bias)
    spread = 1 / np.sqrt(1 + np.arange(columns) / 8)
    turn = np.linalg.qr(base.rng.normal(size=(columns, columns)))[0]
    recorded = base.labels if labels is None else labels
    return World(
        recorded,
        base.patients,
        factors,
        lambda given: (render(given) * spread) @ turn.T,
        scale * (weight / spread) @ turn.T,
        scale * offset,
        listed,
        adjust_for,
    )


def thrice(made: World, noise: float, rng: np.random.Generator) -> World:
    """Every image three times, under other patients, hardly changed."""
    n, people = len(made.labels), int(made.patients.max()) + 1
    jitter = noise * rng.normal(size=(3 * n, made.weight.shape[1]))

    def render(given: Factors) -> Floats:
        blocks = [made.render({name: values[i * n : (i + 1) * n] for name, values in given.items()}) for i in range(3)]
        return np.concatenate(blocks) + jitter

    return replace(
        made,
        labels=np.tile(made.labels, 3),
        patients=np.concatenate([made.patients + i * people for i in range(3)]),
        factors={name: np.tile(values, 3) for name, values in made.factors.items()},
        render=render,
    )
