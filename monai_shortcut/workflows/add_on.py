# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the overlay configs call: an audit added to the evaluator of a bundle that knows nothing of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.heads.layers import unwrap

_SHOWN = (
    "title",
    "attributes",
    "labels",
    "image_key",
    "id_key",
    "roi_key",
    "attribution",
    "layer",
    "output",
    "output_dir",
    "settings",
    "interval",
)


def audit_cohort(path: str | Path, findings: Sequence[str] = (), **columns: Any) -> Cohort | dict[str, Cohort]:
    """The cohort that is audited, or a cohort by finding.

    Args:
        path: a CSV file.
        findings: columns of 0 and 1, one for each output of a multi-label network. Without them there is one label.
        **columns: as for `Cohort.from_csv`.
    """
    return Cohort.by_finding(path, findings, **columns) if findings else Cohort.from_csv(path, **columns)


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

    MONAI takes ids that an overlay does not know without a word; they are missing from what is printed.

    Args:
        handler: the audit of an evaluation or a training.
        evaluator: the bundle's evaluator.

    Raises:
        ValueError: If the evaluator is no Ignite engine.
    """
    if not isinstance(evaluator, Engine):
        raise ValueError(f"audited_evaluator must be an Ignite engine, got {type(evaluator).__name__}.")
    handler.attach(evaluator)
    if idist.get_rank() == 0:
        told = "".join(f"\n    {name}: {getattr(handler, name)}" for name in _SHOWN if hasattr(handler, name))
        cohorts = "; ".join(f"{name} {cohort!r}".lstrip() for name, cohort in handler.cohorts.items())
        print(f"audit of {type(handler.network).__name__} on {cohorts}{told}", flush=True)
