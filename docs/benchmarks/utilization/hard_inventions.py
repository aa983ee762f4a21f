# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Scenarios invented against rules that read means, ranks, decisions and odds by label and level."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from hard_worlds import Factors, Floats, Ground, Listed, World, ground, world

STRONG = Listed(factor="a", expect="used", strong=True)
USED = Listed(factor="a", expect="used")
SELECTION = "selection"


def quadratic(rng: np.random.Generator) -> World:
    """A number of which middle values raise the logit and both ends lower it."""
    base = ground(rng)
    number = base.rng.normal(size=len(base.labels))
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 1.5 * f["a"], 3: 1.2 * (1 - f["a"] ** 2)}),
        {"a": number},
        {"a": STRONG},
        reads={0: 1.5, 3: 1.5},
    )


def interaction(rng: np.random.Generator) -> World:
    """Two attributes, each of which turns the effect of the other round; neither has an effect on average."""
    base = ground(rng)

    def render(f: Factors) -> Floats:
        both = 3.0 * (f["a"] - 0.5) * (2 * f["b"] - 1)
        return base.plus({0: 1.5 * base.disease, 1: both, 2: 1.5 * f["a"], 4: 1.5 * f["b"]})

    factors = {"a": base.level(), "b": base.level()}
    return world(base, render, factors, {"a": USED, "b": Listed(factor="b", expect="used")}, reads={0: 1.5, 1: 1.5})


def near_the_decision(rng: np.random.Generator) -> World:
    """Used only where the rest of the image leaves the model undecided."""
    base = ground(rng)
    undecided = np.abs(1.5 * base.noise[:, 0] + 2.25 * base.disease) < 0.8
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: undecided * 5.0 * (f["a"] - 0.5), 2: 1.5 * f["a"]}),
        {"a": base.level()},
        {"a": STRONG},
        reads={0: 1.5, 1: 0.5},
    )


def by_magnitude(rng: np.random.Generator, read: float) -> World:
    """At level 1 a direction scatters three times as much; no linear probe sees it, and the head reads it or not."""
    base = ground(rng)
    noise = base.noise[:, 1].copy()
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 2.0 * f["a"] * noise}),
        {"a": base.level()},
        {"a": STRONG if read else Listed(factor="a", calibrated="gap")},
        reads={0: 1.5, 1: read},
    )


def temperature(rng: np.random.Generator) -> World:
    """One site multiplies the logits by four: decisions and ranks within a site stay, probabilities do not."""
    base = ground(rng)
    signal = base.noise[:, 0] + 1.5 * base.disease
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease + 3.0 * f["a"] * signal, 2: 1.5 * f["a"]}),
        {"a": base.level()},
        {"a": STRONG},
        reads={0: 0.8},
    )


def middle_level(rng: np.random.Generator) -> World:
    """Five ordinal levels, of which only the middle one moves the prediction."""
    base = ground(rng)
    grade = base.rng.integers(5, size=len(base.labels))
    listed = Listed(
        (grade + 1).astype(str).astype(object),
        "a",
        "used",
        strong=True,
        kind="ordinal",
        order=("1", "2", "3", "4", "5"),
    )
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 2.0 * (f["a"] == 2), 2: 0.7 * f["a"]}),
        {"a": grade},
        {"a": listed},
        reads={0: 1.5, 1: 1.25},
        bias=-0.5,
    )


def missing(rng: np.random.Generator, use: float) -> World:
    """Values are missing where the score is high; of an unused attribute only at level 1, which selects a gap."""
    base = ground(rng)
    level = base.level()
    high = base.noise[:, 0] + 1.5 * base.disease > 0
    hidden = base.rng.random(len(level)) < np.where(high & ((level == 1) | (use > 0)), 0.7, 0.1)
    values = np.where(hidden, None, level.astype(str).astype(object))
    listed = Listed(values, "a", "used", strong=True) if use else Listed(values, "a", excuse=SELECTION)
    return world(base, partial(_trace, base, 1.5), {"a": level}, {"a": listed}, reads={0: 1.5, 1: use / 1.5})


def _trace(base: Ground, size: float, f: Factors) -> Floats:
    return base.plus({0: 1.5 * base.disease, 1: size * (f["a"] - 0.5)})


