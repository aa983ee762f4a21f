# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is an attribute encoded in the embedding? Linear and non-linear probes, cross-validated by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.statistics.areas import (
    clustered_auroc,
    clustered_concordance,
    concordance,
    confusion_metrics,
    spread_of_chance,
    stratified_auroc,
    with_interval,
)
from monai_shortcut.statistics.codings import Codings
from monai_shortcut.statistics.discriminant import Folded, Totals
from monai_shortcut.statistics.variation import vary
from monai_shortcut.statistics.whitened import Sums, Whitened
from monai_shortcut.types import Estimate, Floats, Integers, Tested, Unmeasurable

_SCORES = 2**24  # scores computed at once; bounds the memory
_FEWEST_PATIENTS = 10  # with a label and a level, for the label's own probe to rank the level


@dataclass(frozen=True)
class Encoding:
    """How well an attribute can be read off the embedding, on patients the probe has not seen.

    Areas are means over levels, one against the rest. Of an ordered attribute they are the probability that, of two
    images of different level, the higher one has the higher score.

    Attributes:
        metrics: accuracy, macro precision, recall and F1 of the probe.
        auroc: area under the ROC curve; the label plays no part.
        own_auroc: area among images of one label, by a probe fitted within labels: what the embedding knows of the
            attribute beyond the label.
        test: own_auroc under permutation between patients: control tasks in which the attribute means nothing.
        spread: standard deviation over repeated draws of the folds, of each metric, "auroc" and "own_auroc"; empty
            when the folds were drawn once.
        by_label: area among the images of each class of the head, by a probe fitted to that class alone: it finds
            traces that differ between labels or cancel. None where fewer than two levels have ten patients with the
            label, or its embeddings do not vary. Empty where it was not computed.
        nonlinear: area among images of one label, by a non-linear reader of the leading principal components; None
            where it was not computed.
        anywhere: the largest of own_auroc, by_label and nonlinear, each as deviation from its mean in standard
            deviations, both over observed and permuted values; tested by the permutations of `test`. None where it was
            not computed.
    """

    metrics: dict[str, Estimate]
    auroc: Estimate
    own_auroc: Estimate
    test: Tested
    spread: dict[str, float] = field(default_factory=dict)
    by_label: tuple[Estimate | None, ...] = ()
    nonlinear: Estimate | None = None
    anywhere: Tested | None = None

    @property
    def selectivity(self) -> float:
        """Own AUROC above the mean of the control tasks (Hewitt and Liang 2019)."""
        return self.own_auroc.value - sum(self.test.null) / len(self.test.null)


@dataclass(frozen=True)
class Recognition:
    """How well a probe without regard to labels tells levels apart; the fields are those of `Encoding`."""

    metrics: dict[str, Estimate]
    auroc: Estimate
    spread: dict[str, float] = field(default_factory=dict)


def encoding(sample: AttributeSample, spread: Mapping[str, float] | None = None) -> Encoding:
    """Measure how well an attribute can be read off the embedding.

    Each image is scored by a probe that has seen no image of its patient. The permuted copies of the attribute go
    through the same folds and factorizations.

    The probe of one label takes the means of levels from the images of that label and the covariance from all images.
    The non-linear reader is the same discriminant on 128 random features of the ten leading principal components, whose
    inner products approximate a Gaussian kernel. Both rank images of the same label and fold only.

    Args:
        sample: the images and the attribute.
        spread: its `spreads`, where they are known already.

    Returns:
        The areas and metrics with their limits and null draws.

    Raises:
        Unmeasurable: If there are no embeddings, or fewer patients than folds.

    References:
        Hewitt and Liang (2019), EMNLP; the limits are DeLong's by patient, and no narrower than the null's spread.
        Rahimi and Recht (2007), NeurIPS 20 (random features); Westfall and Young (1993), Resampling-Based Multiple
        Testing (the largest of several statistics).
    """
    folded = sample.images.folds()
    null = [_areas(folded, totals, sample) for totals in sample.in_blocks()]
    draws = np.concatenate(null)
    own = folded.held_out(sample.observed, within=True)[0]
    # DeLong's error takes the probe as given; the scatter under permutation also holds what refitting it adds.
    scatter = 2 * float(draws[1:].std())
    found = _recognized(sample.images, sample.observed)
    by_label = _by_label(sample)
    nonlinear = _read(sample, sample.images.kernel, slice(None), range(sample.count))
    every = [draws, nonlinear[1], *(each[1] for each in by_label if each)]
    return Encoding(
        metrics=found.metrics,
        auroc=found.auroc,
        own_auroc=_limits(own, sample.observed, sample.strata, sample.patients, scatter, sample.draws.confidence),
        test=Tested.of(draws),
        spread=dict(spreads(sample.images, [sample])[0] if spread is None else spread),
        by_label=tuple(each and each[0] for each in by_label),
        nonlinear=nonlinear[0],
        anywhere=_largest(np.stack(every)),
    )


