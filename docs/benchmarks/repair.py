# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do repairs work, and does the comparison of audits say so? Tables in Markdown.

Run from the root of the repository. Embeddings with a known truth take about five minutes on one core:

    python docs/benchmarks/repair.py --draws 8 --calibration 100

Phantom images take a training and two audits for each strength and seed; finished ones in the folder are kept, so the
study can be stopped and resumed:

    python docs/benchmarks/repair.py --phantoms output/repair --strengths 0 0.5 0.9 1 --seeds 4
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.bundle import run
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.heads import linear_head
from monai_shortcut.heads.embeddings import embed
from monai_shortcut.installation import overlay
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom import draw_phantom
from monai_shortcut.repair import Comparison, compare_audits, erase, rebalance
from monai_shortcut.repair.ruling import NO_CHANGE, REDUCED, REPAIRED, RULINGS
from monai_shortcut.statistics.erasers import fit_eraser
from monai_shortcut.types import Floats, Integers, Unmeasurable

ROOT = Path(__file__).parents[2]
SETTINGS = AuditSettings(permutations=99, bootstraps=9, repeats=1, erasures=1, held_out=0)
SIZE, POPULATION = 16, 40_000


class Images(NamedTuple):
    """Embeddings (N, 16), labels, levels, patients, and the same embeddings with the other level."""

    points: Floats
    labels: Integers
    codes: Integers
    patients: Integers
    swapped: Floats


@dataclass(frozen=True)
class World:
    """Where images come from.

    Attributes:
        trace: how far the level moves the embedding.
        disease: how far the level moves it because it is disease: it then goes along with the label in all images.
        scatter: how many times as much the coordinate that tells the classes scatters at the second level.
        tie: share of the training images whose level is that of their label, beyond chance.
    """

    trace: float = 2.0
    disease: bool = False
    scatter: float = 1.0
    tie: float = 0.8

    def draw(self, rng: np.random.Generator, patients: int, tie: float) -> Images:
        """Two images of each patient."""
        patient = np.repeat(np.arange(patients), 2)
        label = rng.integers(2, size=2 * patients)
        own = rng.random(2 * patients) < (0.5 if self.disease else tie)
        code = np.where(own, label, rng.integers(2, size=2 * patients))
        noise = rng.normal(size=(2 * patients, SIZE)) + 0.4 * rng.normal(size=(patients, SIZE))[patient]
        both = []
        for level in (code, 1 - code):
            points = noise.copy()
            points[:, 0] *= np.where(level == 1, self.scatter, 1.0)
            points[:, 0] += 1.8 * label
            points[:, 1] += self.trace * level
            both.append(points)
        return Images(both[0], label, code, patient, both[1])


WORLDS = {
    "a scanner, a strong trace": World(),
    "a scanner, a weak trace": World(trace=1.2),
    "a scanner that is not used": World(tie=0.0),
    "lesion size, which is disease": World(disease=True),
    "a trace in the scatter too": World(scatter=3.0),
}


class Head(NamedTuple):
    """A single logit."""

    weight: Floats
    bias: Floats

    def chance(self, points: Floats) -> Floats:
        """(N,) probabilities of the second class."""
        return np.asarray(expit(points @ self.weight[0] + self.bias[0]))


def fitted(images: Images) -> Head:
    """A logistic regression, as a network's last layer is trained."""
    model = LogisticRegression(max_iter=500).fit(images.points, images.labels)
    return Head(model.coef_, model.intercept_)


def plain_leace(head: Head, images: Images) -> Head:
    """Erasure without regard to the label."""
    eraser = fit_eraser(images.points, images.codes)
    taken = head.weight @ eraser.left @ eraser.right
    return Head(head.weight - taken, head.bias + taken @ eraser.centre)


def repairs(world: World, rng: np.random.Generator) -> dict[str, Callable[[Head, Images], Head]]:
    """Ways to repair a head, by name."""

    def ours(method: Callable[..., object]) -> Callable[[Head, Images], Head]:
        def repaired(head: Head, images: Images) -> Head:
            found = method(*head, images.points, images.labels, images.codes, images.patients)
            return Head(found.weight, found.bias)  # type: ignore[attr-defined]

        return repaired

    return {
        "erase": ours(erase),
        "rebalance": ours(rebalance),
        "plain LEACE": plain_leace,
        "retrained, balanced": lambda head, images: fitted(world.draw(rng, 600, 0.0)),
    }


def effects(head: Head, images: Images) -> Floats:
    """How far the mean probability and the share of answers of each label move when the level alone is swapped."""
    found = []
    for label in (0, 1):
        inside = images.labels == label
        sign = np.where(images.codes == 1, 1.0, -1.0)[inside]
        chance, other = (head.chance(points[inside]) for points in (images.points, images.swapped))
        found += [
            float((sign * (chance - other)).mean()),
            float((sign * ((chance >= 0.5) * 1.0 - (other >= 0.5))).mean()),
        ]
    return np.abs(found)


