# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""When does a model start to use an attribute? The audit's main numbers at epochs of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import false_discovery_control

from monai_shortcut.analyses.encoding import fit_probe, null_probes, probe_encoding
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.audit.evidence import AuditedImages, attribute_rng, coded_levels
from monai_shortcut.audit.record import AuditSettings
from monai_shortcut.statistics.areas import clustered_auroc, with_interval
from monai_shortcut.statistics.resampling import holm, permutation_p_value, standard_score
from monai_shortcut.statistics.weight_space import alignment, alignment_null, weight_space_correlation
from monai_shortcut.storage.records import decode, read_record, write_record

VERSION = 1
Limits = tuple[float, float, float]


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
        own_auroc: area under the ROC curve of the probe within labels (value, low, high).
        own_auroc_p_value: adjusted over the attributes of the epoch.
        wsc: largest absolute weight space correlation, as published.
        alignment: largest absolute correlation of the logits within labels.
        alignment_z: standard deviations between it and the mean of its null.
        alignment_p_value: unadjusted.
        gap: prediction gap (value, low, high): the probability that moves with the attribute within labels.
        gap_p_value: adjusted over the attributes of the epoch.
    """

    images: int
    own_auroc: Limits
    own_auroc_p_value: float
    wsc: float
    alignment: float
    alignment_z: float
    alignment_p_value: float
    gap: Limits
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
        auroc: area under the ROC curve of the model's own predictions, mean over classes (value, low, high).
        points: by attribute.
        problems: by attribute, why it could not be measured.
        cost: None until it is known.
    """

    epoch: int
    images: int
    patients: int
    auroc: Limits
    points: dict[str, AttributePoint]
    problems: dict[str, str]
    cost: Cost | None = None


@dataclass(frozen=True)
class Onset:
    """From when on an attribute is used.

    Attributes:
        epoch: first audited epoch of an unbroken run, up to the last one, at which it is.
        after: the last audited epoch before, at which it was not shown to be; None if there is none.
        audits: number of audited epochs in the run; 1 is weak evidence.
    """

    epoch: int
    after: int | None
    audits: int


