# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation with every handler, on as many processes as there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.engines import SupervisedEvaluator
from monai.inferers import SimpleInferer
from monai.transforms import EnsureTyped

from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers import EmbeddingRecorder, MetadataProbe, ShortcutAudit, WeightSpaceCorrelation
from monai_shortcut.handlers.processes import process_count, process_rank
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.fetal_planes import draw_phantom

KEYS = ("image", "roi", "image_scanner", "image_annotation")
QUICK: dict[str, Any] = {"bootstraps": 9, "erasures": 2, "held_out": 0, "minimum_patients": 3}


class MixedOnCPU(SimpleInferer):
    """Half precision on the CPU, where MONAI's ``amp`` does nothing."""

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().__call__(inputs, network, *args, **kwargs)


class Fails(SonoNet):
    """A network that fails on the images of one process."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if process_rank() == 1:
            raise RuntimeError("out of memory, says process 1")
        return super().forward(images)


def small_network(kind: type[SonoNet] = SonoNet) -> SonoNet:
    torch.manual_seed(0)
    return kind(spatial_dims=2, in_channels=1, out_channels=4, width=4)


def all_handlers(network: torch.nn.Module, cohort: Cohort, folder: Path, settings: AuditSettings) -> list[Any]:
    """Those of the package, with everything they can record."""
    return [
        EmbeddingRecorder(network),
        MetadataProbe(network, cohort, output_dir=folder, settings=settings),
        WeightSpaceCorrelation(network, cohort, output_dir=folder, settings=settings),
        ShortcutAudit(
            network,
            cohort,
            folder,
            roi_key="roi",
            counterfactual_keys={"scanner": "image_scanner", "annotation": "image_annotation"},
            settings=settings,
        ),
    ]


def evaluate(
    folder: Path,
    network: torch.nn.Module,
    *,
    images: int = 47,
    shown: int | None = None,
    strength: float = 0.5,
    batch_size: int = 23,
    even: bool = False,
    attached: bool = True,
    device: str = "cpu",
    amp: bool = False,
    permutations: int = 9,
) -> tuple[SupervisedEvaluator, list[Any]]:
    """Run the evaluation; this process sees its share of the images.

    Args:
        folder: of the results.
        network: to audit.
        images: number of patients with one image each.
        shown: number of those images that are evaluated; by default all.
        strength: of the tie between scanner and plane.
        batch_size: of each process.
        even: whether images are repeated until all processes have equally many.
        attached: whether the handlers are attached in this process.
        device: of the network.
        amp: whether to use mixed precision.
        permutations: of the tests.
    """
    phantom = draw_phantom(images, strength, seed=3, images_per_patient=1, size=32)
    dataset = Dataset(phantom.datalist(["scanner", "annotation"])[:shown], EnsureTyped(KEYS))
    sampler: Any = None
    if shown is not None:  # MONAI's sampler refuses fewer images than processes
        sampler = range(process_rank(), shown, process_count())
    elif process_count() > 1:
        sampler = DistributedSampler(dataset, even_divisible=even, shuffle=False)
    settings = AuditSettings(permutations=permutations, **QUICK)
    handlers = all_handlers(network.to(device), phantom.cohort, folder, settings) if attached else []
    evaluator = SupervisedEvaluator(
        device=torch.device(device),
        val_data_loader=DataLoader(dataset, batch_size=batch_size, sampler=sampler, num_workers=0),
        network=network,
        val_handlers=handlers,
        inferer=MixedOnCPU() if amp and device == "cpu" else None,
        amp=amp and device != "cpu",
    )
    if process_count() > 1:
        dist.barrier()  # the handlers of some scripts do not wait long for each other
    evaluator.run()
    return evaluator, handlers


def keep(folder: Path, name: str, evaluator: SupervisedEvaluator, handlers: Sequence[Any]) -> None:
    """Write down what this process knows at the end."""
    recorder = handlers[0]
    np.save(folder / f"{name}_{process_rank()}.npy", recorder.embeddings)
    known = {"image_ids": recorder.image_ids, "metrics": evaluator.state.metrics}
    (folder / f"{name}_{process_rank()}.json").write_text(json.dumps(known))


def join() -> None:
    """Be one of the processes of torchrun."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