def audited(head: Head, images: Images) -> Audit:
    """The audit of the answers alone, which is cheap and judges use alike."""
    chance = head.chance(images.points)
    return audit(
        None,
        None,
        None,
        images.labels,
        [f"patient {one}" for one in images.patients],
        {"level": ["AB"[code] for code in images.codes]},
        label_names=["negative", "positive"],
        settings=SETTINGS,
        predicted=np.stack([1 - chance, chance], axis=1),
    )


def table(draws: int) -> str:
    """What repairs do, what they cost, and what the comparison says."""
    lines = [
        "| world | repair | swap effect before | after | AUC before | after | loss of AUC on the page | verdicts "
        "| repaired, though an effect of 0.1 or more is left |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, world in WORLDS.items():
        told: dict[str, list[tuple[str, Floats, Floats, Floats]]] = {}
        for seed in range(draws):
            rng = np.random.default_rng([11, seed])
            head, population = fitted(world.draw(rng, 600, world.tie)), world.draw(rng, POPULATION // 2, 0.0)
            fit, fresh = (world.draw(rng, people, world.tie / 2) for people in (400, 1500))
            before = audited(head, fresh)
            for method, repair in repairs(world, rng).items():
                try:
                    after = repair(head, fit)
                except Unmeasurable:
                    told.setdefault(method, []).append(("refused", *_truth(head, head, population), np.zeros(3)))
                    continue
                found = compare_audits(before, audited(after, fresh))
                verdict, truth = found.attributes[0].verdict, _truth(head, after, population)
                told.setdefault(method, []).append((verdict, *truth, _price(found)))
        lines += [_line(name, method, rows) for method, rows in told.items()]
    return "\n".join(lines)


def _truth(before: Head, after: Head, population: Images) -> tuple[Floats, Floats]:
    """Largest effects and areas under the ROC curve on images where level and label are independent."""
    heads = (before, after)
    areas = [roc_auc_score(population.labels, head.chance(population.points)) for head in heads]
    return np.array([effects(head, population).max() for head in heads]), np.array(areas)


def _price(found: Comparison) -> Floats:
    """Loss of the area under the ROC curve, and its limits."""
    assert found.price is not None
    assert found.price.auc is not None
    change = found.price.auc.change
    return np.array([-change.value, -change.high, -change.low])


def _line(name: str, method: str, rows: list[tuple[str, Floats, Floats, Floats]]) -> str:
    verdicts = Counter(verdict for verdict, *_ in rows)
    effect, area, price = (np.mean([row[place] for row in rows], axis=0) for place in (1, 2, 3))
    wrong = sum(verdict == REPAIRED and moved[1] >= 0.1 for verdict, moved, *_ in rows)
    cells = [name, method, f"{effect[0]:.2f}", f"{effect[1]:.2f}", f"{area[0]:.3f}", f"{area[1]:.3f}"]
    cells.append(f"{price[0]:.3f} ({price[1]:.3f} to {price[2]:.3f})")
    cells += [", ".join(f"{verdict} {count}" for verdict, count in verdicts.most_common()), str(wrong)]
    return "| " + " | ".join(cells) + " |"


def calibration(draws: int) -> Iterator[str]:
    """How often verdicts are wrong where that is easiest: an effect at the tolerance, or no change at all."""
    yield from [
        "| before | after | patients | " + " | ".join(RULINGS) + " | wrong |",
        "|---" * (len(RULINGS) + 4) + "|",
    ]
    world, population = World(trace=2.0), World(trace=2.0).draw(np.random.default_rng(3), POPULATION, 0.0)
    right = Head(np.zeros((1, SIZE)), np.zeros(1))
    right.weight[0, 0] = 1.6

    def using(effect: float) -> Head:
        """A head with a given largest effect."""
        low, high = 0.0, 3.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if effects(_with(right, middle), population).max() < effect else (low, middle)
        return _with(right, low)

    cases = [
        ("0.35", "0.10", using(0.35), using(0.10), (REPAIRED,)),
        ("0.35", "0.02", using(0.35), using(0.02), ("worse", NO_CHANGE)),
        ("0.35", "0.35, other weights", using(0.35), None, (REPAIRED, REDUCED, "worse")),
        ("0.35", "0.20", using(0.35), using(0.20), (REPAIRED, "worse")),
        ("0.02", "0.02, other weights", using(0.02), None, (REPAIRED, REDUCED, "worse")),
        ("0.10", "0.35", using(0.10), using(0.35), (REPAIRED, REDUCED, NO_CHANGE)),
    ]
    for old, new, first, second, wrong in cases:
        for patients in (150, 600, 1500):
            told = Counter[str]()
            for seed in range(draws):
                rng = np.random.default_rng([17, seed])
                fresh = world.draw(rng, patients, 0.3)
                heads = (first, second) if second else (_jittered(first, rng), _jittered(first, rng))
                pair = (audited(head, fresh) for head in heads)
                told[compare_audits(*pair).attributes[0].verdict] += 1
            shares = [f"{100 * told[verdict] / draws:.0f} %" for verdict in RULINGS]
            missed = 100 * sum(told[verdict] for verdict in wrong) / draws
            yield f"| {old} | {new} | {patients} | " + " | ".join(shares) + f" | {missed:.1f} % |"


def _with(head: Head, use: float) -> Head:
    weight = head.weight.copy()
    weight[0, 1] = use
    return Head(weight, np.array([-weight[0, 0] * 0.9 - use]))


def _jittered(head: Head, rng: np.random.Generator) -> Head:
    """The same use of the attribute, and some weights on what means nothing, always of the same length."""
    weight = head.weight.copy()
    direction = rng.normal(size=SIZE - 2)
    weight[0, 2:] = direction / np.linalg.norm(direction)
    return Head(weight, head.bias)


def phantoms(folder: Path, strengths: list[float], seeds: int) -> str:
    """Train the planted-shortcut bundle, repair it by the overlay, and ask its comparison and the exact swaps."""
    lines = [
        "| strength | repair | swap effect before | after | price in AUC | verdicts |",
        "|---|---|---|---|---|---|",
    ]
    for strength in strengths:
        told: dict[str, list[tuple[float, float, float, str]]] = {}
        for seed in range(seeds):
            place = folder / f"strength_{strength:g}_seed_{seed}"
            _run_phantom(place, strength, seed)
            swaps = json.loads((place / "swaps.json").read_text())
            for path in sorted(place.glob("repair/comparison_*.json")):
                name, found = path.stem.removeprefix("comparison_"), Comparison.from_json(path)
                price = found.price.auc.change.value if found.price and found.price.auc else float("nan")
                told.setdefault(name, []).append(
                    (swaps["before"], swaps[name], -price, found.attribute("scanner").verdict)
                )
        for name, rows in told.items():
            before, after, price = np.mean([row[:3] for row in rows], axis=0)
            verdicts = ", ".join(
                f"{verdict} {count}" for verdict, count in Counter(row[3] for row in rows).most_common()
            )
            lines.append(f"| {strength:g} | {name} | {before:.2f} | {after:.2f} | {price:.3f} | {verdicts} |")
    return "\n".join(lines)


def _run_phantom(place: Path, strength: float, seed: int) -> None:
    """Train and audit the bundle, repair it on balanced images of new patients, and swap the scanner of others."""
    if (place / "swaps.json").exists():
        return
    configs = ROOT / "bundles" / "planted_shortcut" / "configs"
    run(config_file=str(configs / "audit.json"), strength=strength, output_dir=str(place), seed=seed)
    phantom = draw_phantom(600, 0.0, 4_000_000 + seed, name="new")
    phantom.cohort.table.reset_index().to_csv(place / "metadata.csv", index=False)
    run(
        config_file=[str(configs / "inference.json"), str(overlay("repair"))],
        output_dir=str(place),
        strength=0.0,
        seed=4_000_000 + seed,
        patients=600,
        metadata_csv=str(place / "metadata.csv"),
        audit_label_names=list(phantom.cohort.label_names),
        repair_attributes=["scanner"],
        repair_dir=str(place / "repair"),
    )
    (place / "swaps.json").write_text(json.dumps(_swaps(place, seed)))


def _swaps(place: Path, seed: int) -> dict[str, float]:
    """Mean probability that moves between classes when the scanner of the same image is swapped, by head."""
    network = SonoNet(spatial_dims=2, in_channels=1, out_channels=4, width=8)
    network.load_state_dict(torch.load(place / "model.pt", map_location="cpu"))
    items = draw_phantom(150, 0.0, 5_000_000 + seed).datalist(["scanner"])
    images = [torch.stack([torch.as_tensor(item[key]) for item in items]) for key in ("image", "image_scanner")]
    old = linear_head(network, images=images[0][:2])
    heads = {"before": (old.weight, old.bias)}
    for name, one in torch.load(place / "repair" / "heads.pt").items():
        heads[name] = (one["weight"], one["bias"])
    points = [embed(network, shown, old.layer)[0].double() for shown in images]
    found = {}
    for name, (weight, bias) in heads.items():
        first, second = ((z @ weight.double().T + bias.double()).softmax(dim=1) for z in points)
        found[name] = float(0.5 * (first - second).abs().sum(dim=1).mean())
    return found


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--calibration", type=int, default=100, help="draws of each row")
    parser.add_argument("--phantoms", type=Path, help="folder of trainings; nothing else is then run")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 0.9, 1.0])
    parser.add_argument("--seeds", type=int, default=4)
    chosen = parser.parse_args()
    if chosen.phantoms:
        print(phantoms(chosen.phantoms, chosen.strengths, chosen.seeds))
        return
    if chosen.draws:
        print(table(chosen.draws), end="\n\n", flush=True)
    for line in calibration(chosen.calibration) if chosen.calibration else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
