# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of an audit, and the rule that turns evidence into a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.erasure import ErasureEffect
from monai_shortcut.analyses.held_out_levels import HeldOutLevel
from monai_shortcut.analyses.prediction_gap import LatentCounterfactual, PredictionGap
from monai_shortcut.analyses.region_sensitivity import RegionSensitivity
from monai_shortcut.analyses.subgroups import SubgroupGaps
from monai_shortcut.statistics.task_space import TaskMatrix
from monai_shortcut.statistics.weight_space import Sweep
from monai_shortcut.storage.records import decode, read_record, write_record

NOT_ENCODED = "not encoded"
NOT_USED = "encoded, not used"
USED = "used"
INCONCLUSIVE = "inconclusive"
VERDICTS = (USED, NOT_USED, NOT_ENCODED, INCONCLUSIVE)
CORRECTIONS = ("holm", "fdr")
VERSION = 3


@dataclass(frozen=True)
class AuditSettings:
    """What an audit is run with.

    Attributes:
        folds: number of patient-grouped folds in which probes are validated.
        repeats: draws of those folds, for the spread of the probes' metrics.
        permutations: permutations of each attribute between patients.
        erasures: permutations of each attribute that are erased, and that the latent counterfactual is held against.
        held_out: permutations that widen the errors of heads that have not seen a level; 0 takes heads as given.
        bootstraps: bootstrap samples of patients.
        level: of all intervals.
        significance: largest adjusted p-value that counts as evidence.
        correction: how p-values are adjusted over the attributes: "holm" (family-wise error rate) or "fdr" (false
            discovery rate, Benjamini and Hochberg). Both are reported; this one decides.
        tolerance: smallest prediction gap that matters, in probability.
        readable: smallest area under the ROC curve that counts as readable when it cannot be told from one half.
        bins: quantile bins of a continuous attribute.
        edges: inner cut points of continuous attributes, by attribute, instead of quantiles.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.
        variance: share of variance of the subspace for the weight space correlation.
        min_components: its least number of components.
        associated: least Cramer's V of two attributes whose gaps are also compared at equal levels of the other.
        giveaways: number of images listed that give their level away most.
        seed: of folds, permutations and bootstraps.
    """

    folds: int = 5
    repeats: int = 4
    permutations: int = 999
    erasures: int = 99
    held_out: int = 10
    bootstraps: int = 999
    level: float = 0.95
    significance: float = 0.05
    correction: str = "holm"
    tolerance: float = 0.1
    readable: float = 0.6
    bins: int = 3
    edges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    minimum_patients: int = 10
    maximum_levels: int = 20
    variance: float = 0.99
    min_components: int = 50
    associated: float = 0.2
    giveaways: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}, got {self.correction!r}.")
        # Lists come from JSON and from bundle configurations.
        object.__setattr__(self, "edges", {name: tuple(map(float, cuts)) for name, cuts in self.edges.items()})


@dataclass(frozen=True)
class Alignment:
    """How the clinical head and the probe of an attribute point.

    Attributes:
        wsc: (C, M) weight space correlation as published, with the post-hoc probe that ignores the label.
        wsc_null: (B,) largest absolute value under permutation of the attribute.
        wsc_p_value: of the largest absolute value.
        within: (C, M) correlation of the logits within labels, the probe fitted within labels.
        null: (B,) its largest absolute value under permutation.
        z: standard deviations between the largest absolute value and the mean of the null.
        p_value: of the largest absolute value.
        raw: (C, M) cosines without the projection onto principal components.
        balanced: (C, M) weight space correlation with a probe under whose weights label and attribute are independent.
        multi_task: (C, M) weight space correlation with the attribute's own head, for a network that was trained
            with one; empty otherwise.
        logits: (C, M) correlation of the logits over all images: the cosine in the metric of the embeddings.
        sweep: the published number against the number of components.
    """

    wsc: tuple[tuple[float, ...], ...]
    wsc_null: tuple[float, ...]
    wsc_p_value: float
    within: tuple[tuple[float, ...], ...]
    null: tuple[float, ...]
    z: float
    p_value: float
    raw: tuple[tuple[float, ...], ...] = ()
    balanced: tuple[tuple[float, ...], ...] = ()
    multi_task: tuple[tuple[float, ...], ...] = ()
    logits: tuple[tuple[float, ...], ...] = ()
    sweep: Sweep | None = None


@dataclass(frozen=True)
class Counterfactual:
    """What the model does when only the attribute changes in the same images.

    Attributes:
        images: number of images that were redrawn.
        change: mean probability that moves between classes, in [0, 1].
        interval: its confidence limits, patients drawn with replacement.
    """

    images: int
    change: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class GivenOther:
    """The prediction gap of an attribute among images that agree in label and in another attribute.

    Attributes:
        other: the other attribute.
        association: Cramer's V of the two attributes within labels, in [0, 1].
        effect: gap between levels of the attribute at equal levels of the other.
        interval: its confidence limits.
        p_value: unadjusted.
        other_p_value: of the other attribute's gap at equal levels of this one, unadjusted.
    """

    other: str
    association: float
    effect: float
    interval: tuple[float, float]
    p_value: float
    other_p_value: float = 1.0


