# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two numbers per attribute while an evaluator runs: is it encoded, and is the head aligned with it?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ignite.engine import Engine

from monai_shortcut.analyses.encoding import fit_probe, probe_encoding
from monai_shortcut.handlers.cohort_handler import ClinicalTask, CohortHandler
from monai_shortcut.statistics.weight_space import weight_space_correlation


class MetadataProbe(CohortHandler):
    """Reports how well each attribute can be read off the embedding.

    Adds ``<attribute>_probe_auroc`` and ``<attribute>_probe_p`` to the engine's metrics (comparing images of one label
    only) and writes ``metadata_probe.csv`` with accuracy, precision, recall, F1 and AUROC and their intervals.
    Attributes that cannot be analysed have no number; `ShortcutAudit` says why.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, or the path of its CSV; of several labels also a cohort for each that differs.
        attributes: columns to probe; by default all attributes of the cohort that are no labels.
        labels: of a multi-label network, the findings that its outputs tell, in their order; each is analysed by
            itself, and the names of its numbers begin with it. By default the cohort's label.
        output_dir: folder of the table; by default none is written.
        settings: folds, permutations, bootstraps and seed.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as for `linear_head`.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images.

    Raises:
        ValueError: If an attribute or label is not in the cohort, no image of the run is, or the labels do not fit the
            head.
        PermissionError: If the folder cannot be written to.
    """

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        rows: list[dict[str, object]] = []
        numbers: dict[str, float] = {}
        for task in tasks:
            found, table = self._probe(task.finite())
            numbers |= found
            rows += table
        self._table(rows, "metadata_probe.csv")
        return numbers

    def _probe(self, task: ClinicalTask) -> tuple[dict[str, float], list[dict[str, object]]]:
        rows: list[dict[str, object]] = []
        numbers: dict[str, float] = {}
        cohort, label = task.cohort, {"label": task.name} if task.name else {}
        for name, levels in self._levels(cohort, task.attributes).items():
            known = levels.codes >= 0
            try:
                found = probe_encoding(
                    task.points[known],
                    levels.codes[known],
                    cohort.patients[known],
                    cohort.labels[known],
                    folds=self.settings.folds,
                    permutations=self.settings.permutations,
                    bootstraps=self.settings.bootstraps,
                    level=self.settings.level,
                    rng=np.random.default_rng(self.settings.seed),
                )
            except ValueError:  # it coincides with the label, or too few patients have it
                continue
            key = f"{task.prefix}{name}"
            numbers |= {f"{key}_probe_auroc": found.own_auroc[0], f"{key}_probe_p": found.p_value}
            values = {**found.metrics, "auroc": found.auroc, "own_auroc": found.own_auroc}
            for metric, (value, low, high) in values.items():
                rows.append({**label, "attribute": name, "metric": metric, "value": value, "low": low, "high": high})
        return numbers, rows


class WeightSpaceCorrelation(CohortHandler):
    """Reports the weight space correlation between the clinical head and each attribute's probe, as published.

    Adds ``<attribute>_wsc``, the largest absolute value, to the engine's metrics and writes
    ``weight_space_correlation.csv`` with one row per class and level.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, or the path of its CSV; of several labels also a cohort for each that differs.
        attributes: columns to probe; by default all attributes of the cohort that are no labels.
        labels: of a multi-label network, the findings that its outputs tell, in their order; each is analysed by
            itself, and the names of its numbers begin with it. By default the cohort's label.
        output_dir: folder of the table; by default none is written.
        settings: variance and min_components of the subspace.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as for `linear_head`.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images.

    Raises:
        ValueError: If an attribute or label is not in the cohort, no image of the run is, or the labels do not fit the
            head.
        PermissionError: If the folder cannot be written to.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315.
    """

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        rows: list[dict[str, object]] = []
        numbers: dict[str, float] = {}
        for task in map(ClinicalTask.finite, tasks):
            cohort, points, weight = task.cohort, task.points, task.weight
            classes = cohort.label_names if len(weight) == len(cohort.label_names) else cohort.label_names[-1:]
            classes = (task.name,) if task.name else classes
            for name, levels in self._levels(cohort, task.attributes).items():
                known = levels.codes >= 0
                probe = fit_probe(points[known], levels.codes[known]).weight
                values = weight_space_correlation(
                    weight, probe, points[known], self.settings.variance, self.settings.min_components
                )
                numbers[f"{task.prefix}{name}_wsc"] = float(np.abs(values).max())
                for (row, column), value in np.ndenumerate(values):
                    rows.append({"attribute": name, "label": classes[row], "level": levels.names[column], "wsc": value})
        self._table(rows, "weight_space_correlation.csv")
        return numbers
