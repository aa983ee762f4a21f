# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Repairs of a head at the end of an evaluation, fitted to some patients and audited on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.audit.record import Audit
from monai_shortcut.cohort.columns import as_names, require_none
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler, CohortReading
from monai_shortcut.handlers.tasks import ClinicalTask, analysable_levels
from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.linear import LinearHead
from monai_shortcut.heads.unfolding import with_head
from monai_shortcut.repair import Comparison, RepairedHead, compare_audits, erase, rebalance, require_apart
from monai_shortcut.report.comparison_page import comparison_files
from monai_shortcut.report.files import PAGE, label_folders
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.tables import read_csv
from monai_shortcut.types import Unmeasurable

if TYPE_CHECKING:
    from typing_extensions import Unpack

METHODS: Mapping[str, Callable[..., RepairedHead]] = {"erase": erase, "rebalance": rebalance}


class HeadRepair(CohortHandler):
    """Repairs the head of the evaluator's model, and audits each candidate on patients it was not fitted to.

    Half of the patients, or those of ``fit_folds``, are for the fit; the others are audited before and after. Nothing
    is chosen by the audit. ``report.html`` has a section for each candidate; beside it are the records. ``repaired.pt``
    is the state of the whole network with the head of ``method``, which the bundle loads as it loads its own;
    ``heads.pt`` holds weight and bias of all candidates.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, as in `CohortHandler`; no image may have been trained on.
        output_dir: folder of what is written.
        repair: attributes to repair, together; all attributes of the cohort are audited.
        method: "erase" or "rebalance", whose head ``repaired.pt`` has; both are audited.
        fit_folds: values of the cohort's column ``fold`` whose patients the repairs are fitted to.
        trained_on: a CSV file whose column ``patient_id`` names the patients the network was trained on.
        title: what is repaired.
        **reading: as in `CohortHandler`.

    Raises:
        ValueError: If an attribute or method does not exist, the head is read off a map of logits, patients are on both
            sides or were trained on, the head cannot be written back, or as in `CohortHandler`.
        Unmeasurable: If no candidate can be fitted; the message says why for each.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        output_dir: str | Path,
        *,
        repair: Sequence[str],
        method: str = "rebalance",
        fit_folds: Sequence[int] = (),
        trained_on: str | Path | None = None,
        title: str = "Repair",
        **reading: Unpack[CohortReading],
    ) -> None:
        super().__init__(network, cohort, output_dir=output_dir, **reading)
        self.repair, self.method, self.title = tuple(as_names(repair)), method, title
        self.fit_folds, self.trained_on = tuple(fit_folds), trained_on
        if not self.repair:
            raise ValueError(f"repair must name attributes among {', '.join(self.attributes)}, got none.")
        require_none(
            [name for name in self.repair if name not in self.attributes],
            f"repair must be of the attributes {', '.join(self.attributes)}",
        )
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
        if self.embedding != "pooled":
            raise ValueError(f'embedding must be "pooled", for other heads are no layer, got {self.embedding!r}.')
        self.comparisons: dict[str, dict[str, Comparison]] = {}

    def _clear(self) -> None:
        super()._clear()
        self.comparisons = {}
        self._example: Inputs | None = None

    def _look(self, engine: Engine) -> None:
        super()._look(engine)
        if self._example is None:
            given = self.given(engine)
            self._example = given.rows(range(min(2, len(given))))

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        assert self.output_dir is not None
        folders = label_folders(task.name for task in tasks) if self.labels else {"": "."}
        heads: dict[str, LinearHead] = {}
        for task in tasks:
            fitted, refused = self._repaired(task, self.output_dir / folders[task.name])
            for name, one in fitted.items():
                heads[name] = _with_rows(heads.get(name, self._head()), task.outputs, one)
            for name, why in refused.items():
                self.problems[f"{task.prefix}{name}"] = why
                print(f"{task.titled(name)}: no repair: {why}", flush=True)
        if not heads:
            raise Unmeasurable(f"one repair must be possible, got none: {self.problems}.")
        self._save(heads)
        return {}

    def _save(self, heads: Mapping[str, LinearHead]) -> None:
        assert self.output_dir is not None
        assert self._example is not None
        chosen = self.method if self.method in heads else next(iter(heads))
        network = with_head(self.network, self._head(), heads[chosen], self._example, self.output)
        state = {name: value.cpu() for name, value in network.state_dict().items()}  # which machines without GPU load
        plain = {
            name: {"layer": one.layer, "weight": one.weight.cpu(), "bias": one.bias.cpu()}
            for name, one in heads.items()
        }
        files = {
            "heads.pt": partial(torch.save, plain),
            "repaired.pt": partial(torch.save, state),
        }
        replace_files(self.output_dir, files, "repaired.pt")
        print(f"repaired by {chosen}: {self.output_dir / 'repaired.pt'}, a state of the whole network", flush=True)

    def _repaired(self, task: ClinicalTask, folder: Path) -> tuple[dict[str, RepairedHead], dict[str, str]]:
        """Candidates of a label, and why others there are none of; the page is written."""
        task = task.finite()
        levels = analysable_levels(
            task.cohort, [name for name in self.repair if name in task.attributes], self.settings
        )
        if absent := [name for name in self.repair if name not in levels]:
            raise Unmeasurable(f"repair must be of attributes with two levels or more, got {', '.join(absent)}.")
        codes = np.stack([levels[name].codes for name in self.repair], axis=1)
        fit = self._for_the_fit(task.cohort, codes)
        given = task.given(self.settings)
        fitted: dict[str, RepairedHead] = {}
        refused: dict[str, str] = {}
        for name, method in METHODS.items():
            arrays = (given["embeddings"][fit], given["labels"][fit], codes[fit], task.cohort.patients[fit])
            try:
                fitted[name] = method(task.weight, task.bias, *arrays)
            except Unmeasurable as reason:
                known = {name: list(one.names) for name, one in levels.items()}
                refused[name] = f"{reason}; labels are {list(task.cohort.label_names)}, levels {known}"
        if fitted:
            self._compare(task, ~fit, fitted, refused, folder)
        return fitted, refused

    def _for_the_fit(self, cohort: Cohort, codes: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,) the images that repairs are fitted to."""
        patients = cohort.patients
        if self.trained_on is not None:
            known = read_csv(self.trained_on, text=["patient_id"])["patient_id"].dropna()
            both = len({*map(str, known)} & {*patients.tolist()})
            if both:
                raise ValueError(
                    f"patients of the cohort must not have been trained on, got {both} in {self.trained_on}."
                )
        if self.fit_folds:
            fit = np.asarray(cohort.table.index.isin(cohort.in_folds(*self.fit_folds).table.index))
        else:
            cell = np.unique(np.column_stack([cohort.labels, codes]), axis=0, return_inverse=True)[1].reshape(-1)
            fit = patient_folds(patients, cell, 2, np.random.default_rng(self.settings.seed)) == 0
        require_apart(patients[fit].tolist(), patients[~fit].tolist())
        if fit.all():
            raise ValueError("patients must be left to audit the repair on, got all in fit_folds.")
        return fit

    def _compare(
        self,
        task: ClinicalTask,
        rows: NDArray[np.bool_],
        fitted: Mapping[str, RepairedHead],
        refused: Mapping[str, str],
        folder: Path,
    ) -> None:
        matched = task.matched
        ids = np.array(task.cohort.image_ids)[rows].tolist()
        part = replace(task, matched=matched._replace(cohort=task.cohort.select(ids), rows=matched.rows[rows]))
        audits: dict[str, Audit] = {"before": part.audited(self.settings, f"{self.title}: before")}
        for name, head in fitted.items():
            own = _with_rows(self._head(), task.outputs, head)
            after = replace(part, images=replace(part.images, head=own))
            audits[name] = after.audited(self.settings, f"{self.title}: {name}")
        found = {name: compare_audits(audits["before"], audits[name]) for name in fitted}
        records: dict[str, Any] = {f"{name}.json": audit.to_json for name, audit in audits.items()}
        files = comparison_files(found, task.titled(self.title), self.repair, refused)
        replace_files(folder, {**records, **files}, PAGE)
        self.comparisons[task.name] = found
        for name, one in found.items():
            told = "; ".join(f"{own.attribute} {own.verdict}" for own in one.attributes)
            print(f"{task.titled(name)}: {told}", flush=True)
        print(f"report: {folder / PAGE}", flush=True)


def _with_rows(head: LinearHead, outputs: Sequence[int], repaired: RepairedHead) -> LinearHead:
    """A head with the rows of one label replaced."""
    weight, bias = head.weight.double().clone(), head.bias.double().clone()
    weight[list(outputs)] = torch.as_tensor(repaired.weight).to(weight)
    bias[list(outputs)] = torch.as_tensor(repaired.bias).to(bias)
    return replace(head, weight=weight, bias=bias)
