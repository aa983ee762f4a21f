# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Two sides measured in turn, in this process or in new ones, and rows of the table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        what: what is measured.
        target: what it should be.
        values: one for each repetition; none where nothing was measured.
        form: how a value is written.
        unit: written after the median.
    """

    what: str
    target: str
    values: Sequence[float]
    form: str = "{:.1f}"
    unit: str = "times"

    def cells(self) -> list[str]:
        """What, target, median and range."""
        if not len(self.values):
            return [self.what, self.target, "not measured", ""]
        middle, low, high = (
            self.form.format(value) for value in (median(self.values), min(self.values), max(self.values))
        )
        return [self.what, self.target, f"{middle} {self.unit}".strip(), f"{low} to {high}"]


@dataclass(frozen=True)
class Row:
    """Lines of the table that one command gives, and what else it tells, in Markdown."""

    lines: tuple[Line, ...]
    details: str = ""


def seconds(step: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def interleaved(sides: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Each side's figures, all sides in turn for each repetition, every other time in reverse.

    Args:
        sides: by name, what returns the side's seconds (or another figure).
        repeats: number of repetitions.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats):
        for name in list(sides)[:: -1 if repeat % 2 else 1]:
            found[name].append(sides[name]())
            print(f"  {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return found


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """The quotient in each repetition."""
    return [a / b for a, b in zip(over, under, strict=True)]


def spans(found: Mapping[str, Sequence[float]], unit: str = "s") -> str:
    """Medians and ranges of several sides, in words."""
    return "; ".join(
        f"{name} {median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g})" for name, values in found.items()
    )


def ask(script: str, *arguments: object, python: str = sys.executable, **variables: str | None) -> dict[str, Any]:
    """What a script of this folder prints on its last line, run in a new process.

    Args:
        script: name of the file, without suffix.
        arguments: of its command line.
        python: interpreter.
        variables: of the environment, None to remove one.

    Raises:
        RuntimeError: If the script fails.
    """
    command = [python, str(HERE / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script} must succeed, got exit status {done.returncode}:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def environment(**variables: str | None) -> dict[str, str]:
    """The environment of this process with some variables changed, or removed where None."""
    changed = {**os.environ, **variables}
    return {name: value for name, value in changed.items() if value is not None}


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        f"| {' | '.join(f'{cell:.3g}' if isinstance(cell, float) else str(cell) for cell in line)} |" for line in lines
    )
