# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings as a classifier makes them, with a head, labels, patients and attributes of several kinds; any size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.cohort.levels import attribute_levels

KINDS = ("binary", "three levels", "four levels", "continuous", "a tenth missing")
_LEVELS = {"binary": 2, "three levels": 3, "four levels": 4, "a tenth missing": 2}
_NOISE = 0.1  # standard deviation, where that of the factors together is 1
_STRENGTHS = (2.0, 1.0, 0.5, 0.0)  # of the traces in turn, in standard deviations of the noise along them
_CHUNK = 8192  # images drawn at once; bounds the memory


@dataclass(frozen=True)
class Drawn:
    """What an audit takes.

    Attributes:
        embeddings: (N, D) float32, in memory or mapped from a file.
        weight: (2, D) float64 of a head that reads the label and the first attribute.
        bias: (2,) float64.
        labels: (N,) int64, 0 or 1.
        patients: (N,) strings, two images of each.
        attributes: (N,) by name: strings with None where missing, or float64.
    """

    embeddings: NDArray[np.float32]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    attributes: dict[str, NDArray[Any]]

    def audit(self, settings: AuditSettings | None = None, form: Callable[..., Audit] = audit) -> Audit:
        """Run the audit, or another form of it that takes the same."""
        return form(
            self.embeddings,
            self.weight,
            self.bias,
            self.labels,
            self.patients,
            self.attributes,
            label_names=("negative", "positive"),
            settings=settings or AuditSettings(),
        )

    def as_categories(self) -> Drawn:
        """The same with numbers cut into bins that have no order, and missing values filled in."""
        coded = {name: attribute_levels(values, self.patients).codes for name, values in self.attributes.items()}
        named = {name: np.maximum(codes, 0).astype(str).astype(object) for name, codes in coded.items()}
        return replace(self, attributes=named)


def draw(
    images: int, columns: int, attributes: int, *, trace: float = 1.0, seed: int = 0, file: Path | None = None
) -> Drawn:
    """Draw embeddings and what belongs to them.

    An embedding is a mixture of D / 4 factors whose variance falls, plus noise of a tenth, plus the traces of label
    and attributes, on columns of different means and scales. One column in sixteen is 0 (a dead unit) and one in
    sixteen repeats another, so that the covariance is singular. Half of a factor's variance is the patient's.

    Args:
        images: N, even.
        columns: D, at least 16.
        attributes: A; their kinds follow `KINDS` in turn, every third differs between images of a patient.
        trace: factor of the attributes' traces.
        seed: of everything.
        file: where the embeddings are written, to be mapped instead of held in memory.
    """
    rng = np.random.default_rng([seed, images, columns])
    patient = np.arange(images) // 2
    label = np.where(rng.random(images) < 0.8, rng.integers(2, size=images // 2)[patient], rng.integers(2, size=images))
    values = {f"{k} {KINDS[k % len(KINDS)]}": _values(k, patient, rng) for k in range(attributes)}
    shown = np.stack([label - 0.5, *(_standard(found) for found in values.values())], axis=1).astype(np.float32)
    out = np.empty((images, columns), np.float32) if file is None else _mapped(file, (images, columns))
    shown[:, 1:] *= trace * np.resize(_STRENGTHS, attributes)
    shown[:, 0] *= 4
    _fill(out, shown, rng)
    weight, bias = _head(out, shown)
    named = {name: _named(name, found, rng) for name, found in values.items()}
    return Drawn(out, weight, bias, label, patient.astype(str), named)


def _values(index: int, patient: NDArray[np.int64], rng: np.random.Generator) -> NDArray[Any]:
    """(N,) codes of a level, or numbers."""
    units = len(patient) if index % 3 == 2 else int(patient[-1]) + 1
    kind = KINDS[index % len(KINDS)]
    found = rng.normal(size=units) if kind == "continuous" else rng.integers(_LEVELS[kind], size=units)
    return found if index % 3 == 2 else found[patient]


def _standard(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray((values - values.mean()) / values.std())


def _named(name: str, values: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """Numbers as they are, codes as strings, a tenth of them None where the name says so."""
    if values.dtype.kind == "f":
        return values
    levels = np.array([f"level {code}" for code in range(int(values.max()) + 1)], dtype=object)[values]
    if name.endswith("missing"):
        levels[rng.random(len(levels)) < 0.1] = None
    return np.asarray(levels)


def _mapped(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    return np.memmap(file, np.float32, "w+", shape=shape)


def _fill(out: NDArray[np.float32], shown: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Draw the embeddings chunk by chunk into an array; a chunk holds whole patients."""
    columns, rank = out.shape[1], max(4, out.shape[1] // 4)
    loadings = rng.normal(size=(rank, columns)) / np.sqrt(1 + np.arange(rank) / 4)[:, None]
    loadings = (loadings / np.sqrt((loadings**2).sum(axis=0))).astype(np.float32)
    traces = (_NOISE / np.sqrt(columns) * rng.normal(size=(shown.shape[1], columns))).astype(np.float32)
    scale = np.exp(rng.normal(size=columns)).astype(np.float32)
    centre = scale * rng.uniform(1, 3, columns).astype(np.float32)
    few = columns // 16
    for start in range(0, len(out), _CHUNK):
        part = shown[start : start + _CHUNK]
        own = rng.standard_normal((len(part), rank), dtype=np.float32)
        own += np.repeat(rng.standard_normal((len(part) // 2, rank), dtype=np.float32), 2, axis=0)
        block = (own * np.float32(0.5**0.5)) @ loadings + part @ traces
        block += np.float32(_NOISE) * rng.standard_normal(block.shape, dtype=np.float32)
        block = block * scale + centre
        block[:, :few], block[:, few : 2 * few] = 0, block[:, 2 * few : 3 * few]
        out[start : start + len(part)] = block


def _head(
    embeddings: NDArray[np.float32], shown: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A ridge regression on the traces of the label and the first attribute, from a few images."""
    few = min(len(embeddings), 4000)
    points, wanted = np.asarray(embeddings[:few], dtype=np.float64), shown[:few, 0] + shown[:few, 1] / 2
    centre, scale = points.mean(axis=0), np.maximum(points.std(axis=0), 1e-6)
    points = (points - centre) / scale
    covariance = points.T @ points / few + 0.1 * np.eye(points.shape[1])
    weight = 4 * np.linalg.solve(covariance, points.T @ wanted / few) * (scale > 1e-6) / scale
    return np.stack([-weight / 2, weight / 2]), np.array([centre @ weight / 2, -centre @ weight / 2])
