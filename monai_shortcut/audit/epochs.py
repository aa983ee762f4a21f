# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit's main numbers at one epoch of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from monai_shortcut.analyses.alignment import Alignment
from monai_shortcut.analyses.differences import ODDS, Difference, Differences
from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.audit.company import certain_in_slices, is_used, rows_at_equal_levels
from monai_shortcut.audit.evidence import coded_levels, held_equal, questions
from monai_shortcut.audit.intake import check_attributes, check_rows, taken_in
from monai_shortcut.audit.leading import at_equal_levels, leading, least_noticed, size, where
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.audit.verdict import said_first, without_use
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.areas import clustered_auroc, spread_of_chance, with_interval
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Estimate, Unmeasurable


def curve_settings(attributes: int, **changed: Any) -> AuditSettings:
    """Settings cheap enough for every epoch: about a tenth of the draws of a full audit, and folds drawn once.

    Permutations grow with the number of attributes: of B permutations no p-value is below 1 / (B + 1), and adjusted
    over A attributes none below A / (B + 1). By default that is half of the significance; it is never above it.

    Args:
        attributes: number A of attributes.
        **changed: other fields of `AuditSettings`.

    Example:
        >>> curve_settings(2).permutations, curve_settings(20).permutations
        (99, 799)
    """
    few = {"permutations": max(99, 40 * attributes - 1), "bootstraps": 99, "repeats": 1}
    return AuditSettings(**{**few, **changed}).able(attributes)


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
        used: whether the largest difference of the answers is significant, and some difference certain to exceed its
            tolerance, as for the audit's verdict.
        difference: the leading one in probability, decision or rank, over all images. None where answers could not be
            compared, and in records before version 3.
        where: its scale, label and levels, "decision, malignant: B against A".
        p_value: of the largest difference of all, adjusted over the attributes of the epoch.
        cleared: whether every difference of cells with enough patients lies below its tolerance, also at equal levels
            of other attributes, and nothing speaks for a use that means do not show.
        reason: what is used, cleared or open, in words.
        noticed: smallest use in probability, by label, that four of five such cohorts would show.
        gap: the prediction gap, a mean over labels, by which records before version 3 judge. None in newer ones.
    """

    images: int
    own_auroc: Estimate
    own_auroc_p_value: float
    wsc: float
    alignment: float
    alignment_z: float
    alignment_p_value: float
    used: bool
    difference: Difference | None = None
    where: str = ""
    p_value: float | None = None
    cleared: bool = False
    reason: str = ""
    noticed: dict[str, float] = field(default_factory=dict)
    gap: Estimate | None = None

    @property
    def moved(self) -> Estimate | None:
        """Size of the leading difference, in [0, 1]; in records before version 3 the prediction gap."""
        return self.gap if self.difference is None else size(self.difference)


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
        settings: by default `curve_settings`. Where one of so many attributes could not be significant with their
            permutations, more are drawn.

    Returns:
        The numbers of the epoch, p-values adjusted over the attributes that could be measured.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, no embedding is finite, or a kind, an
            order or an attribute to adjust for is of no attribute.
    """
    chosen = (settings or curve_settings(len(attributes))).able(len(attributes))
    check_attributes(attributes, {"kinds": kinds, "orders": orders, "adjust_for": dict.fromkeys(chosen.adjust_for)})
    sample, rows, *_ = taken_in(embeddings, weight, bias, labels, patients, label_names, None, chosen)
    check_rows(attributes, len(np.asarray(labels)))
    values = {name: np.asarray(column)[rows] for name, column in attributes.items()}
    coded = {
        name: coded_levels(name, column, sample.patients, chosen, (kinds or {}).get(name), (orders or {}).get(name))
        for name, column in values.items()
    }
    fine = {name: held_equal(coded[name], column, sample.patients) for name, column in values.items()}
    samples: dict[str, AttributeSample] = {}
    measured: dict[str, _Measured] = {}
    problems: dict[str, str] = {}
    for name, levels in coded.items():
        try:
            one = sample.by(name, levels)
            measured[name] = _measured(replace(one), chosen, fine)  # what its analyses share is large
        except Unmeasurable as reason:
            problems[name] = str(reason)
        else:
            samples[name] = one
    points = _Epoch(samples, measured, coded, fine, chosen, tuple(label_names)).points()
    return EpochAudit(epoch, len(sample), int(sample.patients.max()) + 1, _own_area(sample), points, problems)


@dataclass(frozen=True)
class _Measured:
    """Answers for one attribute; the differences are why there are none, if they are a string."""

    encoding: Encoding
    alignment: Alignment
    differences: Differences | str


