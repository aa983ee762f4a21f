# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The frozen record of an audit: everything that the report needs, without the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from monai_shortcut.analyses.alignment import Alignment
from monai_shortcut.analyses.differences import Difference, Differences
from monai_shortcut.analyses.discovered_groups import DiscoveredGroups
from monai_shortcut.analyses.distributions import Distributions
from monai_shortcut.analyses.embedding_maps import EmbeddingMaps
from monai_shortcut.analyses.embedding_moves import EmbeddingMoves
from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.erasure import ErasureEffect
from monai_shortcut.analyses.held_out_levels import HeldOutLevel
from monai_shortcut.analyses.joint_alignment import JointAlignment
from monai_shortcut.analyses.latent_counterfactual import LatentCounterfactual
from monai_shortcut.analyses.outcome_errors import OutcomeErrors
from monai_shortcut.analyses.prediction_gap import PredictionGap
from monai_shortcut.analyses.region_sensitivity import RegionSensitivity
from monai_shortcut.analyses.subgroups import SubgroupGaps
from monai_shortcut.attribution.record import Attribution
from monai_shortcut.audit.answers import Answers
from monai_shortcut.audit.former import modern
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.columns import KINDS
from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.statistics.task_space import TaskMatrix
from monai_shortcut.storage.privacy import written
from monai_shortcut.storage.records import as_of_now, decode, read_record, write_record
from monai_shortcut.types import Estimate

NOT_ENCODED = "not encoded"
UNUSED = "not used"  # where the embedding is not known
NOT_USED = "encoded, not used"
USED = "used"
INCONCLUSIVE = "inconclusive"
VERDICTS = (USED, NOT_USED, NOT_ENCODED, UNUSED, INCONCLUSIVE)
VERSION = 5


@dataclass(frozen=True)
class Counterfactual:
    """What the model does when only the attribute changes in the same images.

    Attributes:
        images: number of images that were redrawn.
        change: mean probability that moves between classes, in [0, 1]; patients are drawn with replacement.
    """

    images: int
    change: Estimate


@dataclass(frozen=True)
class GivenOther:
    """The prediction gap among images that agree in label and in another attribute; in records before version 5 only.

    Attributes:
        other: the other attribute.
        association: Cramer's V of the two attributes within labels, in [0, 1].
        effect: gap between levels of the attribute at equal levels of the other.
        p_value: unadjusted.
        other_p_value: other p value of the other attribute's gap at equal levels of this one, unadjusted.
    """

    other: str
    association: float
    effect: Estimate
    p_value: float
    other_p_value: float = 1.0


@dataclass(frozen=True)
class Company:
    """Attributes that answers differ with too, and that go along with this one.

    Attributes:
        association: Cramer's V with each of them, within labels.
        differences: of this attribute at equal levels of all of them, as far as they can be told apart.
        kept: those whose own differences stay significant at equal levels of this one and the rest, by Bonferroni's
            inequality over the differences and the attributes of the company.
        keeps: whether this one's stay significant.
    """

    association: dict[str, float]
    differences: tuple[Difference, ...]
    kept: tuple[str, ...]
    keeps: bool


@dataclass(frozen=True)
class Evidence:
    """What was measured for an attribute.

    Attributes:
        encoding: can it be read off the embedding? None if only predicted probabilities are known.
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
        given: its gap at equal levels of other attributes, in records before version 5.
        not_computed: why an analysis has no answer, by its field.
        differences: do answers differ with it in any label, between any levels, on any scale? The verdict rests on it.
        differences_p_value: adjusted over the attributes by the correction of the settings.
        spread_p_value: of the scatter of the answers, likewise.
        company: what becomes of the differences at equal levels of attributes that go along with it.
        equal: differences at equal levels of the attributes that are used or go along with this one; what is possible
            of an attribute that is not used itself is read off these, where there are any.
        slices: differences among images of one level of another attribute that are certain to exceed their tolerance,
            of an attribute that is not used otherwise.
        distributions: are the embeddings of a label distributed alike at all levels?
        errors: of a regression, at each level.
    """

    encoding: Encoding | None
    encoding_p_value: float | None
    gap: PredictionGap
    gap_p_value: float
    alignment: Alignment | None = None
    encoding_q_value: float | None = None
    gap_q_value: float | None = None
    latent: LatentCounterfactual | None = None
    erasure: ErasureEffect | None = None
    subgroups: SubgroupGaps | None = None
    held_out: tuple[HeldOutLevel, ...] = ()
    given: tuple[GivenOther, ...] = ()
    not_computed: dict[str, str] = field(default_factory=dict)
    differences: Differences | None = None
    differences_p_value: float | None = None
    spread_p_value: float | None = None
    company: Company | None = None
    equal: tuple[Difference, ...] = ()
    slices: tuple[Difference, ...] = ()
    distributions: Distributions | None = None
    errors: tuple[OutcomeErrors, ...] = ()


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