@dataclass(frozen=True)
class TrainingCurves:
    """The frozen record of the audits of a training.

    Attributes:
        title: what was trained.
        label_names: the classes.
        attributes: those that were audited.
        settings: what each audit was run with.
        interval: epochs from one audit to the next.
        epochs: the audits, in order.
        version: of this format.
    """

    title: str
    label_names: tuple[str, ...]
    attributes: tuple[str, ...]
    settings: AuditSettings
    interval: int = 1
    epochs: tuple[EpochAudit, ...] = ()
    version: int = VERSION

    def used(self, attribute: str) -> tuple[bool, ...]:
        """Whether at each audited epoch the gap is significant, adjusted, and at least the tolerance.

        Raises:
            ValueError: If the attribute was not audited.
        """
        if attribute not in self.attributes:
            raise ValueError(f"attribute must be one of {list(self.attributes)}, got {attribute!r}.")
        points = [epoch.points.get(attribute) for epoch in self.epochs]
        return tuple(
            point is not None
            and point.gap_p_value <= self.settings.significance
            and point.gap[0] >= self.settings.tolerance
            for point in points
        )

    def onset(self, attribute: str) -> Onset | None:
        """From which audited epoch on predictions depend on an attribute.

        It is the first epoch from which the prediction gap is significant and at least the tolerance there and at every
        audited epoch after it: one lucky epoch does not count, and neither does a use that training gave up again.

        How far it can be trusted: every onset includes the last audited epoch, so an attribute that is never used gets
        one no more often than the tests of that one epoch err (5 % for all attributes together with Holm's
        adjustment), however many epochs were looked at. That holds for a training of fixed length, not for one stopped
        for what its curves show. The epoch itself is a description: it has no interval, comes late where images are few
        (a gap must be large enough to be found), and use may have begun anywhere after the audited epoch before. All
        epochs are measured on the same images with the same permutations, so a chance imbalance of those images shows
        at every epoch: a long run guards against a passing state of the model, not against the draw of the images.

        Args:
            attribute: its name.

        Returns:
            The onset; None if the attribute is not used at the last audited epoch.

        Raises:
            ValueError: If the attribute was not audited.
        """
        used = self.used(attribute)
        audits = next((index for index, there in enumerate(reversed(used)) if not there), len(used))
        if not audits:
            return None
        first = len(used) - audits
        return Onset(self.epochs[first].epoch, self.epochs[first - 1].epoch if first else None, audits)

    def answer(self, attribute: str) -> str:
        """The onset of an attribute in a sentence.

        Raises:
            ValueError: If the attribute was not audited.
        """
        found, used = self.onset(attribute), self.used(attribute)
        if found is not None:
            return _begun(attribute, found, self.epochs[-1].epoch)
        last = self.epochs[-1] if self.epochs else None
        point = last.points.get(attribute) if last else None
        if last is None or point is None:
            why = f": {last.problems[attribute]}" if last and attribute in last.problems else ""
            return f"Whether the predictions depend on {attribute} was not measured{why}."
        there = [str(epoch.epoch) for epoch, use in zip(self.epochs, used, strict=True) if use]
        gap = f"the gap is {point.gap[0]:.2f} ({point.gap[1]:.2f} to {point.gap[2]:.2f})"
        if there:
            at = f"epoch{'s' if len(there) > 1 else ''} {', '.join(there)}"
            return (
                f"The predictions depended on {attribute} at {at}, which the last audited epoch does not show: {gap}."
            )
        if point.gap[2] < self.settings.tolerance:
            return f"At no audited epoch were the predictions shown to depend on {attribute}; at the last one {gap}."
        return f"The images cannot tell whether the predictions depend on {attribute}: at the last audited epoch {gap}."

    def with_epoch(self, audited: EpochAudit) -> TrainingCurves:
        """The same with one more audit, in place of those of this epoch and later ones."""
        return replace(self, epochs=(*self.before(audited.epoch).epochs, audited))

    def before(self, epoch: int) -> TrainingCurves:
        """The same with the audits of earlier epochs only."""
        return replace(self, epochs=tuple(audited for audited in self.epochs if audited.epoch < epoch))

    def differences(self, other: TrainingCurves) -> list[str]:
        """Names of what two records must have in common to be one curve, and have not."""
        names = ("label_names", "attributes", "settings", "interval")
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON; `from_json` gives an equal one."""
        write_record(self, path)

    @classmethod
    def from_json(cls, path: str | Path) -> TrainingCurves:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file does not hold training curves, or those of a newer version.
        """
        return decode(cls, read_record(path, "training curves", VERSION, "interval"), "training curves")


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
        settings: by default `curve_settings`.

    Returns:
        The numbers of the epoch, p-values adjusted over the attributes that could be measured.

    Raises:
        ValueError: If the shapes disagree, fewer than two classes are present, or no embedding is finite.
    """
    chosen = settings or curve_settings(len(attributes))
    data = AuditedImages.of(embeddings, weight, bias, labels, patients, label_names, None)
    data.check_rows(attributes)
    finite = data.finite
    data = data.rows(finite)
    points: dict[str, AttributePoint] = {}
    problems: dict[str, str] = {}
    for name, values in attributes.items():
        levels = coded_levels(name, np.asarray(values)[finite], data.patients, chosen)
        known = levels.codes >= 0
        try:
            if levels.problem:
                raise ValueError(levels.problem)
            points[name] = _measured(data.rows(known), levels.codes[known], chosen, attribute_rng(name, chosen))
        except ValueError as error:  # no two levels, or the attribute coincides with the label
            problems[name] = str(error)
    count, patient_count = len(data.labels), len(np.unique(data.patients))
    return EpochAudit(epoch, count, patient_count, _own_area(data, chosen), _adjusted(points, chosen), problems)


def _measured(
    part: AuditedImages, codes: NDArray[np.int64], settings: AuditSettings, rng: np.random.Generator
) -> AttributePoint:
    points, who, labels, head = part.embeddings, part.patients, part.labels, part.weight
    draws: dict[str, Any] = {"permutations": settings.permutations, "bootstraps": settings.bootstraps}
    draws |= {"level": settings.level, "rng": rng}
    encoding = probe_encoding(points, codes, who, labels, folds=settings.folds, repeats=settings.repeats, **draws)
    gap = prediction_gap(part.probabilities, codes, labels, who, **draws)
    blind, inside = fit_probe(points, codes).weight, fit_probe(points, codes, labels).weight
    published = weight_space_correlation(head, blind, points, settings.variance, settings.min_components)
    largest = float(np.abs(alignment(head, inside, points, labels)).max())
    permuted = null_probes(points, codes, who, settings.permutations, rng, labels, within=True)
    null = alignment_null(head, permuted, points, labels)
    return AttributePoint(
        images=len(codes),
        own_auroc=encoding.own_auroc,
        own_auroc_p_value=encoding.p_value,
        wsc=float(np.abs(published).max()),
        alignment=largest,
        alignment_z=standard_score(largest, null),
        alignment_p_value=permutation_p_value(largest, null),
        gap=(gap.effect, *gap.interval),
        gap_p_value=gap.p_value,
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


def _own_area(data: AuditedImages, settings: AuditSettings) -> Limits:
    """How well the model tells the classes that are present apart."""
    present, codes = np.unique(data.labels, return_inverse=True)
    scores = data.probabilities[:, present].T
    return with_interval(clustered_auroc(scores, codes, np.zeros_like(codes), data.patients), settings.level)


def _begun(attribute: str, found: Onset, last: int) -> str:
    if found.audits == 1:
        only = "Only" if found.after is not None else "Audited once,"
        verb = "do the predictions depend" if found.after is not None else "the predictions depend"
        return f"{only} at the last audited epoch, {last}, {verb} on {attribute}: weak evidence of when it began."
    before = "the first one audited" if found.after is None else f"not shown at epoch {found.after}"
    shown = f"{before}; shown at {found.audits} audits in a row"
    return f"From epoch {found.epoch} on the predictions depend on {attribute} ({shown})."
