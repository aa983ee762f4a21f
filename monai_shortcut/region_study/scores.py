# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The scores of a region study, checked, and grouped by who gave them and to which images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
CONDITION = ("trained_on", "evaluated_on", "margin", "cohort")


@dataclass(frozen=True, eq=False)
class Fold:
    """Scores that one model gave to the images of one condition.

    Attributes:
        images: (n,) numbers of the images, increasing.
        values: (n, L) score of each image for each label.
    """

    images: Integers
    values: Floats


@dataclass(frozen=True)
class Condition:
    """Who gave scores, and to images masked how; one model per fold.

    Attributes:
        trained_on: masking strategy of the training images.
        evaluated_on: masking strategy of the test images.
        margin: margin of the region in the test images.
        cohort: name of an external cohort, or "" for the study's own test images.
    """

    trained_on: str
    evaluated_on: str
    margin: float = 0.0
    cohort: str = ""

    def __str__(self) -> str:
        extra = [f"margin {self.margin:g}"] if self.margin else []
        return (
            "[" + ", ".join([self.trained_on, self.evaluated_on, *extra, *([self.cohort] if self.cohort else [])]) + "]"
        )


METADATA = Condition("metadata", "metadata")  # stands for the baseline that knows the metadata alone


@dataclass(frozen=True, eq=False)
class StudyScores:
    """All scores of a study; build it with `of`, which checks them.

    Attributes:
        labels: L names of what is told apart.
        outcomes: (N, L) 1, 0, or NaN where unknown.
        patients: (N,) number of each image's patient, from 0.
        names: (N,) image ids.
        conditions: fold number -> scores, by condition, in the order of their first rows; last `METADATA`, if there is
            a baseline, whose scores are NaN where it has none.
    """

    labels: tuple[str, ...]
    outcomes: Floats
    patients: Integers
    names: NDArray[Any]
    conditions: dict[Condition, dict[int, Fold]]

    @classmethod
    def of(
        cls, scores: pd.DataFrame, outcomes: pd.DataFrame, patients: pd.Series, metadata: pd.DataFrame | None = None
    ) -> StudyScores:
        """Check the tables of a study.

        Args:
            scores: one row per model, condition and image: columns trained_on, fold, evaluated_on, margin, cohort,
                image_id, and one float column per label; higher means more likely.
            outcomes: (N, L) indexed by image_id, one column per label: 1, 0, or NaN where unknown.
            patients: patient of each image, indexed by image_id.
            metadata: scores of the metadata baseline: columns fold, image_id and one per label, NaN where it has none.

        Raises:
            ValueError: If a column is absent, an image is unknown, occurs twice under one model and condition, has no
                patient or a score that is not finite, or an outcome is not 0 or 1.
        """
        labels = tuple(map(str, outcomes.columns))
        _present(scores, [*CONDITION, "fold", "image_id", *labels], "scores")
        values = outcomes.to_numpy(dtype=np.float64)
        wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
        if wrong.any():
            raise ValueError(f"outcomes must be 0, 1 or NaN, got {sorted(set(values[wrong].tolist()))[:5]}.")
        for what, index in (("outcomes", outcomes.index), ("patients", patients.index)):
            if not index.is_unique:
                raise ValueError(f"{what} must hold each image once, got {_some(index[index.duplicated()])} again.")
        known = patients.reindex(outcomes.index)
        if known.isna().any():
            raise ValueError(
                f"patients must name the patient of every image, got none of {_some(known[known.isna()].index)}."
            )
        _, codes = np.unique(known.to_numpy().astype(str), return_inverse=True)
        unscored = ~np.isfinite(scores[list(labels)].to_numpy(dtype=np.float64)).all(axis=1)
        if unscored.any():
            raise ValueError(f"scores must be finite, got others for {_some(scores['image_id'][unscored])}.")
        conditions: dict[Condition, dict[int, Fold]] = {}
        for (trained_on, evaluated_on, margin, cohort, fold), part in _grouped(scores, [*CONDITION, "fold"]):
            key = Condition(str(trained_on), str(evaluated_on), float(margin), str(cohort))
            where = f"scores of {key}, fold {fold},"
            conditions.setdefault(key, {})[int(fold)] = _fold(part, outcomes.index, labels, where)
        if metadata is not None:
            _present(metadata, ["fold", "image_id", *labels], "metadata")
            conditions[METADATA] = {
                int(fold): _fold(part, outcomes.index, labels, f"metadata of fold {fold}")
                for (fold,), part in _grouped(metadata, ["fold"])
            }
        names = np.array(outcomes.index.tolist(), dtype=object)
        return cls(labels, values, codes.astype(np.int64), names, conditions)

    def matrix(self) -> list[Condition]:
        """The conditions of the matrix: the study's own test images, margin 0."""
        return [key for key in self.conditions if key.margin == 0 and not key.cohort and key != METADATA]


def _present(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise ValueError(f"{what} must have the columns {', '.join(columns)}, got none named {', '.join(absent)}.")


def _grouped(frame: pd.DataFrame, columns: list[str]) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Rows with the same values in these columns, in the order of their first rows."""
    for key, part in frame.groupby(columns, sort=False, dropna=False, observed=True):
        yield key if isinstance(key, tuple) else (key,), part


def _fold(part: pd.DataFrame, images: pd.Index, labels: Sequence[str], where: str) -> Fold:
    rows = images.get_indexer(pd.Index(part["image_id"]))
    if (rows < 0).any():
        raise ValueError(f"{where} must be of images that have an outcome, got {_some(part['image_id'][rows < 0])}.")
    order = np.argsort(rows, kind="stable")
    rows = rows[order].astype(np.int64)
    again = np.flatnonzero(np.diff(rows) == 0)
    if len(again):
        raise ValueError(f"{where} must hold each image once, got {_some(images[rows[again]])} again.")
    return Fold(rows, part[list(labels)].to_numpy(dtype=np.float64)[order])


def _some(names: Any) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")
