# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit every n epochs of a training, as curves."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ignite.engine import Engine
from torch import nn

from monai_shortcut.audit.training import Cost, EpochAudit, TrainingCurves, audit_epoch, curve_settings
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler, CohortReading
from monai_shortcut.handlers.processes import process_rank
from monai_shortcut.handlers.tasks import ClinicalTask
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.report.drawings import drawing
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.files import label_folders
from monai_shortcut.report.training_page import RECORD, write_training_report
from monai_shortcut.types import p_text, plain

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TrainingAudit(CohortHandler):
    """Audits the model at every n-th epoch of its training: when does it start to use an attribute?

    Attach it to the evaluator that MONAI's ``ValidationHandler`` runs: that tells it the epoch of the training. Place
    it before handlers that log, such as ``TensorBoardStatsHandler``. After each audited epoch it prints a line with the
    cost, writes the page, figure and tables of `write_training_report`, and adds to the engine's metrics
    ``label_auroc`` and for each attribute ``<attribute>_own_auroc``, ``<attribute>_alignment`` (largest absolute),
    ``<attribute>_alignment_z``, ``<attribute>_wsc``, ``<attribute>_difference`` (size of the leading difference of the
    answers) and ``<attribute>_used`` (1 or 0, by the audit's rule). `AttributePoint` explains them. At other epochs,
    and where the weights are not finite, it records nothing and its numbers leave the metrics.

    The training stays as it is: the audit touches no random state, gradient or batch statistic. The evaluator, as any,
    draws a number from torch for its data loader; with `SeedEachEpoch` not even that reaches the training.

    A resumed training continues the curves in the folder. It keeps audits before the epoch at hand and drops later
    ones, whose epochs are trained anew. A training that starts from the beginning starts the curves anew.

    If the curves had a say in the training, the audited images are no longer fit for the final audit: give it others.

    Args:
        network: the classifier that is trained.
        cohort: the images' table, as in `CohortHandler`.
        output_dir: folder of the report; several labels have a folder each in it.
        interval: audit when the epoch is a multiple of it.
        attributes: columns to audit, as in `CohortHandler`.
        labels: findings of a multi-label network, as in `CohortHandler`; each has its own curves.
        settings: by default `curve_settings`: about a tenth of the draws of a full audit. Where one of so many
            attributes could not be significant with their permutations, more are drawn.
        title: what is trained.
        embedding, layer, output, image_key, id_key: what to read of network and batch, as in `EmbeddingRecorder`.

    Raises:
        ValueError: If the interval is below 1; curves to be continued were recorded with other settings or judged by
            another rule; or as in `CohortHandler`.
        PermissionError: As in `CohortHandler`.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        output_dir: str | Path,
        *,
        interval: int = 1,
        title: str = "Training audit",
        **reading: Unpack[CohortReading],
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}.")
        super().__init__(network, cohort, output_dir=output_dir, **reading)
        count = len(self.attributes)
        self.settings = (reading.get("settings") or curve_settings(count)).able(count)
        self.interval, self.title = interval, title
        self.curves: dict[str, TrainingCurves] = {}
        self._ended: tuple[int, float] | None = None

    def _due(self, engine: Engine) -> bool:
        if engine.state.epoch % self.interval:
            return False
        state = unwrap(self.network).state_dict().values()
        finite = all(bool(values.isfinite().all()) for values in state if values.is_floating_point())
        if not finite and process_rank() == 0:  # a training that diverged is not for the audit to end
            print(f"{self.title}, epoch {engine.state.epoch}: not audited, the weights are not finite", flush=True)
        return finite

    def _leave_folder(self) -> None:
        """Not between epochs: another training must not continue these curves."""

    def _epoch_completed(self, engine: Engine) -> None:
        super()._epoch_completed(engine)
        self._ended = engine.state.epoch, time.perf_counter()

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for task in tasks:
            with self.timings.of("audit"):
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
            task.embeddings,
            task.weight,
            task.bias,
            task.cohort.labels,
            task.cohort.patients.tolist(),
            {name: task.cohort.values(name) for name in task.attributes},
            label_names=task.cohort.label_names,
            kinds={name: task.cohort.kinds[name] for name in task.attributes},
            orders={name: order for name, order in task.cohort.orders.items() if name in task.attributes},
            settings=self.settings,
        )
        # Drawn first, for it costs time too.
        picture = drawing("training_curves", training_curves(earlier.with_epoch(audited)))
        now = time.perf_counter()
        last, ended = self._ended or (epoch, now)
        since = (now - ended) / (epoch - last) if epoch > last else None
        audited = replace(audited, cost=Cost(now - began, self.timings.seconds["evaluation"], since))
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
    numbers = {f"{prefix}label_auroc": audited.auroc.value}
    for name, point in audited.points.items():
        numbers |= {
            f"{prefix}{name}_own_auroc": point.own_auroc.value,
            f"{prefix}{name}_alignment": point.alignment,
            f"{prefix}{name}_alignment_z": point.alignment_z,
            f"{prefix}{name}_wsc": point.wsc,
            f"{prefix}{name}_used": float(point.used),
        }
        if point.moved is not None:
            numbers[f"{prefix}{name}_difference"] = point.moved.value
    return numbers


def _line(curves: TrainingCurves) -> str:
    """The last audited epoch and its cost in a line."""
    audited = curves.epochs[-1]
    parts = [f"label AUC {plain(audited.auroc.value)}"]
    for name, point in audited.points.items():
        onset = curves.onset(name)
        since = "" if onset is None else f", used since epoch {onset.epoch}"
        moved = "not compared" if point.moved is None else f"{plain(point.moved.value)} in {point.where}"
        differs = f"{name} difference {moved} (p {p_text(point.p_value)})"
        parts.append(f"{differs}, AUC {plain(point.own_auroc.value)}{since}")
    parts += [f"{name} not measured ({why})" for name, why in audited.problems.items()]
    cost = audited.cost
    assert cost is not None
    share = "" if cost.share is None else f" ({cost.share:.0%} of the epoch)"
    seconds = f"audit {cost.audit:.2f} s{share}, evaluation {cost.evaluation:.2f} s"
    return f"{curves.title}, epoch {audited.epoch}: {'; '.join(parts)}; {seconds}"
