# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What an audit would rest on, and how long it would take, before it is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_info

from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit.power import least_use
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.levels import Levels

# Seconds of an attribute on one core: of all that does not grow, of a number of the embedding, of an image and
# permutation, and of all three.
_SECONDS = (0.1, 2.5e-3, 1.2e-7, 8e-10)


@dataclass(frozen=True)
class Preview:
    """What an audit would rest on.

    Attributes:
        images: number of images.
        patients: number of patients.
        cells: images and patients by attribute, label and level, a row each; pairs of levels of intersections too.
        left_out: images of levels that too few patients have, by attribute.
        noticed: the smallest use that would be found, or why the attribute cannot be analysed, by attribute.
        seconds: about how long the audit takes here.
    """

    images: int
    patients: int
    cells: pd.DataFrame
    left_out: dict[str, dict[str, int]]
    noticed: dict[str, str]
    seconds: float

    def __str__(self) -> str:
        lines = [f"{self.images} images of {self.patients} patients", "", self.cells.to_string(index=False), ""]
        lines += [f"{name}: left out, too few patients: {_counted(rare)}" for name, rare in self.left_out.items()]
        lines += [f"{name}: {told}" for name, told in self.noticed.items()]
        return "\n".join([*lines, "", f"the audit takes about {max(self.seconds, 1):.0f} s here"])


def foreseen_audit(
    sample: Sample,
    coded: Mapping[str, Levels],
    settings: AuditSettings,
    label_names: Sequence[str],
    audits: int,
    parts: Mapping[str, tuple[str, ...]],
) -> Preview:
    """The preview of an audit.

    Args:
        sample: the images.
        coded: levels by attribute.
        settings: settings of the audit.
        label_names: names of the classes.
        audits: number of audits over which p-values are adjusted.
        parts: the two attributes of each intersection among them.
    """
    noticed = {name: f"cannot be analysed: {levels.problem}" for name, levels in coded.items() if levels.problem}
    width = 0 if sample.embeddings is None else sample.weight.shape[1]
    return Preview(
        images=len(sample),
        patients=len(np.unique(sample.patients)),
        cells=_cells(sample, coded, label_names),
        left_out={name: levels.left_out for name, levels in coded.items() if levels.left_out},
        noticed=noticed | least_use(sample, coded, settings, label_names, audits, parts),
        seconds=len(coded) * expected_seconds(len(sample), width, settings.permutations) / cores(),
    )


def expected_seconds(images: int, width: int, permutations: int) -> float:
    """About how long an attribute takes on one core, as measured from 120 x 64 to 10,000 x 1,024 numbers.

    Args:
        images: number of images.
        width: numbers of an embedding; 0 without.
        permutations: number of permutations.

    Example:
        >>> round(expected_seconds(10_000, 1024, 999), 1)
        12.0
    """
    always, number, image, each = _SECONDS
    return always + number * width + (image + each * width) * images * permutations


def _counted(rare: Mapping[str, int]) -> str:
    return ", ".join(f"{level} ({images} images)" for level, images in rare.items())


def cores() -> int:
    """How many threads BLAS may use: as many attributes are analysed side by side."""
    return max([pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"], default=1)


def _cells(sample: Sample, coded: Mapping[str, Levels], label_names: Sequence[str]) -> pd.DataFrame:
    rows = []
    for name, levels in coded.items():
        for label, called in enumerate(label_names):
            for code, level in enumerate(levels.names):
                inside = (sample.labels == label) & (levels.codes == code)
                rows.append((name, called, level, int(inside.sum()), len(np.unique(sample.patients[inside]))))
    return pd.DataFrame(rows, columns=["attribute", "label", "level", "images", "patients"])
