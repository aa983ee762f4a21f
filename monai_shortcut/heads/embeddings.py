# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the head of a classifier reads: the embedding of each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from monai_shortcut.heads.inputs import Inputs
from monai_shortcut.heads.layers import evaluating, find_layer, is_pointwise, run_order, unwrap

READS = ("input", "logit_map")


class EmbeddingHook:
    """Records the embeddings at one layer. It is a context manager; `attach` and `remove` do the same.

    By default they are what the layer reads: the last axis of a Linear, axis 1 of any other layer. Further axes
    (pixels, tokens) are averaged, since an affine head gives the same before a global average pool as after it. So are
    the rows of each image's patches, where the layer reads several for each image.

    Args:
        network: the classifier; wrappers are taken off.
        layer: name of the layer, usually `linear_head(network).layer`.
        reads: "input", or "logit_map" for the layer's output (B, C, ...) flattened to (B, C * cells), class by class.

    Raises:
        ValueError: If the network has no such layer, or reads is neither.

    Example:
        >>> network = nn.Sequential(nn.ReLU(), nn.Linear(2, 1))
        >>> with EmbeddingHook(network, "1") as hook:
        ...     _ = network(torch.tensor([[-1.0, 2.0]]))
        >>> hook.embeddings
        tensor([[0., 2.]])
    """

    def __init__(self, network: nn.Module, layer: str, reads: str = "input") -> None:
        if reads not in READS:
            raise ValueError(f"reads must be one of {READS}, got {reads!r}.")
        self.layer, self.reads = layer, reads
        self._network = unwrap(network)
        self._module = find_layer(self._network, layer)
        self._handles: list[RemovableHandle] = []
        self._embeddings: torch.Tensor | None = None
        self._images = 0

    @property
    def embeddings(self) -> torch.Tensor:
        """(B, D) embeddings of the last forward pass, a copy without gradient: float64 if read so, else float32.

        Raises:
            RuntimeError: If the layer did not run in that pass.
        """
        if self._embeddings is None:
            raise RuntimeError(f"layer {self.layer!r} must run in the forward pass to be recorded, but it has not run.")
        return self._embeddings

    def attach(self, once: bool = False) -> EmbeddingHook:
        """Start to record. Attaching again leaves one hook and forgets what was recorded.

        Args:
            once: record only the next forward pass of the network. Its end removes the hooks, also if it raises; what
                it recorded stays.
        """
        self.remove()
        self._forget()
        self._handles = [
            self._network.register_forward_pre_hook(self._begin_only if once else self._forget, with_kwargs=True),
            self._module.register_forward_pre_hook(self._record, with_kwargs=True)
            if self.reads == "input"
            else self._module.register_forward_hook(self._record_map),
        ]
        if once:
            self._handles.append(self._network.register_forward_hook(self._end_only, always_call=True))
        return self

    def remove(self) -> None:
        """Stop recording; the last embeddings stay."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> EmbeddingHook:
        return self.attach()

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _forget(self, *call: Any) -> None:
        self._embeddings = None
        given = next(iter([*call[1], *call[2].values()]), None) if call else None
        self._images = len(given) if isinstance(given, torch.Tensor) and given.ndim else 0

    def _begin_only(self, *call: Any) -> None:
        """Forget, and make the closing hook the last one of the network."""
        self._forget(*call)
        self._handles.pop().remove()
        self._handles.append(self._network.register_forward_hook(self._end_only, always_call=True))

    def _end_only(self, *_: Any) -> None:
        """Remove the hooks of all that record this pass only, when the last of them learns that it ended."""
        hooks = list(self._network._forward_hooks.values())
        if hooks[-1] == self._end_only:  # after an error torch walks through its hooks as they are: only the last may
            for hook in hooks:
                if getattr(hook, "__func__", None) is EmbeddingHook._end_only:
                    hook.__self__.remove()  # type: ignore[attr-defined]

    def _record(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        values = pooled(module, plain((*args, *kwargs.values())[0]))
        several, rest = divmod(len(values), self._images or len(values) or 1)
        bags = several > 1 and not rest
        self._embeddings = values.reshape(-1, several, values.shape[-1]).mean(dim=1) if bags else values.clone()

    def _record_map(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim < 3:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ValueError(
                f"the output of layer {self.layer!r} must have shape (B, C, ...) to be a map, got {shape}."
            )
        self._embeddings = plain(output).flatten(1).clone()


def pooled(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """(N, D) means over pixels or tokens of what a layer reads: a Linear's last axis, any other layer's axis 1."""
    values = values.movedim(-1, 1) if isinstance(layer, nn.Linear) and values.ndim > 1 else values
    return values.flatten(2).mean(dim=2) if values.ndim > 2 else values


def plain(values: torch.Tensor) -> torch.Tensor:
    """The values without gradient or metadata (a MetaTensor's tensor), float64 if they are so, else float32."""
    values = values.as_tensor() if hasattr(values, "as_tensor") else values
    return values.detach().to(torch.float64 if values.dtype == torch.float64 else torch.float32)


def first_output(returned: Any, output: str | int | None = None, *, as_is: bool = False) -> torch.Tensor:
    """(N, C) logits from what a network returned.

    Args:
        returned: a tensor, tuple, list, dict or dataclass, whose entries may be such, too. Fields that are None are
            none.
        output: key of a dict, or index of a tuple or list. By default the tensor itself, the first of a tuple or list,
            or the only entry of a dict that has shape (N, C).
        as_is: keep gradient and dtype.

    Raises:
        ValueError: If there is no such entry, or it has another shape; the error lists the entries.

    Example:
        >>> returned = {"logits": torch.zeros(2, 3), "embeddings": torch.ones(2, 4)}
        >>> first_output(returned, "embeddings").shape
        torch.Size([2, 4])
    """
    if is_dataclass(returned) and not isinstance(returned, Mapping):
        named = {field.name: getattr(returned, field.name) for field in fields(returned)}
        returned = {name: entry for name, entry in named.items() if entry is not None}
    value = returned
    if isinstance(returned, Mapping) and output is None:
        fitting = [entry for entry in returned.values() if isinstance(entry, torch.Tensor) and _rows(entry).ndim == 2]
        if len(fitting) != 1:
            raise ValueError(
                "a dict that the network returns must have one entry of shape (N, C) or say which it is, got "
                f"{_listed(returned)}; pass output= the key of the logits."
            )
        value = fitting[0]
    elif isinstance(returned, (Mapping, tuple, list)):
        entry: Any = 0 if output is None else output
        if entry not in (returned if isinstance(returned, Mapping) else range(len(returned))):
            raise ValueError(f"output must be an entry of {_listed(returned)} that the network returns, got {entry!r}.")
        value = returned[entry]
        if isinstance(value, (Mapping, tuple, list)):
            return first_output(value, as_is=as_is)
    elif output is not None:
        raise ValueError(f"output goes with a dict, tuple or list, got {output!r} and {_listed(returned)}.")
    if not isinstance(value, torch.Tensor) or _rows(value).ndim != 2:
        raise ValueError(
            f"the network's logits must have shape (N, C), got {_listed(value)}"
            + ("" if value is returned else f" in {_listed(returned)}; pass output= the entry of the logits")
            + "."
        )
    return _rows(value if as_is else plain(value))


def averaged_output(returned: Any, output: str | int | None = None) -> torch.Tensor:
    """(N, D) embeddings from what an encoder returned: tokens (N, T, D) and maps (N, D, ...) are averaged.

    Args:
        returned: a tensor, tuple, list, dict or dataclass.
        output: as in `first_output`.

    Raises:
        ValueError: As in `first_output`.

    Example:
        >>> averaged_output((torch.ones(2, 5, 3), None)).shape, averaged_output(torch.ones(2, 3, 4, 4)).shape
        (torch.Size([2, 3]), torch.Size([2, 3]))
    """
    value = returned
    if isinstance(returned, (tuple, list)) and returned:
        value = returned[output if isinstance(output, int) and output < len(returned) else 0]
    elif isinstance(returned, Mapping) and output in returned:
        value = returned[output]
    if isinstance(value, torch.Tensor) and _rows(value).ndim > 2:
        return plain(value).mean(dim=1) if value.ndim == 3 else plain(value).flatten(2).mean(dim=2)
    return first_output(returned, output)


def _rows(values: torch.Tensor) -> torch.Tensor:
    """(N,) as (N, 1), and (N, C, 1, ...) as (N, C)."""
    values = values[:, None] if values.ndim == 1 else values
    return values.flatten(1) if values.ndim > 2 and values.shape[2:].numel() == 1 else values


def _listed(returned: Any) -> str:
    """What the network returned, in words: the entries and their shapes."""
    if isinstance(returned, torch.Tensor):
        return str(tuple(returned.shape))
    named = list(returned.items()) if isinstance(returned, Mapping) else []
    named = list(enumerate(returned)) if isinstance(returned, (tuple, list)) else named
    entries = ", ".join(f"{key!r}: {_listed(entry)}" for key, entry in named)
    return f"a {type(returned).__name__}" + (f" with {entries}" if entries else "")


def embed(
    network: nn.Module,
    images: torch.Tensor | Inputs,
    layer: str | None = None,
    *,
    reads: str = "input",
    output: str | int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of a batch, and what the network returns for it in evaluation mode; training flags are restored.

    Args:
        network: the classifier.
        images: (N, ...) batch, on the network's device, or `Inputs` of several.
        layer: name of the head; by default the last Linear or 1x1 convolution to run, which takes one more pass.
        reads: as in `EmbeddingHook`; "logit_map" needs a layer.
        output: entry of what the network returns, as in `first_output`.

    Returns:
        (N, D) embeddings and (N, C) logits, float32 or float64, on the network's device; probabilities instead of
        logits if the network ends in a sigmoid or softmax.

    Raises:
        ValueError: If there is no such layer, it reads other than N rows, the network returns no logits, or reads is
            unknown or needs a layer.
        RuntimeError: If the layer does not run.
    """
    network = unwrap(network)
    if layer is None and reads == "logit_map":
        raise ValueError('layer must be named with reads="logit_map", got None; take logit_map_head(network).layer.')
    if layer is None:
        layer = next((n for n in reversed(run_order(network, images)) if is_pointwise(network.get_submodule(n))), None)
        if layer is None:
            raise ValueError("the network must run a Linear or 1x1 convolution, got none; pass layer= a module's name.")
    with EmbeddingHook(network, layer, reads) as hook, evaluating(network):
        logits = first_output(Inputs.of(images).into(network), output)
    embeddings = hook.embeddings
    if not len(embeddings) == len(logits) == len(images):
        raise ValueError(
            f"layer {layer!r} and the network must give one row for each of the {len(images)} images, "
            f"got {len(embeddings)} embeddings and {len(logits)} rows of logits."
        )
    return embeddings, logits
