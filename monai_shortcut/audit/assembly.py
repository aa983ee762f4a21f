# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit: from embeddings, head and metadata to findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from monai_shortcut.analyses.encoding import fit_probe, null_probes, probe_encoding
from monai_shortcut.analyses.region_sensitivity import region_sensitivity
from monai_shortcut.audit.evidence import (
    AuditedImages,
    attribute_evidence,
    attribute_rng,
    coded_levels,
    giveaways,
    given_other,
    probabilities,
)
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    Audit,
    AuditSettings,
    ClinicalLabel,
    Counterfactual,
    EmbeddingMap,
    Evidence,
    Example,
    Finding,
    JointAlignment,
    judge,
)
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.resampling import bootstrap_weights, holm, permutation_p_value
from monai_shortcut.statistics.subspaces import principal_components
from monai_shortcut.statistics.task_space import (
    TaskMatrix,
    joint_alignment,
    joint_alignment_null,
    joint_share,
    task_matrix,
)
from monai_shortcut.statistics.weight_space import weight_space_correlation

__all__ = ["Audit", "AuditSettings", "Finding", "audit", "probabilities"]

Floats = NDArray[np.float64]
_MAPPED = 2000  # images in the picture of the embeddings


def audit(
    embeddings: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    attributes: Mapping[str, Sequence[object] | ArrayLike],
    *,
    label_names: Sequence[str],
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
) -> Audit:
    """Audit a classifier on images it was not trained on.

    Args:
        embeddings: (N, D) what the head reads; images whose embedding is not finite are excluded and counted.
        weight: (C, D) weights of the clinical head, or (1, D) of a head with a single logit for the second class.
        bias: (C,) its bias.
        labels: (N,) class of each image, integers in [0, C).
        patients: (N,) patient of each image.
        attributes: (N,) values by attribute: numbers with NaN where missing are continuous, strings with None where
            missing are categories.
        label_names: C names in the order of the head's rows (two names for a single logit).
        image_ids: (N,) names; default "0", "1", and so on.
        regions: (N, C) probabilities by masking strategy, NaN rows where a strategy could not be applied.
        counterfactuals: (N, C) probabilities, by attribute, for the same images under another level of it.
        excluded: reason by image_id of images already left out, to be reported.
        without_roi: reason by image_id of images that no masking strategy could be applied to, to be reported.
        unseen: rows of the cohort that are not among the images, to be reported.
        examples: pictures for the report.
        settings: see `AuditSettings`.
        title: what is audited, for the report.
        software: versions by package, for the report.
        attribute_heads: (M, D) weights by attribute, of the heads that a multi-task network was trained with.

    Returns:
        The audit.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, or a
            counterfactual or a head is of no attribute.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis; Sourget et al. (2025), Mask of truth.
    """
    chosen = settings or AuditSettings()
    data = AuditedImages.of(embeddings, weight, bias, labels, patients, label_names, image_ids)
    for columns in (attributes, regions or {}, counterfactuals or {}):
        data.check_rows(columns)
    for what, columns in (("counterfactuals", counterfactuals or {}), ("attribute_heads", attribute_heads or {})):
        strangers = sorted(set(columns) - set(attributes))
        if strangers:
            raise ValueError(f"{what} must be of the attributes {sorted(attributes)}, got {strangers}.")
    left_out = {**(excluded or {}), **dict.fromkeys(data.image_ids[~data.finite].tolist(), "embedding not finite")}
    data, finite = data.rows(data.finite), data.finite
    coded = {
        name: coded_levels(name, np.asarray(values)[finite], data.patients, chosen)
        for name, values in attributes.items()
    }
    heads = attribute_heads or {}
    measured = {name: attribute_evidence(name, levels, data, chosen, heads.get(name)) for name, levels in coded.items()}
    measured = _given_others(_adjusted(measured, chosen), coded, data, chosen)
    analysed = {name: coded[name] for name, evidence in measured.items() if isinstance(evidence, Evidence)}
    swapped = {
        name: _counterfactual(np.asarray(values, dtype=np.float64)[finite], data, chosen)
        for name, values in (counterfactuals or {}).items()
    }
    strategies = {name: np.asarray(values)[finite] for name, values in (regions or {}).items()}
    values, counts = np.unique(data.labels, return_counts=True)
    return Audit(
        title=title,
        label_names=tuple(label_names),
        labels={label_names[value]: int(count) for value, count in zip(values, counts, strict=True)},
        patients=len(np.unique(data.patients)),
        excluded=left_out,
        settings=chosen,
        regions=region_sensitivity(
            data.labels, {"full": data.probabilities, **strategies}, data.patients, label_names, level=chosen.level
        ),
        findings=tuple(
            _finding(name, coded[name], measured[name], swapped.get(name), data, chosen) for name in attributes
        ),
        embedding_map=_embedding_map(data, coded, label_names, chosen.seed),
        without_roi=dict(without_roi or {}),
        unseen=tuple(unseen),
        examples=tuple(examples),
        software=dict(software or {}),
        label=_clinical_label(data, chosen),
        weight_space=_all_heads(analysed, data, heads, chosen) if analysed else None,
        joint=_joint(analysed, data, chosen) if analysed else None,
    )


