# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit: from embeddings, head and metadata to findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from scipy.stats import false_discovery_control
from threadpoolctl import threadpool_limits

from monai_shortcut.analyses.alignment import head_matrix, label_alignment
from monai_shortcut.analyses.embedding_moves import MaskedEmbeddings
from monai_shortcut.analyses.encoding import recognition, spreads
from monai_shortcut.analyses.joint_alignment import joint_alignment
from monai_shortcut.analyses.region_sensitivity import region_sensitivity
from monai_shortcut.analyses.sample import AttributeSample, Sample, two_rows
from monai_shortcut.audit import embeddings as space
from monai_shortcut.audit.answers import Answers
from monai_shortcut.audit.company import at_equal_levels, in_company, in_slices
from monai_shortcut.audit.discovered import discovered
from monai_shortcut.audit.evidence import (
    FAMILIES,
    attribute_evidence,
    coded_levels,
    giveaways,
    held_equal,
    unadjusted,
)
from monai_shortcut.audit.intake import Taken, answers_taken_in, check_attributes, check_rows, taken_in
from monai_shortcut.audit.measured import intersected, marked, told_by_images
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.power import beyond, least_use, tell_permutations, tell_power
from monai_shortcut.audit.preview import Preview, cores, foreseen_audit
from monai_shortcut.audit.progress import Progress
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    Audit,
    ClinicalLabel,
    Counterfactual,
    EmbeddingMap,
    Evidence,
    Example,
    Finding,
)
from monai_shortcut.audit.regression import NO_AREAS, check_outcome, check_predictions, regarded
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.audit.verdict import Judgement, judge, withheld
from monai_shortcut.cohort.levels import Levels, column_values
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Floats, Outcome, Unmeasurable

_MAPPED = 2000  # images in the picture of the embeddings
_CODES = 2**28  # permuted levels of all attributes that are analysed side by side, a byte each; bounds the memory
_QUESTIONS = 10  # steps of an attribute: its analyses, and the images that give it away
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def probabilities(embeddings: ArrayLike, weight: ArrayLike, bias: ArrayLike) -> Floats:
    """Predicted probabilities (N, C) of a linear head; a single logit gives two classes.

    Args:
        embeddings: (N, D) what the head reads.
        weight: (C, D) or (1, D).
        bias: (C,) or (1,).

    Example:
        >>> probabilities([[0.0]], [[1.0]], [0.0]).tolist()
        [[0.5, 0.5]]
    """
    rows, offset = two_rows(np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64))
    return np.asarray(softmax(np.asarray(embeddings, dtype=np.float64) @ rows.T + offset, axis=1))


