# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What ShortKit-ML says of each draw, asked in an environment of its own.

Its pins exclude current MONAI, so it runs apart from everything else here. It works with newer releases all the same:

    python -m venv shortkit
    shortkit/bin/pip install numpy scipy scikit-learn pandas statsmodels matplotlib seaborn plotly
    shortkit/bin/pip install --no-deps shortkit-ml==0.1.0
    shortkit/bin/python docs/benchmarks/utilization/shortkit_verdicts.py --folder FOLDER

FOLDER holds NAME.npz, each with `embeddings` (N, D), `labels` (N,) and `attribute` (N,), integer codes of a few levels.
FOLDER/shortkit.json tells the answer for each NAME; names that it holds are left out, so a run can be stopped and
resumed:

- `verdict`: HIGH, MODERATE or LOW by its default condition: two or more methods report a risk, one does, none does.
- `score`: from 0 to 1, the mean of the weights of evidence that its condition `weighted_risk` states for each method
  (to two digits each). The condition `weighted_risk` does not set the verdict.
- `methods`: of each method with a result, its `risk` (high, moderate, low or unknown), whether it `counts` in the
  verdict, and the `value` behind the risk: larger is worse, null where it has none.
- `failed`: methods without a result. They count neither in the verdict nor in the score.
- `seconds`: of the fit and the assessment, without imports.

The methods are the five of the quick start in its README, with the default settings of each. The constructor's own
default is the first three of them; as the rule counts methods, three never give a higher verdict than five. Left out:

- about 2 s or more for a draw of 2000 x 128: sis (12 s at 2000 x 1024), generative_cvae.
- need a model, images, or more than embeddings, labels and one attribute: cav, causal_effect, gradcam_mask_overlap,
  intersectional (two attributes), ssa (a labelled and an unlabelled part), vae (torchvision).
- not in the quick start: bias_direction_pca, demographic_parity, early_epoch_clustering, frequency, gce, groupdro.

The time grows with the pairs of levels: .2 s for 2 levels, .8 for 5, 2.2 for 10, 7.6 for 20 at 2000 x 128.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from shortcut_detect import ShortcutDetector  # noqa: E402
from shortcut_detect.conditions import ConditionContext, create_condition  # noqa: E402

METHODS = ("hbac", "probe", "statistical", "geometric", "equalized_odds")
SEED = 42  # its default, the same for every draw


def value(name: str, result: dict[str, Any]) -> float | None:
    """The number behind a method's risk, the worst pair of levels where there are several."""
    if name == "hbac":  # of the label: it is never given the attribute
        found = result["report"]["has_shortcut"]["evidence"]["linear_test_accuracy"]
    elif name == "probe":  # F1, or its mean over more than two levels
        found = result["results"]["metrics"]["metric_value"]
    elif name == "statistical":  # decimal digits of the smallest corrected p
        smallest = min(float(np.min(corrected)) for corrected in result["corrected_pvalues"].values())
        found = -math.log10(max(smallest, 1e-300))
    elif name == "geometric":  # gap along the line between two means, in standard deviations
        found = max((pair.effect_size for pair in result["bias_pairs"]), default=math.nan)
    else:  # gap of the true or false positive rates of a classifier of its own, on the images it was fitted to
        gaps = (result["report"].tpr_gap, result["report"].fpr_gap)
        found = max((gap for gap in gaps if math.isfinite(gap)), default=math.nan)
    return round(float(found), 6) if math.isfinite(found) else None


def ask(path: Path) -> dict[str, Any]:
    """Its answer for the draw in a file."""
    with np.load(path) as stored:
        embeddings, attribute = stored["embeddings"], stored["attribute"]
        labels = np.unique(stored["labels"], return_inverse=True)[1]  # equalized_odds sees no rates unless 0 and 1
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a method that fails is told in the answer
        detector = ShortcutDetector(methods=list(METHODS), seed=SEED)
        start = time.perf_counter()
        results = detector.fit(embeddings, labels, group_labels=attribute).get_results()
        context = ConditionContext(methods=list(METHODS), results=results)
        told, weighted = (create_condition(name).assess(context) for name in ("indicator_count", "weighted_risk"))
        seconds = time.perf_counter() - start
    verdict = re.search(r"(HIGH|MODERATE|LOW) RISK", told)
    failed = [name for name in METHODS if not results[name].get("success")]
    weights = [float(weight) for weight in re.findall(rf"(?:{'|'.join(METHODS)})=(\d\.\d+)", weighted)]
    if verdict is None or len(weights) != len(METHODS) - len(failed):
        raise ValueError(
            f"the assessment of {path.name} must state a risk and a weight per method, got {told}, {weighted}."
        )
    methods = {
        name: {
            "risk": results[name]["risk_value"],
            "counts": bool(results[name]["risk_indicators"]),
            "value": value(name, results[name]),
        }
        for name in METHODS
        if name not in failed
    }
    score = round(sum(weights) / len(weights), 6) if weights else 0.0
    return {"verdict": verdict[1], "score": score, "methods": methods, "failed": failed, "seconds": round(seconds, 4)}


def main() -> None:
    """Ask for every draw that has no answer yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    arguments = parser.parse_args()
    kept, part = arguments.folder / "shortkit.json", arguments.folder / "shortkit.json.part"
    answers = json.loads(kept.read_text()) if kept.exists() else {}
    paths = [path for path in sorted(arguments.folder.glob("*.npz")) if path.stem not in answers]
    done = Parallel(arguments.workers, return_as="generator")(delayed(ask)(path) for path in paths)
    for path, answer in zip(paths, done, strict=True):
        answers[path.stem] = answer
        part.write_text(json.dumps(dict(sorted(answers.items())), indent=1))
        part.replace(kept)
    print(f"{len(paths)} draws asked, {len(answers)} answers in {kept}")


if __name__ == "__main__":
    main()
