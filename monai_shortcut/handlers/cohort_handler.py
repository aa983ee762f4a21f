# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the handlers that need metadata share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.audit.evidence import coded_levels
from monai_shortcut.cohort.columns import as_names
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.cohort.matching import ImageMatcher
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.embedding_recorder import EmbeddingRecorder
from monai_shortcut.handlers.processes import on_first, process_rank
from monai_shortcut.heads import LinearHead
from monai_shortcut.report.pages import writable
from monai_shortcut.storage.files import replacing

NO_ROW, NO_IMAGE = "no row in the cohort", "no image in the evaluation"
FORMER = "label of the table"  # where findings take its place


class ClinicalTask(NamedTuple):
    """One clinical label, the head that predicts it, and the images where both are known.

    Attributes:
        name: of the label in a multi-label network; "" if there is one label.
        cohort: rows of N images, in the order of the cohort.
        rows: (N,) int64 position of each image among the recorded ones.
        points: (N, D) float64 embeddings.
        outputs: (C,) which of the head's outputs predict it; one, of a single logit.
        weight: (C, D) of these outputs.
        bias: (C,).
        attributes: to be analysed.
    """

    name: str
    cohort: Cohort
    rows: NDArray[np.int64]
    points: NDArray[np.float64]
    outputs: tuple[int, ...]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    attributes: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What the names of its numbers begin with."""
        return f"{self.name}_" if self.name else ""

    def titled(self, title: str) -> str:
        """A title that tells the labels apart."""
        return f"{title}: {self.name}" if self.name else title

    def finite(self) -> ClinicalTask:
        """The same with the images only whose embedding is finite.

        Raises:
            ValueError: If there are none.
        """
        finite = np.isfinite(self.points).all(axis=1)
        if not finite.any():
            raise ValueError("at least one embedding must be finite, got none: check the model's weights and inputs.")
        cohort = self.cohort.select(np.array(self.cohort.image_ids)[finite].tolist())
        return self._replace(cohort=cohort, rows=self.rows[finite], points=self.points[finite])


class CohortHandler(EmbeddingRecorder):
    """An `EmbeddingRecorder` that knows the cohort and reports numbers at the end of an epoch.

    Of a distributed evaluation process 0 computes and writes; all processes get the numbers. Images and rows that have
    no counterpart are listed in ``unmatched.csv``.
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
        embedding: str = "pooled",
        layer: str | None = None,
        output: str | int | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        super().__init__(network, embedding=embedding, layer=layer, output=output, image_key=image_key, id_key=id_key)
        self.labels = None if labels is None else as_names(labels)
        self.cohorts = _by_label(cohort, self.labels)
        columns = tuple(dict.fromkeys(name for own in self.cohorts.values() for name in own.attributes))
        unknown = [name for name in attributes or () if name not in columns]
        if unknown:
            raise ValueError(f"attributes must be among {list(columns)}, got {unknown}.")
        # Other labels are no attributes, unless they are asked for.
        others = tuple(name for name in columns if name not in (*(self.labels or ()), FORMER))
        self.attributes = others if attributes is None else tuple(attributes)
        self.settings = settings or AuditSettings()
        self.output_dir = None if output_dir is None else Path(output_dir)
        if self.output_dir is not None and process_rank() == 0:
            writable(self.output_dir)  # now, not after an hour of evaluation
        self.problems: dict[str, str] = {}
        self._matchers = {label: ImageMatcher(own.image_ids) for label, own in self.cohorts.items()}
        self._excluded = {label: ImageMatcher(tuple(own.excluded)) for label, own in self.cohorts.items()}
        self._unmatched: tuple[dict[str, str], tuple[str, ...]] = ({}, ())
        self._written: set[str] = set()

    def _epoch_started(self, engine: Engine) -> None:
        for name in self._written:  # an evaluator keeps its metrics between runs; old numbers must not stay
            engine.state.metrics.pop(name, None)
        self._written = set()
        super()._epoch_started(engine)

    def _epoch_completed(self, engine: Engine) -> None:
        recorded = self._recording
        super()._epoch_completed(engine)
        if recorded:
            numbers = on_first(lambda: self._computed(engine))
            self._written = set(numbers)
            engine.state.metrics.update(numbers)

    def _computed(self, engine: Engine) -> dict[str, float]:
        tasks = self._tasks()
        self._list_unmatched()
        return self._finish(engine, tasks)

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        """Analyse what was recorded and give the numbers for the engine's metrics."""
        raise NotImplementedError

    def _matched(self, label: str = "") -> tuple[Cohort, NDArray[np.int64]]:
        """The cohort's rows that were recorded, in the cohort's order, and the position of each among the recorded.

        The order does not depend on which process saw an image, or when.
        """
        cohort, found = self.cohorts[label], self._matchers[label].find_all(list(dict.fromkeys(self._names)))
        position = {image: row for row, image in enumerate(found) if image is not None}
        chosen = [image for image in cohort.image_ids if image in position]
        return cohort.select(chosen), np.array([position[image] for image in chosen], dtype=np.int64)

    def _nameless(self, label: str = "") -> dict[str, str]:
        """Reason by name, of the recorded images that have no row in the cohort, not even an excluded one."""
        matchers = self._matchers[label], self._excluded[label]
        names = zip(dict.fromkeys(self._names), self.image_ids, strict=True)
        return {shown: NO_ROW for name, shown in names if all(matcher.find(name) is None for matcher in matchers)}

    def _unseen(self, label: str = "") -> tuple[str, ...]:
        """Rows of the cohort that the evaluation did not come by."""
        seen = {self._matchers[label].find(name) for name in self._names}
        return tuple(image for image in self.cohorts[label].image_ids if image not in seen)

    def _tasks(self) -> list[ClinicalTask]:
        """The clinical labels that can be analysed; ``problems`` says why the others cannot.

        Raises:
            ValueError: If the labels are not those of the head, or none can be analysed.
        """
        points, head = self.embeddings, self._head()
        weight, bias = (values.double().cpu().numpy() for values in (head.weight, head.bias))
        every = tuple(range(len(bias)))
        labels = self._labels_of(head)
        outputs = {"": every} if labels is None else {name: (code,) for code, name in enumerate(labels)}
        tasks, self.problems = [], {}
        for name, codes in outputs.items():
            if name not in self.cohorts:
                self.problems[name] = "it is the same in all rows of the cohort"
                continue
            cohort, rows = self._matched(name)
            if name and len(set(cohort.labels.tolist())) < 2:
                self.problems[name] = f"{len(cohort)} images tell, in all of which it is the same"
                continue
            attributes = tuple(attribute for attribute in self.attributes if attribute in cohort.attributes)
            head_rows = weight[list(codes)], bias[list(codes)]
            tasks.append(ClinicalTask(name, cohort, rows, points[rows], codes, *head_rows, attributes))
        if not any(len(task.rows) for task in tasks):
            self._refuse()
        return tasks

    def _refuse(self) -> None:
        """Say why nothing can be analysed."""
        ids = next((own.image_ids[:3] for own in self.cohorts.values()), ())
        if all(not len(self._matched(label)[1]) for label in self.cohorts):
            raise ValueError(
                f"image ids must match those of the cohort ({', '.join(ids)}, ...), "
                f"got {', '.join(self.image_ids[:3])}, ..."
            )
        raise ValueError(f"a label must be absent in some images and present in others, got {self.problems}.")

    def _labels_of(self, head: LinearHead) -> tuple[str, ...] | None:
        """The labels, checked to be those of the head."""
        count = len(head.bias)
        if self.labels is None and head.activation == "sigmoid" and count > 1:
            raise ValueError(
                f"labels must name what each of the {count} outputs tells, for the network ends in a sigmoid, got None."
            )
        exclusive = head.activation == "softmax" and count > 1
        if self.labels is not None and (exclusive or count != len(self.labels)):
            got = "a softmax over them" if exclusive else f"{len(self.labels)} labels"
            raise ValueError(f"each of the labels must have an output of its own, got {got} for {count} outputs.")
        return self.labels

    def _levels(self, cohort: Cohort, attributes: Sequence[str] | None = None) -> dict[str, Levels]:
        """Levels of the attributes that can be analysed."""
        kept = {}
        for name in self.attributes if attributes is None else attributes:
            levels = coded_levels(name, cohort.values(name), cohort.patients, self.settings)
            if not levels.problem:
                kept[name] = levels
        return kept

    def _table(self, rows: list[dict[str, object]], name: str) -> None:
        if self.output_dir is not None:
            with replacing(self.output_dir / name) as part:
                pd.DataFrame(rows).to_csv(part, index=False)

    def _list_unmatched(self) -> None:
        """Say and write which images and which rows have no counterpart; said once while they are the same."""
        nameless = [self._nameless(label) for label in self.cohorts]
        images = {name: why for name, why in nameless[0].items() if all(name in others for others in nameless)}
        rows = tuple(dict.fromkeys(image for label in self.cohorts for image in self._unseen(label)))
        if (images, rows) == self._unmatched:
            return
        self._unmatched = images, rows
        problems: dict[str, str] = {**images, **dict.fromkeys(rows, NO_IMAGE)}
        self._table([{"name": name, "problem": problem} for name, problem in problems.items()], "unmatched.csv")
        place = f", listed in {self.output_dir / 'unmatched.csv'}" if self.output_dir else ""
        print(
            f"{type(self).__name__}: {len(images)} images have no row in the cohort and {len(rows)} of its rows no "
            f"image{place}",
            flush=True,
        )


def _by_label(cohort: Cohort | str | Path | Mapping[str, Cohort], labels: tuple[str, ...] | None) -> dict[str, Cohort]:
    """The cohort of each clinical label that differs between its images; "" if there is one label."""
    if isinstance(cohort, Mapping):
        if labels is None or not set(cohort) <= set(labels) or not cohort:
            raise ValueError(f"cohorts must be of the labels {list(labels or ())}, got those of {list(cohort)}.")
        return dict(cohort)
    if labels is None:
        return {"": cohort if isinstance(cohort, Cohort) else Cohort.from_csv(cohort)}
    if isinstance(cohort, Cohort):
        outcomes, former = cohort.outcomes(labels), None if cohort.finding else FORMER
        found = {name: cohort.with_label(name, former) for name in labels if outcomes[name].nunique() == 2}
    else:
        found = Cohort.by_finding(cohort, labels)
    if not found:
        raise ValueError(f"a label must be absent in some images and present in others, got {', '.join(labels)}.")
    return found
