# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is measured for one attribute: the analyses, run on the same images with the same settings."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from monai_shortcut.analyses.encoding import fit_probe, held_out_margins, null_probes, probe_encoding
from monai_shortcut.analyses.erasure import ErasureEffect, erasure_effect
from monai_shortcut.analyses.held_out_levels import HeldOutLevel, leave_level_out
from monai_shortcut.analyses.prediction_gap import PredictionGap, latent_counterfactual, prediction_gap
from monai_shortcut.analyses.subgroups import subgroup_gaps
from monai_shortcut.audit.record import Alignment, AuditSettings, Evidence, Giveaway, GivenOther
from monai_shortcut.cohort.levels import Levels, association, attribute_levels
from monai_shortcut.statistics.resampling import permutation_p_value, standard_score
from monai_shortcut.statistics.subspaces import principal_components
from monai_shortcut.statistics.weight_space import alignment, alignment_null, component_sweep, weight_space_correlation

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


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
class AuditedImages:
    """Checked arrays of an audit, one row per image, and the clinical head.

    Attributes:
        embeddings: (N, D) float64.
        labels: (N,) class of each image.
        patients: (N,) patient of each image.
        image_ids: (N,) names.
        weight: (C, D) of the clinical head, at least two rows.
        bias: (C,).
    """

    embeddings: Floats
    labels: Integers
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
    ) -> AuditedImages:
        """Check what the caller of an audit gave; see `monai_shortcut.audit.assembly.audit`."""
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
        """Refuse columns that do not have a row for each image."""
        for name, values in columns.items():
            if np.shape(values)[:1] != self.labels.shape:
                raise ValueError(
                    f"{name} must have one row for each of the {len(self.labels)} embeddings, got {np.shape(values)}."
                )

    @property
    def finite(self) -> NDArray[np.bool_]:
        """(N,) whether an embedding can be used."""
        return np.asarray(np.isfinite(self.embeddings).all(axis=1))

    @property
    def probabilities(self) -> Floats:
        """(N, C) predicted probabilities."""
        return probabilities(self.embeddings, self.weight, self.bias)

    def rows(self, chosen: NDArray[np.bool_]) -> AuditedImages:
        """The same with some images only."""
        return replace(
            self,
            embeddings=self.embeddings[chosen],
            labels=self.labels[chosen],
            patients=self.patients[chosen],
            image_ids=self.image_ids[chosen],
        )


def coded_levels(name: str, values: ArrayLike, patients: NDArray[Any], settings: AuditSettings) -> Levels:
    """Levels of an attribute, as the settings of an audit cut and check them.

    Args:
        name: of the attribute, which may have edges of its own.
        values: (N,) as for `attribute_levels`.
        patients: (N,) patient of each image.
        settings: of the audit.
    """
    return attribute_levels(
        values,
        patients,
        bins=settings.bins,
        minimum_patients=settings.minimum_patients,
        maximum_levels=settings.maximum_levels,
        edges=settings.edges.get(name, ()),
    )


def attribute_evidence(
    name: str, levels: Levels, data: AuditedImages, settings: AuditSettings, own_head: ArrayLike | None = None
) -> Evidence | str:
    """The evidence for an attribute, or why there is none.

    Args:
        name: of the attribute; seeds its draws, so that other attributes do not change them.
        levels: its levels.
        data: the images.
        settings: of the audit.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.
    """
    if levels.problem:
        return levels.problem
    known = levels.codes >= 0
    part, codes = data.rows(known), levels.codes[known]
    rng = attribute_rng(name, settings)
    common: dict[str, Any] = {
        "permutations": settings.permutations,
        "bootstraps": settings.bootstraps,
        "level": settings.level,
    }
    points, who, labels = part.embeddings, part.patients, part.labels
    try:
        encoding = probe_encoding(
            points, codes, who, labels, folds=settings.folds, repeats=settings.repeats, rng=rng, **common
        )
    except ValueError as error:
        return str(error)
    answers = part.probabilities
    gap = _all_labels(prediction_gap(answers, codes, labels, who, rng=rng, **common), part)
    return Evidence(
        encoding=encoding,
        encoding_p_value=encoding.p_value,
        alignment=_alignment(part, codes, settings, rng, own_head),
        gap=gap,
        gap_p_value=gap.p_value,
        latent=latent_counterfactual(answers, codes, labels, who, permutations=settings.erasures, rng=rng),
        erasure=_erasure(part, codes, settings, rng),
        subgroups=subgroup_gaps(
            answers, codes, labels, who, permutations=settings.permutations, level=settings.level, rng=rng
        ),
        held_out=_held_out(part, codes, settings, rng),
    )


def attribute_rng(name: str, settings: AuditSettings) -> np.random.Generator:
    """The source of an attribute's draws, whatever other attributes there are."""
    return np.random.default_rng([settings.seed, zlib.crc32(name.encode())])


