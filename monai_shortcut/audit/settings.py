# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit is run with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from numbers import Integral, Real

import numpy as np

from monai_shortcut.analyses.differences import DECISION, ODDS, PREDICTION, PROBABILITY, RANK, SCALES
from monai_shortcut.analyses.embedding_maps import METHODS, PCA
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.storage.privacy import Privacy

CORRECTIONS = ("holm", "fdr")
ALL_PAIRS = ("all", "all")  # in the place of pairs of attributes


@dataclass(frozen=True)
class AuditSettings(Resampling):
    """What an audit is run with: how everything is drawn, see `Resampling`, and what counts.

    Attributes:
        significance: largest adjusted p-value that counts as evidence.
        correction: how p-values are adjusted over the attributes: "holm" (family-wise error rate) or "fdr" (false
            discovery rate, Benjamini and Hochberg). Both are reported; this one decides.
        tolerance: smallest difference of predicted probability between two levels that matters, for images of a label.
        decision_tolerance: the same for the share of images that are answered otherwise.
        rank_tolerance: the same for the area under the ROC curve that tells the images of a label at one level from all
            images of other labels.
        odds_tolerance: ratio of the odds of a rare class, at least 1, that matters.
        tolerances: other tolerances by label and scale ("probability", "decision", "rank", "odds").
        outcome_tolerance: smallest difference of mean predictions that matters for a regression, in the unit of its
            outcome; by default a fifth of the standard deviation of the outcome.
        threshold: probability of the second of two classes from which on it is the answer; by default the likeliest
            class is.
        judged_patients: patients that a label and level must have for "not used" to speak of it; smaller ones are
            named as exceptions.
        adjust_for: attributes that may rightly move predictions (severity, size): answers are compared at equal levels
            of them.
        readable: smallest area under the ROC curve that counts as readable when it cannot be told from one half.
        bins: quantile bins of a continuous attribute.
        edges: inner cut points of continuous attributes, by attribute, instead of quantiles.
        minimum_patients: levels that fewer patients have are left out, and counted.
        maximum_levels: an attribute with more categories is not analysed.
        variance: share of variance of the subspace for the weight space correlation.
        min_components: its least number of components.
        associated: least Cramer's V within labels of two attributes that go along with each other, and whose answers
            are compared at equal levels of one another.
        alike: Cramer's V from which one of them may be the other with errors in the table, so that neither is cleared
            by the other.
        giveaways: number of images listed that give their level away most.
        intersections: pairs of attributes whose levels are audited together too, or "all" pairs of columns: do answers
            differ beyond what each of the two adds? All p-values are adjusted over these too.
        image_properties: whether to measure the images as the network gets them, and audit what is measured beside the
            attributes of the table: see `monai_shortcut.image_properties`. All p-values are adjusted over these too.
        discovered_groups: most groups of images to look for in each label that no column names, at least 2; 0 looks
            for none.
        embedding_maps: maps of the embeddings under every masking strategy: "pca", and "tsne" and "umap", which take
            tens of seconds. Without strategies the page's own PCA is enough, and only the others are drawn.
        privacy: what records and pages may hold of images when they are written: ids, paths, pixels. None by default.

    Raises:
        ValueError: If a setting is out of its range.
    """

    significance: float = 0.05
    correction: str = "holm"
    tolerance: float = 0.1
    decision_tolerance: float = 0.1
    rank_tolerance: float = 0.1
    odds_tolerance: float = 2.0
    tolerances: dict[str, dict[str, float]] = field(default_factory=dict)
    outcome_tolerance: float | None = None
    threshold: float | None = None
    judged_patients: int = 20
    adjust_for: tuple[str, ...] = ()
    readable: float = 0.6
    bins: int = 3
    edges: dict[str, tuple[float, ...]] = field(default_factory=dict)
    minimum_patients: int = 10
    maximum_levels: int = 20
    variance: float = 0.99
    min_components: int = 50
    associated: float = 0.2
    alike: float = 0.6
    giveaways: int = 6
    intersections: tuple[tuple[str, ...], ...] = ()
    image_properties: bool = False
    discovered_groups: int = 0
    embedding_maps: tuple[str, ...] = (PCA,)
    privacy: Privacy = field(default_factory=Privacy)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.confidence <= 0.5:
            raise ValueError(f"confidence must be above 0.5, for limits on one side too, got {self.confidence!r}.")
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction must be one of {', '.join(CORRECTIONS)}, got {self.correction!r}.")
        for name, high in _ABOVE_ZERO.items():
            if not (_is_number(getattr(self, name)) and 0 < getattr(self, name) <= high):
                raise ValueError(f"{name} must be above 0 and at most {high:g}, got {getattr(self, name)!r}.")
        for name, low in _UP_TO_ONE.items():
            if not (_is_number(getattr(self, name)) and low <= getattr(self, name) <= 1):
                raise ValueError(f"{name} must be between {low:g} and 1, got {getattr(self, name)!r}.")
        for name, least in _COUNTS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
        if self.discovered_groups == 1:
            raise ValueError("discovered_groups must be 0 or at least 2, got 1.")
        if not isinstance(self.image_properties, bool):
            raise ValueError(f"image_properties must be true or false, got {self.image_properties!r}.")
        # Lists come from JSON and from bundle configurations.
        object.__setattr__(self, "edges", _checked_edges(self.edges))
        object.__setattr__(self, "privacy", Privacy.of(self.privacy))
        object.__setattr__(self, "intersections", _checked_pairs(self.intersections))
        object.__setattr__(self, "adjust_for", _checked_names("adjust_for", self.adjust_for))
        unknown = isinstance(self.embedding_maps, str) or [name for name in self.embedding_maps if name not in METHODS]
        if unknown:
            raise ValueError(f"embedding_maps must be some of {', '.join(METHODS)}, got {self.embedding_maps!r}.")
        object.__setattr__(self, "embedding_maps", tuple(dict.fromkeys(self.embedding_maps)))
        self._check_scales()

    def _check_scales(self) -> None:
        if not (_is_number(self.odds_tolerance) and 1 <= self.odds_tolerance < np.inf):
            raise ValueError(f"odds_tolerance must be finite and at least 1, got {self.odds_tolerance!r}.")
        own = self.outcome_tolerance
        if own is not None and not (_is_number(own) and 0 < own < np.inf):
            raise ValueError(f"outcome_tolerance must be finite and above 0, got {own!r}.")
        if self.threshold is not None and not (_is_number(self.threshold) and 0 < self.threshold < 1):
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold!r}.")
        if not isinstance(self.tolerances, Mapping):
            raise ValueError(f"tolerances must be numbers by label and scale, got {self.tolerances!r}.")
        for label, given in self.tolerances.items():
            for scale, value in given.items() if isinstance(given, Mapping) else [(given, None)]:
                if scale not in SCALES:
                    raise ValueError(f"tolerances of {label} must be by {', '.join(SCALES)}, got {scale!r}.")
                low, high = (1, np.inf) if scale == ODDS else (0, 1)
                if not (_is_number(value) and low <= value <= high and np.isfinite(value)):
                    raise ValueError(
                        f"tolerances of {label} by {scale} must be between {low} and {high}, got {value!r}."
                    )

    def tolerated(self, label: str, scale: str) -> float:
        """The smallest difference that matters of a label on a scale; the logarithm of the ratio for odds."""
        own = {
            PROBABILITY: self.tolerance,
            DECISION: self.decision_tolerance,
            RANK: self.rank_tolerance,
            ODDS: self.odds_tolerance,
            PREDICTION: np.inf if self.outcome_tolerance is None else self.outcome_tolerance,
        } | self.tolerances.get(label, {})
        return float(np.log(own[scale])) if scale == ODDS else float(own[scale])

    def about(self, attributes: Collection[str]) -> AuditSettings:
        """The same without the edges and intersections of other attributes."""
        edges = {name: cuts for name, cuts in self.edges.items() if name in attributes}
        pairs = tuple(pair for pair in self.intersections if pair == ALL_PAIRS or {*pair} <= {*attributes})
        same = (len(edges), len(pairs)) == (len(self.edges), len(self.intersections))
        return self if same else replace(self, edges=edges, intersections=pairs)

    @property
    def intersected(self) -> set[str]:
        """Attributes that pairs name."""
        return {name for pair in self.intersections for name in pair if pair != ALL_PAIRS}

    def pairs(self, attributes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """The pairs of attributes that are audited together, of these if all are."""
        every = ALL_PAIRS in self.intersections
        return tuple(combinations(attributes, 2)) if every else self.intersections

    def able(self, tests: int) -> AuditSettings:
        """The same with as many permutations as it takes for one of many tests to be significant, if these are more.

        Args:
            tests: number of attributes, over which p-values are adjusted. The smallest p-value of B permutations is
                1 / (B + 1), and the smallest adjusted one that times the number of tests.
        """
        needed = int(np.ceil(tests / self.significance - 1e-9)) - 1
        return replace(self, permutations=needed) if needed > self.permutations else self


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _checked_names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{what} must be a list of names, got {names!r}.")
    return tuple(dict.fromkeys(names))


def _checked_pairs(pairs: str | Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    given = [ALL_PAIRS] if pairs == "all" else [] if isinstance(pairs, str) else [_pair(pair) for pair in pairs]
    single = [pair for pair in given if len(set(pair)) != 2 and pair != ALL_PAIRS]
    if single or (isinstance(pairs, str) and pairs != "all"):
        raise ValueError(f'intersections must be pairs of two attributes, or "all", got {pairs!r}.')
    return tuple({frozenset(pair): pair for pair in given}.values())


def _pair(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _checked_edges(edges: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    if not isinstance(edges, Mapping):
        raise ValueError(f"edges must be lists of numbers by attribute, got {edges!r}.")
    found = {}
    for name, cuts in edges.items():
        if isinstance(cuts, str) or not np.iterable(cuts) or not all(map(_is_number, cuts)):
            raise ValueError(f"edges of {name} must be a list of numbers, got {cuts!r}.")
        found[name] = tuple(map(float, cuts))
        if not all(low < high for low, high in pairwise(found[name])) or not np.isfinite(found[name]).all():
            raise ValueError(f"edges of {name} must be finite and ascend, got {list(found[name])}.")
    return found


_ABOVE_ZERO = {"significance": 0.5, "variance": 1.0}
_UP_TO_ONE = {
    "tolerance": 0.0,
    "decision_tolerance": 0.0,
    "rank_tolerance": 0.0,
    "readable": 0.5,
    "associated": 0.0,
    "alike": 0.0,
}
_COUNTS = {
    "bins": 2,
    "minimum_patients": 1,
    "judged_patients": 2,
    "maximum_levels": 2,
    "min_components": 1,
    "giveaways": 0,
    "discovered_groups": 0,
}
