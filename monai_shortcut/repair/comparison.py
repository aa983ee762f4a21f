# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two audits, before and after: of a repair, of a training that went on, of another hospital."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.changes import Change, Changes, Part, changes, gap_change
from monai_shortcut.analyses.sample import AttributeSample, Sample
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.audit.regression import require_classes
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.repair.performance import ClassChange, class_changes
from monai_shortcut.repair.ruling import CANNOT_TELL, Ruling, rule
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.storage.privacy import digest, written
from monai_shortcut.storage.records import decode, read_record, write_record
from monai_shortcut.types import Estimate, Integers, Unmeasurable

VERSION = 1
_RULED_BY = ("significance", "tolerance", "decision_tolerance", "rank_tolerance", "tolerances", "threshold")


@dataclass(frozen=True)
class GapChange:
    """The prediction gap of an attribute before and after, and by how much it grows, by bootstrap over patients."""

    before: Estimate
    after: Estimate
    change: Estimate


@dataclass(frozen=True)
class AttributeChange:
    """What became of one attribute.

    Attributes:
        attribute: its name.
        verdict: "repaired", "reduced", "no change", "worse" or "cannot tell".
        reason: why, with its numbers.
        before: the verdict of the audit before.
        after: the verdict of the audit after.
        levels: names of the levels.
        leading: the change that is told first; None if nothing could be compared.
        changes: all of them, with the test of the largest; None if nothing could be compared.
        p_value: of the test, adjusted over the attributes by Holm's method.
        gap: the prediction gap; None where an audit has none.
        by_level: area under the ROC curve and calibration of each class at each level.
    """

    attribute: str
    verdict: str
    reason: str
    before: str
    after: str
    levels: tuple[str, ...] = ()
    leading: Change | None = None
    changes: Changes | None = None
    p_value: float | None = None
    gap: GapChange | None = None
    by_level: tuple[ClassChange, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """The record of two audits side by side.

    Attributes:
        before: title of the first audit.
        after: title of the second.
        paired: whether both are of the same images, so that answers are compared image by image.
        images: number of images of either.
        patients: number of patients of either.
        label_names: the classes.
        settings: those of the second audit.
        attributes: what became of each attribute that both audits have.
        classes: area under the ROC curve and calibration of each class; of two classes, of the second.
        only: attributes that one of the audits has.
        version: version of this format.
    """

    before: str
    after: str
    paired: bool
    images: tuple[int, int]
    patients: tuple[int, int]
    label_names: tuple[str, ...]
    settings: AuditSettings
    attributes: tuple[AttributeChange, ...]
    classes: tuple[ClassChange, ...]
    only: tuple[str, ...] = ()
    version: int = VERSION

    @property
    def price(self) -> ClassChange | None:
        """The class whose area under the ROC curve loses most; None if no area is known."""
        known = [one for one in self.classes if one.auc is not None]
        return min(known, key=lambda one: one.auc.change.value if one.auc else 0.0, default=None)

    def attribute(self, name: str) -> AttributeChange:
        """What became of an attribute.

        Raises:
            ValueError: If it was not compared; the message lists those that were.
        """
        found = {one.attribute: one for one in self.attributes}
        if name not in found:
            raise ValueError(f"attribute must be one of {sorted(found)}, got {name!r}.")
        return found[name]

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON; `from_json` gives an equal one."""
        write_record(written(self), path)

    @classmethod
    def from_json(cls, path: str | Path) -> Comparison:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file is no comparison, or of a newer version.
        """
        return decode(cls, read_record(path, "a comparison of audits", VERSION, "paired"), "comparison")


def compare_audits(before: Audit | str | Path, after: Audit | str | Path) -> Comparison:
    """Compare two audits: what became of each attribute, and at what price.

    Of the same images (their ids, labels and patients agree) answers are compared image by image: differences between
    levels by swapping answers before and after within patients, areas by DeLong's test clustered by patient, gaps and
    calibration by one bootstrap over patients. Of any other images, the two are taken as independent.

    Args:
        before: the first audit, or the path of its record.
        after: the second one, with the same classes and tolerances.

    Returns:
        The comparison.

    Raises:
        ValueError: If a record is of a regression or holds no answers, or classes or tolerances differ.
    """
    old, new = (one if isinstance(one, Audit) else Audit.from_json(one) for one in (before, after))
    _check(old, new)
    settings = new.settings
    sides = [_Side.of(old), _Side.of(new)]
    paired = sides[0].same_images(sides[1])
    if paired:
        sides[1] = sides[1].reordered(sides[0])
    else:  # whose bootstraps are independent
        images = replace(sides[1].images, draws=replace(settings, seed=settings.seed + 1))
        sides[1] = replace(sides[1], images=images)
    # Of intersections, answers are compared beyond their parts, which no comparison does.
    names, others = ([one.attribute for one in audit.findings if not one.parts] for audit in (old, new))
    common = [name for name in names if name in others]
    compared = [_attribute(name, sides[0], sides[1], paired) for name in common]
    return Comparison(
        before=old.title,
        after=new.title,
        paired=paired,
        images=(len(sides[0].images), len(sides[1].images)),
        patients=(old.patients, new.patients),
        label_names=new.label_names,
        settings=settings,
        attributes=tuple(_ruled(compared, new, settings)),
        classes=class_changes(sides[0].images, sides[1].images, paired),
        only=tuple(name for name in [*names, *others] if name not in common),
    )


@dataclass(frozen=True, eq=False)
class _Side:
    """An audit and its images.

    Attributes:
        audit: the record.
        images: the images and their answers.
        order: (N,) their places in the record.
    """

    audit: Audit
    images: Sample
    order: Integers

    @classmethod
    def of(cls, audit: Audit) -> _Side:
        assert audit.answers is not None
        images = audit.answers.sample(audit.settings)
        return cls(audit, images, np.arange(len(images)))

    def same_images(self, other: _Side) -> bool:
        """Whether images of the same names have the same labels, and patients the same images."""
        return self._by_name() == other._by_name()

    def _names(self) -> list[str]:
        """(N,) names of the images; a record that was written may hold digests in their place."""
        return [digest(name) for name in self.images.image_ids.tolist()]

    def _by_name(self) -> dict[str, tuple[int, str]]:
        """Label by image id, and the first image of its patient."""
        names, first = self._names(), dict[int, str]()
        for name, patient in sorted(zip(names, self.images.patients.tolist(), strict=True)):
            first.setdefault(patient, name)
        each = zip(names, self.images.labels.tolist(), self.images.patients.tolist(), strict=True)
        return {name: (label, first[patient]) for name, label, patient in each}

    def reordered(self, other: _Side) -> _Side:
        """The same images in the order of another audit, with its patients' numbers."""
        place = {name: row for row, name in enumerate(self._names())}
        order, like = np.array([place[name] for name in other._names()]), other.images
        answers = self.images.probabilities[order]
        images = Sample.of_probabilities(
            answers, like.labels, like.patients, image_ids=like.image_ids.tolist(), draws=like.draws
        )
        return _Side(self.audit, images, order)

    def levels(self, attribute: str) -> tuple[Levels, Finding]:
        """The levels of an attribute."""
        assert self.audit.answers is not None
        finding = self.audit.finding(attribute)
        codes = self.audit.answers.levels(attribute)[self.order]
        return Levels(tuple(finding.levels), codes, finding.missing, {}, kind=finding.kind or "categorical"), finding

    def held_equal(self) -> dict[str, Integers]:
        """Levels at whose equal values answers are compared, by attribute."""
        assert self.audit.answers is not None
        return {name: codes[self.order] for name, codes in self.audit.answers.held_equal().items()}


def _check(old: Audit, new: Audit) -> None:
    for which, audit in (("before", old), ("after", new)):
        require_classes("compare_audits", audit.regression.name if audit.regression else None)
        if audit.answers is None:
            raise ValueError(f"{which} must hold the answers of each image, got a record without: audit again.")
    if old.label_names != new.label_names:
        raise ValueError(f"both audits must have the same classes, got {old.label_names} and {new.label_names}.")
    differing = [name for name in _RULED_BY if getattr(old.settings, name) != getattr(new.settings, name)]
    if differing:
        raise ValueError(f"both audits must have the same tolerances, got others in {', '.join(differing)}.")


@dataclass(frozen=True, eq=False)
class _Compared:
    """An attribute before it is judged; the changes are why there are none, if they are a string."""

    before: Finding
    after: Finding
    samples: tuple[AttributeSample, AttributeSample] | None
    changes: Changes | str
    paired: bool


def _attribute(name: str, old: _Side, new: _Side, paired: bool) -> _Compared:
    (levels, before), (others, after) = old.levels(name), new.levels(name)
    if levels.names != others.names or before.edges != after.edges:
        return _Compared(before, after, None, "its levels are not the same: give the audits edges", paired)
    if paired and not np.array_equal(levels.codes, others.codes):
        return _Compared(before, after, None, "levels of the same images are not the same", paired)
    try:
        samples = _held_equal(old, name, levels), _held_equal(new, name, others)
    except Unmeasurable as reason:
        return _Compared(before, after, None, str(reason), paired)
    (first, mine), (second, theirs) = samples
    threshold, parts = new.audit.settings.threshold, _parts(before, old, new, first, second)
    try:
        found = changes(first, second, paired=paired, threshold=threshold, others=(mine, theirs), parts=parts)
    except Unmeasurable as reason:  # of answers that do not vary
        return _Compared(before, after, None, str(reason), paired)
    told = found if found.rows else "no label has two levels of at least five patients each"
    return _Compared(before, after, (first, second), told, paired)


def _held_equal(side: _Side, name: str, levels: Levels) -> tuple[AttributeSample, list[Integers]]:
    """The images whose levels are known, and those of attributes that answers are compared at equal levels of."""
    sample = side.images.by(name, levels)
    others = [codes[sample.rows] for other, codes in side.held_equal().items() if other != name]
    known = np.all([codes >= 0 for codes in others], axis=0) if others else np.ones(len(sample), dtype=bool)
    part = AttributeSample(sample.images, name, levels, sample.rows[known], sample.codes[known])
    return part, [codes[known] for codes in others]


def _parts(
    finding: Finding, old: _Side, new: _Side, first: AttributeSample, second: AttributeSample
) -> list[tuple[Part, NDArray[np.bool_], NDArray[np.bool_]]]:
    """The parts of the images in which the attribute was used."""
    slices = finding.evidence.slices if finding.evidence else ()
    found = []
    for name, level in dict.fromkeys(row.within for row in slices if row.within):
        if name in {other.attribute for other in new.audit.findings}:
            (mine, _), (theirs, _) = old.levels(name), new.levels(name)
            if mine.names == theirs.names:
                masks = mine.codes[first.rows] == level, theirs.codes[second.rows] == level
                found.append(((name, level), *masks))
    return found


def _ruled(compared: Sequence[_Compared], audit: Audit, settings: AuditSettings) -> list[AttributeChange]:
    """The verdicts, p-values adjusted over the attributes."""
    values = [one.changes.p_value if isinstance(one.changes, Changes) else np.nan for one in compared]
    ruled = []
    for one, p_value in zip(compared, holm(values).tolist(), strict=True):
        if isinstance(one.changes, str):
            ruling = Ruling(CANNOT_TELL, f"It could not be compared: {one.changes}.", None)
            ruled.append(_change(one, ruling, None))
        else:
            found = rule(one.before, one.after, one.changes.rows, p_value, settings, audit)
            ruled.append(_change(one, found, p_value))
    return ruled


def _change(one: _Compared, ruling: Ruling, p_value: float | None) -> AttributeChange:
    return AttributeChange(
        attribute=one.before.attribute,
        verdict=ruling.verdict,
        reason=ruling.reason,
        before=one.before.verdict,
        after=one.after.verdict,
        levels=tuple(one.before.levels),
        leading=ruling.leading,
        changes=one.changes if isinstance(one.changes, Changes) else None,
        p_value=p_value,
        gap=_gap(one),
        by_level=_by_level(one),
    )


def _gap(one: _Compared) -> GapChange | None:
    old, new = one.before.evidence, one.after.evidence
    if one.samples is None or old is None or new is None:
        return None
    noise = [float(np.square(evidence.gap.test.null).mean()) for evidence in (old, new)]
    change = gap_change(*one.samples, noise=(noise[0], noise[1]))
    return GapChange(old.gap.effect, new.gap.effect, change)


def _by_level(one: _Compared) -> tuple[ClassChange, ...]:
    if one.samples is None:
        return ()
    first, second = one.samples
    found: list[ClassChange] = []
    for level in range(first.count):
        rows = [sample.rows[sample.codes == level] for sample in (first, second)]
        found += class_changes(first.images, second.images, one.paired, (rows[0], rows[1]), level)
    return tuple(found)
