# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Folds, groups and redrawn levels that follow from a patient's id, so that no table of patients is kept."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas.util import hash_array

from monai_shortcut.statistics.ordering import along
from monai_shortcut.types import Floats, Integers, Points

Keys = NDArray[np.uint64]
_STEP = 0x9E3779B97F4A7C15  # of SplitMix64
_WORD = 1 << 64


@dataclass(frozen=True)
class PatientHash:
    """What chance decides about patients, as functions of their id.

    Attributes:
        seed: seed of all draws.
        folds: number K of folds.
        attribute: name of what is drawn afresh, so that attributes differ; folds and groups do not depend on it.
        groups: number G of groups of patients, the units of limits: a standard error of G units is itself known to
            1 / sqrt(2 G).

    References:
        Steele, Lea and Flood (2014), OOPSLA (SplitMix64).
    """

    seed: int
    folds: int
    attribute: str = ""
    groups: int = 4096

    def keys(self, patients: Sequence[Any] | ArrayLike) -> Keys:
        """(n,) random number of each patient: integers by their value, all else by its text."""
        ids = np.asarray(patients)
        ids = ids.astype(np.int64) if ids.dtype.kind in "iub" else ids.astype(str).astype(object)
        return _mixed(hash_array(ids) + np.uint64((self.seed + 1) * _STEP % _WORD))

    def images(self, points: Points) -> Keys:
        """(n,) random number of each image, by its embedding (n, D): where it stands in the stream plays no part."""
        return _mixed((along(points) + 0.0).view(np.uint64))  # -0.0 is 0.0

    def fold(self, keys: Keys) -> Integers:
        """(n,) fold of patients, in [0, K)."""
        return ((keys >> np.uint64(32)) % np.uint64(self.folds)).astype(np.int64)

    def group(self, keys: Keys) -> Integers:
        """(n,) group of patients, in [0, G)."""
        return (keys % np.uint64(self.groups)).astype(np.int64)

    def levels(
        self, keys: Keys, images: Keys, labels: Integers, draws: range, chances: Floats, kept: float
    ) -> NDArray[np.int16]:
        """Levels of images, drawn afresh.

        A patient has one uniform number in each draw, and the level of his images is that quantile of the levels of
        their label. With probability 1 - kept an image has a number of its own instead.

        Args:
            keys: (n,) of the patients.
            images: (n,) of the images; asked for where kept is below 1.
            labels: (n,) class of each image.
            draws: numbers of the draws, B of them.
            chances: (L, M) probability of each level given the class.
            kept: probability that an image follows its patient.

        Returns:
            (B, n) int16 in [0, M).
        """
        salt = zlib.crc32(f"{self.seed} {self.attribute}".encode())
        words = _words(keys, salt, draws)
        if kept < 1:
            own = _words(images, salt ^ 1, draws)
            apart = own & np.uint64(2**32 - 1) >= np.uint64(round(kept * 2**32))
            words[apart] = own[apart]
        words >>= np.uint64(32)
        edges = np.round(np.cumsum(chances, axis=1) * 2**32).astype(np.uint64)
        level = np.zeros(words.shape, dtype=np.int16)
        for edge in edges[:, :-1].T:
            level += words >= edge[labels]
        return level


class SampledPatients:
    """Images of each class and level of a few patients, those with the smallest keys: a random sample of all."""

    def __init__(self, most: int = 4096) -> None:
        self.most = most
        self.pairs: NDArray[np.uint64] = np.zeros((0, 2), dtype=np.uint64)
        self.counts: NDArray[Any] = np.zeros(0)

    def add(self, keys: Keys, cells: Integers) -> None:
        """Count images by the keys (n,) of their patients and their cells (n,) of class and level."""
        if len(np.unique(self.pairs[:, 0])) >= self.most:
            near = keys <= self.pairs[-1, 0]
            keys, cells = keys[near], cells[near]
        pairs = np.concatenate([self.pairs, np.stack([keys, cells.astype(np.uint64)], axis=1)])
        counts = np.concatenate([self.counts, np.ones(len(keys))])
        self.pairs, place = np.unique(pairs, axis=0, return_inverse=True)
        self.counts = np.bincount(place.reshape(-1), counts)
        patients = np.unique(self.pairs[:, 0])
        inside = self.pairs[:, 0] <= patients[: self.most].max(initial=np.uint64(0))
        self.pairs, self.counts = self.pairs[inside], self.counts[inside]

    def agreement(self, chances: Floats) -> float:
        """How much more often than by chance two images of one patient and class are of one level, 1 if always.

        Args:
            chances: (L, M) probability of each level given the class; a cell is the class times M plus the level.
        """
        label = self.pairs[:, 1] // np.uint64(chances.shape[1])
        held, place = np.unique(np.stack([self.pairs[:, 0], label], axis=1), axis=0, return_inverse=True)
        images = np.bincount(place.reshape(-1), self.counts, len(held))
        pairs = images * (images - 1)
        by_chance = float(pairs @ (chances**2).sum(axis=1)[held[:, 1].astype(np.int64)])
        alike, possible = float((self.counts * (self.counts - 1)).sum()) - by_chance, float(pairs.sum()) - by_chance
        return min(max(alike / possible, 0.0), 1.0) if possible > 0 else 1.0


def _words(keys: Keys, salt: int, draws: range) -> Keys:
    """(B, n) the numbers of some draws in each key's own stream."""
    steps = np.array([(draw + 1) * _STEP % _WORD for draw in draws], dtype=np.uint64)
    return _mixed(_mixed(keys ^ np.uint64(salt)) + steps[:, None])


def _mixed(state: Keys) -> Keys:
    """The output function of SplitMix64."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
