# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Embeddings of masked images, kept during an evaluation for as many patients as the memory has room for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.embedding_moves import MaskedEmbeddings
from monai_shortcut.handlers.processes import gather
from monai_shortcut.handlers.tasks import CohortMatcher
from monai_shortcut.statistics.ordering import by_appearance
from monai_shortcut.statistics.two_samples import patients_within

_NUMBERS = 2**26  # that are kept, 256 MiB in float32


class MaskedRows:
    """Keeps a row for each image and strategy.

    Where the images of the cohort do not fit the memory, patients are drawn from the cohort before the first image is
    seen, so that the choice depends neither on the order of the images nor on the process that sees them.

    Args:
        matchers: of the cohorts, by label.
        strategies: masking strategies whose embeddings are kept.
        seed: of the choice of patients.

    Attributes:
        rows: (D,) float32 by image name and strategy.
    """

    def __init__(self, matchers: Mapping[str, CohortMatcher], strategies: Collection[str], seed: int) -> None:
        self.rows: dict[str, dict[str, NDArray[np.float32]]] = {}
        self._matchers, self._strategies, self._seed = tuple(matchers.values()), tuple(strategies), seed
        self._chosen: frozenset[str] | None = None

    def add(self, strategy: str, names: Sequence[str], points: NDArray[Any]) -> None:
        """Keep embeddings of images whose patients are chosen; an image that comes again replaces itself.

        Args:
            strategy: how the images are masked.
            names: n names of images.
            points: (n, D) their embeddings.
        """
        if strategy not in self._strategies:
            return
        if self._chosen is None:
            self._chosen = self._choose(points.shape[1])
        for name, row in zip(names, points.astype(np.float32), strict=True):
            if any(matcher.find(name) in self._chosen for matcher in self._matchers):
                self.rows.setdefault(name, {})[strategy] = row.copy()

    def unite(self) -> None:
        """Take over what all processes kept."""
        self.rows = {name: found for part in gather(self.rows) for name, found in part.items()}

    def of(self, matcher: CohortMatcher, image_ids: Sequence[str]) -> MaskedEmbeddings | None:
        """The kept embeddings of the images of a cohort; None if there are none.

        Args:
            matcher: of the cohort.
            image_ids: N images of it, in the order of their rows.
        """
        own = {matcher.find(name): found for name, found in self.rows.items()}
        rows = [place for place, image in enumerate(image_ids) if image in own]
        if not rows:
            return None
        width = len(next(iter(own[image_ids[rows[0]]].values())))
        nothing = np.full(width, np.nan, dtype=np.float32)
        points = {
            strategy: np.stack([own[image_ids[row]].get(strategy, nothing) for row in rows])
            for strategy in self._strategies
        }
        return MaskedEmbeddings.of(points, rows)

    def _choose(self, width: int) -> frozenset[str]:
        tables = [matcher.cohort.table for matcher in self._matchers]
        patient = {str(image): str(name) for table in tables for image, name in table["patient_id"].items()}
        images = sorted(patient)
        codes = by_appearance([patient[image] for image in images])
        most = _NUMBERS // max(width * len(self._strategies), 1)
        rows = patients_within(codes, most, np.random.default_rng(self._seed))
        return frozenset(images[row] for row in rows.tolist())