def _adjusted(measured: Mapping[str, Evidence | str], settings: AuditSettings) -> dict[str, Evidence | str]:
    """The evidence with p-values adjusted over the attributes."""
    known = {name: evidence for name, evidence in measured.items() if isinstance(evidence, Evidence)}
    if not known:
        return dict(measured)
    families = [[e.encoding.p_value for e in known.values()], [e.gap.p_value for e in known.values()]]
    rates = [false_discovery_control(family) for family in families]
    decisive = rates if settings.correction == "fdr" else [holm(family) for family in families]
    adjusted = {
        name: replace(
            evidence,
            encoding_p_value=float(decisive[0][index]),
            gap_p_value=float(decisive[1][index]),
            encoding_q_value=float(rates[0][index]),
            gap_q_value=float(rates[1][index]),
        )
        for index, (name, evidence) in enumerate(known.items())
    }
    return {**measured, **adjusted}


def _given_others(
    measured: Mapping[str, Evidence | str], coded: Mapping[str, Levels], data: AuditedImages, settings: AuditSettings
) -> dict[str, Evidence | str]:
    """The evidence with gaps at equal levels of one another, among the attributes whose gaps are significant."""
    differ = [
        name for name, e in measured.items() if isinstance(e, Evidence) and e.gap_p_value <= settings.significance
    ]
    given = {
        (name, other): given_other(name, coded[name], other, coded[other], data, settings)
        for name, other in permutations(differ, 2)
    }
    result = dict(measured)
    for name in differ:
        pairs = [(found, given[other, name]) for (own, other), found in given.items() if own == name]
        told = [replace(own, other_p_value=back.p_value) for own, back in pairs if own is not None and back is not None]
        evidence = measured[name]
        assert isinstance(evidence, Evidence)
        result[name] = replace(evidence, given=tuple(told))
    return result


def _all_heads(
    coded: Mapping[str, Levels], data: AuditedImages, own_heads: Mapping[str, ArrayLike], settings: AuditSettings
) -> TaskMatrix:
    """The clinical head, the probe of each analysed attribute and the heads that the network was trained with."""
    rows: dict[str, ArrayLike] = {"label": data.weight}
    for name, levels in coded.items():
        known = levels.codes >= 0
        rows[f"{name} (probe)"] = fit_probe(data.rows(known).embeddings, levels.codes[known]).weight
    rows |= {f"{name} (own head)": own_heads[name] for name in coded if name in own_heads}
    return task_matrix(rows, data.embeddings, settings.variance, settings.min_components)


def _joint(coded: Mapping[str, Levels], data: AuditedImages, settings: AuditSettings) -> JointAlignment | None:
    """The clinical head against all analysed attributes, on images with every one of them known."""
    known = np.all([levels.codes >= 0 for levels in coded.values()], axis=0)
    part, probes, null = data.rows(known), [], []
    points, labels = part.embeddings, part.labels
    for levels in coded.values():
        codes = np.unique(levels.codes[known], return_inverse=True)[1]
        # Generators of one seed permute the attributes together, which keeps what they have in common.
        rng = attribute_rng("joint", settings)
        try:
            probes.append(fit_probe(points, codes, labels).weight)
            null.append(null_probes(points, codes, part.patients, settings.erasures, rng, labels, within=True))
        except ValueError:  # too few images have every attribute
            return None
    found = joint_alignment(part.weight, probes, points, labels)
    draws = joint_alignment_null(part.weight, null, points, labels)
    share = joint_share(part.weight, probes, points, labels)
    return JointAlignment(tuple(coded), found, tuple(draws.tolist()), permutation_p_value(found[0], draws), share)


