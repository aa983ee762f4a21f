# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The closed-form probe against logistic regression, on embeddings of the trained breast-ultrasound bundle.

Both are validated in the same patient-grouped folds of the bundle's test images; the area under the ROC curve is the
mean over levels, the label plays no part. Run after the bundle's training, from the root of the repository:

    python docs/benchmarks/probe.py --dataset_dir BUSBRA --network_name sononet16
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_shortcut.cohort.levels import attribute_levels
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.probes import fit_probe
from monai_shortcut.statistics.areas import clustered_auroc
from monai_shortcut.statistics.resampling import patient_folds

BUNDLE = Path(__file__).parents[2] / "bundles" / "breast_ultrasound_classification"
ATTRIBUTES = ("device", "side", "height", "birads", "lesion_fraction")


def discriminant(train, levels, held_out):
    """Logits (M, n) of the closed-form probe."""
    return fit_probe(train, levels)(held_out).T


def logistic(strength):
    """Logits (M, n) of a regularized, class-balanced logistic regression on standardized embeddings."""

    def score(train, levels, held_out):
        model = LogisticRegression(C=strength, max_iter=2000, class_weight="balanced")
        logits = make_pipeline(StandardScaler(), model).fit(train, levels).decision_function(held_out)
        return np.stack([-logits, logits]) if logits.ndim == 1 else logits.T

    return score


def main() -> None:
    """Print a row per attribute: area and seconds of each probe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True)
    parser.add_argument("--network_name", default="densenet121")
    arguments = parser.parse_args()
    config = ConfigParser()
    config.read_config([str(BUNDLE / "configs" / f"{name}.json") for name in ("train", "audit")])
    config.update({**vars(arguments), "bundle_root": str(BUNDLE)})
    network = config.get_parsed_content("network")
    network.load_state_dict(torch.load(config.get_parsed_content("ckpt_path"), weights_only=True))
    items = config.get_parsed_content("validate#dataset")
    images = torch.stack([torch.as_tensor(item["image"]) for item in items]).to(next(network.parameters()).device)
    cohort = config.get_parsed_content("cohort").select([item["image_id"] for item in items])
    layer = linear_head(network, images=images[:2]).layer
    points = torch.cat([embed(network, block, layer)[0] for block in images.split(64)]).cpu().numpy().astype(float)
    methods = {"discriminant": discriminant, "logistic C=1": logistic(1.0), "logistic C=0.01": logistic(0.01)}
    print("| attribute | " + " | ".join(methods) + " |\n|" + "---|" * (len(methods) + 1))
    for name in ATTRIBUTES:
        levels = attribute_levels(cohort.values(name), cohort.patients)
        if levels.problem:
            print(f"| {name} | " + " | ".join([levels.problem] * len(methods)) + " |")
            continue
        known = levels.codes >= 0
        codes, patients = levels.codes[known], cohort.patients[known]
        fold = patient_folds(patients, cohort.labels[known], 5, np.random.default_rng(0))
        cells = []
        for method in methods.values():
            start, logits = time.perf_counter(), np.empty((len(levels.names), len(codes)))
            for index in range(5):
                held_out = fold == index
                logits[:, held_out] = method(points[known][~held_out], codes[~held_out], points[known][held_out])
            area, error = clustered_auroc(logits, codes, np.zeros_like(codes), patients)
            cells.append(f"{area:.3f} ({error:.3f}), {time.perf_counter() - start:.2f} s")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
