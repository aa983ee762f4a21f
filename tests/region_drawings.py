# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Regions to test with, and what becomes of them, worked out pixel by pixel."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

SHAPES = [(9, 11), (6, 7, 5)]


def blob(rng: np.random.Generator, shape: tuple[int, ...], share: float = 0.1) -> torch.Tensor:
    roi = torch.from_numpy(rng.random(shape) < share)
    roi[tuple(n // 2 for n in shape)] = True
    return roi


def disk(shape: tuple[int, ...], radius: float) -> torch.Tensor:
    steps = np.indices(shape) - np.array([n // 2 for n in shape]).reshape(-1, *[1] * len(shape))
    return torch.from_numpy((steps**2).sum(axis=0) <= radius**2)


def box_by_hand(roi: torch.Tensor) -> torch.Tensor:
    box = torch.zeros_like(roi)
    points = [p for p in itertools.product(*map(range, roi.shape)) if roi[p]]
    limits = [(min(p[axis] for p in points), max(p[axis] for p in points)) for axis in range(roi.ndim)]
    for p in itertools.product(*map(range, roi.shape)):
        box[p] = all(first <= step <= last for step, (first, last) in zip(p, limits, strict=True))
    return box


def dilated_by_hand(
    roi: torch.Tensor, margin: float, spacing: tuple[float, ...], metric: str = "euclidean"
) -> torch.Tensor:
    """A pixel joins (leaves) when any region (background) pixel lies within the margin."""
    result = roi.clone()
    everywhere = list(itertools.product(*map(range, roi.shape)))
    others = np.array([p for p in everywhere if bool(roi[p]) == (margin > 0)]).reshape(-1, roi.ndim)
    for p in everywhere:
        steps = np.abs(others - p) * spacing
        distances = np.sqrt((steps**2).sum(axis=1)) if metric == "euclidean" else steps.sum(axis=1)
        if (distances <= abs(margin) + 1e-6).any():
            result[p] = margin > 0
    return result


def moved_by_hand(roi: torch.Tensor) -> tuple[list[torch.Tensor], list[int]]:
    """The region at every place of the image where its whole shape fits, and the pixels it shares with itself there."""
    box = tuple(slice(int(p.min()), int(p.max()) + 1) for p in roi.nonzero().T)
    shape = roi[box]
    places, shared = [], []
    for start in itertools.product(*(range(n - size + 1) for n, size in zip(roi.shape, shape.shape, strict=True))):
        moved = torch.zeros_like(roi)
        moved[tuple(slice(first, first + size) for first, size in zip(start, shape.shape, strict=True))] = shape
        places.append(moved)
        shared.append(int((moved & roi).sum()))
    return places, shared


def reach_by_hand(known: torch.Tensor) -> float:
    """How far the deepest hidden pixel is from a visible one."""
    hidden, seen = (~known).nonzero().tolist(), known.nonzero().tolist()
    return max(min(math.dist(p, q) for q in seen) for p in hidden)
