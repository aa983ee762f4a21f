# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The layers of a network: by name, without wrappers, and in the order in which they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule

from monai_shortcut.heads.inputs import Inputs

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside DataParallel, DistributedDataParallel and torch.compile; its layer names have no prefix.

    Raises:
        ValueError: If it is TorchScript or an exported program, whose layers call no hooks.
    """
    while True:
        if isinstance(network, WRAPPERS):
            network = network.module
        elif isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):
            network = inner
        else:
            break
    inlined = isinstance(network, GraphModule) and not any(isinstance(layer, LAYERS) for layer in network.modules())
    if isinstance(network, torch.jit.ScriptModule) or not isinstance(network, nn.Module) or inlined:
        kind = "TorchScript" if isinstance(network, torch.jit.ScriptModule) else f"an exported {type(network).__name__}"
        raise ValueError(
            f"network must be a Python module whose layers call hooks, got {kind}. Build the network in Python and "
            "give it the weights of the archive: network.load_state_dict(torch.jit.load(path).state_dict())."
        )
    return network


def scripted_parts(network: nn.Module) -> list[str]:
    """Names of the parts of an unwrapped network that are TorchScript, whose layers call no hooks."""
    names: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and not name.startswith(tuple(f"{part}." for part in names)):
            names.append(name)
    return names


def is_pointwise(module: nn.Module) -> bool:
    """Whether the module is a Linear, or a convolution that treats each pixel alone: 1x1, ungrouped, unstrided."""
    if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return isinstance(module, nn.Linear)
    padding = (0,) if isinstance(module.padding, str) else module.padding
    return {*module.kernel_size, *module.stride} == {1} and set(padding) == {0} and module.groups == 1


def find_layer(network: nn.Module, layer: str) -> nn.Module:
    """The layer of an unwrapped network by its name, such as "class_layers.out".

    Raises:
        ValueError: If it is TorchScript, or there is none; the message then lists Linear layers and 1x1 convolutions.
    """
    try:
        module = network.get_submodule(layer)
    except AttributeError:
        names = [name for name, module in network.named_modules() if is_pointwise(module)]
        raise ValueError(f"layer must be one of the network's modules, such as {names[-5:]}, got {layer!r}.") from None
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(f"layer must be a Python module, which calls hooks, got {layer!r}, which is TorchScript.")
    return module


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; training flags and torch's random state are restored afterwards."""
    flags = {module: module.training for module in network.modules() if hasattr(module, "training")}  # not if frozen
    devices = {parameter.device.index for parameter in network.parameters() if parameter.device.type == "cuda"}
    try:
        network.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            yield
    finally:
        for module, training in flags.items():
            module.training = training


def run_order(network: nn.Module, images: torch.Tensor | Inputs) -> list[str]:
    """Names of an unwrapped network's innermost modules, but for TorchScript, in the order in which they run."""
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda module, inputs: order.append(name)

    with ExitStack() as hooks, evaluating(network):
        for name, module in network.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks
            if is_pointwise(module) or not any(True for _ in module.children()):  # a parametrized layer has children
                hooks.callback(module.register_forward_pre_hook(note(name)).remove)
        returned = Inputs.of(images).into(network)
    _require_answers(returned)
    return order


def _require_answers(returned: Any) -> None:
    """Refuse what is certain to be no answers for whole images: maps alone, or a dict of boxes for each image."""
    found = list(_tensors(returned))
    boxes = isinstance(returned, (list, tuple)) and bool(returned) and all(isinstance(one, dict) for one in returned)
    if boxes or (found and all(one.ndim > 2 and one.shape[2:].numel() > 1 for one in found)):
        shapes = ", ".join(str(tuple(one.shape)) for one in found[:3])
        raise ValueError(
            f"the network's logits must have shape (N, C), got {'boxes' if boxes else 'maps'} of shape {shapes}: the "
            "model is not a classifier. Segmentation and detection are not audited; an encoder is, by "
            "audit_classifier(..., fit_head=True)."
        )


def _tensors(returned: Any) -> Iterator[torch.Tensor]:
    if isinstance(returned, torch.Tensor):
        yield returned
    elif isinstance(returned, (Mapping, list, tuple)):
        for one in returned.values() if isinstance(returned, Mapping) else returned:
            yield from _tensors(one)
    elif is_dataclass(returned):
        yield from _tensors([getattr(returned, field.name) for field in fields(returned)])


def run_on_example(network: nn.Module, images: torch.Tensor | Inputs | None = None) -> tuple[Inputs, list[str]]:
    """A batch, by default two different random images of side 64, and the layers in their running order on it.

    Raises:
        ValueError: If there are no images, and the network has no layer to tell their shape or does not accept them.
    """
    if images is not None:
        return Inputs.of(images), run_order(network, images)
    first = next((module for module in network.modules() if isinstance(module, LAYERS)), None)
    if first is None:
        raise ValueError(
            f"the network must have a Linear or convolution layer, got {type(network).__name__} with none."
        )
    shape = (
        (first.in_features,) if isinstance(first, nn.Linear) else (first.in_channels, *[64] * len(first.kernel_size))
    )
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(first.weight)
    try:
        return Inputs(images), run_order(network, images)
    except Exception as error:
        raise ValueError(
            f"the network must accept a dummy batch of shape {tuple(images.shape)}, got {type(error).__name__}: "
            f"{str(error).rstrip('.')}; pass images= a batch the network accepts, of several inputs as "
            "heads.inputs.Inputs."
        ) from error
