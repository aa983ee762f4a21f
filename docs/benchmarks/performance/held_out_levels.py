# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Seconds and numbers of held-out levels by whichever code PYTHONPATH names; prints JSON."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np

import monai_shortcut

try:
    from monai_shortcut.analyses.held_out_levels import leave_level_out
except ImportError:  # the code before
    from monai_shortcut.held_out_levels import leave_level_out


def numbers(found: Any) -> dict[str, float]:
    """What is compared, from a result of either code."""
    if hasattr(found, "interval"):  # the code before
        value, (low, high) = found.difference, found.interval
    else:
        value, low, high = found.difference.value, found.difference.low, found.difference.high
    areas = {"level": found.level, "auc_seen": found.auc_seen, "auc_unseen": found.auc_unseen}
    return {**areas, "difference": value, "half width": (high - low) / 2, "inflation": found.inflation}


def main() -> None:
    """Run the analysis on small arrays to load what is imported late, then on those in the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("permutations", type=int)
    parser.add_argument("seeds", type=int)
    given = parser.parse_args()
    with np.load(given.path) as stored:
        arrays = [stored[name] for name in ("embeddings", "codes", "labels", "patients")]
    leave_level_out(*(each[:200] for each in arrays), permutations=1, rng=np.random.default_rng(0))
    start, found = time.perf_counter(), []
    for seed in range(given.seeds):
        rng = np.random.default_rng(seed)
        found.append(leave_level_out(*arrays, permutations=given.permutations, rng=rng))
    took = time.perf_counter() - start
    told = [[numbers(each) for each in levels] for levels in found]
    print(json.dumps({"seconds": took, "found": told, "package": monai_shortcut.__file__}))


if __name__ == "__main__":
    main()
