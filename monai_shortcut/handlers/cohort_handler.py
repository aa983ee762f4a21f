# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the handlers that need metadata share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.embedding_recorder import EmbeddingRecorder
from monai_shortcut.levels import Levels, attribute_levels
from monai_shortcut.report import writable


class CohortHandler(EmbeddingRecorder):
    """An `EmbeddingRecorder` that knows the cohort and reports numbers at the end of an epoch."""

    def __init__(
        self,
        network: nn.Module,
        cohort: Cohort | str | Path,
        *,
        attributes: Sequence[str] | None = None,
        output_dir: str | Path | None = None,
        settings: AuditSettings | None = None,
        embedding: str = "pooled",
        layer: str | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        super().__init__(network, embedding=embedding, layer=layer, image_key=image_key, id_key=id_key)
        self.cohort = cohort if isinstance(cohort, Cohort) else Cohort.from_csv(cohort)
        unknown = [name for name in attributes or () if name not in self.cohort.attributes]
        if unknown:
            raise ValueError(f"attributes must be among {list(self.cohort.attributes)}, got {unknown}.")
        self.attributes = self.cohort.attributes if attributes is None else tuple(attributes)
        self.settings = settings or AuditSettings()
        self.output_dir = None if output_dir is None else Path(output_dir)
        if self.output_dir is not None:
            writable(self.output_dir)  # now, not after an hour of evaluation
        self._written: set[str] = set()

    def _start(self, engine: Engine) -> None:
        super()._start(engine)
        for name in self._written:  # an evaluator keeps its metrics between runs; old numbers must not stay
            engine.state.metrics.pop(name, None)

    def _stop(self, engine: Engine) -> None:
        super()._stop(engine)
        numbers = self._finish(engine)
        self._written = set(numbers)
        engine.state.metrics.update(numbers)

    def _finish(self, engine: Engine) -> dict[str, float]:
        raise NotImplementedError

    def _matched(self) -> tuple[Cohort, NDArray[np.bool_]]:
        """The cohort's rows in the order of the recorded images, and which recorded images have one."""
        known = set(self.cohort.image_ids)
        has_row = np.array([name in known for name in self.image_ids])
        if not has_row.any():
            raise ValueError(
                f"image ids must match those of the cohort ({', '.join(self.cohort.image_ids[:3])}, ...), "
                f"got {', '.join(self.image_ids[:3])}, ..."
            )
        return self.cohort.select([name for name in self.image_ids if name in known]), has_row

    def _measurable(self) -> tuple[Cohort, NDArray[np.float64]]:
        """The cohort's rows and embeddings of the recorded images that have both, the embeddings finite."""
        cohort, has_row = self._matched()
        points = self.embeddings[has_row]
        finite = np.isfinite(points).all(axis=1)
        if not finite.any():
            raise ValueError("at least one embedding must be finite, got none: check the model's weights and inputs.")
        return cohort.select(np.array(cohort.image_ids)[finite].tolist()), points[finite]

    def _levels(self, cohort: Cohort) -> dict[str, Levels]:
        """Levels of the attributes that can be analysed."""
        kept, settings = {}, self.settings
        for name in self.attributes:
            levels = attribute_levels(
                cohort.values(name),
                cohort.patients,
                bins=settings.bins,
                minimum_patients=settings.minimum_patients,
                maximum_levels=settings.maximum_levels,
                edges=settings.edges.get(name, ()),
            )
            if not levels.problem:
                kept[name] = levels
        return kept

    def _table(self, rows: list[dict[str, object]], name: str) -> None:
        if self.output_dir is not None:
            pd.DataFrame(rows).to_csv(self.output_dir / name, index=False)
