# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenarios that once led the verdict astray, matched to the true swaps with which they were reported."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from cases import seed_of
from hard_inventions import INVENTED
from hard_worlds import Factors, Floats, Ground, Listed, World, ground, thrice, world

Scenario = Callable[[np.random.Generator], World]
STRONG = Listed(factor="a", expect="used", strong=True)
USED = Listed(factor="a", expect="used")  # where cells are too few or effects too small to be sure to find it
UNLISTED, WRONG_LABELS, MISCODED = "unlisted cause", "wrong labels", "miscoded attribute"


def plain(
    rng: np.random.Generator,
    use: float = 0.0,
    *,
    trace: float = 1.5,
    listed: Listed | None = None,
    prevalence: float = 0.5,
    scale: float = 1.0,
    images: int = 1000,
    sizes: tuple[int, ...] = (),
    others: int = 0,
) -> World:
    """An attribute with a trace, of which the logit reads so much that it gains `use` at level 1; others have none."""
    base = ground(rng, images, shares=(1 - prevalence, prevalence), sizes=sizes)
    factors = {"a": base.level(), **{f"other {i}": base.level() for i in range(others)}}
    null = Listed(factor="a", calibrated="gap" if trace else "blank")
    table = {"a": listed or (STRONG if use else null)}
    table |= {f"other {i}": Listed(factor=f"other {i}", calibrated="blank") for i in range(others)}
    reads = {0: 1.5, 1: use / trace if use else 0.0}
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: trace * (f["a"] - 0.5)}),
        factors,
        table,
        reads=reads,
        bias=float(np.log(prevalence / (1 - prevalence))),
        scale=scale,
    )


def hidden_disease(rng: np.random.Generator, prevalence: float, disease: float) -> World:
    """At level 1 nothing of the disease is seen; the level has a trace of its own, which the head does not read."""
    base = ground(rng, shares=(1 - prevalence, prevalence))
    bias = float(np.log(prevalence / (1 - prevalence))) - 1.5 * disease / 2
    return world(
        base,
        lambda f: base.plus({0: disease * base.labels * (1 - f["a"]), 2: 1.5 * f["a"]}),
        {"a": base.level()},
        {"a": STRONG if prevalence >= 0.1 else USED},
        bias=bias,
    )


def to_and_fro(rng: np.random.Generator, trace: float, symmetrical: bool, half_listed: bool = False) -> World:
    """The attribute raises the logit of one half of the patients and lowers it in the other half.

    If symmetrical, the halves trade places, and scores of either level are distributed alike: invisible in principle,
    unless the table tells the half.
    """
    base = ground(rng)
    factors = {"a": base.level(), "half": base.level()}

    def render(f: Factors) -> Floats:
        step = f["a"] - 0.5 if symmetrical else f["a"]
        return base.plus({0: 1.5 * base.disease, 1: trace * step * (2 * f["half"] - 1), 2: 1.5 * f["a"]})

    seen = half_listed or not symmetrical
    table = {"a": Listed(factor="a", expect="used" if seen else "invisible", strong=not symmetrical)}
    if half_listed:
        table["half"] = Listed(factor="half", expect="used")
    return world(base, render, factors, table, reads={0: 1.5, 1: 1.5})


def in_few_images(rng: np.random.Generator, share: float, use: float) -> World:
    """The attribute is used in a hidden share of the images only."""
    base = ground(rng)
    hidden = base.rng.random(len(base.labels)) < share
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 2 * use * hidden * (f["a"] - 0.5), 2: 1.5 * f["a"]}),
        {"a": base.level()},
        {"a": USED},
        reads={0: 1.5, 1: 0.5},
    )


def one_of_six(rng: np.random.Generator, use: float, trace: float) -> World:
    """Six levels, of which the rarest, 5 % of the patients, moves the prediction."""
    base = ground(rng)
    level = base.rng.choice(6, size=len(base.labels), p=[0.19] * 5 + [0.05])
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: trace * (f["a"] == 5)}),
        {"a": level},
        {"a": STRONG},
        reads={0: 1.5, 1: use / trace},
        bias=-0.05 * use,
    )


def opposite_traces(rng: np.random.Generator, use: float) -> World:
    """The trace points one way in images of one label and the other way in those of the other."""
    base = ground(rng)
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 1.5 * (f["a"] - 0.5) * 2 * base.disease}),
        {"a": base.level()},
        {"a": STRONG},
        reads={0: 1.5, 1: use / 1.5},
    )


