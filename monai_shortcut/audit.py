# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit: from embeddings, head and metadata to findings."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from monai_shortcut.findings import (
    INCONCLUSIVE,
    Alignment,
    Audit,
    AuditSettings,
    Counterfactual,
    EmbeddingMap,
    Evidence,
    Example,
    Finding,
    judge,
)
from monai_shortcut.levels import Levels, attribute_levels
from monai_shortcut.prediction_gap import prediction_gap
from monai_shortcut.probes import fit_probe, null_probes, probe_encoding
from monai_shortcut.resampling import bootstrap_weights, holm, permutation_p_value
from monai_shortcut.sensitivity import region_sensitivity
from monai_shortcut.weight_space import alignment, alignment_null, principal_components, weight_space_correlation

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
    unseen: int = 0,
    examples: Sequence[Example] = (),
    settings: AuditSettings | None = None,
    title: str = "",
    software: Mapping[str, str] | None = None,
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

    Returns:
        The audit.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, or a
            counterfactual is of no attribute.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis; Sourget et al. (2025), Mask of truth.
    """
    chosen = settings or AuditSettings()
    data = _Data.of(embeddings, weight, bias, labels, patients, label_names, image_ids)
    for columns in (attributes, regions or {}, counterfactuals or {}):
        data.check_rows(columns)
    strangers = sorted(set(counterfactuals or {}) - set(attributes))
    if strangers:
        raise ValueError(f"counterfactuals must be of the attributes {sorted(attributes)}, got {strangers}.")
    left_out = {**(excluded or {}), **dict.fromkeys(data.image_ids[~data.finite].tolist(), "embedding not finite")}
    data, finite = data.rows(data.finite), data.finite
    coded = {
        name: attribute_levels(
            np.asarray(values)[finite],
            data.patients,
            bins=chosen.bins,
            minimum_patients=chosen.minimum_patients,
            maximum_levels=chosen.maximum_levels,
        )
        for name, values in attributes.items()
    }
    measured = {name: _evidence(name, levels, data, chosen) for name, levels in coded.items()}
    measured = _adjusted(measured)
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
        unseen=unseen,
        examples=tuple(examples),
        software=dict(software or {}),
    )


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
    rows, offset = _two_rows(np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64))
    return np.asarray(softmax(np.asarray(embeddings, dtype=np.float64) @ rows.T + offset, axis=1))


def _two_rows(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """A single logit z as the two logits 0 and z, which have the same probabilities."""
    if len(weight) == 1:
        return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    return weight, bias


@dataclass(frozen=True)
class _Data:
    """Checked arrays of the audit, one row per image."""

    embeddings: Floats
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    image_ids: NDArray[np.str_]
    weight: Floats
    bias: Floats

    @classmethod
    def of(
        cls,
        embeddings: ArrayLike,
        weight: ArrayLike,
        bias: ArrayLike,
        labels: ArrayLike,
        patients: Sequence[str],
        label_names: Sequence[str],
        image_ids: Sequence[str] | None,
    ) -> _Data:
        points, head = np.asarray(embeddings, dtype=np.float64), np.asarray(weight, dtype=np.float64)
        offset, label = np.asarray(bias, dtype=np.float64), np.asarray(labels)
        if points.ndim != 2:
            raise ValueError(f"embeddings must have shape (N, D), got {points.shape}.")
        if head.ndim != 2 or head.shape[1] != points.shape[1] or offset.shape != (len(head),):
            expected = f"(C, {points.shape[1]}) and (C,)"
            raise ValueError(f"weight and bias must have shapes {expected}, got {head.shape} and {offset.shape}.")
        head, offset = _two_rows(head, offset)
        if len(label_names) != len(head):
            raise ValueError(f"label_names must hold {len(head)} names to match the head, got {len(label_names)}.")
        ids = np.asarray([str(i) for i in (range(len(points)) if image_ids is None else image_ids)])
        for name, values in (("labels", label), ("patients", patients), ("image_ids", ids)):
            if np.shape(values) != (len(points),):
                raise ValueError(
                    f"{name} must have shape ({len(points)},) to match embeddings, got {np.shape(values)}."
                )
        if len(np.unique(label)) < 2:
            raise ValueError(f"labels must hold at least two classes, got {np.unique(label).tolist()}.")
        if not np.isin(label, np.arange(len(head))).all():
            raise ValueError(f"labels must be in 0 to {len(head) - 1}, got {np.unique(label).tolist()}.")
        data = cls(points, label.astype(np.int64), np.asarray(patients).astype(str), ids, head, offset)
        if not data.finite.any():
            raise ValueError("at least one embedding must be finite, got none: check the model's weights and inputs.")
        return data

    def check_rows(self, columns: Mapping[str, Any]) -> None:
        for name, values in columns.items():
            if np.shape(values)[:1] != self.labels.shape:
                raise ValueError(
                    f"{name} must have one row for each of the {len(self.labels)} embeddings, got {np.shape(values)}."
                )

    @property
    def finite(self) -> NDArray[np.bool_]:
        return np.asarray(np.isfinite(self.embeddings).all(axis=1))

    @property
    def probabilities(self) -> Floats:
        return probabilities(self.embeddings, self.weight, self.bias)

    def rows(self, chosen: NDArray[np.bool_]) -> _Data:
        return replace(
            self,
            embeddings=self.embeddings[chosen],
            labels=self.labels[chosen],
            patients=self.patients[chosen],
            image_ids=self.image_ids[chosen],
        )


def _evidence(name: str, levels: Levels, data: _Data, settings: AuditSettings) -> Evidence | str:
    """The evidence for an attribute, or why there is none."""
    if levels.problem:
        return levels.problem
    known = levels.codes >= 0
    part, codes = data.rows(known), levels.codes[known]
    rng = np.random.default_rng([settings.seed, zlib.crc32(name.encode())])  # other attributes do not change this one
    common: dict[str, Any] = {
        "permutations": settings.permutations,
        "bootstraps": settings.bootstraps,
        "level": settings.level,
    }
    try:
        encoding = probe_encoding(
            part.embeddings, codes, part.patients, part.labels, folds=settings.folds, rng=rng, **common
        )
    except ValueError as error:
        return str(error)
    gap = prediction_gap(part.probabilities, codes, part.labels, part.patients, rng=rng, **common)
    rows = dict(zip(np.unique(part.labels).tolist(), gap.means, strict=True))
    absent = tuple(tuple(None for _ in cell) for cell in gap.means[0])
    gap = replace(gap, means=tuple(rows.get(label, absent) for label in range(len(part.weight))))
    return Evidence(encoding, encoding.p_value, _alignment(part, codes, settings, rng), gap, gap.p_value)


def _alignment(part: _Data, codes: NDArray[np.int64], settings: AuditSettings, rng: np.random.Generator) -> Alignment:
    points, labels, head = part.embeddings, part.labels, part.weight
    subspace: dict[str, Any] = {"variance": settings.variance, "min_components": settings.min_components}
    published = weight_space_correlation(head, fit_probe(points, codes).weight, points, **subspace)
    within = alignment(head, fit_probe(points, codes, labels).weight, points, labels)
    draws = settings.permutations
    permuted = null_probes(points, codes, part.patients, draws, rng, labels)
    wsc_null = np.abs(weight_space_correlation(head, permuted, points, **subspace)).max(axis=(1, 2))
    null = alignment_null(
        head, null_probes(points, codes, part.patients, draws, rng, labels, within=True), points, labels
    )
    strongest = float(np.abs(within).max())
    return Alignment(
        wsc=tuple(map(tuple, published.tolist())),
        wsc_null=tuple(wsc_null.tolist()),
        wsc_p_value=permutation_p_value(float(np.abs(published).max()), wsc_null),
        within=tuple(map(tuple, within.tolist())),
        null=tuple(null.tolist()),
        z=float((strongest - null.mean()) / max(null.std(), 1e-12)),
        p_value=permutation_p_value(strongest, null),
    )


def _adjusted(measured: Mapping[str, Evidence | str]) -> dict[str, Evidence | str]:
    """The evidence with p-values adjusted over the attributes."""
    known = {name: evidence for name, evidence in measured.items() if isinstance(evidence, Evidence)}
    encoding = holm([evidence.encoding.p_value for evidence in known.values()])
    gap = holm([evidence.gap.p_value for evidence in known.values()])
    adjusted = {
        name: replace(evidence, encoding_p_value=float(first), gap_p_value=float(second))
        for (name, evidence), first, second in zip(known.items(), encoding, gap, strict=True)
    }
    return {**measured, **adjusted}


def _counterfactual(changed: Floats, data: _Data, settings: AuditSettings) -> Counterfactual | None:
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
    data: _Data,
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
    )


def _embedding_map(data: _Data, coded: Mapping[str, Levels], label_names: Sequence[str], seed: int) -> EmbeddingMap:
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
