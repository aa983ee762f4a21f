# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole audit at the end of an evaluation, with its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import nn

from monai_shortcut import __version__
from monai_shortcut.audit import Audit, AuditSettings, audit, probabilities
from monai_shortcut.cohort import Cohort
from monai_shortcut.embeddings import embed, unwrap
from monai_shortcut.findings import Example, summary
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.handlers.embedding_recorder import image_names
from monai_shortcut.networks import MultiTaskClassifier
from monai_shortcut.plots import picture
from monai_shortcut.report import write_report
from monai_shortcut.transforms import MaskROI

ROI_STRATEGIES = ("without_roi", "shifted_roi", "without_roi_box", "roi_only", "roi_box_only")
_PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "scikit-learn")


class ShortcutAudit(CohortHandler):
    """Audits the evaluator's model: findings, figures and a report at the end of the epoch.

    Prints the table of findings and where the report lies, adds ``<attribute>_own_auroc`` and
    ``<attribute>_prediction_gap`` to the engine's metrics and keeps the record in ``audit``.

    With ``roi_key`` each batch is also given to the model under the masking strategies. Masks are put on the images as
    the model sees them; give the intensity scaling again as ``after_masking``, so that the scale comes from visible
    pixels alone.

    Args:
        network: the classifier that the evaluator runs.
        cohort: the images' table, or the path of its CSV.
        output_dir: folder of the report.
        attributes: columns to audit; by default all attributes of the cohort.
        roi_key: entry of the batch that holds the regions of interest.
        strategies: masking strategies to evaluate beside "full".
        after_masking: transform of one masked image, for example MONAI's ``ScaleIntensity()``.
        counterfactual_keys: by attribute, the entry of the batch that holds the same images under another level of it.
        settings: see `AuditSettings`.
        title: what is audited.
        examples: number of images of each label to show in the report.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images.

    Raises:
        ValueError: If an attribute is not in the cohort, no image of the run is, or a key is not in the batch.
        PermissionError: If the folder cannot be written to.
    """

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path,
        output_dir: str | Path,
        *,
        attributes: Sequence[str] | None = None,
        roi_key: str | None = None,
        strategies: Sequence[str] = ROI_STRATEGIES,
        after_masking: Callable[[Any], Any] | None = None,
        counterfactual_keys: Mapping[str, str] | None = None,
        settings: AuditSettings | None = None,
        title: str = "Shortcut audit",
        examples: int = 1,
        embedding: str = "pooled",
        layer: str | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        super().__init__(
            network,
            cohort,
            attributes=attributes,
            output_dir=output_dir,
            settings=settings,
            embedding=embedding,
            layer=layer,
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
        self.audit: Audit | None = None
        self._clear()

    def _clear(self) -> None:
        self._shown: list[Example] = []
        self._problems: dict[str, str] = {}
        self._regions: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.masks}
        self._swapped: dict[str, list[NDArray[np.float64]]] = {name: [] for name in self.counterfactual_keys}

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        self._clear()

    def _look(self, engine: Engine) -> None:
        super()._look(engine)
        batch = engine.state.batch
        for name, key in self.counterfactual_keys.items():
            self._swapped[name].append(self._probabilities(self._images(batch, self._key(batch, key))))
        pictures = self._masked(batch) if self.masks else [{} for _ in batch[self.image_key]]
        self._show(batch, pictures)

    def _masked(self, batch: Mapping[str, Any]) -> list[dict[str, torch.Tensor]]:
        """Evaluate the batch under every strategy; the masked images by strategy, empty where a region is unusable."""
        assert self.roi_key is not None
        images = self._images(batch, self.image_key)
        regions = torch.as_tensor(batch[self._key(batch, self.roi_key)]).to(images.device)
        names = image_names(batch, self.image_key, self.id_key)
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
            rows = np.full((len(images), len(self.cohort.label_names)), np.nan)
            if usable:
                rows[usable] = self._probabilities(torch.stack([masked[index][strategy] for index in usable]))
            self._regions[strategy].append(rows)
        return masked

    def _mask(self, mask: MaskROI, image: torch.Tensor, region: torch.Tensor) -> torch.Tensor:
        hidden = mask(image, region)
        return torch.as_tensor(hidden if self.after_masking is None else self.after_masking(hidden)).to(image)

    def _probabilities(self, images: torch.Tensor) -> NDArray[np.float64]:
        assert self.head is not None
        self._check_size(images)
        points, _ = embed(self.network, images, self.head.layer, reads=self._reads)
        return probabilities(points.cpu().numpy(), self.head.weight.cpu().numpy(), self.head.bias.cpu().numpy())

    def _show(self, batch: Mapping[str, Any], masked: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Keep the first images of each label for the report."""
        label = dict(zip(self.cohort.image_ids, self.cohort.labels.tolist(), strict=True))
        names = image_names(batch, self.image_key, self.id_key)
        for index, name in enumerate(names):
            code = label.get(name)
            if code is None or sum(e.label == self.cohort.label_names[code] for e in self._shown) >= self.examples:
                continue
            swapped = {f"{a} swapped": batch[key][index] for a, key in self.counterfactual_keys.items()}
            pictures = {"full": batch[self.image_key][index], **masked[index], **swapped}
            drawn = {caption: picture(torch.as_tensor(image).cpu().numpy()) for caption, image in pictures.items()}
            self._shown.append(Example(name, self.cohort.label_names[code], drawn))

    def _attribute_heads(self) -> dict[str, NDArray[np.float64]]:
        """Heads of a multi-task network, of the attributes that are audited."""
        network = unwrap(self.network)
        if not isinstance(network, MultiTaskClassifier) or self.embedding != "pooled":  # which its heads read
            return {}
        weights = network.attribute_weights()
        return {name: weights[name].double().cpu().numpy() for name in self.attributes if name in weights}

    def _key(self, batch: Mapping[str, Any], key: str) -> str:
        if key not in batch:
            raise ValueError(f"the batch must have the key {key!r}, got {sorted(batch)}.")
        return key

    def _finish(self, engine: Engine) -> dict[str, float]:
        assert self.head is not None
        assert self.output_dir is not None
        cohort, has_row = self._matched()
        nameless = [name for name, known in zip(self.image_ids, has_row, strict=True) if not known]
        first = np.array(self._first())[has_row]
        self.audit = audit(
            self.embeddings[has_row],
            self.head.weight.cpu().numpy(),
            self.head.bias.cpu().numpy(),
            cohort.labels,
            cohort.patients.tolist(),
            {name: cohort.values(name) for name in self.attributes},
            label_names=cohort.label_names,
            image_ids=cohort.image_ids,
            regions={name: np.concatenate(blocks)[first] for name, blocks in self._regions.items()},
            counterfactuals={name: np.concatenate(blocks)[first] for name, blocks in self._swapped.items()},
            excluded={**dict.fromkeys(nameless, "no row in the cohort"), **self.cohort.excluded},
            unseen=len(self.cohort) - len(cohort),
            without_roi={name: why for name, why in self._problems.items() if name in set(cohort.image_ids)},
            examples=sorted(self._shown, key=lambda example: cohort.label_names.index(example.label)),
            settings=self.settings,
            title=self.title,
            software={"monai_shortcut": __version__, **{name: version(name) for name in _PACKAGES}},
            attribute_heads=self._attribute_heads(),
        )
        page = write_report(self.audit, self.output_dir)
        print(f"\n{self.title}\n\n{summary(self.audit.findings)}\n", flush=True)
        print(f"report: {page} (beside it audit.json, CSV tables and figures)\n", flush=True)
        numbers: dict[str, float] = {}
        for finding in self.audit.findings:
            if finding.evidence is not None:
                numbers[f"{finding.attribute}_own_auroc"] = finding.evidence.encoding.own_auroc[0]
                numbers[f"{finding.attribute}_prediction_gap"] = finding.evidence.gap.effect
        return numbers