def contrast_loss(rng: np.random.Generator, disease: float) -> World:
    """At level 1 both labels look like neither; there is no other trace."""
    base = ground(rng)
    return world(
        base, lambda f: base.plus({0: disease * base.disease * (1 - f["a"])}), {"a": base.level()}, {"a": STRONG}
    )


def uneven_scatter(rng: np.random.Generator, times: float) -> World:
    """Scores of a rare level, 15 of 415 patients, scatter more about the same means: its patients are more varied.

    No swap moves anything. Scores are symmetrical about 0 in either label, so that means agree on every scale.
    """
    base = ground(rng, 415)
    level = np.zeros(415, dtype=np.int64)
    level[base.rng.choice(415, size=15, replace=False)] = 1
    base.noise[level == 1, 0] *= times
    return world(
        base, lambda f: base.plus({1: 3.0 * f["a"]}), {"a": level}, {"a": Listed(factor="a", calibrated="gap")}
    )


def proxies(rng: np.random.Generator, use: float) -> World:
    """Two attributes that agree with a used one in 90 % of the patients (V 0.8); the used one is not in the table."""
    base = ground(rng)
    cause = base.level()
    table = {
        name: Listed(base.like(cause, 0.9).astype(str).astype(object), excuse=UNLISTED) for name in ("one", "other")
    }
    return world(base, partial(_one_trace, base), {"a": cause}, table, reads={0: 1.5, 1: use / 1.5})


def _one_trace(base: Ground, f: Factors) -> Floats:
    return base.plus({0: 1.5 * base.disease, 1: 1.5 * (f["a"] - 0.5)})


def pair(rng: np.random.Generator, images: int, use: float, agreement: float = 0.95) -> World:
    """Two attributes that agree in 95 % of the patients (V 0.9), each with a trace of its own; the first is used."""
    base = ground(rng, images)
    cause = base.level()
    factors = {"a": cause, "b": base.like(cause, agreement)}
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 1.5 * (f["a"] - 0.5), 3: 1.5 * (f["b"] - 0.5)}),
        factors,
        {"a": STRONG, "b": Listed(factor="b")},
        reads={0: 1.5, 1: use / 1.5},
    )


def uneven_patients(rng: np.random.Generator, use: float) -> World:
    """1 to 50 images a patient, label and attribute the patient's, both rare and tied (V about 0.35)."""
    sizes = np.round(np.exp(rng.uniform(0, np.log(50), size=160))).astype(int)
    base = ground(rng, sizes=sizes, shares=(0.82, 0.18), of_patient=1.2, label_of_patient=True)
    first = np.unique(base.patients, return_index=True)[1]
    tied = base.rng.random(len(sizes)) < np.where(base.labels[first] == 1, 0.5, 0.12)
    table = {"a": USED if use else Listed(factor="a", calibrated="gap")}
    factors = {"a": base.each(tied.astype(np.int64))}
    return world(base, partial(_one_trace, base), factors, table, reads={0: 1.5, 1: use / 1.5}, bias=-1.0)


def few_patients(rng: np.random.Generator, use: float, images: int) -> World:
    """12 patients a level with several images of either label each."""
    base = ground(rng, sizes=(images,) * 24)
    level = base.each(base.rng.permutation(np.repeat([0, 1], 12)))
    table = {"a": USED if use else Listed(factor="a", calibrated="gap")}
    return world(base, partial(_one_trace, base), {"a": level}, table, reads={0: 1.5, 1: use / 1.5})


def duplicates(rng: np.random.Generator) -> World:
    """Each of 340 images three times in the table, hardly changed, under three patients."""
    return thrice(plain(rng, images=340), 1e-3, rng)


def miscoded(rng: np.random.Generator, use: float) -> World:
    """The used attribute is recorded wrongly in 15 % of the patients; an unused one agrees with it in 97 %."""
    base = ground(rng)
    cause = base.level()
    wrong = base.like(cause, 0.85).astype(str).astype(object)
    table = {
        "a": Listed(wrong, factor="a", expect="used", strong=True),
        "b": Listed(base.like(cause, 0.97).astype(str).astype(object), excuse=MISCODED),
    }
    return world(base, partial(_one_trace, base), {"a": cause}, table, reads={0: 1.5, 1: use / 1.5})


def wrong_labels(rng: np.random.Generator, share: float) -> World:
    """At one site a share of the labels is recorded wrongly; the model does not read the site."""
    base = ground(rng)
    site = base.level()
    flipped = (site == 1) & (base.rng.random(len(site)) < share)
    return world(
        base,
        lambda f: base.plus({0: 2.0 * base.disease, 1: 1.5 * f["a"]}),
        {"a": site},
        {"a": Listed(factor="a", excuse=WRONG_LABELS)},
        labels=np.where(flipped, 1 - base.labels, base.labels),
    )


