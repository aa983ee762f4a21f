# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What a network is called with: a batch of images, and what stands beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, eq=False)
class Inputs:
    """The arguments of a forward pass.

    Attributes:
        images: (N, ...) batch, the first argument.
        args: further ones, such as the patients' ages (N, 1).
        kwargs: arguments by name.
        inferer: calls the network with them, as MONAI's inferers do; None calls it directly.

    Example:
        >>> Inputs(torch.zeros(4, 1, 8, 8), (torch.arange(4.0),)).rows([1, 3]).args
        (tensor([1., 3.]),)
    """

    images: torch.Tensor
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inferer: Callable[..., Any] | None = None

    @classmethod
    def of(cls, images: torch.Tensor | Inputs) -> Inputs:
        """Images alone, or what is one already."""
        return images if isinstance(images, cls) else cls(images)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.images)

    def into(self, network: nn.Module) -> Any:
        """What the network returns for them.

        Raises:
            ValueError: If it takes more.
        """
        try:
            if self.inferer is not None:
                return self.inferer(self.images, network, *self.args, **self.kwargs)
            return network(self.images, *self.args, **self.kwargs)
        except TypeError as error:
            if not re.search(r"missing \d+ required", str(error)):
                raise
            raise ValueError(
                f"the network must be given all its inputs, got {error}; name the entries of the batch that it takes "
                "beside the images: extra_keys of audit_classifier, PrepareBatchExtraInput in MONAI's evaluators."
            ) from error

    def rows(self, chosen: Sequence[int]) -> Inputs:
        """The same for some images; what does not have a row for each image stays as it is."""
        return replace(
            self,
            images=self.images[list(chosen)],
            args=tuple(self._part(value, chosen) for value in self.args),
            kwargs={name: self._part(value, chosen) for name, value in self.kwargs.items()},
        )

    def plain(self) -> Inputs:
        """The same without the metadata of images (MetaTensor), which slow down every layer."""
        return self.showing(self.images.as_tensor()) if hasattr(self.images, "as_tensor") else self

    def showing(self, images: torch.Tensor) -> Inputs:
        """The same beside other images."""
        return replace(self, images=images)

    def _part(self, value: Any, chosen: Sequence[int]) -> Any:
        if isinstance(value, torch.Tensor):
            return value[list(chosen)] if value.ndim and len(value) == len(self) else value
        if isinstance(value, (list, tuple)) and len(value) == len(self):
            return type(value)([value[row] for row in chosen])
        return value
