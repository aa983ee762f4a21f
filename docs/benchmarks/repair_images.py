# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks of breast ultrasound, repaired: planted marks, whose swap is exact, devices, and the size of the lesion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import breast
import numpy as np
import torch
from cases import SETTINGS, Case, answers, audited, kept, load, moved, save, seed_of
from models import codes_of, train
from monai.networks.nets import DenseNet121
from repair_rows import Floats, Row, answered, auc, effects, refused, shortkit_heads

from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.marks import planted_levels
from monai_shortcut.repair import erase, rebalance, sampling_weights
from monai_shortcut.types import Unmeasurable

TIE = 0.9  # of mark and label in training; in the images of the repair and of the audits it is half of it
NETWORKS = {"SonoNet-16": partial(SonoNet, 2, 1), "DenseNet-121": partial(DenseNet121, 2, 1)}
SCENARIOS = {"marks": breast.MARKS, "devices": ("device",), "size": ("lesion size",)}
# Names of the patients of the fit and of the audit. Devices leave few: both halves, by turns.
TURNS = {"marks": (("fit", "audit"),), "devices": (("3", "4"), ("4", "3")), "size": (("fit", "audit"),)}
DRAWS = replace(SETTINGS, erasures=1)
Cases = dict[str, Case]


def marks(folder: Path, mark: str, seed: int, make: breast.Make, processor: str) -> Cases:
    """A network trained on images whose mark goes along with the label, and one where it does not."""
    cohort, start = breast.cohort_of(folder), seed_of("repair", mark, seed)
    training, found = cohort.in_folds(0, 1), {}
    for name, tie in (("biased", TIE), ("balanced", 0.0)):
        levels = planted_levels(training.labels, training.image_ids, tie, start)
        network = breast.mark_network(training, levels, mark, seed, make=make, processor=processor)
        for number, (part, folds) in enumerate((("fit", (2,)), ("audit", (3, 4))), 1):
            own = cohort.in_folds(*folds)
            levels = planted_levels(own.labels, own.image_ids, TIE / 2, start + number)
            pair = breast.mark_pair(network, own, levels, mark, processor)
            found |= dict(zip((f"{name} {part}", f"{name} {part} swapped"), pair, strict=True))
        del found[f"{name} fit swapped"]
    return found


def devices(folder: Path, _: str, seed: int, make: breast.Make, processor: str) -> Cases:
    """A network trained on a device-by-label table, and one on equal counts."""
    cohort = breast.two_devices(breast.cohort_of(folder))
    found = {}
    for name in ("biased", "balanced"):
        network = breast.device_network(cohort.in_folds(0, 1, 2), name, seed, make=make, processor=processor)
        for fold in (3, 4):
            own = cohort.in_folds(fold)
            found[f"{name} {fold}"] = breast.case_of(network, breast.images_of(own).to(processor), own, "device")
    return found


def size(folder: Path, _: str, seed: int, make: breast.Make, processor: str) -> Cases:
    """A network trained on the images as they are; its attribute is whether the lesion is large, which is disease."""
    cohort = breast.cohort_of(folder)
    middle = np.median(cohort.values("lesion_fraction").astype(float))
    training, found = cohort.in_folds(0, 1), {}
    images = breast.images_of(training).to(processor)
    network = train(images, training.labels, {}, multi_task=False, seed=seed, epochs=12, flips=True, make=make)
    for part, folds in (("fit", (2,)), ("audit", (3, 4))):
        own = cohort.in_folds(*folds)
        large = own.values("lesion_fraction").astype(float) > middle
        levels = np.where(large, "large", "small").astype(object)
        shown = breast.images_of(own).to(processor)
        found[f"biased {part}"] = breast.case_of(network, shown, own, "lesion size", levels)
    return found


STUDIES: dict[str, Callable[[Path, str, int, breast.Make, str], Cases]] = {
    "marks": marks,
    "devices": devices,
    "size": size,
}


@dataclass(frozen=True)
class Shown:
    """Images that a head answers, and the same with the other level where that can be shown."""

    case: Case
    swapped: Case | None

    def behind(self, weight: Floats, bias: Floats) -> Shown:
        """The same images and another head; of a single logit, the first row is zero."""
        if len(weight) == 1:
            weight, bias = np.concatenate([0 * weight, weight]), np.append(0.0, bias)
        cases = (one and replace(one, weight=weight, bias=bias) for one in (self.case, self.swapped))
        return Shown(*cases)

    @property
    def codes(self) -> np.ndarray:
        """(N,) levels."""
        (levels,) = self.case.attributes.values()
        return codes_of(levels)

    def truth(self) -> Row:
        """The largest effect of a swap and how far it moves probabilities; area where level and label are independent.

        Without a swap, the images weigh so that they are.
        """
        if self.swapped is None:
            weights = sampling_weights(self.case.labels, self.codes)
            return {"auc": auc(self.case.labels, answers(self.case), weights)}
        both, labels = (answers(self.case), answers(self.swapped)), self.case.labels
        return {
            "effect": float(effects(*both, labels, self.codes).max()),
            "moved": moved(*both),
            "auc": auc(np.tile(labels, 2), np.concatenate(both)),
        }