def _measured(sample: AttributeSample, settings: AuditSettings, fine: Mapping[str, NDArray[np.int64]]) -> _Measured:
    asked = questions(settings, covariates={name: fine[name] for name in settings.adjust_for})
    encoding, alignment = asked["encoding"](sample), asked["alignment"](sample)
    try:
        return _Measured(encoding, alignment, asked["differences"](sample))
    except Unmeasurable as reason:
        return _Measured(encoding, alignment, str(reason))


@dataclass(frozen=True)
class _Epoch:
    """All attributes of an epoch, measured.

    Attributes:
        samples: their samples.
        measured: their answers.
        coded: levels of all attributes, over all images.
        fine: (N,) the same as others are held equal by them: numbers in narrow bins, -1 where unknown.
        settings: settings of the audit.
        label_names: names of the classes.
    """

    samples: Mapping[str, AttributeSample]
    measured: Mapping[str, _Measured]
    coded: Mapping[str, Levels]
    fine: Mapping[str, NDArray[np.int64]]
    settings: AuditSettings
    label_names: tuple[str, ...]

    def points(self) -> dict[str, AttributePoint]:
        """The points by attribute."""
        compared = {
            name: one.differences for name, one in self.measured.items() if isinstance(one.differences, Differences)
        }
        encoded = self._adjusted({name: one.encoding.test.p_value for name, one in self.measured.items()})
        differs = self._adjusted({name: found.test.p_value for name, found in compared.items()})
        scatters = self._adjusted({name: found.spread.p_value for name, found in compared.items() if found.spread})
        used = {
            name for name, found in compared.items() if is_used(found, differs[name], self.settings, self.label_names)
        }
        points: dict[str, AttributePoint] = {}
        for name, one in self.measured.items():
            point = _described(one, encoded[name], len(self.samples[name]))
            if name in compared:
                cleared, reason = self._concluded(name, compared[name], scatters.get(name), used)
                point = replace(point, used=name in used, p_value=differs[name], cleared=cleared, reason=reason)
                point = self._shown(point, compared[name], self._names(name))
            points[name] = point
        return points

    def _adjusted(self, p_values: Mapping[str, float]) -> dict[str, float]:
        """The same, adjusted over the attributes."""
        if not p_values:
            return {}
        adjust = false_discovery_control if self.settings.correction == "fdr" else holm
        return dict(zip(p_values, np.asarray(adjust(list(p_values.values()))).tolist(), strict=True))

    def _names(self, name: str) -> Names:
        others = {other: levels.names for other, levels in self.coded.items()}
        return Names(self.label_names, self.coded[name].names, others)

    def _concluded(self, name: str, found: Differences, scatter: float | None, used: set[str]) -> tuple[bool, str]:
        """Whether an attribute is cleared, and the reason."""
        names = self._names(name)
        if name in used:
            return False, f"{said_first(found.rows, self.settings, names)}."
        tests = len(self.measured)
        part = certain_in_slices(self.samples[name], self.coded, tests, self.settings, self.label_names)
        if part:
            said = "answers do not differ with it over all images, but do in part of them"
            return False, f"{said}: {said_first(part, self.settings, names)}."
        equal = rows_at_equal_levels(name, used, self.samples, self.coded, self.fine, self.settings)
        rows = at_equal_levels(found.rows, equal, self.settings)
        return without_use(found, scatter, rows, self.settings, names)

    def _shown(self, point: AttributePoint, found: Differences, names: Names) -> AttributePoint:
        """The point with its leading difference, other than of odds, which have no limit."""
        row = leading([row for row in found.rows if row.scale != ODDS], self.settings, names)
        assert row is not None  # a pair of levels that is compared is compared in probability
        noticed = least_noticed(found, self.settings, names)
        return replace(point, difference=row, where=where(row, names), noticed=noticed)


def _described(one: _Measured, own_auroc_p_value: float, images: int) -> AttributePoint:
    """A point of an attribute whose answers could not be compared."""
    return AttributePoint(
        images=images,
        own_auroc=one.encoding.own_auroc,
        own_auroc_p_value=own_auroc_p_value,
        wsc=one.alignment.wsc_test.observed,
        alignment=one.alignment.test.observed,
        alignment_z=one.alignment.test.z,
        alignment_p_value=one.alignment.test.p_value,
        used=False,
        reason=f"{one.differences}." if isinstance(one.differences, str) else "",
    )


def _own_area(sample: Sample) -> Estimate:
    """How well the model tells the classes that are present apart."""
    scores = sample.probabilities[:, np.unique(sample.labels)].T
    area = clustered_auroc(scores, sample.strata, np.zeros_like(sample.strata), sample.patients)
    return with_interval(area, sample.draws.confidence, spread_of_chance(sample.strata, sample.patients))
