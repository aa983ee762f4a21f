# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit against the forward pass of the network that gave the embeddings."""

from __future__ import annotations

import argparse
from functools import partial

import torch
from cohorts import draw
from monai.networks.nets import DenseNet121
from timing import Line, Row, interleaved, ratios, seconds, spans

from monai_shortcut.audit import AuditSettings

_BATCH = 16


def forward(images: int) -> float:
    """Seconds that DenseNet-121 needs for images of 1 x 224 x 224, in batches, after one to warm up."""
    network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=2).eval()
    batch = torch.rand(_BATCH, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(batch)
        return seconds(lambda: [network(batch) for _ in range(images // _BATCH)])


def row(options: argparse.Namespace) -> Row:
    """Ten attributes, 10,000 images of 5,000 patients, 1,024 columns, default settings."""
    images, columns = options.scaled(10_000, 1024)
    settings = AuditSettings(permutations=options.permutations(999))
    drawn, sample = draw(images, columns, 10), max(_BATCH, int(160 * options.scale) // _BATCH * _BATCH)
    draw(400, 16, 2).audit(AuditSettings(permutations=19))  # loads what is imported late
    sides = {
        "audit": partial(seconds, partial(drawn.audit, settings)),
        "forward pass": lambda: forward(sample) * images / sample,
    }
    found = interleaved(sides, options.repeats)
    shares = [100 * share for share in ratios(found["audit"], found["forward pass"])]
    what = f"audit of 10 attributes, N = {images:,}, D = {columns:,}, {settings.permutations} permutations"
    line = Line(f"{what}, against DenseNet-121's forward pass of as many images", "< 10 %", shares, "{:.1f}", "%")
    return Row((line,), f"{spans(found)}, scaled from {sample} images.")
