# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do answers differ between groups that the images of a label form by themselves, whatever the table says?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans

from monai_shortcut.analyses.differences import Differences, differences
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.cohort.levels import Levels, association
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.types import Booleans, Estimate, Floats, Integers, Unmeasurable

NAME = "discovered group"  # of the attribute that the groups are
EMBEDDINGS, ERRORS = "embeddings", "errors"
WAYS = (EMBEDDINGS, ERRORS)  # in which groups are looked for
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
        difference: `inside` less `outside`, with limits by patient.
    """

    attribute: str
    association: float
    level: str
    inside: float
    outside: float
    difference: Estimate


@dataclass(frozen=True)
class DiscoveredGroup:
    """A group of the images of one label, in the tested half.

    Attributes:
        label: the label.
        level: its place among the levels that `Grouping.differences` compares.
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
class Grouping:
    """Groups within labels that were looked for in one way.

    Attributes:
        way: "embeddings", or "errors" if the error of the answer weighs as much as the embedding.
        strengths: (C, K - 1) prediction strength of 2 to K groups by label; none where a label has too few patients.
        groups: the groups; none if no label has any.
        differences: of the answers between the groups, all labels together; None if there are none.
    """

    way: str
    strengths: tuple[tuple[float, ...], ...]
    groups: tuple[DiscoveredGroup, ...] = ()
    differences: Differences | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the levels; "group 1" of one label has nothing to do with that of another."""
        return _names(1 + max((group.level for group in self.groups), default=-1))


@dataclass(frozen=True)
class DiscoveredGroups:
    """Groups within labels, found in one half of the patients and tested in the other.

    Attributes:
        fitted: patients of the half in which they were found.
        tested: patients of the half in which they are tested.
        groupings: the groups of each way.
    """

    fitted: int
    tested: int
    groupings: tuple[Grouping, ...]

    @property
    def compared(self) -> tuple[tuple[Grouping, Differences], ...]:
        """Those that found groups, and the differences between these."""
        return tuple((one, one.differences) for one in self.groupings if one.differences is not None)


def discovered_groups(
    sample: Sample, coded: Mapping[str, Levels], *, most: int, fewest: int, threshold: float | None = None
) -> DiscoveredGroups:
    """Find groups within labels on half of the patients, and compare their answers on the other half.

    The embeddings' leading principal components, scaled to unit variance over all images, are clustered by k-means
    among the images of each label. What tells the labels apart varies little within one and weighs little. To group
    errors, one less the predicted probability of the label (of a regression the absolute error) is one more coordinate,
    which weighs as much as all components together. An image of the other half belongs to the group whose centre its
    components are nearest to.

    The number of groups is the largest whose prediction strength is at least 0.8: two parts of the patients are
    clustered by themselves, and the strength is the smallest share, over the groups of one part, of pairs of images
    that the centres of the other part keep together. Errors that the embedding does not tell are no group.

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
        Tibshirani and Walther (2005), J. Comput. Graph. Stat. 14(3); Eyuboglu et al. (2022), Domino, ICLR,
        arXiv 2203.14960; Olesen et al. (2024), Slicing Through Bias, arXiv 2406.12142.
    """
    power = sample.points.axes[0]
    enough = 1 + int(np.searchsorted(np.cumsum(power), _SHARE * power.sum()))
    points = sample.points.components(min(enough, _COMPONENTS))
    second = _second_half(sample.patients, sample.labels, sample.rng(NAME))
    search = _Search(sample, coded, points, second, most, fewest, threshold)
    groupings = tuple(search.grouping(way) for way in WAYS)
    return DiscoveredGroups(_count(sample.patients[~second]), _count(sample.patients[second]), groupings)


def _names(levels: int) -> tuple[str, ...]:
    return tuple(f"group {level + 1}" for level in range(levels))


@dataclass(frozen=True, eq=False)
class _Search:
    """Finds groups in the first half of the patients, and describes them in the second.

    Attributes:
        sample: the images.
        coded: levels of the listed attributes.
        points: (N, k) coordinates of the images.
        second: (N,) whether images are of the second half.
        most: largest number of groups of a label.
        fewest: patients that a group must have.
        threshold: as `differences`.
    """

    sample: Sample
    coded: Mapping[str, Levels]
    points: Floats
    second: Booleans
    most: int
    fewest: int
    threshold: float | None

    def grouping(self, way: str) -> Grouping:
        """The groups of one way and the differences between them."""
        error = np.zeros(len(self.sample)) if way == EMBEDDINGS else self._errors()
        finding = _Finding(self.points, error, self.sample, self.most, self.fewest, self.sample.rng(NAME, way))
        found, strengths = finding.groups(~self.second)
        if not found:
            return Grouping(way, strengths)
        codes = np.full(len(self.sample), -1)
        for label, centres in found.items():
            own = self.sample.labels == label
            codes[own] = _nearest(self.points[own], centres)
        levels = Levels(_names(1 + int(codes.max())), codes[self.second], int((codes[self.second] < 0).sum()), {})
        part = self.sample.rows(self.second).by(NAME, levels)
        groups = [
            _described(self.sample, self._tested(label), self.points, codes, level, centre, self.coded)
            for label, centres in found.items()
            for level, centre in enumerate(centres)
        ]
        return Grouping(way, strengths, tuple(groups), differences(part, threshold=self.threshold))

    def _tested(self, label: int) -> Integers:
        return np.flatnonzero(self.second & (self.sample.labels == label))

    def _errors(self) -> Floats:
        """(N,) error of each answer, scaled within labels to the variance of all components together."""
        known, rows = self.sample.outcome, np.arange(len(self.sample))
        error = (
            1 - self.sample.probabilities[rows, self.sample.labels]
            if known is None
            else np.abs(known.predicted - known.values)
        )
        scale = np.ones(len(error))
        for label in np.unique(self.sample.labels):
            own = self.sample.labels == label
            scale[own] = max(float(error[own].std()), 1e-12)
        return np.asarray(error / scale * np.sqrt(self.points.shape[1]))


@dataclass(frozen=True, eq=False)
class _Finding:
    """Finds groups.

    Attributes:
        points: (N, k) coordinates of the images, by which they are assigned to groups.
        error: (N,) one more coordinate, by which groups are found.
        sample: the images.
        most: largest number of groups of a label.
        fewest: patients that a group must have.
        rng: source of parts and starts.
    """

    points: Floats
    error: Floats
    sample: Sample
    most: int
    fewest: int
    rng: np.random.Generator

    def groups(self, half: Booleans) -> tuple[dict[int, Floats], tuple[tuple[float, ...], ...]]:
        """Centres (K, k) of groups by label, of the labels that have any in one half (N,); strengths of all labels."""
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
                centres, _ = self._fitted(one, groups)
                if self._large_enough(one, _nearest(self.points[one], centres), groups):
                    found[label] = centres
                    break
        return found, tuple(known)

    def _fitted(self, rows: Integers, groups: int) -> tuple[Floats, Integers]:
        """Centres (K, k) of groups of some images, and the group (n,) of each."""
        seed = int(self.rng.integers(2**31))
        whole = np.column_stack([self.points[rows], self.error[rows]])
        model = KMeans(groups, n_init=_STARTS, random_state=seed).fit(whole)
        return model.cluster_centers_[:, :-1], model.labels_

    def _large_enough(self, rows: Integers, codes: Integers, groups: int) -> bool:
        return all(_count(self.sample.patients[rows[codes == level]]) >= self.fewest for level in range(groups))

    def _strengths(self, rows: Integers) -> tuple[float, ...]:
        """Prediction strength of 2 to K groups, mean over draws of the parts."""
        found = np.empty((_DRAWS, self.most - 1))
        for draw in range(_DRAWS):
            second = _second_half(self.sample.patients[rows], np.zeros(len(rows)), self.rng)
            for place in range(self.most - 1):
                (centres, _), (_, own) = (self._fitted(rows[part], place + 2) for part in (~second, second))
                found[draw, place] = _kept_together(own, _nearest(self.points[rows[second]], centres))
        return tuple(found.mean(axis=0).tolist())


def _nearest(points: Floats, centres: Floats) -> Integers:
    """(n,) the centre (K, k) that each point (n, k) is nearest to."""
    return np.asarray(((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1), dtype=np.int64)


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
    told = (_explanation(sample, name, levels, rows, member) for name, levels in coded.items() if not levels.problem)
    explained = sorted((one for one in told if one is not None), key=lambda one: -one.association)
    return DiscoveredGroup(
        label=int(sample.labels[rows[0]]),
        level=level,
        images=int(member.sum()),
        patients=_count(sample.patients[rows[member]]),
        explained=tuple(explained[:_TOLD]),
        beside=tuple(_beside(sample, rows[member], rows[~member], points, centre)),
    )


def _explanation(sample: Sample, name: str, levels: Levels, rows: Integers, member: Booleans) -> Explanation | None:
    """How an attribute goes along with membership (n,); None where members or others have no known level."""
    known = levels.codes[rows] >= 0
    rows, inside = rows[known], member[known].astype(np.int64)
    if len(np.unique(inside)) < 2:
        return None
    has = np.eye(len(levels.names))[levels.codes[rows]]
    shares = np.stack([has[inside == part].mean(axis=0) for part in (1, 0)])
    level = int(np.abs(shares[0] - shares[1]).argmax())
    sums = sample.resampled(np.column_stack([has[:, level], np.ones(len(rows))]), rows, inside, 2)
    drawn = sums[..., 0] / np.maximum(sums[..., 1], 1e-12)
    strength = association(inside, levels.codes[rows], np.zeros(len(rows), dtype=np.int64))
    first, other = shares[:, level].tolist()
    apart = Estimate.of(first - other, drawn[:, 1] - drawn[:, 0], sample.draws.confidence)
    return Explanation(name, strength, levels.names[level], first, other, apart)


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
