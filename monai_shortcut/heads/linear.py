# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A classifier's head as one affine map from embeddings to logits, proved before it is given out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from monai_shortcut.heads.embeddings import embed, first_output, plain
from monai_shortcut.heads.layers import (
    LAYERS,
    evaluating,
    find_layer,
    is_pointwise,
    run_on_example,
    scripted_parts,
    unwrap,
)

TOLERANCE = 1e-3  # of the largest logit; TensorFloat-32 convolutions are off by a few 1e-4
SATURATING = 10.0  # a logit at which tanh, sigmoid and softmax are plainly not affine, nor the same
ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"": lambda logits: logits, "sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(dim=1)}
)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The map logits = weight @ embedding + bias.

    Attributes:
        weight: (C, D) one direction per class, float32 or float64, without gradient.
        bias: (C,) of the same dtype.
        layer: name of the layer that reads the embedding or gives the map of logits; empty if from bare layers.
        activation: "sigmoid" or "softmax" where that is what the network returns of the logits, else empty.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    layer: str = ""
    activation: str = ""

    def __post_init__(self) -> None:
        shapes = tuple(self.weight.shape), tuple(self.bias.shape)
        if self.weight.ndim != 2 or shapes[1] != shapes[0][:1]:
            raise ValueError(f"weight and bias must have shapes (C, D) and (C,), got {shapes[0]} and {shapes[1]}.")
        dtypes = self.weight.dtype, self.bias.dtype
        if dtypes not in ((torch.float32,) * 2, (torch.float64,) * 2):
            raise ValueError(f"weight and bias must both be float32 or both float64, got {dtypes[0]} and {dtypes[1]}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, got {self.activation!r}.")
        object.__setattr__(self, "weight", self.weight.detach())
        object.__setattr__(self, "bias", self.bias.detach())

    def __call__(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(N, C) logits of (N, D) embeddings, on the weight's device and in its dtype.

        Raises:
            ValueError: If the embeddings have another shape.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.weight.shape[1]:
            raise ValueError(f"embeddings must have shape (N, {self.weight.shape[1]}), got {tuple(embeddings.shape)}.")
        return embeddings.to(self.weight) @ self.weight.T + self.bias


def linear_head(
    network: nn.Module,
    norm: nn.Module | None = None,
    *,
    images: torch.Tensor | None = None,
    layer: str | None = None,
    output: str | int | None = None,
) -> LinearHead:
    """The head of a classifier, with a batch normalization after it folded in.

    A bare Linear or 1x1 convolution, alone or with the batch normalization that follows it, is folded as it is. Any
    other network runs a small batch in evaluation mode, and the head is returned only if what the network returns are
    its logits, or their sigmoid or softmax, also when what it reads is scaled to logits beyond 10 of both signs. The
    network, its hooks and torch's random state are left as they were.

    Args:
        network: a classifier that returns logits or probabilities, or a bare layer.
        norm: the batch normalization after a bare layer.
        images: (N, ...) batch the network accepts, on its device; by default two random images of side 64.
        layer: name of the head, as "class_layers.out"; by default the last Linear or 1x1 convolution to run.
        output: entry of what the network returns that holds the logits, as in `first_output`.

    Returns:
        The head, with C logits of D embedding coordinates, and the activation that the network applies to them.

    Raises:
        ValueError: If no such layer runs, it cannot be folded, or it alone does not give the logits, as in a ViT
            whose head ends in Tanh (in MONAI, build it with another `post_activation`, or put torch.nn.Identity in its
            place), or the network is TorchScript.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> head = linear_head(network)
        >>> head.layer, head.weight.shape
        ('3', torch.Size([2, 4]))
    """
    network = unwrap(network)
    if isinstance(network, LAYERS) and images is None and layer is None:
        return LinearHead(*_folded(network, norm))
    if norm is not None:
        raise ValueError(f"norm goes with a bare Linear or 1x1 convolution, got a {type(network).__name__}.")
    images, order = run_on_example(network, images)
    with torch.autocast(images.device.type, enabled=False):
        return _proved(network, images, order, layer, output)


def logit_map_head(
    network: nn.Module,
    *,
    images: torch.Tensor | None = None,
    layer: str | None = None,
    output: str | int | None = None,
) -> LinearHead:
    """The head of a classifier whose logits are the global average of a map of logits, the map being the embedding.

    The network runs a small batch, and the head is proved on it as by `linear_head`.

    Args:
        network: a classifier that returns logits or probabilities.
        images: (N, ...) batch the network accepts, on its device; by default two random images of side 64. The number
            of cells depends on their size, which all images must then have.
        layer: name of the layer whose output (N, C, ...) is the map; by default the last one to run that fits.
        output: entry of what the network returns that holds the logits, as in `first_output`.

    Returns:
        The head of the flattened map: weight (C, C * cells), row c one over the number of cells on the cells of class c
        and 0 elsewhere, and bias 0. `EmbeddingHook` records its embedding with ``reads="logit_map"``.

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
    images, order = run_on_example(network, images)
    with torch.autocast(images.device.type, enabled=False):
        layer = _map_layer(network, images, order, output) if layer is None else layer
        embeddings, logits = embed(network, images, layer, reads="logit_map", output=output)
        classes, (cells, rest) = logits.shape[1], divmod(embeddings.shape[1], logits.shape[1])
        if rest or cells < 2:
            raise ValueError(
                f"the output of layer {layer!r} must have more than one cell for each of the {classes} logits, "
                f"got {embeddings.shape[1]} numbers."
            )
        weight = torch.eye(classes).repeat_interleave(cells, dim=1).to(embeddings) / cells
        head = LinearHead(weight, torch.zeros_like(weight[:, 0]), layer)
        activation, fault = _activation(head, network, images, "logit_map", output)
        if activation is None:
            raise ValueError(f"the logits must be the average of the output of layer {layer!r}, got {fault}.")
    return replace(head, activation=activation)


def _map_layer(network: nn.Module, images: torch.Tensor, order: list[str], output: str | int | None) -> str:
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
        logits = first_output(network(images), output)
    for name in names:
        if name in means and means[name].shape == logits.shape:
            tolerance = _tolerance(network.get_submodule(name), network)
            if any(_excess(activation, means[name], logits, tolerance) <= 0 for activation in ACTIVATIONS):
                return name
    raise ValueError(
        f"the network must average a map of logits of more than one cell, got none among {len(names)} layers that ran, "
        f"the last {names[4::-1]}; pass layer= the one whose output is the map, or take linear_head."
    )


def _tolerance(module: nn.Module, network: nn.Module) -> tuple[float, float]:
    """Rounding that the weights' precision explains: relative to the largest logit, and of a probability."""
    parameter = next(iter([*module.parameters(), *network.parameters()]), torch.zeros(()))
    rounding = 16 * max(torch.finfo(parameter.dtype).eps, torch.finfo(torch.float32).eps)
    return max(TOLERANCE, rounding), rounding


def _excess(activation: str, logits: torch.Tensor, returned: torch.Tensor, tolerance: tuple[float, float]) -> float:
    """By how much what the network returned differs from an activation of the logits beyond rounding; NaN is infinite.

    Logits may be off by a share of the largest one, and probabilities p by what such logits change them, about
    p (1 - p) times that: a sharp bound also near 0 and 1, where functions that are merely similar differ.
    """
    if activation == "softmax" and logits.shape[1] < 2:
        return math.inf  # constant, so it would show nothing
    logits, returned = logits.double(), returned.double()
    expected = ACTIVATIONS[activation](logits)
    slack = tolerance[0] * logits.abs().max()
    allowed = 2 * expected * (1 - expected) * slack + tolerance[1] if activation else slack
    return float(((returned - expected).abs() - allowed).max().nan_to_num(math.inf))


def _folded(layer: nn.Module, norm: nn.Module | None) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(layer, LAYERS) or not is_pointwise(layer):
        raise ValueError(
            "the head must be a Linear or a 1x1 convolution with groups=1, stride=1 and padding=0, "
            f"got {layer}; pass layer= another one."
        )
    dtype = torch.float64 if layer.weight.dtype == torch.float64 else torch.float32
    weight = layer.weight.detach().to(dtype, copy=True).flatten(1)
    bias = torch.zeros_like(weight[:, 0]) if layer.bias is None else layer.bias.detach().to(dtype, copy=True)
    if norm is None:
        return weight, bias
    if not isinstance(norm, _BatchNorm) or norm.running_mean is None or norm.running_var is None:
        raise ValueError(f"norm must be a batch normalization with running statistics, got {norm}.")
    if norm.num_features != len(bias):
        raise ValueError(f"norm must have the layer's {len(bias)} channels, got {norm.num_features}.")
    scale = torch.rsqrt(norm.running_var.to(dtype) + norm.eps)
    scale = scale * norm.weight.detach().to(dtype) if norm.affine else scale
    shift = norm.bias.detach().to(dtype) if norm.affine else torch.zeros_like(bias)
    return scale[:, None] * weight, shift + (bias - norm.running_mean.to(dtype)) * scale


def _proved(
    network: nn.Module, images: torch.Tensor, order: list[str], layer: str | None, output: str | int | None
) -> LinearHead:
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
    norm = next((other for other in after if isinstance(other, _BatchNorm)), None)
    head = LinearHead(*_folded(module, None), layer=layer)
    if norm is not None and norm.num_features == len(head.bias):
        head = LinearHead(*_folded(module, norm), layer=layer)
    activation, fault = _activation(head, network, images, "input", output)
    if activation is None:
        classes = embed(network, images, layer, output=output)[1].shape[1]
        heads.sort(key=lambda name: len(_folded(network.get_submodule(name), None)[1]) != classes)
        raise ValueError(
            f"head(embedding) must equal the network's logits, got {fault} with layer {layer!r}, after which ran "
            f"{[type(other).__name__ for other in after[:5]]}{hidden}; make the network return the logits of one head "
            "without an activation other than sigmoid and softmax (torch.nn.Identity in its place), or pass layer= one "
            f"of {heads[:5]}, or output= the entry of its logits."
        )
    return replace(head, activation=activation)


def _activation(
    head: LinearHead, network: nn.Module, images: torch.Tensor, reads: str, output: str | int | None
) -> tuple[str | None, str]:
    """What the network returns of the head's logits, or None and how it differs from them.

    The embedding is as it is, then scaled to either sign until some logit passes from below -10 to above 10.
    """
    module = find_layer(network, head.layer)
    embeddings, returned = embed(network, images, head.layer, reads=reads, output=output)
    if returned.shape[1] != len(head.bias):
        return None, f"{returned.shape[1]} logits and {len(head.bias)} outputs"
    reach = float((head(embeddings) - head.bias).abs().max())
    factor = (SATURATING + float(head.bias.abs().max())) / reach if reach > 0 else 1.0
    pairs = [(head(embeddings), returned)]
    for scale in (-factor, factor):
        with _scaled(module, reads, scale):
            embeddings, returned = embed(network, images, head.layer, reads=reads, output=output)
        pairs.append((head(embeddings), returned))
    tolerance = _tolerance(module, network)
    for activation in ACTIVATIONS:
        if all(_excess(activation, *pair, tolerance) <= 0 for pair in pairs):
            return activation, ""
    logits, returned = next(pair for pair in pairs if not _excess("", *pair, tolerance) <= 0)
    difference = float((logits - returned).abs().max())
    return None, f"a difference of {difference:.3g} for logits up to {float(logits.abs().max()):.3g}"


def _scaled(module: nn.Module, reads: str, factor: float) -> RemovableHandle:
    """A context within which what the layer reads, or the map that it gives, is multiplied."""

    def scale_inputs(_: nn.Module, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return tuple(value * factor for value in values), {name: value * factor for name, value in named.items()}

    if reads == "input":
        return module.register_forward_pre_hook(scale_inputs, with_kwargs=True)
    return module.register_forward_hook(lambda _, inputs, values: values * factor)
