# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The planted-shortcut bundle, trained on phantoms, repaired by the overlay, and asked by exact swaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cases import kept
from models import stacked
from monai.bundle import run
from repair_rows import Floats, Row, answered, auc, effects, told

from monai_shortcut.audit import Audit, audit
from monai_shortcut.heads import LinearHead, linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.installation import overlay
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom import draw_phantom
from monai_shortcut.repair import Comparison
from monai_shortcut.storage.privacy import digest

CONFIGS = Path(__file__).parents[2] / "bundles" / "planted_shortcut" / "configs"
NEW, SWAPPED = 4_000_000, 5_000_000  # seeds of the patients of repair and audit, and of those whose scanner is swapped
PATIENTS = 600
FAINT = 0.5  # visibility of the anatomy: where it is clear, networks hardly use the scanner, and there is no repair


def place_of(folder: Path, strength: float, seed: int) -> Path:
    """The folder of a network."""
    return folder / f"strength_{strength:g}_seed_{seed}"


def train_and_repair(folder: Path, strength: float, seed: int) -> None:
    """Train and audit the bundle, and repair it on images of new patients whose scanner is independent of the plane."""
    torch.set_num_threads(1)
    place = place_of(folder, strength, seed)
    if (place / "repair" / "heads.pt").exists():
        return
    faint = {f"{name}_phantom#visibility": FAINT for name in ("train", "validation", "audit")}
    run(config_file=str(CONFIGS / "audit.json"), strength=strength, output_dir=str(place), seed=seed, **faint)
    phantom = draw_phantom(PATIENTS, 0.0, NEW + seed, visibility=FAINT, name="new")
    phantom.cohort.table.reset_index().to_csv(place / "metadata.csv", index=False)
    run(
        config_file=[str(CONFIGS / "inference.json"), str(overlay("repair"))],
        output_dir=str(place),
        strength=0.0,
        seed=NEW + seed,
        patients=PATIENTS,
        metadata_csv=str(place / "metadata.csv"),
        audit_label_names=list(phantom.cohort.label_names),
        repair_attributes=["scanner"],
        repair_dir=str(place / "repair"),
        **{"phantom#visibility": FAINT},
    )


def rows_of(folder: Path, strength: float, seed: int) -> list[Row]:
    """A row for each repair, and one for the network that was trained without the tie, if there is one."""
    torch.set_num_threads(1)
    return kept(
        folder / "rows" / f"{place_of(folder, strength, seed).name}.json", lambda: _rows(folder, strength, seed)
    )


def _rows(folder: Path, strength: float, seed: int) -> list[Row]:
    place, balanced = place_of(folder, strength, seed), place_of(folder, 0.0, seed)
    drawn = draw_phantom(150, 0.0, SWAPPED + seed, visibility=FAINT)
    items, codes = drawn.datalist(["scanner"]), (drawn.cohort.values("scanner") == "scanner B").astype(np.int64)
    images = [stacked(items, key) for key in ("image", "image_scanner")]
    old = Answering.of(place, images[0][:2])
    points = old.points(images[0]), old.points(images[1])
    labels = drawn.cohort.labels

    def truth(shown: Floats, swapped: Floats) -> tuple[float, float]:
        area = auc(np.tile(labels, 2), np.concatenate([shown, swapped]))
        return float(effects(shown, swapped, labels, codes).max()), area

    before = truth(*(old.answers(z, old.head) for z in points))
    tags = {"strength": strength, "seed": seed}
    found = []
    for name, one in torch.load(place / "repair" / "heads.pt").items():
        after = truth(*(old.answers(z, LinearHead(one["weight"], one["bias"], old.head.layer)) for z in points))
        said = told(Comparison.from_json(place / "repair" / f"comparison_{name}.json"), "scanner")
        found.append({**tags, "repair": name, **_pairs(before, after), **said})
    if strength and (balanced / "model.pt").exists():
        other = Answering.of(balanced, images[0][:2])
        after = truth(*(other.answers(other.points(shown), other.head) for shown in images))
        record = Audit.from_json(place / "repair" / "before.json")
        said = answered(record, other.audited(record, seed), "scanner")
        found.append({**tags, "repair": "retrained on balanced images", **_pairs(before, after), **said})
    return found


def _pairs(before: tuple[float, float], after: tuple[float, float]) -> Row:
    return {key: [old, new] for key, old, new in zip(("effect", "auc"), before, after, strict=True)}


@dataclass(frozen=True)
class Answering:
    """A trained network and its head."""

    network: torch.nn.Module
    head: LinearHead

    @classmethod
    def of(cls, place: Path, images: torch.Tensor) -> Answering:
        """The network of a folder."""
        network = SonoNet(spatial_dims=2, in_channels=1, out_channels=4, width=8)
        network.load_state_dict(torch.load(place / "model.pt", map_location="cpu"))
        return cls(network, linear_head(network, images=images))

    def points(self, images: torch.Tensor) -> torch.Tensor:
        """(N, D) what the head reads."""
        return torch.cat([embed(self.network, part, self.head.layer)[0] for part in images.split(100)]).double()

    def answers(self, points: torch.Tensor, head: LinearHead) -> Floats:
        """(N, C) probabilities of a head."""
        return np.asarray((points @ head.weight.double().T + head.bias.double()).softmax(dim=1))

    def audited(self, record: Audit, seed: int) -> Audit:
        """An audit of the images of another audit."""
        assert record.answers is not None
        wanted = {digest(name) for name in record.answers.image_ids}
        phantom = draw_phantom(PATIENTS, 0.0, NEW + seed, visibility=FAINT, name="new")
        chosen = phantom.cohort.select([name for name in phantom.cohort.image_ids if digest(name) in wanted])
        place = {name: row for row, name in enumerate(phantom.cohort.image_ids)}
        images = torch.tensor(np.stack([phantom.draw(place[name])[0] for name in chosen.image_ids]))
        return audit(
            self.points(images).numpy(),
            self.head.weight.double().numpy(),
            self.head.bias.double().numpy(),
            chosen.labels,
            chosen.patients.tolist(),
            {one.attribute: chosen.values(one.attribute) for one in record.findings if not one.parts},
            image_ids=list(chosen.image_ids),
            label_names=list(chosen.label_names),
            settings=record.settings,
        )
