# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Batches of any data loader as dictionaries whose images have names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers.recording import file_names


class NamedBatches:
    """The batches of a loader as dictionaries, each image with its name.

    Entries of tuples and lists are named "0", "1" and so on. The first is the image, too, and the next one that the
    network does not take is the label.

    Args:
        loader: gives batches: dicts, tuples, lists, or tensors of images alone.
        image_key: entry that holds the images.
        label_key: entry that holds the labels.
        id_key: entry that holds the names of the images. Without it, their files name them.
        ids: names of all images in the order of the loader, in place of such an entry.
        beside: entries that the network takes beside the images.
        cohort: names the images by the order of its rows where neither batch nor files do; None refuses that.
    """

    def __init__(
        self,
        loader: Iterable[Any],
        *,
        image_key: str,
        label_key: str,
        id_key: str,
        ids: Sequence[str] | None,
        cohort: Cohort | None,
        beside: Collection[str] = (),
    ) -> None:
        self.loader, self.cohort, self.beside = loader, cohort, beside
        self.image_key, self.label_key, self.id_key = image_key, label_key, id_key
        self.ids = None if ids is None else [str(name) for name in ids]
        self._by_rows = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        seen = 0
        for batch in self.loader:
            named = self._as_dict(batch)
            count = len(named.get(self.image_key, ()))
            if self.ids is None and self._nameless(named):
                self.ids, self._by_rows = self._names_of_rows(), True
            if self.ids is not None:
                named[self.id_key] = self.ids[seen : seen + count]
                self._require_enough(seen + count, " or more")
            if self._by_rows:
                self._require_same_labels(named, slice(seen, seen + count))
            seen += count
            yield named
        if not seen:
            raise ValueError("loader must give at least one batch, got none.")
        if self.ids is not None and seen < len(self.ids):
            self._require_enough(seen, "")

    def _as_dict(self, batch: Any) -> dict[str, Any]:
        if isinstance(batch, Mapping):
            return dict(batch)
        if isinstance(batch, torch.Tensor):
            return {self.image_key: batch}
        if not isinstance(batch, (tuple, list)) or not batch or isinstance(batch[0], Mapping):
            inside = f" of {type(batch[0]).__name__}" if isinstance(batch, (tuple, list)) and batch else ""
            raise ValueError(
                f"batches must be dicts, tuples or tensors, got a {type(batch).__name__}{inside}: let the loader "
                "collate its items."
            )
        named = {str(place): value for place, value in enumerate(batch)}
        called = {} if self.image_key.isdigit() else {self.image_key: batch[0]}
        if not self.label_key.isdigit() and (others := [key for key in list(named)[1:] if key not in self.beside]):
            called[self.label_key] = named[others[0]]
        return named | called

    def _nameless(self, named: Mapping[str, Any]) -> bool:
        known = self.id_key in named or self.image_key not in named  # which is refused when it is looked at
        return not known and file_names(named[self.image_key]) is None

    def _names_of_rows(self) -> list[str]:
        """The ids of the table, if its order is that of the loader."""
        batches = getattr(self.loader, "batch_sampler", None)
        sampler = getattr(batches, "sampler", getattr(self.loader, "sampler", None))
        if self.cohort is None:
            wrong = "a table for each label"
        elif self.cohort.excluded:
            wrong = f"one with {len(self.cohort.excluded)} rows that are excluded"
        elif sampler is not None and not isinstance(sampler, SequentialSampler):
            wrong = f"a loader that is ordered by a {type(sampler).__name__}"
        else:
            return list(self.cohort.image_ids)
        raise ValueError(
            f"images must have names: an entry {self.id_key!r} of the batch (or that of id_key=), files that they were "
            f"loaded from, or ids= in the order of the loader. The order of the table cannot name them, got {wrong}."
        )

    def _require_enough(self, images: int, more: str) -> None:
        if self.ids is not None and (images > len(self.ids) or not more):
            what = "rows of the table, whose order names the images," if self._by_rows else "ids"
            raise ValueError(
                f"{what} must be one for each image of the loader, got {len(self.ids)} for {images}{more} images."
            )

    def _require_same_labels(self, named: Mapping[str, Any], rows: slice) -> None:
        """Labels of the loader that are not those of the rows say that these are not its images."""
        assert self.cohort is not None
        if self.label_key not in named:
            return
        found, expected = np.asarray(named[self.label_key]).reshape(-1), self.cohort.labels[rows]
        if found.shape != expected.shape or not np.issubdtype(found.dtype, np.integer):
            return
        wrong = np.flatnonzero(found != expected)
        if len(wrong):
            first = wrong[0]
            raise ValueError(
                "labels of the loader must be those of the table's rows, whose order names the images, got "
                f"{len(wrong)} others: {found[first]} for {named[self.id_key][first]}, whose class is "
                f"{expected[first]}. Pass ids= or id_key=."
            )
