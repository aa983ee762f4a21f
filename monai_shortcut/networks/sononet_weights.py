# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The published weights of SonoNet, from the authors' arrays or from a PyTorch state dict."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from monai_shortcut.networks.sononet import BLOCKS, EPSILON, SonoNet

FIRST_CONVOLUTIONS = ("spread", "initial")
NORM_ENTRIES = ("weight", "bias", "running_mean", "running_var")
WRAPPED = ("state_dict", "model")  # keys under which trainers save a state dict


def load_sononet_weights(network: SonoNet, path: str | Path, *, first_convolution: str = "spread") -> SonoNet:
    """Load published weights into a network; nothing is changed unless all layers fit.

    Read are the authors' arrays (``.npz``, without pickles), and state dicts (``.pt``, ``.pth``, tensors only) that
    are named as here or as in the PyTorch port of Droste, bare or under "state_dict" or "model". Lasagne stores W,
    beta, gamma, mean and the inverse standard deviation of each layer, the variance being its inverse square less
    epsilon, which is 1e-4 in all layers. (The port forgets that for its last two; its files are nevertheless of 1e-4.)

    If the file is of other classes, the last convolution and its normalization stay as the network has them. In a
    bundle::

        "network": {
            "_target_": "monai_shortcut.networks.load_sononet_weights",
            "network": "@network_def",
            "path": "$@bundle_root + '/models/SonoNet16.npz'"
        }

    Args:
        network: network of the file's width, in two dimensions; it is changed in place.
        path: the file.
        first_convolution: what to do if the file's networks take other channels: "spread" gives each of our channels
            an equal share of the weights, so that a grey image repeated over the channels gives the published logits;
            "initial" leaves the first convolution as the network has it, as SA-SonoNet does.

    Returns:
        The network.

    Raises:
        ValueError: If a layer does not fit (the first one is named), a number is not finite or a deviation not above 0,
            the file holds other entries besides, is damaged or ends otherwise, or first_convolution is something else.

    References:
        Baumgartner et al. (2017), SonoNet, IEEE TMI 36(11); Pegios et al. (2023), ASMUS, for "initial".
    """
    if first_convolution not in FIRST_CONVOLUTIONS:
        raise ValueError(f"first_convolution must be one of {FIRST_CONVOLUTIONS}, got {first_convolution!r}.")
    path, own, layers = Path(path), network.state_dict(), list(_layers(network))
    if path.suffix == ".npz":
        found = _from_lasagne(path, layers)
    elif path.suffix in (".pt", ".pth"):
        found = _from_state_dict(path, layers)
    else:
        raise ValueError(f"path must end in .npz, .pt or .pth, got {path.name!r}.")
    _adapt_first(found, own, layers[0][0], first_convolution)
    _keep_other_head(found, own, layers[-1])
    for convolution, norm in layers:
        for key in _keys(convolution, norm):
            expected, got = tuple(own[key].shape), tuple(found[key].shape) if key in found else "none"
            if expected != got:
                layer, _, entry = key.rpartition(".")
                raise ValueError(f"layer {layer} must find a {entry} of shape {expected} in {path.name}, got {got}.")
    _check_numbers({key: found[key] for layer in layers for key in _keys(*layer)}, own, path)
    if others := [key for key in found if key not in own]:
        raise ValueError(f"{path.name} must hold the {len(layers)} layers of SonoNet and no more, got {others[:3]}.")
    network.load_state_dict({**own, **found})
    return network


def _layers(network: SonoNet) -> Iterator[tuple[str, str]]:
    """Names of each convolution and the normalization after it, in order."""
    convolution = ""
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            convolution = name
        elif isinstance(module, _BatchNorm):
            yield convolution, name


def _keys(convolution: str, norm: str) -> list[str]:
    return [f"{convolution}.weight", *(f"{norm}.{entry}" for entry in NORM_ENTRIES)]


