# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""ImageNet weights as torchvision distributes them, in MONAI's DenseNet."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from monai.networks.nets import DenseNet

_HEAD = "class_layers.out."
_FIRST = "features.conv0.weight"


def load_imagenet_densenet(network: DenseNet, path: str | Path) -> DenseNet:
    """Load a DenseNet that torchvision trained on ImageNet; everything but the head.

    MONAI's own ``pretrained=True`` needs a network connection, and leaves the first convolution at random, without a
    word, where an image has one channel. Here it gets the sum over the colours, which answers a grey image as the
    colour network answers it in three equal channels.

    Args:
        network: network of MONAI, in two dimensions with one or three input channels; changed in place.
        path: a checkpoint such as ``densenet121-a639ec97.pth``, with the old (``norm.1``) or new (``norm1``) names.

    Returns:
        The network.

    Raises:
        ValueError: If the file is no such checkpoint, or a tensor does not fit; the message names the first.

    References:
        Huang et al. (2017), Densely connected convolutional networks, CVPR.
    """
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict) or "features.conv0.weight" not in loaded:
        raise ValueError(f"the file must be a DenseNet of torchvision, with features.conv0.weight, got {path}.")
    own = network.state_dict()
    weights = {_renamed(name): value for name, value in loaded.items() if not name.startswith("classifier.")}
    if own[_FIRST].shape[1] == 1 and weights[_FIRST].shape[1] == 3:
        weights[_FIRST] = weights[_FIRST].sum(dim=1, keepdim=True)
    for name, value in own.items():
        if name.startswith(_HEAD):
            continue
        given = weights.get(name)
        if given is None and name.endswith("num_batches_tracked"):  # files of before torch 0.4.1 lack it
            weights[name] = value
        elif given is None or given.shape != value.shape:
            found = "none" if given is None else str(tuple(given.shape))
            raise ValueError(f"{name} must have shape {tuple(value.shape)} to fit the network, got {found} in {path}.")
    unknown = [name for name in weights if name not in own]
    if unknown:
        raise ValueError(f"the file must hold layers of the network only, got {unknown[0]} in {path}.")
    network.load_state_dict(weights, strict=False)
    return network


def _renamed(name: str) -> str:
    """MONAI keeps the steps of a dense layer in ``layers``."""
    return re.sub(r"(denselayer\d+)\.(norm|relu|conv)\.?(\d)", r"\1.layers.\2\3", name)
