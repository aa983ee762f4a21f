# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Repairs of heads on embeddings whose truth is known, and how often the comparison of audits is wrong there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from repair_rows import Row, answered, auc, effects, refused, shortkit_heads
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.repair import compare_audits, erase, rebalance
from monai_shortcut.repair.ruling import NO_CHANGE, REDUCED, REPAIRED, RULINGS
from monai_shortcut.statistics.erasers import fit_eraser
from monai_shortcut.types import Floats, Integers, Unmeasurable

SETTINGS = AuditSettings(permutations=99, bootstraps=9, repeats=1, erasures=1, held_out=0)
SIZE, POPULATION = 16, 40_000


class Images(NamedTuple):
    """Embeddings (N, 16), labels, levels, patients, and the same embeddings with the other level."""

    points: Floats
    labels: Integers
    codes: Integers
    patients: Integers
    swapped: Floats


@dataclass(frozen=True)
class World:
    """Where images come from.

    Attributes:
        trace: how far the level moves the embedding.
        disease: how far the level moves it because it is disease: it then goes along with the label in all images.
        scatter: how many times as much the coordinate that tells the classes scatters at the second level.
        tie: share of the training images whose level is that of their label, beyond chance.
    """

    trace: float = 2.0
    disease: bool = False
    scatter: float = 1.0
    tie: float = 0.8

    def draw(self, rng: np.random.Generator, patients: int, tie: float) -> Images:
        """Two images of each patient."""
        patient = np.repeat(np.arange(patients), 2)
        label = rng.integers(2, size=2 * patients)
        own = rng.random(2 * patients) < (0.5 if self.disease else tie)
        code = np.where(own, label, rng.integers(2, size=2 * patients))
        noise = rng.normal(size=(2 * patients, SIZE)) + 0.4 * rng.normal(size=(patients, SIZE))[patient]
        both = []
        for level in (code, 1 - code):
            points = noise.copy()
            points[:, 0] *= np.where(level == 1, self.scatter, 1.0)
            points[:, 0] += 1.8 * label
            points[:, 1] += self.trace * level
            both.append(points)
        return Images(both[0], label, code, patient, both[1])


WORLDS = {
    "a scanner, a strong trace": World(),
    "a scanner, a weak trace": World(trace=1.2),
    "a scanner that is not used": World(tie=0.0),
    "lesion size, which is disease": World(disease=True),
    "a trace in the scatter too": World(scatter=3.0),
}


class Head(NamedTuple):
    """A single logit."""

    weight: Floats
    bias: Floats

    def chance(self, points: Floats) -> Floats:
        """(N, 2) probabilities."""
        second = expit(points @ self.weight[0] + self.bias[0])
        return np.stack([1 - second, second], axis=1)


def fitted(images: Images) -> Head:
    """A logistic regression, as a network's last layer is trained."""
    model = LogisticRegression(max_iter=500).fit(images.points, images.labels)
    return Head(model.coef_, model.intercept_)


def plain_leace(head: Head, images: Images) -> Head:
    """Erasure without regard to the label."""
    eraser = fit_eraser(images.points, images.codes)
    taken = head.weight @ eraser.left @ eraser.right
    return Head(head.weight - taken, head.bias + taken @ eraser.centre)


def repairs(world: World, rng: np.random.Generator) -> dict[str, Callable[[Head, Images], Head]]:
    """Ways to repair a head, by name."""

    def ours(method: Callable[..., object]) -> Callable[[Head, Images], Head]:
        def repaired(head: Head, images: Images) -> Head:
            found = method(*head, images.points, images.labels, images.codes, images.patients)
            return Head(found.weight, found.bias)  # type: ignore[attr-defined]

        return repaired

    return {
        "erase": ours(erase),
        "rebalance": ours(rebalance),
        "plain LEACE": plain_leace,
        "retrained, balanced": lambda head, images: fitted(world.draw(rng, 600, 0.0)),
    }


def used(head: Head, images: Images) -> float:
    """The largest effect of a swap."""
    shown, swapped = head.chance(images.points), head.chance(images.swapped)
    return float(effects(shown, swapped, images.labels, images.codes).max())


def audited(head: Head, images: Images) -> Audit:
    """The audit of the answers alone, which is cheap and judges use alike."""
    return audit(
        None,
        None,
        None,
        images.labels,
        [f"patient {one}" for one in images.patients],
        {"level": ["AB"[code] for code in images.codes]},
        label_names=["negative", "positive"],
        settings=SETTINGS,
        predicted=head.chance(images.points),
    )


