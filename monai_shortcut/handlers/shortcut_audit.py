# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The whole audit at the end of an evaluation, with its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine
from monai.utils import convert_to_tensor
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.attribution.record import Attribution
from monai_shortcut.attribution.settings import AttributionSettings
from monai_shortcut.audit.discovered import with_pictures
from monai_shortcut.audit.failing import failing_labels, failing_words
from monai_shortcut.audit.logged import logged
from monai_shortcut.audit.progress import Progress
from monai_shortcut.audit.record import Audit, Example, Identity
from monai_shortcut.cohort.columns import as_names
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler, CohortReading
from monai_shortcut.handlers.explaining import KeptImages, checked_settings, without_region
from monai_shortcut.handlers.masked_rows import MaskedRows
from monai_shortcut.handlers.masking import NO_SWAPPED, masked_images
from monai_shortcut.handlers.processes import gather
from monai_shortcut.handlers.recording import FIRST, MEASURED, file_shapes
from monai_shortcut.handlers.reports import write_and_tell
from monai_shortcut.handlers.tasks import ClinicalTask, require_regression
from monai_shortcut.handlers.weights import NOT_LOADED, weights_read
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.networks import MultiTaskClassifier
from monai_shortcut.reader_study.record import Studies, studies_by_label
from monai_shortcut.regions.properties import image_properties
from monai_shortcut.regions.strategies import STRATEGIES, TABLE, check_labels, check_settings
from monai_shortcut.report.figures.audit import picture
from monai_shortcut.types import Outcome

if TYPE_CHECKING:
    from typing_extensions import Unpack

_THUMBNAIL = 128  # pixels a side of the pictures of groups that no column names, at most
_THUMBNAILS = 20_000  # images of which one is kept, about 10 kB each
ROI_STRATEGIES = ("without_roi", "shifted_roi", "without_roi_box", "roi_only", "roi_box_only")


