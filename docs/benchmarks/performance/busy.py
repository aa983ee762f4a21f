# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit alone and beside a process on each core that never rests, with threads bounded and not."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from timing import Line, Row, ask, interleaved, ratios, seconds, spans

_UNSET: dict[str, str | None] = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"))
# Variables of the environment, and whether the package may bound its threads itself.
WAYS: dict[str, tuple[dict[str, str | None], bool]] = {
    "as installed": (_UNSET, True),
    "its bounds taken away": (_UNSET, False),
    "one thread by OMP_NUM_THREADS": ({**_UNSET, "OMP_NUM_THREADS": "1"}, True),
}


@contextlib.contextmanager
def others() -> Iterator[None]:
    """A process that spins for each core."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def row(options: argparse.Namespace) -> Row:
    """Two attributes of 2,000 images and 256 columns; a fair share of the cores makes it twice as long."""
    sizes = *options.scaled(2000, 256), options.permutations(999)

    def alone(way: str) -> float:
        variables, bounded = WAYS[way]
        return float(ask("busy", *sizes, int(bounded), **variables)["seconds"])

    def beside(way: str) -> float:
        with others():
            return alone(way)

    sides = {f"{way}, {where.__name__}": partial(where, way) for way in WAYS for where in (alone, beside)}
    found = interleaved(sides, options.repeats)
    lines = tuple(
        Line(
            f"audit beside two spinning processes, over alone, {way}",
            "no collapse (fair share: 2)",
            ratios(found[f"{way}, beside"], found[f"{way}, alone"]),
            "{:.1f}",
        )
        for way in WAYS
    )
    return Row(lines, f"N = {sizes[0]:,}, D = {sizes[1]}, {sizes[2]} permutations: {spans(found)}.")


def unbound() -> None:
    """Make threadpoolctl do nothing, before the package is imported."""
    import threadpoolctl

    class Nothing(contextlib.nullcontext[None]):
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__()

        wrap = classmethod(lambda cls, *_, **__: lambda function: function)

    threadpoolctl.threadpool_limits = Nothing
    threadpoolctl.ThreadpoolController.limit = lambda self, **_: Nothing()
    threadpoolctl.ThreadpoolController.wrap = lambda self, **_: lambda function: function


def main() -> None:
    """Measure one audit."""
    parser = argparse.ArgumentParser()
    for name in ("images", "columns", "permutations", "bounded"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    if not given.bounded:
        unbound()
    from cohorts import draw

    from monai_shortcut.audit import AuditSettings

    draw(400, 16, 2).audit(AuditSettings(permutations=19))  # loads what is imported late
    drawn = draw(given.images, given.columns, 2)
    took = seconds(lambda: drawn.audit(AuditSettings(permutations=given.permutations)))
    print(json.dumps({"seconds": took}))


if __name__ == "__main__":
    main()
