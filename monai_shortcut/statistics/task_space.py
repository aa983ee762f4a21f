# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Heads of several tasks at once: the cosines of all their rows, and what a head shares with them jointly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.statistics.checks import checked_points, checked_rows
from monai_shortcut.statistics.subspaces import (
    contrasts,
    cosines,
    metric_root,
    orthonormal_rows,
    principal_components,
    principal_cosines,
    projected,
)

Floats = NDArray[np.float64]
_BLOCK = 64  # permutations at once; bounds the memory


@dataclass(frozen=True)
class TaskMatrix:
    """Cosines between all rows of the heads of several tasks.

    Attributes:
        tasks: (T,) task of each row.
        cosines: (T, T) cosines in [-1, 1], symmetric; a row that is zero has cosine 0 even with itself.
    """

    tasks: tuple[str, ...]
    cosines: tuple[tuple[float, ...], ...]

    def within(self, task: str | None = None) -> Floats:
        """Cosines between different rows of one task, each pair once: slightly negative where levels compete.

        Args:
            task: the task; every task by default.

        Raises:
            ValueError: If there is no such task.
        """
        own, other = self._pairs(task)
        return self._chosen(own == other if task is None else (own == other) & (own == task))

    def between(self, first: str | None = None, second: str | None = None) -> Floats:
        """Cosines between rows of different tasks, each pair once: around 0 where tasks have nothing in common.

        Args:
            first: a task that each pair must touch; any by default.
            second: another task that each pair must touch; any by default.

        Raises:
            ValueError: If there is no such task, or the two are the same.
        """
        own, other = self._pairs(first, second)
        if first is not None and first == second:
            raise ValueError(f"first and second must be different tasks, got {first!r} twice.")
        wanted = own != other
        for task in (first, second):
            if task is not None:
                wanted &= (own == task) | (other == task)
        return self._chosen(wanted)

    def _pairs(self, *wanted: str | None) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
        """Tasks of the rows, as a column and as a row."""
        for task in wanted:
            if task is not None and task not in self.tasks:
                raise ValueError(f"task must be one of {list(dict.fromkeys(self.tasks))}, got {task!r}.")
        tasks = np.array(self.tasks)
        return tasks[:, None], tasks[None, :]

    def _chosen(self, wanted: NDArray[np.bool_]) -> Floats:
        return np.asarray(np.array(self.cosines)[np.triu(wanted, 1)])


def task_matrix(
    heads: Mapping[str, ArrayLike], embeddings: ArrayLike, variance: float | None = 0.99, min_components: int = 50
) -> TaskMatrix:
    """Weight space correlation between all rows of the heads of several tasks.

    Published as the null of the method: cosines between rows of unrelated tasks lie closely around 0, cosines between
    rows of one softmax head slightly below, since its levels compete.

    Args:
        heads: (M_t, D) weights of the head of each task.
        embeddings: (N, D) embeddings that all read.
        variance: share of the variance to explain, in (0, 1]; None for the raw space.
        min_components: least number of principal components.

    Returns:
        The cosines, rows in the order of the heads.

    Raises:
        ValueError: If there is no head, the shapes disagree, a number is not finite, or variance or min_components is
            out of range.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(20, 3))
        >>> matrix = task_matrix({"plane": [[1, 0, 0], [-1, 0, 0]], "scanner": [[0, 1, 0]]}, points)
        >>> matrix.within("plane").round(6).tolist(), np.abs(matrix.between()).round(6).tolist()
        ([-1.0], [0.0, 0.0])
    """
    points = checked_points(embeddings, least=2).astype(np.float64)
    if not heads:
        raise ValueError("heads must hold the head of at least one task, got none.")
    parts = {task: checked_rows(f"heads[{task!r}]", head, points.shape[1]) for task, head in heads.items()}
    return task_cosines(parts, None if variance is None else principal_components(points, variance, min_components))


def task_cosines(parts: Mapping[str, Floats], axes: Floats | None) -> TaskMatrix:
    """Cosines between rows (M_t, D) of heads within principal axes (k, D), or as they are; see `task_matrix`."""
    rows = np.concatenate(list(parts.values()))
    image = rows if axes is None else rows @ axes.T
    found = cosines(image, image, rows, rows, 1.0)
    return TaskMatrix(
        tasks=tuple(task for task, part in parts.items() for _ in part),
        cosines=tuple(map(tuple, ((found + found.T) / 2).tolist())),
    )


def joint_alignment(
    head: ArrayLike, probes: Sequence[ArrayLike], embeddings: ArrayLike, labels: ArrayLike | None = None
) -> tuple[float, ...]:
    """Canonical correlations between the logits of a head and those of the probes of several attributes together.

    They are the cosines of the principal angles between two subspaces in the metric of the embeddings: that of the
    head's contrasts (rows relative to their mean, or the single row) and that of all probes' contrasts. A head may
    use a mixture of attributes that none of them shows alone. With one binary attribute and a head of two classes this
    is the absolute `monai_shortcut.statistics.weight_space.alignment`.

    Args:
        head: (C, D) weights of the clinical head.
        probes: (M_a, D) weights of the probe of each attribute.
        embeddings: (N, D) embeddings that all read.
        labels: (N,) optional class; logits are then correlated within classes (deviations from the class mean).

    Returns:
        Correlations in [0, 1], largest first, as many as the smaller subspace has dimensions; (0.0,) where one has
        none. More attributes and more levels make them larger by chance alone, and 1 once the probes span all that the
        embeddings do: compare with `joint_alignment_null`.

    Raises:
        ValueError: If there is no probe, the shapes disagree, or a number is not finite.

    References:
        Hotelling (1936), Biometrika 28; Björck and Golub (1973), Mathematics of Computation 27.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(50, 3))
        >>> np.round(joint_alignment([[1, 2, 0]], [[[1, 0, 0]], [[0, 1, 0]]], points), 6).tolist()
        [1.0]
    """
    space = HeadSpace.of(head, embeddings, labels)
    return space.correlations(_checked_probes(probes, space, (2,)))


