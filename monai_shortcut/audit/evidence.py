# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is asked of each attribute, and how its answers are gathered; a new question is one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_shortcut.analyses.alignment import alignment
from monai_shortcut.analyses.encoding import encoding, held_out_margins
from monai_shortcut.analyses.erasure import erasure
from monai_shortcut.analyses.held_out_levels import held_out_levels
from monai_shortcut.analyses.latent_counterfactual import latent_counterfactual
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.analyses.sample import AttributeSample
from monai_shortcut.analyses.subgroups import subgroups
from monai_shortcut.audit.progress import Progress
from monai_shortcut.audit.record import Evidence, Giveaway
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels, attribute_levels
from monai_shortcut.types import Unmeasurable


def questions(
    settings: AuditSettings, own_head: ArrayLike | None = None
) -> Mapping[str, Callable[[AttributeSample], Any]]:
    """The analyses of an attribute by field of `Evidence`.

    Args:
        settings: settings of the audit.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.
    """
    pointing = partial(alignment, variance=settings.variance, min_components=settings.min_components, own_head=own_head)
    return {
        "encoding": encoding,
        "gap": prediction_gap,
        "alignment": pointing,
        "latent": latent_counterfactual,
        "erasure": erasure,
        "subgroups": subgroups,
        "held_out": held_out_levels,
    }


def attribute_evidence(
    sample: AttributeSample, settings: AuditSettings, progress: Progress, own_head: ArrayLike | None = None
) -> Evidence:
    """Ask all questions of an attribute.

    Args:
        sample: the images and the attribute.
        settings: settings of the audit.
        progress: progress of the audit.
        own_head: (M, D) weights of the attribute's head, if the network was trained with one.

    Returns:
        The evidence, p-values not adjusted yet; ``not_computed`` says why an analysis has no answer.

    Raises:
        Unmeasurable: If the encoding or the prediction gap, on which the verdict rests, has no answer.
    """
    found: dict[str, Any] = {}
    unanswered: dict[str, str] = {}
    for name, question in questions(settings, own_head).items():
        with progress.step(name, sample.name):
            try:
                found[name] = question(sample)
            except Unmeasurable as reason:
                if name in ("encoding", "gap"):
                    raise
                unanswered[name] = str(reason)
    p_values = {"encoding_p_value": found["encoding"].test.p_value, "gap_p_value": found["gap"].test.p_value}
    return Evidence(**found, **p_values, not_computed=unanswered)


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