@dataclass(frozen=True)
class Evidence:
    """What was measured for an attribute.

    Attributes:
        encoding: can it be read off the embedding?
        encoding_p_value: adjusted over the attributes by the correction of the settings.
        alignment: does the head point its way?
        gap: do predictions differ with it?
        gap_p_value: adjusted over the attributes by the correction of the settings.
        encoding_q_value: the encoding's p-value adjusted for the false discovery rate.
        gap_q_value: the gap's p-value adjusted for the false discovery rate.
        latent: how far predictions move with the mean difference of the levels among the logits.
        erasure: does the output change when it is erased from the embedding?
        subgroups: does the model serve its levels equally well?
        held_out: does a clinical head that has not seen a level work on it?
        given: its gap at equal levels of each attribute that goes along with it, where both differ significantly.
    """

    encoding: Encoding
    encoding_p_value: float
    alignment: Alignment
    gap: PredictionGap
    gap_p_value: float
    encoding_q_value: float | None = None
    gap_q_value: float | None = None
    latent: LatentCounterfactual | None = None
    erasure: ErasureEffect | None = None
    subgroups: SubgroupGaps | None = None
    held_out: tuple[HeldOutLevel, ...] = ()
    given: tuple[GivenOther, ...] = ()


@dataclass(frozen=True)
class Giveaway:
    """An image whose embedding gives its level away.

    Attributes:
        image_id: its name.
        level: its level.
        margin: logit of its level above the best other one, by a probe that has not seen its patient.
    """

    image_id: str
    level: str
    margin: float


@dataclass(frozen=True)
class Finding:
    """One attribute's verdict with its evidence.

    Attributes:
        attribute: name of the metadata column.
        verdict: one of `VERDICTS`.
        reason: the verdict in a sentence, with its numbers.
        levels: images per level that were analysed.
        edges: inner cut points of a continuous attribute.
        missing: images without a value.
        left_out: images of levels that too few patients have.
        patients: patients analysed.
        evidence: None when the attribute could not be analysed.
        counterfactual: None when no image could be redrawn.
        giveaways: the images that give their level away most.
    """

    attribute: str
    verdict: str
    reason: str
    levels: dict[str, int]
    edges: tuple[float, ...]
    missing: int
    left_out: dict[str, int]
    patients: int
    evidence: Evidence | None
    counterfactual: Counterfactual | None
    giveaways: tuple[Giveaway, ...] = ()


@dataclass(frozen=True)
class ClinicalLabel:
    """The label read off the embedding by a probe, as a row to compare the attributes with.

    Attributes:
        metrics: accuracy, macro precision, recall and F1 of the probe, each with its interval (value, low, high).
        auroc: mean over classes, with its interval.
        spread: standard deviation over repeated draws of the folds, of each metric and "auroc".
        wsc: (C, C) weight space correlation of the clinical head with the label's own probe.
    """

    metrics: dict[str, tuple[float, float, float]]
    auroc: tuple[float, float, float]
    spread: dict[str, float]
    wsc: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class JointAlignment:
    """The clinical head against the subspace of all attributes' probes together.

    Attributes:
        attributes: those that were joined.
        correlations: canonical correlations of the logits within labels, largest first.
        null: (B,) the largest under permutation of all attributes together.
        p_value: of the largest.
        share: share of the clinical logits' variance within labels that the attributes' logits explain.
    """

    attributes: tuple[str, ...]
    correlations: tuple[float, ...]
    null: tuple[float, ...]
    p_value: float
    share: float


@dataclass(frozen=True)
class EmbeddingMap:
    """The two main directions of the embeddings.

    Attributes:
        points: (n, 2) coordinates of images, at most a few thousand drawn at random.
        variance: share of the variance that each direction explains.
        labels: (n,) label names.
        levels: (n,) level names by attribute, "" where missing.
    """

    points: tuple[tuple[float, float], ...]
    variance: tuple[float, float]
    labels: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Example:
    """An image as the model saw it, for the report.

    Attributes:
        image_id: its name.
        label: its label.
        pictures: PNG in base64, by caption.
    """

    image_id: str
    label: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class Audit:
    """The frozen record of an audit: everything the report needs, without the model.

    Attributes:
        title: what was audited.
        label_names: the classes, in the order of the head's rows.
        labels: images per class.
        patients: number of patients.
        excluded: reason by image_id, of images that are in the cohort but not in the audit.
        settings: what the audit was run with.
        regions: areas under the ROC curve by class and masking strategy; "full" is the plain performance.
        findings: one per attribute.
        embedding_map: for the picture.
        without_roi: reason by image_id, of audited images that no masking strategy could be applied to.
        unseen: image ids of rows of the cohort that the evaluation did not come by.
        examples: for the picture.
        software: versions by package.
        label: the label as a row beside the attributes.
        weight_space: weight space correlation between all heads, clinical and probes.
        joint: the head against all attributes together.
        version: of this format.
    """

    title: str
    label_names: tuple[str, ...]
    labels: dict[str, int]
    patients: int
    excluded: dict[str, str]
    settings: AuditSettings
    regions: RegionSensitivity
    findings: tuple[Finding, ...]
    embedding_map: EmbeddingMap
    without_roi: dict[str, str] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    software: dict[str, str] = field(default_factory=dict)
    label: ClinicalLabel | None = None
    weight_space: TaskMatrix | None = None
    joint: JointAlignment | None = None
    version: int = VERSION

    def finding(self, attribute: str) -> Finding:
        """The finding of an attribute.

        Raises:
            ValueError: If the attribute was not audited; the message lists those that were.
        """
        found = {finding.attribute: finding for finding in self.findings}
        if attribute not in found:
            raise ValueError(f"attribute must be one of {sorted(found)}, got {attribute!r}.")
        return found[attribute]

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON; `from_json` gives an equal one."""
        write_record(self, path)

    @classmethod
    def from_json(cls, path: str | Path) -> Audit:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file is not an audit, or is of a newer version.
        """
        value = read_record(path, "an audit", VERSION, "findings")
        if isinstance(count := value.get("unseen"), int):  # before version 3
            value["unseen"] = ["(not recorded)"] * count
        return decode(cls, value, "audit")


