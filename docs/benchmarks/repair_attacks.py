# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Cohorts and heads that the rule of the comparison was not made on, chosen so that its verdict may be wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from repair_rows import Row
from scipy.special import expit

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.repair import compare_audits
from monai_shortcut.repair.ruling import NO_CHANGE, REDUCED, REPAIRED, RULINGS, WORSE
from monai_shortcut.types import Floats, Integers

SETTINGS = AuditSettings(permutations=99, bootstraps=9, repeats=1, erasures=1, held_out=0)
CHANGED = (REPAIRED, REDUCED, WORSE)
STRONG, LEFT = 0.35, 0.10  # effects before, and at the tolerance
_POPULATION = 40_000


class Images(NamedTuple):
    """Scores (N,) of the disease, labels, levels, patients, and half of the patients as 1 or -1."""

    scores: Floats
    labels: Integers
    codes: Integers
    patients: Integers
    halves: Integers


@dataclass(frozen=True)
class Hospital:
    """Where patients come from.

    Attributes:
        patients: how many.
        images: of each.
        prevalence: of the disease.
        shares: of the levels.
        tie: share of the patients whose level is that of their label, beyond chance.
        person: what images of a patient share, in standard deviations of an image.
        whole: whether label and level are those of a patient, not of an image.
    """

    patients: int = 600
    images: int = 2
    prevalence: float = 0.5
    shares: tuple[float, ...] = (0.5, 0.5)
    tie: float = 0.3
    person: float = 0.4
    whole: bool = False

    def draw(self, rng: np.random.Generator) -> Images:
        """The images of its patients."""
        each = self.images if self.whole else 1
        units, patient = self.patients * self.images // each, np.repeat(np.arange(self.patients), self.images)
        label = (rng.random(units) < self.prevalence).astype(np.int64)
        other = rng.choice(len(self.shares), units, p=self.shares)
        code = np.where(rng.random(units) < self.tie, label, other)
        label, code = np.repeat(label, each), np.repeat(code, each)
        score = 1.8 * label - 0.9 + rng.normal(size=len(label)) + self.person * rng.normal(size=self.patients)[patient]
        return Images(score, label, code, patient, rng.choice([-1, 1], self.patients)[patient])


@dataclass(frozen=True)
class Head:
    """What is answered.

    Attributes:
        use: by level, what it adds to the logit.
        scale: factor of the logit, 1 / temperature.
        fro: what the second level adds in half of the patients and takes in the others, and the first the other way.
    """

    use: tuple[float, ...]
    scale: float = 1.0
    fro: float = 0.0

    def chance(self, images: Images, codes: Integers | None = None) -> Floats:
        """(N,) probabilities of the disease, also where other levels were shown."""
        code = images.codes if codes is None else codes
        use = np.array(self.use)[code] - np.mean(self.use)
        return np.asarray(
            expit(self.scale * (1.6 * images.scores + use + self.fro * images.halves * np.where(code == 1, 1, -1)))
        )

    def effect(self, images: Images) -> float:
        """The largest difference of mean probability or share of answers that levels alone make within a label."""
        chances = [self.chance(images, np.full_like(images.codes, level)) for level in range(len(self.use))]
        found = []
        for label in (0, 1):
            means = [[values[images.labels == label].mean() for values in (p, p >= 0.5)] for p in chances]
            found.append(np.ptp(means, axis=0))
        return float(np.max(found))


