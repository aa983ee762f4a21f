# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the heads of an audit: every row against every other, and the published number by its space."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

from monai_shortcut.audit.record import Audit
from monai_shortcut.report.figures.style import GUIDE, WIDTH, dashes, series, styled
from monai_shortcut.statistics.task_space import TaskMatrix


@styled
def weight_space(audit: Audit) -> Figure:
    """The matrix of all heads, its intra-task and inter-task cosines, and the published number by components.

    Args:
        audit: a record that holds ``weight_space``.

    Raises:
        ValueError: If it holds none.
    """
    matrix = audit.weight_space
    if matrix is None:
        raise ValueError("the audit must hold the matrix of its heads to be drawn, got none.")
    figure = Figure(figsize=(WIDTH, 10.5), layout="constrained")
    left, middle, right = figure.subplots(3, 1, height_ratios=[2, 1, 1.3])
    _blocks(left, matrix)
    _histograms(middle, matrix)
    _sweeps(right, audit)
    return figure


def _blocks(axes: Axes, matrix: TaskMatrix) -> None:
    """Cosines between all rows, with a line between tasks and a name for each."""
    axes.imshow(np.array(matrix.cosines), cmap="PuOr_r", vmin=-1, vmax=1)
    names = list(dict.fromkeys(matrix.tasks))
    ends = np.cumsum([matrix.tasks.count(name) for name in names])
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="black", linewidth=0.8)
        axes.axvline(end - 0.5, color="black", linewidth=0.8)
    places = [end - (matrix.tasks.count(name) + 1) / 2 for end, name in zip(ends, names, strict=True)]
    axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.set_title("cosines between the rows of all heads")


def _histograms(axes: Axes, matrix: TaskMatrix) -> None:
    bins = np.linspace(-1, 1, 41).tolist()
    for values, label, colour, hatch in (
        (matrix.between(), "rows of different tasks", series(0), ""),
        (matrix.within(), "rows of one task", series(1), "//"),
    ):
        axes.hist(
            values,
            bins,
            density=True,
            alpha=0.6,
            color=colour,
            hatch=hatch,
            label=f"{label} ({len(values)})",
        )
    axes.set(xlabel="cosine", yticks=[])
    axes.set_title("inter-task and intra-task")
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.3))


def _sweeps(axes: Axes, audit: Audit) -> None:
    """Largest |WSC| of each attribute against the number of principal components."""
    aligned = {f.attribute: f.evidence.alignment for f in audit.findings if f.evidence is not None}
    sweeps = {name: found.sweep for name, found in aligned.items() if found is not None and found.sweep is not None}
    for index, (name, sweep) in enumerate(sweeps.items()):
        largest = np.abs(np.array(sweep.cosines)).max(axis=(1, 2))
        axes.plot(sweep.components, largest, f"o{dashes(index)}", markersize=3, color=series(index), label=name)
    axes.axvline(audit.settings.min_components, color=GUIDE, linewidth=1, linestyle=":")
    axes.set(xlabel="principal components", ylim=(0, 1), xscale="log")
    axes.xaxis.set_major_locator(LogLocator(10, (1.0, 3.0)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_title("largest |WSC| by number of components")
    if sweeps:
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.3))