def audit(
    embeddings: ArrayLike | None,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    labels: ArrayLike,
    patients: Sequence[str],
    attributes: Mapping[str, Sequence[object] | ArrayLike],
    *,
    label_names: Sequence[str] = (),
    outcome: Outcome | None = None,
    predicted: ArrayLike | None = None,
    kinds: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    image_ids: Sequence[str] | None = None,
    regions: Mapping[str, ArrayLike] | None = None,
    counterfactuals: Mapping[str, ArrayLike] | None = None,
    excluded: Mapping[str, str] | None = None,
    without_roi: Mapping[str, str] | None = None,
    unseen: Sequence[str] = (),
    examples: Sequence[Example] = (),
    settings: AuditSettings | None = None,
    title: str = "",
    software: Mapping[str, str] | None = None,
    attribute_heads: Mapping[str, ArrayLike] | None = None,
    progress: Progress | None = None,
    audits: int = 1,
    masked: MaskedEmbeddings | None = None,
    folds: ArrayLike | None = None,
    measured: Mapping[str, str] | None = None,
) -> Audit:
    """Audit a classifier, or a regression, on images it was not trained on.

    Attributes are analysed side by side, one for each core that BLAS may use, each with a single BLAS thread; what they
    share is computed before. Every number has its own random stream: other attributes and analyses do not move it, the
    number of cores by no more than rounding. Everything is drawn and summed in `canonical_order`, so that neither the
    order of the rows nor the names of patients and images move it.

    Args:
        embeddings: (N, D) what the head reads, float32 or float64; images whose embedding is not finite are excluded
            and counted. Of float32 embeddings, products with permuted attributes are float32 and agree to 1e-5.
        weight: (C, D) weights of the clinical head, or (1, D) of a head with a single logit for the second class.
        bias: (C,) its bias.
        labels: (N,) class of each image, integers in [0, C); of a regression the true outcome in its unit.
        patients: (N,) patient of each image.
        attributes: (N,) values by attribute: numbers with NaN where missing, or strings with None where missing.
        label_names: C names in the order of the head's rows (two names for a single logit); none of a regression.
        outcome: what a regression predicts: the head has one output, in the unit of the outcome.
        predicted: (N, C) predicted probabilities, NaN in all of a row where unknown, if only these are known; of a
            regression (N, 1) predictions:
            embeddings, weight and bias are then None, and what takes them is not computed.
        kinds: "categorical", "ordinal" or "continuous" by attribute; by default numbers of floating point, and whole
            ones of which more than ten are different, are continuous and anything else categorical.
        orders: levels of ordinal attributes, low to high; by default in the order of their numbers.
        image_ids: (N,) names; default "0", "1", and so on.
        regions: (N, C) probabilities by masking strategy, NaN rows where a strategy could not be applied.
        counterfactuals: (N, C) probabilities, or (N, 1) predictions of a regression, by attribute, for the same images
            under another level of it.
        excluded: reason by image_id of images already left out, to be reported.
        without_roi: reason by image_id of images that no masking strategy could be applied to, to be reported.
        unseen: rows of the cohort that are not among the images, to be reported.
        examples: pictures for the report.
        settings: see `AuditSettings`.
        title: what is audited, for the report.
        software: versions by package, for the report.
        attribute_heads: (M, D) weights by attribute, of the heads that a multi-task network was trained with.
        progress: shows a bar and collects the seconds of each analysis; by default a bar on a terminal.
        audits: number of audits, one for each clinical label, over which p-values are adjusted too. Where one of so
            many tests could not be significant with the permutations of the settings, more are drawn.
        masked: embeddings of the same images under masking strategies.
        folds: (N,) fold of each image, for the maps of embeddings.
        measured: in words, what those of the attributes are that are measured from the images themselves.

    Returns:
        The audit.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, a patient is
            unknown, names are repeated or cannot be written, or a counterfactual, a head, a kind or a setting is of no
            attribute or label; if label_names, regions or masked embeddings are given for a regression.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis; Sourget et al. (2025), Mask of truth.
    """
    asked = settings or AuditSettings()
    listed = [name for name in attributes if name not in (measured or {})]
    tests = (len(attributes) + len(asked.pairs(listed))) * audits
    chosen = asked.able(tests)
    tell_permutations(asked.permutations, chosen.permutations, tests)
    heads = dict(attribute_heads or {})
    given = {"counterfactuals": counterfactuals, "attribute_heads": heads, "kinds": kinds, "orders": orders}
    check_attributes(attributes, {"measured": measured, "intersections": dict.fromkeys(chosen.intersected)})
    check_attributes(attributes, given | {"adjust_for": dict.fromkeys(chosen.adjust_for), "edges": chosen.edges})
    check_outcome(outcome, label_names, regions, masked)
    about = labels, patients, label_names, image_ids, chosen, attributes, outcome
    sample, rows, left_out, linked = _taken_in(embeddings, weight, bias, predicted, *about)
    label_names, chosen, regression = regarded(sample, label_names, chosen)
    images = len(np.asarray(labels))
    check_rows({} if folds is None else {"folds": folds}, images)
    if regression:
        check_predictions(counterfactuals or {}, images)
    else:
        for columns in (regions or {}, counterfactuals or {}):
            check_rows(columns, images, sample.classes)
    values = {name: column_values(column)[rows] for name, column in attributes.items()}
    coded = _coded(values, sample, chosen, kinds or {}, orders or {})
    coded, notes = told_by_images(coded, measured or {}, chosen)
    fine = {name: held_equal(coded[name], values[name], sample.patients) for name in coded}
    coded, parts = intersected(coded, sample.patients, chosen, listed)
    with progress or Progress() as bar:
        findings, analysed, spread = _findings(
            sample, coded, fine, counterfactuals or {}, rows, heads, chosen, bar, label_names, audits, parts
        )
        answers = {name: np.asarray(column)[rows] for name, column in (regions or {}).items()}
        with bar.step("regions"):
            areas = NO_AREAS
            if regression is None:
                every = {"full": sample.probabilities, **answers}
                areas = region_sensitivity(
                    sample.labels, every, sample.patients, label_names, confidence=chosen.confidence
                )
        if not (regression.errors.predicts if regression else areas.classifies):
            findings = tuple(map(withheld, findings))
        with bar.step("label"):
            label = _answered(lambda: _clinical_label(sample, chosen, spread))
        with bar.step("all heads"):
            among = chosen.variance, chosen.min_components
            matrix = _answered(lambda: head_matrix(sample, analysed, heads, *among)) if analysed else None
            joint = _answered(lambda: joint_alignment(sample, analysed)) if analysed else None
        with bar.step("discovered groups"):
            groups = discovered(sample, coded, chosen, label_names, audits)
        hidden, fold = masked and masked.among(rows), None if folds is None else np.asarray(folds)[rows]
        with bar.step("embedding moves"):
            moves = space.moved(sample, hidden, label_names)
        with bar.step("embedding maps"):
            maps = _answered(lambda: space.mapped(sample, hidden, coded, label_names, chosen, fold))
    classes, counts = np.unique(sample.labels, return_counts=True)
    return Audit(
        title=title,
        label_names=tuple(label_names),
        labels={label_names[value]: int(count) for value, count in zip(classes, counts, strict=True)},
        patients=int(sample.patients.max()) + 1,
        excluded={**(excluded or {}), **left_out},
        settings=chosen,
        regions=areas,
        findings=marked(findings, measured or {}, parts),
        embedding_map=_embedding_map(sample, coded, label_names),
        without_roi=dict(without_roi or {}),
        unseen=tuple(unseen),
        examples=tuple(examples),
        software=dict(software or {}),
        label=label,
        weight_space=matrix,
        joint=joint,
        linked=linked,
        moves=moves,
        maps=maps,
        discovered=groups,
        notes=notes,
        answers=None if regression else Answers.of(sample, coded, {name: fine[name] for name in chosen.adjust_for}),
        regression=regression,
    )


