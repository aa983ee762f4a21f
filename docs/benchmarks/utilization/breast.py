# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Models of real breast ultrasound: trained on a device-by-label table, or on images with a planted mark."""

from __future__ import annotations

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
    whole = cohort_of(folder)
    two = whole.select(
        [i for i, device in zip(whole.image_ids, whole.values("device"), strict=True) if device in DEVICES]
    )
    training = two.in_folds(0, 1, 2).draw("device", TABLES[table], seed)
    network = train(
        images_of(training),
        training.labels,
        {"device": codes_of(training.values("device"))},
        multi_task=multi_task,
        seed=seed,
        epochs=25,
        flips=True,
    )
    case, truth = (_device_case(network, two.in_folds(fold)) for fold in (3, 4))
    case.truth["device"] = _score_gap(truth)
    case.tags.update(part="devices", table=table, seed=seed, model="multi-task" if multi_task else "post-hoc")
    return {"unseen": case}


def _device_case(network: torch.nn.Module, cohort: Cohort) -> Case:
    images = images_of(cohort)
    head = linear_head(network, images=images[:2])
    return Case(
        embeddings=embeddings_of(network, images, head.layer),
        weight=head.weight.numpy().astype(np.float64),
        bias=head.bias.numpy().astype(np.float64),
        labels=cohort.labels,
        patients=cohort.patients,
        attributes={"device": cohort.values("device")},
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
    network = train(
        _marked(images_of(training), levels, mark),
        training.labels,
        {"mark": codes_of(levels)},
        multi_task=multi_task,
        seed=seed,
        epochs=12,
    )
    audited, cases = cohort.in_folds(3, 4), {}
    plain = images_of(audited)
    for evaluated, tie in (("balanced", 0.0), ("biased", strength)):
        levels = planted_levels(audited.labels, audited.image_ids, tie, start + 1)
        images = _marked(plain, levels, mark)
        head = linear_head(network, images=images[:2])
        case = Case(
            embeddings=embeddings_of(network, images, head.layer),
            weight=head.weight.numpy().astype(np.float64),
            bias=head.bias.numpy().astype(np.float64),
            labels=audited.labels,
            patients=audited.patients,
            attributes={"mark": levels},
            truth={},
            heads=heads_of(network),
            tags={
                "part": "marks",
                "mark": mark,
                "strength": strength,
                "seed": seed,
                "model": "multi-task" if multi_task else "post-hoc",
                "evaluated": evaluated,
            },
        )
        other = np.where(levels == "present", "absent", "present")
        swapped = embeddings_of(network, _marked(plain, other, mark), head.layer)
        case.truth["mark"] = moved(answers(case), answers(case, swapped))
        cases[evaluated] = case
    return cases


def _marked(images: torch.Tensor, levels: np.ndarray, mark: str) -> torch.Tensor:
    shown = [
        plant_mark(image, mark) if level == "present" else image for image, level in zip(images, levels, strict=True)
    ]
    return torch.stack(shown)
