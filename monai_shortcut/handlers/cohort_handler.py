# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the handlers that know the cohort share."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from ignite.engine import Engine
from torch import nn

from monai_shortcut.audit.logged import loggable
from monai_shortcut.audit.regression import require_classes
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.columns import as_names, require_none
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.agreement import disagreement, given_labels
from monai_shortcut.handlers.processes import on_first, process_rank
from monai_shortcut.handlers.recording import EACH, FIRST, MEAN, EmbeddingRecorder, Reading
from monai_shortcut.handlers.tasks import (
    ClinicalTask,
    CohortMatcher,
    RecordedImages,
    Unmatched,
    chosen_attributes,
    clinical_tasks,
    cohorts_by_label,
    head_outputs,
    with_classes,
)
from monai_shortcut.handlers.timings import Timings
from monai_shortcut.regions.properties import PROPERTIES
from monai_shortcut.storage.folders import owned, replace_files, writable
from monai_shortcut.storage.privacy import listed
from monai_shortcut.storage.tables import write_csv

if TYPE_CHECKING:
    from typing_extensions import Unpack

_UNMATCHED = "unmatched.csv"
_TOLD = 5  # names on the console


class CohortReading(Reading, total=False):
    """Keyword arguments of `CohortHandler`, which the audits pass on to it."""

    attributes: Sequence[str] | None
    labels: Sequence[str] | None
    settings: AuditSettings | None
    label_key: str
    mislabelled: float
    most_unmatched: float


