# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Is a scanner that no table names found among the embeddings of phantoms? A table in Markdown, by seed and strength.

Run from the root of the repository; embeddings in the folder are kept, so the study can be stopped and resumed:

    python docs/benchmarks/slices.py --folder output/slices
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.bundle import run

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.fetal_planes import PLANES, draw_phantom

CONFIG = Path(__file__).parents[2] / "bundles" / "planted_shortcut" / "configs" / "audit.json"
WITHHELD, LISTED = "scanner", ("annotation", "operator")
AGREES = 0.6  # Cramer's V of a group and the scanner; what `AuditSettings.alike` takes for the same with errors


def measured(folder: Path, strength: float, seed: int, patients: int) -> Path:
    """Train the bundle, and keep what the head reads of new images whose scanner is independent of the plane."""
    place = folder / f"strength_{strength:g}_seed_{seed}"
    arrays = place / "arrays.npz"
    if arrays.exists():
        return arrays
    chosen = {"strength": strength, "seed": seed, "output_dir": str(place), "patients": 200, "epochs": 6}
    run(config_file=str(CONFIG), run=["$@train#trainer.run()"], **chosen)
    network = SonoNet(spatial_dims=2, in_channels=1, out_channels=4, width=8)
    network.load_state_dict(torch.load(place / "model.pt", map_location="cpu"))
    phantom = draw_phantom(patients, 0.0, 2_000_000 + seed, name="audit")
    images = torch.stack([torch.as_tensor(item["image"]) for item in phantom.datalist()])
    head = linear_head(network, images=images[:2])
    points = torch.cat([embed(network, part, head.layer)[0] for part in images.split(100)])
    table = phantom.cohort.table
    np.savez(
        arrays,
        embeddings=points.numpy(),
        weight=head.weight.double().numpy(),
        bias=head.bias.double().numpy(),
        labels=phantom.cohort.labels,
        patients=table["patient_id"].to_numpy(str),
        **{name: table[name].to_numpy(str) for name in (WITHHELD, *LISTED)},
    )
    return arrays


def audited(arrays: Path, seed: int, withheld: bool) -> Audit:
    """The audit of what is kept; the scanner's column is among the attributes unless it is withheld."""
    kept = np.load(arrays)
    settings = AuditSettings(
        seed=seed, permutations=199, bootstraps=49, repeats=1, erasures=1, held_out=0, discovered_groups=4
    )
    names = LISTED if withheld else (WITHHELD, *LISTED)
    return audit(
        *(kept[name] for name in ("embeddings", "weight", "bias", "labels", "patients")),
        {name: kept[name] for name in names},
        label_names=PLANES,
        settings=settings,
    )


class Judged(NamedTuple):
    """What an audit says of groups, and how they agree with the scanner."""

    differ: bool
    p_value: float | None
    agreement: dict[str, float]
    alone: bool

    @property
    def found(self) -> bool:
        """Whether predictions are said to differ and a group is the scanner."""
        return self.differ and max(self.agreement.values(), default=0.0) >= AGREES


def judged(arrays: Path, seed: int) -> Judged:
    """The audit without the scanner's column, then what one with it knows of the same groups.

    No column enters the search, so that both find the same groups; this is checked.
    """
    blind, knowing = (audited(arrays, seed, withheld) for withheld in (True, False))
    said, known = blind.discovered, knowing.discovered
    if said is None or known is None or said.found is None or known.found is None:
        raise RuntimeError(f"groups must have been looked for, got {said and said.reason!r}.")
    if [one.strengths for one in said.found.groupings] != [one.strengths for one in known.found.groupings]:
        raise RuntimeError("the groups must not depend on the listed columns.")
    agreement = {
        grouping.way: max(
            one.association for group in grouping.groups for one in group.explained if one.attribute == WITHHELD
        )
        for grouping, _ in known.found.compared
    }
    return Judged(said.differ, said.p_value, agreement, knowing.finding(WITHHELD).verdict == "used")


def lines(found: dict[tuple[float, int], Judged]) -> list[str]:
    """A row for each training, then the sums."""
    told = [
        "| strength | seed | predictions differ | p | V with the scanner, groups of embeddings | of errors | found "
        '| with its column: "used" |',
        "|---|---|---|---|---|---|---|---|",
    ]
    for (strength, seed), one in sorted(found.items()):
        agreement = [f"{one.agreement[way]:.2f}" if way in one.agreement else "-" for way in ("embeddings", "errors")]
        p_value = "-" if one.p_value is None else f"{one.p_value:.3f}"
        cells = [f"{strength:g}", str(seed), _yes(one.differ), p_value, *agreement, _yes(one.found), _yes(one.alone)]
        told.append("| " + " | ".join(cells) + " |")
    for strength in sorted({strength for strength, _ in found}):
        chosen = [one for (value, _), one in found.items() if value == strength]
        sums = [sum(getattr(one, name) for one in chosen) for name in ("found", "differ")]
        told.append(f"\nStrength {strength:g}: found in {sums[0]} of {len(chosen)}, differ in {sums[1]}.")
    return told


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, audit, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/slices"))
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--patients", type=int, default=400, help="of the audited images, three of each")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keys = [(strength, seed) for seed in given.seeds for strength in given.strengths]
    print("\n".join(lines({key: judged(measured(given.folder, *key, given.patients), key[1]) for key in keys})))


if __name__ == "__main__":
    main()
