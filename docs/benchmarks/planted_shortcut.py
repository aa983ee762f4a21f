# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How often is the audit right? The planted-shortcut bundle over seeds and strengths, as a table in Markdown.

Run from the root of the repository; finished audits in the folder are kept, so the study can be stopped and resumed:

    python docs/benchmarks/planted_shortcut.py --folder output/benchmark
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import astuple
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.bundle import ConfigWorkflow
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from monai_shortcut.audit import Audit
from monai_shortcut.audit.leading import told

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "bundles" / "planted_shortcut" / "configs" / "audit.json"


def initialized(strength: float, seed: int, output: str, **more: object) -> ConfigWorkflow:
    """The bundle, with one thread."""
    torch.set_num_threads(1)
    changed = {"strength": strength, "seed": seed, "output_dir": output, **more}
    bundle = ConfigWorkflow(str(CONFIG), workflow_type="eval", logging_file=False, **changed)
    bundle.initialize()
    return bundle


def run(folder: Path, strength: float, seed: int) -> Audit:
    """One training and audit by the bundle, or the record of it that is already there; without regions and pages."""
    place = folder / f"strength_{strength:g}_seed_{seed}.json"
    if not place.exists():
        handler = "audit#handlers#1"
        with TemporaryDirectory() as output, open(os.devnull, "w") as log, redirect_stdout(log), redirect_stderr(log):
            silent = {f"{handler}#output_dir": None, f"{handler}#roi_key": None}
            bundle = initialized(strength, seed, output, **silent)
            bundle.run()
            (record,) = bundle.parser.get_parsed_content(handler).audits.values()
        record.to_json(place)
    return Audit.from_json(place)


def swap(seed: int, plane: str, scanner: str) -> str:
    """What the annotation does to the images of one plane and scanner, in a model of strength 1: each has both."""
    with TemporaryDirectory() as output:
        get = initialized(1.0, seed, output).parser.get_parsed_content
        get("train#trainer").run()
        phantom, network = get("audit_phantom"), get("network").eval()
    cohort, items = phantom.cohort, phantom.datalist(["annotation"])
    index = cohort.label_names.index(plane)
    read = {}
    with torch.no_grad():
        for key in ("image", "image_annotation"):
            images = torch.as_tensor(np.stack([item[key] for item in items]))
            read[key] = torch.cat([network(batch) for batch in images.split(50)]).numpy()
    of_plane, of_scanner = cohort.labels == index, (cohort.table["scanner"] == scanner).to_numpy()
    chosen, others = of_plane & of_scanner, of_scanner & ~of_plane
    drawn, own = (cohort.table["annotation"] == "present").to_numpy()[:, None], softmax(read["image"], axis=1)[:, index]
    told = []
    for present, word in ((True, "with"), (False, "without")):
        logits = np.where(drawn == present, read["image"], read["image_annotation"])[chosen]
        scores = np.concatenate([softmax(logits, axis=1)[:, index], own[others]])
        area = roc_auc_score(np.arange(len(scores)) < chosen.sum(), scores)
        told.append(f"{word} annotation {(logits.argmax(axis=1) == index).mean():.2f} decided for it, AUC {area:.2f}")
    return f"{plane} of {scanner}, seed {seed}: {'; '.join(told)}"


def table(audits: dict[tuple[float, int], Audit]) -> str:
    """Verdicts and the numbers behind them, by strength and attribute."""
    lines = [
        "| strength | attribute | verdicts | own AUROC | leading difference | prediction gap | when swapped "
        "| WSC p <= 0.05 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strength in sorted({key[0] for key in audits}):
        chosen = [audit for (value, _), audit in audits.items() if value == strength]
        for name in [finding.attribute for finding in chosen[0].findings]:
            findings = [audit.finding(name) for audit in chosen]
            leading = [one for audit, finding in zip(chosen, findings, strict=True) if (one := told(finding, audit))]
            verdicts = Counter(finding.verdict for finding in findings)
            found = [finding.evidence for finding in findings if finding.evidence is not None]
            swapped = [f.counterfactual.change.value for f in findings if f.counterfactual is not None]
            cells = [
                f"{strength:g}",
                name,
                ", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common()),
                _range([evidence.encoding.own_auroc.value for evidence in found]),
                _range([abs(one.value.value) for one in leading]),
                _range([evidence.gap.effect.value for evidence in found]),
                _range(swapped),
                f"{sum(evidence.alignment.wsc_test.p_value <= 0.05 for evidence in found)} of {len(found)}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def against_truth(audits: Iterable[Audit]) -> str:
    """How differences and the published correlation follow what really happens when an attribute is swapped."""
    pairs = [(a, f) for a in audits for f in a.findings if f.counterfactual is not None and f.evidence is not None]
    found = [finding for _, finding in pairs]
    leading = np.array([abs(told(finding, audit).value.value) for audit, finding in pairs])
    truth = np.array([f.counterfactual.change.value for f in found])
    gap, low, high = np.array([astuple(f.evidence.gap.effect) for f in found]).T
    wsc = np.array([np.abs(f.evidence.alignment.wsc).max() for f in found])
    held = ((low <= truth) & (truth <= high)).sum()
    return (
        f"{len(found)} pairs of model and attribute: rank correlation with the change when swapped {_rho(gap, truth)} "
        f"(prediction gap), {_rho(leading, truth)} (leading difference), {_rho(wsc, truth)} (largest |WSC|); mean "
        f"absolute difference of the gap {np.abs(gap - truth).mean():.3f}; interval holds it in {held}."
    )


def _rho(first: NDArray[np.float64], second: NDArray[np.float64]) -> str:
    return f"{spearmanr(first, second).statistic:.2f}"


def _range(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{sum(values) / len(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/benchmark"))
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 0.5, 0.9, 1])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--swap", nargs=3, metavar=("SEED", "PLANE", "SCANNER"), help="the annotation in some images")
    arguments = parser.parse_args()
    if arguments.swap:
        print(swap(int(arguments.swap[0]), *arguments.swap[1:]))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    keys = [(strength, seed) for seed in range(arguments.seeds) for strength in arguments.strengths]
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        audits = dict(zip(keys, pool.map(partial(run, arguments.folder), *zip(*keys, strict=True)), strict=True))
    print(table(audits))
    print(against_truth(audits.values()))


if __name__ == "__main__":
    main()