def _from_lasagne(path: Path, layers: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Entries by our names; arrays beyond the layers keep their own."""
    with _readable(path), path.open("rb") as opened:
        if not is_zipfile(opened):  # NumPy would leave the file open
            raise BadZipFile("it is no zip file, or not the whole of one")
    with _readable(path), np.load(path, allow_pickle=False) as file:
        names = [f"arr_{number}" for number in range(len(file.files))]
        if strangers := [name for name in file.files if name not in names]:
            raise ValueError(f"arrays must be named arr_0 to arr_{len(names) - 1}, got {strangers[:3]}.")
        arrays = [file[name] for name in names]
    if wrong := [name for name, array in zip(names, arrays, strict=True) if array.dtype.kind not in "fiu"]:
        raise ValueError(f"{path.name} must hold arrays of numbers, got {wrong[0]} of other values.")
    found: dict[str, torch.Tensor] = {}
    for number, (convolution, norm) in enumerate(layers):
        weight, gamma, beta, mean, variance = _keys(convolution, norm)
        keys = (weight, beta, gamma, mean, variance)
        found |= {key: torch.from_numpy(array) for key, array in zip(keys, arrays[5 * number :], strict=False)}
        if variance in found:
            inverse = found[variance].double()
            if bad := int((~(inverse.isfinite() & (inverse > 0))).sum()):
                raise ValueError(
                    f"layer {norm} must find inverse standard deviations above 0 in {path.name}, got {bad} of "
                    f"{inverse.numel()} that are not: the file is damaged."
                )
            found[variance] = (inverse**-2 - EPSILON).clamp(min=0)
    return found | {f"arr_{number}": torch.zeros(0) for number in range(5 * len(layers), len(arrays))}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """One error for all the ways in which a file may be damaged."""
    try:
        yield
    except FileNotFoundError:
        raise
    except UnpicklingError as error:
        if "Unsupported global" in str(error):  # code that PyTorch refuses to run; its own message says more
            raise
        raise ValueError(f"{path.name} must be a file of weights, got one that is damaged: {error}") from error
    except (ValueError, OSError, EOFError, KeyError, RuntimeError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path.name} must be a file of weights, whole and without pickles, got: {error}") from error


def _check_numbers(found: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse what would give answers that are no numbers."""
    for key, values in found.items():
        layer, _, entry = key.rpartition(".")
        if values.is_complex() or not values.to(own[key].dtype).isfinite().all():
            raise ValueError(f"layer {layer} must find a finite {entry} in {path.name}, got numbers that are not.")
        if entry == "running_var" and (values < 0).any():
            raise ValueError(f"layer {layer} must find variances of at least 0 in {path.name}, got some below.")


def _from_state_dict(path: Path, layers: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
    """Entries by our names; others keep their own."""
    with _readable(path):
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    for key in WRAPPED:
        state = state[key] if isinstance(state, Mapping) and isinstance(state.get(key), Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path.name} must hold a state dict of tensors, got a {type(state).__name__}.")
    names: dict[str, str] = {}
    if any(str(key).startswith("adaption.") for key in state):
        names = dict(zip(chain(*_port_layers()), chain(*layers), strict=True))
    renamed = {}
    for key, value in state.items():
        layer, _, entry = str(key).rpartition(".")
        renamed[f"{names.get(layer, layer)}.{entry}"] = value
    return renamed


def _port_layers() -> Iterator[tuple[str, str]]:
    """Names of the port's convolutions and normalizations: a module per block, in it one per layer."""
    for block, widths in enumerate(BLOCKS):
        for layer in range(len(widths)):
            yield f"features.{block}.{layer}.0", f"features.{block}.{layer}.1"
    yield "adaption.0", "adaption.1"
    yield "adaption.3", "adaption.4"


def _adapt_first(found: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor], layer: str, how: str) -> None:
    key = f"{layer}.weight"
    expected, got = own[key].shape, found[key].shape if key in found else own[key].shape
    if len(got) == len(expected) and got[1] != expected[1] and (got[0], got[2:]) == (expected[0], expected[2:]):
        spread = found[key].sum(dim=1, keepdim=True).expand(expected) / expected[1]
        found[key] = spread if how == "spread" else own[key]


def _keep_other_head(found: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor], names: tuple[str, str]) -> None:
    keys = _keys(*names)
    expected, got = own[keys[0]].shape, found[keys[0]].shape if keys[0] in found else own[keys[0]].shape
    if got[0] != expected[0] and got[1:] == expected[1:]:
        found |= {key: own[key] for key in keys}
