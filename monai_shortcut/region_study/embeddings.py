# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How embeddings move under masking, in the models of a region study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from monai_shortcut.analyses.embedding_maps import POINTS, EmbeddingMaps, embedding_maps
from monai_shortcut.analyses.embedding_moves import EmbeddingMoves, EmbeddingSpace, embedding_moves
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.statistics.two_samples import patients_within
from monai_shortcut.types import Booleans, Integers, Points

NONE = "none of them"


@dataclass(frozen=True, eq=False)
class ModelEmbeddings:
    """What the head of one model of a study reads of its test images.

    Attributes:
        trained_on: masking strategy of its training images.
        fold: whose patients it has not seen.
        points: (n, D) by strategy, rows by image_id; an image that a strategy could not be applied to has no row.
    """

    trained_on: str
    fold: int
    points: Mapping[str, pd.DataFrame]

    @property
    def images(self) -> pd.Index:
        """Names of the images, in the order of the full ones."""
        return self.points["full"].index

    def arrays(self) -> dict[str, Points]:
        """(n, D) by strategy, NaN rows where it could not be applied."""
        return {name: frame.reindex(self.images).to_numpy(dtype=np.float32) for name, frame in self.points.items()}


def study_moves(
    models: Sequence[ModelEmbeddings], outcomes: pd.DataFrame, patients: pd.Series[Any], draws: Resampling
) -> dict[str, EmbeddingMoves]:
    """Cosines between full and masked embeddings, by the strategy that the models were trained on.

    Args:
        models: one per strategy and fold; an image that several models have tested counts once for each.
        outcomes: (N, L) indexed by image_id: 1, 0, or NaN where unknown.
        patients: patient of each image, indexed by image_id.
        draws: bootstrap samples, confidence and seed.

    Returns:
        The cosines of each class: its images, those of no class, and all.
    """
    found = {}
    for trained_on in dict.fromkeys(model.trained_on for model in models):
        spaces = [_space(model, outcomes, patients) for model in models if model.trained_on == trained_on]
        found[trained_on] = embedding_moves(spaces, draws, np.random.default_rng(draws.seed))
    return found


def study_maps(
    model: ModelEmbeddings,
    outcomes: pd.DataFrame,
    patients: pd.Series[Any],
    colours: pd.DataFrame,
    *,
    methods: Sequence[str],
    seed: int,
) -> EmbeddingMaps:
    """Maps of the test images of one model under every strategy: embeddings of two models share no coordinates.

    Args:
        model: the model.
        outcomes: as for `study_moves`.
        patients: as for `study_moves`.
        colours: names to colour images by, indexed by image_id; "" where missing.
        methods: as for `embedding_maps`.
        seed: of the maps, and of the patients where there are too many images.
    """
    codes = _codes(patients.loc[model.images])
    rows = patients_within(codes, POINTS // len(model.points), np.random.default_rng(seed))
    names = model.images[rows]
    return embedding_maps(
        {name: points[rows] for name, points in model.arrays().items()},
        [_label(row) or _none(outcomes) for _, row in outcomes.loc[names].iterrows()],
        {str(name): colours.loc[names, name].tolist() for name in colours.columns},
        methods=methods,
        seed=seed,
        of=len(model.images),
    )


def _space(model: ModelEmbeddings, outcomes: pd.DataFrame, patients: pd.Series[Any]) -> EmbeddingSpace:
    known = outcomes.loc[model.images].to_numpy(dtype=np.float64)
    groups: dict[str, Booleans] = {str(label): known[:, index] == 1 for index, label in enumerate(outcomes.columns)}
    points = model.arrays()
    full = points.pop("full")
    every = _codes(patients)  # the same patient has one number in all models
    place = pd.Series(every, patients.index).loc[model.images].to_numpy(dtype=np.int64)
    _, strata = np.unique(np.nan_to_num(known, nan=-1.0), axis=0, return_inverse=True)
    groups[_none(outcomes)] = (known == 0).all(axis=1)
    return EmbeddingSpace(full, points, place, strata.reshape(-1), groups)


def _codes(patients: pd.Series[Any]) -> Integers:
    return np.unique(patients.to_numpy().astype(str), return_inverse=True)[1].astype(np.int64)


def _label(outcome: pd.Series[Any]) -> str:
    """The labels that an image has, joined."""
    return " and ".join(str(name) for name, value in outcome.items() if value == 1)


def _none(outcomes: pd.DataFrame) -> str:
    """What images are called that have none of the labels."""
    return NONE if len(outcomes.columns) > 1 else f"not {outcomes.columns[0]}"