def wrong_classes(rng: np.random.Generator) -> World:
    """Four classes; in two of them the attribute moves the answer from one wrong class to the other."""
    base = ground(rng, shares=(1, 1, 1, 1))
    head = np.zeros((4, base.noise.shape[1]))
    head[np.arange(4), np.arange(4)] = 1.2

    def render(f: Factors) -> Floats:
        points = base.plus({column: 0.8 * (base.labels == column) for column in range(4)})
        move = 2.4 * (f["a"] - 0.5) * (base.labels < 2)
        points[:, 2] += move
        points[:, 3] -= move
        points[:, 6] += 1.5 * f["a"]
        return points

    return world(base, render, {"a": base.level()}, {"a": STRONG}, head=(head, np.zeros(4)))


def one_label_of_six(rng: np.random.Generator) -> World:
    """Six classes; the attribute hides one of them, 8 % of the images."""
    base = ground(rng, shares=(0.184,) * 5 + (0.08,))
    head = np.zeros((6, base.noise.shape[1]))
    head[np.arange(6), np.arange(6)] = 1.5

    def render(f: Factors) -> Floats:
        points = base.plus({column: 2.5 * (base.labels == column) for column in range(5)})
        points[:, 5] += 2.5 * (base.labels == 5) * (1 - f["a"])
        points[:, 8] += 1.5 * f["a"]
        return points

    return world(base, render, {"a": base.level()}, {"a": STRONG}, head=(head, np.zeros(6)))


def many_classes(rng: np.random.Generator) -> World:
    """14 classes and three attributes with traces that the head does not read."""
    base = ground(rng, 1400, shares=(1,) * 14)
    head = np.zeros((14, base.noise.shape[1]))
    head[np.arange(14), np.arange(14)] = 1.5

    def render(f: Factors) -> Floats:
        shifts = {column: 2.0 * (base.labels == column) for column in range(14)}
        return base.plus({**shifts, **{20 + 2 * i: 1.5 * f[name] for i, name in enumerate(f)}})

    factors = {name: base.level() for name in ("a", "b", "c")}
    table = {name: Listed(factor=name, calibrated="gap") for name in factors}
    return world(base, render, factors, table, head=(head, np.zeros(14)))


def twelve_sites(rng: np.random.Generator) -> World:
    """Twelve sites, of which one moves the prediction."""
    base = ground(rng, 1200)
    site = base.rng.integers(12, size=len(base.labels))
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 2.5 * (f["a"] == 7), 3: 0.15 * f["a"]}),
        {"a": site},
        {"a": STRONG},
        reads={0: 1.5, 1: 1.2},
    )


def heavy_tails(rng: np.random.Generator, use: float) -> World:
    """Scores with the tails of Student's t of two degrees of freedom."""
    base = ground(rng)
    base.noise[:, 0] = base.rng.standard_t(2, size=len(base.labels))
    table = {"a": STRONG if use else Listed(factor="a", calibrated="gap")}
    return world(base, partial(_trace, base, 1.5), {"a": base.level()}, table, reads={0: 1.5, 1: use / 1.5})


def sizes_by_level(rng: np.random.Generator, use: float) -> World:
    """Patients of level 1 have 20 images each, those of level 0 one or two; images of a patient are much alike."""
    level = np.repeat([0, 1], [200, 24])
    sizes = np.where(level == 1, 20, rng.integers(1, 3, size=len(level)))
    base = ground(rng, sizes=sizes, of_patient=1.5)
    table = {"a": STRONG if use else Listed(factor="a", calibrated="gap")}
    return world(base, partial(_trace, base, 1.5), {"a": base.each(level)}, table, reads={0: 1.5, 1: use / 1.5})


def saturated(rng: np.random.Generator) -> World:
    """All probabilities are 0 or 1: logits x 20."""
    base = ground(rng)
    factors = {"a": base.level()}
    return world(base, partial(_trace, base, 1.5), factors, {"a": STRONG}, reads={0: 1.5, 1: 1.0}, scale=20.0)


def within_patients(rng: np.random.Generator, use: float) -> World:
    """The attribute changes within patients, whose ten images are much alike."""
    base = ground(rng, sizes=(10,) * 100, of_patient=1.5)
    level = base.rng.integers(2, size=len(base.labels))
    table = {"a": STRONG if use else Listed(factor="a", calibrated="gap")}
    return world(base, partial(_trace, base, 1.5), {"a": level}, table, reads={0: 1.5, 1: use / 1.5})