def spreads(
    images: Sample, asked: Sequence[AttributeSample | None], each: Callable[..., Iterable[Any]] = map
) -> list[dict[str, float]]:
    """Standard deviations over repeated draws of the folds, of which one at a time is in memory.

    Args:
        images: the sample.
        asked: attributes of it; None is the label.
        each: gives what a function says of each attribute, as `map` does; it may ask about several at once.

    Returns:
        For each of them, that of each metric, "auroc" and, of an attribute, "own_auroc", with N - 1 in the denominator;
        empty when the folds are drawn once, or of a label with a class of a single image.

    Raises:
        Unmeasurable: If there are no embeddings, or fewer patients than folds.
    """
    small = bool(np.bincount(images.strata).min() < 2)
    measured = [index for index, attribute in enumerate(asked) if not (attribute is None and small)]
    found: list[dict[str, float]] = [{} for _ in asked]
    if images.draws.repeats > 1 and measured:
        chosen = [asked[index] for index in measured]
        draws = [_redrawn(images, draw, chosen, each) for draw in range(images.draws.repeats)]
        for place, index in enumerate(measured):
            own = [values[place] for values in draws]
            found[index] = {name: float(np.std([values[name] for values in own], ddof=1)) for name in own[0]}
    return found


def recognition(images: Sample, spread: Mapping[str, float] | None = None) -> Recognition:
    """How well the label itself can be read off the embedding, as a row to compare attributes with.

    Args:
        images: the sample.
        spread: the label's `spreads`, where they are known already.

    Raises:
        Unmeasurable: If there are no embeddings, fewer patients than folds, or a class with a single image.
    """
    if np.bincount(images.strata).min() < 2:
        raise Unmeasurable("each class must have at least two images")
    found = _recognized(images, _label(images))
    return replace(found, spread=dict(spreads(images, [None])[0] if spread is None else spread))


def held_out_margins(sample: AttributeSample) -> Floats:
    """Margin by which a held-out probe recognizes each image's level, within its label.

    Args:
        sample: the images and the attribute.

    Returns:
        (n,) float64: logit of the image's own level above the best other one, logits of a fold centred within labels.
        Negative where the probe is wrong.

    Raises:
        Unmeasurable: As `encoding`.
    """
    folded = sample.images.folds()
    codings = Codings(sample.rows, sample.codes[None], sample.count)
    logits = folded.held_out(codings, within=True)[0].astype(np.float64)
    fold = folded.fold[sample.rows]
    # Logits of other labels or folds have other offsets.
    for cell in np.unique(np.stack([fold, sample.strata]), axis=1).T:
        inside = (fold == cell[0]) & (sample.strata == cell[1])
        finite = np.isfinite(logits[:, inside]).all(axis=1)
        logits[np.ix_(finite, inside)] -= logits[np.ix_(finite, inside)].mean(axis=1, keepdims=True)
    own = logits[sample.codes, np.arange(len(sample))]
    logits[sample.codes, np.arange(len(sample))] = -np.inf
    return np.asarray(own - logits.max(axis=0))


