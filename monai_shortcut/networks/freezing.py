# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Backbones that stay as they are while the rest of a network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import nn


def freeze_except(network: nn.Module, trainable: Sequence[str]) -> nn.Module:
    """Freeze a network but for some of its modules, in every respect.

    Frozen parameters get no gradient, and frozen modules run in evaluation mode even while the network trains: without
    that, their batch-norm statistics would follow the new images, and their dropout would go on. Names of parameters
    stay, so checkpoints fit networks that are not frozen.

    Args:
        network: changed in place.
        trainable: names of the modules to train, as ``network.named_modules()`` gives them, with all they contain.

    Returns:
        The network.

    Raises:
        ValueError: If there is no module of such a name.

    References:
        Sourget et al. (2025), Mask of truth, who train the last dense layer and the head of DenseNet-121.

    Example:
        >>> network = freeze_except(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)), ["1"]).train()
        >>> [parameter.requires_grad for parameter in network.parameters()]
        [False, False, True, True]
    """
    names = dict(network.named_modules())
    unknown = [name for name in trainable if name not in names or not name]
    if unknown:
        children = ", ".join(name for name, _ in network.named_children())
        raise ValueError(
            f"trainable must name modules of the network (children: {children}), got {', '.join(map(repr, unknown))}."
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(any(name.startswith(f"{chosen}.") for chosen in trainable))
    # The hook finds modules by name, so that a copied or unpickled network freezes its own.
    network.register_forward_pre_hook(partial(_hold, trainable=tuple(trainable)))
    return network


def _hold(network: nn.Module, _: Any, trainable: tuple[str, ...]) -> None:
    if not network.training:
        return
    for name, module in network.named_modules():
        if name and not any(_related(name, chosen) for chosen in trainable):
            module.training = False


def _related(name: str, chosen: str) -> bool:
    """Whether a module is, contains or lies within the chosen one."""
    return name == chosen or name.startswith(f"{chosen}.") or chosen.startswith(f"{name}.")
