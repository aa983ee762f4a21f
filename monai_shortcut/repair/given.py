# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a repair is given, checked: a head, images, and attributes that there is something to repair of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.analyses.encoding import encoding
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.checks import (
    checked_codes,
    checked_head,
    checked_length,
    checked_patients,
    checked_points,
)
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Floats, Integers, Points, Unmeasurable

FEWEST = 5  # patients of a cell
SIGNIFICANT = 0.05
_DRAWS = Resampling(permutations=99, repeats=1, erasures=1, held_out=0, bootstraps=2)
_NAMED = 4  # cells that are spelled out


@dataclass(frozen=True, eq=False)
class Given:
    """A head and the images that all levels are known of.

    Attributes:
        weight: (C, D) float64.
        bias: (C,) float64.
        points: (n, D).
        labels: (n,) integers in [0, C), or 0 and 1 of a single logit.
        codes: (n, A) levels, each from 0 without gaps.
        patients: (n,) integers.
        names: (n,) patients by name.
    """

    weight: Floats
    bias: Floats
    points: Points
    labels: Integers
    codes: Integers
    patients: Integers
    names: NDArray[np.str_]

    @classmethod
    def of(
        cls,
        weight: ArrayLike,
        bias: ArrayLike,
        embeddings: ArrayLike,
        labels: ArrayLike,
        codes: ArrayLike,
        patients: Sequence[Any] | ArrayLike,
    ) -> Given:
        """Check the arguments of `erase` and `rebalance`.

        Raises:
            ValueError: If shapes disagree, a number is not finite or a label or level is out of range.
            Unmeasurable: If no image has a known level, or an attribute coincides with the label.
        """
        points = checked_points(embeddings)
        rows, offset = checked_head(weight, bias, points.shape[1])
        checked_length("labels", labels, len(points))
        label = checked_codes("labels", labels, max(len(rows), 2))
        level = np.asarray(codes)
        level = level[:, None] if level.ndim == 1 else level
        if level.ndim != 2 or len(level) != len(points) or not level.shape[1]:
            shape = np.shape(codes)
            raise ValueError(f"codes must have shape ({len(points)},) or ({len(points)}, A), got {shape}.")
        if level.dtype.kind not in "iu" or level.min(initial=0) < -1:
            raise ValueError("codes must be integers of at least 0, or -1 where unknown, got others.")
        patient, known = checked_patients(patients, len(points)), (level >= 0).all(axis=1)
        if not known.any():
            raise Unmeasurable("levels must be known of some images, got none")
        dense = [np.unique(column, return_inverse=True)[1] for column in level[known].T]
        names = np.asarray([str(name) for name in np.asarray(patients)[known].tolist()])
        found = cls(rows, offset, points[known], label[known], np.stack(dense, axis=1), patient[known], names)
        found._refuse_coincidence()
        return found

    @property
    def attributes(self) -> int:
        """A."""
        return int(self.codes.shape[1])

    def people(self, attribute: int) -> Integers:
        """(L, M) patients of each label and level."""
        code, labels = self.codes[:, attribute], int(self.labels.max()) + 1
        cell = self.labels * (int(code.max()) + 1) + code
        held = np.unique(np.stack([cell, self.patients]), axis=1)[0]
        return np.bincount(held, minlength=labels * (int(code.max()) + 1)).reshape(labels, -1)

    def _refuse_coincidence(self) -> None:
        for attribute in range(self.attributes):
            people = self.people(attribute)
            if ((people > 0).sum(axis=1) < 2).all():
                cells = [
                    f"label {row} at level {np.flatnonzero(own)[0]}" for row, own in enumerate(people) if own.any()
                ]
                raise Unmeasurable(
                    f"{_which(attribute, self.attributes)} must differ among images of a label, for what it shares "
                    f"with the label is the diagnosis, got only {_listed(cells)}"
                )

    def require_cells(self, every: bool) -> None:
        """Refuse too few patients.

        Args:
            every: whether each label and level must have them; else two levels of a label, for each level.

        Raises:
            Unmeasurable: The message names the cells.
        """
        for attribute in range(self.attributes):
            people = self.people(attribute)
            enough = people >= FEWEST
            rows = np.flatnonzero(people.any(axis=1))
            short = [(row, level) for row in rows for level in range(people.shape[1]) if not enough[row, level]]
            if not every:
                told = (enough & (enough.sum(axis=1, keepdims=True) >= 2)).any(axis=0)
                short = [(row, level) for row, level in short if not told[level]]
            if short:
                cells = [f"label {row} at level {level} ({people[row, level]} patients)" for row, level in short]
                raise Unmeasurable(
                    f"{_which(attribute, self.attributes)} must have at least {FEWEST} patients of a label at each "
                    f"level, got {_listed(cells)}"
                )

    def require_encoded(self) -> None:
        """Refuse attributes that no linear probe reads among images of one label.

        Raises:
            Unmeasurable: The message names the attribute.
        """
        images = Sample.of(self.points, self.weight, self.bias, self.labels, self.patients, draws=_DRAWS)
        for attribute in range(self.attributes):
            code = self.codes[:, attribute]
            levels = Levels(tuple(map(str, range(int(code.max()) + 1))), code, 0, {})
            found = encoding(images.by(f"attribute {attribute}", levels))
            if found.test.p_value > SIGNIFICANT:
                raise Unmeasurable(
                    f"{_which(attribute, self.attributes)} must be encoded for a linear map to remove it, got a probe "
                    f"with AUROC {found.own_auroc.value:.2f} within labels (p = {found.test.p_value:.2f})"
                )


def require_apart(fitted: Iterable[object], audited: Iterable[object]) -> None:
    """Refuse patients that a repair was fitted to and that it is audited on.

    Args:
        fitted: names of patients.
        audited: names of patients.

    Raises:
        ValueError: If some are in both; the message says how many.
    """
    both = sorted({str(name) for name in fitted} & {str(name) for name in audited})
    if both:
        names = _listed(both)
        raise ValueError(
            f"a repair must be audited on patients it was not fitted to, got {len(both)} in both: {names}."
        )


def _which(attribute: int, attributes: int) -> str:
    return "the attribute" if attributes == 1 else f"attribute {attribute}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
