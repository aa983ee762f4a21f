# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The audit of any classifier, without an evaluator or a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine
from torch import nn

from monai_shortcut.audit.record import Audit
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.loading import NamedBatches
from monai_shortcut.handlers.shortcut_audit import ShortcutAudit
from monai_shortcut.handlers.tasks import FITTED, ClinicalTask, RecordedImages, with_fitted_head
from monai_shortcut.heads.embeddings import averaged_output
from monai_shortcut.heads.layers import evaluating, unwrap

_MANY = 10  # times as many outputs as classes in the table are an embedding
Table = Cohort | pd.DataFrame | str | Path


def audit_classifier(
    network: nn.Module,
    loader: Iterable[Any],
    metadata: Table,
    *,
    labels: Sequence[str] | None = None,
    outcome: str | None = None,
    unit: str = "",
    attributes: Sequence[str] | None = None,
    image_key: str | int = "image",
    label_key: str | int = "label",
    id_key: str | int = "image_id",
    ids: Sequence[str] | None = None,
    extra_keys: str | int | Sequence[str | int] | Mapping[str, str | int] = (),
    fit_head: bool = False,
    embedding: str = "pooled",
    layer: str | None = None,
    output: str | int | None = None,
    adjust_for: Sequence[str] = (),
    image_properties: bool = False,
    settings: AuditSettings | None = None,
    title: str = "",
) -> Any:
    """Audit a classifier, or a regression network, on images that it was not trained on.

    The network runs once over the loader, in evaluation mode, without gradients and on its own device. On the first
    images it is proved that its head gives its logits. Training flags, hooks and torch's random state are afterwards as
    before.

    Args:
        network: a classifier that returns logits or probabilities: a tensor, or a tuple, dict or dataclass with one.
        loader: gives batches: dicts, tuples whose first entry are the images, or tensors of images.
        metadata: the images' table: a `Cohort`, a data frame, or the path of a CSV, with the columns ``image_id``,
            ``patient_id``, ``label`` and the attributes. `Cohort.from_csv` takes other names.
        labels: the findings that a multi-label network predicts, in the order of its outputs.
        outcome: the continuous outcome that a network with one output predicts, such as "age": a column of numbers in
            the table, which then needs no label.
        unit: unit of the outcome and the predictions, such as "years".
        attributes: columns to audit; by default all that are no labels.
        image_key: entry of the batch that holds the images; a number of a tuple.
        label_key: entry of the batch that holds the labels. They are read to make sure that the table is of these
            images.
        id_key: entry of the batch that holds the names of the images. Without it the files that they were loaded from
            name them, else the order of the rows, if the loader keeps it.
        ids: names of the images in the order of the loader, if batches hold none.
        extra_keys: entries of the batch that the network takes beside the images: one or several in their order, or
            entries by the name of the argument, as of MONAI's ``PrepareBatchExtraInput``.
        fit_head: whether the network is an encoder without a head. One is then fitted to what it returns.
        embedding: "pooled" or "logit_map", as in `EmbeddingRecorder`.
        layer: name of the head; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, or the embedding of an encoder.
        adjust_for: attributes that may rightly move the answers, in addition to those of the settings.
        image_properties: whether to audit what can be measured of the images too, as by the settings.
        settings: see `AuditSettings`.
        title: what is audited; by default the class of the network.

    Returns:
        The `Audit`; with labels a dict of it by label.

    Raises:
        ValueError: If the images cannot be named or matched, the head cannot be read, or as `ShortcutAudit`. The
            message says what to pass.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, label = torch.randn(60, 1, 2, 2), torch.arange(60) % 2
        >>> table = pd.DataFrame({"image_id": range(60), "patient_id": range(60), "label": label})
        >>> table["sex"] = 20 * ["F", "M", "M"]
        >>> loader, quick = zip(images.split(20), label.split(20)), AuditSettings(permutations=19, bootstraps=19)
        >>> audit_classifier(network, loader, table, settings=quick).finding("sex").levels
        {'F': 20, 'M': 40}
    """
    if fit_head:
        _require_default(embedding=embedding, layer=layer, labels=labels, outcome=outcome)
    cohort = _cohort(metadata, labels, outcome)
    chosen = settings or AuditSettings()
    measured = chosen.image_properties or image_properties
    chosen = replace(chosen, adjust_for=(*chosen.adjust_for, *adjust_for), image_properties=measured)
    keys = {"image_key": str(image_key), "id_key": str(id_key)}
    reading: dict[str, Any] = {"attributes": attributes, "labels": labels, "settings": chosen, "title": title, **keys}
    reading |= {"label_key": str(label_key), "outcome": outcome, "unit": unit}
    handler: ShortcutAudit
    if fit_head:
        network = _WithHead(network, output)
        handler = _EncoderAudit(network, cohort, None, **reading)
    else:
        handler = _ClassifierAudit(network, cohort, None, embedding=embedding, layer=layer, output=output, **reading)
    engine = Engine(lambda engine, batch: handler.given(engine).plain().into(network))
    several, named = _extra(extra_keys)
    engine.prepare_batch = _beside(several, named)
    handler.attach(engine)
    known, beside = cohort if isinstance(cohort, Cohort) else None, (*several, *named.values())
    batches = NamedBatches(loader, label_key=str(label_key), ids=ids, cohort=known, beside=beside, **keys)
    with evaluating(unwrap(network)):
        engine.run(batches)
    return handler.audits if labels is not None else handler.audits[""]


