# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Random features in which a linear probe is a smooth non-linear one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAIRS = 2**13  # pairs of rows whose median distance is the bandwidth


def random_features(rows: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Features whose inner products approximate a Gaussian kernel of the rows.

    With the bandwidth s, w drawn from a normal distribution of standard deviation 1 / s and b uniform in [0, 2 pi), a
    feature is sqrt(2 / count) cos(w' x + b), and the expected inner product of two rows is exp(-|x - y|^2 / (2 s^2)).
    The bandwidth is the median distance of pairs of rows.

    Args:
        rows: (N, r) coordinates of similar spread, at least two rows.
        count: number of features.
        rng: source of pairs and features.

    Returns:
        (N, count) float32.

    References:
        Rahimi and Recht (2007), NeurIPS 20; Garreau, Jitkrittum and Kanagawa (2017), arXiv:1707.07269 (the median).
    """
    one, other = rng.integers(len(rows), size=(2, _PAIRS))
    apart = rows[one[one != other]] - rows[other[one != other]]
    bandwidth = float(np.median(np.sqrt((apart.astype(np.float64) ** 2).sum(axis=1))))
    frequencies = rng.normal(size=(rows.shape[1], count)) / max(bandwidth, 1e-12)
    phases = rng.uniform(0, 2 * np.pi, count)
    features: NDArray[np.float32] = rows.astype(np.float32, copy=False) @ frequencies.astype(np.float32)
    features += phases.astype(np.float32)
    np.cos(features, out=features)
    features *= np.sqrt(2 / count, dtype=np.float32)
    return features
