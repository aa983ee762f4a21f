# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Induced bias on phantoms: weight space correlation of plane and scanner when images are drawn to published tables.

Run from the root of the repository; models that are finished in the folder are kept, so it can be stopped and resumed:

    python docs/benchmarks/fetal_planes.py --folder output/induced_bias --width 16 --visibility 0.5
"""

from __future__ import annotations

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).parent / "utilization"))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from cases import kept, seed_of  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from models import codes_of, embeddings_of, heads_of, stacked, train  # noqa: E402
from scipy.special import softmax  # noqa: E402

from monai_shortcut.heads import LinearHead, linear_head  # noqa: E402
from monai_shortcut.phantom.fetal_planes import PLANES, Phantom, draw_phantom  # noqa: E402
from monai_shortcut.probes import fit_probe, null_probes  # noqa: E402
from monai_shortcut.types import Tested  # noqa: E402
from monai_shortcut.weight_space import weight_space_correlation  # noqa: E402

ATTRIBUTES = ("scanner", "annotation", "operator")
UNRELATED = ATTRIBUTES[1:]  # to the plane, by construction: text and scales in the image, and no trace at all
SCANNERS = ("scanner A", "scanner B")
# Images per plane of the first two scanners of the published tables (Voluson S and V830), and how many of them we draw.
TABLES = {
    "full": {"abdomen": (717, 333), "head": (1018, 805), "femur": (760, 315), "thorax": (855, 602)},
    "balanced": dict.fromkeys(PLANES, (300, 300)),
    "biased": {"abdomen": (150, 150), "head": (150, 700), "femur": (700, 150), "thorax": (700, 150)},
}
SHARE, EPOCHS, PERMUTATIONS = 1 / 6, 8, 199
MODELS = {"post-hoc": False, "multi-task": True}
KINDS = {"model": MODELS, "table": TABLES}


def one_model(table: str, model: str, seed: int, width: int, visibility: float) -> list[dict[str, Any]]:
    """Train on a drawn table; one row per attribute, measured on the training images as published."""
    pool = draw_phantom(700, 0.0, seed_of("induced bias", seed), visibility=visibility, name="pool")
    wanted = {plane: dict(zip(SCANNERS, map(_scaled, counts), strict=True)) for plane, counts in TABLES[table].items()}
    cohort = pool.cohort.draw("scanner", wanted, seed)
    place = {image: row for row, image in enumerate(pool.cohort.image_ids)}
    images = torch.tensor(np.stack([pool.draw(place[image])[0] for image in cohort.image_ids]))
    codes = {name: codes_of(cohort.values(name)) for name in ATTRIBUTES}
    network = train(images, cohort.labels, codes, multi_task=MODELS[model], seed=seed, epochs=EPOCHS, width=width)
    head = linear_head(network, images=images[:2])
    points, weight = embeddings_of(network, images, head.layer), head.weight.numpy().astype(np.float64)
    told = {"table": table, "model": model, "seed": seed, "images": len(cohort), "columns": points.shape[1]}
    test = draw_phantom(300, 0.0, seed_of("induced bias, test", seed), visibility=visibility, name="test")
    told |= _tested(network, head, test)
    own, rows = heads_of(network), []
    for name in ATTRIBUTES:
        rows_of = own[name] if own else fit_probe(points, codes[name]).weight
        cosines = weight_space_correlation(weight, rows_of, points)
        rng = np.random.default_rng(seed)
        permuted = null_probes(points, codes[name], cohort.patients, PERMUTATIONS, rng, cohort.labels)
        null = np.abs(weight_space_correlation(weight, permuted, points)).max(axis=(1, 2))
        tested = Tested(float(np.abs(cosines).max()), tuple(null.tolist()))
        found = {"attribute": name, "wsc": tested.observed, "p": tested.p_value, "cosines": cosines.ravel().tolist()}
        rows.append({**told, **found})
    return rows


def _scaled(count: int) -> int:
    return round(count * SHARE)


def _tested(network: torch.nn.Module, head: LinearHead, test: Phantom) -> dict[str, float]:
    """Accuracy on unbiased images, and the probability that moves when only the scanner is swapped."""
    items = test.datalist(["scanner"])
    weight, bias = head.weight.numpy(), head.bias.numpy()
    before, after = (
        softmax(embeddings_of(network, stacked(items, key), head.layer) @ weight.T + bias, axis=1)
        for key in ("image", "image_scanner")
    )
    accuracy = float((before.argmax(axis=1) == test.cohort.labels).mean())
    return {"accuracy": accuracy, "moved": float(0.5 * np.abs(after - before).sum(axis=1).mean())}


def report(rows: pd.DataFrame) -> str:
    """A Markdown table: the mean of the cosines over seeds beside unrelated heads, and the same seed by seed."""
    lines = [
        "| model | table | plane accuracy | probability moved | WSC, mean over seeds | unrelated heads, mean "
        "| WSC of a seed | 95 % of unrelated heads | seeds outside | permutation p <= 0.05 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, table in product(MODELS, TABLES):
        own = rows[rows["model"] == model]
        if not (own["table"] == table).any():
            continue
        scanner = own[(own["table"] == table) & (own["attribute"] == "scanner")]
        unrelated = own[own["attribute"].isin(UNRELATED)]
        # Over all tables and seeds, so that chance is seen as often as can be.
        chance = max(_of_mean(group) for _, group in unrelated.groupby(["table", "attribute"]))
        limit = float(np.quantile(unrelated["wsc"], 0.95))
        shown = [f"{scanner['accuracy'].mean():.3f}", _spread(scanner["moved"])]
        shown += [f"{_of_mean(scanner):.2f}", f"{chance:.2f}", _spread(scanner["wsc"]), f"{limit:.2f}"]
        shown += [
            f"{int(outside.sum())} of {len(scanner)}" for outside in (scanner["wsc"] > limit, scanner["p"] <= 0.05)
        ]
        lines.append(f"| {' | '.join([model, table, *shown])} |")
    return "\n".join(lines)


def _of_mean(rows: pd.DataFrame) -> float:
    """Largest absolute entry of the matrix of cosines, averaged over the seeds."""
    return float(np.abs(np.mean(rows["cosines"].tolist(), axis=0)).max())


def _spread(values: pd.Series) -> str:
    return f"{values.mean():.2f} ({values.std():.2f})"


def figure(rows: pd.DataFrame, path: Path) -> None:
    """Histograms of single cosines: unrelated heads in grey, plane and scanner in colour."""
    drawn = Figure(figsize=(9, 4.2), layout="constrained")
    bins = np.linspace(-1, 1, 41).tolist()
    models, tables = ([kind for kind in kinds if (rows[name] == kind).any()] for name, kinds in KINDS.items())
    panels = drawn.subplots(len(models), len(tables), sharex=True, squeeze=False)
    for axes, (model, table) in zip(panels.ravel(), product(models, tables), strict=True):
        own = rows["model"] == model
        null = np.concatenate(rows.loc[own & rows["attribute"].isin(UNRELATED), "cosines"].tolist())
        scanner = rows.loc[own & (rows["table"] == table) & (rows["attribute"] == "scanner"), "cosines"]
        axes.hist(null, bins, density=True, color="#999999", alpha=0.6, label="unrelated heads")
        axes.hist(np.concatenate(scanner.tolist()), bins, density=True, color="#D55E00", alpha=0.6, label="scanner")
        axes.set_title(f"{model}, {table}", fontsize=9)
        axes.set(yticks=[])
    drawn.axes[0].legend(fontsize=7, frameon=False)
    for axes in panels[-1]:
        axes.set_xlabel("cosine with rows of the plane's head", fontsize=8)
    drawn.savefig(path, dpi=150)


def main() -> None:
    """Train what is not there yet, then print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("output/induced_bias"))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--width", type=int, default=8, help="of the SonoNet; the embedding has four times as many")
    parser.add_argument("--visibility", type=float, default=1.0, help="of the anatomy, in (0, 1]")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed, table, model in product(range(arguments.seeds), arguments.tables, arguments.models):
        path = arguments.folder / f"{table}_{model}_{seed}.json"
        setting = (table, model, seed, arguments.width, arguments.visibility)
        rows += kept(path, lambda setting=setting: one_model(*setting))
    frame = pd.DataFrame(rows)
    print(report(frame))
    figure(frame, arguments.folder / "induced_bias.png")


if __name__ == "__main__":
    main()
