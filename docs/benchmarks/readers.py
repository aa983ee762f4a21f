# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How often the intervals of a reader study hold the truth, where readers have a known skill.

Readers see a case as Roe and Metz (1997) have it: the class moves what a reader sees by the reader's own skill, drawn
about a mean; cases are hard or easy for all readers alike, to a known share. What is seen is cut into five levels of
confidence on either side, and "cannot tell" in the middle. The truth is the mean over all readers that could have been
drawn. The model sees the same hard and easy cases.

Run from the root of the repository; 500 draws of each row take about six minutes on one core:

    OMP_NUM_THREADS=1 python docs/benchmarks/readers.py [draws]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from monai_shortcut.reader_study import ReaderResult, StrategyReading
from monai_shortcut.reader_study.analysis import adjusted
from monai_shortcut.reader_study.wording import answered
from monai_shortcut.statistics.delong import average_influence
from monai_shortcut.statistics.multi_reader import ReaderMean, ahead_of_readers, mean_area, share_covariance
from monai_shortcut.types import Estimate

Pairs = Sequence[tuple[float, float]]
SHARED = 0.4  # share of the variance that cases have for all readers alike
UNSURE, STEP = 0.15, 0.35  # half the width of "cannot tell", and the width of a level of confidence
SKILLS, SPREADS = (0.0, 1.0, 2.0), (0.0, 0.3)  # in standard deviations of what a reader sees


def scores(seen: NDArray[np.float64]) -> NDArray[np.int64]:
    """Confidence 1 to 5 with the sign of the answer; 0 is "cannot tell"."""
    level = np.clip(np.ceil((np.abs(seen) - UNSURE) / STEP), 0, 5)
    return (np.sign(seen) * level).astype(np.int64)


def draw(
    readers: int,
    cases: int,
    skill: float,
    spread: float,
    rng: np.random.Generator,
    model: float | None = None,
    cut: bool = False,
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Classes (N,) and scores (R, N) of readers; of the model first, if it has a skill, cut into levels or not."""
    positive = np.repeat([True, False], cases)
    side = np.where(positive, 0.5, -0.5)
    hard = np.sqrt(SHARED) * rng.normal(size=2 * cases)
    own = np.sqrt(1 - SHARED) * rng.normal(size=(readers + 1, 2 * cases))
    skills = np.append(skill if model is None else model, skill + spread * rng.normal(size=readers))
    seen = skills[:, None] * side + hard + own
    values = scores(seen[1:]).astype(np.float64)
    return positive, values if model is None else np.vstack([scores(seen[:1]) if cut else seen[:1], values])


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


def reading(positive: NDArray[np.bool_], values: NDArray[np.float64]) -> StrategyReading:
    """Numbers of one strategy, from scores of the model, which comes first, and of the readers."""
    units = np.arange(len(positive))
    both = average_influence([(positive, values, units)], len(units))
    readers = average_influence([(positive, values[1:], units)], len(units))
    mean, model, ahead = mean_area(readers), both.estimate(0), ahead_of_readers(both, 0.95)
    names = [str(index) for index in range(1, len(values))]
    areas = [both.estimate(index).auc for index in range(1, len(values))]
    return StrategyReading(
        strategy="",
        cases=len(units),
        positives=int(positive.sum()),
        patients=len(units),
        readers=tuple(ReaderResult(name, 0, 0, 0, auc=area) for name, area in zip(names, areas, strict=True)),
        joint=tuple(names),
        auc=Estimate(mean.area, *mean.limits(0.95)),
        chance_p_value=mean.p_value(0.5),
        model=model.auc,
        model_p_value=model.chance_p_value,
        ahead=Estimate(ahead.difference, *ahead.interval),
        ahead_p_value=ahead.p_value,
    )


def answer_shares(readers: int, cases: int, skills: Pairs, draws: int, rng: np.random.Generator) -> list[float]:
    """Share of draws in which each of several strategies gets the answer "yes".

    Args:
        readers: number of readers, whose skills have the spread 0.3.
        cases: of each class.
        skills: of readers and model, by strategy.
        draws: number of studies.
        rng: source of all draws.
    """
    found = np.zeros(len(skills))
    for _ in range(draws):
        readings = [
            reading(*draw(readers, cases, reader, 0.3, rng, model, cut=reader == model)) for reader, model in skills
        ]
        found += [answered(one, 0.05).answer == "yes" for one in adjusted(readings)]
    return (found / draws).tolist()


def main(draws: int) -> None:
    """Print the tables."""
    intervals(draws)
    print("\n| readers | cases of a class | model as good as readers | model 1, readers 0 | model 2, readers 0 |")
    print("|---|---|---|---|---|")
    for readers, cases in product((1, 3, 5), (6, 12, 20, 40)):
        rng = np.random.default_rng([2, readers, cases])
        skills = ((0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (0.0, 1.0), (0.0, 2.0))
        shares = answer_shares(readers, cases, skills, draws, rng)
        row = (max(shares[:3]), *shares[3:])
        print(f"| {readers} | {cases} | {' | '.join(f'{value:.3f}' for value in row)} |")


def intervals(draws: int) -> None:
    """Print how often intervals hold the truth."""
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