def judge(evidence: Evidence, settings: AuditSettings) -> tuple[str, str]:
    """Turn the evidence for an attribute into a verdict and its reason.

    An attribute is encoded when the permutation test of the probe within labels says so. Of an encoded attribute, the
    test of the prediction gap and its size say whether it is used: significant and at least the tolerance is used,
    an interval below the tolerance is not used, anything else is inconclusive. Where another attribute goes along with
    it and keeps its gap at equal levels of this one, this one has to keep its own too. An attribute the probe cannot
    read is never used, however the head is aligned; it is not encoded when the probe's interval stays below what counts
    as readable and predictions do not differ by what matters.
    """
    encoding, gap = evidence.encoding, evidence.gap
    area, low, high = encoding.own_auroc
    read = f"a probe tells its levels apart with AUROC {area:.2f} ({low:.2f} to {high:.2f}) among images of one label"
    moved = f"predictions of one label differ by {gap.effect:.2f} ({gap.interval[0]:.2f} to {gap.interval[1]:.2f})"
    differs = evidence.gap_p_value <= settings.significance
    if evidence.encoding_p_value > settings.significance:
        if differs and gap.interval[1] >= settings.tolerance:
            return INCONCLUSIVE, f"The probe finds no trace ({read}), yet {moved} with it: more images are needed."
        if high < settings.readable:
            return NOT_ENCODED, f"The embedding holds no readable trace of it: {read}."
        return INCONCLUSIVE, f"Too few images to say whether it is encoded: {read}."
    if differs and gap.effect >= settings.tolerance:
        return _used(evidence, settings, read, moved)
    if gap.interval[1] < settings.tolerance:
        return NOT_USED, f"The embedding encodes it ({read}), but {moved}, less than {settings.tolerance:g}."
    return (
        INCONCLUSIVE,
        f"The embedding encodes it ({read}); {moved}: too uncertain, or too near {settings.tolerance:g}.",
    )


def _used(evidence: Evidence, settings: AuditSettings, read: str, moved: str) -> tuple[str, str]:
    """Whether it is this attribute that is used, or another that goes along with it and keeps its gap without it."""
    rivals = [other for other in evidence.given if other.other_p_value <= settings.significance]
    explained = [rival.other for rival in rivals if rival.interval[1] < settings.tolerance]
    if explained:
        return (
            NOT_USED,
            f"The embedding encodes it ({read}) and {moved}, but not among images that agree in "
            f"{' or in '.join(explained)}, which it goes along with.",
        )
    doubtful = [rival.other for rival in rivals if rival.p_value > settings.significance]
    if doubtful:
        return (
            INCONCLUSIVE,
            f"The embedding encodes it ({read}) and {moved}; whether it is this or {' or '.join(doubtful)}, which goes "
            "along with it, takes more images to tell.",
        )
    alike = [other.other for other in evidence.given if other.p_value > settings.significance]
    note = f" It cannot be told apart from {' or '.join(alike)}, which goes along with it." if alike else ""
    return USED, f"The embedding encodes it ({read}) and the output depends on it: {moved}.{note}"


def summary(findings: Sequence[Finding]) -> str:
    """The findings as a plain text table."""
    rows = [("attribute", "verdict", "AUROC in label", "p", "prediction gap", "p", "when swapped")]
    for finding in findings:
        shown, swapped = finding.evidence, finding.counterfactual
        rows.append(
            (
                finding.attribute,
                finding.verdict,
                _with_limits(*shown.encoding.own_auroc) if shown else "-",
                f"{shown.encoding_p_value:.3f}" if shown else "-",
                _with_limits(shown.gap.effect, *shown.gap.interval) if shown else "-",
                f"{shown.gap_p_value:.3f}" if shown else "-",
                _with_limits(swapped.change, *swapped.interval) if swapped else "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _with_limits(value: float, low: float, high: float) -> str:
    return f"{value:.2f} ({low:.2f} to {high:.2f})"
