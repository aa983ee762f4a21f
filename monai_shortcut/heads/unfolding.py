# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A network with another head in place of its own, its layers as they were."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.layers import find_layer, unwrap
from monai_shortcut.heads.linear import LinearHead, folded
from monai_shortcut.heads.proof import HeadError, prove


def with_head(
    network: nn.Module,
    old: LinearHead,
    new: LinearHead,
    images: torch.Tensor | Inputs,
    output: str | int | None = None,
) -> nn.Module:
    """A copy of a classifier whose head is another one, in the layers that hold it now.

    A batch normalization that is folded into the head stays as it is, but for the shift where the layer before it has
    no bias. The copy runs the images, on which `prove` compares head(embedding) with what it returns.

    Args:
        network: the classifier.
        old: its head, as `linear_head` finds it.
        new: the head that it gets, with weight and bias of the same shapes.
        images: (N, ...) batch the network accepts, on its device, or `Inputs` of several.
        output: entry of what the network returns that holds the logits, as in `linear_head`.

    Returns:
        The copy, with the names and shapes of all parameters as they were.

    Raises:
        ValueError: If the shapes differ, no layer holds the head, or it has no place for the bias.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> old = LinearHead(*folded(network[1]), layer="1")
        >>> changed = with_head(network, old, LinearHead(2 * old.weight, -old.bias, "1"), torch.eye(4))
        >>> torch.equal(changed[1].weight, 2 * network[1].weight)
        True
    """
    shapes = tuple(new.weight.shape), tuple(old.weight.shape)
    if shapes[0] != shapes[1]:
        raise ValueError(f"the new head must have the shape of the old one, got {shapes[0]} and {shapes[1]}.")
    changed = copy.deepcopy(unwrap(network))
    layer = find_layer(changed, old.layer) if old.layer else changed
    norms = [module for module in changed.modules() if isinstance(module, _BatchNorm)]
    norm = next((one for one in (None, *norms) if _holds(layer, one, old)), False)
    if norm is False:
        raise ValueError(
            f"the layer {old.layer!r} must hold the head, alone or with a batch normalization, got another."
        )
    with torch.no_grad():
        _put(layer, norm, new)  # type: ignore[arg-type]
    given = Inputs.of(images)
    try:
        with torch.autocast(given.images.device.type, enabled=False):
            prove(LinearHead(new.weight, new.bias, old.layer), changed, given, output=output)
    except HeadError as found:
        raise ValueError(f"the repaired network must give the logits of the repaired head, got {found}.") from None
    return changed


def _holds(layer: nn.Module, norm: nn.Module | None, head: LinearHead) -> bool:
    try:
        weight, bias = folded(layer, norm)
    except ValueError:  # of another kind or size
        return False
    known = head.weight.to(weight), head.bias.to(weight)
    return torch.allclose(weight, known[0], rtol=1e-5) and torch.allclose(bias, known[1], rtol=1e-4, atol=1e-6)


def _put(layer: Any, norm: _BatchNorm | None, head: LinearHead) -> None:
    """Write the head into its layer, and what bias that has no place for into the normalization."""
    weight, bias = head.weight.double(), head.bias.double()
    own, shift = layer.weight, layer.bias  # `folded` has seen a Linear or a convolution
    if norm is not None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var.double() + norm.eps)
        scale = scale * norm.weight.double() if norm.affine else scale
        weight = weight / scale[:, None]
        if shift is None and norm.affine:
            norm.bias.copy_(bias + norm.running_mean.double() * scale)
        elif shift is None:
            norm.running_mean.copy_(-bias / scale)
        else:
            bias = (bias - (norm.bias.double() if norm.affine else 0.0)) / scale + norm.running_mean.double()
    elif shift is None and bias.abs().max() > 0:
        raise ValueError(f"the head must have a bias for the repaired one to be put there, got {layer} without.")
    own.copy_(weight.reshape(own.shape))
    if shift is not None:
        shift.copy_(bias)
