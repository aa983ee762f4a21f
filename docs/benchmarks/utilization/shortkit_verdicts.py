# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What ShortKit-ML says of each draw, asked in an environment of its own.

Its pins exclude current MONAI, so it runs apart from everything else here. It works with newer releases all the same:

    python -m venv shortkit
    shortkit/bin/pip install numpy scipy scikit-learn pandas statsmodels torch matplotlib seaborn plotly jinja2
    shortkit/bin/pip install --no-deps shortkit-ml==0.1.0
    shortkit/bin/python docs/benchmarks/utilization/shortkit_verdicts.py --folder FOLDER

FOLDER holds NAME.npz, each with `embeddings` (N, D), `labels` (N,) and `attribute` (N,), integer codes of a few levels.
FOLDER/shortkit.json tells the answer for each NAME; names that it holds are left out, so a run can be stopped and
resumed:

- `verdict`: HIGH, MODERATE or LOW by its default condition: two or more methods report a risk, one does, none does.
- `score`: from 0 to 1, the mean of the weights of evidence that its condition `weighted_risk` states for each method
  (to two digits each). The condition `weighted_risk` does not set the verdict.
- `failed`: methods without a result. They count neither in the verdict nor in the score.
- `seconds`: of the fit and the assessment, without imports.

The methods are the five of the quick start in its README, with the default settings of each. The constructor's own
default is the first three of them; as the rule counts methods, three never give a higher verdict than five. Left out:

- more than 2 s for a draw of 2000 x 128 or nearly so, and up to 12 s at 2000 x 1024: sis.
- need a model, images, gradients, or another input than embeddings, labels and one attribute: cav,
  gradcam_mask_overlap, generative_cvae, early_epoch_clustering, ssa (a labelled and an unlabelled part),
  intersectional (two attributes).
- not in the quick start: bias_direction_pca, demographic_parity, gce, frequency, causal_effect, groupdro, vae.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
from shortcut_detect import ShortcutDetector  # noqa: E402
from shortcut_detect.conditions import ConditionContext, create_condition  # noqa: E402

METHODS = ("hbac", "probe", "statistical", "geometric", "equalized_odds")
SEED = 42  # its default, the same for every draw


def ask(path: Path) -> dict[str, Any]:
    """Its answer for the draw in a file."""
    with np.load(path) as stored:
        embeddings, labels, attribute = (stored[name] for name in ("embeddings", "labels", "attribute"))
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
    score = sum(weights) / len(weights) if weights else 0.0
    return {"verdict": verdict[1], "score": round(score, 6), "failed": failed, "seconds": round(seconds, 4)}


def main() -> None:
    """Ask for every draw that has no answer yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    arguments = parser.parse_args()
    kept, part = arguments.folder / "shortkit.json", arguments.folder / "shortkit.json.part"
    answers = json.loads(kept.read_text()) if kept.exists() else {}
    paths = [path for path in sorted(arguments.folder.glob("*.npz")) if path.stem not in answers]
    with ProcessPoolExecutor(arguments.workers) as pool:
        waiting = {pool.submit(ask, path): path for path in paths}
        for done in as_completed(waiting):
            answers[waiting[done].stem] = done.result()
            part.write_text(json.dumps(dict(sorted(answers.items())), indent=1))
            part.replace(kept)
    print(f"{len(paths)} draws asked, {len(answers)} answers in {kept}")


if __name__ == "__main__":
    main()
