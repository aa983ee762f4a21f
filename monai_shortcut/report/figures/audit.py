# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of an audit, drawn from its record alone."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave
from numpy.typing import ArrayLike

from monai_shortcut.audit.record import Audit, Evidence, Example, Finding
from monai_shortcut.report.figures.attribution import attribution_figures
from monai_shortcut.report.figures.heads import weight_space
from monai_shortcut.report.figures.maps import embedding_figures
from monai_shortcut.report.figures.overview import overview
from monai_shortcut.report.figures.readers import reader_areas
from monai_shortcut.report.figures.style import (
    INK,
    MISSING,
    NULL,
    VERDICTS,
    level_marker,
    literal,
    series,
)
from monai_shortcut.report.wording import number, words
from monai_shortcut.types import Tested, p_text


def figures(audit: Audit) -> Iterator[tuple[str, Figure]]:
    """All figures of an audit with their names.

    Args:
        audit: the record.

    Returns:
        (name, figure) pairs: "overview", "embeddings"; "regions", "weight_space", "examples", "discovered", "readers"
        and those of `attribution_figures` and `embedding_figures` where there are any; "evidence_i" for the i-th
        finding that has evidence.
    """
    yield "overview", overview(audit)
    if len({score.evaluated_on for score in audit.regions.scores}) > 1:
        yield "regions", regions(audit)
    if audit.embedding_map.points:
        yield "embeddings", embeddings(audit)
    if audit.weight_space is not None:
        yield "weight_space", weight_space(audit)
    if audit.examples:
        yield "examples", examples(audit)
    if audit.discovered is not None and audit.discovered.examples:
        yield "discovered", pictured(audit.discovered.examples)
    yield from attribution_figures(audit.attribution)
    yield from embedding_figures(audit.moves, audit.maps)
    if audit.readers is not None:
        yield "readers", reader_areas(audit.readers)
    for index, finding in enumerate(audit.findings):
        if finding.evidence is not None:
            yield f"evidence_{index}", evidence(finding, audit)


@literal
def regions(audit: Audit) -> Figure:
    """Area under the ROC curve by masking strategy, one line of points per class."""
    scores = audit.regions.scores
    strategies = list(dict.fromkeys(score.evaluated_on for score in scores))
    labels = list(dict.fromkeys(score.label for score in scores))
    figure = Figure(figsize=(8, 1.2 + 0.45 * len(strategies) + 0.12 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for index, label in enumerate(labels):
        offset = (index - (len(labels) - 1) / 2) * 0.6 / max(len(labels), 1)
        for score in (score for score in scores if score.label == label):
            row = strategies.index(score.evaluated_on) + offset
            axes.plot([score.auc.low, score.auc.high], [row, row], color=series(index), linewidth=2)
            name = label if score.evaluated_on == "full" else None
            axes.plot(score.auc.value, row, "o", color=series(index), label=name)
    lowest = min((score.auc.low for score in scores), default=0.4)
    axes.axvline(0.5, color=INK, linewidth=1)
    axes.set(
        xlabel="area under the ROC curve", xlim=(min(0.4, lowest - 0.02), 1.02), ylim=(len(strategies) - 0.5, -0.5)
    )
    axes.set_yticks(range(len(strategies)), [words(name) for name in strategies])
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


@literal
def embeddings(audit: Audit) -> Figure:
    """The two main directions of the embeddings, coloured by label and by each attribute."""
    shown = audit.embedding_map
    points = np.array(shown.points)
    panels = {"label": shown.labels, **shown.levels}
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.2 * rows), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels.items(), strict=False):
        for index, value in enumerate(_levels(values)):
            chosen = np.array([item == value for item in values])
            colour = series(index) if value else MISSING
            axes.scatter(*points[chosen].T, s=6, color=colour, label=value or "missing or left out", linewidths=0)
        axes.set(title=name, xticks=[], yticks=[])
        axes.legend(fontsize=7, markerscale=2, framealpha=0.8, loc="best")
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(f"first direction ({shown.variance[0]:.0%} of the variance)", fontsize=9)
    figure.supylabel(f"second direction ({shown.variance[1]:.0%})", fontsize=9)
    return figure


def _levels(values: Sequence[str]) -> list[str]:
    """Level names in reading order, missing last."""
    return sorted(set(values), key=lambda value: (value == "", value))


