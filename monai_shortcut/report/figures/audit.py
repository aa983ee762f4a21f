# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of an audit, drawn from its record alone."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from textwrap import fill
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
    ON_DARK,
    ON_LIGHT,
    VERDICTS,
    WIDTH,
    in_order,
    legend,
    level_marker,
    name_ticks,
    place_of,
    series,
    styled,
    told,
)
from monai_shortcut.report.wording import number, words
from monai_shortcut.types import Tested, p_text

_NAMED = 9  # names in the legend of a map


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
        yield "discovered", pictured(audit.discovered.examples, 4)
    yield from attribution_figures(audit.attribution)
    yield from embedding_figures(audit.moves, audit.maps, audit.label_names, _levels(audit))
    if audit.readers is not None:
        yield "readers", reader_areas(audit.readers)
    for index, finding in enumerate(audit.findings):
        if finding.evidence is not None:
            yield f"evidence_{index}", evidence(finding, audit)


@styled
def regions(audit: Audit) -> Figure:
    """Area under the ROC curve by masking strategy, one line of points per class."""
    scores = audit.regions.scores
    strategies = list(dict.fromkeys(score.evaluated_on for score in scores))
    labels = list(dict.fromkeys(score.label for score in scores))
    size = (WIDTH, 1.2 + 0.35 * len(strategies) + 0.22 * len(labels))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for place, label in enumerate(labels):
        index = place_of(label, audit.label_names)
        offset = (place - (len(labels) - 1) / 2) * 0.6 / max(len(labels), 1)
        for score in (score for score in scores if score.label == label):
            row = strategies.index(score.evaluated_on) + offset
            axes.plot([score.auc.low, score.auc.high], [row, row], color=series(index), linewidth=2)
            name = label if score.evaluated_on == "full" else None
            axes.plot(score.auc.value, row, level_marker(index), color=series(index), label=name)
    lowest = min((score.auc.low for score in scores), default=0.4)
    axes.axvline(0.5, color=INK, linewidth=1)
    axes.set(xlabel="AUC", xlim=(min(0.4, lowest - 0.02), 1.02), ylim=(len(strategies) - 0.5, -0.5))
    axes.set_yticks(range(len(strategies)), [words(name) for name in strategies])
    legend(figure, axes)
    figure.set_label(told("", [(f"{score.label}, {words(score.evaluated_on)}", score.auc) for score in scores]))
    return figure


@styled
def embeddings(audit: Audit) -> Figure:
    """The two main directions of the embeddings, coloured by label and by each attribute."""
    shown = audit.embedding_map
    points = np.array(shown.points)
    panels = {"label": shown.labels, **shown.levels}
    known = {"label": audit.label_names, **_levels(audit)}
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    longest = max(len(set(values)) for values in panels.values())
    figure = Figure(figsize=(WIDTH, (2.2 + 0.17 * min(longest, _NAMED)) * rows + 0.4), layout="constrained")
    for axes, (name, values) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels.items(), strict=False):
        for index, value in enumerate(in_order(values, known.get(name, ()))):
            chosen = np.array([item == value for item in values])
            colour = series(index) if value else MISSING
            axes.scatter(
                *points[chosen].T,
                s=6,
                color=colour,
                marker=level_marker(index),
                label=(value or "missing or left out") if index < _NAMED else None,
                linewidths=0,
                rasterized=True,
            )
        axes.set(title=name, xticks=[], yticks=[])
        axes.legend(markerscale=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0), handletextpad=0.1)
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(f"first direction ({shown.variance[0]:.0%} of the variance)")
    figure.supylabel(f"second direction ({shown.variance[1]:.0%})")
    return figure


def _levels(audit: Audit) -> dict[str, Sequence[str]]:
    """Levels of every attribute in their order."""
    return {finding.attribute: list(finding.levels) for finding in audit.findings}


