# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""SonoNets on drawn images and on breast ultrasound whose attribute acts by label, in few patients, or to and fro.

Each trained model is audited as it is, and with other temperatures: the same answers, other probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import breast
import numpy as np
import torch
from cases import Case, answers, seed_of
from hard_worlds import Floats, Integers, moved_by
from models import codes_of, embeddings_of, train
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from monai_shortcut.delong import auc_covariance
from monai_shortcut.heads import linear_head

SIZE = 48
VARIANTS = {"as trained": 1.0, "temperature x 10": 0.1, "temperature x 0.1": 10.0}  # factor of the logits
STRONG = 0.2  # of the answers or of the probability


@dataclass(frozen=True)
class Story:
    """What the attribute does.

    Attributes:
        kind: "scanner" (noisy, low contrast), "lens" (hides the disease) or "tag" (in a corner).
        prevalence: of the disease.
        acts: where a tag is really shown: "everywhere", "diseased", "tenth" of the patients, or "to and fro": bright in
            half of the patients and dark in the others.
    """

    kind: str
    prevalence: float = 0.5
    acts: str = "everywhere"


STORIES = {
    "noisy scanner, disease in 50 %": Story("scanner"),
    "noisy scanner, disease in 15 %": Story("scanner", 0.15),
    "noisy scanner, disease in 5 %": Story("scanner", 0.05),
    "lens that hides the disease, in 15 %": Story("lens", 0.15),
    "tag": Story("tag"),
    "tag in the diseased only": Story("tag", acts="diseased"),
    "tag in 10 % of the patients": Story("tag", acts="tenth"),
    "tag to and fro": Story("tag", acts="to and fro"),
}
MARKS = {  # on breast ultrasound: mark, its tie to malignancy in training, and where it acts
    "tag in the malignant only": ("tag", 0.9, "diseased"),
    "tag in 10 % of the patients": ("tag", 0.9, "tenth"),
    "blur without a tie": ("blur", 0.0, "everywhere"),
}


@dataclass(frozen=True)
class Drawn:
    """Images that can be drawn under either level.

    Attributes:
        labels: (N,) 0 or 1, diseased.
        levels: (N,) 0 or 1, recorded.
        shown: (N,) 1 or -1 for a bright or dark tag, 0 where it does not act.
        parts: tissue, lesion and noise of the scanner, each (N, SIZE, SIZE).
    """

    labels: Integers
    levels: Integers
    shown: Integers
    parts: tuple[Floats, Floats, Floats]

    def images(self, kind: str, levels: Integers) -> torch.Tensor:
        """The images (N, 1, SIZE, SIZE) under given levels (N,)."""
        tissue, lesion, noise = self.parts
        on = levels[:, None, None]
        contrast = np.where(on, 0.0, 1.0) if kind == "lens" else np.ones_like(on, dtype=float)
        drawn = tissue + self.labels[:, None, None] * contrast * lesion
        if kind == "scanner":
            drawn = np.where(on, 0.45 + 0.5 * (drawn - 0.4) + 0.1 * noise, drawn)
        if kind == "lens":
            drawn = drawn - 0.1 * on * np.linspace(0, 1, SIZE)[:, None]
        if kind == "tag":
            marked = (levels == 1) & (self.shown != 0)
            drawn[marked, 2:9, 2:9] = np.where(self.shown[marked] > 0, 1.0, 0.0)[:, None, None]
        return torch.tensor(drawn[:, None], dtype=torch.float32)


