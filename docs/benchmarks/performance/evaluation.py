# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One evaluation of all masking strategies and a counterfactual, against the bare forward passes of as many images.

    python docs/benchmarks/performance/evaluation.py

DenseNet-121, 224 x 224 pixels, batches of 16, five strategies and one counterfactual. The evaluation counts from the
start of the epoch to its end: data loader, MONAI's evaluator, proof of the head, masking, recording and pictures. The
audit that would follow is left out. The bare passes take the same batches, masked before, in turn with the evaluator.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.networks.nets import DenseNet121
from timing import markdown, seconds

from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.handlers.shortcut_audit import ROI_STRATEGIES
from monai_shortcut.handlers.tasks import ClinicalTask
from monai_shortcut.regions import mask_roi

BATCH, SIDE = 16, 224


@dataclass
class InTurn:
    """A handler that runs the bare passes of a batch after the evaluator has seen it, and measures both.

    Attributes:
        network: that both run.
        batches: what the evaluator shows the network of each batch.
        passes: seconds of the bare passes.
        evaluation: seconds of the rest of the epoch.
    """

    network: torch.nn.Module
    batches: list[list[torch.Tensor]]
    passes: float = 0.0
    evaluation: float = 0.0
    began: float = 0.0

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator, before other handlers."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._compare)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)

    def _start(self, engine: Engine) -> None:
        self.began = time.perf_counter()

    def _stop(self, engine: Engine) -> None:
        self.evaluation += time.perf_counter() - self.began

    def _compare(self, engine: Engine) -> None:
        self._stop(engine)
        shown = self.batches[engine.state.iteration - 1]
        with torch.no_grad():
            self.passes += seconds(lambda: [self.network(images) for images in shown])
        self._start(engine)


class WithoutAudit(ShortcutAudit):
    """The handler without what follows the evaluation."""

    def _finish(self, engine: Engine, tasks: Sequence[ClinicalTask]) -> dict[str, float]:
        return {}


def measure(repetitions: int = 3, images: int = 64) -> dict[str, float]:
    """Seconds of the evaluation over those of the forward passes.

    Args:
        repetitions: how often the evaluation runs.
        images: number N of images; each passes 7 times.

    Returns:
        "median", "min" and "max" of the ratio over the repetitions.
    """
    torch.manual_seed(0)
    network, items = DenseNet121(spatial_dims=2, in_channels=1, out_channels=2).eval(), _items(images)
    batches = _batches(items)
    with torch.no_grad():
        network(batches[0][0])  # warms up
    found = [_evaluated(network, items, InTurn(network, batches)) for _ in range(repetitions)]
    values = [clock.evaluation / clock.passes for clock in found]
    return {"median": median(values), "min": min(values), "max": max(values)}


def _items(images: int) -> list[dict[str, Any]]:
    """Noise with an ellipse of another size and place in each image, and the same image with a bright bar."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:SIDE, :SIDE]
    items = []
    for row in range(images):
        pixels = rng.normal(size=(1, SIDE, SIDE)).astype(np.float32)
        (cy, cx), (ry, rx) = rng.uniform(80, 144, size=2), rng.uniform(25, 60, size=2)
        region = (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1)[None].astype(np.uint8)
        barred = pixels.copy()
        barred[:, :10] += 1
        items.append({"image": pixels, "roi": region, "barred": barred, "image_id": f"image{row}"})
    return items


def _batches(items: list[dict[str, Any]]) -> list[list[torch.Tensor]]:
    """Own images, counterfactuals and images under each strategy, of each batch of the evaluation."""
    shown = [[torch.as_tensor(item[key]) for item in items] for key in ("image", "barred")]
    for strategy in ROI_STRATEGIES:
        pairs = zip(shown[0], items, strict=True)
        shown.append([mask_roi(image, torch.as_tensor(item["roi"]), strategy) for image, item in pairs])
    stacks = [torch.stack(images).split(BATCH) for images in shown]
    return [list(batches) for batches in zip(*stacks, strict=True)]


def _evaluated(network: torch.nn.Module, items: list[dict[str, Any]], clock: InTurn) -> InTurn:
    rows = range(len(items))
    table = pd.DataFrame({"image_id": [item["image_id"] for item in items], "patient_id": [row // 2 for row in rows]})
    table = table.assign(label=[row % 2 for row in rows], scanner=[("A", "B")[row // 2 % 2] for row in rows])
    keys = {"roi_key": "roi", "counterfactual_keys": {"scanner": "barred"}}
    with tempfile.TemporaryDirectory() as folder:
        handler = WithoutAudit(network, Cohort.from_table(table), folder, **keys)
        loader = DataLoader(Dataset(items), batch_size=BATCH)
        SupervisedEvaluator(torch.device("cpu"), loader, network, val_handlers=[clock, handler], decollate=False).run()
    print(f"  passes {clock.passes:.1f} s, evaluation {clock.evaluation:.1f} s", file=sys.stderr, flush=True)
    return clock


if __name__ == "__main__":
    ratio = measure()
    cells = [f"{ratio[name]:.2f}" for name in ("median", "min", "max")]
    print(markdown(["evaluation in one pass / forward passes", "median", "min", "max"], [["<= 1.1", *cells]]))
