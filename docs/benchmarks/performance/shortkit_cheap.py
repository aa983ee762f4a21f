# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Seconds of ShortKit-ML's cheap methods.

Run by the Python of an environment of its own:

    python -m venv shortkit
    shortkit/bin/pip install torch==2.13.0 numpy scipy scikit-learn pandas statsmodels matplotlib seaborn plotly tqdm
    shortkit/bin/pip install --no-deps shortkit-ml==0.1.0

The methods are those of its 19 that take less than 3 s for one attribute of 10,000 x 1,024 and need no more than
embeddings, labels and attributes. None draws a null. The probe and gce run once; the others once for each attribute.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from shortcut_detect import ShortcutDetector

METHODS = (
    "probe",
    "statistical",
    "geometric",
    "bias_direction_pca",
    "equalized_odds",
    "demographic_parity",
    "gce",
)


def fitted(embeddings: Any, labels: Any, attributes: Any) -> tuple[float, dict[str, Any]]:
    """Seconds and results of all methods; the first attribute is its `group_labels`, the others `extra_labels`."""
    others = {f"attribute {index}": values for index, values in enumerate(attributes[1:], start=1)}
    detector = ShortcutDetector(methods=list(METHODS), seed=42)
    start = time.perf_counter()
    results = detector.fit(embeddings, labels, group_labels=attributes[0], extra_labels=others).get_results()
    return time.perf_counter() - start, results


def main() -> None:
    """Print the seconds and the methods that gave no result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    with np.load(parser.parse_args().path) as stored:
        arrays = stored["embeddings"], stored["labels"], stored["attributes"]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a method that fails is named below
        fitted(arrays[0][:200, :16], arrays[1][:200], arrays[2][:, :200])  # loads what is imported late
        took, results = fitted(*arrays)
    failed = [name for name in METHODS if not results[name].get("success")]
    if failed:
        raise RuntimeError(f"every method must give a result, got none of {failed}.")
    print(json.dumps({"seconds": took}))


if __name__ == "__main__":
    main()
