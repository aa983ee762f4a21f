# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Areas under ROC curves with few patients: how often limits hold the truth and tests hold their level.

The former limits, DeLong's by the normal approximation, stand beside those of `estimate_auc`, on the same draws. Run
from the root of the repository; it takes about two minutes on one core:

    OMP_NUM_THREADS=1 python docs/benchmarks/few_patients.py

Scores are normal: those of images of class 1 lie higher by what gives the true area. The seed of a row is a list of
2026 and what the row is about.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm

from monai_shortcut.statistics.delong import AUCInfluence, average_influence

Floats = NDArray[np.float64]
Draw = tuple[NDArray[np.int64], Floats, NDArray[np.int64]]  # labels (N,), scores (M, N), patients (N,)

SEED, NEGATIVES = 2026, 200
AREAS, POSITIVES = (0.7, 0.9, 0.99), (5, 10, 30, 100)
CHANCE = ((2, 2), (2, 20), (5, 50), (10, 10))
MOST_IMAGES = 50


def scores(
    rng: np.random.Generator, positives: int, negatives: int, area: float, extra: float = 1.0, models: int = 1
) -> Draw:
    """One image a patient; `extra` is the standard deviation of class 1, and models share half their variance."""
    label = np.repeat([1, 0], [positives, negatives])
    noise = rng.normal(size=(models, len(label)))
    if models > 1:
        noise = np.sqrt(0.5) * (noise + rng.normal(size=len(label)))
    shift = np.hypot(extra, 1.0) * norm.ppf(area)
    return label, np.where(label == 1, extra, 1.0) * noise + shift * label, np.arange(len(label))


def clustered(rng: np.random.Generator, positives: int, negatives: int, area: float, extra: float) -> Draw:
    """One to fifty images a patient; `extra` is the share of the variance of scores that a patient's images share."""
    people = positives + negatives
    patient = np.repeat(np.arange(people), rng.integers(1, MOST_IMAGES + 1, people))
    label = (patient < positives).astype(np.int64)
    noise = np.sqrt(extra) * rng.normal(size=people)[patient] + np.sqrt(1 - extra) * rng.normal(size=len(patient))
    return label, (noise + np.sqrt(2) * norm.ppf(area) * label)[None], patient


def measured(draw: Draw) -> AUCInfluence:
    """Areas of all scores, and their errors by patient."""
    label, score, patient = draw
    return average_influence([(label == 1, score, patient)], int(patient.max()) + 1)


def former(found: AUCInfluence, weights: Floats, null: float = 0.0) -> tuple[float, float, float]:
    """Normal limits of 95 % and p-value of a weighted sum of areas, by DeLong's error."""
    value = float(weights @ found.areas)
    error = float(np.sqrt(max(weights @ found.covariance() @ weights, 0.0)))
    gap, reach = abs(value - null), norm.ppf(0.975) * error
    p_value = 2 * norm.sf(gap / error) if error > 1e-12 else float(gap < 1e-12)
    return max(value - reach, 0.0), min(value + reach, 1.0), float(p_value)


def coverage(draw: Callable[[np.random.Generator], Draw], area: float, seed: list[int], draws: int) -> str:
    """Cells of a row: coverage and median width of both, and how often the former limits have no width."""
    limits = np.empty((draws, 2, 2))
    rng = np.random.default_rng(seed)
    for index in range(draws):
        found = measured(draw(rng))
        limits[index] = former(found, np.ones(1))[:2], found.error(0).limits(0.95)
    held = 100 * ((limits[..., 0] <= area) & (area <= limits[..., 1])).mean(axis=0)
    width = limits[..., 1] - limits[..., 0]
    middle, none = np.median(width, axis=0), 100 * (width < 1e-9).mean(axis=0)
    return " | ".join(f"{held[i]:.1f} | {middle[i]:.3f} | {none[i]:.1f}" for i in range(2))


