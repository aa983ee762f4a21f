# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two numbers per attribute while an evaluator runs: is it encoded, and is the head aligned with it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ignite.engine import Engine

from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.handlers.tasks import ClinicalTask, Embeddings, analysable_levels
from monai_shortcut.statistics.ordering import OrderedRows
from monai_shortcut.statistics.probes import fit_probe
from monai_shortcut.statistics.variation import vary
from monai_shortcut.statistics.weight_space import weight_space_correlation
from monai_shortcut.storage.records import encode
from monai_shortcut.types import Unmeasurable


class Measured(NamedTuple):
    """What was measured of one attribute.

    Attributes:
        numbers: for the engine's metrics, by the end of their names.
        rows: rows of the table.
    """

    numbers: dict[str, float]
    rows: list[dict[str, object]]


class AttributeTable(CohortHandler):
    """A `CohortHandler` that measures each attribute by itself and writes a table.

    Attributes:
        file: name of the table.
    """

    file = ""

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        rows: list[dict[str, object]] = []
        numbers: dict[str, float] = {}
        with self.timings.of("analysis"):
            for task in map(ClinicalTask.finite, tasks):
                embeddings = task.embeddings
                for name, levels in analysable_levels(task.cohort, task.attributes, self.settings).items():
                    found = self._measure(task, embeddings, name, levels)
                    numbers |= {f"{task.prefix}{name}_{end}": value for end, value in found.numbers.items()}
                    rows += found.rows
        self._table(rows, self.file)
        return numbers

    def _measure(self, task: ClinicalTask, embeddings: Embeddings, name: str, levels: Levels) -> Measured:
        raise NotImplementedError


class MetadataProbe(AttributeTable):
    """Reports how well each attribute can be read off the embedding.

    Adds ``<attribute>_probe_auroc`` and ``<attribute>_probe_p`` to the engine's metrics (comparing images of one label
    only) and writes ``metadata_probe.csv`` with accuracy, precision, recall, F1 and AUROC and their intervals.
    Attributes that cannot be analysed have no number; `ShortcutAudit` says why.

    Args:
        network, cohort: the classifier and the images' table, as in `CohortHandler`.
        attributes, labels: columns to probe, and findings of a multi-label network, as in `CohortHandler`.
        output_dir: folder of the table; by default none is written.
        settings: folds, permutations, bootstraps and seed.
        embedding, layer, output, image_key, id_key: what to read of network and batch, as in `EmbeddingRecorder`.

    Raises:
        ValueError: As in `CohortHandler`.
        PermissionError: As in `CohortHandler`.
    """

    file = "metadata_probe.csv"

    def _measure(self, task: ClinicalTask, embeddings: Embeddings, name: str, levels: Levels) -> Measured:
        cohort = task.cohort
        sample = Sample.of(embeddings, task.weight, task.bias, cohort.labels, cohort.patients, draws=self.settings)
        try:
            found = encoding(sample.by(name, levels))
        except Unmeasurable:  # it coincides with the label, too few patients have it, or the embedding is one
            return Measured({}, [])
        label = {"label": task.name} if task.name else {}
        values = {**found.metrics, "auroc": found.auroc, "own_auroc": found.own_auroc}
        rows: list[dict[str, object]] = [
            {**label, "attribute": name, "metric": metric, **encode(value)} for metric, value in values.items()
        ]
        return Measured({"probe_auroc": found.own_auroc.value, "probe_p": found.test.p_value}, rows)


class WeightSpaceCorrelation(AttributeTable):
    """Reports the weight space correlation between the clinical head and each attribute's probe, as published.

    Adds ``<attribute>_wsc``, the largest absolute value, to the engine's metrics and writes
    ``weight_space_correlation.csv`` with one row per class and level. An embedding that does not vary has no number.

    Args:
        network, cohort: the classifier and the images' table, as in `CohortHandler`.
        attributes, labels: columns to probe, and findings of a multi-label network, as in `CohortHandler`.
        output_dir: folder of the table; by default none is written.
        settings: variance and min_components of the subspace.
        embedding, layer, output, image_key, id_key: what to read of network and batch, as in `EmbeddingRecorder`.

    Raises:
        ValueError: As in `CohortHandler`.
        PermissionError: As in `CohortHandler`.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315.
    """

    file = "weight_space_correlation.csv"

    def _measure(self, task: ClinicalTask, embeddings: Embeddings, name: str, levels: Levels) -> Measured:
        names = task.cohort.label_names if len(task.outputs) > 1 else task.cohort.label_names[-1:]
        classes = (task.name,) if task.name else names
        known = levels.codes >= 0
        points = embeddings[known]
        if not vary(OrderedRows(points)):
            return Measured({}, [])
        probe = fit_probe(points, levels.codes[known]).weight
        values = weight_space_correlation(
            task.weight, probe, points, self.settings.variance, self.settings.min_components
        )
        rows: list[dict[str, object]] = [
            {"attribute": name, "label": classes[row], "level": levels.names[column], "wsc": value}
            for (row, column), value in np.ndenumerate(values)
        ]
        return Measured({"wsc": float(np.abs(values).max())}, rows)
