# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A classifier's head as one affine map from embeddings to logits, proved before it is given out."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_shortcut.embeddings import (
    LAYERS,
    embed,
    evaluating,
    find_layer,
    first_output,
    is_pointwise,
    plain,
    run_on_example,
    unwrap,
)

TOLERANCE = 1e-3  # of the largest logit; TensorFloat-32 convolutions are off by a few 1e-4
SATURATING = 10.0  # a logit at which tanh, sigmoid and softmax are plainly not affine


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The map logits = weight @ embedding + bias.

    Attributes:
        weight: (C, D) one direction per class, float32 or float64, without gradient.
        bias: (C,) of the same dtype.
        layer: name of the layer that reads the embedding or gives the map of logits; empty if from bare layers.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    layer: str = ""

    def __post_init__(self) -> None:
        shapes = tuple(self.weight.shape), tuple(self.bias.shape)
        if self.weight.ndim != 2 or shapes[1] != shapes[0][:1]:
            raise ValueError(f"weight and bias must have shapes (C, D) and (C,), got {shapes[0]} and {shapes[1]}.")
        dtypes = self.weight.dtype, self.bias.dtype
        if dtypes not in ((torch.float32,) * 2, (torch.float64,) * 2):
            raise ValueError(f"weight and bias must both be float32 or both float64, got {dtypes[0]} and {dtypes[1]}.")
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
    network: nn.Module, norm: nn.Module | None = None, *, images: torch.Tensor | None = None, layer: str | None = None
) -> LinearHead:
    """The head of a classifier, with a batch normalization after it folded in.

    A bare Linear or 1x1 convolution, alone or with the batch normalization that follows it, is folded as it is. Any
    other network runs a small batch in evaluation mode, and the head is returned only if it gives the network's
    logits, also when what it reads is reversed in sign and scaled to logits about 10. The network, its hooks and
    torch's random state are left as they were.

    Args:
        network: a classifier that returns logits (or a tuple that begins with them), or a bare layer.
        norm: the batch normalization after a bare layer.
        images: (N, ...) batch the network accepts, on its device; by default two random images of side 64.
        layer: name of the head, as "class_layers.out"; by default the last Linear or 1x1 convolution to run.

    Returns:
        The head, with C logits of D embedding coordinates.

    Raises:
        ValueError: If no such layer runs, it cannot be folded, or it alone does not give the logits, as in a ViT
            whose head ends in Tanh (in MONAI, build it with another `post_activation`).

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
        return _proved(network, images, order, layer)


def logit_map_head(network: nn.Module, *, images: torch.Tensor | None = None, layer: str | None = None) -> LinearHead:
    """The head of a classifier whose logits are the global average of a map of logits, the map being the embedding.

    The network runs a small batch, and the head is proved on it as by `linear_head`.

    Args:
        network: a classifier that returns logits (or a tuple that begins with them).
        images: (N, ...) batch the network accepts, on its device; by default two random images of side 64. The number
            of cells depends on their size, which all images must then have.
        layer: name of the layer whose output (N, C, ...) is the map; by default the last one to run that fits.

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
        layer = _map_layer(network, images, order) if layer is None else layer
        embeddings, logits = embed(network, images, layer, reads="logit_map")
        classes, (cells, rest) = logits.shape[1], divmod(embeddings.shape[1], logits.shape[1])
        if rest or cells < 2:
            raise ValueError(
                f"the output of layer {layer!r} must have more than one cell for each of the {classes} logits, "
                f"got {embeddings.shape[1]} numbers."
            )
        weight = torch.eye(classes).repeat_interleave(cells, dim=1).to(embeddings) / cells
        head = LinearHead(weight, torch.zeros_like(weight[:, 0]), layer)
        if (fault := _fault(head, network, images, "logit_map")) is not None:
            raise ValueError(f"the logits must be the average of the output of layer {layer!r}, got {fault}.")
    return head


def _map_layer(network: nn.Module, images: torch.Tensor, order: list[str]) -> str:
    """The last layer to run whose output, of more than one cell, has the logits as its average over space."""
    means: dict[str, torch.Tensor] = {}

    def note(name: str) -> Any:
        def average(module: nn.Module, inputs: Any, output: Any) -> None:
            means.pop(name, None)
            if isinstance(output, torch.Tensor) and output.ndim > 2 and output[0, 0].numel() > 1:
                means[name] = plain(output).flatten(2).mean(dim=2)

        return average

    names = list(dict.fromkeys(reversed(order)))
    with ExitStack() as hooks, evaluating(network):
        for name in names:
            hooks.callback(network.get_submodule(name).register_forward_hook(note(name)).remove)
        logits = first_output(network(images))
    for name in names:
        if name in means and means[name].shape == logits.shape:
            difference = float((means[name] - logits).abs().max())
            if difference <= _tolerance(network.get_submodule(name), network) * float(logits.abs().max()):
                return name
    raise ValueError(
        f"the network must average a map of logits of more than one cell, got none among {len(names)} layers that ran, "
        f"the last {names[4::-1]}; pass layer= the one whose output is the map, or take linear_head."
    )


def _tolerance(module: nn.Module, network: nn.Module) -> float:
    """Rounding, relative to the largest logit, that the weights' precision explains."""
    parameter = next(iter([*module.parameters(), *network.parameters()]), torch.zeros(()))
    return max(TOLERANCE, 16 * torch.finfo(parameter.dtype).eps)


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


def _proved(network: nn.Module, images: torch.Tensor, order: list[str], layer: str | None) -> LinearHead:
    modules = [network.get_submodule(name) for name in order]
    heads = list(dict.fromkeys(name for name in reversed(order) if is_pointwise(network.get_submodule(name))))
    if not heads:
        raise ValueError(f"the network must run a Linear or 1x1 convolution, got none in {len(order)} layers that ran.")
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
    if (fault := _fault(head, network, images)) is not None:
        raise ValueError(
            f"head(embedding) must equal the network's logits, got {fault} with layer {layer!r}, after which ran "
            f"{[type(other).__name__ for other in after[:5]]}; make the network return the logits of one head without "
            f"an activation, or pass layer= one of {heads[:5]}."
        )
    return head


def _fault(head: LinearHead, network: nn.Module, images: torch.Tensor, reads: str = "input") -> str | None:
    """How the head differs from the network's logits, with its embedding as it is, then reversed and scaled."""
    module = find_layer(network, head.layer)
    tolerance = _tolerance(module, network)
    embeddings, logits = embed(network, images, head.layer, reads=reads)
    if logits.shape[1] != len(head.bias):
        return f"{logits.shape[1]} logits and {len(head.bias)} outputs"
    reach = float((head(embeddings) - head.bias).abs().max())
    factor = -SATURATING / reach if reach > 0 else -1.0
    if reads == "input":
        scaling = module.register_forward_pre_hook(lambda _, inputs: tuple(value * factor for value in inputs))
    else:
        scaling = module.register_forward_hook(lambda _, inputs, output: output * factor)
    try:
        scaled_embeddings, scaled_logits = embed(network, images, head.layer, reads=reads)
    finally:
        scaling.remove()
    for computed, returned in ((head(embeddings), logits), (head(scaled_embeddings), scaled_logits)):
        difference, largest = float((computed - returned).abs().max()), float(returned.abs().max())
        if not difference <= tolerance * largest:
            return f"a difference of {difference:.3g} for logits up to {largest:.3g}"
    return None
