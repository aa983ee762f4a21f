# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings drawn to a truth: what is encoded, what the head reads, and what goes along with the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cases import Case, answers, moved, seed_of


@dataclass(frozen=True)
class Scenario:
    """How a cohort of embeddings is drawn.

    Attributes:
        encoded: size of the attribute's trace, in standard deviations of the noise along it.
        used: what the head's logit gains with the attribute, negative for the other sign.
        tracks: correlation of attribute and label.
        images: N.
        columns: D.
        prevalence: of label 1.
        per_patient: images of each patient.
        continuous: whether the attribute is a number.
        attributes: number of attributes; only the first is encoded and used as told, the others are encoded alike,
            correlated with the first by 0.5, and not used.
        strong: whether its use is strong, so that a verdict should find it.
    """

    encoded: float = 0.0
    used: float = 0.0
    tracks: float = 0.0
    images: int = 2000
    columns: int = 128
    prevalence: float = 0.5
    per_patient: int = 1
    continuous: bool = False
    attributes: int = 1
    strong: bool = False


SCENARIOS = {
    "null": Scenario(),
    "null, 80 % prevalence": Scenario(prevalence=0.8),
    "null, 300 images": Scenario(images=300),
    "null, 1024 columns": Scenario(columns=1024, images=1200),
    "null, 5 images per patient": Scenario(per_patient=5),
    "encoded weakly, not used": Scenario(encoded=0.5),
    "encoded, not used": Scenario(encoded=1.5),
    "encoded strongly, not used": Scenario(encoded=4.0),
    "encoded, tracks the label, not used": Scenario(encoded=1.5, tracks=0.6),
    "tracks the label, no trace of its own": Scenario(tracks=0.6),
    "encoded, not used, 5 images per patient": Scenario(encoded=1.5, per_patient=5),
    "used a little": Scenario(encoded=1.5, used=0.5),
    "used": Scenario(encoded=1.5, used=1.5, strong=True),
    "used, negative sign": Scenario(encoded=1.5, used=-1.5, strong=True),
    "used, tracks the label": Scenario(encoded=1.5, used=1.5, tracks=0.6, strong=True),
    "used, 300 images": Scenario(encoded=1.5, used=2.0, images=300, strong=True),
    "used, 1024 columns": Scenario(encoded=1.5, used=1.5, columns=1024, images=1200, strong=True),
    "used, continuous": Scenario(encoded=1.5, used=1.5, continuous=True, strong=True),
    "used, 5 images per patient": Scenario(encoded=1.5, used=1.5, per_patient=5, strong=True),
    "three attributes, one used": Scenario(encoded=1.5, used=1.5, attributes=3, strong=True),
}


def draw_scenario(name: str, draw: int) -> Case:
    """One cohort of a scenario, with the exact effect of swapping each attribute.

    The embedding is label times a direction, plus each attribute times a direction of its own, plus noise whose
    variance falls over the directions as that of real embeddings does. The head reads the label's direction, and
    the attribute's as told. A patient has one value of each attribute and a part of the noise in common.
    """
    chosen, rng = SCENARIOS[name], np.random.default_rng(seed_of("scenario", name, draw))
    n, d = chosen.images, chosen.columns
    patient = np.arange(n) // chosen.per_patient
    people = int(patient[-1]) + 1
    if chosen.tracks:  # the label then belongs to the patient, and the attribute goes along with it
        label = (rng.random(people) < chosen.prevalence)[patient].astype(np.int64)
    else:
        label = (rng.random(n) < chosen.prevalence).astype(np.int64)
    values = np.empty((n, chosen.attributes))
    agree = rng.random(people) < (1 + chosen.tracks) / 2
    first = np.where(agree, label[:: chosen.per_patient], 1 - label[:: chosen.per_patient]) if chosen.tracks else None
    for column in range(chosen.attributes):
        if chosen.continuous:
            person = rng.normal(size=people) / 2
        elif column == 0:
            person = (first if first is not None else rng.integers(2, size=people)) - 0.5
        else:  # a level of the first attribute, or any, by turns: correlated by one half
            person = np.where(
                rng.random(people) < 0.5, values[:: chosen.per_patient, 0], rng.integers(2, size=people) - 0.5
            )
        values[:, column] = person[patient]
    scale = 1 / np.sqrt(1 + np.arange(d) / 8)
    noise = scale * (rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(people, d))[patient]) / np.sqrt(1.49)
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    shown = np.zeros((n, d))
    columns = [1 + 2 * index for index in range(chosen.attributes)]
    shown[:, 0] = 1.5 * (label - 0.5) * scale[0]
    for column, place in enumerate(columns):
        shown[:, place] += chosen.encoded * scale[place] * values[:, column]
    weight = np.zeros(d)
    weight[0] = 1.5 / scale[0]
    weight[columns[0]] = chosen.used / (max(chosen.encoded, 1e-9) * scale[columns[0]]) if chosen.used else 0.0
    points = noise + shown
    offset = float(np.log(chosen.prevalence / (1 - chosen.prevalence)))
    case = Case(
        embeddings=points @ turn.T,
        weight=np.stack([-weight / 2, weight / 2]) @ turn.T,
        bias=np.array([-offset / 2, offset / 2]),
        labels=label,
        patients=patient.astype(str),
        attributes={
            f"attribute {column}": values[:, column]
            if chosen.continuous
            else values[:, column].astype(str).astype(object)
            for column in range(chosen.attributes)
        },
        truth={f"attribute {column}": 0.0 for column in range(1, chosen.attributes)},
        tags={"part": "embeddings", "scenario": name, "draw": draw, "strong": chosen.strong},
    )
    before, other = answers(case), points.copy()
    # The other level of a binary attribute; the other end of a continuous one, two standard deviations away.
    step = np.sign(values[:, 0]) if chosen.continuous else 2 * values[:, 0]
    other[:, columns[0]] -= chosen.encoded * scale[columns[0]] * step
    case.truth["attribute 0"] = moved(before, answers(case, other @ turn.T))
    return case