def _cohort(metadata: Table, labels: Sequence[str] | None, outcome: str | None) -> Cohort | str | Path:
    if isinstance(metadata, Cohort):
        return metadata
    column = {"label": outcome} if outcome else {}
    if isinstance(metadata, pd.DataFrame):
        return Cohort.from_table(metadata, **(column if labels is None else {"findings": labels}))
    return metadata if labels is not None else Cohort.from_csv(metadata, **column)


def _require_default(*, embedding: str, layer: str | None, labels: Sequence[str] | None, outcome: str | None) -> None:
    given = {"embedding": embedding != "pooled", "layer": layer is not None, "labels": labels is not None}
    given["outcome"] = outcome is not None
    wrong = [name for name, changed in given.items() if changed]
    if wrong:
        raise ValueError(f"fit_head=True must go without {', '.join(given)}, got {', '.join(wrong)}.")


def _extra(
    keys: str | int | Sequence[str | int] | Mapping[str, str | int],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Entries of the batch that the network takes in their order, and by the name of the argument."""
    if isinstance(keys, Mapping):
        return (), {name: str(key) for name, key in keys.items()}
    return tuple(map(str, [keys] if isinstance(keys, (str, int)) else keys)), {}


def _beside(several: Sequence[str], named: Mapping[str, str]) -> Callable[..., Any]:
    """What a batch holds beside the images for the network, as MONAI's evaluators prepare it."""

    def prepare(batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False) -> tuple[Any, ...]:
        absent = [key for key in (*several, *named.values()) if key not in batch]
        if absent:
            raise ValueError(f"the batch must have the extra_keys, got {sorted(batch)} without {', '.join(absent)}.")
        args = tuple(_placed(batch[key], device) for key in several)
        return None, None, args, {name: _placed(batch[key], device) for name, key in named.items()}

    return prepare


def _placed(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


class _WithHead(nn.Module):
    """An encoder with a head that says nothing, before which its embeddings are recorded.

    Args:
        encoder: returns (N, D), or maps (N, D, ...) that are averaged.
        output: entry of what it returns that holds these, as in `first_output`.
    """

    def __init__(self, encoder: nn.Module, output: str | int | None) -> None:
        super().__init__()
        self.encoder, self.output = unwrap(encoder), output
        self.head = nn.Sequential()

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        points = averaged_output(self.encoder(*args, **kwargs), self.output)
        if not len(self.head):
            self.head.append(nn.Linear(points.shape[1], 2).to(points))
        found: torch.Tensor = self.head(points)
        return found


class _ClassifierAudit(ShortcutAudit):
    """A `ShortcutAudit` that does not take an encoder for a classifier."""

    def _name_classes(self) -> None:
        outputs, names = len(self._head().bias), self.cohorts.get("", next(iter(self.cohorts.values()))).label_names
        if self.labels is None and outputs > _MANY * len(names):
            raise ValueError(
                f"the network must have an output for each class, got {outputs} outputs for {', '.join(names[:5])}. Of "
                "an encoder without a head, fit_head=True fits one; else name all classes: "
                "Cohort.from_csv(path, label_names=[...])."
            )
        super()._name_classes()


class _EncoderAudit(ShortcutAudit):
    """A `ShortcutAudit` of the head that is fitted to what an encoder returns."""

    def _name_classes(self) -> None:
        """The head that is found first says nothing of classes."""

    def _look(self, engine: Engine) -> None:
        if self.head is None:
            self.given(engine).plain().into(self.network)  # which then has a layer that can be found
        super()._look(engine)

    @property
    def recorded(self) -> RecordedImages:
        """The images that have a row, with the head that was fitted to them."""
        images = super().recorded
        return with_fitted_head(images, self._matchers[""].match(images), self.settings)

    def _audit(self, task: ClinicalTask, audits: int) -> Audit:
        record = super()._audit(task, audits)
        return replace(record, notes=(FITTED.format(folds=self.settings.folds), *record.notes))