def _clinical_label(data: AuditedImages, settings: AuditSettings) -> ClinicalLabel | None:
    """The label as if it were an attribute."""
    codes = np.unique(data.labels, return_inverse=True)[1]
    try:
        found = probe_encoding(
            data.embeddings,
            codes,
            data.patients,
            np.zeros_like(codes),
            folds=settings.folds,
            repeats=settings.repeats,
            permutations=1,
            bootstraps=settings.bootstraps,
            level=settings.level,
            rng=attribute_rng("label", settings),
        )
    except ValueError:  # a class with a single image, or fewer patients than folds
        return None
    probe = fit_probe(data.embeddings, codes).weight
    wsc = weight_space_correlation(data.weight, probe, data.embeddings, settings.variance, settings.min_components)
    spread = {name: value for name, value in found.spread.items() if name != "own_auroc"}
    return ClinicalLabel(found.metrics, found.auroc, spread, tuple(map(tuple, wsc.tolist())))


def _counterfactual(changed: Floats, data: AuditedImages, settings: AuditSettings) -> Counterfactual | None:
    known = np.isfinite(changed).all(axis=1)
    if not known.any():
        return None
    moved = 0.5 * np.abs(changed[known] - data.probabilities[known]).sum(axis=1)
    rng = np.random.default_rng(settings.seed)
    weights = bootstrap_weights(data.patients[known], settings.bootstraps, rng)
    tail = (1 - settings.level) / 2
    low, high = np.quantile(weights @ moved / weights.sum(axis=1), [tail, 1 - tail])
    return Counterfactual(int(known.sum()), float(moved.mean()), (float(low), float(high)))


def _finding(
    name: str,
    levels: Levels,
    evidence: Evidence | str,
    counterfactual: Counterfactual | None,
    data: AuditedImages,
    settings: AuditSettings,
) -> Finding:
    if isinstance(evidence, str):
        verdict, reason = INCONCLUSIVE, f"It could not be analysed: {evidence}."
    else:
        verdict, reason = judge(evidence, settings)
    return Finding(
        attribute=name,
        verdict=verdict,
        reason=reason,
        levels={level: int((levels.codes == code).sum()) for code, level in enumerate(levels.names)},
        edges=levels.edges,
        missing=levels.missing,
        left_out=dict(levels.left_out),
        patients=len(np.unique(data.patients[levels.codes >= 0])),
        evidence=None if isinstance(evidence, str) else evidence,
        counterfactual=counterfactual,
        giveaways=() if isinstance(evidence, str) else giveaways(name, levels, data, settings),
    )


def _embedding_map(
    data: AuditedImages, coded: Mapping[str, Levels], label_names: Sequence[str], seed: int
) -> EmbeddingMap:
    count = len(data.labels)
    shown = np.sort(np.random.default_rng(seed).permutation(count)[:_MAPPED])
    centred = data.embeddings - data.embeddings.mean(axis=0)
    axes = principal_components(data.embeddings, 1.0, 2)[:2]
    axes = np.concatenate([axes, np.zeros((2 - len(axes), axes.shape[1]))])  # embeddings of a single direction
    share = ((centred @ axes.T) ** 2).sum(axis=0) / max(float((centred**2).sum()), 1e-300)
    return EmbeddingMap(
        points=tuple((float(x), float(y)) for x, y in centred[shown] @ axes.T),
        variance=(float(share[0]), float(share[1])),
        labels=tuple(label_names[label] for label in data.labels[shown]),
        levels={
            name: tuple(levels.names[code] if code >= 0 else "" for code in levels.codes[shown].tolist())
            for name, levels in coded.items()
        },
    )
