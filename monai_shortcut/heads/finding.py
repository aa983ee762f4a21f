# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which layer of a classifier is its head: found by running it, and proved."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_shortcut.heads.embeddings import embed, first_output, plain
from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.layers import (
    LAYERS,
    evaluating,
    find_layer,
    is_pointwise,
    run_on_example,
    scripted_parts,
    unwrap,
)
from monai_shortcut.heads.linear import ACTIVATIONS, LinearHead, folded
from monai_shortcut.heads.proof import HeadError, Tolerance, excess, prove


def linear_head(
    network: nn.Module,
    norm: nn.Module | None = None,
    *,
    images: torch.Tensor | Inputs | None = None,
    layer: str | None = None,
    output: str | int | None = None,
) -> LinearHead:
    """The head of a classifier, with the batch normalization after it folded in.

    A bare Linear or 1x1 convolution is folded as it is. Any other network runs a small batch in evaluation mode, on
    which `prove` compares head(embedding) with what the network returns. The network, its hooks and torch's random
    state stay as they are.

    Args:
        network: a classifier that returns logits or probabilities, or a bare layer.
        norm: the batch normalization after a bare layer.
        images: (N, ...) batch the network accepts, on its device, or `Inputs` of several; by default two random images
            of side 64.
        layer: name of the head, as "class_layers.out"; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as in `first_output`.

    Returns:
        The head of C logits and D embedding coordinates, and the activation that the network applies to the logits.

    Raises:
        ValueError: If no such layer runs, it cannot be folded, the network is TorchScript, or the layer alone does not
            give the logits. MONAI's ViT ends in Tanh by default: build it with another `post_activation`, or put
            torch.nn.Identity in its place.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> head = linear_head(network)
        >>> head.layer, head.weight.shape
        ('3', torch.Size([2, 4]))
    """
    network = unwrap(network)
    if isinstance(network, LAYERS) and images is None and layer is None:
        return LinearHead(*folded(network, norm))
    if norm is not None:
        raise ValueError(f"norm goes with a bare Linear or 1x1 convolution, got a {type(network).__name__}.")
    inputs, order = run_on_example(network, images)
    with torch.autocast(inputs.images.device.type, enabled=False):
        return _found(network, inputs, order, layer, output)


def logit_map_head(
    network: nn.Module,
    *,
    images: torch.Tensor | Inputs | None = None,
    layer: str | None = None,
    output: str | int | None = None,
) -> LinearHead:
    """The head of a classifier whose logits are the global average of a map of logits. The embedding is the map.

    The network runs a small batch, on which the head is proved as by `linear_head`.

    Args:
        network: a classifier that returns logits or probabilities.
        images: (N, ...) batch the network accepts, on its device, or `Inputs` of several; by default two random images
            of side 64. The number
            of cells depends on their size, which all images must then have.
        layer: name of the layer whose output (N, C, ...) is the map; by default the last one to run that fits.
        output: entry of what the network returns that holds the logits, as in `first_output`.

    Returns:
        The head of the flattened map: weight (C, C * cells), in row c 1 / cells on the cells of class c and 0
        elsewhere, and bias 0. `EmbeddingHook` records its embedding with ``reads="logit_map"``.

    Raises:
        ValueError: If the logits are not the average of such a map of more than one cell.

    References:
        Wong et al. (2026), Weight Space Correlation Analysis, PMLR 315: the embedding of SA-SonoNet.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 3, 9, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> logit_map_head(network).weight.shape
        torch.Size([3, 147])
    """
    network = unwrap(network)
    inputs, order = run_on_example(network, images)
    with torch.autocast(inputs.images.device.type, enabled=False):
        layer = _map_layer(network, inputs, order, output) if layer is None else layer
        embeddings, logits = embed(network, inputs, layer, reads="logit_map", output=output)
        classes, (cells, rest) = logits.shape[1], divmod(embeddings.shape[1], logits.shape[1])
        if rest or cells < 2:
            raise ValueError(
                f"the output of layer {layer!r} must have more than one cell for each of the {classes} logits, "
                f"got {embeddings.shape[1]} numbers."
            )
        weight = torch.eye(classes).repeat_interleave(cells, dim=1).to(embeddings) / cells
        head = LinearHead(weight, torch.zeros_like(weight[:, 0]), layer)
        try:
            return prove(head, network, inputs, "logit_map", output)
        except HeadError as found:
            raise ValueError(f"the logits must be the average of the output of layer {layer!r}, got {found}.") from None


