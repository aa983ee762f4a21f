# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the head reads, recorded while an evaluator runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.embeddings import EmbeddingHook, unwrap
from monai_shortcut.heads import LinearHead, linear_head, logit_map_head

EMBEDDINGS = ("pooled", "logit_map")


class EmbeddingRecorder:
    """Records what the classifier's head reads, for every image of an epoch.

    After a run, ``head`` is the `LinearHead` and ``embeddings`` and ``image_ids`` hold one entry per image, in the
    order they were seen; an image that came again (a padded sampler) is kept once.

    Args:
        network: the classifier that the evaluator runs.
        embedding: "pooled", what the head reads, averaged over space; or "logit_map", the flattened map whose average
            the logits are, as by `logit_map_head`. All images must then have one size.
        layer: name of its head; by default the last Linear or 1x1 convolution to run. Of a logit map, the layer whose
            output it is.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images.

    Raises:
        ValueError: If embedding is neither.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        embedding: str = "pooled",
        layer: str | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
    ) -> None:
        if embedding not in EMBEDDINGS:
            raise ValueError(f"embedding must be one of {EMBEDDINGS}, got {embedding!r}.")
        self.embedding, self._reads = embedding, "input" if embedding == "pooled" else "logit_map"
        self.network, self.layer, self.image_key, self.id_key = network, layer, image_key, id_key
        self.head: LinearHead | None = None
        self._size: tuple[int, ...] = ()
        self._hook: EmbeddingHook | None = None
        self._ids: list[str] = []
        self._blocks: list[NDArray[np.float64]] = []

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: an Ignite engine whose batches are dicts.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_STARTED, self._look)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._record)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the images, each once."""
        return tuple(dict.fromkeys(self._ids))

    @property
    def embeddings(self) -> NDArray[np.float64]:
        """(N, D) float64 embeddings, in the order of ``image_ids``.

        Raises:
            RuntimeError: If nothing was recorded.
        """
        if not self._blocks:
            raise RuntimeError("an evaluator must have run with this handler attached, but nothing was recorded.")
        return np.concatenate(self._blocks)[self._first()]

    def _first(self) -> list[int]:
        """Position of each image's first appearance."""
        seen: dict[str, int] = {}
        for index, name in enumerate(self._ids):
            seen.setdefault(name, index)
        return list(seen.values())

    def _start(self, engine: Engine) -> None:
        self._remove()
        self.head, self._size, self._ids, self._blocks = None, (), [], []

    def _look(self, engine: Engine) -> None:
        """Before the forward pass, while the batch is still what the data loader gave."""
        batch = engine.state.batch
        if not isinstance(batch, Mapping) or self.image_key not in batch:
            found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise ValueError(f"the batch must be a dict with the key {self.image_key!r}, got {found}.")
        self._check_size(torch.as_tensor(batch[self.image_key]))
        if self.head is None:
            images = self._images(batch, self.image_key)[:2].nan_to_num(0.0, 0.0, 0.0)  # NaN would prove nothing
            find = linear_head if self.embedding == "pooled" else logit_map_head
            self.head = find(self.network, images=images, layer=self.layer)
            self._hook = EmbeddingHook(self.network, self.head.layer, self._reads).attach()
        self._ids += image_names(batch, self.image_key, self.id_key)

    def _images(self, batch: Mapping[str, Any], key: str) -> torch.Tensor:
        parameter = next(unwrap(self.network).parameters())
        return torch.as_tensor(batch[key]).to(device=parameter.device, dtype=parameter.dtype)

    def _record(self, engine: Engine) -> None:
        assert self._hook is not None
        block = self._hook.embeddings.cpu().numpy().astype(np.float64)
        expected = len(self._ids) - sum(map(len, self._blocks))
        if len(block) != expected:
            raise ValueError(f"the head must read one embedding per image, got {len(block)} for {expected} images.")
        self._blocks.append(block)

    def _check_size(self, images: torch.Tensor) -> None:
        """Cells of a map only correspond between images (N, ...) of one size."""
        size = tuple(images.shape[1:])
        self._size = self._size or size
        if self.embedding == "logit_map" and size != self._size:
            raise ValueError(
                f"all images of a run must have one size with embedding='logit_map', got {self._size} and {size}."
            )

    def _stop(self, engine: Engine) -> None:
        self._remove()

    def _remove(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def image_names(batch: Mapping[str, Any], image_key: str, id_key: str) -> list[str]:
    """Names of the images of a batch, from its entry or from the files they were loaded from."""
    if id_key in batch:
        names = batch[id_key]
        return [str(name) for name in (names.tolist() if isinstance(names, torch.Tensor) else names)]
    paths = [getattr(image, "meta", {}).get("filename_or_obj") for image in decollate_batch(batch[image_key])]
    if any(path is None for path in paths):
        raise ValueError(f"the batch must have the key {id_key!r}, or images loaded from files, got {sorted(batch)}.")
    return [Path(str(path).removesuffix(".gz")).stem for path in paths]