def preview(
    embeddings: ArrayLike | None,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    labels: ArrayLike,
    patients: Sequence[str],
    attributes: Mapping[str, Sequence[object] | ArrayLike],
    *,
    label_names: Sequence[str] = (),
    outcome: Outcome | None = None,
    predicted: ArrayLike | None = None,
    kinds: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    image_ids: Sequence[str] | None = None,
    settings: AuditSettings | None = None,
    audits: int = 1,
) -> Preview:
    """What an audit of these images would rest on, without it; arguments and errors are those of `audit`."""
    asked = settings or AuditSettings()
    chosen = asked.able((len(attributes) + len(asked.pairs(list(attributes)))) * audits)
    named = {"adjust_for": dict.fromkeys(chosen.adjust_for), "intersections": dict.fromkeys(chosen.intersected)}
    check_attributes(attributes, {**named, "edges": chosen.edges, "kinds": kinds, "orders": orders})
    check_outcome(outcome, label_names)
    about = labels, patients, label_names, image_ids, chosen, attributes, outcome
    sample, rows, *_ = _taken_in(embeddings, weight, bias, predicted, *about)
    label_names, chosen, _ = regarded(sample, label_names, chosen)
    values = {name: column_values(column)[rows] for name, column in attributes.items()}
    coded = _coded(values, sample, chosen, kinds or {}, orders or {})
    coded, parts = intersected(coded, sample.patients, chosen, list(attributes))
    return foreseen_audit(sample, coded, chosen, label_names, audits, parts)


def _taken_in(
    embeddings: ArrayLike | None,
    weight: ArrayLike | None,
    bias: ArrayLike | None,
    predicted: ArrayLike | None,
    *about: Any,
) -> Taken:
    """The images of an audit: by what the head reads, or by their answers alone."""
    if predicted is not None:
        if not embeddings is weight is bias is None:
            raise ValueError("predicted must go without embeddings, weight and bias, which give the answers.")
        return answers_taken_in(predicted, *about)
    if embeddings is None or weight is None or bias is None:
        raise ValueError("embeddings, weight and bias must be given, or predicted in their place, got neither.")
    return taken_in(embeddings, weight, bias, *about)


def _coded(
    values: Mapping[str, NDArray[Any]],
    sample: Sample,
    settings: AuditSettings,
    kinds: Mapping[str, str],
    orders: Mapping[str, Sequence[str]],
) -> dict[str, Levels]:
    """Levels of each attribute."""
    return {
        name: coded_levels(name, column, sample.patients, settings, kinds.get(name), orders.get(name))
        for name, column in values.items()
    }


@dataclass(frozen=True)
class _Measured:
    """An attribute, measured; the evidence is why it could not be, if it is a string."""

    sample: AttributeSample | None
    evidence: Evidence | str
    counterfactual: Counterfactual | None