def using(effect: float, pattern: tuple[float, ...], scale: float = 1.0) -> Head:
    """A head with a given largest effect; the levels add in the proportions of a pattern."""
    images = Hospital(_POPULATION // 2).draw(np.random.default_rng(3))
    low, high = 0.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        less = Head(tuple(middle * one for one in pattern), scale).effect(images) < effect
        low, high = (middle, high) if less else (low, middle)
    return Head(tuple(low * one for one in pattern), scale)


@dataclass(frozen=True)
class Attack:
    """A comparison, and which of its verdicts are wrong.

    Attributes:
        heads: before and after.
        hospitals: where the images of either audit are from; of one, both audits are of the same images.
        wrong: verdicts.
    """

    heads: tuple[Head, Head]
    hospitals: tuple[Hospital, ...]
    wrong: tuple[str, ...] = (REPAIRED,)


def attacks() -> dict[str, Attack]:
    """All comparisons by name."""
    strong, left, three = using(STRONG, (0, 1)), using(LEFT, (0, 1)), Hospital(1500, shares=(0.45, 0.45, 0.1))
    there = Hospital(1500, prevalence=0.15, shares=(0.8, 0.2), tie=0.0)
    clusters = Hospital(120, 15, person=1.0, whole=True)
    sharp = using(STRONG, (0, 1), 20.0)
    fro = replace(Head((0.0, 0.0)), fro=strong.use[1] / 2)
    return {
        "another hospital, disease in 15 %: the same head": Attack((strong, strong), (Hospital(), there), CHANGED),
        "another hospital, disease in 15 %: 0.10 is left": Attack((strong, left), (Hospital(), there)),
        "15 images of each patient, alike: the same use": Attack(
            (strong, replace(strong)), (clusters, clusters), CHANGED
        ),
        "15 images of each patient, alike: 0.10 is left": Attack((strong, left), (clusters,)),
        "three levels, the rare one keeps 0.10": Attack(
            (using(STRONG, (0, 0.3, 1)), using(LEFT, (0, 0, 1))), (three,), (REPAIRED, NO_CHANGE, WORSE)
        ),
        "saturated logits: 0.10 is left": Attack((sharp, using(LEFT, (0, 1), 20.0)), (Hospital(1500),)),
        "saturated logits: another temperature alone": Attack(
            (sharp, replace(sharp, scale=0.05)), (Hospital(1500),), (*CHANGED, NO_CHANGE)
        ),
        "to and fro in halves of the patients": Attack((strong, fro), (Hospital(1500),)),
    }


def one_draw(attack: Attack, seed: int) -> str:
    """The verdict."""
    rng = np.random.default_rng([23, seed])
    images = [hospital.draw(rng) for hospital in attack.hospitals]
    pairs = zip(attack.heads, (images[0], images[-1]), strict=True)
    before, after = (_audited(head, own, name) for (head, own), name in zip(pairs, ("here", "there"), strict=True))
    if len(images) == 1:
        after = _audited(attack.heads[1], images[0], "here")
    return compare_audits(before, after).attribute("level").verdict


def _audited(head: Head, images: Images, where: str) -> Audit:
    chance = head.chance(images)
    return audit(
        None,
        None,
        None,
        images.labels,
        [f"{where} {patient}" for patient in images.patients],
        {"level": ["ABC"[code] for code in images.codes]},
        image_ids=[f"{where} {row}" for row in range(len(chance))],
        label_names=["negative", "positive"],
        settings=SETTINGS,
        predicted=np.stack([1 - chance, chance], axis=1),
    )


def rows(name: str, attack: Attack, draws: int) -> list[Row]:
    """A row for each draw."""
    images = Hospital(_POPULATION // 2).draw(np.random.default_rng(4))
    effect = [head.effect(images) for head in attack.heads]
    found = [one_draw(attack, seed) for seed in range(draws)]
    return [{"attack": name, "effect": effect, "verdict": one, "wrong": one in attack.wrong} for one in found]


def table(found: Iterable[Row]) -> str:
    """Shares of the verdicts in Markdown."""
    lines = ["| attack | effect before | after | draws | " + " | ".join(RULINGS) + " | wrong |", "|---" * 10 + "|"]
    by: dict[str, list[Row]] = {}
    for row in found:
        by.setdefault(row["attack"], []).append(row)
    for name, own in by.items():
        told = Counter(row["verdict"] for row in own)
        cells = [f"{value:.2f}" for value in own[0]["effect"]] + [str(len(own))]
        cells += [f"{100 * told[verdict] / len(own):.0f} %" for verdict in RULINGS]
        lines.append("| " + " | ".join([name, *cells, f"{sum(row['wrong'] for row in own)}"]) + " |")
    return "\n".join(lines)