class CohortHandler(EmbeddingRecorder):
    """An `EmbeddingRecorder` that knows the cohort and reports numbers at the end of an epoch.

    In a distributed evaluation process 0 computes and writes, and all processes get the numbers. Images without a row
    and rows without an image are listed in ``unmatched.csv``, by name where ``settings.privacy`` allows
    ids. The engine's logger says where the time went, as in ``timings``. While the engine runs, no other process may
    write to the folder.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, or the path of its CSV; for several labels also a cohort for each label that differs
            between images.
        attributes: columns to analyse; by default all attributes of the cohort that are no labels.
        labels: the findings that a multi-label network predicts, in the order of its outputs. Each is analysed by
            itself, and the names of its numbers begin with it. By default the cohort has one label: the outputs predict
            its classes, or a single output its second class.
        output_dir: folder of what is written; by default nothing is.
        settings: settings of the analyses; by default `AuditSettings()`.
        label_key: entry of the batch that holds labels; where there is one, it is compared with the table's.
        mislabelled: share of these labels that may be others than the table's.
        most_unmatched: share of the images, and of the rows, that may be without counterpart.
        outcome: what a regression predicts, which only `ShortcutAudit` takes; any other handler refuses it.
        **reading: ``embedding``, ``layer``, ``output``, ``image_key``, ``id_key`` and ``patches``, as in
            `EmbeddingRecorder`.

    Raises:
        ValueError: If an outcome is given, an attribute or label is not in the cohort, no image of the run is, the
            labels do not fit the head, or too many labels differ or images and rows have no counterpart.
        PermissionError: If the folder cannot be written to.
        FolderInUseError: If another process writes there.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        *,
        attributes: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        output_dir: str | Path | None = None,
        settings: AuditSettings | None = None,
        label_key: str = "label",
        mislabelled: float = 0.05,
        most_unmatched: float = 1.0,
        outcome: str | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        require_classes(type(self).__name__, outcome)
        super().__init__(network, **reading)
        self.label_key, self.mislabelled, self.most_unmatched = label_key, mislabelled, most_unmatched
        self.labels = None if labels is None else as_names(labels)
        self.cohorts = cohorts_by_label(cohort, self.labels)
        self.attributes = chosen_attributes(self.cohorts.values(), self.labels, attributes)
        self.settings = settings or AuditSettings()
        known = dict.fromkeys(name for own in self.cohorts.values() for name in own.attributes)
        if self.settings.image_properties:
            require_none(sorted(set(PROPERTIES) & set(known)), "attributes must not be called as what is measured")
            known |= dict.fromkeys(PROPERTIES)
        strangers = sorted({*self.settings.edges, *self.settings.adjust_for} - set(known))
        require_none(sorted(self.settings.intersected - set(known)), "intersections must be of the cohort's attributes")
        require_none(strangers, f"edges and adjust_for must be of the cohort's attributes ({', '.join(known)})")
        self.output_dir = None if output_dir is None else Path(output_dir)
        if self.output_dir is not None and process_rank() == 0:
            writable(self.output_dir)  # now, not after an hour of evaluation
        self._folder = ExitStack()
        self.problems: dict[str, str] = {}
        self.timings = Timings()
        self._began = 0.0
        self.notes: tuple[str, ...] = ()
        self._match_with()
        self._unmatched: tuple[Unmatched, dict[str, str]] | None = None
        self._written: set[str] = set()

    def _match_with(self) -> None:
        each = self.patches == EACH
        self._matchers = {label: CohortMatcher(own, each=each) for label, own in self.cohorts.items()}

    def _look(self, engine: Engine) -> None:
        unknown = self.head is None
        super()._look(engine)
        if unknown:
            self._name_classes()
        batch, columns = engine.state.batch, 1 if self.labels is None else len(self.labels)
        self._record("label", given_labels(batch, self.label_key, len(batch[self.image_key]), columns))

    def _name_classes(self) -> None:
        """Make sure that the labels fit the head, before a whole evaluation has run."""
        head_outputs(self._head(), self.labels)
        if self.labels is None:
            self.cohorts = {"": with_classes(self.cohorts[""], self._head())}
            self._match_with()

    def _epoch_started(self, engine: Engine) -> None:
        self._own_folder()
        for name in self._written:  # an evaluator keeps its metrics between runs; old numbers must not stay
            engine.state.metrics.pop(name, None)
        self._written = set()
        self.timings, self._began = Timings(), time.perf_counter()
        super()._epoch_started(engine)

    def _epoch_completed(self, engine: Engine) -> None:
        recorded = self._recording
        super()._epoch_completed(engine)
        if recorded:
            self.timings.seconds["evaluation"] = time.perf_counter() - self._began
            numbers = loggable(on_first(lambda: self._computed(engine)))
            self._written = set(numbers)
            engine.state.metrics.update(numbers)
        self._leave_folder()

    def _own_folder(self) -> None:
        """Keep other processes from the folder; if the run fails, as long as this handler lives."""
        if self.output_dir is not None and process_rank() == 0:
            owner = ExitStack()
            owner.enter_context(owned(self.output_dir))
            self._folder.close()
            self._folder = owner

    def _leave_folder(self) -> None:
        self._folder.close()

    def _computed(self, engine: Engine) -> dict[str, float]:
        images = self.recorded
        matches = {label: matcher.match(images) for label, matcher in self._matchers.items()}
        tasks, self.problems = clinical_tasks(images, matches, self.labels, self.attributes)
        unmatched = Unmatched.among(matches.values())
        self._list_unmatched(unmatched, images.left_out)
        rows = len({image for own in self.cohorts.values() for image in own.image_ids})
        notes = [
            unmatched.told(len(images.names), rows, self.most_unmatched),
            *map(self._labelled, tasks),
            self._several(images),
        ]
        self.notes = tuple(note for note in notes if note)
        numbers = self._finish(engine, tasks)
        engine.logger.info("%s: %s", type(self).__name__, self.timings)
        return numbers

    def _labelled(self, task: ClinicalTask) -> str:
        """How many labels of the batches are not those of the table; of a patch, they need not be its image's."""
        if self.patches != FIRST:
            return ""
        column = self.labels.index(task.name) if self.labels else 0
        return disagreement(self._column("label")[task.matched.rows, column], task.cohort, self.mislabelled)

    def _several(self, images: RecordedImages) -> str:
        """What became of several images of one name."""
        seen, names = len(self._names), len(images.names)
        if images.left_out:
            return (
                f"{len(images.left_out)} of {len(images.left_out) + names} images have the name of another one and are "
                'left out. Give patches ids of their own, or choose patches="mean" or "each".'
            )
        if self.patches == MEAN and seen > names:
            return f"What the head reads of {seen} patches is averaged for each of {names} images."
        if self.patches == EACH and any(count > 1 for count in self._times.values()):
            return f"Each of {names} patches is audited by itself, with the label and patient of its image."
        return ""

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        """Analyse what was recorded and give the numbers for the engine's metrics."""
        raise NotImplementedError

    def _table(self, rows: list[dict[str, object]], name: str) -> None:
        """Write a table in the folder; without rows, that of a former run goes."""
        if self.output_dir is not None:
            files = {name: partial(write_csv, pd.DataFrame(rows))} if rows else {}
            replace_files(self.output_dir, files, name)

    def _list_unmatched(self, found: Unmatched, left_out: Mapping[str, str]) -> None:
        """Say and write which images and which rows have no counterpart, and which images are left out; once."""
        known, self._unmatched = self._unmatched, (found, dict(left_out))
        if self._unmatched == known:
            return
        problems = {**found.problems, **left_out}
        named = listed(problems, self.settings.privacy)
        self._table([{"name": name, "problem": why} for name, why in named.items()], _UNMATCHED)
        if not problems and known is None:
            return
        place = f", listed in {self.output_dir / _UNMATCHED}" if self.output_dir else ""
        some = ", ".join(list(problems)[:_TOLD]) + (", ..." if len(problems) > _TOLD else "")
        further = f", and {len(left_out)} images have the name of another one and are left out" if left_out else ""
        print(
            f"{type(self).__name__}: {len(found.images)} images have no row in the cohort and {len(found.rows)} of its "
            f"rows no image{further}{place}: {some}",
            flush=True,
        )
