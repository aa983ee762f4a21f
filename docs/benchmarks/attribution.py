# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which attribution method can be trusted? Judged where the truth is known: a mark tied to the label, swapped.

A model is trained on images whose corner carries a mark in step with the label, more or less strictly. Swapping the
mark in the same images gives its true effect. A method that tells the truth finds more outside the region of interest
the larger that effect is, image by image and model by model, and nothing to speak of where there is none.

    python docs/benchmarks/attribution.py OUT                                  # phantoms
    python docs/benchmarks/attribution.py OUT --busbra DATA/busbra-breast-us   # and breast ultrasound
    python docs/benchmarks/attribution.py OUT --tables                         # the tables of what is in OUT
    python docs/benchmarks/attribution.py OUT --seconds                        # the time for an image

Every model is a file in OUT; a second run does what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.networks.nets import DenseNet121
from monai.transforms import Compose, LoadImaged, Resized, ScaleIntensityRanged, SpatialPadd
from monai.utils import set_determinism
from scipy.stats import spearmanr

from monai_shortcut.attribution.checks import run_checks
from monai_shortcut.attribution.measure import first_images
from monai_shortcut.attribution.methods import METHODS, Answers, Question, attributions, question_of
from monai_shortcut.attribution.parts import OUTSIDE, region_parts
from monai_shortcut.attribution.settings import REGIONAL, AttributionSettings
from monai_shortcut.attribution.shares import Cases, Explanation, level_differences
from monai_shortcut.datasets import read_busbra, usable
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.marks import plant_mark, planted
from monai_shortcut.phantom.regions import draw_region_phantom
from monai_shortcut.statistics.resampling import Resampling
from monai_shortcut.types import Unmeasurable

