# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the head of a study's model reads of its test images, in a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
from ignite.engine import Engine

from monai_shortcut.handlers.recording import EmbeddingRecorder
from monai_shortcut.storage.files import replacing

_PROBLEM, _IDS, _POINTS = "problem", "image_id", "embeddings"


class TestReader(EmbeddingRecorder):
    """An `EmbeddingRecorder` that gives up where the head cannot be found, and lets the evaluation go on.

    Attributes:
        problem: why it gave up; empty if it did not.
    """

    __test__ = False  # no test of pytest's
    problem = ""

    def _batch_loaded(self, engine: Engine) -> None:
        try:
            super()._batch_loaded(engine)
        except (ValueError, RuntimeError) as error:
            self._give_up(error)

    def _iteration_completed(self, engine: Engine) -> None:
        try:
            super()._iteration_completed(engine)
        except (ValueError, RuntimeError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.problem, self._recording = str(error), False
        self._remove()

    def save(self, path: Path, images: Collection[str]) -> None:
        """Write the embeddings of some images, or why there are none.

        Args:
            path: the file.
            images: names of the images.
        """
        problem = self.problem or ("" if self.image_ids else "no test image could be masked")
        parts = {_PROBLEM: np.array(problem)}
        if not problem:
            rows = [row for row, name in enumerate(self.image_ids) if name in images]
            parts |= {_IDS: np.array(self.image_ids, dtype=np.str_)[rows], _POINTS: self.embeddings[rows].astype("f4")}
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, **parts)  # type: ignore[arg-type]


def read_embeddings(path: Path) -> pd.DataFrame | str:
    """The embeddings of a file of `TestReader`, (n, D) by image_id; or why there are none.

    Args:
        path: the file.
    """
    if not path.is_file():
        return "it was tested by a version that kept no embeddings, and its weights are gone"
    with np.load(path) as parts:
        problem = str(parts[_PROBLEM])
        return problem or pd.DataFrame(parts[_POINTS], pd.Index(parts[_IDS].astype(object), name=_IDS))