@dataclass(frozen=True, repr=False)
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
        kind: "categorical", "ordinal" or "continuous"; empty in records of versions before 4.
        shared_with: attributes that share the verdict "used": the audited images cannot tell which of them it is.
        measured: what is measured from the images themselves, in words; empty of a column of the table.
        parts: the two attributes whose levels it combines, of an intersection.

    Raises:
        ValueError: If the verdict or the kind is none of these.
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
    kind: str = ""
    shared_with: tuple[str, ...] = ()
    measured: str = ""
    parts: tuple[str, ...] = ()
    _audit: ClassVar[Audit | None] = None  # of the instance, where it is part of one

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {', '.join(VERDICTS)}, got {self.verdict!r}.")
        if self.kind not in ("", *KINDS):
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}.")

    def __repr__(self) -> str:
        return f"Finding({self.attribute}: {self.verdict}, {sum(self.levels.values())} images)"

    def plot(self) -> Any:
        """The figure of its evidence, as in the report (a ``matplotlib.figure.Figure``).

        Raises:
            ValueError: If it is part of no audit, or has no evidence.
        """
        if self._audit is None:
            raise ValueError("a finding must be taken from its audit to be drawn, such as audit.finding('sex').plot().")
        return _report("notebook").drawn(self, self._audit)