def fits(folder: Path, part: str, name: str) -> Iterator[tuple[str, Path]]:
    """The cases that repairs of the biased network are fitted to, and where they are kept."""
    for fit, _ in TURNS[part]:
        yield fit, folder / "fits" / f"{name}_{fit}.npz"


def one_network(
    folder: Path, data: Path, part: str, network: str, scenario: str, seed: int, processor: str
) -> list[Row]:
    """Train unless the cases are kept, and repair and audit unless the rows are."""
    torch.set_num_threads(1)
    name = "_".join([part, network, scenario.replace(" ", "-"), str(seed)])
    if part == "size":
        names = [f"biased {one}" for one in ("fit", "audit")]
    else:
        sets = ("fit", "audit", "audit swapped") if part == "marks" else ("3", "4")
        names = [f"{model} {one}" for model in ("biased", "balanced") for one in sets]
    paths = {one: folder / "cases" / name / f"{one}.npz" for one in names}
    if not all(path.exists() for path in paths.values()):
        made = STUDIES[part](data, scenario, seed, NETWORKS[network], processor)
        for one, path in paths.items():
            save(made[one], path)
        for fit, path in fits(folder, part, name):
            save(made[f"biased {fit}"], path)
    cases: Cases = {}

    def rows(of: Callable[[Cases, str, str, str], Iterator[Row]], model: str) -> list[Row]:
        if not cases:
            cases.update({one: load(path) for one, path in paths.items()})
        tags = {"part": part, "network": network, "scenario": scenario, "trained": model, "seed": seed}
        found = []
        for fit, audit in TURNS[part]:
            found += [{**tags, "fit": fit, **row} for row in of(cases, model, fit, audit)]
        return found

    told = []
    for model in ("biased", "balanced") if part != "size" else ("biased",):
        told += kept(folder / "rows" / f"{name}_{model}.json", lambda model=model: rows(measured, model))
    heads = {fit: shortkit_heads(path.with_suffix(".json")) for fit, path in fits(folder, part, name)}
    if all(heads.values()):
        of = partial(measured_heads, heads)
        told += kept(folder / "rows" / f"{name}_shortkit.json", lambda: rows(of, "biased"))
    return told


def measured(cases: Cases, model: str, fit: str, audit: str) -> Iterator[Row]:
    """A row for each repair of a network."""
    given, before = cases[f"{model} {fit}"], _shown(cases, model, audit)
    (attribute,) = given.attributes
    record = audited(before.case, DRAWS)
    codes = codes_of(given.attributes[attribute])
    for name, repair in (("erase", erase), ("rebalance", rebalance)):
        try:
            head = repair(given.weight, given.bias, given.embeddings, given.labels, codes, given.patients)
        except Unmeasurable as why:
            yield {"repair": name, **_pairs(before, before), **refused(why)}
            continue
        yield _row(name, before, before.behind(head.weight, head.bias), record, attribute)
    if model == "biased" and f"balanced {audit}" in cases:
        yield _row("retrained on balanced images", before, _shown(cases, "balanced", audit), record, attribute)


def measured_heads(
    heads: dict[str, dict[str, tuple[Floats, Floats]]], cases: Cases, model: str, fit: str, audit: str
) -> Iterator[Row]:
    """A row for each head from elsewhere."""
    before = _shown(cases, model, audit)
    (attribute,) = before.case.attributes
    record = audited(before.case, DRAWS)
    for name, head in heads[fit].items():
        yield _row(name, before, before.behind(*head), record, attribute)


def _shown(cases: Cases, model: str, audit: str) -> Shown:
    return Shown(cases[f"{model} {audit}"], cases.get(f"{model} {audit} swapped"))


def _row(name: str, before: Shown, after: Shown, record: object, attribute: str) -> Row:
    return {"repair": name, **_pairs(before, after), **answered(record, audited(after.case, DRAWS), attribute)}


def _pairs(before: Shown, after: Shown) -> Row:
    old, new = before.truth(), after.truth()
    return {key: [old[key], new[key]] for key in old}
