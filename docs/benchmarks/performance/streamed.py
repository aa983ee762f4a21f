# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory of the streamed form as the number of images grows."""

from __future__ import annotations

import argparse

from streaming import measure
from timing import Line, Row, markdown

_ROWS, _COLUMNS = 5_000_000, 64


def row(options: argparse.Namespace) -> Row:
    """Five million images of 64 columns, and a tenth of them."""
    images, columns = options.scaled(_ROWS, _COLUMNS)
    sizes = [max(400, round(images * share) // 2 * 2) for share in (0.1, 1.0)]
    told = [
        {size: measure(size, columns, options.permutations(99), options.folder) for size in sizes}
        for _ in range(options.repeats)
    ]
    growth = [each[sizes[1]]["peak"] / each[sizes[0]]["peak"] for each in told]
    cells = [
        [f"{size:,}", size * columns * 4 / 1e6, found["peak"] / 1e6, found["seconds"]]
        for size, found in told[-1].items()
    ]
    table = markdown(["images", "embeddings, MB", "peak above imports, MB", "seconds"], cells)
    what = f"streamed form: peak memory at {images:,} images over that at a tenth of them, D = {columns}"
    return Row((Line(what, "does not grow (1.0)", growth, "{:.2f}"),), table)
