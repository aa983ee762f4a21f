# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Heads that have not seen a level: the code now against the code before, each in a process of its own."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cohorts import Drawn, draw
from timing import Line, Row, ask, interleaved, markdown, ratios, spans

import monai_shortcut
from monai_shortcut.cohort.levels import attribute_levels

_ATTRIBUTES = 2  # with two and three levels
_PERMUTATIONS = 10
_SEEDS = 10  # of folds and permutations, from which the Monte Carlo error is taken
_NUMBERS = ("auc_seen", "auc_unseen", "difference", "half width", "inflation")


class Sides:
    """The same arrays in a file, for the code of either side."""

    def __init__(self, folder: Path, before: Path) -> None:
        """Remember where the code of either side lies."""
        self._folder = folder
        self._paths = {"before": before.resolve(), "now": Path(monai_shortcut.__file__).parents[1]}

    def ask(self, side: str, name: str, drawn: Drawn, seeds: int) -> dict[str, Any]:
        """Seconds and numbers of one attribute, levels that are not known left out."""
        path = self._folder / f"{name}_{len(drawn.labels)}.npz"
        if not path.exists():
            levels = attribute_levels(drawn.attributes[name], drawn.patients)
            known = levels.codes >= 0
            arrays = {key: getattr(drawn, key)[known] for key in ("embeddings", "labels", "patients")}
            np.savez(path, codes=levels.codes[known], **arrays)
        told = ask("held_out_levels", path, _PERMUTATIONS, seeds, PYTHONPATH=str(self._paths[side]))
        if not Path(told["package"]).is_relative_to(self._paths[side]):
            raise RuntimeError(f"the code {side} must be that in {self._paths[side]}, got {told['package']}.")
        return told


def row(options: argparse.Namespace) -> Row:
    """Default settings on 10,000 images; equal numbers where both can be repeated often."""
    if not options.before:
        return Row((Line("held-out levels, against the code before", ">= 20 times", []),), "Needs `--before`.")
    images, columns = options.scaled(10_000, 1024)
    drawn = draw(images, columns, _ATTRIBUTES)
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), options.before)

        def took(side: str) -> float:
            return sum(sides.ask(side, name, drawn, 1)["seconds"] for name in drawn.attributes)

        found = interleaved({"before": lambda: took("before"), "now": lambda: took("now")}, options.repeats)
        equal = _equal(sides, options.scaled(1500, 64)[0], _SEEDS if options.scale == 1 else 2)
    what = f"held-out levels of {_ATTRIBUTES} attributes, N = {images:,}, D = {columns:,}, against the code before"
    line = Line(what, ">= 20 times", ratios(found["before"], found["now"]), "{:.1f}")
    return Row((line,), f"{spans(found)}.\n\n{equal}")


def _equal(sides: Sides, images: int, seeds: int) -> str:
    """Every number of both sides, and their distance in Monte Carlo errors."""
    drawn, cells = draw(images, 64, _ATTRIBUTES, seed=1), []
    for name in drawn.attributes:
        told = {side: sides.ask(side, name, drawn, seeds)["found"] for side in ("before", "now")}
        levels = [each["level"] for each in told["now"][0]]
        for index, level in enumerate(levels):
            for number in _NUMBERS:
                values = {key: [each[index][number] for each in kept] for key, kept in told.items()}
                means = {key: float(np.mean(kept)) for key, kept in values.items()}
                error = float(np.sqrt(sum(np.var(kept, ddof=1) for kept in values.values()) / seeds))
                apart = (means["now"] - means["before"]) / max(error, 1e-12)
                cells.append([name, level, number, means["before"], means["now"], error, apart])
    header = ["attribute", "level", "number", "before", "now", "Monte Carlo error", "errors apart"]
    caption = f"Means over {seeds} seeds of folds and permutations, N = {images:,}, D = 64:"
    return f"{caption}\n\n{markdown(header, cells)}"
