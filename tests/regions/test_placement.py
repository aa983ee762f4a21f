# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from region_drawings import SHAPES, blob, disk, moved_by_hand
from scipy.stats import kstest

from monai_shortcut.regions.placement import shift_region
from monai_shortcut.regions.strategies import RegionError


def crowded(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """A ragged region in a box so large that no place is free of it."""
    roi = torch.zeros(shape, dtype=torch.bool)
    box = tuple(slice(n // 3, n - 1) for n in shape)
    roi[box] = torch.from_numpy(rng.random([n - 1 - n // 3 for n in shape]) < 0.6)
    for axis in range(roi.ndim):  # a cross, which no place in the image avoids
        roi[
            tuple(slice(part.start + 1, part.start + 2) if other == axis else part for other, part in enumerate(box))
        ] = True
    return roi


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["small", "crowded"])
def test_the_place_is_one_of_least_overlap_among_all_places(rng, shape, kind):
    for _ in range(10):
        corner = tuple(int(rng.integers(n - 2)) for n in shape)
        roi = torch.zeros(shape, dtype=torch.bool)
        roi[tuple(slice(first, first + 2) for first in corner)] = True
        roi[corner] = False
        roi = roi if kind == "small" else crowded(rng, shape)
        moved = shift_region(roi)
        places, shared = moved_by_hand(roi)
        assert any(torch.equal(moved, place) for place in places)  # whole, and never wrapped
        assert int((moved & roi).sum()) == min(shared)
        assert (min(shared) == 0) == (kind == "small")
        assert max(shared) == int(roi.sum())


def test_places_are_drawn_with_equal_chances(rng):
    ranks, blocks = [], []
    for _ in range(300):
        corner = rng.integers(1, 7, 2)
        roi = torch.zeros(9, 10, dtype=torch.bool)
        roi[corner[0] : corner[0] + 2, corner[1] : corner[1] + 3] = torch.from_numpy(rng.random((2, 3)) < 0.7)
        if roi.sum() < 2:
            continue
        places, shared = moved_by_hand(roi)
        free = [place for place, count in zip(places, shared, strict=True) if count == min(shared)]
        moved = shift_region(roi)
        rank = [torch.equal(moved, place) for place in free].index(True)
        ranks.append((rank + rng.random()) / len(free))
        blocks.append(rank == 0)
    assert kstest(ranks, "uniform").pvalue > 0.01
    assert np.mean(blocks) < 0.1  # the control: it is not simply the first


def test_the_place_follows_from_the_region_alone(rng):
    roi = blob(rng, (9, 11), 0.0)
    roi[4, 5:7] = True
    assert torch.equal(shift_region(roi), shift_region(roi.clone()))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(shift_region(roi), shift_region(roi))
    others = [shift_region(roi.roll(step, 1)).nonzero()[0].tolist() for step in range(4)]
    assert len({tuple(place) for place in others}) > 1


@pytest.mark.parametrize(("columns", "shared"), [(4, 0), (5, 2), (6, None)])
def test_at_least_half_of_the_region_stays_visible(columns, shared):
    roi = torch.zeros(2, 8, dtype=torch.bool)
    roi[:, :columns] = True  # the farthest place shares 2 * (2 * columns - 8) pixels of 2 * columns
    if shared is None:
        with pytest.raises(
            RegionError,
            match=r"shifted_roi needs a place that leaves at least half of the region visible, got a region of 12 "
            r"pixels in an image of \(2, 8\), of which at most 4 stay visible\.",
        ):
            shift_region(roi)
    else:
        assert int((shift_region(roi) & roi).sum()) == 2 * shared


@pytest.mark.parametrize("shape", SHAPES)
def test_a_region_that_fills_the_image_has_no_other_place(shape):
    with pytest.raises(RegionError, match="of which at most 0 stay visible"):
        shift_region(torch.ones(shape, dtype=torch.bool))
    with pytest.raises(RegionError, match="roi must hold at least one pixel"):
        shift_region(torch.zeros(shape, dtype=torch.bool))


def test_half_of_a_ring_may_be_covered_by_itself():
    ring = disk((15, 15), 7) & ~disk((15, 15), 4)
    with pytest.raises(RegionError, match="shifted_roi needs a place"):  # its box is the whole image
        shift_region(ring)
    larger = torch.zeros(15, 18, dtype=torch.bool)
    larger[:, :15] = ring
    moved, (_, shared) = shift_region(larger), moved_by_hand(larger)
    assert 0 < int((moved & larger).sum()) == min(shared) <= int(larger.sum()) / 2
