# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Blocks of images, checked as they come and cut into parts that fit the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

from monai_shortcut.analyses.sample import two_rows
from monai_shortcut.statistics.checks import checked_codes, checked_head, checked_length, checked_points
from monai_shortcut.statistics.hashing import Keys, PatientHash
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Floats, Integers, Points

Block = tuple[ArrayLike, ArrayLike, Sequence[Any] | ArrayLike, ArrayLike]  # embeddings, labels, patients, codes

_ROWS = 2**16  # images at once, fewer if there are many columns
_NUMBERS = 2**24  # numbers of their embeddings at once
_SCORES = 2**22  # their scores at once


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a block.

    Attributes:
        points: (n, D) embeddings.
        labels: (n,) class.
        codes: (n,) level, -1 where missing.
        keys: (n,) of the patients.
    """

    points: Points
    labels: Integers
    codes: Integers
    keys: Keys

    @cached_property
    def known(self) -> Integers:
        """Positions of the images whose level is known."""
        return np.flatnonzero(self.codes >= 0)

    def chunks(self, draws: slice, levels: int) -> Iterator[slice]:
        """A few draws at a time, so that their scores for each level fit the memory."""
        step = max(1, _SCORES // (len(self.points) * levels))
        return (slice(start, min(start + step, draws.stop)) for start in range(draws.start, draws.stop, step))


@dataclass(frozen=True, eq=False)
class Source:
    """What `stream` is given.

    Attributes:
        blocks: see `stream`.
        weight: (C, D) of the clinical head.
        bias: (C,) of the clinical head.
        levels: M.
        ordered: whether the levels are ordered.
        draws: how often everything is drawn.
        patients: the hash of patients.
    """

    blocks: Callable[[], Iterable[Block]]
    weight: Floats
    bias: Floats
    levels: int
    ordered: bool
    draws: Resampling
    patients: PatientHash

    @classmethod
    def of(
        cls,
        blocks: Callable[[], Iterable[Block]],
        weight: ArrayLike,
        bias: ArrayLike,
        levels: int,
        ordered: bool,
        draws: Resampling,
        patients: PatientHash,
    ) -> Source:
        """Check the head and the number of levels."""
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got {levels}.")
        if patients.folds != draws.folds:
            raise ValueError(f"patients must be hashed into the {draws.folds} folds of draws, got {patients.folds}.")
        head = checked_head(weight, bias, np.shape(weight)[-1] if np.ndim(weight) else 0)
        return cls(blocks, *two_rows(*head), levels, ordered, draws, patients)

    @property
    def classes(self) -> int:
        """C."""
        return len(self.weight)

    def parts(self, images: int | None = None) -> Iterator[Part]:
        """Read all blocks once.

        Args:
            images: how many images an earlier reading gave.

        Raises:
            ValueError: If a block does not hold what it must, or there are more or fewer images than before.
        """
        read, step = 0, max(1, min(_ROWS, _NUMBERS // max(self.weight.shape[1], 1)))
        for index, block in enumerate(self.blocks()):
            try:
                points, label, patient, code = self._checked(*block)
            except ValueError as problem:
                raise ValueError(f"block {index}: {problem}") from problem
            for start in range(0, len(points), step):
                rows = slice(start, start + step)
                yield Part(points[rows], label[rows], code[rows], self.patients.keys(patient[rows]))
            read += len(points)
        if images is not None and read != images:
            raise ValueError(f"blocks must give the same images at each call, got {images}, then {read}.")

    def _checked(
        self, embeddings: ArrayLike, labels: ArrayLike, patients: Sequence[Any] | ArrayLike, codes: ArrayLike
    ) -> tuple[Points, Integers, NDArray[Any], Integers]:
        points, width = checked_points(embeddings), self.weight.shape[1]
        if points.shape[1] != width:
            raise ValueError(f"embeddings must have shape (n, {width}) to match weight, got {points.shape}.")
        for name, values in (("labels", labels), ("patients", patients), ("codes", codes)):
            checked_length(name, values, len(points))
        code = np.asarray(codes)
        if not np.isin(code, np.arange(-1, self.levels)).all():
            raise ValueError(f"codes must be in -1 to {self.levels - 1}, got {np.unique(code)[:10].tolist()}.")
        return points, checked_codes("labels", labels, self.classes), np.asarray(patients), code.astype(np.int64)

    def answers(self, points: Points) -> Floats:
        """(n, C) predicted probabilities."""
        return np.asarray(softmax(points @ self.weight.T.astype(points.dtype) + self.bias, axis=1), np.float64)
