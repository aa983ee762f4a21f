# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The proof that a head, applied to the embedding, gives the network's logits."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from monai_shortcut.heads.embeddings import embed
from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.layers import find_layer
from monai_shortcut.heads.linear import ACTIVATIONS, LinearHead

TOLERANCE = 1e-3  # of the largest logit; TensorFloat-32 convolutions are off by a few 1e-4
SATURATING = 10.0  # a logit at which tanh, sigmoid and softmax are plainly not affine, nor the same


class HeadError(ValueError):
    """The head does not give what the network returns; the message says how the two differ."""


class Tolerance(NamedTuple):
    """Rounding that the precision of the weights explains.

    Attributes:
        logit: share of the largest logit.
        probability: absolute error of a probability.
    """

    logit: float
    probability: float

    @classmethod
    def of(cls, module: nn.Module, network: nn.Module) -> Tolerance:
        """The tolerance for a module, from its own weights or else those of its network."""
        parameter = next(iter([*module.parameters(), *network.parameters()]), torch.zeros(()))
        rounding = 16 * max(torch.finfo(parameter.dtype).eps, torch.finfo(torch.float32).eps)
        return cls(max(TOLERANCE, rounding), rounding)


def prove(
    head: LinearHead,
    network: nn.Module,
    images: torch.Tensor | Inputs,
    reads: str = "input",
    output: str | int | None = None,
) -> LinearHead:
    """The head, with the activation that the network applies to its logits.

    The network runs the images three times: with the embedding as it is, and with the embedding scaled to either sign,
    until some logit passes from below -10 to above 10. Each time the head's logits or an activation of them must equal
    what the network returns.

    Args:
        head: the head to prove, with the name of its layer.
        network: an unwrapped classifier.
        images: (N, ...) batch on the network's device, or `Inputs` of several.
        reads: where the embedding is, as for `EmbeddingHook`.
        output: entry of what the network returns that holds the logits, as in `first_output`.

    Raises:
        HeadError: If no activation gives what the network returns.
    """
    module = find_layer(network, head.layer)
    embeddings, returned = embed(network, images, head.layer, reads=reads, output=output)
    if returned.shape[1] != len(head.bias):
        raise HeadError(f"{returned.shape[1]} logits and {len(head.bias)} outputs")
    reach = float((head(embeddings) - head.bias).abs().max())
    factor = (SATURATING + float(head.bias.abs().max())) / reach if reach > 0 else 1.0
    pairs = [(head(embeddings), returned)]
    for scale in (-factor, factor):
        with _scaled(module, reads, scale):
            embeddings, returned = embed(network, images, head.layer, reads=reads, output=output)
        pairs.append((head(embeddings), returned))
    tolerance = Tolerance.of(module, network)
    for activation in ACTIVATIONS:
        if all(excess(activation, *pair, tolerance) <= 0 for pair in pairs):
            return replace(head, activation=activation)
    logits, returned = next(pair for pair in pairs if not excess("", *pair, tolerance) <= 0)
    difference = float((logits - returned).abs().max())
    raise HeadError(f"a difference of {difference:.3g} for logits up to {float(logits.abs().max()):.3g}")


def excess(activation: str, logits: torch.Tensor, returned: torch.Tensor, tolerance: Tolerance) -> float:
    """By how much the difference exceeds rounding: positive where the network returns no such activation of the logits.

    A logit may be off by a share of the largest one. That changes a probability p by about p (1 - p) times as much, a
    bound that is sharp also near 0 and 1, where similar functions differ.

    Args:
        activation: one of `ACTIVATIONS`.
        logits: (N, C) of the head.
        returned: (N, C) what the network returned.
        tolerance: tolerance of the network's weights.

    Returns:
        Largest excess over all images and classes; infinite where something is NaN.
    """
    if activation == "softmax" and logits.shape[1] < 2:
        return math.inf  # it is constant and would show nothing
    logits, returned = logits.double(), returned.double()
    expected = ACTIVATIONS[activation](logits)
    slack = tolerance.logit * logits.abs().max()
    allowed = 2 * expected * (1 - expected) * slack + tolerance.probability if activation else slack
    return float(((returned - expected).abs() - allowed).max().nan_to_num(math.inf))


def _scaled(module: nn.Module, reads: str, factor: float) -> RemovableHandle:
    """A context that multiplies what the layer reads, or the map that it gives."""

    def scale_inputs(_: nn.Module, values: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return tuple(value * factor for value in values), {name: value * factor for name, value in named.items()}

    if reads == "input":
        return module.register_forward_pre_hook(scale_inputs, with_kwargs=True)
    return module.register_forward_hook(lambda _, inputs, values: values * factor)
