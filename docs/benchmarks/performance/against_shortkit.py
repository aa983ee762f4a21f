# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit of five attributes against ShortKit-ML's cheap methods on the same arrays, in an environment of its own."""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from cohorts import draw
from timing import Line, Row, ask, interleaved, ratios, seconds, spans

from monai_shortcut.audit import AuditSettings


def row(options: argparse.Namespace) -> Row:
    """Five attributes as categories, every value known: it takes no others."""
    if not options.shortkit_python:
        return Row((Line("five attributes against ShortKit-ML 0.1.0", "faster", []),), "Needs `--shortkit_python`.")
    images, columns = options.scaled(10_000, 1024)
    settings = AuditSettings(permutations=options.permutations(999))
    drawn = draw(images, columns, 5).as_categories()
    codes = np.stack([values.astype(np.int64) for values in drawn.attributes.values()])
    draw(400, 16, 2).audit(AuditSettings(permutations=19))  # loads what is imported late
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "arrays.npz"
        np.savez(path, embeddings=drawn.embeddings, labels=drawn.labels, attributes=codes)
        sides = {
            "audit": partial(seconds, partial(drawn.audit, settings)),
            "ShortKit-ML": lambda: float(
                ask("shortkit_cheap", path, python=options.shortkit_python, MPLBACKEND="agg")["seconds"]
            ),
        }
        found = interleaved(sides, options.repeats)
    what = f"the same for 5 attributes, N = {images:,}, against ShortKit-ML 0.1.0's seven cheap methods"
    factors = ratios(found["ShortKit-ML"], found["audit"])
    return Row((Line(what, "faster (> 1)", factors, "{:.1f}"),), f"{spans(found)}.")
