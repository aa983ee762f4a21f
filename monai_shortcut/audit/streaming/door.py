# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of a stream, and the records that answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.prediction_gap import PredictionGap, from_gaps
from monai_shortcut.audit.streaming.ranks import Ranking, areas, told_apart
from monai_shortcut.audit.streaming.source import Block, Source
from monai_shortcut.audit.streaming.sums import Sums
from monai_shortcut.statistics.areas import confusion_metrics, with_interval
from monai_shortcut.statistics.gaps import mean_gaps, trend_gaps
from monai_shortcut.statistics.hashing import PatientHash
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Tested


def stream(
    blocks: Callable[[], Iterable[Block]],
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    levels: int,
    ordered: bool = False,
    draws: Resampling | None = None,
    patients: PatientHash | None = None,
    bins: int = 8192,
) -> tuple[Encoding, PredictionGap]:
    """Ask whether an attribute is encoded and whether answers differ by it, without holding the images.

    The blocks are read four times, and once more for each further 256 MB of bins of null copies. Nothing is kept of an
    image or a patient: a patient's fold, place in the limits and level in a null copy follow from a hash of the id, so
    that other names are another seed. The order of the images moves no draw.
    Five things differ from `encoding` and `prediction_gap`, whose results these approach as N grows:

    - The null is a conditional randomization test, not a permutation test: in each copy a patient draws a level afresh
      from the levels that all images of the same label have. Both tests suppose the same, that the embedding tells
      nothing of the level beyond the label. This one also takes patients as independent, and the levels' distribution
      given the label as known, though it is the cohort's own.
    - Images of a patient with one label share the level. If the attribute varies within patients, they agree as often
      as images of the same patient do in a sample of 4096 patients. Images of a patient with different labels share the
      quantile: it is assumed that the level depends on the image's own label, not on the others'.
    - Limits of the area without regard to labels are normal ones, and readers of single labels or non-linear ones are
      not asked.
    - Scores are counted in bins. The error of an area is below 1e-4 from some ten thousand pairs of images on.
    - Limits are over 4096 groups of patients in place of patients, so that their width is known to about 1 %.

    Args:
        blocks: gives, at each call, the same blocks of n images in the same order: embeddings (n, D), labels (n,)
            in [0, C), patients (n,), and codes (n,) of levels in [0, M), -1 where missing.
        weight: (C, D) weights of the clinical head, or (1, D) for a single logit.
        bias: (C,) or (1,).
        levels: M, at least 2.
        ordered: whether the levels are ordered.
        draws: see `Resampling`; folds are drawn once, so `repeats` plays no part.
        patients: the hash, for other attributes or groups; by default the seed and folds are those of `draws`.
        bins: number of bins of the scores; memory is proportional to them.

    Returns:
        The records of both analyses; `Encoding.spread` is empty.

    Raises:
        ValueError: If arrays of a block disagree or a number is out of range, with the number of the block; or if the
            blocks differ between calls.
        Unmeasurable: If a level or all labels but one have no image, no label holds two levels, a fold is empty,
            or the embeddings do not vary among images of one label.

    References:
        Candes, Fan, Janson and Lv (2018), J. R. Stat. Soc. B 80(3), section 4 (conditional randomization test).

    Example:
        >>> draw, quick = np.random.default_rng(0), Resampling(permutations=19, bootstraps=19)
        >>> person = np.arange(400)
        >>> points = draw.normal(size=(400, 3)) + 2 * (person[:, None] % 2)
        >>> block = points, person // 2 % 2, person, person % 2
        >>> encoding, gap = stream(lambda: [block], np.eye(2, 3), [0.0, 0.0], levels=2, draws=quick)
        >>> encoding.test.p_value, round(encoding.own_auroc.value, 1)
        (0.05, 1.0)
    """
    drawn = draws or Resampling()
    chance = patients or PatientHash(drawn.seed, drawn.folds)
    source = Source.of(blocks, weight, bias, levels, ordered, drawn, chance)
    sums = Sums.of(source)
    return _encoding(sums, bins), _gap(sums)


def _encoding(sums: Sums, bins: int) -> Encoding:
    own, plain = Ranking.of(sums.totals, True, bins), Ranking.of(sums.plain, False, bins)
    null, counts = areas(sums, own, plain)
    errors, said = told_apart(sums, (own, plain), counts)
    spread, confidence = 2 * float(null[1:].std()), sums.source.draws.confidence
    observed = float(np.mean(plain.areas(counts[1])))
    table = np.concatenate([said.sum(axis=0, keepdims=True), sums.bootstrap(said)])
    return Encoding(
        metrics=confusion_metrics(table, confidence),
        auroc=with_interval((observed, errors[1]), confidence),
        own_auroc=with_interval((float(null[0]), errors[0]), confidence, spread),
        test=Tested.of(null),
    )


def _gap(sums: Sums) -> PredictionGap:
    statistic = trend_gaps if sums.source.ordered else mean_gaps
    resampled = statistic(sums.bootstrap(sums.groups))
    return from_gaps(statistic(sums.cells), resampled, sums.cells[0], sums.source.draws.confidence)