class Drawn(NamedTuple):
    """A head, images in which level and label are independent, images to fit repairs to and others to audit them on."""

    head: Head
    population: Images
    fit: Images
    fresh: Images
    rng: np.random.Generator


def drawn(name: str, seed: int) -> Drawn:
    """A draw of a world."""
    world, rng = WORLDS[name], np.random.default_rng([11, seed])
    head, population = fitted(world.draw(rng, 600, world.tie)), world.draw(rng, POPULATION // 2, 0.0)
    return Drawn(head, population, *(world.draw(rng, people, world.tie / 2) for people in (400, 1500)), rng)


def keep_fit(path: Path, name: str, seed: int) -> None:
    """The images that repairs are fitted to, for others to fit theirs."""
    images = drawn(name, seed).fit
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, embeddings=images.points, labels=images.labels, **{"attribute/level": images.codes})


def one_draw(name: str, seed: int, elsewhere: Path | None = None) -> list[Row]:
    """A row for each repair; also for heads that others give."""
    world = drawn(name, seed)
    before, methods = audited(world.head, world.fresh), repairs(WORLDS[name], world.rng)
    for method, given in shortkit_heads(elsewhere).items() if elsewhere else ():
        methods[method] = lambda head, images, given=given: Head(*given)
    rows = []
    for method, repair in methods.items():
        tags = {"world": name, "seed": seed, "repair": method}
        try:
            after = repair(world.head, world.fit)
        except Unmeasurable as why:
            rows.append({**tags, **_truth(world.head, world.head, world.population), **refused(why)})
            continue
        said = answered(before, audited(after, world.fresh), "level")
        rows.append({**tags, **_truth(world.head, after, world.population), **said})
    return rows


def _truth(before: Head, after: Head, images: Images) -> Row:
    """Largest effects, and areas under the ROC curve, on images where level and label are independent."""
    heads = (before, after)
    return {
        "effect": [used(head, images) for head in heads],
        "auc": [auc(images.labels, head.chance(images.points)) for head in heads],
    }


def calibration(draws: int) -> Iterator[str]:
    """How often verdicts are wrong where that is easiest: an effect at the tolerance, or no change at all."""
    yield from [
        "| before | after | patients | " + " | ".join(RULINGS) + " | wrong |",
        "|---" * (len(RULINGS) + 4) + "|",
    ]
    world, population = World(trace=2.0), World(trace=2.0).draw(np.random.default_rng(3), POPULATION, 0.0)
    right = Head(np.zeros((1, SIZE)), np.zeros(1))
    right.weight[0, 0] = 1.6

    def using(effect: float) -> Head:
        """A head with a given largest effect."""
        low, high = 0.0, 3.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if used(_with(right, middle), population) < effect else (low, middle)
        return _with(right, low)

    cases = [
        ("0.35", "0.10", using(0.35), using(0.10), (REPAIRED,)),
        ("0.35", "0.02", using(0.35), using(0.02), ("worse", NO_CHANGE)),
        ("0.35", "0.35, other weights", using(0.35), None, (REPAIRED, REDUCED, "worse")),
        ("0.35", "0.20", using(0.35), using(0.20), (REPAIRED, "worse")),
        ("0.02", "0.02, other weights", using(0.02), None, (REPAIRED, REDUCED, "worse")),
        ("0.10", "0.35", using(0.10), using(0.35), (REPAIRED, REDUCED, NO_CHANGE)),
    ]
    for old, new, first, second, wrong in cases:
        for patients in (150, 600, 1500):
            told = Counter[str]()
            for seed in range(draws):
                rng = np.random.default_rng([17, seed])
                fresh = world.draw(rng, patients, 0.3)
                heads = (first, second) if second else (_jittered(first, rng), _jittered(first, rng))
                pair = (audited(head, fresh) for head in heads)
                told[compare_audits(*pair).attributes[0].verdict] += 1
            shares = [f"{100 * told[verdict] / draws:.0f} %" for verdict in RULINGS]
            missed = 100 * sum(told[verdict] for verdict in wrong) / draws
            yield f"| {old} | {new} | {patients} | " + " | ".join(shares) + f" | {missed:.1f} % |"


def _with(head: Head, use: float) -> Head:
    weight = head.weight.copy()
    weight[0, 1] = use
    return Head(weight, np.array([-weight[0, 0] * 0.9 - use]))


def _jittered(head: Head, rng: np.random.Generator) -> Head:
    """The same use of the attribute, and some weights on what means nothing, always of the same length."""
    weight = head.weight.copy()
    direction = rng.normal(size=SIZE - 2)
    weight[0, 2:] = direction / np.linalg.norm(direction)
    return Head(weight, head.bias)
