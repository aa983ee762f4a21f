# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An evaluation of all masking strategies and a counterfactual in one pass."""

from __future__ import annotations

import argparse

from evaluation import BATCH, measure
from timing import Line, Row


def row(options: argparse.Namespace) -> Row:
    """What `evaluation.measure` finds, against the forward passes alone."""
    images = max(BATCH, int(48 * options.scale) // BATCH * BATCH)
    found = measure(options.repeats, images)
    what = f"evaluation of {images} images under all masking strategies and a counterfactual, against forward passes"
    values = [found[name] for name in ("min", "median", "max")]
    told = "DenseNet-121, 224 x 224, batches of 16; data loader, masking and recording count, the audit does not."
    return Row((Line(what, "<= 1.1 times", values, "{:.2f}"),), told)
