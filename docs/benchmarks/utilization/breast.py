# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Models of real breast ultrasound: trained on a device-by-label table, or on images with a planted mark."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
from cases import Case, answers, moved, seed_of
from models import codes_of, embeddings_of, heads_of, train
from monai.transforms import Compose, LoadImaged, Resized, ScaleIntensityRanged, SpatialPadd

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import read_busbra
from monai_shortcut.heads import linear_head
from monai_shortcut.phantom.marks import plant_mark, planted_levels

SIZE = 96
DEVICES = ("GE Logiq 5", "GE Logiq 7")
TABLES = {
    "balanced": {label: dict.fromkeys(DEVICES, 80) for label in ("benign", "malignant")},
    "biased": {
        "benign": {"GE Logiq 5": 20, "GE Logiq 7": 200},
        "malignant": {"GE Logiq 5": 90, "GE Logiq 7": 10},
    },
}
MARKS = ("tag", "gain", "blur")
STRENGTHS = (0.0, 0.5, 0.9)
Make = Callable[[int], torch.nn.Module]  # a network for a number of classes


@cache
def cohort_of(folder: Path) -> Cohort:
    """The cohort in five patient-grouped folds: three to train, two to audit."""
    return read_busbra(folder).with_folds(5, 0)


@cache
def reading() -> Compose:
    """From a file to an image (1, SIZE, SIZE) in [0, 1], its longest side fitted, rows and columns as in the file."""
    return Compose(
        [
            LoadImaged("image", reader="PILReader", reverse_indexing=False, ensure_channel_first=True),
            Resized("image", spatial_size=SIZE, size_mode="longest", mode="area"),
            SpatialPadd("image", spatial_size=(SIZE, SIZE)),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
        ]
    )


@cache
def image_of(path: str) -> torch.Tensor:
    """One image (1, SIZE, SIZE)."""
    return torch.as_tensor(reading()({"image": path})["image"].as_tensor())


def images_of(cohort: Cohort) -> torch.Tensor:
    """(N, 1, SIZE, SIZE)."""
    return torch.stack([image_of(path) for path in cohort.table["image"]])


def device_cases(folder: Path, table: str, seed: int, multi_task: bool) -> dict[str, Case]:
    """A model trained on a device-by-label table; its truth is the gap in score between devices on other patients."""
    two = two_devices(cohort_of(folder))
    network = device_network(two.in_folds(0, 1, 2), table, seed, multi_task)
    case, truth = (case_of(network, images_of(part), part, "device") for part in (two.in_folds(3), two.in_folds(4)))
    case.truth["device"] = _score_gap(truth)
    case.tags.update(part="devices", table=table, seed=seed, model="multi-task" if multi_task else "post-hoc")
    return {"unseen": case}


def two_devices(cohort: Cohort) -> Cohort:
    """The images of both devices."""
    pairs = zip(cohort.image_ids, cohort.values("device"), strict=True)
    return cohort.select([image for image, device in pairs if device in DEVICES])


def device_network(
    cohort: Cohort, table: str, seed: int, multi_task: bool = False, make: Make | None = None, processor: str = "cpu"
) -> torch.nn.Module:
    """A network trained on images of a cohort that are drawn to a device-by-label table."""
    training = cohort.draw("device", TABLES[table], seed)
    return train(
        images_of(training).to(processor),
        training.labels,
        {"device": codes_of(training.values("device"))},
        multi_task=multi_task,
        seed=seed,
        epochs=25,
        flips=True,
        make=make,
    )


def case_of(
    network: torch.nn.Module,
    images: torch.Tensor,
    cohort: Cohort,
    attribute: str,
    levels: np.ndarray | None = None,
) -> Case:
    """A network and images (N, 1, H, W) of a cohort, with its attribute unless other levels are given."""
    head = linear_head(network, images=images[:2])
    return Case(
        embeddings=embeddings_of(network, images, head.layer),
        weight=head.weight.cpu().numpy().astype(np.float64),
        bias=head.bias.cpu().numpy().astype(np.float64),
        labels=cohort.labels,
        patients=cohort.patients,
        attributes={attribute: cohort.values(attribute) if levels is None else levels},
        truth={},
        heads=heads_of(network),
    )


def _score_gap(case: Case) -> float:
    """Difference of the mean score between devices within labels, in standard deviations of the score within labels."""
    logits = case.embeddings @ case.weight.T + case.bias
    score, code = logits[:, 1] - logits[:, 0], codes_of(case.attributes["device"])
    gaps, spread = [], []
    for label in np.unique(case.labels):
        parts = [score[(case.labels == label) & (code == level)] for level in (0, 1)]
        gaps.append(parts[1].mean() - parts[0].mean())
        spread += [part.var(ddof=1) for part in parts]
    return float(abs(np.mean(gaps)) / np.sqrt(np.mean(spread)))


def mark_cases(folder: Path, mark: str, strength: float, seed: int, multi_task: bool) -> dict[str, Case]:
    """A model trained on images whose mark is tied to the label; swapping the mark gives its exact effect."""
    cohort, start = cohort_of(folder), seed_of("mark", mark, strength, seed)
    training = cohort.in_folds(0, 1, 2)
    levels = planted_levels(training.labels, training.image_ids, strength, start)
    network = mark_network(training, levels, mark, seed, multi_task)
    audited, cases = cohort.in_folds(3, 4), {}
    for evaluated, tie in (("balanced", 0.0), ("biased", strength)):
        levels = planted_levels(audited.labels, audited.image_ids, tie, start + 1)
        case, other = mark_pair(network, audited, levels, mark)
        case.truth["mark"] = moved(answers(case), answers(other))
        case.tags.update(part="marks", mark=mark, strength=strength, seed=seed, evaluated=evaluated)
        case.tags.update(model="multi-task" if multi_task else "post-hoc")
        cases[evaluated] = case
    return cases


def mark_network(
    cohort: Cohort,
    levels: np.ndarray,
    mark: str,
    seed: int,
    multi_task: bool = False,
    make: Make | None = None,
    processor: str = "cpu",
) -> torch.nn.Module:
    """A network trained on images of a cohort that carry a mark where the levels say so."""
    return train(
        _marked(images_of(cohort), levels, mark).to(processor),
        cohort.labels,
        {"mark": codes_of(levels)},
        multi_task=multi_task,
        seed=seed,
        epochs=12,
        make=make,
    )


def mark_pair(
    network: torch.nn.Module, cohort: Cohort, levels: np.ndarray, mark: str, processor: str = "cpu"
) -> tuple[Case, Case]:
    """Images of a cohort as the levels say, and the same images with the other level."""
    other = np.where(levels == "present", "absent", "present")
    images = (_marked(images_of(cohort), shown, mark).to(processor) for shown in (levels, other))
    own, swapped = (
        case_of(network, shown, cohort, "mark", level) for shown, level in zip(images, (levels, other), strict=True)
    )
    return own, swapped


def _marked(images: torch.Tensor, levels: np.ndarray, mark: str) -> torch.Tensor:
    shown = [
        plant_mark(image, mark) if level == "present" else image for image, level in zip(images, levels, strict=True)
    ]
    return torch.stack(shown)