def _findings(
    sample: Sample,
    coded: Mapping[str, Levels],
    fine: Mapping[str, NDArray[np.int64]],
    counterfactuals: Mapping[str, ArrayLike],
    rows: NDArray[np.int64],
    heads: Mapping[str, ArrayLike],
    settings: AuditSettings,
    progress: Progress,
    label_names: Sequence[str],
    audits: int,
    parts: Mapping[str, tuple[str, ...]],
) -> tuple[tuple[Finding, ...], dict[str, AttributeSample], dict[str, float]]:
    """A finding for each attribute, those that could be analysed and are no pairs, and `spreads` of the label."""
    progress.expect(_QUESTIONS * len(coded) + 8)
    tell_power(least_use(sample, coded, settings, label_names, audits, parts))
    with progress.step("shared factorizations"):
        _answered(lambda: _prepare(sample))
    asked = {name: _by(sample, name, levels, beyond(parts.get(name, ()), coded)) for name, levels in coded.items()}
    with progress.step("draws of the folds"):
        known = {name: one for name, one in asked.items() if isinstance(one, AttributeSample)}
        changing = _answered(lambda: spreads(sample, [None, *known.values()], _side_by_side))
        changing = changing or [{}] * (1 + len(known))
        spread = dict(zip(known, changing[1:], strict=True))

    def measure(name: str) -> _Measured:
        swapped = counterfactuals.get(name)
        changed = None if swapped is None else np.asarray(swapped, dtype=np.float64)[rows]
        moved = None if changed is None else _counterfactual(changed, sample)
        one = asked[name]
        if isinstance(one, str):
            return _Measured(None, one, moved)
        covariates = {other: fine[other] for other in settings.adjust_for if other in fine}
        shared = replace(one)  # what its analyses share is large, and gone with it
        try:
            evidence = attribute_evidence(shared, settings, progress, heads.get(name), covariates, spread.get(name))
        except Unmeasurable as reason:
            return _Measured(None, str(reason), moved)
        return _Measured(one, evidence, moved)

    fitting = max(1, _CODES // (len(sample) * (1 + settings.permutations)))
    found = dict(zip(coded, _side_by_side(measure, coded, fitting), strict=True))
    measured = {name: one.evidence for name, one in found.items() if isinstance(one.evidence, Evidence)}
    analysed = {name: one.sample for name, one in found.items() if one.sample is not None}
    measured = _adjusted(measured, settings, audits)
    # A pair of attributes says nothing of each of the two that goes along with it.
    alone = {name: one for name, one in measured.items() if name not in parts}
    single = {name: levels for name, levels in coded.items() if name not in parts}
    samples = {name: one for name, one in analysed.items() if name not in parts}
    alone = in_company(alone, samples, single, fine, settings)
    alone = at_equal_levels(alone, samples, single, fine, settings, label_names)
    measured |= in_slices(alone, samples, single, settings, label_names)

    def conclude(name: str) -> Finding:
        evidence = measured.get(name)
        reason = str(found[name].evidence) if evidence is None else ""
        with progress.step("giveaways", name):
            others = {other: levels.names for other, levels in coded.items()}
            names = Names(tuple(label_names), coded[name].names, others, sample.unit)
            moved = found[name].counterfactual
            return _finding(name, coded[name], sample, evidence, reason, moved, settings, analysed, names)

    return tuple(map(conclude, coded)), samples, changing[0]


def _by(sample: Sample, name: str, levels: Levels, others: tuple[NDArray[np.int64], ...]) -> AttributeSample | str:
    """The attribute's sample, or why it cannot be analysed."""
    try:
        return replace(sample.by(name, levels), beyond=others)
    except Unmeasurable as reason:
        return str(reason)


def _prepare(sample: Sample) -> None:
    """Compute what all attributes share, before they are analysed side by side."""
    folded, together = sample.folds(), sample.together
    chosen = [(folded, folded.others(index)) for index in range(folded.folds)] + [(together, (0,))]
    _side_by_side(lambda asked: asked[0][0].solver(asked[0][1], asked[1]), product(chosen, (True, False)))
    alone: list[Callable[[], Any]] = [
        lambda: sample.whitened.kept,
        lambda: sample.metric(True),
        lambda: sample.metric(False),
        lambda: (sample.points.axes, sample.kernel.kept),
        lambda: (sample.head, sample.bootstrap, sample.outcome or sample.placements),
    ]
    _side_by_side(lambda compute: compute(), alone)


def _side_by_side(question: Callable[[Asked], Answer], asked: Iterable[Asked], most: int = 2**16) -> list[Answer]:
    """Answers, as many at once as BLAS has threads, each with one: more would only wait for each other.

    Args:
        question: what is asked.
        asked: of what it is asked.
        most: how many at once fit the memory.
    """
    every = list(asked)
    at_once = min(cores(), len(every), most)
    with threadpool_limits(1, user_api="blas"):
        if at_once < 2:
            return [question(one) for one in every]
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(question, every))