class ShortcutAudit(CohortHandler):
    """Audits the evaluator's model: findings, figures and a report at the end of the epoch.

    Prints the table of findings and where the report lies, adds the numbers of `monai_shortcut.audit.logged` to the
    engine's metrics, where MONAI's handlers for TensorBoard and MLflow find them, and keeps the records in ``audits``,
    by label. Place it before such handlers.

    A network with several outputs that do not exclude each other is audited one clinical label at a time: name them as
    ``labels``. Each label then has its own findings and report, in a folder of its name, and ``report.html`` shows them
    side by side.

    With ``roi_key`` the model also sees each batch under the masking strategies, and what its head reads then is
    compared with what it reads of the full images. Masks hide pixels of the images as the model sees them; give the
    intensity scaling again as ``after_masking``, so that the scale comes from visible pixels alone.

    Attach the handler on every process of a distributed evaluation; process 0 writes and prints.

    Args:
        network: the classifier, or the regression network, that the evaluator runs.
        cohort: the images' table, as in `CohortHandler`.
        output_dir: folder of the report; None writes and prints none.
        attributes: columns to audit, as in `CohortHandler`.
        labels: findings of a multi-label network, as in `CohortHandler`.
        outcome: the continuous outcome that a regression network with one output predicts: an attribute of the cohort,
            or the name of its label, which then is a number. It is not compared with ``label_key``.
        unit: the unit of outcome and predictions, such as "mm".
        roi_key: entry of the batch that holds the regions of interest: 0 and 1, or 0 and 255.
        roi_labels: values of the region that belong to it, one or several, of a map of labels such as 0, 1 and 2. An
            image must have all of them; of a list among them, such as [[1, 2]], one.
        strategies: masking strategies to evaluate beside "full", or "all" nine.
        swapped_key: entry of the batch that holds another patient's region for each image, which "swapped_roi" needs;
            where batches have none, that strategy is not evaluated, and the page says so.
        after_masking: transform of one masked image, for example MONAI's ``ScaleIntensity()``, wherever pixels are
            hidden, also to see where the model looks. It leaves an image as it is for which it was done before.
        masked_embeddings: whether to keep the embeddings of masked images, of as many patients as 256 MiB have room
            for.
        counterfactual_keys: by attribute, the entry of the batch that holds the same images under another level of it.
        attribution: whether to ask where the network looks, in the images that it is given: true, or
            `AttributionSettings`. It needs ``roi_key``.
        readers: the record of a reader study of these images, or the path of its JSON, for the page; of several
            labels, one by label.
        settings: see `AuditSettings`.
        fail_on: verdicts, and "not computed", with which the run fails, in a list or in one text with commas; what
            fails is in ``failed``, and `monai_shortcut.workflows.exit_by_verdict` ends the process.
        title: what is audited; by default the class of the network.
        unseen_patients: whether the network was trained on none of the patients, for the page; by default not known.
        examples: number of images of each label to show in the report, where ``settings.privacy`` allows pixels.
        label_key, mislabelled, most_unmatched: what the table is checked by, as in `CohortHandler`.
        embedding, layer, output, image_key, id_key, patches: what to read of network and batch, as in
            `EmbeddingRecorder`.

    Raises:
        ValueError: If a strategy or a word that fails does not exist, a key is not in the batch, or as in
            `CohortHandler`.
        PermissionError: As in `CohortHandler`.
    """

    watched = False  # whether it is noted since before the network was built which weights are read

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path | Mapping[str, Cohort],
        output_dir: str | Path | None,
        *,
        outcome: str | None = None,
        unit: str = "",
        roi_key: str | None = None,
        roi_labels: int | Sequence[int | Sequence[int]] | None = None,
        strategies: str | Sequence[str] = ROI_STRATEGIES,
        swapped_key: str = "swapped_roi",
        after_masking: Callable[[Any], Any] | None = None,
        masked_embeddings: bool = True,
        counterfactual_keys: Mapping[str, str] | None = None,
        attribution: bool | str | AttributionSettings = False,
        readers: Studies = None,
        fail_on: str | Sequence[str] | None = None,
        title: str = "",
        unseen_patients: bool | None = None,
        examples: int = 1,
        **reading: Unpack[CohortReading],
    ) -> None:
        self.attribution, self.fail_on = checked_settings(attribution), failing_words(fail_on)
        self.outcome = Outcome(outcome, unit) if outcome else None
        if outcome:
            cohort = _with_outcome(cohort, outcome, roi_key, self.attribution, readers, reading.get("labels"))
        super().__init__(network, cohort, output_dir=output_dir, **reading)
        unknown = [name for name in counterfactual_keys or {} if name not in self.attributes]
        if unknown:
            raise ValueError(f"counterfactual_keys must be among {list(self.attributes)}, got {unknown}.")
        if roi_key and self.patches != FIRST:
            raise ValueError(f'patches must be "first" with roi_key, got {self.patches!r}.')
        self.roi_key, self.after_masking, self.examples = roi_key, after_masking, examples
        self.title = title or f"Shortcut audit of {self._network_name}"
        self.unseen_patients = unseen_patients
        self.roi_labels = None if roi_labels is None else tuple(map(check_labels, _listed(roi_labels)))
        chosen = STRATEGIES if strategies == "all" else as_names(strategies)
        self.strategies = tuple(name for name in chosen if name != "full") if roi_key else ()
        self.swapped_key = swapped_key
        for name in self.strategies:
            check_settings(name)
        self.counterfactual_keys = dict(counterfactual_keys or {})
        self.masked_embeddings = masked_embeddings
        self.readers = studies_by_label(readers)

    @property
    def audit(self) -> Audit | None:
        """The record if there is one label; None before the first run, or of several labels."""
        return self.audits.get("")

    @property
    def failed(self) -> dict[str, str]:
        """Attributes that fail, after their label if there are several, with the word of ``fail_on`` that fails them.

        Of a distributed evaluation process 0 knows.
        """
        return failing_labels(self.audits, self.problems, self.fail_on)

    def _name_classes(self) -> None:
        if self.outcome is None:
            super()._name_classes()
        else:
            require_regression(self._head())

    def _labelled(self, task: ClinicalTask) -> str:
        return super()._labelled(task) if self.outcome is None else ""

    def _clear(self) -> None:
        super()._clear()
        # Examples by label and level, with their place in the cohort: which ones are kept depends on nothing else.
        self._shown: dict[tuple[str, str], dict[int, Example]] = {}
        self._problems: dict[str, str] = {}
        self._moved: MaskedRows | None = None
        self._without_swapped = False
        self._kept: KeptImages | None = None
        self._thumbnails: dict[str, str] = {}
        self.audits: dict[str, Audit] = {}

    def _look(self, engine: Engine) -> None:
        super()._look(engine)
        batch = engine.state.batch
        if self.settings.image_properties:
            with self.timings.of("evaluation/image properties"):
                found = image_properties(self.given(engine).images, file_shapes(batch[self.image_key]))
                self._record(MEASURED, np.stack(list(found.values()), axis=1))
        with self._precision(engine):
            for name, key in self.counterfactual_keys.items():
                with self.timings.of("evaluation/counterfactuals"):
                    swapped = self.given(engine).showing(self._images(batch, self._key(batch, key)))
                    self._record(f"swapped {name}", self._read(swapped)[1])
            masked = self._masked(engine) if self.strategies else [{} for _ in batch[self.image_key]]
        self._show(batch, masked)
        if self.settings.discovered_groups and self.settings.privacy.pixels and self.patches == FIRST:
            new = list(zip(self._names[-len(masked) :], batch[self.image_key], strict=True))
            left = max(_THUMBNAILS - len(self._thumbnails), 0)
            self._thumbnails |= {name: _thumbnail(image) for name, image in new[:left]}
        if self.attribution is not None and self.roi_key is not None:
            _require_alone(self.given(engine))
            self._kept = self._kept or KeptImages(self._matchers, self.attribution, self.after_masking)
            names = self._names[-len(batch[self.image_key]) :]
            self._kept.look(names, batch[self.image_key], self._regions(batch, self.roi_key))

    def _precision(self, engine: Engine) -> AbstractContextManager[Any]:
        """That of a MONAI evaluator, to compare with what it computes; its mixed precision is CUDA's alone."""
        if not (getattr(engine, "amp", False) and next(unwrap(self.network).parameters()).is_cuda):
            return nullcontext()
        return torch.autocast("cuda", **getattr(engine, "amp_kwargs", {}))

    def _masked(self, engine: Engine) -> list[dict[str, torch.Tensor]]:
        """Evaluate the batch under every strategy; the masked images by strategy, empty where a region is unusable."""
        assert self.roi_key is not None
        batch, given = engine.state.batch, self.given(engine)
        images, regions = given.images, self._regions(batch, self.roi_key)
        self._without_swapped = self.swapped_key not in batch
        swapped = [None] * len(images) if self._without_swapped else convert_to_tensor(batch[self.swapped_key]).cpu()
        with self.timings.of("evaluation/masking"):
            masked = self._hidden(images, convert_to_tensor(regions).cpu(), swapped)
        for strategy in self._evaluated:
            usable = [index for index, item in enumerate(masked) if strategy in item]
            rows = np.full((len(images), len(self._head().bias)), np.nan)
            if usable:
                with self.timings.of("evaluation/masked images"):
                    hidden = torch.stack([masked[index][strategy] for index in usable])
                    points, rows[usable] = self._read(given.rows(usable).showing(hidden))
                self._rows().add(strategy, [self._names[index - len(images)] for index in usable], points)
            self._record(strategy, rows)
        return masked

    @property
    def _evaluated(self) -> tuple[str, ...]:
        """Strategies that batches have the regions for."""
        return tuple(name for name in self.strategies if not (TABLE[name].needs_swapped_roi and self._without_swapped))

    def _hidden(
        self, images: torch.Tensor, regions: torch.Tensor, swapped: Sequence[torch.Tensor | None] | torch.Tensor
    ) -> list[dict[str, torch.Tensor]]:
        """Each image by strategy; ``_problems`` says why, where the region allows none."""
        masked, names = [], self._names[-len(images) :]
        for name, image, region, other in zip(names, images, regions, swapped, strict=True):
            hidden, problem = masked_images(image, region, self._evaluated, self.after_masking, other)
            masked.append(hidden)
            if hidden:
                self._problems.pop(name, None)
            else:
                self._problems.setdefault(name, problem)
        return masked

    def _rows(self) -> MaskedRows:
        strategies = self._evaluated if self.masked_embeddings else ()
        self._moved = self._moved or MaskedRows(self._matchers, strategies, self.settings.seed)
        return self._moved

    def _read(self, inputs: Inputs) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """(N, D) embeddings and (N, C) logits of other images than those the evaluator sees."""
        head = self._head()
        self._check_size(inputs.images)
        points, _ = embed(self.network, inputs.plain(), head.layer, reads=self._reads, output=self.output)
        logits = points.double() @ head.weight.double().T + head.bias.double()
        return points.cpu().numpy(), np.asarray(logits.cpu().numpy())

    def _show(self, batch: Mapping[str, Any], masked: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Keep for the report the images of each label that come first in the cohort."""
        for index, name in enumerate(self._names[-len(masked) :]):
            pictures: dict[str, str] = {}
            for label, matcher in self._matchers.items():
                image = matcher.find(name)
                if image is None:
                    continue
                place, level = matcher.places[image], str(matcher.cohort.table.at[image, "label"])
                kept = self._shown.setdefault((label, level if self.outcome is None else ""), {})
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
        parts = gather((self._shown, self._problems, self._without_swapped, self._thumbnails))
        self._shown, self._without_swapped = {}, any(part[2] for part in parts)
        self._thumbnails = {name: shown for part in parts for name, shown in part[3].items()}
        for shown, *_ in parts:
            for key, kept in shown.items():
                self._shown[key] = self._foremost({**self._shown.get(key, {}), **kept})
        self._rows().unite()
        self._problems = {name: why for _, problems, *_ in parts for name, why in problems.items()}
        if self._kept is not None:
            self._kept.unite()

    def _attribute_heads(self, attributes: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Heads of a multi-task network, of the attributes that are audited."""
        network = unwrap(self.network)
        if not isinstance(network, MultiTaskClassifier) or self.embedding != "pooled":  # which its heads read
            return {}
        weights = network.attribute_weights()
        return {name: weights[name].double().cpu().numpy() for name in attributes if name in weights}

    def _regions(self, batch: Mapping[str, Any], key: str) -> Any:
        """Regions of a batch (N, 1 or C, *spatial); of maps of labels the chosen ones, none where one is absent."""
        regions = batch[self._key(batch, key)]
        if self.roi_labels is None:
            return regions
        shown = [[torch.as_tensor(regions == label) for label in either] for either in self.roi_labels]
        parts = [torch.stack(either).any(dim=0) for either in shown]
        whole = torch.stack([part.flatten(1).any(dim=1) for part in parts]).all(dim=0)
        return (sum(parts) * whole.reshape(-1, *[1] * (regions.ndim - 1))).to(torch.uint8)

    def _key(self, batch: Mapping[str, Any], key: str) -> str:
        if key not in batch:
            raise ValueError(f"the batch must have the key {key!r}, got {sorted(batch)}.")
        return key

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        tasks = [replace(task, outcome=self.outcome) for task in tasks]
        weights = weights_read(engine, watched=self.watched)
        with self.timings.of("audit"):
            self.audits = {task.name: self._noted(self._audit(task, len(tasks)), weights) for task in tasks}
        if self.attribution is not None:
            with self.timings.of("attribution"):
                self.audits = {
                    task.name: replace(self.audits[task.name], attribution=self._attribution(task)) for task in tasks
                }
        if self.output_dir is not None:
            with self.timings.of("report"):
                write_and_tell(self.audits, self.output_dir, self.title, self.problems)
        return {name: n for task in tasks for name, n in logged(self.audits[task.name], task.prefix).items()}

    @property
    def _network_name(self) -> str:
        return type(unwrap(self.network)).__name__

    def _noted(self, record: Audit, weights: dict[str, str] | None) -> Audit:
        """The record with what must be known to read it: which model it is of, the files of weights included."""
        known = record.identity or Identity()
        identity = replace(known, network=self._network_name, unseen_patients=self.unseen_patients)
        unloaded = (NOT_LOADED,) if weights == {} else ()
        notes = (*unloaded, *self._unmasked(record), *self.notes, *record.notes)
        return replace(record, identity=identity, weights=weights, notes=notes)

    def _unmasked(self, record: Audit) -> tuple[str, ...]:
        """That regions were asked for, and no image has one."""
        if self.roi_key is None or len(record.without_roi) < sum(record.labels.values()):
            return ()
        why = next(iter(record.without_roi.values()))
        return (f"No image has a usable region of interest ({self.roi_key}), so nothing was measured with it: {why}",)

    def _attribution(self, task: ClinicalTask) -> Attribution:
        if self._kept is None:
            return without_region()
        return self._kept.explained(task, unwrap(self.network), self.output, self.settings)

    def _audit(self, task: ClinicalTask, audits: int) -> Audit:
        """The record of one label; attributes are analysed side by side, so seconds may add up to more than passed.

        Args:
            task: the label.
            audits: number of labels.
        """
        cohort, matcher = task.cohort, self._matchers[task.name]
        problems = {matcher.find(name): why for name, why in self._problems.items()}
        shown = [self._shown.get((task.name, level), {}) for level in (("",) if self.outcome else cohort.label_names)]
        swapped = [name for name in self.counterfactual_keys if name in task.attributes]
        progress = Progress()
        record = task.audited(
            self.settings,
            self.title,
            regions={name: task.probabilities(self._column(name)) for name in self._evaluated},
            counterfactuals={name: task.probabilities(self._column(f"swapped {name}")) for name in swapped},
            without_roi={name: problems[name] for name in cohort.image_ids if name in problems},
            examples=[example for kept in shown for example in kept.values()],
            attribute_heads=self._attribute_heads(task.attributes),
            progress=progress,
            audits=audits,
            masked=self._rows().of(matcher, cohort.image_ids),
        )
        for analysis, seconds in progress.seconds.items():
            part = f"audit/{analysis}"
            self.timings.seconds[part] = self.timings.seconds.get(part, 0.0) + seconds
        missing = dict.fromkeys((name for name in self.strategies if name not in self._evaluated), NO_SWAPPED)
        regions = replace(record.regions, untested=record.regions.untested | missing)
        pictures = {image: shown for name, shown in self._thumbnails.items() if (image := matcher.find(name))}
        groups = with_pictures(record.discovered, pictures, record.label_names)
        return replace(record, regions=regions, readers=self.readers.get(task.name), discovered=groups)


def _listed(labels: Any) -> Sequence[Any]:
    return labels if isinstance(labels, Sequence) and not isinstance(labels, str) and labels else [labels]


def _thumbnail(image: Any) -> str:
    """The first channel in at most some hundred pixels a side, as a PNG in base64."""
    plane = torch.as_tensor(image)[:1]
    step = -(-max(plane.shape[1:3]) // _THUMBNAIL)
    return picture(plane[:, ::step, ::step].cpu().numpy())


def _require_alone(given: Inputs) -> None:
    """Refuse to ask where a network looks that is not called with images alone."""
    if given.args or given.kwargs:
        count = 1 + len(given.args) + len(given.kwargs)
        raise ValueError(f"attribution must be false of a network of several inputs, got one of {count}.")


def _with_outcome(cohort: Cohort | str | Path | Mapping[str, Cohort], name: str, *others: object) -> Cohort:
    """The cohort of a regression, for which nothing else is given that asks for classes.

    Raises:
        ValueError: If there is, or as `Cohort.with_outcome`.
    """
    given = dict(zip(("roi_key", "attribution", "readers", "labels"), others, strict=True))
    wrong = [what for what, value in given.items() if value]
    if wrong or isinstance(cohort, Mapping):
        got = ", ".join(wrong) or "several cohorts"
        raise ValueError(f"outcome must go without {', '.join(given)} and with one cohort, got {got}.")
    table = cohort if isinstance(cohort, Cohort) else Cohort.from_csv(cohort, label=name)
    return table.with_outcome(name)
