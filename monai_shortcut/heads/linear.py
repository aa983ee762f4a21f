# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A classifier's head as one affine map from embeddings to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_shortcut.heads.layers import LAYERS, is_pointwise

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {"": lambda logits: logits, "sigmoid": torch.sigmoid, "softmax": lambda logits: logits.softmax(dim=1)}
)


@dataclass(frozen=True, eq=False)
class LinearHead:
    """The map logits = weight @ embedding + bias.

    Attributes:
        weight: (C, D) one direction per class, float32 or float64, without gradient.
        bias: (C,) of the same dtype.
        layer: name of the layer that reads the embedding or gives the map of logits; empty for a bare layer.
        activation: "sigmoid" or "softmax" if the network applies it to the logits, else empty.

    Raises:
        ValueError: If shapes or dtypes of weight and bias disagree, or the activation is unknown.
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


def folded(layer: nn.Module, norm: nn.Module | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a layer with the batch normalization after it: scale * (W x + b - mean) + shift.

    Args:
        layer: a Linear or 1x1 convolution of D inputs and C outputs.
        norm: a batch normalization of C channels in evaluation mode.

    Returns:
        (C, D) weight and (C,) bias, copies without gradient: float64 if the layer is so, else float32.

    Raises:
        ValueError: If the layer treats a pixel together with others, or the norm is of another kind or size.
    """
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