DRAWS = Resampling(bootstraps=499, permutations=499)
FILLS: tuple[float | str, ...] = (0.0, "mean", "blur")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images (N, 1, H, W) without marks, their regions, labels, patients and names."""

    images: torch.Tensor
    regions: torch.Tensor
    labels: np.ndarray
    patients: np.ndarray
    names: tuple[str, ...]

    def marked(self, present: np.ndarray) -> torch.Tensor:
        """The images with a tag in the corner where it is present."""
        pairs = zip(self.images, present, strict=True)
        return torch.stack([plant_mark(image, "tag") if shown else image for image, shown in pairs])

    def first(self, count: int) -> Pictures:
        """So many images of each label, in the order of a hash of the patient."""
        settings = AttributionSettings(images=2 * count)
        hashes = [hashlib.blake2b(f"0/{patient}".encode(), digest_size=8).digest() for patient in self.patients]
        places = list(zip(hashes, self.names, strict=True))
        return self.rows(np.array(first_images(places, self.labels, 2, settings)))

    def rows(self, rows: np.ndarray) -> Pictures:
        """Some of the images."""
        names = tuple(self.names[row] for row in rows)
        return Pictures(self.images[rows], self.regions[rows], self.labels[rows], self.patients[rows], names)


def phantoms(patients: int, seed: int, name: str) -> Pictures:
    """Images whose class shows inside the region alone; no reader can be better than an area of 0.92."""
    drawn = draw_region_phantom("inside", patients, seed, name=name)
    pairs = [drawn.draw(index) for index in range(len(drawn.cohort))]
    images, regions = (torch.from_numpy(np.stack(arrays)).float() for arrays in zip(*pairs, strict=True))
    return Pictures(images, regions, drawn.cohort.labels, drawn.cohort.patients, tuple(drawn.cohort.image_ids))


@cache
def breasts(folder: Path, size: int) -> tuple[Pictures, Pictures]:
    """Breast ultrasound: three folds to train, two to audit."""
    reading = Compose(
        [
            LoadImaged(["image", "roi"], reader="PILReader", reverse_indexing=False, ensure_channel_first=True),
            Resized(["image", "roi"], spatial_size=size, size_mode="longest", mode=["area", "nearest"]),
            SpatialPadd(["image", "roi"], spatial_size=(size, size)),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
        ]
    )
    cohort, found = usable(read_busbra(folder)).with_folds(5, 0), []
    for folds in ((0, 1, 2), (3, 4)):
        part = cohort.in_folds(*folds)
        items = [reading(item) for item in part.datalist()]
        images, regions = (torch.stack([item[key].as_tensor() for item in items]) for key in ("image", "roi"))
        found.append(Pictures(images, (regions != 0).float(), part.labels, part.patients, tuple(part.image_ids)))
    return found[0], found[1]


def train(images: torch.Tensor, labels: np.ndarray, seed: int, epochs: int, width: int = 8) -> torch.nn.Module:
    """A SonoNet trained on images (N, 1, H, W), where they are."""
    set_determinism(seed)
    network = SonoNet(2, 1, 2, width).to(images.device)
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.Adam(network.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    order, targets = torch.Generator().manual_seed(seed), torch.as_tensor(labels, device=images.device)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(images), generator=order).split(32):
            if len(batch) > 1:
                optimizer.zero_grad()
                loss(network(images[batch]), targets[batch]).backward()
                optimizer.step()
        schedule.step()
    return network.eval()


def judged(part: str, strength: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One model: its truth, and what every method says of it."""
    if part == "phantom":
        training, audited = (
            phantoms(options.patients, 2 * seed, "train"),
            phantoms(options.patients, 2 * seed + 1, "audit"),
        )
    else:
        training, audited = breasts(options.busbra, options.size)
        training = training.rows(np.arange(len(training.labels))[: options.training])
    present = planted(training.labels, training.names, strength, seed)
    network = train(training.marked(present).to(options.processor), training.labels, seed, options.epochs)
    shown = audited.first(-(-options.images // 2))
    present = planted(shown.labels, shown.names, 0.0, seed + 1)  # the mark says nothing of the label here
    images, swapped = (shown.marked(levels).to(options.processor) for levels in (present, ~present))
    answers = Answers(network)
    with torch.no_grad():
        before, after = (
            torch.cat([answers(block) for block in given.split(50)]).double().cpu() for given in (images, swapped)
        )
        own = torch.arange(len(images)), torch.as_tensor(shown.labels)
        effect = (torch.sigmoid(after[own]) - torch.sigmoid(before[own])).abs().numpy()
        moved = (after[own] - before[own]).abs().numpy()
        accuracy = float((before.argmax(dim=1).numpy() == shown.labels).mean())
    tags = {"part": part, "strength": strength, "seed": seed, "accuracy": accuracy, "truth": float(effect.mean())}
    return {**tags, "methods": list(said(answers, images, shown, present, moved, options))}


def said(
    answers: torch.nn.Module,
    images: torch.Tensor,
    shown: Pictures,
    present: np.ndarray,
    moved: np.ndarray,
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """What every method says, with every fill that it can have."""
    parts, targets = region_parts(shown.regions), torch.as_tensor(shown.labels)
    settings = AttributionSettings(steps=options.steps, cells=6, samples=4, curve_steps=5)
    for method in METHODS.values():
        fills = FILLS if method.name == REGIONAL else FILLS[:2] if method.baseline == "fill" else FILLS[:1]
        for fill in fills:
            whole = question_of(answers, images, parts, targets, fill, settings)
            row = {"method": method.name, "fill": "background" if method.baseline == "background" else str(fill)}
            try:
                yield row | said_by(whole, method, shown, present, moved)
            except Unmeasurable as reason:
                yield row | {"problem": str(reason)}


def said_by(whole: Question, method: Any, shown: Pictures, present: np.ndarray, moved: np.ndarray) -> dict[str, Any]:
    """Shares outside, their agreement with the truth image by image, and the checks of one method."""
    began = perf_counter()
    blocks = range(0, len(whole.images), 8)
    maps = torch.cat([attributions(method, whole.rows(slice(first, first + 8))) for first in blocks])
    seconds = (perf_counter() - began) / len(maps)
    found, cases = Explanation.of(maps, whole.parts), Cases(shown.labels, shown.patients, ("0", "1"), DRAWS)
    outside, known = found.shares[:, OUTSIDE], np.isfinite(found.shares[:, OUTSIDE])
    excess = cases.means((outside - found.area[:, OUTSIDE])[:, None], known)[0]
    levels, _ = level_differences(outside, cases, {"mark": (present.astype(int), ("absent", "present"))})
    checked = slice(0, 12)
    checks = run_checks(method, whole.rows(checked), maps[checked], cases.first(len(maps[checked])).ratio)
    return {
        "outside": float(np.nanmean(outside)),
        "excess": [excess.value, excess.low, excess.high],
        "marked": float(np.nanmean(outside[present])),
        "unmarked": float(np.nanmean(outside[~present])),
        "logits": float(found.absolute[:, OUTSIDE].mean()),
        "image_correlation": float(np.nan_to_num(spearmanr(found.absolute[:, OUTSIDE], moved).statistic)),
        "level_p": levels[0].test.p_value if levels else None,
        "completeness": checks.completeness,
        "survival": checks.survival,
        "passed": checks.passed,
        "seconds": seconds,
    }


def tables(cases: Sequence[Mapping[str, Any]], show: Callable[[str], object] = print) -> None:
    """The models, then the methods, in Markdown."""
    rows = pd.DataFrame(
        [{**{k: v for k, v in case.items() if k != "methods"}, **row} for case in cases for row in case["methods"]]
    )
    rows = rows[rows.get("problem", pd.Series(index=rows.index, dtype=object)).isna()]
    for part, own in rows.groupby("part", sort=False):
        truth = own.drop_duplicates(["strength", "seed"]).groupby("strength")
        show(f"\n{part}, {own.groupby(['strength', 'seed']).ngroups} models\n")
        show("| strength | models | accuracy | true effect of a swap |\n|---|---|---|---|")
        for strength, group in truth:
            show(f"| {strength:g} | {len(group)} | {group.accuracy.mean():.2f} | {group.truth.mean():.3f} |")
        show(
            "\n| method | fill | outside, by strength | rank correlation with the truth: share | logits "
            "| image by image | alarms at 0: more than its area | levels differ, by strength | passes checks "
            "| s per image |\n|---|---|---|---|---|---|---|---|---|---|"
        )
        for (method, fill), group in own.groupby(["method", "fill"], sort=False):
            show(_line(method, fill, group))


def _line(method: str, fill: str, group: pd.DataFrame) -> str:
    none, differ = group[group.strength == 0], (group.level_p <= 0.05).groupby(group.strength).sum()
    tied = group[group.truth > 0.05]
    by_strength = ", ".join(f"{value:.2f}" for value in group.groupby("strength").outside.mean())
    cells = [
        method,
        fill,
        by_strength,
        f"{spearmanr(group.outside, group.truth).statistic:.2f}",
        f"{spearmanr(group.logits, group.truth).statistic:.2f}",
        f"{tied.image_correlation.mean():.2f}" if len(tied) else "-",
        f"{sum(limits[1] > 0 for limits in none.excess)} of {len(none)}",
        f"{', '.join(map(str, differ))} of {len(none)}",
        f"{group.passed.sum()} of {len(group)}",
        f"{group.seconds.median():.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def seconds(size: int = 128, images: int = 4) -> None:
    """Processor time of one thread for an image of SonoNet-16 and DenseNet-121, by method and fill."""
    torch.set_num_threads(1)
    networks = {"SonoNet-16": SonoNet(2, 1, 2, 16), "DenseNet-121": DenseNet121(2, 1, 2)}
    shown, regions = torch.rand(images, 1, size, size), torch.zeros(images, 1, size, size)
    regions[:, :, size // 3 : size // 2, size // 3 : size // 2] = 1
    print(f"| method | fill | {' | '.join(networks)} |\n|---|---|---|---|")
    for method in METHODS.values():
        for fill in FILLS if method.name == REGIONAL else FILLS[:1]:
            spent = []
            for network in networks.values():
                targets = torch.zeros(images, dtype=torch.int64)
                question = question_of(
                    Answers(network.eval()), shown, region_parts(regions), targets, fill, AttributionSettings()
                )
                began = process_time()
                attributions(method, question)
                spent.append(f"{(process_time() - began) / images:.2f}")
            against = "other images" if method.baseline == "background" else fill
            print(f"| {method.name} | {against} | {' | '.join(spent)} |")


def main() -> None:
    """Train and judge what is missing, or print the tables."""
    options = arguments()
    if options.seconds:
        seconds()
        return
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.tables:
        parts = [options.only] if options.only else ["phantom", *(["busbra"] if options.busbra else [])]
        models = product(parts, range(options.seeds), options.strengths)
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            list(pool.map(partial(kept, options), *zip(*models, strict=True)))
    tables([json.loads(place.read_text(encoding="utf-8")) for place in sorted(options.out.glob("*_*_*.json"))])


def kept(options: argparse.Namespace, part: str, seed: int, strength: float) -> None:
    """Judge the methods on one model and write what was found, unless that was done."""
    torch.set_num_threads(max(1, torch.get_num_threads() // options.workers))
    place = options.out / f"{part}_{strength:g}_{seed}.json"
    if not place.exists():
        found = judged(part, strength, seed, options)
        place.write_text(json.dumps(found, indent=1), encoding="utf-8")
        print(place.name, f"truth {found['truth']:.3f}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the models' files")
    parser.add_argument("--busbra", type=Path, help="folder of BUS-BRA")
    parser.add_argument("--only", choices=("phantom", "busbra"), help="one part alone")
    parser.add_argument("--tables", action="store_true", help="only print the tables")
    parser.add_argument("--seconds", action="store_true", help="only measure the time for an image")
    parser.add_argument("--seeds", type=int, default=5, help="models of each strength")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 0.25, 0.5, 0.75, 0.9, 1], help="of the tie")
    parser.add_argument("--images", type=int, default=60, help="that are explained")
    parser.add_argument("--patients", type=int, default=300, help="of a phantom cohort, two images each")
    parser.add_argument("--training", type=int, default=10_000, help="breast images to train on, at most")
    parser.add_argument("--size", type=int, default=96, help="side of the breast images in pixels")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=24, help="of integrated gradients")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--processor", default="cpu", help="of the networks: cpu or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
