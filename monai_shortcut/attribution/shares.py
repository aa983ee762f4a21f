# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How much of an explanation lies in each part of the images, by label and by level of an attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from monai_shortcut.attribution.parts import OUTSIDE, PARTS
from monai_shortcut.attribution.record import LabelShares, LevelDifference, LevelShare, PartShare
from monai_shortcut.statistics.resampling import Resampling, bootstrap_weights, holm, permuted_codes
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Tested, Unmeasurable

FEWEST = 5  # patients that a level must have to be compared


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attributions of N images, part by part.

    Attributes:
        absolute: (N, 3) sum of absolute attributions in each part.
        signed: (N, 3) sum of attributions.
        area: (N, 3) share of the pixels.
    """

    absolute: Floats
    signed: Floats
    area: Floats

    @classmethod
    def of(cls, maps: torch.Tensor, parts: torch.Tensor) -> Explanation:
        """Sum attributions (N, *spatial) over the parts (N, 1, *spatial) of each image."""
        values, own = maps.flatten(1).double(), parts.flatten(1).to(maps.device)
        members = torch.stack([own == part for part in range(len(PARTS))], dim=1)
        sums = [(members * row[:, None]).sum(dim=2) for row in (values.abs(), values)]
        area = members.double().mean(dim=2)
        return cls(*(found.cpu().numpy() for found in (*sums, area)))

    @classmethod
    def together(cls, explained: Sequence[Explanation]) -> Explanation:
        """Explanations of several batches as one."""
        rows = ((one.absolute, one.signed, one.area) for one in explained)
        return cls(*(np.concatenate(found) for found in zip(*rows, strict=True)))

    @property
    def shares(self) -> Floats:
        """(N, 3) share of each part in the absolute attribution; NaN where all of it is 0."""
        total = self.absolute.sum(axis=1, keepdims=True)
        return np.asarray(np.where(total > 0, self.absolute / np.where(total > 0, total, 1), np.nan))


@dataclass(frozen=True, eq=False)
class Cases:
    """The images that are explained.

    Attributes:
        labels: (N,) codes.
        patients: (N,) patient of each image.
        label_names: by code.
        draws: how bootstrap samples and permutations are drawn.
    """

    labels: Integers
    patients: NDArray[np.generic]
    label_names: Sequence[str]
    draws: Resampling

    def means(self, columns: Floats, rows: Booleans) -> list[Estimate]:
        """Mean of each column (N, K) over rows (N,), with percentile limits; patients are drawn with replacement."""
        chosen = columns[rows]
        weights = bootstrap_weights(self.patients[rows], self.draws.bootstraps, self._rng("bootstrap"))
        drawn = weights @ chosen / weights.sum(axis=1, keepdims=True)
        pairs = zip(chosen.mean(axis=0).tolist(), drawn.T, strict=True)
        return [Estimate.of(value, column, self.draws.confidence) for value, column in pairs]

    def first(self, count: int) -> Cases:
        """The first images alone."""
        return replace(self, labels=self.labels[:count], patients=self.patients[:count])

    def ratio(self, above: Floats, below: Floats) -> Estimate:
        """Sum of (N,) numbers over the sum of others, with percentile limits over patients."""
        weights = bootstrap_weights(self.patients, self.draws.bootstraps, self._rng("bootstrap"))
        drawn = (weights @ above) / np.maximum(weights @ below, 1e-12)
        return Estimate.of(float(above.sum() / below.sum()), drawn, self.draws.confidence)

    def permuted(self, codes: Integers, rows: Booleans, name: str) -> NDArray[np.signedinteger]:
        """(B, n) codes of the rows, permuted between patients within labels."""
        rng = self._rng(name)
        return permuted_codes(codes[rows], self.patients[rows], self.draws.permutations, rng, self.labels[rows])

    def count(self, rows: Booleans) -> int:
        """Number of patients of the rows."""
        return len(np.unique(self.patients[rows]))

    def _rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.draws.seed, *purpose.encode()])


def label_shares(explained: Explanation, cases: Cases) -> tuple[LabelShares, ...]:
    """The parts' shares over all images, then over those of each label that has any."""
    known: Booleans = np.isfinite(explained.shares[:, OUTSIDE])
    groups: dict[str, Booleans] = {"": known}
    groups |= {name: known & (cases.labels == code) for code, name in enumerate(cases.label_names)}
    return tuple(_shares_of(explained, cases, name, rows) for name, rows in groups.items() if rows.any())


def _shares_of(explained: Explanation, cases: Cases, name: str, rows: Booleans) -> LabelShares:
    found = cases.means(np.concatenate([explained.shares, explained.area, explained.signed], axis=1), rows)
    count = len(PARTS)
    parts = (PartShare(part, *found[index::count]) for index, part in enumerate(PARTS))
    return LabelShares(name, int(rows.sum()), cases.count(rows), tuple(parts))


def level_differences(
    outside: Floats, cases: Cases, attributes: Mapping[str, tuple[Integers, Sequence[str]]]
) -> tuple[tuple[LevelDifference, ...], dict[str, str]]:
    """Compare the share outside between levels of each attribute, within labels.

    Args:
        outside: (N,) share outside, NaN where unknown.
        cases: the images.
        attributes: (N,) codes, negative where unknown, and names of the levels, by attribute.

    Returns:
        The comparisons, p-values adjusted by Holm's method, and why other attributes have none.
    """
    found: list[LevelDifference] = []
    untested: dict[str, str] = {}
    for name, (codes, levels) in attributes.items():
        try:
            found.append(_level_difference(outside, cases, name, np.asarray(codes), levels))
        except Unmeasurable as reason:
            untested[name] = str(reason)
    adjusted = holm([one.test.p_value for one in found])
    return tuple(replace(one, p_value=float(p)) for one, p in zip(found, adjusted, strict=True)), untested


def _level_difference(
    outside: Floats, cases: Cases, name: str, codes: Integers, levels: Sequence[str]
) -> LevelDifference:
    known = np.isfinite(outside) & (codes >= 0)
    enough = [code for code in range(len(levels)) if cases.count(known & (codes == code)) >= FEWEST]
    rows = known & np.isin(codes, enough)
    cells = [
        (label, code, rows & (cases.labels == label) & (codes == code))
        for label in np.unique(cases.labels)
        for code in enough
    ]
    cells = [cell for cell in cells if cell[2].any()]
    if len({label for label, *_ in cells}) == len(cells):
        raise Unmeasurable(f"no label has images of two levels with at least {FEWEST} patients each")
    compact = np.where(rows, np.searchsorted(enough, codes), 0)
    label, values = cases.labels[rows], outside[rows]
    centred = values - _means(values, label)[label]
    null = [_between(centred, label, drawn) for drawn in cases.permuted(compact, rows, name)]
    test = Tested(_between(centred, label, compact[rows]), tuple(null))
    shown = [
        LevelShare(
            cases.label_names[label],
            levels[code],
            int(own.sum()),
            cases.count(own),
            *cases.means(outside[:, None], own),
        )
        for label, code, own in cells
    ]
    return LevelDifference(name, tuple(shown), test, test.p_value)


def _means(values: Floats, groups: Integers) -> Floats:
    count = np.bincount(groups)
    return np.asarray(np.bincount(groups, values) / np.maximum(count, 1))


def _between(centred: Floats, labels: Integers, codes: NDArray[np.signedinteger]) -> float:
    """Sum of squares between levels within labels, of values that have mean 0 in each label."""
    cell = labels * (int(codes.max()) + 1) + codes
    count = np.bincount(cell)
    return float((np.bincount(cell, centred) ** 2 / np.maximum(count, 1)).sum())
