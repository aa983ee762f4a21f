# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the head reads, recorded while an evaluator runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import decollate_batch
from monai.engines import default_prepare_batch
from monai.inferers import SimpleInferer
from numpy.typing import NDArray
from torch import nn

from monai_shortcut.cohort.matching import short_names, without_suffix
from monai_shortcut.handlers.processes import await_all, gather, process_count, process_rank
from monai_shortcut.handlers.tasks import Embeddings, RecordedImages
from monai_shortcut.heads import Inputs, LinearHead, linear_head, logit_map_head
from monai_shortcut.heads.embeddings import EmbeddingHook
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.regions.properties import PROPERTIES

EMBEDDINGS = ("pooled", "logit_map")
MEASURED = "image properties"  # what is recorded of the images themselves
PATCHES = FIRST, EACH, MEAN = ("first", "each", "mean")
_SAME = 1e-2  # share of its standard deviation by which an embedding varies with the batch it is computed in
_made: Counter[str] = Counter()  # handlers of a kind are made in one order on all processes


class Reading(TypedDict, total=False):
    """Keyword arguments of `EmbeddingRecorder`, which every handler passes on to it."""

    embedding: str
    layer: str | None
    output: str | int | None
    image_key: str
    id_key: str
    patches: str


class EmbeddingRecorder:
    """Records what the classifier's head reads, for every image of an epoch.

    After a run, ``head`` is the `LinearHead`, and ``embeddings`` and ``image_ids`` have one entry per image, in the
    order in which the images came. An image that came again (a padded sampler) is kept once; so is the first of several
    images of one name, such as patches of a file, and the others are counted, unless ``patches`` says otherwise. Attach
    the handler on every process of a distributed evaluation: each process then has the images of all, in the order of a
    sampler that deals them out one by one.

    Args:
        network: the classifier that the evaluator runs.
        embedding: "pooled", what the head reads, averaged over space; or "logit_map", the flattened map whose average
            the logits are, as in `logit_map_head`, which needs images of one size.
        layer: name of the head; by default the last Linear or 1x1 convolution to run. With "logit_map", the layer
            whose output is the map.
        output: entry of what the network returns that holds the logits, as in `linear_head`.
        image_key: entry of the batch that holds the images.
        id_key: entry of the batch that holds the names of the images. Without it, their files name them, with the place
            in it of a patch of a whole slide, where it is audited by itself.
        patches: which of several images of one name are kept: the "first"; "each", called "name", "name (2)" and so
            on; or their "mean", the average of what the head reads. Patches of a slide then have its name.

    Raises:
        ValueError: If embedding or patches is none of these.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        embedding: str = "pooled",
        layer: str | None = None,
        output: str | int | None = None,
        image_key: str = "image",
        id_key: str = "image_id",
        patches: str = FIRST,
    ) -> None:
        if embedding not in EMBEDDINGS:
            raise ValueError(f"embedding must be one of {EMBEDDINGS}, got {embedding!r}.")
        if patches not in PATCHES:
            raise ValueError(f"patches must be one of {PATCHES}, got {patches!r}.")
        self.patches = patches
        self.embedding, self._reads = embedding, "input" if embedding == "pooled" else "logit_map"
        self.network, self.layer, self.output = network, layer, output
        self.image_key, self.id_key = image_key, id_key
        self.head: LinearHead | None = None
        _made[type(self).__name__] += 1
        self._number, self._runs = _made[type(self).__name__], 0
        self._recording = False
        self._hook: EmbeddingHook | None = None
        self._clear()

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator.

        Args:
            engine: an Ignite engine whose batches are dicts.
        """
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        # Other handlers may run the network when they see the batch: hooks come after them all.
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self._batch_loaded)
        engine.add_event_handler(Events.ITERATION_STARTED, self._iteration_started)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration_completed)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch_completed)

    @property
    def image_ids(self) -> tuple[str, ...]:
        """Names of the images, each once; of files without folders and suffix, if that tells them apart."""
        names = list(dict.fromkeys(self._names))
        return tuple(short_names(names) if self._of_files else names)

    @property
    def embeddings(self) -> Embeddings:
        """(N, D) embeddings in the order of ``image_ids``: float64 if the network computes so, else float32.

        Raises:
            RuntimeError: If nothing was recorded.
        """
        found: Embeddings = self._column("embedding")
        return found

    @property
    def recorded(self) -> RecordedImages:
        """Names, embeddings and head together.

        Raises:
            RuntimeError: If nothing was recorded.
        """
        names = tuple(dict.fromkeys(self._names))
        columns = self._column(MEASURED).T if MEASURED in self._blocks else ()
        properties = dict(zip(PROPERTIES, columns, strict=True)) if len(columns) else {}
        return RecordedImages(
            names, self.image_ids, self.embeddings, self._head(), self._others(), properties=properties
        )

    def _others(self) -> dict[str, int]:
        """By name, how many further images of it there were: others than the first, not that one again."""
        names = list(dict.fromkeys(self._names))
        if len(names) == len(self._names) or self.patches == MEAN:
            return {}
        place = {name: row for row, name in enumerate(names)}
        kept, rows = self.embeddings, self._blocks["embedding"][0]
        first = np.array([place[name] for name in self._names])
        spread = kept.std(axis=0, dtype=np.float64) + 1e-6 * np.abs(kept).max(axis=0)
        apart = (np.abs(rows - kept[first]) > _SAME * spread).any(axis=1)
        return dict(Counter(name for name, other in zip(self._names, apart.tolist(), strict=True) if other))

    def _head(self) -> LinearHead:
        if self.head is None:
            raise RuntimeError("an evaluator must have run with this handler attached, but nothing was recorded.")
        return self.head

    def _column(self, name: str) -> Any:
        """(N, ...) what was recorded under this name, a row for each of ``image_ids``."""
        blocks = self._blocks.get(name)
        if not blocks:
            raise RuntimeError("an evaluator must have run with this handler attached, but nothing was recorded.")
        if len(blocks) > 1:
            blocks[:] = [np.concatenate(blocks)]
        first = dict(zip(reversed(self._names), reversed(range(len(self._names))), strict=True))
        if len(first) == len(self._names):
            return blocks[0]
        return means(self._names, blocks[0]) if self.patches == MEAN else blocks[0][sorted(first.values())]

    def _due(self, engine: Engine) -> bool:
        """Whether to record this epoch."""
        return True

    def _clear(self) -> None:
        self._remove()
        self.head = None
        self._size: tuple[int, ...] = ()
        self._of_files = False
        self._names: list[str] = []
        self._times: Counter[str] = Counter()
        self._blocks: dict[str, list[NDArray[Any]]] = {}

    def _epoch_started(self, engine: Engine) -> None:
        self._clear()
        self._recording = self._due(engine)
        if self._recording:
            self._runs += 1
            await_all(type(self).__name__, f"{self._number}/{self._runs}")

    def _batch_loaded(self, engine: Engine) -> None:
        if self._recording:
            self._look(engine)

    def _look(self, engine: Engine) -> None:
        """See the batch as the data loader gave it."""
        batch = engine.state.batch
        if not isinstance(batch, Mapping) or self.image_key not in batch:
            found = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise ValueError(f"the batch must be a dict with the key {self.image_key!r}, got {found}.")
        self._check_size(torch.as_tensor(batch[self.image_key]))
        if self.head is None:
            given = self.given(engine)
            given = given.rows(range(min(2, len(given))))
            example = given.showing(given.images.nan_to_num(0.0, 0.0, 0.0))  # NaN would prove nothing
            find = linear_head if self.embedding == "pooled" else logit_map_head
            self.head = find(self.network, images=example, layer=self.layer, output=self.output)
            self._hook = EmbeddingHook(self.network, self.head.layer, self._reads)
        self._of_files = self.id_key not in batch
        names = image_names(batch, self.image_key, self.id_key, patches=self.patches)
        self._names += self._numbered(names) if self.patches == EACH else names

    def _numbered(self, names: Sequence[str]) -> list[str]:
        """Each image with a name of its own, also those that another process sees."""
        found = []
        for name in names:
            number = self._times[name] * process_count() + process_rank()
            self._times[name] += 1
            found.append(f"{without_suffix(name)} ({number + 1})" if number else name)
        return found

    def _images(self, batch: Mapping[str, Any], key: str) -> torch.Tensor:
        parameter = next(unwrap(self.network).parameters())
        return torch.as_tensor(batch[key]).to(device=parameter.device, dtype=parameter.dtype)

    def given(self, engine: Engine) -> Inputs:
        """What the network is called with for the batch: its images, and what the evaluator puts beside them."""
        batch, prepare = engine.state.batch, getattr(engine, "prepare_batch", default_prepare_batch)
        inferer = getattr(engine, "inferer", None)
        images = Inputs(
            self._images(batch, self.image_key), inferer=None if isinstance(inferer, SimpleInferer) else inferer
        )
        if prepare is default_prepare_batch:
            return images
        prepared = prepare(batch, images.images.device, False, **getattr(engine, "to_kwargs", {}))
        several = isinstance(prepared, tuple) and len(prepared) == 4
        return replace(images, args=tuple(prepared[2]), kwargs=prepared[3]) if several else images

    def _iteration_started(self, engine: Engine) -> None:
        if self._recording and self._hook is not None:
            self._hook.attach(once=True)  # a run that breaks leaves no hook

    def _iteration_completed(self, engine: Engine) -> None:
        if self._recording and self._hook is not None:
            self._record("embedding", self._hook.embeddings.cpu().numpy())

    def _record(self, name: str, rows: NDArray[Any]) -> None:
        """Keep a row for each image of the batch."""
        blocks = self._blocks.setdefault(name, [])
        expected = len(self._names) - sum(map(len, blocks))
        if len(rows) != expected:
            raise ValueError(f"the head must read one embedding per image, got {len(rows)} for {expected} images.")
        blocks.append(rows)

    def _check_size(self, images: torch.Tensor) -> None:
        """Cells of a map only correspond between images (N, ...) of one size."""
        size = tuple(images.shape[1:])
        self._size = self._size or size
        if self.embedding == "logit_map" and size != self._size:
            raise ValueError(
                f"all images of a run must have one size with embedding='logit_map', got {self._size} and {size}."
            )

    def _epoch_completed(self, engine: Engine) -> None:
        if self._recording:
            self._recording = False
            self._remove()
            self._unite()

    def _unite(self) -> None:
        """Take over what all processes recorded."""
        if process_count() == 1:
            return
        own = {name: np.concatenate(blocks) for name, blocks in self._blocks.items() if blocks}
        head = self.head and replace(self.head, weight=self.head.weight.cpu(), bias=self.head.bias.cpu())
        parts = gather((self._names, own, head, self._of_files))
        # A distributed sampler deals the images out one by one.
        places = [(row, rank) for rank, (names, *_) in enumerate(parts) for row in range(len(names))]
        order = sorted(range(len(places)), key=places.__getitem__)
        names = [name for names, *_ in parts for name in names]
        self._names = [names[row] for row in order]
        columns = dict.fromkeys(name for _, blocks, *_ in parts for name in blocks)
        self._blocks = {
            name: [np.concatenate([blocks[name] for _, blocks, *_ in parts if name in blocks])[order]]
            for name in columns
        }
        self.head = self.head or next((other for _, _, other, _ in parts if other is not None), None)
        self._of_files = any(of_files for *_, of_files in parts)

    def _remove(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def means(names: Sequence[str], rows: NDArray[Any]) -> NDArray[Any]:
    """(M, ...) mean of the rows (N, ...) of each name, in the order in which the names come first."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    codes = np.array([places[name] for name in names])
    sums = np.zeros((len(places), *rows.shape[1:]))
    np.add.at(sums, codes, rows)
    counts = np.bincount(codes).reshape(-1, *[1] * (rows.ndim - 1))
    return np.asarray(sums / counts, dtype=rows.dtype)


def image_names(batch: Mapping[str, Any], image_key: str, id_key: str, *, patches: str = FIRST) -> list[str]:
    """Names of the images of a batch: its entry, or the paths of the files they were loaded from."""
    if id_key in batch:
        names = batch[id_key]
        if isinstance(names, str):
            raise ValueError(f"{id_key} must hold a name for each image of a batch, got one alone: {names!r}.")
        return [str(name) for name in (names.tolist() if isinstance(names, torch.Tensor) else names)]
    paths = file_names(batch[image_key])
    if paths is None:
        paths = slide_names(batch[image_key], placed=patches == FIRST)
    if paths is None:
        raise ValueError(
            f"the batch must have the key {id_key!r}, or images loaded from files, got {sorted(batch)}. A path in an "
            f'item makes a name: {{"_target_": "CopyItemsd", "keys": "{image_key}", "names": "{id_key}"}} as the first '
            "transform."
        )
    return paths


def file_names(images: Any) -> list[str] | None:
    """Paths of the files that the images of a batch were loaded from; None if any has none."""
    paths = [getattr(image, "meta", {}).get("filename_or_obj") for image in decollate_batch(images)]
    return None if any(path is None for path in paths) else [str(path) for path in paths]


def file_shapes(images: Any) -> list[tuple[int, ...] | None]:
    """Shapes of the files that the images of a batch were loaded from, None where MONAI did not load one."""
    shapes = [getattr(image, "meta", {}).get("spatial_shape") for image in decollate_batch(images)]
    return [None if shape is None else tuple(int(size) for size in np.asarray(shape).ravel()) for shape in shapes]


def slide_names(images: Any, *, placed: bool) -> list[str] | None:
    """Names of the patches of a batch by their whole slide; None if MONAI's readers of slides did not load them.

    Args:
        images: with ``path`` (or ``name``) and ``location`` in their metadata.
        placed: whether the place in the slide follows: "slide_1024_512", rows first, without the suffix of a file.
    """
    names = []
    for image in decollate_batch(images):
        meta = getattr(image, "meta", {})
        slide, place = meta.get("path", meta.get("name")), meta.get("location")
        if slide is None or (placed and place is None):
            return None
        parts = [str(int(number)) for number in np.asarray(place).reshape(-1)] if placed else []
        names.append("_".join([without_suffix(str(slide)) if placed else str(slide), *parts]))
    return names