def draw_images(story: Story, count: int, seed: int, training: bool) -> Drawn:
    """One image of each of `count` patients; a tag is tied to the label in training, and acts everywhere there."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < story.prevalence).astype(np.int64)
    levels, shown = rng.integers(2, size=count), np.ones(count, dtype=np.int64)
    agrees = np.where(rng.random(count) < 0.9, labels, 1 - labels)
    if story.acts == "to and fro":
        shown = 2 * (agrees if training else rng.integers(2, size=count)) - 1
    elif story.kind == "tag" and training:
        levels = agrees
    elif story.acts == "diseased":
        shown = labels.copy()
    elif story.acts == "tenth":
        shown = (rng.random(count) < 0.1).astype(np.int64)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    place = rng.uniform(14, SIZE - 10, size=(2, count, 1, 1))
    distance = np.hypot(rows - place[0], columns - place[1])
    lesion = rng.uniform(0.03, 0.15, size=(count, 1, 1)) / (1 + np.exp(2 * (distance - 6)))
    smooth = gaussian_filter(rng.normal(size=(count, SIZE, SIZE)), (0, 4, 4)) * 0.5
    tissue = 0.4 + smooth + 0.06 * rng.normal(size=smooth.shape)
    return Drawn(labels, levels, shown, (tissue, lesion, rng.normal(size=smooth.shape)))


def story_cases(name: str, seed: int, seeds: str) -> dict[str, Case]:
    """A model of a story, in all variants."""
    story, start = STORIES[name], seed_of("story", seeds, name, seed)
    training, audited = (draw_images(story, n, start + i, i == 0) for i, n in enumerate((1000, 1200)))
    network = train(
        training.images(story.kind, training.levels), training.labels, {}, multi_task=False, seed=seed, epochs=12
    )
    images = {level: audited.images(story.kind, np.full_like(audited.levels, level)) for level in (0, 1)}
    patients = np.arange(len(audited.labels)).astype(str)
    tags = {"part": "hard_phantoms", "scenario": name, "seed": seed}
    operator = np.random.default_rng(start + 2).integers(2, size=len(patients))
    made = _case(network, images, audited.labels, patients, audited.levels, tags)
    return _variants(made, {"operator": operator.astype(str).astype(object)})


def mark_cases(folder: Path, name: str, seed: int, seeds: str) -> dict[str, Case]:
    """A model of breast ultrasound whose mark acts where the story says, in all variants."""
    mark, strength, acts = MARKS[name]
    cohort, start = breast.cohort_of(folder), seed_of("hard marks", seeds, name, seed)
    training, audited = cohort.in_folds(0, 1, 2), cohort.in_folds(3, 4)
    tied = breast.planted_levels(training.labels, training.image_ids, strength, start)
    network = train(
        breast._marked(breast.images_of(training), tied, mark),
        training.labels,
        {"mark": codes_of(tied)},
        multi_task=acts == "everywhere",  # the model in which the blur went to and fro
        seed=seed,
        epochs=12,
    )
    levels = codes_of(breast.planted_levels(audited.labels, audited.image_ids, 0.0, start + 1))
    people = np.unique(audited.patients, return_inverse=True)[1]
    tenth = np.random.default_rng(start + 2).random(people.max() + 1) < 0.1
    where = {"everywhere": np.ones(len(levels), dtype=bool), "diseased": audited.labels == 1, "tenth": tenth[people]}
    plain = breast.images_of(audited)
    marked = breast._marked(plain, np.where(where[acts], "present", "absent"), mark)
    tags = {"part": "hard_marks", "scenario": name, "seed": seed}
    return _variants(
        _case(network, {0: plain, 1: marked}, audited.labels, np.asarray(audited.patients), levels, tags), {}
    )


@dataclass(frozen=True)
class _Made:
    """A case, the embeddings of its images under each level, and the recorded levels."""

    case: Case
    under: tuple[Floats, Floats]
    levels: Integers


def _case(
    network: torch.nn.Module,
    images: Mapping[int, torch.Tensor],
    labels: Integers,
    patients: NDArray[Any],
    levels: Integers,
    tags: dict[str, Any],
) -> _Made:
    """The case of a network and images (N, 1, H, W) by level."""
    head = linear_head(network, images=images[0][:2])
    under = embeddings_of(network, images[0], head.layer), embeddings_of(network, images[1], head.layer)
    case = Case(
        embeddings=np.where(levels[:, None] == 1, under[1], under[0]),
        weight=head.weight.numpy().astype(np.float64),
        bias=head.bias.numpy().astype(np.float64),
        labels=labels,
        patients=patients,
        attributes={"acting": np.array(["absent", "present"], dtype=object)[levels]},
        truth={},
        tags=tags,
    )
    return _Made(case, under, levels)


def _variants(made: _Made, unused: Mapping[str, NDArray[Any]]) -> dict[str, Case]:
    """The case with logits scaled, each with its facts and how well it does at either level."""
    found = {}
    for variant, scale in VARIANTS.items():
        scaled = replace(made.case, weight=made.case.weight * scale, bias=made.case.bias * scale)
        after = [answers(scaled, embeddings) for embeddings in made.under]
        case, levels = made.case, made.levels
        swap = moved_by(case.labels, case.patients, levels, levels, answers(scaled), after)
        strong = swap.reassuring_is_false and max(swap.largest, *swap.decisions_by_label) >= STRONG
        common = {"strong": strong, "excuse": "", "calibrated": ""}
        facts = {"acting": {**common, "expect": "used" if swap.reassuring_is_false else "either", **asdict(swap)}}
        nothing = {"strong": False, "excuse": "", "expect": "unused", "calibrated": "blank", "truth": 0.0}
        nothing |= {"largest": 0.0, "decisions": 0.0, "decisions_by_label": [], "reassuring_is_false": False}
        facts |= {name: {**nothing, "cells": list(swap.cells)} for name in unused}
        told = {"facts": facts, "variant": variant, **_performance(case.labels, after)}
        found[variant] = replace(scaled, attributes={**case.attributes, **unused}, tags={**case.tags, **told})
    return found


def _performance(labels: Integers, after: list[Floats]) -> dict[str, list[float]]:
    """Sensitivity for label 1 and area under the ROC curve, all images under one level each."""
    return {
        "sensitivity": [float((p.argmax(axis=1)[labels == 1] == 1).mean()) for p in after],
        "auc": [float(auc_covariance(labels, [p[:, 1]])[0][0]) for p in after],
    }