def proxy_of_two(rng: np.random.Generator) -> World:
    """Two used attributes, and a third that copies the one or the other by turns."""
    base = ground(rng)
    factors = {"a": base.level(), "b": base.level()}
    copy = np.where(base.level() == 1, factors["a"], factors["b"])
    table = {
        "a": STRONG,
        "b": Listed(factor="b", expect="used", strong=True),
        "c": Listed(copy.astype(str).astype(object)),
    }
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 1.5 * (f["a"] - 0.5), 3: 1.5 * (f["b"] - 0.5)}),
        factors,
        table,
        reads={0: 1.5, 1: 1.3, 3: 1.3},
    )


def chain(rng: np.random.Generator) -> World:
    """A used attribute, one that agrees with it in 95 %, and one that agrees with that in 95 %."""
    base = ground(rng)
    cause = base.level()
    near = base.like(cause, 0.95)
    factors = {"a": cause, "b": near, "c": base.like(near, 0.95)}
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, **{1 + 2 * i: f[n] - 0.5 for i, n in enumerate("abc")}}),
        factors,
        {"a": STRONG, "b": Listed(factor="b"), "c": Listed(factor="c")},
        reads={0: 1.5, 1: 2.0},
    )


def _pair(rng: np.random.Generator, strong: bool, reads: dict[int, float]) -> World:
    """Two attributes that agree in 90 % of the patients."""
    base = ground(rng)
    cause = base.level()
    return world(
        base,
        lambda f: base.plus({0: 1.5 * base.disease, 1: 1.5 * (f["a"] - 0.5), 3: 1.5 * (f["b"] - 0.5)}),
        {"a": cause, "b": base.like(cause, 0.9)},
        {name: Listed(factor=name, expect="used", strong=strong) for name in "ab"},
        reads={0: 1.5, **reads},
    )


def both_of_a_pair(rng: np.random.Generator) -> World:
    """Two attributes that agree in 90 % of the patients, both used."""
    return _pair(rng, True, {1: 1.1, 3: 1.1})


def cancelling_pair(rng: np.random.Generator) -> World:
    """Two attributes that agree in 90 % of the patients; what one adds the other takes away."""
    return _pair(rng, False, {1: 1.3, 3: -1.3})


def just_enough(rng: np.random.Generator) -> World:
    """25 diseased patients a level, in whom alone the attribute moves the prediction, and 950 others."""
    base = ground(rng, shares=(0.95, 0.05))
    diseased = base.labels == 1
    return world(
        base,
        lambda f: base.plus({0: 4.5 * diseased, 1: 2.5 * diseased * (f["a"] - 0.5), 2: 1.5 * f["a"]}),
        {"a": base.level()},
        {"a": STRONG},
        reads={0: 1.5, 1: 1.2},
        bias=-5.5,
    )


INVENTED: dict[str, Callable[[np.random.Generator], World]] = {
    "quadratic use of a number": quadratic,
    "interaction of two attributes": interaction,
    "used near the decision only": near_the_decision,
    "used by magnitude": partial(by_magnitude, read=1.5),
    "encoded by magnitude, not used": partial(by_magnitude, read=0.0),
    "temperature differs by site": temperature,
    "ordinal, used at its middle level": middle_level,
    "missing by score, used": partial(missing, use=2.0),
    "missing by score and level, not used": partial(missing, use=0.0),
    "moved between two wrong classes": wrong_classes,
    "one label of six hidden": one_label_of_six,
    "14 classes, three attributes not used": many_classes,
    "twelve sites, one moves": twelve_sites,
    "heavy tails, used": partial(heavy_tails, use=2.0),
    "heavy tails, not used": partial(heavy_tails, use=0.0),
    "patient sizes differ by level, used": partial(sizes_by_level, use=2.5),
    "patient sizes differ by level, not used": partial(sizes_by_level, use=0.0),
    "saturated probabilities": saturated,
    "varies within patients, used": partial(within_patients, use=2.0),
    "varies within patients, not used": partial(within_patients, use=0.0),
    "proxy of two used attributes": proxy_of_two,
    "chain of three, first used": chain,
    "pair, V 0.8, both used": both_of_a_pair,
    "pair, V 0.8, effects cancel": cancelling_pair,
    "25 diseased patients a level": just_enough,
}
