# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Heads that ShortKit-ML's last-layer retraining gives, asked in an environment of its own.

How to make the environment is said in ``utilization/shortkit_verdicts.py``.

    shortkit/bin/python docs/benchmarks/repair_shortkit.py --folder FOLDER/fits

FOLDER/fits holds NAME.npz with `embeddings` (N, D), `labels` (N,) of two classes and `attribute/...` (N,). NAME.json
beside it tells `weight` (1, D) and `bias` (1,) of a single logit, what the standardization does folded in, twice: its
groups are the levels of the attribute, as its argument `group_labels` is described, or labels by levels, as in the
article that it cites. Its other settings are its defaults: an L1 penalty of 1, classes balanced. Files that have their
answer are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from shortcut_detect.mitigation.last_layer_retraining import LastLayerRetraining  # noqa: E402


def retrained(points: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """A head in the coordinates of the embeddings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer scikit-learn calls its way to say L1 deprecated
        fitted = LastLayerRetraining(random_state=0).fit(points, labels, groups)
    head, scaler = fitted.classifier_, fitted.scaler_
    weight = head.coef_ / scaler.scale_
    return {"weight": weight.tolist(), "bias": (head.intercept_ - weight @ scaler.mean_).tolist()}


def answer(path: Path) -> None:
    """Its heads for one file."""
    with np.load(path) as stored:
        points, labels = stored["embeddings"].astype(np.float64), stored["labels"]
        (attribute,) = (stored[name] for name in stored.files if name.startswith("attribute/"))
    levels = np.unique(attribute, return_inverse=True)[1]
    groups = {"levels": levels, "labels by levels": labels * (levels.max() + 1) + levels}
    found = {f"ShortKit-ML, {name}": retrained(points, labels, own) for name, own in groups.items()}
    part = path.with_suffix(".json.part")
    part.write_text(json.dumps(found))
    part.replace(path.with_suffix(".json"))


def main() -> None:
    """Ask for every file that has no answer yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    given = parser.parse_args()
    paths = [path for path in sorted(given.folder.glob("*.npz")) if not path.with_suffix(".json").exists()]
    Parallel(given.workers)(delayed(answer)(path) for path in paths)
    print(f"{len(paths)} heads asked for")


if __name__ == "__main__":
    main()