def _answered(question: Callable[[], Answer]) -> Answer | None:
    try:
        return question()
    except Unmeasurable:
        return None


def _adjusted(measured: Mapping[str, Evidence], settings: AuditSettings, audits: int) -> dict[str, Evidence]:
    """The evidence with p-values adjusted over the attributes, and over the audits by Bonferroni's inequality."""
    result = dict(measured)
    for family, (analysis, _) in FAMILIES.items():
        found = {name: unadjusted(family, vars(evidence)) for name, evidence in measured.items()}
        known = {name: value for name, value in found.items() if value is not None}
        if not known:
            continue
        rates = false_discovery_control(list(known.values()))
        decisive = rates if settings.correction == "fdr" else holm(list(known.values()))
        for name, value, rate in zip(known, decisive, rates, strict=True):
            changed: dict[str, Any] = {family: min(1.0, float(value) * audits)}
            if family in ("encoding_p_value", "gap_p_value"):
                changed[f"{analysis}_q_value"] = min(1.0, float(rate) * audits)
            result[name] = replace(result[name], **changed)
    return result


def _clinical_label(sample: Sample, settings: AuditSettings, spread: Mapping[str, float]) -> ClinicalLabel:
    """The label as if it were an attribute."""
    found = recognition(sample, spread)
    wsc = label_alignment(sample, settings.variance, settings.min_components)
    return ClinicalLabel(found.metrics, found.auroc, found.spread, wsc)


def _counterfactual(changed: Floats, sample: Sample) -> Counterfactual | None:
    known = np.flatnonzero(np.isfinite(changed).all(axis=1))
    if not len(known):
        return None
    if sample.outcome is None:
        moved = 0.5 * np.abs(changed[known] - sample.probabilities[known]).sum(axis=1)
    else:
        moved = np.abs(changed[known, 0] - sample.outcome.predicted[known])
    return Counterfactual(len(known), sample.mean(moved, known))


def _finding(
    name: str,
    levels: Levels,
    sample: Sample,
    evidence: Evidence | None,
    reason: str,
    counterfactual: Counterfactual | None,
    settings: AuditSettings,
    analysed: Mapping[str, AttributeSample],
    names: Names,
) -> Finding:
    if evidence is None:
        found = Judgement(INCONCLUSIVE, f"Not computed: {reason}.")
    else:
        found = judge(evidence, settings, names)
    return Finding(
        attribute=name,
        verdict=found.verdict,
        reason=found.reason,
        shared_with=found.shared_with,
        levels={level: int((levels.codes == code).sum()) for code, level in enumerate(levels.names)},
        edges=levels.edges,
        missing=levels.missing,
        left_out=dict(levels.left_out),
        patients=len(np.unique(sample.patients[levels.codes >= 0])),
        evidence=evidence,
        counterfactual=counterfactual,
        giveaways=(_answered(lambda: giveaways(analysed[name], settings.giveaways)) or ()) if name in analysed else (),
        kind=levels.kind,
    )


def _embedding_map(sample: Sample, coded: Mapping[str, Levels], label_names: Sequence[str]) -> EmbeddingMap:
    if sample.embeddings is None or not sample.embeddings.vary:
        return EmbeddingMap((), (0.0, 0.0), (), {})
    shown = np.sort(sample.rng("embedding map").permutation(len(sample))[:_MAPPED])
    power, axes = sample.points.axes
    total = max(float(power.sum()), 1e-300)
    power, axes = np.append(power, [0.0, 0.0])[:2], np.pad(axes, ((0, max(2 - len(axes), 0)), (0, 0)))[:2]
    points = (sample.points.source.rows(shown) - sample.points.standardized.centre) @ axes.T
    return EmbeddingMap(
        points=tuple((float(x), float(y)) for x, y in points),
        variance=(float(power[0]) / total, float(power[1]) / total),
        labels=tuple(label_names[label] for label in sample.labels[shown]),
        levels={
            name: tuple(levels.names[code] if code >= 0 else "" for code in levels.codes[shown].tolist())
            for name, levels in coded.items()
        },
    )