def severity(rng: np.random.Generator, severity_listed: bool, adjusted: bool = False) -> World:
    """Severity makes the label and drives the prediction; age goes along with severity and has an unread trace."""
    base = ground(rng)
    grade = base.noise[:, -1].copy()
    labels = (grade + 0.7 * base.rng.normal(size=len(grade)) > 0).astype(np.int64)
    age = 0.6 * grade + 0.8 * base.rng.normal(size=len(grade))
    base.noise[:, -1] = base.rng.normal(size=len(grade))
    table = {"age": Listed(factor="age", excuse="" if severity_listed else UNLISTED)}
    if severity_listed:
        table["severity"] = Listed(factor="severity", expect="used", strong=not adjusted)
    return world(
        base,
        lambda f: base.plus({0: 1.2 * f["severity"], 1: f["age"]}),
        {"age": age, "severity": grade},
        table,
        labels=labels,
        adjust_for=("severity",) if adjusted else (),
    )


NAMED: dict[str, Scenario] = {
    "logits x 0.1": partial(plain, use=1.5, scale=0.1),
    "logits x 0.05, use doubled": partial(plain, use=3.0, scale=0.05),
    "prevalence 1 %, odds x 7.4": partial(plain, use=2.0, prevalence=0.01, listed=USED),
    "disease hidden at one level, prevalence 50 %": partial(hidden_disease, prevalence=0.5, disease=1.9),
    "disease hidden at one level, prevalence 20 %": partial(hidden_disease, prevalence=0.2, disease=2.3),
    "disease hidden at one level, prevalence 10 %": partial(hidden_disease, prevalence=0.1, disease=3.0),
    "disease hidden at one level, prevalence 2 %": partial(hidden_disease, prevalence=0.02, disease=4.8),
    "to and fro by a hidden half, at one level": partial(to_and_fro, trace=2.7, symmetrical=False),
    "to and fro by a hidden half, symmetrical": partial(to_and_fro, trace=2.1, symmetrical=True),
    "to and fro by a listed half, symmetrical": partial(to_and_fro, trace=2.1, symmetrical=True, half_listed=True),
    "used (logit 5) in 10 % of the images": partial(in_few_images, share=0.1, use=5.0),
    "six levels, one of 5 % moves": partial(one_of_six, use=4.0, trace=1.3),
    "opposite traces by label": partial(opposite_traces, use=1.5),
    "contrast lost at one level": partial(contrast_loss, disease=2.1),
    "rare level scatters x 2": partial(uneven_scatter, times=2.0),
    "rare level scatters x 3": partial(uneven_scatter, times=3.0),
    "two proxies of an unlisted cause": partial(proxies, use=2.0),
    "pair, V 0.9, 300 images": partial(pair, images=300, use=2.0),
    "pair, V 0.9, 1,000 images": partial(pair, images=1000, use=2.0),
    "one of 11 attributes used": partial(plain, use=2.2, others=10),
    "1 to 50 images a patient, tied and rare, not used": partial(uneven_patients, use=0.0),
    "1 to 50 images a patient, tied and rare, used": partial(uneven_patients, use=1.7),
    "12 patients a level, 10 images each": partial(few_patients, use=1.1, images=10),
    "12 patients a level, 3 images each": partial(few_patients, use=1.75, images=3),
    "12 patients a level, not used": partial(few_patients, use=0.0, images=10),
    "every image three times": duplicates,
    "used attribute miscoded in 15 %": partial(miscoded, use=1.45),
    "20 % wrong labels at one site": partial(wrong_labels, share=0.2),
    "severity unlisted": partial(severity, severity_listed=False),
    "severity listed": partial(severity, severity_listed=True),
    "severity listed and adjusted for": partial(severity, severity_listed=True, adjusted=True),
    "a swap of 0.08, 250 images": partial(plain, use=0.52, images=250, listed=Listed(factor="a", expect="either")),
    "null, encoded": plain,
    "null, no trace": partial(plain, trace=0.0),
    "null, no trace, 120 images": partial(plain, trace=0.0, images=120),
}
HARD: dict[str, Scenario] = NAMED | INVENTED


def draw_world(name: str, draw: int, seeds: str = "judge") -> World:
    """One world of a scenario."""
    return HARD[name](np.random.default_rng(seed_of("hard", seeds, name, draw)))
