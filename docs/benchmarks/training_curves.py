# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""When does a network start to use a planted shortcut? Trainings over seeds and strengths, as a table in Markdown.

Run from the root of the repository; finished trainings in the folder are kept, so the study can be stopped and resumed:

    python docs/benchmarks/training_curves.py --folder output/training_curves
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigWorkflow

from monai_shortcut.audit.training import TrainingCurves
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.files import png

ROOT = Path(__file__).parents[2]
CONFIGS = [
    str(ROOT / "bundles" / "planted_shortcut" / "configs" / f"{name}.json") for name in ("audit", "training_audit")
]


def run(folder: Path, strength: float, seed: int, epochs: int) -> TrainingCurves:
    """The curves of one training, or the record of it that is already there."""
    place = folder / f"strength_{strength:g}_seed_{seed}"
    record = place / "training" / "training_curves.json"
    kept = TrainingCurves.from_json(record) if record.exists() else None
    if kept is None or len(kept.epochs) < epochs or kept.rule != "differences":
        chosen = {"strength": strength, "seed": seed, "epochs": epochs, "output_dir": str(place)}
        workflow = ConfigWorkflow(
            config_file=CONFIGS, workflow_type="train", logging_file=False, run=["$@train#trainer.run()"], **chosen
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    return TrainingCurves.from_json(record)


def table(found: dict[tuple[float, int], TrainingCurves]) -> str:
    """Onsets and numbers at the first and last epoch, by strength and attribute."""
    lines = [
        "| strength | attribute | onset, by seed | cleared at the last | leading difference, first epoch | last "
        "| AUROC in label, first epoch | last |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strength in sorted({key[0] for key in found}):
        chosen = [curves for (value, _), curves in found.items() if value == strength]
        for name in chosen[0].attributes:
            onsets = [curves.onset(name) for curves in chosen]
            ends = [[curves.epochs[index].points[name] for curves in chosen] for index in (0, -1)]
            cells = [f"{strength:g}", name, ", ".join("-" if onset is None else str(onset.epoch) for onset in onsets)]
            cells.append(f"{sum(point.cleared for point in ends[1])} of {len(chosen)}")
            cells += [_range([point.moved.value for point in points if point.moved]) for points in ends]
            cells += [_range([point.own_auroc.value for point in points]) for points in ends]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def false_onsets(found: dict[tuple[float, int], TrainingCurves]) -> str:
    """How often an attribute that nothing ties to the label is said to be used."""
    pairs = [
        (curves, name)
        for (strength, _), curves in found.items()
        for name in curves.attributes
        if strength == 0 or name != "scanner"
    ]
    onsets = sum(curves.onset(name) is not None for curves, name in pairs)
    once = sum(any(curves.used(name)) for curves, name in pairs)
    cleared = sum(curves.epochs[-1].points[name].cleared for curves, name in pairs)
    return (
        f"{len(pairs)} pairs of training and attribute without a tie: {onsets} onsets; used at some epoch {once}; at "
        f"the last one {cleared} cleared, {len(pairs) - onsets - cleared} left open."
    )


def noticed(found: dict[tuple[float, int], TrainingCurves]) -> str:
    """The least use that the images would have shown at the last epoch, over attributes and labels."""
    least = [
        value
        for curves in found.values()
        for point in curves.epochs[-1].points.values()
        for value in point.noticed.values()
    ]
    return f"Least use noticed at the last epoch, in probability: {_range(least)}."


def cost(found: dict[tuple[float, int], TrainingCurves]) -> str:
    """What the audits cost, over all epochs but the first of a training."""
    costs = [epoch.cost for curves in found.values() for epoch in curves.epochs[1:] if epoch.cost is not None]
    audit, evaluation = (np.array([getattr(c, name) for c in costs]) for name in ("audit", "evaluation"))
    whole = np.array([c.epoch for c in costs])
    return (
        f"Median of {len(costs)} epochs: audit {np.median(audit):.2f} s ({np.median(audit / whole):.0%} of the epoch), "
        f"evaluation of its images {np.median(evaluation):.2f} s ({np.median(evaluation / whole):.0%}), epoch "
        f"{np.median(whole):.2f} s."
    )


def _range(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    """Train what is missing, then print the table and draw the figures of the first seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/training_curves"))
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 0.5, 1])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=Path, help="where the figures of seed 0 go, clean and biased")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keys = [(strength, seed) for seed in range(arguments.seeds) for strength in arguments.strengths]
    found = {key: run(arguments.folder, *key, arguments.epochs) for key in keys}
    print(table(found))
    print(false_onsets(found))
    print(noticed(found))
    print(cost(found))
    for strength, name in ((0.0, "clean"), (1.0, "biased")):
        if arguments.images and (strength, 0) in found:
            picture = png(training_curves(found[strength, 0]))
            (arguments.images / f"training_curves_{name}.png").write_bytes(picture)


if __name__ == "__main__":
    main()
