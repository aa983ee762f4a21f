# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A model and the images it is audited on, with what is true of each attribute; and everything measured on it."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.audit.progress import Progress
from monai_shortcut.audit.record import Evidence

# Heads that have not seen a level, and repeated folds, say nothing of use: they are left out to save time.
SETTINGS = AuditSettings(permutations=199, bootstraps=299, erasures=39, held_out=0, repeats=1)


@dataclass(frozen=True)
class Case:
    """One audited model.

    Attributes:
        embeddings: (N, D).
        weight: (C, D) of the clinical head.
        bias: (C,).
        labels: (N,) codes.
        patients: (N,) patient of each image.
        attributes: (N,) values by attribute, as `monai_shortcut.audit.audit` takes them.
        truth: by attribute, the mean probability that moves when only it is swapped in the same image.
        heads: (M, D) by attribute, heads of a multi-task model.
        tags: what tables group by.
    """

    embeddings: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[Any]
    attributes: dict[str, NDArray[Any]]
    truth: dict[str, float]
    heads: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)


def moved(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Mean total variation between predictions."""
    return float(0.5 * np.abs(after - before).sum(axis=1).mean())


def answers(case: Case, embeddings: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Predicted probabilities."""
    return np.asarray(
        softmax((case.embeddings if embeddings is None else embeddings) @ case.weight.T + case.bias, axis=1)
    )


def audited(case: Case, settings: AuditSettings, **given: Any) -> Audit:
    """The audit of a case; what else is given goes to `monai_shortcut.audit.audit`."""
    return audit(
        case.embeddings,
        case.weight,
        case.bias,
        case.labels,
        [str(patient) for patient in case.patients],
        case.attributes,
        label_names=[f"class {index}" for index in range(len(case.weight))],
        attribute_heads=case.heads,
        settings=settings,
        progress=Progress(show=False),
        **given,
    )


def measure(case: Case, name: str, settings: AuditSettings = SETTINGS) -> list[dict[str, Any]]:
    """A row per attribute: the truth, the verdict and every statistic."""
    record = audited(case, settings)
    return [{"case": name, **case.tags, **row(record, attribute, case)} for attribute in case.attributes]


def row(record: Audit, attribute: str, case: Case) -> dict[str, Any]:
    """What the audit says of one attribute, every statistic as a number that is large when it speaks of use."""
    finding, found = record.finding(attribute), record.finding(attribute).evidence
    values: dict[str, Any] = {"attribute": attribute, "truth": case.truth[attribute], "verdict": finding.verdict}
    if found is None:
        return values | {"problem": finding.reason}
    aligned = found.alignment
    own = aligned.multi_task or aligned.wsc
    return values | {
        "probe AUROC": found.encoding.auroc.value,
        "own AUROC": found.encoding.own_auroc.value,
        "WSC, published": _largest(own),
        "WSC, post-hoc": _largest(aligned.wsc),
        "WSC, raw space": _largest(aligned.raw),
        "WSC, balanced": _largest(aligned.balanced),
        "alignment": _largest(aligned.logits),
        "alignment within": _largest(aligned.within),
        "erasure": found.erasure.change.value if found.erasure else np.nan,
        "prediction gap": found.gap.effect.value,
        "latent counterfactual": found.latent.effect if found.latent else np.nan,
        **{f"largest {scale}": _difference(found, scale) for scale in ("probability", "decision", "rank")},
        "differences p": found.differences.test.p_value if found.differences else np.nan,
        "gap p": found.gap.test.p_value,
        "probe p": found.encoding.test.p_value,
        "WSC p": aligned.wsc_test.p_value,
        "alignment p": aligned.test.p_value,
        "erasure p": found.erasure.test.p_value if found.erasure else np.nan,
        "latent p": found.latent.test.p_value if found.latent else np.nan,
        "gap low": found.gap.effect.low,
        "gap high": found.gap.effect.high,
        "detectable": found.gap.detectable,
    }


def _difference(found: Evidence, scale: str) -> float:
    """The largest difference on a scale, of all labels and pairs of levels."""
    rows = found.differences.rows if found.differences else ()
    return max((abs(row.estimate.value) for row in rows if row.scale == scale), default=np.nan)


def _largest(values: tuple[tuple[float, ...], ...]) -> float:
    return float(np.abs(np.array(values)).max())


def save(case: Case, path: Path) -> None:
    """Keep a case, so that it can be measured again without training."""
    arrays = {f"attribute/{name}": np.asarray(values).astype(str) for name, values in case.attributes.items()}
    arrays |= {f"head/{name}": values for name, values in case.heads.items()}
    told = json.dumps({"truth": case.truth, "tags": case.tags})
    shared = {name: getattr(case, name) for name in ("embeddings", "weight", "bias", "labels")}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, told=told, patients=np.asarray(case.patients).astype(str), **shared, **arrays)
    part.replace(path)


def load(path: Path) -> Case:
    """Read a case."""
    with np.load(path) as stored:
        arrays = dict(stored)
    told = json.loads(str(arrays.pop("told")))
    parts: dict[str, dict[str, Any]] = {"attribute": {}, "head": {}}
    for key in [key for key in arrays if "/" in key]:
        kind, _, name = key.partition("/")
        parts[kind][name] = arrays.pop(key)
    attributes = {name: values.astype(object) for name, values in parts["attribute"].items()}
    return Case(attributes=attributes, heads=parts["head"], **told, **arrays)


def kept(path: Path, make: Any) -> list[dict[str, Any]]:
    """The rows in a file, or made now and kept in it."""
    if path.exists():
        return list(json.loads(path.read_text(encoding="utf-8")))
    rows = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    part.replace(path)
    return list(rows)


def seed_of(*parts: object) -> int:
    """A seed from names and numbers, the same everywhere."""
    return zlib.crc32("/".join(map(str, parts)).encode())
