# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""SonoNets on phantoms and on breast ultrasound, post-hoc and multi-task, with the truth about each attribute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from cases import Case, answers, moved, seed_of
from monai.utils import set_determinism

from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.networks import MultiTaskClassifier, MultiTaskLoss, SonoNet
from monai_shortcut.phantom.fetal_planes import draw_phantom

STRENGTHS = (0.0, 0.5, 0.8, 0.9, 0.98)
VISIBILITIES = (1.0, 0.5)  # of the anatomy, by turns over the seeds: the fainter it is, the sooner a shortcut pays


def train(
    images: torch.Tensor,
    labels: np.ndarray,
    attributes: Mapping[str, np.ndarray],
    *,
    multi_task: bool,
    seed: int,
    epochs: int,
    width: int = 8,
    flips: bool = False,
    make: Callable[[int], torch.nn.Module] | None = None,
) -> torch.nn.Module:
    """Train a SonoNet on images (N, 1, H, W); attributes are codes, learned beside the label by a multi-task model.

    `make` gives another network for a number of classes. It is trained where the images are.
    """
    set_determinism(seed)
    classes = int(labels.max()) + 1
    network = (make(classes) if make else SonoNet(2, 1, classes, width)).to(images.device)
    targets = torch.tensor(np.stack([labels, *attributes.values()], axis=1), device=images.device)
    if multi_task:
        levels = {name: int(codes.max()) + 1 for name, codes in attributes.items()}
        network = MultiTaskClassifier(network, levels, images[:2])
    loss, optimizer = MultiTaskLoss(), torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(images), generator=order).split(32):
            if len(batch) < 2:
                continue
            shown = images[batch]
            if flips and torch.rand((), generator=order) < 0.5:
                shown = shown.flip(-1)
            error = loss(network(shown), targets[batch] if multi_task else targets[batch, 0])
            optimizer.zero_grad()
            error.backward()
            optimizer.step()
        schedule.step()
    return network.eval()


def embeddings_of(network: torch.nn.Module, images: torch.Tensor, layer: str) -> np.ndarray:
    """(N, D) float64."""
    return torch.cat([embed(network, block, layer)[0].cpu() for block in images.split(100)]).numpy().astype(np.float64)


def heads_of(network: torch.nn.Module) -> dict[str, np.ndarray]:
    """Heads of a multi-task model by attribute, none of another."""
    if not isinstance(network, MultiTaskClassifier):
        return {}
    return {name: weight.numpy().astype(np.float64) for name, weight in network.attribute_weights().items()}


def stacked(items: Sequence[Mapping[str, Any]], key: str) -> torch.Tensor:
    """Images of a datalist (N, 1, H, W)."""
    return torch.tensor(np.stack([np.asarray(item[key]) for item in items]))


def codes_of(values: np.ndarray) -> np.ndarray:
    """Codes of an attribute's values."""
    return np.asarray(np.unique(np.asarray(values).astype(str), return_inverse=True)[1])


def phantom_cases(strength: float, seed: int, multi_task: bool) -> dict[str, Case]:
    """A model trained with the scanner tied to the plane, audited with and without that tie."""
    visibility = VISIBILITIES[seed % len(VISIBILITIES)]
    start = seed_of("phantom", strength, seed)
    names = ("scanner", "annotation", "operator")
    training = draw_phantom(300, strength, start, visibility=visibility)
    network = train(
        stacked(training.datalist(), "image"),
        training.cohort.labels,
        {name: codes_of(training.cohort.values(name)) for name in names},
        multi_task=multi_task,
        seed=seed,
        epochs=8,
    )
    cases = {}
    for evaluated, tie in (("balanced", 0.0), ("biased", strength)):
        drawn = draw_phantom(600, tie, start + 1 + (evaluated == "biased"), visibility=visibility, name=evaluated)
        items = drawn.datalist(["scanner", "annotation"])
        images = stacked(items, "image")
        head = linear_head(network, images=images[:2])
        case = Case(
            embeddings=embeddings_of(network, images, head.layer),
            weight=head.weight.numpy().astype(np.float64),
            bias=head.bias.numpy().astype(np.float64),
            labels=drawn.cohort.labels,
            patients=drawn.cohort.patients,
            attributes={name: drawn.cohort.values(name) for name in names},
            truth={"operator": 0.0},
            heads=heads_of(network),
            tags={
                "part": "phantoms",
                "strength": strength,
                "seed": seed,
                "visibility": visibility,
                "model": "multi-task" if multi_task else "post-hoc",
                "evaluated": evaluated,
            },
        )
        before = answers(case)
        case.tags["accuracy"] = float((before.argmax(axis=1) == case.labels).mean())
        for name in ("scanner", "annotation"):
            swapped = embeddings_of(network, stacked(items, f"image_{name}"), head.layer)
            case.truth[name] = moved(before, answers(case, swapped))
        cases[evaluated] = case
    return cases