@dataclass(frozen=True)
class ClinicalLabel:
    """The label read off the embedding by a probe, as a row to compare the attributes with.

    Attributes:
        metrics: accuracy, macro precision, recall and F1 of the probe.
        auroc: area under the ROC curve, mean over classes.
        spread: standard deviation over repeated draws of the folds, of each metric and "auroc".
        wsc: (C, C) weight space correlation of the clinical head with the label's own probe.
    """

    metrics: dict[str, Estimate]
    auroc: Estimate
    spread: dict[str, float]
    wsc: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class EmbeddingMap:
    """The two main directions of the embeddings.

    Attributes:
        points: (n, 2) coordinates of images, at most a few thousand drawn at random; none if no embeddings are known.
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
class Identity:
    """What was audited, on what, and when; what is empty is not known.

    Attributes:
        network: class of the network.
        head: name of the layer that the answers are read off.
        table: file name of the table of images.
        date: day of the audit, as in "2026-11-26".
        unseen_patients: whether the network was trained on none of the patients; None if that is not known.
    """

    network: str = ""
    head: str = ""
    table: str = ""
    date: str = ""
    unseen_patients: bool | None = None


@dataclass(frozen=True)
class Regression:
    """What a regression predicts, and how well.

    Attributes:
        name: the outcome.
        unit: its unit; empty if it has none.
        spread: standard deviation of the outcome over the images.
        edges: inner edges of the strata of the outcome that stand for labels.
        errors: of all images.
        assumed: whether the tolerance is a share of the spread because the settings name none.
    """

    name: str
    unit: str
    spread: float
    edges: tuple[float, ...]
    errors: OutcomeErrors
    assumed: bool = False


@dataclass(frozen=True)
class Discovered:
    """Groups of images within labels that no column names.

    Attributes:
        found: the groups and the differences between them; None where they could not be looked for.
        reason: what is said of them, in a sentence.
        differ: whether predictions differ between them, by the rule for "used".
        p_value: of the largest difference among all labels, groups and scales, adjusted over the audits; None if
            nothing was compared.
        examples: for the picture, a row for each group.
    """

    found: DiscoveredGroups | None
    reason: str
    differ: bool = False
    p_value: float | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, repr=False)
class Audit:
    """The frozen record of an audit: everything the report needs, without the model.

    Attributes:
        title: what was audited.
        label_names: the classes, in the order of the head's rows; of a regression the strata of its outcome, and at
            last what all of them together are called.
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
        moves: how far embeddings move when parts of the images are hidden.
        maps: the same images under every strategy, in the plane.
        linked: image ids of each group of images that look the same and are of different patients, who are one patient
            in every fold, permutation and bootstrap.
        readers: what people see in the images; None if nobody has read them.
        attribution: where the model looks; None if nobody asked.
        answers: what the model said of each image, for `monai_shortcut.compare_audits`; None in older records.
        notes: what must be known to read it, a sentence each.
        discovered: groups that no column names; None if nobody asked.
        regression: the outcome of a regression; None of a classifier.
        weights: names by SHA-256 of the files of weights that were read before the evaluation; None if not known.
        sources: SHA-256 of other files that it was made from, by what they hold: "table", "embeddings", "head",
            "probabilities"; only those that are known.
        identity: model, head, table and day; None if not known.
        version: version of this format.
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
    moves: EmbeddingMoves | None = None
    maps: EmbeddingMaps | None = None
    linked: tuple[tuple[str, ...], ...] = ()
    readers: ReaderStudy | None = None
    attribution: Attribution | None = None
    answers: Answers | None = None
    notes: tuple[str, ...] = ()
    weights: dict[str, str] | None = None
    sources: dict[str, str] = field(default_factory=dict)
    discovered: Discovered | None = None
    regression: Regression | None = None
    identity: Identity | None = None
    version: int = VERSION

    def __post_init__(self) -> None:
        for finding in self.findings:
            object.__setattr__(finding, "_audit", self)

    def __repr__(self) -> str:
        images, found = sum(self.labels.values()), ", ".join(f"{one.attribute}: {one.verdict}" for one in self.findings)
        return f"Audit({self.title}: {images} images of {self.patients} patients; {found})"

    def _repr_html_(self) -> str:
        html: str = _report("notebook").notebook_html(self)
        return html

    @property
    def works(self) -> bool | None:
        """Whether the images show that the model tells any class from the others, or a regression its outcome.

        None if that could not be tested.
        """
        return self.regions.classifies if self.regression is None else self.regression.errors.predicts

    @property
    def unit(self) -> str:
        """Unit of the answers; empty of probabilities."""
        return self.regression.unit if self.regression else ""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the answers to an image are called: the classes, or the outcome's negative and the outcome."""
        return (f"-{self.regression.name}", self.regression.name) if self.regression else self.label_names

    def finding(self, attribute: str) -> Finding:
        """The finding of an attribute.

        Raises:
            ValueError: If the attribute was not audited; the message lists those that were.
        """
        found = {finding.attribute: finding for finding in self.findings}
        if attribute not in found:
            raise ValueError(f"attribute must be one of {sorted(found)}, got {attribute!r}.")
        return found[attribute]

    def report(self, folder: str | Path) -> Path:
        """Write the page, the record, tables and figures; see `monai_shortcut.report.write_report`.

        Args:
            folder: where they go; made when absent.

        Returns:
            The path of ``report.html``.

        Raises:
            PermissionError: If the folder cannot be written to.
        """
        page: Path = _report("pages").write_report(self, folder)
        return page

    def to_frame(self) -> Any:
        """The findings as a ``pandas.DataFrame``: one row per attribute with verdict, evidence and counts."""
        return _report("tables").findings_table(self)

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON, as ``settings.privacy`` allows; `from_json` gives an equal one if that is all."""
        write_record(written(self), path)

    @classmethod
    def from_json(cls, path: str | Path) -> Audit:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file is not an audit, or is of a newer version.
        """
        value = read_record(path, "an audit", VERSION, "findings")
        return decode(cls, as_of_now(modern, value, "audit"), "audit")


def _report(module: str) -> Any:
    """A module of the report. Reports are made of records, so these cannot import them before they are asked for."""
    return import_module(f"monai_shortcut.report.{module}")