def _found(
    network: nn.Module, images: Inputs, order: list[str], layer: str | None, output: str | int | None
) -> LinearHead:
    """The proved head of an unwrapped network, whose modules ran in this order."""
    modules = [network.get_submodule(name) for name in order]
    heads = list(dict.fromkeys(name for name in reversed(order) if is_pointwise(network.get_submodule(name))))
    hidden = f" (the layers of {parts}, TorchScript, call no hooks)" if (parts := scripted_parts(network)) else ""
    if not heads:
        raise ValueError(
            f"the network must run a Linear or 1x1 convolution, got none in {len(order)} layers that ran{hidden}."
        )
    layer = heads[0] if layer is None else layer
    module = find_layer(network, layer)
    places = [place for place, other in enumerate(modules) if other is module]
    if not places:
        raise ValueError(f"layer must be an innermost layer that runs, as one of {heads[:5]}, got {layer!r}.")
    after = modules[places[-1] + 1 :]
    try:
        return prove(_folded_head(layer, module, after), network, images, output=output)
    except HeadError as found:
        classes = embed(network, images, layer, output=output)[1].shape[1]
        heads.sort(key=lambda name: len(folded(network.get_submodule(name))[1]) != classes)
        raise ValueError(
            f"head(embedding) must equal the network's logits, got {found} with layer {layer!r}, after which ran "
            f"{[type(other).__name__ for other in after[:5]]}{hidden}; make the network return the logits of one head "
            "without an activation other than sigmoid and softmax (torch.nn.Identity in its place), or pass layer= one "
            f"of {heads[:5]}, or output= the entry of its logits. An encoder without a head is none of these: "
            "audit_classifier(..., fit_head=True) fits one."
        ) from None


def _folded_head(layer: str, module: nn.Module, after: Sequence[nn.Module]) -> LinearHead:
    """The head, with the next batch normalization that ran if it has as many channels."""
    head = LinearHead(*folded(module), layer=layer)
    norm = next((other for other in after if isinstance(other, _BatchNorm)), None)
    fits = norm is not None and norm.num_features == len(head.bias)
    return LinearHead(*folded(module, norm), layer=layer) if fits else head


def _map_layer(network: nn.Module, images: Inputs, order: list[str], output: str | int | None) -> str:
    """The last layer to run whose output, of more than one cell, has the logits as its average over space."""
    means: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        def average(module: nn.Module, inputs: Any, values: Any) -> None:
            means.pop(name, None)
            if isinstance(values, torch.Tensor) and values.ndim > 2 and values[0, 0].numel() > 1:
                means[name] = plain(values).flatten(2).mean(dim=2)

        return average

    names = list(dict.fromkeys(reversed(order)))
    with ExitStack() as hooks, evaluating(network):
        for name in names:
            hooks.callback(network.get_submodule(name).register_forward_hook(note(name)).remove)
        logits = first_output(images.into(network), output)
    for name in names:
        if name in means and means[name].shape == logits.shape:
            tolerance = Tolerance.of(network.get_submodule(name), network)
            if any(excess(activation, means[name], logits, tolerance) <= 0 for activation in ACTIVATIONS):
                return name
    raise ValueError(
        f"the network must average a map of logits of more than one cell, got none among {len(names)} layers that ran, "
        f"the last {names[4::-1]}; pass layer= the one whose output is the map, or take linear_head."
    )
