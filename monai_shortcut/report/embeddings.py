# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the section on embeddings shows beside its record: published cosines, and a table of one's own."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from monai_shortcut.analyses.embedding_moves import EmbeddingMoves

# Mean cosine of full and masked embeddings by data set and strategy: Sourget et al. (2025), arXiv 2412.04030.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "chest X-ray": {"without_roi": 0.896, "without_roi_box": 0.827, "roi_only": 0.762, "roi_box_only": 0.889},
    "fundus": {"without_roi": 0.974, "without_roi_box": 0.979, "roi_only": 0.695, "roi_box_only": 0.677},
}


def cosines_table(moves: Mapping[str, EmbeddingMoves]) -> pd.DataFrame:
    """One row per model, strategy and class: cosines of full and masked embeddings.

    Args:
        moves: by the strategy that the model was trained on.
    """
    rows = [
        {
            "trained_on": trained_on,
            "strategy": one.strategy,
            "label": one.label,
            "images": one.images,
            "patients": one.patients,
            "zero": one.zero,
            "cosine": one.mean.value,
            "cosine_low": one.mean.low,
            "cosine_high": one.mean.high,
            "cosine_sd": one.spread,
            "centred": one.centred.value,
            "centred_low": one.centred.low,
            "centred_high": one.centred.high,
            "centred_sd": one.centred_spread,
        }
        for trained_on, found in moves.items()
        for one in found.cosines
    ]
    return pd.DataFrame(rows)