def print_coverage(title: str, draw: Callable[..., Draw], extra: float, positives: tuple[int, ...], draws: int) -> None:
    """A table of true areas and numbers of positive patients; `extra` as `draw` has it."""
    print(f"\n{title}\n")
    print(
        "| true area | positive patients | former: held, % | width | no width, % | now: held, % | width | no width, % |"
    )
    print("| --- " * 8 + "|")
    for count in positives:
        for area in AREAS:
            seed = [SEED, int(100 * extra), count, round(100 * area)]
            row = partial(draw, positives=count, negatives=NEGATIVES, area=area, extra=extra)
            cells = coverage(row, area, seed, draws)
            print(f"| {area} | {count} | {cells} |", flush=True)


def print_chance(draws: int) -> None:
    """How often a useless score differs from chance at 5 %."""
    print("\n| images of class 1 and 0 | former: p < 0.05, % | least p | now: p < 0.05, % | least p | exact test, % |")
    print("| --- " * 6 + "|")
    for positives, negatives in CHANCE:
        rng, p_values = np.random.default_rng([SEED, positives, negatives]), np.empty((draws, 3))
        for index in range(draws):
            label, score, patient = scores(rng, positives, negatives, 0.5)
            found = measured((label, score, patient))
            exact = mannwhitneyu(score[0, label == 1], score[0, label == 0], method="exact").pvalue
            p_values[index] = former(found, np.ones(1), 0.5)[2], found.error(0).p_value(0.5), exact
        share, least = 100 * (p_values < 0.05).mean(axis=0), p_values.min(axis=0)
        cells = f"{share[0]:.1f} | {least[0]:.2g} | {share[1]:.1f} | {least[1]:.2g} | {share[2]:.1f}"
        print(f"| {positives} + {negatives} | {cells} |", flush=True)


def print_paired(draws: int) -> None:
    """How often two scores of equal true area differ at 5 %."""
    print("\n| images of class 1 and 0 | true area of both | former: p < 0.05, % | now: p < 0.05, % |")
    print("| --- " * 4 + "|")
    weights = np.array([1.0, -1.0])
    for positives, negatives in ((5, 5), (5, NEGATIVES), (10, NEGATIVES), (30, NEGATIVES)):
        for area in (0.5, 0.7, 0.9):
            rng, p_values = np.random.default_rng([SEED, 2, positives, round(100 * area)]), np.empty((draws, 2))
            for index in range(draws):
                found = measured(scores(rng, positives, negatives, area, models=2))
                p_values[index] = former(found, weights)[2], found.compare(weights).p_value
            share = 100 * (p_values < 0.05).mean(axis=0)
            print(f"| {positives} + {negatives} | {area} | {share[0]:.1f} | {share[1]:.1f} |", flush=True)


def print_large(draws: int) -> None:
    """How far limits move with 1,000 images of each class."""
    print("\n| true area | largest change of a limit |")
    print("| --- | --- |")
    for area in AREAS:
        rng, moved = np.random.default_rng([SEED, 1000, round(100 * area)]), 0.0
        for _ in range(draws):
            found = measured(scores(rng, 1000, 1000, area))
            change = np.subtract(former(found, np.ones(1))[:2], found.error(0).limits(0.95))
            moved = max(moved, float(np.abs(change).max()))
        print(f"| {area} | {moved:.4f} |", flush=True)


def main() -> None:
    """Print all tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    draws = parser.parse_args().draws
    print_coverage("One image a patient", scores, 1.0, POSITIVES, draws)
    print_coverage("One to fifty images a patient, who share 0.8 of the variance", clustered, 0.8, POSITIVES, draws)
    print_coverage("One image a patient, class 1 scatters twice as much", scores, 2.0, (10, 30), draws)
    print("\nTests against chance")
    print_chance(draws)
    print("\nPaired tests of two scores")
    print_paired(draws // 2)
    print("\nOne thousand images of each class")
    print_large(max(draws // 10, 1))


if __name__ == "__main__":
    main()