def joint_alignment_null(
    head: ArrayLike, null_probes: Sequence[ArrayLike], embeddings: ArrayLike, labels: ArrayLike | None = None
) -> Floats:
    """Joint alignment of a head with probes of permuted attributes.

    Args:
        head: (C, D) weights of the clinical head.
        null_probes: (B, M_a, D) weights, for each attribute, of the probes of B permutations, as
            `monai_shortcut.probes.null_probes` gives. Generators of one seed permute the attributes together, which
            keeps what they have in common.
        embeddings: (N, D) embeddings that all read.
        labels: (N,) optional class, as in `joint_alignment`.

    Returns:
        (B,) the largest correlation of each permutation.

    Raises:
        ValueError: If there is no probe, the shapes or the numbers of permutations disagree, or a number is not finite.
    """
    space = HeadSpace.of(head, embeddings, labels)
    probes = _checked_probes(null_probes, space, (3,))
    draws = [len(probe) for probe in probes]
    if len(set(draws)) > 1:
        raise ValueError(f"null_probes must hold equally many permutations of each attribute, got {draws}.")
    return space.largest(probes)


def joint_share(
    head: ArrayLike, probes: Sequence[ArrayLike], embeddings: ArrayLike, labels: ArrayLike | None = None
) -> float:
    """Share of the variance of a head's logits that the logits of several attributes' probes explain together.

    Canonical correlations weigh every contrast of the head alike; this weighs them by how much they vary. It is the
    R squared of a linear regression of the head's logits, relative to their mean, on those of all probes.

    Args:
        head: (C, D) weights of the clinical head.
        probes: (M_a, D) weights of the probe of each attribute.
        embeddings: (N, D) embeddings that all read.
        labels: (N,) optional class; the variance is then that within classes.

    Returns:
        Share in [0, 1]; 0 where the head's logits do not vary.

    Raises:
        ValueError: If there is no probe, the shapes disagree, or a number is not finite.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(50, 3))
        >>> round(joint_share([[1, 2, 0]], [[[1, 0, 0]], [[0, 1, 0]]], points), 6)
        1.0
    """
    space = HeadSpace.of(head, embeddings, labels)
    return space.share(_checked_probes(probes, space, (2,)))


@dataclass(frozen=True, eq=False)
class HeadSpace:
    """A head in the metric of the embeddings.

    Attributes:
        head: (C, D) its rows.
        root: (r, D) root of the metric, as `metric_root` gives.
        size: length of the embeddings, against which rounding is measured.
        precision: share of that length that is rounding.
    """

    head: Floats
    root: Floats
    size: float
    precision: float = 1e-13

    @classmethod
    def of(cls, head: ArrayLike, embeddings: ArrayLike, labels: ArrayLike | None) -> HeadSpace:
        """Check arrays, and decompose the embeddings."""
        points = checked_points(embeddings, least=2).astype(np.float64)
        rows = checked_rows("head", head, points.shape[1], "C")
        return cls(rows, metric_root(points, labels), float(np.linalg.norm(points)))

    def correlations(self, probes: Sequence[Floats]) -> tuple[float, ...]:
        """Canonical correlations with probes (M_a, D), see `joint_alignment`."""
        first, second = self._directions(self.head), self._joint(probes)
        rank = min(int(directions.any(axis=1).sum()) for directions in (first, second))
        return tuple(principal_cosines(first, second)[:rank].tolist()) if rank else (0.0,)

    def largest(self, probes: Sequence[Floats]) -> Floats:
        """(B,) the largest correlation with probes (B, M_a, D), see `joint_alignment_null`."""
        first, largest = self._directions(self.head), np.empty(len(probes[0]))
        for block in (slice(start, start + _BLOCK) for start in range(0, len(largest), _BLOCK)):
            second = self._joint([probe[block] for probe in probes])
            largest[block] = principal_cosines(first, second).max(axis=-1, initial=0.0)
        return largest

    def share(self, probes: Sequence[Floats]) -> float:
        """Share of the head's variance that probes (M_a, D) explain, see `joint_share`."""
        second = self._joint(probes)
        if not self._directions(self.head).any():
            return 0.0
        image = contrasts(self.head) @ self.root.T
        return min(float(((image @ second.T) ** 2).sum() / (image**2).sum()), 1.0)

    def _directions(self, rows: Floats) -> Floats:
        """Orthonormal rows (..., m, k) that span the logits of the contrasts of rows (..., M, D), zeros after the last.

        Contrasts sum to zero, so one of them is always spare; what is no larger than rounding is no direction.
        """
        rounding = self.precision * self.size * np.linalg.norm(rows, axis=(-2, -1))
        return orthonormal_rows(projected(contrasts(rows), self.root), rounding)

    def _joint(self, probes: Sequence[Floats]) -> Floats:
        """Orthonormal rows that span the logits of all probes' contrasts, each probe scaled alike."""
        return orthonormal_rows(np.concatenate([self._directions(probe) for probe in probes], axis=-2))


def _checked_probes(probes: Sequence[ArrayLike], space: HeadSpace, dims: tuple[int, ...]) -> list[Floats]:
    name, axes = ("probes", "M") if dims == (2,) else ("null_probes", "B, M")
    if not len(probes):
        raise ValueError(f"{name} must hold the probe of at least one attribute, got none.")
    columns = space.head.shape[1]
    return [checked_rows(f"{name}[{index}]", probe, columns, axes, dims) for index, probe in enumerate(probes)]
