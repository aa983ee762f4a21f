# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How often the reading of a region study is right, where the silhouette's models have learned badly.

``PYTHONPATH=tests python docs/benchmarks/region_reading.py [studies]`` prints the table of region_study.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from region_scores import draw_study
from scipy.stats import norm

from monai_shortcut.region_study import Condition, LabelAreas, StudyScores, read_regions
from monai_shortcut.statistics.resampling import holm

STRATEGIES = ("full", "without_roi", "roi_only", "silhouette")
PARTS = {"outside": "without_roi", "inside": "roi_only"}


@dataclass(frozen=True)
class Case:
    """Studies of one kind.

    Attributes:
        words: what they are.
        truth: how far the class moves what each part shows, in standard deviations.
        weak: standard deviation of what the scores of the silhouette's models hold beside; None draws one for each
            strategy, from 0.3 to 2.
        foreign: the same for models of other strategies on silhouettes; None where they were not tested there.
        fit: area of the silhouette's models on their training images; None where it is not known.
    """

    words: str
    truth: dict[str, float] = field(default_factory=lambda: {"outline": 1.2})
    weak: float | None = 0.0
    foreign: float | None = 0.0
    fit: float | None = None


CASES = (
    Case("the outline alone; all learned well", foreign=0.7),
    Case("the outline; each strategy's models have luck of their own", weak=None),
    Case("the outline; silhouette learned less well", weak=1.0),
    Case("the outline; silhouette learned less well, others read it badly", weak=1.0, foreign=1.2),
    Case("the outline; silhouette learned badly", weak=2.0),
    Case("the outline; silhouette learned badly, others read it badly", weak=2.0, foreign=1.2),
    Case("the outline; silhouette learned badly, others read it as badly", weak=2.0, foreign=2.0),
    Case("the same, its models do not fit their training images", weak=2.0, foreign=2.0, fit=0.66),
    Case("the outline; silhouette learned badly, others not tested on it", weak=2.0, foreign=None),
    Case("outline and inside 0.6 (gain 0.03)", {"outline": 1.2, "inside": 0.6}, foreign=0.7, fit=1.0),
    Case("outline and inside 0.9 (gain 0.05)", {"outline": 1.2, "inside": 0.9}, foreign=0.7, fit=1.0),
    Case("outline and inside 1.2 (gain 0.08)", {"outline": 1.2, "inside": 1.2}, foreign=0.7, fit=1.0),
    Case("inside 0.7 alone (gain 0.12)", {"inside": 0.7}, foreign=0.7, fit=0.97),
    Case("inside 1.2 alone (gain 0.22)", {"inside": 1.2}, foreign=0.7, fit=0.97),
    Case("inside 1.2 alone; silhouette's models do not fit their images", {"inside": 1.2}, foreign=0.7, fit=0.6),
)


def drawn(case: Case, seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series, pd.DataFrame | None]:
    """Scores, outcomes and patients of a study, and scores of the silhouette's models on their training images."""
    rng = np.random.default_rng(seed)
    scores, outcomes, patients = draw_study(rng, case.truth, strategies=STRATEGIES, patients=500, folds=5)
    spread = rng.uniform(0.3, 2.0, 4) if case.weak is None else np.array([0.0, 0.0, 0.0, case.weak])
    scores["ill"] += scores["trained_on"].map(dict(zip(STRATEGIES, spread, strict=True))) * rng.normal(size=len(scores))
    foreign = (scores["evaluated_on"] == "silhouette") & (scores["trained_on"] != "silhouette")
    if case.foreign is None:
        scores = scores[~foreign]
    else:
        scores.loc[foreign, "ill"] += case.foreign * rng.normal(size=foreign.sum())
    if case.fit is None:
        return scores, outcomes, patients, None
    moved = np.sqrt(2) * norm.ppf(min(case.fit, 0.9999)) * outcomes["ill"] + rng.normal(size=len(outcomes))
    place = {"trained_on": "silhouette", "fold": 0, "part": "training"}
    return scores, outcomes, patients, pd.DataFrame({"image_id": outcomes.index, "ill": moved.to_numpy(), **place})


def former(scores: pd.DataFrame, outcomes: pd.DataFrame, patients: pd.Series) -> dict[str, bool]:
    """Whether the former rule said yes: above the silhouette's own models by more than chance."""
    areas = LabelAreas(StudyScores.of(scores, outcomes, patients), "ill")
    silhouette = Condition("silhouette", "silhouette")
    found = {"outline": areas.contrast({silhouette: 1}, 0.5, retrained=True)}
    for part, name in PARTS.items():
        found[part] = areas.contrast({Condition(name, name): 1, silhouette: -1}, retrained=True)
    adjusted = holm([one.p_value for one in found.values()])
    return {part: p < 0.05 and one.difference > 0 for (part, one), p in zip(found.items(), adjusted, strict=True)}


def main(studies: int) -> None:
    """Print a row for each case: how many studies say yes, by the former rule and by the present one."""
    print("| class shows in | inside: yes, before | after | surroundings: yes, before | after |\n|---|---|---|---|---|")
    for case in CASES:
        counts = np.zeros(4, dtype=int)
        for seed in range(studies):
            *tables, fitted = drawn(case, seed)
            before, (after,) = former(*tables), read_regions(*tables, fitted=fitted)
            counts += [before["inside"], after.inside.answer == "yes", before["outside"], after.outside.answer == "yes"]
        print(f"| {case.words} | {' | '.join(map(str, counts))} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 80)
