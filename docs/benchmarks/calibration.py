# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Are p-values of differences those of chance, and do their limits hold the truth? Two tables, in Markdown.

Run from the root of the repository, about ten minutes on one core:

    python docs/benchmarks/calibration.py --draws 1000
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax
from scipy.stats import t

from monai_shortcut.analyses.differences import DECISION, PROBABILITY, RANK, differences
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.contrasts import LevelContrasts
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Floats, Integers

_SEED = 7000


class Images(NamedTuple):
    """Answers (n, C), levels, labels and patients of images whose answers do not differ by the level."""

    answers: Floats
    codes: Integers
    labels: Integers
    patients: Integers


def _binary(logit: Floats) -> Floats:
    return np.stack([expit(-logit), expit(logit)], axis=1)


def _plain(rng: np.random.Generator) -> Images:
    label, code = rng.integers(2, size=400), rng.integers(3, size=400)
    return Images(_binary(label + rng.normal(size=400)), code, label, np.arange(400))


def _clustered(rng: np.random.Generator) -> Images:
    patient = np.repeat(np.arange(60), rng.integers(1, 51, 60))
    label, code = rng.integers(2, size=60)[patient], rng.integers(2, size=60)[patient]
    logit = label + rng.normal(size=60)[patient] + 0.5 * rng.normal(size=len(patient))
    return Images(_binary(logit), code, label, patient)


def _scattered(times: float) -> Callable[[np.random.Generator], Images]:
    def draw(rng: np.random.Generator) -> Images:
        code = (np.arange(415) < 15).astype(np.int64)
        label = rng.permutation(np.arange(415) % 2)
        label[:15] = np.arange(15) % 2
        return Images(_binary(rng.normal(size=415) * np.where(code == 1, times, 1.0)), code, label, np.arange(415))

    return draw


def _tied(rng: np.random.Generator) -> Images:
    label = rng.integers(2, size=600)
    code = np.where(rng.random(600) < 0.9, label, 1 - label)
    return Images(_binary(label + rng.normal(size=600)), code, label, np.arange(600))


def _sizes_differ(rng: np.random.Generator) -> Images:
    code = np.arange(80) % 2
    patient = np.repeat(np.arange(80), np.where(code == 1, rng.integers(1, 4, 80), rng.integers(5, 30, 80)))
    label = rng.integers(2, size=80)[patient]
    logit = label + rng.normal(size=80)[patient] + 0.5 * rng.normal(size=len(patient))
    return Images(_binary(logit), code[patient], label, patient)


def _four_classes(rng: np.random.Generator) -> Images:
    label, code = rng.integers(4, size=500), rng.integers(3, size=500)
    return Images(softmax(rng.normal(size=(500, 4)) + 2 * np.eye(4)[label], axis=1), code, label, np.arange(500))


def _skewed(rng: np.random.Generator) -> Images:
    label, code = rng.integers(2, size=500), (rng.random(500) < 0.1).astype(np.int64)
    return Images(_binary(label - 4 + rng.exponential(2, size=500)), code, label, np.arange(500))


NULLS: dict[str, Callable[[np.random.Generator], Images]] = {
    "400 images, three levels": _plain,
    "60 patients of 1 to 50 images": _clustered,
    "15 of 415 images scatter twice as much": _scattered(2),
    "15 of 415 images scatter three times as much": _scattered(3),
    "label and attribute tied at 90 %": _tied,
    "patients of one level have 2 images, of the other 17": _sizes_differ,
    "four classes, three levels": _four_classes,
    "skewed answers, a level of 10 %": _skewed,
}


def null(draws: int) -> str:
    """Shares of p-values, and of limits that hold a difference of 0."""
    lines = [
        "| nothing differs | p <= 0.05 | p <= 0.01 | scatter, p <= 0.05 | used | limits hold 0 |",
        "|---|---|---|---|---|---|",
    ]
    for name, make in NULLS.items():
        found = []
        for seed in range(draws):
            given = make(np.random.default_rng(_SEED + seed))
            drawn = Resampling(permutations=199, bootstraps=2, seed=seed)
            images = Sample.of_probabilities(given.answers, given.labels, given.patients, draws=drawn)
            names = tuple(map(str, range(int(given.codes.max()) + 1)))
            told = differences(images.by("attribute", Levels(names, given.codes, 0, {})))
            used = told.test.p_value <= 0.05 and any(row.certain > 0.1 for row in told.rows)
            held = [row.estimate.low <= 0 <= row.estimate.high for row in told.rows if row.scale in (PROBABILITY, RANK)]
            assert told.spread is not None
            p_values = told.test.p_value <= 0.05, told.test.p_value <= 0.01, told.spread.p_value <= 0.05
            found.append([float(share) for share in (*p_values, used, np.mean(held))])
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in np.mean(found, axis=0)) + " |")
    return "\n".join(lines)


def _cell(rng: np.random.Generator, patients: int, images: bool, base: float, shift: float) -> tuple[Floats, Integers]:
    """Probabilities and patients of one level."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 51, patients) if images else 1)
    logit = 1.5 * rng.normal(size=patients)[patient] + (0.75 * rng.normal(size=len(patient)) if images else 0)
    return expit(base + shift + logit), patient


def coverage(draws: int) -> str:
    """Shares of intervals that hold a true difference, by patients of a level."""
    lines = [
        "| patients of a level | probability about | scale | true difference | limits hold it | width |",
        "|---|---|---|---|---|---|",
    ]
    for patients, images in ((10, False), (20, False), (50, False), (12, True), (30, True), (60, True)):
        for base, about in ((0.0, "0.5"), (3.0, "0.9")):
            for scale in (PROBABILITY, DECISION):
                lines.append(_covered(draws, patients, images, base, about, scale))
    return "\n".join(lines)


def _covered(draws: int, patients: int, images: bool, base: float, about: str, scale: str) -> str:
    def value(answers: Floats) -> Floats:
        return answers if scale == PROBABILITY else (answers > 0.5).astype(np.float64)

    def level(rng: np.random.Generator, code: int) -> tuple[Floats, Integers]:
        answers, patient = _cell(rng, patients, images, base, float(code))
        return value(answers), patient

    rng = np.random.default_rng(_SEED)
    means = [np.concatenate([level(rng, code)[0] for _ in range(4000)]).mean() for code in (0, 1)]
    true, held, widths = means[1] - means[0], 0, 0.0
    for seed in range(draws):
        rng = np.random.default_rng(_SEED + seed)
        (one, first), (two, second) = level(rng, 0), level(rng, 1)
        codes = np.repeat([0, 1], [len(one), len(two)])
        model = LevelContrasts(codes, np.concatenate([first, second + patients]), 2)
        found = model.between(0, 1, np.concatenate([one, two]))
        assert found is not None
        plain = scale == PROBABILITY and found.error > 1e-9
        middle, error = (found.value, found.error) if plain else (found.cautious_value, found.cautious_error)
        reach = t.ppf(0.975, found.freedom) * error
        held += abs(middle - true) <= reach
        widths += 2 * reach
    what = f"{patients}, 1 to 50 images each" if images else f"{patients}"
    return f"| {what} | {about} | {scale} | {true:.2f} | {100 * held / draws:.1f} % | {widths / draws:.2f} |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print(null(draws), coverage(draws), sep="\n\n")


if __name__ == "__main__":
    main()
