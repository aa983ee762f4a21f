# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A training of seconds with everything that is random in one: order, augmentation, dropout and batch norm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.networks.nets import DenseNet
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, RandRotate90d
from torch import nn

from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.handlers import TrainingAudit
from monai_shortcut.phantom.fetal_planes import Phantom, draw_phantom

SETTINGS = AuditSettings(permutations=19, bootstraps=19, minimum_patients=2, repeats=1)


class Training(NamedTuple):
    """A trainer with what its checkpoints hold."""

    trainer: SupervisedTrainer
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any

    @property
    def checkpoint(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("network", "optimizer", "scheduler", "trainer")}


def draw(name: str, strength: float, patients: int = 24) -> Phantom:
    return draw_phantom(patients, strength, seed=len(name), images_per_patient=2, size=32, name=name)


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return DenseNet(2, 1, 4, init_features=4, growth_rate=2, block_config=(2, 2), dropout_prob=0.2)


def audit_of(network: nn.Module, phantom: Phantom, folder: Path, **arguments: Any) -> TrainingAudit:
    arguments = {"attributes": ["scanner"], "settings": SETTINGS} | arguments
    return TrainingAudit(network, phantom.cohort, folder, **arguments)


def evaluator(network: nn.Module, items: Sequence[Any], handlers: Sequence[Any]) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=24),
        network=network,
        val_handlers=list(handlers),
    )


def training(
    items: Sequence[Any],
    epochs: int,
    *,
    network: nn.Module | None = None,
    validator: SupervisedEvaluator | None = None,
    handlers: Sequence[Any] = (),
    workers: int = 0,
    **loading: Any,
) -> Training:
    """A new training, whose network, optimizer, scheduler, transforms and data loader are new too."""
    network = network or small_network()
    augment = Compose(
        [
            RandFlipd("image", prob=0.5, spatial_axis=0),
            RandRotate90d("image", prob=0.5),
            RandGaussianNoised("image", prob=0.8, std=0.1),
        ]
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.003)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.7)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=DataLoader(
            Dataset(items, augment), batch_size=16, shuffle=True, num_workers=workers, **loading
        ),
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[
            LrScheduleHandler(scheduler, print_lr=False),
            *([ValidationHandler(1, validator)] if validator else []),
            *handlers,
        ],
    )
    return Training(trainer, network, optimizer, scheduler)


def equal(first: Any, second: Any) -> bool:
    """Whether two states hold the same, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(equal, first, second))
    return bool(first == second)
