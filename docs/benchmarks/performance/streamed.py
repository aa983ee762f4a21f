# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory of an audit that reads its embeddings from a file, as the number of images grows."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from timing import Line, Row, ask, markdown

_ROWS = 5_000_000
_SHARES = (0.1, 0.2, 0.5, 1.0)
# The streamed form: "module.function" that takes what `monai_shortcut.audit.audit` takes, the embeddings a mapped file.
FORM = ""


def row(options: argparse.Namespace) -> Row:
    """Up to five million images of 128 columns."""
    images, columns = options.scaled(_ROWS, 128)
    what = f"streamed form: peak memory at {images:,} images over that at a tenth of them, D = {columns}"
    if not FORM:
        return Row((Line(what, "does not grow (1.0)", []),), "The streamed form is not named yet.")
    sizes = [max(400, round(images * share) // 2 * 2) for share in _SHARES]
    told = [{size: _asked(options, size, columns) for size in sizes} for _ in range(options.repeats)]
    growth = [each[sizes[-1]]["peak"] / each[sizes[0]]["peak"] for each in told]
    cells = [
        [f"{size:,}", size * columns * 4 / 1e6, kept["peak"] / 1e6, kept["seconds"]] for size, kept in told[-1].items()
    ]
    table = markdown(["images", "embeddings, MB", "peak, MB", "seconds"], cells)
    return Row((Line(what, "does not grow (1.0)", growth, "{:.2f}"),), f"{table}")


def _asked(options: argparse.Namespace, images: int, columns: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        return ask("streamed", Path(folder) / "embeddings", images, columns, options.permutations(999))


def anonymous(process: int) -> int:
    """Bytes that a process holds in memory and that are not pages of a file, which the system may drop."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def watch(process: int, told: Connection) -> None:
    """Send the most that a process held, looked at every 5 ms until something is received."""
    most = 0
    while not told.poll(0.005):
        most = max(most, anonymous(process))
    told.send(most)


def main() -> None:
    """Measure one audit of a file drawn for it, above what is held once file, labels and attributes are there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    for name in ("images", "columns", "permutations"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    from pkgutil import resolve_name

    from cohorts import draw

    from monai_shortcut.audit import AuditSettings

    drawn, form = draw(given.images, given.columns, 2, file=given.path), resolve_name(FORM)
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")  # a process of its own: a thread would wait for long calls
    watching, before = context.Process(target=watch, args=(os.getpid(), there)), anonymous(os.getpid())
    watching.start()
    start = time.perf_counter()
    drawn.audit(AuditSettings(permutations=given.permutations), form)
    took = time.perf_counter() - start
    here.send("done")
    peak = here.recv() - before
    watching.join()
    print(json.dumps({"peak": peak, "seconds": took}))


if __name__ == "__main__":
    main()
