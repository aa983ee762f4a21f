# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""When does a model start to use an attribute? The audit's main numbers over the epochs of its training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from monai_shortcut.audit.epochs import AttributePoint, Cost, EpochAudit, audit_epoch, curve_settings
from monai_shortcut.audit.former import modern_curves
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.storage.records import as_of_now, decode, read_record, write_record

__all__ = ["AttributePoint", "Cost", "EpochAudit", "Onset", "TrainingCurves", "audit_epoch", "curve_settings"]

VERSION = 3


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
        version: version of this format.
    """

    title: str
    label_names: tuple[str, ...]
    attributes: tuple[str, ...]
    settings: AuditSettings
    interval: int = 1
    epochs: tuple[EpochAudit, ...] = ()
    version: int = VERSION

    @property
    def rule(self) -> str:
        """What use is judged by: "differences", or the "prediction gap" in records before version 3."""
        points = [point for audited in self.epochs for point in audited.points.values()]
        return "prediction gap" if any(point.gap is not None for point in points) else "differences"

    def used(self, attribute: str) -> tuple[bool, ...]:
        """Whether the attribute is used at each audited epoch, by the rule of the audit; see `AttributePoint`.

        Records before version 3 ask for a prediction gap, adjusted, that is significant and at least the tolerance.

        Raises:
            ValueError: If the attribute was not audited.
        """
        if attribute not in self.attributes:
            raise ValueError(f"attribute must be one of {list(self.attributes)}, got {attribute!r}.")
        points = [epoch.points.get(attribute) for epoch in self.epochs]
        return tuple(point is not None and point.used for point in points)

    def tolerance(self, point: AttributePoint) -> float:
        """The tolerance of a point's leading difference."""
        if point.difference is None:
            return self.settings.tolerance
        return self.settings.tolerated(self.label_names[point.difference.label], point.difference.scale)

    def onset(self, attribute: str) -> Onset | None:
        """From which audited epoch on predictions depend on an attribute.

        It is the first epoch from which the attribute is used there and at every audited epoch after it: one lucky
        epoch does not count, and neither does a use that training gave up again.

        How far it can be trusted: every onset includes the last audited epoch, so an attribute that is never used gets
        one no more often than the tests of that one epoch err (5 % for all attributes together with Holm's
        adjustment), however many epochs were looked at. That holds for a training of fixed length, not for one stopped
        for what its curves show. The epoch itself is a description: it has no interval, comes late where images are few
        (a use must be large enough to be found), and use may have begun anywhere after the audited epoch before. All
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
        last = self.epochs[-1] if self.epochs else None
        point = last.points.get(attribute) if last else None
        if last is None or point is None:
            why = f": {last.problems[attribute]}" if last and attribute in last.problems else ""
            return f"Whether the predictions depend on {attribute} was not measured{why}."
        if found is not None:
            return f"{_begun(attribute, found, last.epoch)} At the last one {point.reason}"
        there = [str(epoch.epoch) for epoch, use in zip(self.epochs, used, strict=True) if use]
        if there:
            at = f"epoch{'s' if len(there) > 1 else ''} {', '.join(there)}"
            said = f"The predictions depended on {attribute} at {at}, which the last audited epoch does not show"
        elif point.cleared:
            said = f"At no audited epoch were the predictions shown to depend on {attribute}; at the last one"
            return f"{said} {point.reason}"
        else:
            said = f"The images cannot tell whether the predictions depend on {attribute}; at the last audited epoch"
        return f"{said}: {point.reason}"

    def with_epoch(self, audited: EpochAudit) -> TrainingCurves:
        """The same with one more audit, in place of those of this epoch and later ones."""
        return replace(self, epochs=(*self.before(audited.epoch).epochs, audited))

    def before(self, epoch: int) -> TrainingCurves:
        """The same with the audits of earlier epochs only."""
        return replace(self, epochs=tuple(audited for audited in self.epochs if audited.epoch < epoch))

    def differences(self, other: TrainingCurves) -> list[str]:
        """Names of what two records must have in common to be one curve, and have not."""
        names = ("label_names", "attributes", "settings", "interval", "rule")
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
        value = as_of_now(modern_curves, read_record(path, "training curves", VERSION, "interval"), "training curves")
        return decode(cls, value, "training curves")


def _begun(attribute: str, found: Onset, last: int) -> str:
    if found.audits == 1:
        only = "Only" if found.after is not None else "Audited once,"
        verb = "do the predictions depend" if found.after is not None else "the predictions depend"
        return f"{only} at the last audited epoch, {last}, {verb} on {attribute}: weak evidence of when it began."
    before = "the first one audited" if found.after is None else f"not shown at epoch {found.after}"
    shown = f"{before}; shown at {found.audits} audits in a row"
    return f"From epoch {found.epoch} on the predictions depend on {attribute} ({shown})."
