# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory and time of the streamed form on a file of embeddings: one row of a table for each number of images.

python docs/benchmarks/performance/streaming.py 500000 5000000

The file is read block by block, not mapped: pages of a mapped file count as memory of the process as long as nobody
else needs it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from memory import status
from numpy.typing import NDArray
from timing import ask, markdown

_BLOCK = 50_000  # images of a block, even, so that it holds whole patients
_HEADER = ["images", "columns", "permutations", "embeddings, MB", "peak above imports, MB", "seconds", "p"]


def measure(rows: int, columns: int, permutations: int = 99, folder: Path | None = None) -> dict[str, Any]:
    """Write a file of embeddings, then ask about them in a new process.

    Args:
        rows: number of images, even; two of each patient.
        columns: number of columns of float32, at least 2.
        permutations: number of null copies.
        folder: where the file lies for as long as it is needed; a temporary one by default.

    Returns:
        "peak" in bytes above what imports take, "seconds", and both p-values.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        file = Path(inside) / "embeddings.f32"
        write(file, rows, columns)
        return ask("streaming", "--file", file, "--columns", columns, "--permutations", permutations, rows)


def told(start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Labels, patients and codes (count,) of images from a position on; a twentieth of the codes is missing."""
    person = np.arange(start, start + count) // 2
    word = (person * 2_654_435_761 >> 7) & 0xFFFF
    return word & 1, person, np.where((word >> 2) % 20 == 3, -1, word >> 1 & 1)


def write(file: Path, rows: int, columns: int) -> None:
    """Draw embeddings block by block: label and code show, half of the rest of the variance is the patient's."""
    with file.open("wb") as out:
        for start in range(0, rows, _BLOCK):
            rng, count = np.random.default_rng(start), min(_BLOCK, rows - start)
            points = rng.standard_normal((count, columns), dtype=np.float32)
            points += np.repeat(rng.standard_normal((count // 2, columns), dtype=np.float32), 2, axis=0)
            label, _, code = told(start, count)
            points[:, 0] += 2 * label
            points[:, 1] += np.float32(0.05) * code
            points.tofile(out)


def read(file: Path, columns: int) -> Iterator[tuple[NDArray[np.float32], Any, Any, Any]]:
    """Blocks as `stream` takes them."""
    with file.open("rb") as source:
        start = 0
        while len(values := np.fromfile(source, np.float32, _BLOCK * columns)):
            points = values.reshape(-1, columns)
            label, person, code = told(start, len(points))
            yield points, label, person, code
            start += len(points)


def ask_stream(file: Path, columns: int, permutations: int) -> dict[str, Any]:
    """Run the streamed form here."""
    from monai_shortcut.audit.streaming import stream
    from monai_shortcut.statistics.resampling import Resampling

    weight = np.zeros((2, columns))
    weight[1, :2] = 1, 0.5
    before, start = status("VmHWM"), time.perf_counter()
    draws = Resampling(permutations=permutations)
    encoding, gap = stream(lambda: read(file, columns), weight, [0.0, -1.0], levels=2, draws=draws)
    took, peak = time.perf_counter() - start, status("VmHWM") - before
    return {"peak": peak, "seconds": took, "p": [encoding.test.p_value, gap.test.p_value]}


def main() -> None:
    """Print a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="+")
    parser.add_argument("--columns", type=int, default=64)
    parser.add_argument("--permutations", type=int, default=99)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--file", type=Path, help="measure this file in this process")
    given = parser.parse_args()
    if given.file:
        print(json.dumps(ask_stream(given.file, given.columns, given.permutations)))
        return
    cells = []
    for rows in given.rows:
        found = measure(rows, given.columns, given.permutations, given.folder)
        sizes = rows * given.columns * 4 / 1e6, found["peak"] / 1e6, found["seconds"]
        cells.append([f"{rows:,}", given.columns, given.permutations, *(f"{size:,.0f}" for size in sizes), found["p"]])
    print(markdown(_HEADER, cells))


if __name__ == "__main__":
    main()
