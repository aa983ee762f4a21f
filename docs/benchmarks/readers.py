# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How often the intervals of a reader study hold the truth, where readers have a known skill.

Readers see a case as Roe and Metz (1997) have it: the class moves what a reader sees by the reader's own skill, drawn
about a mean; cases are hard or easy for all readers alike, to a known share. What is seen is cut into five levels of
confidence on either side, and "cannot tell" in the middle. The truth is the mean over all readers that could have been
drawn. The model sees the same hard and easy cases.

Run from the root of the repository; 500 draws of each row take about two minutes on one core:

    OMP_NUM_THREADS=1 python docs/benchmarks/readers.py [draws]
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from monai_shortcut.statistics.delong import average_influence
from monai_shortcut.statistics.multi_reader import ReaderMean, ahead_of_readers, mean_area, share_covariance

SHARED = 0.4  # share of the variance that cases have for all readers alike
UNSURE, STEP = 0.15, 0.35  # half the width of "cannot tell", and the width of a level of confidence
SKILLS, SPREADS = (0.0, 1.0, 2.0), (0.0, 0.3)  # in standard deviations of what a reader sees


def scores(seen: NDArray[np.float64]) -> NDArray[np.int64]:
    """Confidence 1 to 5 with the sign of the answer; 0 is "cannot tell"."""
    level = np.clip(np.ceil((np.abs(seen) - UNSURE) / STEP), 0, 5)
    return (np.sign(seen) * level).astype(np.int64)


def draw(
    readers: int, cases: int, skill: float, spread: float, rng: np.random.Generator, model: float | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Classes (N,) and scores (R, N) of readers; of the model first, if it has a skill."""
    positive = np.repeat([True, False], cases)
    side = np.where(positive, 0.5, -0.5)
    hard = np.sqrt(SHARED) * rng.normal(size=2 * cases)
    own = np.sqrt(1 - SHARED) * rng.normal(size=(readers + 1, 2 * cases))
    skills = np.append(skill if model is None else model, skill + spread * rng.normal(size=readers))
    seen = skills[:, None] * side + hard + own
    values = scores(seen[1:]).astype(np.float64)
    return positive, values if model is None else np.vstack([seen[:1], values])


def truth(skill: float, spread: float, rng: np.random.Generator) -> tuple[float, float]:
    """Mean area and mean share of right answers of all readers, "cannot tell" half right."""
    areas, shares = [], []
    for _ in range(400):
        positive, values = draw(1, 4000, skill, spread, rng)
        ranks = rankdata(values[0])
        areas.append((ranks[positive].mean() - 2000.5) / 4000)
        shares.append(np.mean((1 + np.sign(values[0]) * np.where(positive, 1, -1)) / 2))
    return float(np.mean(areas)), float(np.mean(shares))


def coverage(
    readers: int, cases: int, skill: float, spread: float, draws: int, rng: np.random.Generator
) -> list[float]:
    """Shares of draws whose limits hold the truth, and in which those of the lead lie above it."""
    area, share = truth(skill, spread, rng)
    held = np.zeros(4)
    units = np.arange(2 * cases)
    for _ in range(draws):
        positive, values = draw(readers, cases, skill, spread, rng, model=skill)
        influence = average_influence([(positive, values[1:], units)], len(units))
        low, high = mean_area(influence).limits(0.95)
        held[0] += low <= area <= high
        right = (1 + np.sign(values[1:]) * np.where(positive, 1, -1)) / 2
        found = ReaderMean.of(right.mean(axis=1), share_covariance(right, positive, units), len(units) - 2.0)
        limits = found.share(len(units), 0.95)
        held[1] += limits.low <= share <= limits.high
        both = average_influence([(positive, values, units)], len(units))
        ahead = ahead_of_readers(both, 0.95)
        true = continuous(skill) - area
        held[2] += ahead.interval[0] <= true <= ahead.interval[1]
        held[3] += ahead.interval[0] > true
    return (held / draws).tolist()


def continuous(skill: float) -> float:
    """Area of the model, whose scores are not cut into levels."""
    return float(norm.cdf(skill / np.sqrt(2)))


def main(draws: int) -> None:
    """Print the table."""
    print("| readers | cases of a class | skill | spread | mean area | right answers | lead | lead: limits too high |")
    print("|---|---|---|---|---|---|---|---|")
    for readers, cases, skill, spread in product((1, 2, 3, 5), (10, 20, 40), SKILLS, SPREADS):
        if readers == 1 and spread:
            continue  # one reader says nothing of others
        rng = np.random.default_rng([readers, cases, int(skill * 10), int(spread * 10)])
        found = coverage(readers, cases, skill, spread, draws, rng)
        print(f"| {readers} | {cases} | {skill:g} | {spread:g} | {' | '.join(f'{value:.3f}' for value in found)} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
