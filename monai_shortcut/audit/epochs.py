# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit's main numbers at one epoch of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import false_discovery_control

from monai_shortcut.analyses.alignment import alignment
from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.audit.evidence import coded_levels
from monai_shortcut.audit.intake import check_attributes, check_rows, taken_in
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.statistics.areas import clustered_auroc, spread_of_chance, with_interval
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Estimate, Unmeasurable


def curve_settings(attributes: int, **changed: Any) -> AuditSettings:
    """Settings cheap enough for every epoch: about a tenth of the draws of a full audit, and folds drawn once.

    Permutations grow with the number of attributes: of B permutations no p-value is below 1 / (B + 1), and adjusted
    over A attributes none below A / (B + 1), which has to be well below the significance.

    Args:
        attributes: number A of attributes.
        **changed: other fields of `AuditSettings`.

    Example:
        >>> curve_settings(2).permutations, curve_settings(20).permutations
        (99, 799)
    """
    return AuditSettings(**{"permutations": max(99, 40 * attributes - 1), "bootstraps": 99, "repeats": 1, **changed})


@dataclass(frozen=True)
class AttributePoint:
    """What was measured for an attribute at one epoch.

    Attributes:
        images: number of images with a known level.
        own_auroc: area under the ROC curve of the probe within labels.
        own_auroc_p_value: adjusted over the attributes of the epoch.
        wsc: largest absolute weight space correlation, as published.
        alignment: largest absolute correlation of the logits within labels.
        alignment_z: standard deviations between it and the mean of its null.
        alignment_p_value: unadjusted.
        gap: prediction gap: the probability that moves with the attribute within labels.
        gap_p_value: adjusted over the attributes of the epoch.
    """

    images: int
    own_auroc: Estimate
    own_auroc_p_value: float
    wsc: float
    alignment: float
    alignment_z: float
    alignment_p_value: float
    gap: Estimate
    gap_p_value: float


@dataclass(frozen=True)
class Cost:
    """Seconds that an audited epoch took.

    Attributes:
        audit: statistics and drawing.
        evaluation: forward passes over the audited images, and what other handlers did meanwhile.
        epoch: since the evaluation of the epoch before had ended, both included; None if there was none.
    """

    audit: float
    evaluation: float
    epoch: float | None

    @property
    def share(self) -> float | None:
        """Share of the audit in the epoch, in [0, 1]."""
        return None if not self.epoch else min(self.audit / self.epoch, 1.0)


@dataclass(frozen=True)
class EpochAudit:
    """The audit's main numbers at one epoch.

    Attributes:
        epoch: epochs trained, from 1.
        images: number of images audited.
        patients: number of their patients.
        auroc: area under the ROC curve of the model's own predictions, mean over classes.
        points: by attribute.
        problems: by attribute, why it could not be measured.
        cost: None until it is known.
    """

    epoch: int
    images: int
    patients: int
    auroc: Estimate
    points: dict[str, AttributePoint]
    problems: dict[str, str]
    cost: Cost | None = None


def audit_epoch(
    epoch: int,
    embeddings: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    labels: ArrayLike,
    patients: Sequence[str],
    attributes: Mapping[str, Sequence[object] | ArrayLike],
    *,
    label_names: Sequence[str],
    kinds: Mapping[str, str] | None = None,
    orders: Mapping[str, Sequence[str]] | None = None,
    settings: AuditSettings | None = None,
) -> EpochAudit:
    """Measure a model at one epoch, as the audit does, without what explains a finding.

    With one seed all epochs have the same folds, permutations and resampled patients, so curves move with the model.

    Args:
        epoch: epochs trained.
        embeddings: (N, D) what the head reads; images whose embedding is not finite are left out.
        weight: (C, D) weights of the clinical head, or (1, D) of a head with a single logit for the second class.
        bias: (C,) its bias.
        labels: (N,) class of each image, integers in [0, C).
        patients: (N,) patient of each image.
        attributes: (N,) values by attribute: numbers with NaN where missing, or strings with None where missing.
        label_names: C names, in the order of the head's rows.
        kinds: "categorical", "ordinal" or "continuous" by attribute, as for `audit`.
        orders: levels of ordinal attributes, low to high.
        settings: by default `curve_settings`.

    Returns:
        The numbers of the epoch, p-values adjusted over the attributes that could be measured.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, or a kind or an
            order is of no attribute.
    """
    chosen = settings or curve_settings(len(attributes))
    check_attributes(attributes, {"kinds": kinds, "orders": orders})
    sample, finite, *_ = taken_in(embeddings, weight, bias, labels, patients, label_names, None, chosen)
    check_rows(attributes, len(finite))
    points: dict[str, AttributePoint] = {}
    problems: dict[str, str] = {}
    for name, values in attributes.items():
        levels = coded_levels(
            name,
            np.asarray(values)[finite],
            sample.patients,
            chosen,
            (kinds or {}).get(name),
            (orders or {}).get(name),
        )
        try:
            points[name] = _measured(sample.by(name, levels), chosen)
        except Unmeasurable as reason:
            problems[name] = str(reason)
    patient_count = int(sample.patients.max()) + 1
    return EpochAudit(epoch, len(sample), patient_count, _own_area(sample), _adjusted(points, chosen), problems)


def _measured(sample: AttributeSample, settings: AuditSettings) -> AttributePoint:
    encoded, gap = encoding(sample), prediction_gap(sample)
    pointing = alignment(sample, settings.variance, settings.min_components)
    return AttributePoint(
        images=len(sample),
        own_auroc=encoded.own_auroc,
        own_auroc_p_value=encoded.test.p_value,
        wsc=pointing.wsc_test.observed,
        alignment=pointing.test.observed,
        alignment_z=pointing.test.z,
        alignment_p_value=pointing.test.p_value,
        gap=gap.effect,
        gap_p_value=gap.test.p_value,
    )


def _adjusted(points: Mapping[str, AttributePoint], settings: AuditSettings) -> dict[str, AttributePoint]:
    if not points:
        return {}
    adjust = false_discovery_control if settings.correction == "fdr" else holm
    encoded = adjust([point.own_auroc_p_value for point in points.values()]).tolist()
    used = adjust([point.gap_p_value for point in points.values()]).tolist()
    return {
        name: replace(point, own_auroc_p_value=encoded[index], gap_p_value=used[index])
        for index, (name, point) in enumerate(points.items())
    }


def _own_area(sample: Sample) -> Estimate:
    """How well the model tells the classes that are present apart."""
    scores = sample.probabilities[:, np.unique(sample.labels)].T
    area = clustered_auroc(scores, sample.strata, np.zeros_like(sample.strata), sample.patients)
    return with_interval(area, sample.draws.confidence, spread_of_chance(sample.strata, sample.patients))
