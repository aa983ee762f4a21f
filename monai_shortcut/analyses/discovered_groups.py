# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do answers differ between groups that the images of a label form by themselves, whatever the table says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans

from monai_shortcut.analyses.differences import Differences, differences
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels, association
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.types import Booleans, Floats, Integers, Unmeasurable

NAME = "discovered group"  # of the attribute that the groups are
_SHARE, _COMPONENTS = 0.9, 10  # of the variance that the leading components hold, and how many at most
_STRENGTH = 0.8  # prediction strength from which groups count as groups
_DRAWS = 5  # of the two parts that the strength compares
_STARTS = 10  # of k-means
_SHOWN = 4  # members shown of each group
_TOLD = 5  # attributes named for each group


@dataclass(frozen=True)
class Explanation:
    """How a listed attribute goes along with a discovered group, among the tested images of the group's label.

    Attributes:
        attribute: its name.
        association: Cramer's V of membership and attribute, in [0, 1].
        level: the level whose share differs most.
        inside: its share among the members.
        outside: its share among the other images of the label.
    """

    attribute: str
    association: float
    level: str
    inside: float
    outside: float


@dataclass(frozen=True)
class DiscoveredGroup:
    """A group of the images of one label, in the tested half.

    Attributes:
        label: the label.
        level: its place among the levels that `DiscoveredGroups.differences` compares.
        images: number of images.
        patients: number of patients.
        explained: listed attributes, the closest first.
        beside: image ids of the most typical members, each with the most similar image of the label that is no member.
    """

    label: int
    level: int
    images: int
    patients: int
    explained: tuple[Explanation, ...]
    beside: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class DiscoveredGroups:
    """Groups that embeddings form within labels, found in one half of the patients and tested in the other.

    Attributes:
        fitted: patients of the half in which they were found.
        tested: patients of the half in which they are tested.
        strengths: (C, K - 1) prediction strength of 2 to K groups by label; none where a label has too few patients.
        groups: the groups; none if no label has any.
        differences: of the answers between the groups, all labels together; None if there are none.
    """

    fitted: int
    tested: int
    strengths: tuple[tuple[float, ...], ...]
    groups: tuple[DiscoveredGroup, ...] = ()
    differences: Differences | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the levels; "group 1" of one label has nothing to do with that of another."""
        return _names(1 + max((group.level for group in self.groups), default=-1))


def discovered_groups(
    sample: Sample, coded: Mapping[str, Levels], *, most: int, fewest: int, threshold: float | None = None
) -> DiscoveredGroups:
    """Find groups of embeddings within labels on half of the patients, and compare their answers on the other half.

    The embeddings' leading principal components, scaled to unit variance over all images, are clustered by k-means
    among the images of each label. What tells the labels apart varies little within one and weighs little. The number
    of groups is the largest whose prediction strength is at least 0.8: two parts of the patients are clustered by
    themselves, and the strength is the smallest share, over the groups of one part, of pairs of images that the centres
    of the other part keep together. Nothing that is answered enters, so that any difference on the other half can be
    tested as that of any attribute.

    Args:
        sample: the images.
        coded: levels of the listed attributes, which may explain a group.
        most: largest number of groups of a label, at least 2.
        fewest: patients that a group must have in either half.
        threshold: as `differences`.

    Raises:
        Unmeasurable: If only the answers are known, no label has patients for two groups in both halves, or the groups
            have too few patients in the tested half to be compared.

    References:
        Tibshirani and Walther (2005), J. Comput. Graph. Stat. 14(3); Chen et al. (2024), Slicing Through Bias,
        arXiv 2406.12142.
    """
    power, rng = sample.points.axes[0], sample.rng(NAME)
    enough = 1 + int(np.searchsorted(np.cumsum(power), _SHARE * power.sum()))
    points = sample.points.components(min(enough, _COMPONENTS))
    second = _second_half(sample.patients, sample.labels, rng)
    found, strengths = _Finding(points, sample, most, fewest, rng).groups(~second)
    result = DiscoveredGroups(_count(sample.patients[~second]), _count(sample.patients[second]), strengths)
    if not found:
        return result
    codes = np.full(len(sample), -1)
    for label, model in found.items():
        own = sample.labels == label
        codes[own] = model.predict(points[own])
    levels = 1 + int(codes.max())
    part = sample.rows(second).by(NAME, Levels(_names(levels), codes[second], int((codes[second] < 0).sum()), {}))
    compared = differences(part, threshold=threshold)
    groups = [
        _described(sample, np.flatnonzero(second & (sample.labels == label)), points, codes, level, centre, coded)
        for label, model in found.items()
        for level, centre in enumerate(model.cluster_centers_)
    ]
    return replace(result, groups=tuple(groups), differences=compared)


def _names(levels: int) -> tuple[str, ...]:
    return tuple(f"group {level + 1}" for level in range(levels))


@dataclass(frozen=True, eq=False)
class _Finding:
    """Finds groups.

    Attributes:
        points: (N, k) coordinates of the images.
        sample: the images.
        most: largest number of groups of a label.
        fewest: patients that a group must have.
        rng: source of parts and starts.
    """

    points: Floats
    sample: Sample
    most: int
    fewest: int
    rng: np.random.Generator

    def groups(self, half: Booleans) -> tuple[dict[int, KMeans], tuple[tuple[float, ...], ...]]:
        """The groups of each label that has any, and prediction strengths of all, by the images (N,) of one half."""
        rows = [np.flatnonzero(half & (self.sample.labels == label)) for label in range(self.sample.classes)]
        patients = [_count(self.sample.patients[one]) for one in rows]
        least = 4 * self.fewest  # two groups in each of the two parts that the strength compares
        if max(patients) < least:
            raise Unmeasurable(
                f"a label must have {least} patients in the half in which groups are found, got {max(patients)} at most"
            )
        known = [self._strengths(one) if count >= least else () for one, count in zip(rows, patients, strict=True)]
        found = {}
        for label, (one, strength) in enumerate(zip(rows, known, strict=True)):
            for groups in (2 + place for place in np.flatnonzero(np.array(strength) >= _STRENGTH)[::-1].tolist()):
                model = self._fitted(one, groups)
                if self._large_enough(one, model.labels_, groups):
                    found[label] = model
                    break
        return found, tuple(known)

    def _fitted(self, rows: Integers, groups: int) -> KMeans:
        seed = int(self.rng.integers(2**31))
        return KMeans(groups, n_init=_STARTS, random_state=seed).fit(self.points[rows])

    def _large_enough(self, rows: Integers, codes: Integers, groups: int) -> bool:
        return all(_count(self.sample.patients[rows[codes == level]]) >= self.fewest for level in range(groups))

    def _strengths(self, rows: Integers) -> tuple[float, ...]:
        """Prediction strength of 2 to K groups, mean over draws of the parts."""
        found = np.empty((_DRAWS, self.most - 1))
        for draw in range(_DRAWS):
            second = _second_half(self.sample.patients[rows], np.zeros(len(rows)), self.rng)
            for place in range(self.most - 1):
                first, other = (self._fitted(rows[part], place + 2) for part in (~second, second))
                found[draw, place] = _kept_together(other.labels_, first.predict(self.points[rows[second]]))
        return tuple(found.mean(axis=0).tolist())


def _kept_together(own: Integers, given: Integers) -> float:
    """Smallest share, over groups of codes (n,), of pairs of images that the other codes (n,) keep together."""
    table = np.zeros((int(own.max()) + 1, int(given.max()) + 1))
    np.add.at(table, (own, given), 1)
    size = table.sum(axis=1)
    pairs = (table * (table - 1)).sum(axis=1)
    return float(np.divide(pairs, size * (size - 1), out=np.zeros(len(size)), where=size > 1).min())


def _second_half(patients: Integers, strata: ArrayLike, rng: np.random.Generator) -> Booleans:
    """Whether images (n,) are of the second half of the patients."""
    if _count(patients) < 2:
        return np.zeros(len(patients), dtype=bool)
    return np.asarray(patient_folds(patients, strata, 2, rng) == 1)


def _count(patients: Integers) -> int:
    return len(np.unique(patients))


def _described(
    sample: Sample,
    rows: Integers,
    points: Floats,
    codes: Integers,
    level: int,
    centre: Floats,
    coded: Mapping[str, Levels],
) -> DiscoveredGroup:
    """A group among the tested images (rows) of its label."""
    member = codes[rows] == level
    told = (_explanation(name, levels, rows, member) for name, levels in coded.items() if not levels.problem)
    explained = sorted((one for one in told if one is not None), key=lambda one: -one.association)
    return DiscoveredGroup(
        label=int(sample.labels[rows[0]]),
        level=level,
        images=int(member.sum()),
        patients=_count(sample.patients[rows[member]]),
        explained=tuple(explained[:_TOLD]),
        beside=tuple(_beside(sample, rows[member], rows[~member], points, centre)),
    )


def _explanation(name: str, levels: Levels, rows: Integers, member: Booleans) -> Explanation | None:
    """How an attribute goes along with membership (n,); None where members or others have no known level."""
    code = levels.codes[rows]
    known = code >= 0
    parts = [code[known & chosen] for chosen in (member, ~member)]
    if not all(map(len, parts)):
        return None
    inside, outside = (np.bincount(part, minlength=len(levels.names)) / len(part) for part in parts)
    level = int(np.abs(inside - outside).argmax())
    strength = association(member[known].astype(np.int64), code[known], np.zeros(int(known.sum()), dtype=np.int64))
    return Explanation(name, strength, levels.names[level], float(inside[level]), float(outside[level]))


def _beside(
    sample: Sample, members: Integers, others: Integers, points: Floats, centre: Floats
) -> Iterator[tuple[str, str]]:
    """Members nearest to the centre, a patient each, with the nearest of the others, each shown once."""
    typical = members[np.argsort(((points[members] - centre) ** 2).sum(axis=1), kind="stable")]
    first = typical[np.sort(np.unique(sample.patients[typical], return_index=True)[1])]
    for image in first[:_SHOWN].tolist():
        left = others[sample.patients[others] != sample.patients[image]]
        if not len(left):
            return
        nearest = left[int(((points[left] - points[image]) ** 2).sum(axis=1).argmin())]
        others = others[others != nearest]
        yield str(sample.image_ids[image]), str(sample.image_ids[nearest])
