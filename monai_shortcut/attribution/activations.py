# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Activations that change their input, or that hooks do not see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from monai_shortcut.types import Unmeasurable

_FUNCTIONS: dict[Any, str] = {
    torch.relu: "relu",
    torch.relu_: "relu",
    torch.Tensor.relu: "relu",
    torch.Tensor.relu_: "relu",
    functional.relu: "relu",
    torch.sigmoid: "sigmoid",
    torch.Tensor.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    torch.Tensor.tanh: "tanh",
    functional.leaky_relu: "leaky_relu",
    functional.elu: "elu",
    functional.max_pool2d: "max_pool2d",
    functional.max_pool3d: "max_pool3d",
}
_LAYERS = (
    nn.ReLU,
    nn.ELU,
    nn.LeakyReLU,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.MaxPool1d,
    nn.MaxPool2d,
    nn.MaxPool3d,
)  # those with a rule of DeepLift's


@contextmanager
def out_of_place(network: nn.Module) -> Iterator[None]:
    """Layers that change their input (``inplace=True``) leave it as it is meanwhile; hooks read it."""
    python = (module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule))
    changed = [module for module in python if getattr(module, "inplace", False) is True]
    try:
        for module in changed:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


def check_activations(network: nn.Module, images: torch.Tensor) -> None:
    """Refuse a network whose activations DeepLift's hooks do not see, or see twice.

    Args:
        network: runs on the images as it is.
        images: (1, C, *spatial) one image.

    Raises:
        Unmeasurable: If an activation is called as a function, one layer runs several times in a pass, or a part is
            TorchScript; the message says what to change.
    """
    scripted = [name for name, module in network.named_modules() if isinstance(module, torch.jit.ScriptModule)]
    if scripted:
        raise Unmeasurable(f"layers of TorchScript call no hooks: {scripted[0]}; build the network in Python")
    runs: Counter[str] = Counter()
    with ExitStack() as hooks, torch.no_grad():
        noted = hooks.enter_context(_Noting())
        for name, module in network.named_modules():
            if isinstance(module, _LAYERS):
                hooks.callback(module.register_forward_pre_hook(_begin(noted, runs, name)).remove)
                hooks.callback(module.register_forward_hook(noted.end, always_call=True).remove)
        network(images)
    if noted.called:
        names = ", ".join(f"{name} ({number} times)" for name, number in noted.called.items())
        raise Unmeasurable(f"activations are called as functions, which DeepLift cannot see: {names}; make them layers")
    again = [name for name, number in runs.items() if number > 1]
    if again:
        raise Unmeasurable(
            f"DeepLift needs a layer of its own for each activation, but {again[0]} runs {runs[again[0]]} times in a "
            f"pass ({len(again)} such layers); give each call its own layer"
        )


def _begin(noted: _Noting, runs: Counter[str], name: str) -> Callable[..., None]:
    def begin(*_: Any) -> None:
        runs[name] += 1
        noted.inside += 1

    return begin


class _Noting(TorchFunctionMode):
    """Notes the activations that are called outside of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.called = 0, Counter[str]()

    def end(self, *_: Any) -> None:
        self.inside -= 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.inside and func in _FUNCTIONS:
            self.called[_FUNCTIONS[func]] += 1
        return func(*args, **(kwargs or {}))
