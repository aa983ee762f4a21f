# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Where a study's model looks in its test images, in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_shortcut.attribution import Answers, Attribution, AttributionSettings, attribution
from monai_shortcut.attribution.measure import first_images, not_asked, place_of
from monai_shortcut.handlers.explaining import as_explained
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.layers import unwrap
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.storage.files import replacing
from monai_shortcut.storage.records import decode, encode
from monai_shortcut.types import Unmeasurable
from monai_shortcut.workflows.configuration import digest_of

Pixels = tuple[torch.Tensor, torch.Tensor]
_FILE = "attribution.json"


@dataclass(frozen=True)
class Look:
    """What is asked of a model about one clinical label.

    Attributes:
        label: a finding of a multi-label model; "" if there is one label.
        outputs: outputs of the model that belong to it; None for all.
        label_names: its classes.
        image_ids: N images that were tested, of which some are explained.
        codes: class of each.
        patients: patient of each.
        attributes: code of each, negative where unknown, and names of the levels, by attribute.
    """

    label: str
    outputs: tuple[int, ...] | None
    label_names: tuple[str, ...]
    image_ids: tuple[str, ...]
    codes: tuple[int, ...]
    patients: tuple[str, ...]
    attributes: dict[str, tuple[tuple[int, ...], tuple[str, ...]]]


@dataclass(frozen=True)
class Looks:
    """Everything that is asked of a model; plain values that any back end can send.

    Attributes:
        settings: methods, fills and numbers of images.
        draws: bootstrap samples and permutations.
        looks: one for each clinical label.
    """

    settings: AttributionSettings
    draws: Resampling
    looks: tuple[Look, ...]

    @property
    def digest(self) -> str:
        """Its name in the file of the answers."""
        return digest_of(encode(self))

    def answered(self, folder: Path) -> bool:
        """Whether the file of a cell holds the answers."""
        path = folder / _FILE
        return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["digest"] == self.digest

    def answers(self, folder: Path) -> dict[str, Attribution]:
        """The answers that the file of a cell holds, by clinical label, or why it has none."""
        if not self.answered(folder):
            why = "the model was tested before anybody asked, and its weights are gone"
            return {look.label: not_asked(why) for look in self.looks}
        kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))["attribution"]
        return {label: decode(Attribution, value, f"attribution.{label}") for label, value in kept.items()}

    def ask(
        self, folder: Path, network: nn.Module, prepare: Callable[[Any], Any], items: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Explain the images and write the file.

        Args:
            folder: of the cell.
            network: with its weights.
            prepare: preprocessing of an item, which must give "image" and "roi".
            items: by image_id.
        """
        found = {look.label: self._explained(look, network, prepare, items) for look in self.looks}
        kept = {"digest": self.digest, "attribution": encode(found)}
        with replacing(folder / _FILE) as part:
            part.write_text(json.dumps(kept, allow_nan=False), encoding="utf-8")

    def _explained(
        self,
        look: Look,
        network: nn.Module,
        prepare: Callable[[Any], Any],
        items: Mapping[str, Mapping[str, Any]],
    ) -> Attribution:
        def prepared(row: int) -> Pixels:
            item = prepare(dict(items[look.image_ids[row]]))
            if not isinstance(item, Mapping) or not {"image", "roi"} <= set(item):
                raise Unmeasurable("validate#preprocessing must give the keys 'image' and 'roi' of one image")
            return as_explained(item["image"], item["roi"])

        try:
            places = [place_of(prepared(row)[0], self.settings.seed) for row in range(len(look.image_ids))]
            rows = first_images(places, look.codes, len(look.label_names), self.settings)
            pixels = [prepared(row) for row in rows]
        except Unmeasurable as reason:
            return not_asked(str(reason))
        if not pixels:
            return not_asked("no image was tested")
        plain, codes = unwrap(network), np.array(look.codes)
        return attribution(
            Answers(plain, None, look.outputs, _activation(plain, pixels[0][0])),
            [image for image, _ in pixels],
            [region for _, region in pixels],
            codes[rows],
            [look.patients[row] for row in rows],
            label_names=look.label_names,
            image_ids=[look.image_ids[row] for row in rows],
            attributes={name: (np.array(levels)[rows], names) for name, (levels, names) in look.attributes.items()},
            settings=self.settings,
            draws=self.draws,
        )


def _activation(network: nn.Module, image: torch.Tensor) -> str:
    """What the network ends in after its logits; "" also where its head cannot be found."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    try:
        return linear_head(network, images=torch.stack([image, image.flip(1)]).to(device)).activation
    except (ValueError, RuntimeError):
        return ""
