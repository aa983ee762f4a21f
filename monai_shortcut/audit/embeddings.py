# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How the embeddings of audited images move when parts of them are hidden, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from monai_shortcut.analyses.embedding_maps import PCA, POINTS, EmbeddingMaps, embedding_maps
from monai_shortcut.analyses.embedding_moves import EmbeddingMoves, MaskedEmbeddings, embedding_moves, one_network
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels
from monai_shortcut.statistics.two_samples import patients_within


def moved(sample: Sample, masked: MaskedEmbeddings | None, label_names: Sequence[str]) -> EmbeddingMoves | None:
    """Cosines between full and masked embeddings; None where none were given, or no image is left.

    Args:
        sample: the audited images.
        masked: their masked embeddings.
        label_names: names of the classes.
    """
    if masked is None or sample.embeddings is None or not len(masked.rows):
        return None
    rows, own = masked.rows, replace(masked, rows=np.arange(len(masked.rows)))
    points = sample.embeddings.source.rows(rows)
    space = one_network(points, own, sample.labels[rows], sample.patients[rows], label_names)
    return embedding_moves([space], sample.draws, sample.rng("embedding moves"), len(sample))


def mapped(
    sample: Sample,
    masked: MaskedEmbeddings | None,
    coded: Mapping[str, Levels],
    label_names: Sequence[str],
    settings: AuditSettings,
    folds: ArrayLike | None = None,
) -> EmbeddingMaps | None:
    """Maps of the embeddings under every strategy, of patients in random order, as many as 2,000 points have room for.

    Without masked embeddings the PCA of the audit's page is the same, so that only other maps are drawn.

    Args:
        sample: the audited images.
        masked: their masked embeddings.
        coded: levels by attribute.
        label_names: names of the classes.
        settings: which maps.
        folds: (N,) fold of each image.

    Returns:
        The maps; None where none are asked for.
    """
    methods = [name for name in settings.embedding_maps if masked is not None or name != PCA]
    among = np.arange(len(sample)) if masked is None else masked.rows
    if not methods or not len(among):
        return None
    strategies = {} if masked is None else masked.points
    rng = sample.rng("patients of the maps")
    chosen = patients_within(sample.patients[among], POINTS // (1 + len(strategies)), rng)
    rows = among[chosen]
    colours = {
        name: [levels.names[code] if code >= 0 else "" for code in levels.codes[rows].tolist()]
        for name, levels in coded.items()
    }
    if folds is not None and len(np.unique(np.asarray(folds)[rows])) > 1:
        colours["fold"] = [str(fold) for fold in np.asarray(folds)[rows].tolist()]
    return embedding_maps(
        {"full": sample.points.source.rows(rows), **{name: points[chosen] for name, points in strategies.items()}},
        [label_names[label] for label in sample.labels[rows].tolist()],
        colours,
        methods=methods,
        seed=settings.seed,
        of=len(sample),
    )
