# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a repair is given, checked: a head, images, and attributes that there is something to repair of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
        levels: for each attribute, the levels as they were given.
    """

    weight: Floats
    bias: Floats
    points: Points
    labels: Integers
    codes: Integers
    patients: Integers
    names: NDArray[np.str_]
    levels: tuple[Integers, ...]

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
            Unmeasurable: If no image has a known level, all have one label or level, or an attribute coincides with the
                label.
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
            values = np.unique(level)[:4].tolist()
            raise ValueError(f"codes must be integers of at least 0, or -1 where unknown, got {level.dtype} {values}.")
        patient, known = checked_patients(patients, len(points)), (level >= 0).all(axis=1)
        if not known.any():
            raise Unmeasurable("levels must be known of some images, got none")
        levels, dense = zip(*(np.unique(column, return_inverse=True) for column in level[known].T), strict=True)
        names = np.asarray([str(name) for name in np.asarray(patients)[known].tolist()])
        found = cls(rows, offset, points[known], label[known], np.stack(dense, axis=1), patient[known], names, levels)
        found._refuse_one_value()
        found._refuse_coincidence()
        return found

    @property
    def attributes(self) -> int:
        """A."""
        return int(self.codes.shape[1])

    @cached_property
    def cells(self) -> Integers:
        """(n,) label and levels of all attributes as one number."""
        return np.asarray(np.ravel_multi_index((self.labels, *self.codes.T), self._shape))

    @property
    def _shape(self) -> tuple[int, ...]:
        return max(len(self.weight), 2), *map(len, self.levels)

    def _people(self, cells: Integers, shape: tuple[int, ...]) -> Integers:
        """Patients of each cell, of a shape."""
        held = np.unique(np.stack([cells, self.patients]), axis=1)[0]
        return np.bincount(held, minlength=int(np.prod(shape))).reshape(shape)

    def people(self, attribute: int) -> Integers:
        """(C, M) patients of each label and level; C is 2 of a single logit."""
        shape = self._shape[0], self._shape[1 + attribute]
        return self._people(self.labels * shape[1] + self.codes[:, attribute], shape)

    def _cell(self, label: int, levels: Mapping[int, int]) -> str:
        """A cell as it was given; levels by attribute."""
        given = [str(self.levels[attribute][level]) for attribute, level in levels.items()]
        return f"label {label} at level{'s' if len(given) > 1 else ''} {' and '.join(given)}"

    def _refuse_one_value(self) -> None:
        if len(labels := np.unique(self.labels)) < 2:
            raise Unmeasurable(f"images must be of two labels or more, got label {labels[0]} alone")
        for attribute, levels in enumerate(self.levels):
            if len(levels) < 2:
                which = _which(attribute, self.attributes)
                raise Unmeasurable(f"{which} must have two levels or more, got level {levels[0]} alone")

    def _refuse_coincidence(self) -> None:
        for attribute in range(self.attributes):
            people = self.people(attribute)
            if ((people > 0).sum(axis=1) < 2).all():
                cells = [
                    self._cell(row, {attribute: int(np.flatnonzero(own)[0])})
                    for row, own in enumerate(people)
                    if own.any()
                ]
                raise Unmeasurable(
                    f"{_which(attribute, self.attributes)} must differ among images of a label, for what it shares "
                    f"with the label is the diagnosis, got only {_listed(cells)}"
                )

    def require_contrasts(self) -> None:
        """Refuse a level that no label has enough patients of, beside enough of another level.

        Raises:
            Unmeasurable: The message names the cells.
        """
        for attribute in range(self.attributes):
            people = self.people(attribute)
            enough = people >= FEWEST
            told = (enough & (enough.sum(axis=1, keepdims=True) >= 2)).any(axis=0)
            rows = np.flatnonzero(people.any(axis=1)).tolist()
            short = [(row, level) for row in rows for level in np.flatnonzero(~told).tolist() if not enough[row, level]]
            if short:
                cells = [
                    f"{self._cell(row, {attribute: level})} ({people[row, level]} patients)" for row, level in short
                ]
                raise Unmeasurable(
                    f"{_which(attribute, self.attributes)} must have at least {FEWEST} patients of a label at each "
                    f"level, got {_listed(cells)}"
                )

    def require_cells(self) -> None:
        """Refuse too few patients of a label of the head at a level, or at a combination of the attributes' levels.

        Raises:
            Unmeasurable: The message names the cells.
        """
        people = self._people(self.cells, self._shape)
        if short := np.argwhere(people < FEWEST).tolist():
            cells = [
                f"{self._cell(label, dict(enumerate(levels)))} ({people[(label, *levels)]} patients)"
                for label, *levels in short
            ]
            where = "level" if self.attributes == 1 else "combination of the levels"
            raise Unmeasurable(f"each label must have at least {FEWEST} patients at each {where}, got {_listed(cells)}")

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