@literal
def evidence(finding: Finding, audit: Audit) -> Figure:
    """An attribute's tests against their nulls, its head against the clinical head, and the predictions by level."""
    shown = finding.evidence
    if shown is None:
        raise ValueError(f"finding must hold evidence to be drawn, got none for {finding.attribute!r}.")
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    halves: Any = figure.subfigures(2, 1)
    top, bottom = halves
    tests, aligned = _tests(shown), shown.alignment
    axes: Any = top.subplots(1, len(tests), squeeze=False)[0]
    for panel, (title, test) in zip(axes, tests.items(), strict=True):
        panel.hist(test.null, bins=30, color=NULL)
        panel.axvline(test.observed, color=VERDICTS[finding.verdict], linewidth=3)
        panel.set(title=f"{title}\nunadjusted p {p_text(test.p_value)}", yticks=[])
    axes[0].set_xlabel("grey: attribute permuted between patients", fontsize=8)
    left, right = bottom.subplots(1, 2, width_ratios=[1, 2])
    if aligned is None:
        left.set_axis_off()
    else:
        _matrix(left, np.array(aligned.wsc), audit.label_names, tuple(finding.levels))
    _predictions(right, finding, audit)
    return figure


def _tests(shown: Evidence) -> dict[str, Tested]:
    """The tests of an attribute by what they ask."""
    used = {"used? prediction gap": shown.gap.test}
    if shown.differences is not None:
        used = {"used? largest difference": shown.differences.test}
    tests = {} if shown.encoding is None else {"encoded? AUROC within labels": shown.encoding.test}
    tests |= used
    if shown.alignment is not None:
        tests["aligned? largest |WSC|"] = shown.alignment.wsc_test
    if shown.erasure is not None:
        tests["erased: probability moved"] = shown.erasure.test
    return tests


def _matrix(axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, fontsize=8, rotation=20 if len(columns) > 2 else 0)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.set_title("weight space correlation, as published", fontsize=9)
    for (row, column), value in np.ndenumerate(values):
        axes.text(
            column,
            row,
            number(value),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if abs(value) > 0.6 else "black",
        )


def _predictions(axes: Axes, finding: Finding, audit: Audit) -> None:
    """Mean predicted probability of each class, by true label and level."""
    assert finding.evidence is not None
    means = np.array(finding.evidence.gap.means, dtype=np.float64)
    levels = tuple(finding.levels)
    for level in range(means.shape[1]):
        for predicted in range(means.shape[2]):
            place = np.arange(len(means)) + (predicted - (means.shape[2] - 1) / 2) * 0.8 / means.shape[2]
            colour = series(predicted)
            axes.plot(place, means[:, level, predicted], level_marker(level), color=colour, alpha=0.85, markersize=7)
    for predicted, name in enumerate(audit.label_names):
        axes.plot([], [], "_", color=series(predicted), markersize=12, label=f"predicted {name}")
    for level, name in enumerate(levels):
        axes.plot([], [], level_marker(level), color=INK, label=name)
    axes.set_xticks(range(len(means)), [f"true {name}" for name in audit.label_names], fontsize=8)
    axes.set(ylim=(-0.03, 1.03), ylabel="mean probability")
    axes.set_title("same label, other level: do predictions differ?", fontsize=9)
    axes.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def examples(audit: Audit) -> Figure:
    """Example images as the model was given them, one row each."""
    return pictured(audit.examples)


@literal
def pictured(shown: Sequence[Example]) -> Figure:
    """Pictures with their captions, one row for each example."""
    columns = max(len(example.pictures) for example in shown)
    figure = Figure(figsize=(1.7 * columns, 1.9 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for row, example in zip(grid, shown, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, (caption, picture) in zip(row, example.pictures.items(), strict=False):
            axes.imshow(imread(BytesIO(base64.b64decode(picture)), format="png"), cmap="gray", vmin=0, vmax=1)
            axes.set_title(words(caption), fontsize=8)
    return figure


def picture(image: ArrayLike) -> str:
    """An image as a PNG in base64, for an `Example`.

    Args:
        image: (C, H, W) or (C, H, W, D); the first channel, and the middle slice of a volume, is drawn from its lowest
            to its highest value. Values that are not finite are drawn black.
    """
    plane = np.asarray(image, dtype=np.float64)[0]
    plane = plane[..., plane.shape[-1] // 2] if plane.ndim == 3 else plane
    known = np.isfinite(plane)
    low, high = (plane[known].min(), plane[known].max()) if known.any() else (0.0, 1.0)
    buffer = BytesIO()
    imsave(buffer, np.where(known, plane, low), cmap="gray", vmin=low, vmax=max(high, low + 1e-12), format="png")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