def _areas(folded: Folded, totals: Totals, sample: AttributeSample) -> Floats:
    """(B,) areas within labels on held-out patients, of a score a level or one along which they ascend."""
    size, areas = max(1, _SCORES // (sample.count * len(sample))), []
    for start in range(0, len(totals.codings.codes), size):
        part = totals.block(slice(start, start + size))
        order, scores = folded.by_fold(part, within=True, ranked=True)
        codes, strata = part.codings.codes.take(order, axis=1), sample.strata[order]
        if sample.ordered:
            areas.append(concordance(scores[:, 0], codes, strata))
        else:
            areas.append(stratified_auroc(scores, codes, strata))
    return np.concatenate(areas)


def _by_label(sample: AttributeSample) -> list[tuple[Estimate, Floats] | None]:
    """Area of the probe of each label and its draws, None where few patients have two levels or embeddings are one."""
    reader, classes = sample.images.whitened, range(sample.images.classes)
    every = [np.flatnonzero(sample.labels == label) for label in classes]
    found: list[tuple[Estimate, Floats] | None] = [None] * len(every)
    rest = None if sample.kept is None else Sums.of_totals(sample.kept)
    # The largest label comes last: its sums are what the others leave of those of all images.
    for turn, label in enumerate(sorted(classes, key=lambda label: len(every[label])), start=1):
        own, sums = every[label], rest
        if rest is not None and turn < len(every) and len(own):
            sums = Sums.of(reader.folded, sample.codings(), own)
            rest.remove(sums)
        people = [len(np.unique(sample.patients[own[sample.codes[own] == level]])) for level in range(sample.count)]
        levels = np.flatnonzero(np.array(people) >= _FEWEST_PATIENTS).tolist()
        if len(levels) > 1 and vary(sample.images.points.source, sample.rows[own]):
            found[label] = _read(sample, reader, own, levels, sums)
    return found


def _read(
    sample: AttributeSample, reader: Whitened, own: Integers | slice, levels: Sequence[int], sums: Sums | None = None
) -> tuple[Estimate, Floats]:
    """Area with its limits, and the areas (1 + B,) of the attribute as observed and permuted.

    Args:
        sample: the images and the attribute.
        reader: what scores them.
        own: (n,) which of the images it is fitted to and ranks.
        levels: at least two levels, each ranked against all others; of two the second alone, as they mirror each other.
        sums: of these images, where they are known.
    """
    ranked = levels[1:] if len(levels) == 2 else levels
    areas, single = reader.areas(sample.codings(), ranked, sums, own)
    scores, codes, rows = single.astype(np.float64), sample.permuted[:1, own], sample.rows[own]
    if not sample.ordered:
        place = np.full(sample.count, len(levels) if len(levels) > 2 else 0)
        place[levels] = np.arange(len(levels))
        scores, codes = scores[levels], place[codes]
    fold, strata = reader.folded.fold[rows], sample.strata[own]
    observed = Codings(rows, codes, sample.count, sample.ordered)
    cells, spread = fold * (strata.max() + 1) + strata, 2 * float(areas[1:].std())
    return _limits(scores, observed, cells, sample.patients[own], spread, sample.draws.confidence), areas


def _largest(areas: Floats) -> Tested:
    """The largest of several areas (A, 1 + B) in standard deviations; observed and permuted values count alike."""
    apart = areas - areas.mean(axis=1, keepdims=True)
    largest = (apart / np.maximum(areas.std(axis=1, keepdims=True), 1e-12)).max(axis=0)
    return Tested.of(largest)


def _limits(
    scores: Floats, codings: Codings, strata: Integers, patients: Integers, spread: float, confidence: float
) -> Estimate:
    area = clustered_concordance if codings.ordered else clustered_auroc
    return with_interval(area(scores, codings.codes[0], strata, patients), confidence, spread)


def _label(images: Sample) -> Codings:
    """The label as if it were an attribute."""
    return Codings(np.arange(len(images)), images.strata[None], int(images.strata.max()) + 1)


def _recognized(images: Sample, codings: Codings) -> Recognition:
    scores, said = _told_apart(images.folds().totals(codings))
    levels, code = codings.levels, codings.codes[0].astype(np.int64)
    cell, ones = code * levels + said, np.ones((len(code), 1))
    resampled = images.resampled(ones, codings.rows, cell, levels**2)
    counts = np.concatenate([np.bincount(cell, minlength=levels**2)[None], resampled[..., 0]])
    metrics = confusion_metrics(counts.reshape(-1, levels, levels), images.draws.confidence)
    patients, alike = images.patients[codings.rows], np.zeros(len(codings.rows), dtype=np.int64)
    # Permutations within labels say nothing of a probe without regard to them.
    scatter = spread_of_chance(codings.codes[0], patients)
    return Recognition(metrics, _limits(scores, codings, alike, patients, scatter, images.draws.confidence))


def _told_apart(totals: Totals) -> tuple[Floats, Integers]:
    """Scores of the probe without regard to labels, and the levels it says."""
    folded, codings = totals.folded, totals.codings
    scores = folded.held_out(totals, within=False)[0]
    if not codings.ordered:
        return scores, scores.argmax(axis=0)
    levels = Codings(codings.rows, codings.codes, codings.levels)
    return scores, folded.held_out(levels, within=False)[0].argmax(axis=0)


def _redrawn(
    images: Sample, draw: int, asked: Sequence[AttributeSample | None], each: Callable[..., Iterable[Any]]
) -> list[dict[str, float]]:
    """Metrics and areas of attributes or the label in one draw of the folds."""
    folded = images.folds(draw)
    shared = product(map(folded.others, range(folded.folds)), (True, False))
    list(each(lambda key: folded.solver(*key), shared))

    def values(attribute: AttributeSample | None) -> dict[str, float]:
        totals = folded.totals(_label(images) if attribute is None else attribute.observed)
        own = {} if attribute is None else {"own_auroc": float(_areas(folded, totals, attribute)[0])}
        return _told(totals) | own

    return list(each(values, asked))


def _told(totals: Totals) -> dict[str, float]:
    """Metrics and area of the probe without regard to labels."""
    scores, said = _told_apart(totals)
    codings = totals.codings
    levels, code = codings.levels, codings.codes[0].astype(np.int64)
    counts = np.bincount(code * levels + said, minlength=levels**2).reshape(1, levels, levels).astype(float)
    metrics = {name: metric.value for name, metric in confusion_metrics(counts, 0.95).items()}
    alike = np.zeros(len(code), dtype=np.int64)
    area = (
        concordance(scores[:1], codings.codes, alike)
        if codings.ordered
        else stratified_auroc(scores[None], codings.codes, alike)
    )
    return {**metrics, "auroc": float(area[0])}
