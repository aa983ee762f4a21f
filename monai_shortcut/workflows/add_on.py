# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the overlay configs call: an audit added to the evaluator of a bundle that knows nothing of it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

from monai_shortcut.audit.failing import FAILED, said_failing
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.handlers.processes import on_first
from monai_shortcut.handlers.shortcut_audit import ShortcutAudit
from monai_shortcut.handlers.training_audit import TrainingAudit
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.workflows.containment import redirected, without_savers

_METADATA = "configs/metadata.json"
_SHOWN = (
    "title",
    "attributes",
    "labels",
    "image_key",
    "id_key",
    "label_key",
    "patches",
    "roi_key",
    "roi_labels",
    "attribution",
    "fail_on",
    "layer",
    "output",
    "output_dir",
    "settings",
    "interval",
)


def audit_cohort(
    path: str | Path,
    findings: Sequence[str] = (),
    metadata: str | Path = _METADATA,
    outcome: str | None = None,
    **columns: Any,
) -> Cohort | dict[str, Cohort]:
    """The cohort that is audited, or a cohort by finding.

    Args:
        path: a CSV file.
        findings: columns of 0 and 1, one for each output of a multi-label network. Without them there is one label.
        metadata: the bundle's ``metadata.json``. Labels that are among the names of outputs there have their order, and
            the names of classes that the table lacks, unless ``label_names`` are given.
        outcome: column of the number that a regression network predicts, in place of the label.
        **columns: as for `Cohort.from_csv`.
    """
    columns |= {"label": outcome} if outcome else {}
    if findings:
        return Cohort.by_finding(path, findings, **columns)
    cohort, names = Cohort.from_csv(path, **columns), output_names(metadata)
    own = columns.get("label_names") is None and set(cohort.label_names) <= set(names)
    return Cohort.from_csv(path, **{**columns, "label_names": names}) if own else cohort


def output_names(metadata: str | Path) -> list[str]:
    """Names of the channels of a bundle's prediction, in their order; none where its metadata have none."""
    content: Any = json.loads(Path(metadata).read_text(encoding="utf-8")) if Path(metadata).is_file() else {}
    for key in ("network_data_format", "outputs", "pred", "channel_def"):
        content = content.get(key, {}) if isinstance(content, dict) else {}
    return [str(content[key]) for key in sorted(content, key=int)] if all(map(str.isdecimal, content)) else []


def audited_network(evaluator: Any) -> Any:
    """The network that an evaluator runs, wrapped or not, under whatever name the bundle gives it.

    Args:
        evaluator: an Ignite engine with a ``network``, such as MONAI's SupervisedEvaluator.

    Raises:
        ValueError: If it has none, or the network's layers call no hooks, as in TorchScript.

    Example:
        >>> from types import SimpleNamespace
        >>> from torch import nn
        >>> audited_network(SimpleNamespace(network=nn.Linear(4, 2)))
        Linear(in_features=4, out_features=2, bias=True)
    """
    network = getattr(evaluator, "network", None)
    if network is None:
        raise ValueError(
            "audited_evaluator must be an evaluator with one network, as MONAI's SupervisedEvaluator, got "
            f"{type(evaluator).__name__}; name the network yourself, for example --audited_network @network."
        )
    unwrap(network)
    return network


def attach_audit(handler: CohortHandler, evaluator: Engine) -> None:
    """Attach an audit to an evaluator, and print the settings that reached it.

    MONAI takes ids that an overlay does not know without a word; they are missing from what is printed. An evaluation
    that is audited saves no checkpoint: with a training configuration alone, the bundle's validator would replace the
    trained model by the one that happens to be in memory. What its other handlers save goes to the folder ``bundle`` of
    the audit. The bundle's handlers that log an epoch come after the audit, and log its numbers too.

    Args:
        handler: the audit of an evaluation or a training.
        evaluator: the bundle's evaluator.

    Raises:
        ValueError: If the evaluator is no Ignite engine.
    """
    if not isinstance(evaluator, Engine):
        raise ValueError(f"audited_evaluator must be an Ignite engine, got {type(evaluator).__name__}.")
    silenced = []
    if not isinstance(handler, TrainingAudit):  # a training is the user's own, and saves as ever
        silenced = without_savers(evaluator)
        if handler.output_dir is not None:
            redirected(evaluator, handler.output_dir / "bundle")
    if isinstance(handler, ShortcutAudit):
        handler.watched = True
    handler.attach(evaluator)
    _ahead(evaluator, handler)
    if idist.get_rank() == 0:
        for name in silenced:
            print(f"the audit takes {name} off the evaluator: it would write checkpoints of the audited model")
        told = "".join(f"\n    {name}: {getattr(handler, name)}" for name in _SHOWN if hasattr(handler, name))
        cohorts = "; ".join(f"{name} {cohort!r}".lstrip() for name, cohort in handler.cohorts.items())
        print(f"audit of {type(handler.network).__name__} on {cohorts}{told}", flush=True)


def _ahead(engine: Engine, handler: CohortHandler) -> None:
    """Let the audit end an epoch before all other handlers do, so that those that log have its numbers."""
    ending = engine._event_handlers[Events.EPOCH_COMPLETED]
    ending.sort(key=lambda entry: getattr(entry[0], "__self__", None) is not handler)


def exit_by_verdict(handler: CohortHandler) -> None:
    """End the process with status 2 if an attribute has a verdict of ``fail_on``, when all has been written.

    Args:
        handler: the audit, after its evaluator has run on all processes; of another handler nothing fails.

    Raises:
        SystemExit: If an attribute fails; the message is printed, on all processes of a distributed evaluation.
    """
    failed = on_first(lambda: handler.failed) if isinstance(handler, ShortcutAudit) else {}
    if failed:
        print(said_failing(failed), file=sys.stderr, flush=True)
        raise SystemExit(FAILED)
