# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The record of a region study: everything its report needs, without models or images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from monai_shortcut.analyses.embedding_maps import EmbeddingMaps
from monai_shortcut.analyses.embedding_moves import EmbeddingMoves
from monai_shortcut.attribution.record import Attribution
from monai_shortcut.reader_study.record import ReaderStudy
from monai_shortcut.region_study.contrasts import LabelAreas
from monai_shortcut.region_study.curves import CurvePoint, curves_of
from monai_shortcut.region_study.external import ExternalArea, external_areas
from monai_shortcut.region_study.fits import Fit, fits_of
from monai_shortcut.region_study.matrix import RegionMatrix, matrix_of
from monai_shortcut.region_study.reading import TOLERANCE, RegionReading, read_label
from monai_shortcut.region_study.scores import StudyScores
from monai_shortcut.storage.privacy import Privacy, written
from monai_shortcut.storage.records import decode, read_record, write_record

VERSION = 2  # fits are new
IDENTITY = ("network", "training configuration", "table of images", "date")  # settings that say what was studied
Epoch = tuple[int, float | None, float | None]


@dataclass(frozen=True)
class Counts:
    """Size of a study.

    Attributes:
        images: number of its own test images.
        patients: number of their patients.
        positives: images of each label.
        unknown: images whose outcome is unknown, by label.
    """

    images: int
    patients: int
    positives: dict[str, int]
    unknown: dict[str, int]


@dataclass(frozen=True)
class LearningCurve:
    """How the training of one model went.

    Attributes:
        trained_on: masking strategy of its images.
        fold: whose patients it has not seen.
        epochs: number of the epoch, training loss and validation metric; None where not finite.
    """

    trained_on: str
    fold: int
    epochs: tuple[Epoch, ...]


@dataclass(frozen=True)
class ModelAttribution:
    """Where one model that was trained on full images looks in its test images.

    Attributes:
        label: the finding that is asked about; "" if the study has one label.
        fold: whose patients it has not seen.
        found: shares and checks; images are shown of the first fold's model alone.
    """

    label: str
    fold: int
    found: Attribution


@dataclass(frozen=True)
class RegionStudyRecord:
    """The frozen record of a region study.

    Attributes:
        title: what was studied.
        strategies: masking strategies, in the order of the study.
        counts: images and patients.
        matrix: areas and comparisons.
        readings: what they say, one per label.
        curves: areas against margins; empty if there were none.
        external: areas in external cohorts.
        learning_curves: one per trained model.
        excluded: why an image has no scores, by its id (and condition).
        settings: what the study was run with.
        software: versions by package.
        fits: how well models fitted the images that they were made with; empty in records of version 1.
        moves: how far embeddings move under masking, by the strategy that models were trained on: of full images under
            every strategy, of others under their own.
        maps: test images of one model trained on full images under every strategy, in the plane.
        not_moved: why a model's embeddings are not known, by its name.
        attribution: where models trained on full images look, by label and fold; empty if nobody asked.
        readers: what people see in the images, by finding, "" if there is one label; empty if nobody has read them.
        privacy: what may be written of images.
        version: version of this format.
    """

    title: str
    strategies: tuple[str, ...]
    counts: Counts
    matrix: RegionMatrix
    readings: tuple[RegionReading, ...]
    curves: tuple[CurvePoint, ...] = ()
    external: tuple[ExternalArea, ...] = ()
    learning_curves: tuple[LearningCurve, ...] = ()
    excluded: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)
    fits: tuple[Fit, ...] = ()
    moves: dict[str, EmbeddingMoves] = field(default_factory=dict)
    maps: EmbeddingMaps | None = None
    not_moved: dict[str, str] = field(default_factory=dict)
    attribution: tuple[ModelAttribution, ...] = ()
    readers: dict[str, ReaderStudy] = field(default_factory=dict)
    privacy: Privacy = field(default_factory=Privacy)
    version: int = VERSION

    @property
    def labels(self) -> tuple[str, ...]:
        """What is told apart."""
        return self.matrix.labels

    def looked(self) -> dict[str, list[ModelAttribution]]:
        """Where models look, by label; that of the first fold comes first."""
        found: dict[str, list[ModelAttribution]] = {}
        for one in self.attribution:
            found.setdefault(one.label, []).append(one)
        return found

    def reading(self, label: str) -> RegionReading:
        """The reading of a label.

        Raises:
            ValueError: If there is no such label; the message lists those there are.
        """
        found = {reading.label: reading for reading in self.readings}
        if label not in found:
            raise ValueError(f"label must be one of {', '.join(found)}, got {label!r}.")
        return found[label]

    def to_json(self, path: str | Path) -> None:
        """Write the record as JSON, with what its privacy allows; where that is all, `from_json` gives an equal one."""
        write_record(written(self), path)

    @classmethod
    def from_json(cls, path: str | Path) -> RegionStudyRecord:
        """Read a record written by `to_json`.

        Raises:
            ValueError: If the file is not the record of a region study, or is of a newer version.
        """
        value = read_record(path, "a region study", VERSION, "matrix")
        return decode(cls, {**value, "readers": value.get("readers") or {}}, "region study")


