# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Seconds of an audit as images, columns, attributes and permutations grow; fitted exponents, a table, a figure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import median

import numpy as np
from cohorts import draw
from matplotlib.figure import Figure
from timing import HERE, Line, Row, markdown, seconds

from monai_shortcut.audit import AuditSettings

FIGURE = HERE.parent / "images" / "performance.png"
BASE = {"images": 5000, "columns": 256, "attributes": 2, "permutations": 199}
CURVES = {
    "images": (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
    "columns": (64, 128, 256, 512, 1024, 2048),
    "attributes": (1, 2, 5, 10, 20, 50),
    "permutations": (99, 299, 999, 2999, 9999),
}
_STEEPEST = 1.5  # exponent by which the next point is foreseen
_LAST = 3  # points of the exponent at the end of a curve

Curve = dict[int, list[float]]


def once(images: int, columns: int, attributes: int, permutations: int, repeats: int) -> list[float]:
    """Seconds of the same audit, several times."""
    drawn = draw(images, columns, attributes)
    return [seconds(partial(drawn.audit, AuditSettings(permutations=permutations))) for _ in range(repeats)]


def curve(name: str, points: Sequence[int], repeats: int, budget: float) -> Curve:
    """Seconds by value of one quantity, as far as a budget of seconds seems to reach."""
    found: Curve = {}
    begun = time.perf_counter()
    for value in points:
        if found:
            last = next(reversed(found))
            foreseen = repeats * median(found[last]) * (value / last) ** _STEEPEST
            if time.perf_counter() - begun + foreseen > budget:
                break
        found[value] = once(**{**BASE, name: value}, repeats=repeats)
        print(f"  {name} {value}: {median(found[value]):.3g} s", file=sys.stderr, flush=True)
    return found


def exponent(found: Curve, last: int = 0) -> float:
    """Slope of log seconds over log value by least squares, of all points or the last ones; NaN of fewer than two."""
    if len(found) < 2:
        return float("nan")
    values, took = np.array([[value, median(kept)] for value, kept in found.items()][-last:]).T
    return float(np.polyfit(np.log(values), np.log(took), 1)[0])


def row(options: argparse.Namespace) -> Row:
    """Four curves through one base."""
    once(1000, 256, 2, 199, 1)  # loads what is imported late, wakes the threads
    points = {name: sorted({max(kept[0], round(x * options.scale)) for x in kept}) for name, kept in CURVES.items()}
    points["images"] = [x // 2 * 2 for x in points["images"]]
    found = {name: curve(name, kept, options.repeats, options.budget) for name, kept in points.items()}
    base = ", ".join(f"{value:,} {name}" for name, value in BASE.items())
    lines, cells = [], []
    for name, kept in found.items():
        span = f"{min(kept):,} to {max(kept):,}"
        lines.append(Line(f"exponent of growth with {name}, {span}", "", [exponent(kept)], "{:.2f}", ""))
        for value, took in kept.items():
            cells.append([name, f"{value:,}", median(took), f"{min(took):.3g} to {max(took):.3g}"])
        left = [f"{value:,}" for value in points[name] if value not in kept]
        cells.append([name, ", ".join(left), f"beyond {options.budget:g} s", ""] if left else [])
    ends = "; ".join(f"{name} {exponent(kept, _LAST):.2f}" for name, kept in found.items())
    told = f"All else as in the base ({base}). Exponents of the last {_LAST} points: {ends}."
    if options.scale == 1:
        figure(found)
        told += f"\n\n![Seconds of an audit as it grows](images/{FIGURE.name})"
    table = markdown(["grows", "to", "seconds, median", "range"], [cell for cell in cells if cell])
    return Row(tuple(lines), f"{told}\n\n{table}")


def figure(found: dict[str, Curve]) -> None:
    """A panel for each curve, points with their range and the fitted power."""
    drawn = Figure(figsize=(10, 2.8), layout="constrained")
    axes = drawn.subplots(1, len(found), sharey=True)
    for panel, (name, kept) in zip(axes, found.items(), strict=True):
        values, took = np.array(list(kept)), np.array([median(each) for each in kept.values()])
        reach = [[m - min(kept[v]) for v, m in zip(values, took, strict=True)]]
        reach += [[max(kept[v]) - m for v, m in zip(values, took, strict=True)]]
        panel.errorbar(values, took, reach, fmt="o", color="black", markersize=4, capsize=2)
        slope = exponent(kept)
        if np.isfinite(slope):
            level = np.exp(np.mean(np.log(took)) - slope * np.mean(np.log(values)))
            panel.plot(values, level * values**slope, "--", color="0.45", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel=name, title=f"exponent {slope:.2f}")
        panel.minorticks_off()
        panel.set_xticks(values, [_short(value) for value in values], fontsize=7)
        panel.grid(color="0.85", linewidth=0.5)
    axes[0].set_ylabel("seconds")
    axes[0].yaxis.set_major_formatter("{x:g}")
    drawn.savefig(FIGURE, dpi=120)


def _short(value: int) -> str:
    """1,000 as 1k."""
    return next(
        (f"{value // unit}{name}" for unit, name in ((10**6, "M"), (1000, "k")) if value % unit == 0), str(value)
    )