def given_other(
    name: str, levels: Levels, other: str, other_levels: Levels, data: AuditedImages, settings: AuditSettings
) -> GivenOther | None:
    """The gap of an attribute at equal levels of another one that goes along with it; None where that says nothing.

    Args:
        name: of the attribute.
        levels: its levels.
        other: name of the other attribute.
        other_levels: its levels.
        data: the images.
        settings: of the audit.
    """
    known = (levels.codes >= 0) & (other_levels.codes >= 0)
    part, codes, others = data.rows(known), levels.codes[known], other_levels.codes[known]
    strength = association(codes, others, part.labels)
    if strength < settings.associated:
        return None
    try:
        gap = prediction_gap(
            part.probabilities,
            np.unique(codes, return_inverse=True)[1],
            part.labels * len(other_levels.names) + others,
            part.patients,
            permutations=settings.permutations,
            bootstraps=settings.bootstraps,
            level=settings.level,
            rng=attribute_rng(f"{name} given {other}", settings),
        )
    except ValueError:  # at each level of the other there is only one of this: they cannot be told apart
        return GivenOther(other, strength, 0.0, (-1.0, 1.0), 1.0)
    return GivenOther(other, strength, gap.effect, gap.interval, gap.p_value)


def giveaways(name: str, levels: Levels, data: AuditedImages, settings: AuditSettings) -> tuple[Giveaway, ...]:
    """The images that give their level away most, at most one of each patient.

    Args:
        name: of the attribute.
        levels: its levels, analysable.
        data: the images.
        settings: of the audit.
    """
    known = levels.codes >= 0
    part, codes = data.rows(known), levels.codes[known]
    margins = held_out_margins(
        part.embeddings, codes, part.patients, part.labels, folds=settings.folds, rng=attribute_rng(name, settings)
    )
    found: dict[str, Giveaway] = {}
    for index in np.argsort(-margins, kind="stable").tolist():
        patient = str(part.patients[index])
        if len(found) == settings.giveaways or margins[index] <= 0:
            break
        found.setdefault(
            patient, Giveaway(str(part.image_ids[index]), levels.names[codes[index]], float(margins[index]))
        )
    return tuple(found.values())


def _erasure(
    part: AuditedImages, codes: Integers, settings: AuditSettings, rng: np.random.Generator
) -> ErasureEffect | None:
    try:
        return erasure_effect(
            part.embeddings,
            codes,
            part.labels,
            part.patients,
            part.weight,
            part.bias,
            folds=settings.folds,
            draws=settings.erasures,
            bootstraps=settings.bootstraps,
            level=settings.level,
            rng=rng,
        )
    except ValueError:  # too few patients to fit erasers and probes to different ones
        return None


def _held_out(
    part: AuditedImages, codes: Integers, settings: AuditSettings, rng: np.random.Generator
) -> tuple[HeldOutLevel, ...]:
    try:
        return leave_level_out(
            part.embeddings,
            codes,
            part.labels,
            part.patients,
            folds=settings.folds,
            permutations=settings.held_out,
            level=settings.level,
            rng=rng,
        )
    except ValueError:  # too few patients without some level to fit a head
        return ()


def _all_labels(gap: PredictionGap, part: AuditedImages) -> PredictionGap:
    """The gap with a row of means for every class of the head, also those without an image."""
    rows = dict(zip(np.unique(part.labels).tolist(), gap.means, strict=True))
    absent = tuple(tuple(None for _ in cell) for cell in gap.means[0])
    return replace(gap, means=tuple(rows.get(label, absent) for label in range(len(part.weight))))


def _alignment(
    part: AuditedImages,
    codes: Integers,
    settings: AuditSettings,
    rng: np.random.Generator,
    own_head: ArrayLike | None,
) -> Alignment:
    points, labels, head = part.embeddings, part.labels, part.weight
    axes = principal_components(points, settings.variance, settings.min_components)

    def published_cosines(weight: ArrayLike) -> Floats:
        # One decomposition serves them all: cosines within the subspace, as `weight_space_correlation` defines them.
        inside = np.asarray(weight, dtype=np.float64) @ axes.T
        return weight_space_correlation(head @ axes.T, inside, points @ axes.T, variance=None)

    blind, inside = fit_probe(points, codes).weight, fit_probe(points, codes, labels).weight
    published = published_cosines(blind)
    within = alignment(head, inside, points, labels)
    draws = settings.permutations
    permuted = null_probes(points, codes, part.patients, draws, rng, labels)
    wsc_null = np.abs(published_cosines(permuted)).max(axis=(1, 2))
    null = alignment_null(
        head, null_probes(points, codes, part.patients, draws, rng, labels, within=True), points, labels
    )
    strongest = float(np.abs(within).max())
    balanced = fit_probe(points, codes, labels, balanced=True).weight
    return Alignment(
        wsc=_nested(published),
        wsc_null=tuple(wsc_null.tolist()),
        wsc_p_value=permutation_p_value(float(np.abs(published).max()), wsc_null),
        within=_nested(within),
        null=tuple(null.tolist()),
        z=standard_score(strongest, null),
        p_value=permutation_p_value(strongest, null),
        raw=_nested(weight_space_correlation(head, blind, points, variance=None)),
        balanced=_nested(published_cosines(balanced)),
        multi_task=() if own_head is None else _nested(published_cosines(own_head)),
        logits=_nested(alignment(head, blind, points)),
        sweep=component_sweep(head, blind, points),
    )


def _nested(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))