@styled
def evidence(finding: Finding, audit: Audit) -> Figure:
    """An attribute's tests against their nulls, its head against the clinical head, and the predictions by level."""
    shown = finding.evidence
    if shown is None:
        raise ValueError(f"finding must hold evidence to be drawn, got none for {finding.attribute!r}.")
    tests, aligned = _tests(shown), shown.alignment
    rows, lines = -(-len(tests) // 2), 0.24 * (len(audit.label_names) + len(finding.levels))
    heights = (2.0 * rows, 4.1 + lines)
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=heights)
    top, bottom = halves
    axes: Any = top.subplots(rows, 2, squeeze=False).flat
    for panel in axes[len(tests) :]:
        panel.remove()
    for panel, (title, test) in zip(axes, tests.items(), strict=False):
        panel.hist(test.null, bins=30, color=NULL)
        panel.axvline(test.observed, color=VERDICTS[finding.verdict], linewidth=3)
        panel.set(title=f"{title}\nunadjusted p {p_text(test.p_value)}", yticks=[])
    top.supxlabel("grey: attribute permuted between patients")
    left, right = bottom.subplots(2, 1, height_ratios=[1, 1.4])
    if aligned is None:
        left.set_axis_off()
    else:
        _matrix(left, np.array(aligned.wsc), audit.outputs, tuple(finding.levels))
    _predictions(right, finding, audit)
    return figure


def _tests(shown: Evidence) -> dict[str, Tested]:
    """The tests of an attribute by what they ask."""
    used = {"used? prediction gap": shown.gap.test}
    if shown.differences is not None:
        used = {"used? largest difference": shown.differences.test}
    tests = {} if shown.encoding is None else {"encoded? AUC within labels": shown.encoding.test}
    tests |= used
    if shown.alignment is not None:
        tests["aligned? largest |WSC|"] = shown.alignment.wsc_test
    if shown.erasure is not None:
        tests["erased: probability moved"] = shown.erasure.test
    return tests


def _matrix(axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> None:
    axes.imshow(values, cmap="PuOr_r", vmin=-1, vmax=1, aspect="auto")
    name_ticks(axes, columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title("weight space correlation, as published")
    for (row, column), value in np.ndenumerate(values):
        colour = ON_DARK if abs(value) > 0.6 else ON_LIGHT
        axes.text(column, row, number(value), ha="center", va="center", color=colour, rotation=90 * (len(columns) > 8))


def _predictions(axes: Axes, finding: Finding, audit: Audit) -> None:
    """Mean predicted probability of each class, or mean prediction of a regression, by true label and level."""
    assert finding.evidence is not None
    means = np.array(finding.evidence.gap.means, dtype=np.float64)
    means, said = (means[..., 1:], audit.outputs[1:]) if audit.regression else (means, audit.outputs)
    levels = tuple(finding.levels)
    for level in range(means.shape[1]):
        for predicted in range(means.shape[2]):
            place = np.arange(len(means)) + (predicted - (means.shape[2] - 1) / 2) * 0.8 / means.shape[2]
            colour = series(predicted)
            axes.plot(place, means[:, level, predicted], level_marker(level), color=colour, alpha=0.85, markersize=7)
    for predicted, name in enumerate(said):
        axes.plot([], [], "_", color=series(predicted), markersize=12, label=f"predicted {name}")
    for level, name in enumerate(levels):
        axes.plot([], [], level_marker(level), color=INK, label=name)
    name_ticks(axes, [f"true {name}" for name in audit.label_names[: len(means)]])
    if audit.regression:
        axes.set(ylabel=f"mean prediction {audit.unit}".rstrip())
    else:
        axes.set(ylim=(-0.03, 1.03), ylabel="mean probability")
    axes.set_title("same label, other level: do predictions differ?")
    legend(axes.figure, axes)


def examples(audit: Audit) -> Figure:
    """Example images as the model was given them; the first of each has its label."""
    return pictured([_labelled(example) for example in audit.examples])


def _labelled(example: Example) -> Example:
    named = {
        f"{example.label}: {words(caption)}" if place == 0 else caption: picture
        for place, (caption, picture) in enumerate(example.pictures.items())
    }
    return replace(example, pictures=named)


@styled
def pictured(shown: Sequence[Example], most: int = 3) -> Figure:
    """Pictures with their captions, so many in a line at most; those of an example begin on a new line."""
    columns = min(max(len(example.pictures) for example in shown), most)
    lines = [list(example.pictures.items()) for example in shown]
    lines = [line[at : at + columns] for line in lines for at in range(0, len(line), columns)]
    figure = Figure(figsize=(WIDTH, WIDTH / columns * 1.12 * len(lines)), layout="constrained")
    for row, line in zip(figure.subplots(len(lines), columns, squeeze=False), lines, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, (caption, picture) in zip(row, line, strict=False):
            axes.imshow(imread(BytesIO(base64.b64decode(picture)), format="png"), cmap="gray", vmin=0, vmax=1)
            axes.set_title(fill(words(caption), 60 // columns))
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
