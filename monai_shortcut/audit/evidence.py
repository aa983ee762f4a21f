# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of each attribute, and how its answers are gathered; a new question is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.analyses.alignment import alignment
from monai_shortcut.analyses.differences import Differences, differences
from monai_shortcut.analyses.distributions import distributions
from monai_shortcut.analyses.encoding import encoding, held_out_margins
from monai_shortcut.analyses.erasure import erasure
from monai_shortcut.analyses.held_out_levels import held_out_levels
from monai_shortcut.analyses.latent_counterfactual import latent_counterfactual
from monai_shortcut.analyses.outcome_errors import outcome_errors
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.analyses.subgroups import subgroups
from monai_shortcut.audit.progress import Progress
from monai_shortcut.audit.record import Evidence, Giveaway
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.columns import CONTINUOUS
from monai_shortcut.cohort.levels import Levels, attribute_levels
from monai_shortcut.types import Unmeasurable

_NO_CLASSES = {
    "subgroups": "a regression has no classes whose AUC differs; see its errors by level",
    "held_out": "the heads that have not seen a level are classifiers, and this is a regression",
}
_NARROW = 10  # bins of a number that is held equal


def questions(
    settings: AuditSettings,
    own_head: ArrayLike | None = None,
    covariates: Mapping[str, NDArray[np.int64]] | None = None,
    spread: Mapping[str, float] | None = None,
) -> Mapping[str, Callable[[AttributeSample], Any]]:
    """The analyses of an attribute by field of `Evidence`.

    Args:
        settings: settings of the audit.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.
        covariates: (N,) levels of attributes at whose equal levels answers are compared, -1 where unknown.
        spread: its `spreads`, where they are known already.
    """
    pointing = partial(alignment, variance=settings.variance, min_components=settings.min_components, own_head=own_head)
    return {
        "encoding": partial(encoding, spread=spread),
        "gap": prediction_gap,
        "differences": partial(_differences, settings=settings, covariates=covariates or {}),
        "alignment": pointing,
        "latent": latent_counterfactual,
        "erasure": erasure,
        "subgroups": subgroups,
        "held_out": held_out_levels,
        "distributions": distributions,
    }


def attribute_evidence(
    sample: AttributeSample,
    settings: AuditSettings,
    progress: Progress,
    own_head: ArrayLike | None = None,
    covariates: Mapping[str, NDArray[np.int64]] | None = None,
    spread: Mapping[str, float] | None = None,
) -> Evidence:
    """Ask all questions of an attribute.

    Args:
        sample: the images and the attribute.
        settings: settings of the audit.
        progress: progress of the audit.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.
        covariates: (N,) levels of attributes at whose equal levels answers are compared, -1 where unknown.
        spread: its `spreads`, where they are known already.

    Returns:
        The evidence, p-values not adjusted yet; ``not_computed`` says why an analysis has no answer.

    Raises:
        Unmeasurable: If the encoding or the prediction gap, on which the verdict rests, has no answer; of the encoding,
            if embeddings are known.
    """
    found: dict[str, Any] = {}
    unanswered: dict[str, str] = {}
    asked = questions(settings, own_head, covariates, spread)
    if sample.images.outcome is not None:
        unanswered |= _NO_CLASSES
        asked = {name: one for name, one in asked.items() if name not in _NO_CLASSES} | {"errors": outcome_errors}
    for name, question in asked.items():
        with progress.step(name, sample.name):
            try:
                found[name] = question(sample)
            except Unmeasurable as reason:
                if name == "gap" or (name == "encoding" and sample.images.embeddings is not None):
                    raise
                unanswered[name] = str(reason)
    found.setdefault("encoding", None)
    p_values: dict[str, Any] = {family: unadjusted(family, found) for family in FAMILIES}
    return Evidence(**found, **p_values, not_computed=unanswered)


def held_equal(levels: Levels, values: ArrayLike, patients: NDArray[Any]) -> NDArray[np.int64]:
    """Levels (N,) at which other attributes are compared: numbers in ten bins, so that little is left within one.

    Args:
        levels: the attribute's levels.
        values: (N,) its values.
        patients: (N,) patient of each image.
    """
    if levels.kind != CONTINUOUS or levels.problem:
        return levels.codes
    return attribute_levels(values, patients, bins=_NARROW, minimum_patients=1, kind=CONTINUOUS).codes


def _differences(
    sample: AttributeSample, settings: AuditSettings, covariates: Mapping[str, NDArray[np.int64]]
) -> Differences:
    """Differences at equal levels of the covariates, where all of these are known."""
    others = {name: codes for name, codes in covariates.items() if name != sample.name and (codes >= 0).any()}
    if not others:
        return differences(sample, threshold=settings.threshold)
    known = np.all([codes[sample.rows] >= 0 for codes in others.values()], axis=0)
    rows = sample.rows[known]
    adjust = {name: codes[rows] for name, codes in others.items()}
    cells = np.unique(np.stack([sample.images.labels[rows], *adjust.values()]), axis=1, return_inverse=True)[1]
    equal = replace(sample, rows=rows, codes=sample.codes[known], cells=cells.reshape(-1))
    return differences(equal, threshold=settings.threshold, adjust=adjust)


def unadjusted(family: str, found: Mapping[str, Any]) -> float | None:
    """The p-value of a family of `FAMILIES` before it is adjusted over the attributes; None if it has no answer.

    Args:
        family: field of `Evidence`.
        found: answers by field of `Evidence`.
    """
    analysis, tests = FAMILIES[family]
    answers = [getattr(found.get(analysis), test, None) for test in tests]
    return next((float(test.p_value) for test in answers if test is not None), None)


# p-values that are adjusted over the attributes: the analysis, and the test of it that counts, the first there is.
FAMILIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "encoding_p_value": ("encoding", ("anywhere", "test")),
    "gap_p_value": ("gap", ("test",)),
    "differences_p_value": ("differences", ("test",)),
    "spread_p_value": ("differences", ("spread",)),
}


def coded_levels(
    name: str,
    values: ArrayLike,
    patients: NDArray[Any],
    settings: AuditSettings,
    kind: str | None = None,
    order: Sequence[str] | None = None,
) -> Levels:
    """Levels of an attribute, as the settings of an audit cut and check them.

    Args:
        name: name of the attribute, which may have edges of its own.
        values: (N,) as for `attribute_levels`.
        patients: (N,) patient of each image.
        settings: settings of the audit.
        kind: "categorical", "ordinal" or "continuous"; by default numbers are continuous.
        order: levels of an ordinal attribute, low to high; by default in the order of their numbers.
    """
    return attribute_levels(
        values,
        patients,
        bins=settings.bins,
        minimum_patients=settings.minimum_patients,
        maximum_levels=settings.maximum_levels,
        edges=settings.edges.get(name, ()),
        kind=kind,
        order=order,
    )


def giveaways(sample: AttributeSample, most: int) -> tuple[Giveaway, ...]:
    """The images that give their level away most, at most one of each patient.

    Args:
        sample: the images and the attribute.
        most: number of images.
    """
    margins = held_out_margins(sample)
    found: dict[int, Giveaway] = {}
    for index in np.argsort(-margins, kind="stable").tolist():
        if len(found) == most or margins[index] <= 0:
            break
        name, level = str(sample.images.image_ids[sample.rows[index]]), sample.levels.names[sample.codes[index]]
        found.setdefault(int(sample.patients[index]), Giveaway(name, level, float(margins[index])))
    return tuple(found.values())
