# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a model said of each audited image: what a later audit of the same images is compared with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Integers


@dataclass(frozen=True)
class Answers:
    """The audited images one by one. Numbers are bytes, least significant first, in base64; patients have no names.

    Attributes:
        image_ids: N names.
        logits: (N, C) float32, logarithms of the probabilities.
        labels: (N,) int32.
        patients: (N,) int32, numbered from 0.
        codes: (N,) int32 level by attribute, -1 where unknown.
        equal: (N,) int32 levels at whose equal values answers are compared, by attribute of ``adjust_for``.
    """

    image_ids: tuple[str, ...]
    logits: str
    labels: str
    patients: str
    codes: dict[str, str] = field(default_factory=dict)
    equal: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, sample: Sample, coded: Mapping[str, Levels], equal: Mapping[str, Integers]) -> Answers:
        """The answers of a sample.

        Args:
            sample: the audited images.
            coded: levels by attribute.
            equal: levels at whose equal values answers are compared, by attribute.
        """
        return cls(
            image_ids=tuple(sample.image_ids.tolist()),
            logits=_packed(np.log(np.maximum(sample.probabilities, 1e-300)), "<f4"),
            labels=_packed(sample.labels, "<i4"),
            patients=_packed(sample.patients, "<i4"),
            codes={name: _packed(levels.codes, "<i4") for name, levels in coded.items()},
            equal={name: _packed(codes, "<i4") for name, codes in equal.items()},
        )

    def sample(self, draws: Resampling) -> Sample:
        """The images as a sample of answers alone.

        Args:
            draws: how everything is drawn.

        Raises:
            ValueError: If the record does not hold numbers for each image.
        """
        chance = np.exp(_unpacked(self.logits, "<f4").reshape(len(self.image_ids), -1).astype(np.float64))
        chance /= chance.sum(axis=1, keepdims=True)
        given = (_unpacked(packed, "<i4") for packed in (self.labels, self.patients))
        return Sample.of_probabilities(chance, *given, image_ids=self.image_ids, draws=draws)

    def levels(self, attribute: str) -> Integers:
        """(N,) level of each image, -1 where unknown."""
        return _unpacked(self.codes[attribute], "<i4").astype(np.int64)

    def held_equal(self) -> dict[str, Integers]:
        """(N,) levels at whose equal values answers are compared, by attribute."""
        return {name: _unpacked(packed, "<i4").astype(np.int64) for name, packed in self.equal.items()}


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _unpacked(packed: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed, validate=True), dtype=kind)
