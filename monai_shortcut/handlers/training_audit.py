# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit every n epochs of a training, as curves."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ignite.engine import Engine
from torch import nn

from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.audit.training import Cost, EpochAudit, TrainingCurves, audit_epoch, curve_settings
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import ClinicalTask, CohortHandler
from monai_shortcut.handlers.processes import process_rank
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.pages import label_folders, png
from monai_shortcut.report.training_page import RECORD, write_training_report


class TrainingAudit(CohortHandler):
    """Audits the model at every n-th epoch of its training: when does it start to use an attribute?

    Attach it to the evaluator that MONAI's ``ValidationHandler`` runs, which tells it the epoch of the training; before
    handlers that log, such as ``TensorBoardStatsHandler``. After each audited epoch it adds to the engine's metrics
    ``label_auroc`` and for each attribute ``<attribute>_own_auroc``, ``<attribute>_alignment`` (largest absolute),
    ``<attribute>_alignment_z``, ``<attribute>_wsc`` and ``<attribute>_prediction_gap``, prints a line with the cost,
    and writes the page, figure and tables of `write_training_report`. At other epochs it records nothing and its
    numbers are gone from the metrics; so it is where the weights are not finite. `TrainingCurves` has what they mean.

    The training is left as it is: no random state, gradient or batch statistic is touched. Only the evaluator, as any,
    draws a number from torch for its data loader; with `SeedEachEpoch` not even that reaches the training.

    A resumed training continues the curves that lie in the folder: audits before the epoch at hand are kept; later
    ones, of epochs that are trained anew, are dropped. A training that starts from the beginning starts them anew.

    Images that are audited at every epoch are no longer fit for the final audit if the curves had a say in the
    training; give that one other images.

    Args:
        network: the classifier that is trained.
        cohort: the images' table, or the path of its CSV; of several labels also a cohort for each that differs.
        output_dir: folder of the report; of several labels, each has a folder in it.
        interval: audit when the epoch is a multiple of it.
        attributes: columns to audit; by default all attributes of the cohort that are no labels.
        labels: of a multi-label network, the findings that its outputs tell, in their order; each has its own curves,
            and the names of its numbers begin with it. By default the cohort's label.
        settings: by default `curve_settings`: about a tenth of the draws of a full audit.
        title: what is trained.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as for `linear_head`.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images; without it they are those of their files.

    Raises:
        ValueError: If the interval is below 1; permutations are so few that no p-value could be significant after
            adjustment over the attributes; an attribute or label is not in the cohort; no image of the run is; or
            curves to be continued were recorded with other settings.
        PermissionError: If the folder cannot be written to.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        output_dir: str | Path,
        *,
        interval: int = 1,
        attributes: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        settings: AuditSettings | None = None,
        title: str = "Training audit",
        embedding: str = "pooled",
        layer: str | None = None,
        output: str | int | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}.")
        super().__init__(
            network,
            cohort,
            attributes=attributes,
            labels=labels,
            output_dir=output_dir,
            embedding=embedding,
            layer=layer,
            output=output,
            image_key=image_key,
            id_key=id_key,
        )
        count = len(self.attributes)
        self.settings = settings or curve_settings(count)
        needed = math.ceil(round(count / self.settings.significance, 6)) - 1
        if self.settings.correction == "holm" and self.settings.permutations < needed:
            raise ValueError(
                f"permutations must be at least {needed} for {count} attributes, or no adjusted p-value can be "
                f"significant, got {self.settings.permutations}."
            )
        self.interval, self.title = interval, title
        self.curves: dict[str, TrainingCurves] = {}
        self._began, self._evaluation = time.perf_counter(), 0.0
        self._ended: tuple[int, float] | None = None

    def _due(self, engine: Engine) -> bool:
        if engine.state.epoch % self.interval:
            return False
        state = unwrap(self.network).state_dict().values()
        finite = all(bool(values.isfinite().all()) for values in state if values.is_floating_point())
        if not finite and process_rank() == 0:  # a training that diverged is not for the audit to end
            print(f"{self.title}, epoch {engine.state.epoch}: not audited, the weights are not finite", flush=True)
        return finite

    def _epoch_started(self, engine: Engine) -> None:
        self._began = time.perf_counter()
        super()._epoch_started(engine)

    def _epoch_completed(self, engine: Engine) -> None:
        self._evaluation = time.perf_counter() - self._began
        super()._epoch_completed(engine)
        self._ended = engine.state.epoch, time.perf_counter()

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for task in tasks:
            numbers |= _numbers(task.prefix, self._audit(task, engine.state.epoch))
        return numbers

    def _audit(self, task: ClinicalTask, epoch: int) -> EpochAudit:
        """Measure one clinical label, write its report and say what it cost."""
        assert self.output_dir is not None
        began = time.perf_counter()
        folder = self.output_dir / label_folders(self.labels or ())[task.name] if task.name else self.output_dir
        earlier = self._earlier(task, folder / RECORD, epoch)
        audited = audit_epoch(
            epoch,
            task.points,
            task.weight,
            task.bias,
            task.cohort.labels,
            task.cohort.patients.tolist(),
            {name: task.cohort.values(name) for name in task.attributes},
            label_names=task.cohort.label_names,
            settings=self.settings,
        )
        picture = png(training_curves(earlier.with_epoch(audited)))  # drawn first, for it costs time too
        now = time.perf_counter()
        last, ended = self._ended or (epoch, now)
        since = (now - ended) / (epoch - last) if epoch > last else None
        audited = replace(audited, cost=Cost(now - began, self._evaluation, since))
        self.curves[task.name] = earlier.with_epoch(audited)
        write_training_report(self.curves[task.name], folder, picture)
        print(_line(self.curves[task.name]), flush=True)
        return audited

    def _earlier(self, task: ClinicalTask, path: Path, epoch: int) -> TrainingCurves:
        """The curves up to this epoch, which may have been recorded before the training was resumed."""
        fresh = TrainingCurves(
            task.titled(self.title), task.cohort.label_names, task.attributes, self.settings, self.interval
        )
        recorded = self.curves.get(task.name)
        if recorded is None and path.exists():
            recorded = TrainingCurves.from_json(path).before(epoch)
            if recorded.epochs:
                print(f"continuing the curves of {path} after epoch {recorded.epochs[-1].epoch}", flush=True)
        kept = recorded.before(epoch) if recorded is not None else fresh
        different = kept.differences(fresh) if kept.epochs else []
        if different:
            raise ValueError(
                f"{path} must hold curves with the same {', '.join(different)} to be continued at epoch {epoch}, got "
                "others: use another output_dir, or remove it."
            )
        return replace(fresh, epochs=kept.epochs)


def _numbers(prefix: str, audited: EpochAudit) -> dict[str, float]:
    """What is logged of an epoch."""
    numbers = {f"{prefix}label_auroc": audited.auroc[0]}
    for name, point in audited.points.items():
        numbers |= {
            f"{prefix}{name}_own_auroc": point.own_auroc[0],
            f"{prefix}{name}_alignment": point.alignment,
            f"{prefix}{name}_alignment_z": point.alignment_z,
            f"{prefix}{name}_wsc": point.wsc,
            f"{prefix}{name}_prediction_gap": point.gap[0],
        }
    return numbers


def _line(curves: TrainingCurves) -> str:
    """The last audited epoch and its cost in a line."""
    audited = curves.epochs[-1]
    parts = [f"label AUROC {audited.auroc[0]:.2f}"]
    for name, point in audited.points.items():
        onset = curves.onset(name)
        since = "" if onset is None else f", used since epoch {onset.epoch}"
        parts.append(
            f"{name} gap {point.gap[0]:.2f} (p {point.gap_p_value:.3f}), AUROC {point.own_auroc[0]:.2f}{since}"
        )
    parts += [f"{name} not measured ({why})" for name, why in audited.problems.items()]
    cost = audited.cost
    assert cost is not None
    share = "" if cost.share is None else f" ({cost.share:.0%} of the epoch)"
    seconds = f"audit {cost.audit:.2f} s{share}, evaluation {cost.evaluation:.2f} s"
    return f"{curves.title}, epoch {audited.epoch}: {'; '.join(parts)}; {seconds}"
