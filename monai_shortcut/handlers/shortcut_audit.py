# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole audit at the end of an evaluation, with its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.audit.assembly import Audit, AuditSettings, audit, probabilities
from monai_shortcut.audit.record import Example, summary
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import ClinicalTask, CohortHandler
from monai_shortcut.handlers.processes import gather
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.networks import MultiTaskClassifier
from monai_shortcut.report.figures.audit import picture
from monai_shortcut.report.pages import label_folders, write_overview, write_report
from monai_shortcut.transforms import MaskROI
from monai_shortcut.versions import versions

ROI_STRATEGIES = ("without_roi", "shifted_roi", "without_roi_box", "roi_only", "roi_box_only")


class ShortcutAudit(CohortHandler):
    """Audits the evaluator's model: findings, figures and a report at the end of the epoch.

    Prints the table of findings and where the report lies, adds ``<attribute>_own_auroc`` and
    ``<attribute>_prediction_gap`` to the engine's metrics and keeps the records in ``audits``, by label.

    A network with several outputs that do not exclude each other is audited one clinical label at a time: name them as
    ``labels``. Each label then has its own findings and report, in a folder of its name, and ``report.html`` shows them
    side by side.

    With ``roi_key`` each batch is also given to the model under the masking strategies. Masks are put on the images as
    the model sees them; give the intensity scaling again as ``after_masking``, so that the scale comes from visible
    pixels alone.

    In a distributed evaluation the handler must be attached on every process; process 0 writes and prints.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, or the path of its CSV; of several labels also a cohort for each that differs.
        output_dir: folder of the report.
        attributes: columns to audit; by default all attributes of the cohort that are no labels.
        labels: of a multi-label network, the findings that its outputs tell, in their order; by default the outputs
            tell the classes of the cohort's label, or a single one its second class.
        roi_key: entry of the batch that holds the regions of interest.
        strategies: masking strategies to evaluate beside "full".
        after_masking: transform of one masked image, for example MONAI's ``ScaleIntensity()``.
        counterfactual_keys: by attribute, the entry of the batch that holds the same images under another level of it.
        settings: see `AuditSettings`.
        title: what is audited.
        examples: number of images of each label to show in the report.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as for `linear_head`.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images; without it they are those of their files.

    Raises:
        ValueError: If an attribute or label is not in the cohort, no image of the run is, a key is not in the batch, or
            the labels do not fit the head.
        PermissionError: If the folder cannot be written to.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        output_dir: str | Path,
        *,
        attributes: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        roi_key: str | None = None,
        strategies: Sequence[str] = ROI_STRATEGIES,
        after_masking: Callable[[Any], Any] | None = None,
        counterfactual_keys: Mapping[str, str] | None = None,
        settings: AuditSettings | None = None,
        title: str = "Shortcut audit",
        examples: int = 1,
        embedding: str = "pooled",
        layer: str | None = None,
        output: str | int | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        super().__init__(
            network,
            cohort,
            attributes=attributes,
            labels=labels,
            output_dir=output_dir,
            settings=settings,
            embedding=embedding,
            layer=layer,
            output=output,
            image_key=image_key,
            id_key=id_key,
        )
        unknown = [name for name in counterfactual_keys or {} if name not in self.attributes]
        if unknown:
            raise ValueError(f"counterfactual_keys must be among {list(self.attributes)}, got {unknown}.")
        if "swapped_roi" in strategies:
            raise ValueError('strategies must not hold "swapped_roi", for batches hold no other patient\'s region.')
        self.roi_key, self.after_masking, self.title, self.examples = roi_key, after_masking, title, examples
        self.masks = {name: MaskROI(name) for name in strategies if name != "full"} if roi_key else {}
        self.counterfactual_keys = dict(counterfactual_keys or {})

    @property
    def audit(self) -> Audit | None:
        """The record if there is one label; None before the first run, or of several labels."""
        return self.audits.get("")

    def _clear(self) -> None:
        super()._clear()
        # Examples by label and level, with their place in the cohort: which ones are kept depends on nothing else.
        self._shown: dict[tuple[str, str], dict[int, Example]] = {}
        self._problems: dict[str, str] = {}
        self.audits: dict[str, Audit] = {}

    def _look(self, engine: Engine) -> None:
        super()._look(engine)
        batch = engine.state.batch
        with self._precision(engine):
            for name, key in self.counterfactual_keys.items():
                self._record(f"swapped {name}", self._logits(self._images(batch, self._key(batch, key))))
            masked = self._masked(batch) if self.masks else [{} for _ in batch[self.image_key]]
        self._show(batch, masked)

    def _precision(self, engine: Engine) -> AbstractContextManager[Any]:
        """That of a MONAI evaluator, to compare with what it computes; its mixed precision is CUDA's alone."""
        if not (getattr(engine, "amp", False) and next(unwrap(self.network).parameters()).is_cuda):
            return nullcontext()
        return torch.autocast("cuda", **getattr(engine, "amp_kwargs", {}))

    def _masked(self, batch: Mapping[str, Any]) -> list[dict[str, torch.Tensor]]:
        """Evaluate the batch under every strategy; the masked images by strategy, empty where a region is unusable."""
        assert self.roi_key is not None
        images = self._images(batch, self.image_key)
        regions = torch.as_tensor(batch[self._key(batch, self.roi_key)]).to(images.device)
        names = self._names[-len(images) :]
        masked: list[dict[str, torch.Tensor]] = []
        for name, image, region in zip(names, images, regions, strict=True):
            masked.append({})
            for strategy, mask in self.masks.items():
                try:
                    masked[-1][strategy] = self._mask(mask, image, region)
                except ValueError as error:  # a large region cannot be shifted, though it can be hidden
                    self._problems.setdefault(name, str(error))
            if masked[-1]:
                self._problems.pop(name, None)
        for strategy in self.masks:
            usable = [index for index, item in enumerate(masked) if strategy in item]
            rows = np.full((len(images), len(self._head().bias)), np.nan)
            if usable:
                rows[usable] = self._logits(torch.stack([masked[index][strategy] for index in usable]))
            self._record(strategy, rows)
        return masked

    def _mask(self, mask: MaskROI, image: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        hidden = mask(image, region)
        return torch.as_tensor(hidden if self.after_masking is None else self.after_masking(hidden)).to(image)

    def _logits(self, images: torch.Tensor) -> NDArray[np.float64]:
        """(N, C) of other images than those the evaluator sees."""
        head = self._head()
        self._check_size(images)
        points, _ = embed(self.network, images, head.layer, reads=self._reads, output=self.output)
        return np.asarray((points.double() @ head.weight.double().T + head.bias.double()).cpu().numpy())

    def _show(self, batch: Mapping[str, Any], masked: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Keep for the report the images of each label that come first in the cohort."""
        for index, name in enumerate(self._names[-len(masked) :]):
            pictures: dict[str, str] = {}
            for label, cohort in self.cohorts.items():
                image = self._matchers[label].find(name)
                if image is None:
                    continue
                place = int(cohort.table.index.get_indexer(pd.Index([image]))[0])
                level = str(cohort.table.at[image, "label"])
                kept = self._shown.setdefault((label, level), {})
                if place in kept or (len(kept) >= self.examples and place > max(kept, default=-1)):
                    continue
                pictures = pictures or self._pictures(batch, masked[index], index)
                kept[place] = Example(image, level, pictures)
                self._shown[label, level] = self._foremost(kept)

    def _foremost(self, kept: Mapping[int, Example]) -> dict[int, Example]:
        return {place: kept[place] for place in sorted(kept)[: self.examples]}

    def _pictures(self, batch: Mapping[str, Any], masked: Mapping[str, torch.Tensor], index: int) -> dict[str, str]:
        swapped = {f"{name} swapped": batch[key][index] for name, key in self.counterfactual_keys.items()}
        images = {"full": batch[self.image_key][index], **masked, **swapped}
        return {caption: picture(torch.as_tensor(image).cpu().numpy()) for caption, image in images.items()}

    def _unite(self) -> None:
        super()._unite()
        parts = gather((self._shown, self._problems))
        self._shown = {}
        for shown, _ in parts:
            for key, kept in shown.items():
                self._shown[key] = self._foremost({**self._shown.get(key, {}), **kept})
        self._problems = {name: why for _, problems in parts for name, why in problems.items()}

    def _attribute_heads(self, attributes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Heads of a multi-task network, of the attributes that are audited."""
        network = unwrap(self.network)
        if not isinstance(network, MultiTaskClassifier) or self.embedding != "pooled":  # which its heads read
            return {}
        weights = network.attribute_weights()
        return {name: weights[name].double().cpu().numpy() for name in attributes if name in weights}

    def _key(self, batch: Mapping[str, Any], key: str) -> str:
        if key not in batch:
            raise ValueError(f"the batch must have the key {key!r}, got {sorted(batch)}.")
        return key

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        assert self.output_dir is not None
        self.audits = {task.name: self._audit(task) for task in tasks}
        numbers: dict[str, float] = {}
        folders = label_folders(self.audits) if self.labels else {"": "."}
        for task in tasks:
            record = self.audits[task.name]
            page = write_report(record, self.output_dir / folders[task.name])
            print(f"\n{record.title}\n\n{summary(record.findings)}\n", flush=True)
            for finding in record.findings:
                if finding.evidence is not None:
                    numbers[f"{task.prefix}{finding.attribute}_own_auroc"] = finding.evidence.encoding.own_auroc[0]
                    numbers[f"{task.prefix}{finding.attribute}_prediction_gap"] = finding.evidence.gap.effect
        if self.labels:
            page = write_overview(self.audits, self.output_dir, title=self.title, problems=self.problems)
        print(f"report: {page} (beside it audit.json, CSV tables and figures)\n", flush=True)
        return numbers

    def _audit(self, task: ClinicalTask) -> Audit:
        cohort, first = task.cohort, self._first()
        unit = np.eye(len(self._head().bias))[list(task.outputs)]

        def predicted(name: str) -> NDArray[np.float64]:
            return probabilities(self._column(name)[first][task.rows], unit, np.zeros(len(unit)))

        problems = {self._matchers[task.name].find(name): why for name, why in self._problems.items()}
        shown = [self._shown.get((task.name, level), {}) for level in cohort.label_names]
        return audit(
            task.points,
            task.weight,
            task.bias,
            cohort.labels,
            cohort.patients.tolist(),
            {name: cohort.values(name) for name in task.attributes},
            label_names=cohort.label_names,
            image_ids=cohort.image_ids,
            regions={name: predicted(name) for name in self.masks},
            counterfactuals={
                name: predicted(f"swapped {name}") for name in self.counterfactual_keys if name in task.attributes
            },
            excluded={**self._nameless(task.name), **cohort.excluded},
            unseen=self._unseen(task.name),
            without_roi={name: problems[name] for name in cohort.image_ids if name in problems},
            examples=[example for kept in shown for example in kept.values()],
            settings=self.settings,
            title=task.titled(self.title),
            software=versions(),
            attribute_heads=self._attribute_heads(task.attributes),
        )