def study_record(
    scores: pd.DataFrame,
    outcomes: pd.DataFrame,
    patients: pd.Series[Any],
    *,
    metadata: pd.DataFrame | None = None,
    fitted: pd.DataFrame | None = None,
    title: str = "",
    tolerance: float = TOLERANCE,
    level: float = 0.95,
    learning_curves: Mapping[tuple[str, int], Sequence[tuple[int, float, float]]] | None = None,
    excluded: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    software: Mapping[str, str] | None = None,
) -> RegionStudyRecord:
    """All statistics of a study, from the scores of its models.

    Args:
        scores: one row per model, condition and image, external cohorts and margins included; see `StudyScores.of`.
        outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown; of external images too.
        patients: patient of each image, indexed by image_id.
        metadata: scores of the metadata baseline: columns fold, image_id and one per label.
        fitted: scores of models on the images that they were made with; see `fits_of`.
        title: what was studied.
        tolerance: smallest difference of areas that matters, for the readings.
        level: level of the intervals.
        learning_curves: epoch, training loss and validation metric, by strategy and fold.
        excluded: why an image has no scores, by its id (and condition).
        settings: what the study was run with.
        software: versions by package.

    Returns:
        The record.

    Raises:
        ValueError: As `StudyScores.of`, `fits_of`, `margin_curves` and `read_regions`.
    """
    study = StudyScores.of(scores, outcomes, patients, metadata)
    fits = () if fitted is None else fits_of(fitted, outcomes)
    readings, external = list[RegionReading](), list[ExternalArea]()

    def labels() -> Iterator[LabelAreas]:
        """One label at a time: its areas serve matrix, reading and external cohorts, and are then dropped."""
        for label in study.labels:
            areas = LabelAreas(study, label, level)
            yield areas
            readings.append(read_label(areas, tolerance, fits))
            external.extend(external_areas(areas))

    matrix = matrix_of(study, labels(), level)
    curves = {
        key: tuple((int(epoch), _finite(loss), _finite(metric)) for epoch, loss, metric in epochs)
        for key, epochs in (learning_curves or {}).items()
    }
    return RegionStudyRecord(
        title=title,
        strategies=matrix.strategies,
        counts=_counts(study),
        matrix=matrix,
        readings=tuple(readings),
        curves=curves_of(study, level),
        external=tuple(external),
        learning_curves=tuple(LearningCurve(name, int(fold), epochs) for (name, fold), epochs in curves.items()),
        excluded=dict(excluded or {}),
        settings=dict(settings or {}),
        software=dict(software or {}),
        fits=fits,
    )


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _counts(study: StudyScores) -> Counts:
    rows = [fold.images for condition in study.matrix() for fold in study.conditions[condition].values()]
    images = np.unique(np.concatenate(rows)) if rows else np.empty(0, dtype=np.int64)
    outcomes = study.outcomes[images]
    return Counts(
        images=len(images),
        patients=len(np.unique(study.patients[images])),
        positives={name: int((outcomes[:, index] == 1).sum()) for index, name in enumerate(study.labels)},
        unknown={name: int(np.isnan(outcomes[:, index]).sum()) for index, name in enumerate(study.labels)},
    )
