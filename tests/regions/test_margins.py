# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from region_drawings import SHAPES, blob, box_by_hand, dilated_by_hand, disk
from scipy import ndimage

from monai_shortcut.regions import margins as margins_module
from monai_shortcut.regions.growth import Growth
from monai_shortcut.regions.margins import METRICS
from monai_shortcut.regions.strategies import RegionError, RegionMargins, dilate


@pytest.mark.parametrize("margin", [-2.5, -math.sqrt(2), -1, -0.5, 0.5, 1, math.sqrt(2), 2, 3.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_margins_equal_brute_force_pixel_distances(rng, shape, margin):
    roi = disk(shape, 3) if margin < 0 else blob(rng, shape, 0.03)
    expected = dilated_by_hand(roi, margin, (1.0,) * len(shape))
    if expected.any():
        assert torch.equal(dilate(roi, margin), expected)
    else:
        with pytest.raises(ValueError, match="at least one pixel"):
            dilate(roi, margin)


@pytest.mark.parametrize("spacing", [(0.5, 2.0), (0.1, 0.3), (0.7, 0.7, 1.5)])
@pytest.mark.parametrize("steps", [-1, 1, 3])
def test_millimetres_equal_brute_force_distances(rng, spacing, steps):
    shape = SHAPES[len(spacing) - 2]
    roi = disk(shape, 3) if steps < 0 else blob(rng, shape, 0.03)
    margin = steps * spacing[0]
    for given in (spacing, np.float32(spacing), torch.tensor(spacing)):  # headers keep float32: 3 * 0.1 must reach 0.3
        assert torch.equal(dilate(roi, margin, "mm", given), dilated_by_hand(roi, margin, spacing))


@pytest.mark.parametrize("radius", [1, 2, 3.5])
def test_margins_equal_scipys_morphology_with_a_disk(rng, radius):
    footprint = disk((9, 9), radius).numpy()
    roi = blob(rng, (30, 31), 0.01)
    grown = ndimage.binary_dilation(roi.numpy(), footprint)
    assert np.array_equal(dilate(roi, radius), grown)
    roi = disk((30, 31), 11)
    shrunk = ndimage.binary_erosion(roi.numpy(), footprint, border_value=1)
    assert np.array_equal(dilate(roi, -radius), shrunk)
    assert not np.array_equal(dilate(roi, -radius - 1), shrunk)


@pytest.mark.parametrize(("unit", "scale"), [("pixel", 3), ("mm", 3), ("area", 1)])
def test_margins_are_nested_and_zero_is_the_region_itself(rng, unit, scale):
    roi = disk((25, 24), 6)
    roi[8, 12] = False  # a hole near the edge
    spacing = (0.8, 1.3)
    regions = [dilate(roi, scale * margin, unit, spacing) for margin in (-0.35, -0.3, -0.2, 0, 0.3, 1, 1.6)]
    for smaller, larger in itertools.pairwise(regions):
        assert not (smaller & ~larger).any()
    assert torch.equal(regions[3], roi)
    assert regions[0].sum() < roi.sum() < regions[-1].sum()


def test_growing_a_box_is_not_growing_its_region(rng):
    roi = disk((25, 24), 6)
    assert torch.equal(dilate(box_by_hand(roi), 0), box_by_hand(roi))
    assert (dilate(box_by_hand(roi), 2) & ~dilate(roi, 2)).any()


@pytest.mark.parametrize("margin", [-0.9, -0.5, -0.25, 0.1, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("roi", [disk((40, 41), 7), disk((14, 15, 13), 4), torch.ones(12, 10, dtype=torch.bool)])
def test_the_area_asked_is_reached(roi, margin):
    wanted = min(round((1 + margin) * int(roi.sum())), roi.numel())
    assert int(dilate(roi, margin, "area").sum()) == wanted
    assert int(dilate(roi, margin / 2, "area").sum()) != wanted or wanted == roi.numel()


def test_the_area_unit_takes_the_nearest_pixels_first():
    roi = disk((40, 41), 7)
    grown = dilate(roi, 0.7, "area")
    distance = torch.from_numpy(ndimage.distance_transform_edt(~roi))
    assert distance[grown].max() <= distance[~grown].min()
    shrunk = dilate(roi, -0.4, "area")
    depth = torch.from_numpy(ndimage.distance_transform_edt(roi))
    assert depth[shrunk].min() >= depth[roi & ~shrunk].max()


def test_pixels_at_the_last_distance_come_in_order_from_the_centre():
    roi = torch.zeros(7, 7)
    roi[2:5, 2:5] = 1
    roi_and_the_middle_of_each_side = roi.bool()
    roi_and_the_middle_of_each_side[[1, 3, 3, 5], [3, 1, 5, 3]] = True
    assert torch.equal(dilate(roi, 4 / 9, "area"), roi_and_the_middle_of_each_side)


def test_a_region_that_fills_the_image_has_no_edge_to_shrink_from():
    roi = torch.ones(6, 7)
    assert dilate(roi, -2).all()
    assert dilate(roi, 2).all()
    roi[0, 0] = 0
    assert torch.equal(dilate(roi, -2), dilated_by_hand(roi.bool(), -2, (1, 1)))


@pytest.mark.parametrize(("margin", "unit"), [(-4, "pixel"), (-4, "mm"), (-1, "area"), (-0.999, "area")])
def test_a_margin_that_leaves_nothing_is_an_error(margin, unit):
    with pytest.raises(RegionError, match=f"margin must leave at least one pixel .* got margin={margin} {unit}"):
        dilate(disk((9, 9), 3), margin, unit, spacing=(1, 1))


def test_dilate_neither_changes_nor_shares_its_region():
    roi = disk((9, 9), 3)
    for margin in (-1, 0, 1):
        dilate(roi, margin)[:] = False
    assert torch.equal(roi, disk((9, 9), 3))


def test_millimetres_need_one_positive_spacing_per_axis():
    roi = disk((9, 9), 3)
    with pytest.raises(ValueError, match=r'unit="mm" needs the spacing .* got none'):
        dilate(roi, 0, "mm")
    for spacing in [(1.0,), (1.0, 0.0), (1.0, math.nan), (1.0, -1.0), (1.0, 1.0, 1.0)]:
        with pytest.raises(ValueError, match="spacing must be 2 positive numbers, one per spatial axis, got"):
            dilate(roi, 1, "mm", spacing)


# --- taxicab


@pytest.mark.parametrize("passes", [1, 2, 5, 40])
@pytest.mark.parametrize("shape", [(30, 31), (14, 13, 12)])
def test_taxicab_pixels_equal_passes_of_a_cross(rng, shape, passes):
    cross = ndimage.generate_binary_structure(len(shape), 1)
    roi = blob(rng, shape, 0.01)
    grown = ndimage.binary_dilation(roi.numpy(), cross, iterations=passes)
    assert np.array_equal(dilate(roi, passes, metric="taxicab"), grown)
    if passes == 5:  # the disks of 1 and 2 pixels are diamonds, and 40 fill the image
        assert not np.array_equal(dilate(roi, passes), grown)
    holes = ~blob(rng, shape, 0.002)
    holes[tuple(n // 2 for n in shape)] = True
    for region in (holes, torch.ones(shape, dtype=torch.bool), disk(shape, 11)):
        shrunk = ndimage.binary_erosion(region.numpy(), cross, iterations=passes, border_value=1)
        if shrunk.any():
            assert np.array_equal(dilate(region, -passes, metric="taxicab"), shrunk)
        else:
            with pytest.raises(RegionError, match="at least one pixel"):
                dilate(region, -passes, metric="taxicab")


@pytest.mark.parametrize("spacing", [(0.5, 2.0), (0.1, 0.3), (0.7, 0.7, 1.5)])
@pytest.mark.parametrize("steps", [-1, 1, 3])
def test_taxicab_millimetres_equal_brute_force_distances(rng, spacing, steps):
    shape = SHAPES[len(spacing) - 2]
    roi = disk(shape, 3) if steps < 0 else blob(rng, shape, 0.03)
    margin = steps * spacing[0]
    expected = dilated_by_hand(roi, margin, spacing, "taxicab")
    for given in (spacing, np.float32(spacing), torch.tensor(spacing)):
        assert torch.equal(dilate(roi, margin, "mm", given, "taxicab"), expected)


@pytest.mark.parametrize("step", [0.25, 0.1, 3.0])
def test_equal_steps_make_scaled_taxicab_distances_scipys(rng, step):
    for shape in ((20, 21), (9, 8, 7)):
        roi = blob(rng, shape, 0.01)
        for margin in (1, 2, 4):
            scaled = dilate(roi, margin * step, "mm", (step,) * len(shape), "taxicab")
            assert torch.equal(scaled, dilate(roi, margin, metric="taxicab"))


def test_a_taxicab_area_is_reached_by_its_nearest_pixels():
    roi = disk((40, 41), 7)
    grown = dilate(roi, 0.7, "area", metric="taxicab")
    assert int(grown.sum()) == round(1.7 * int(roi.sum()))
    distance = torch.from_numpy(ndimage.distance_transform_cdt(~roi, "taxicab"))
    assert distance[grown].max() <= distance[~grown].min()


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match=f"metric must be one of {', '.join(METRICS)}, got 'chessboard'"):
        dilate(disk((9, 9), 3), 1, metric="chessboard")


# --- many margins of one region


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("unit", ["pixel", "mm", "area"])
def test_many_margins_equal_one_at_a_time_in_any_order(rng, unit, metric):
    roi = torch.stack([disk((25, 24), 6), blob(rng, (25, 24), 0.3)])
    wanted = [0.3, -0.2, 4, 1.6, -0.1, 0, 30, 0.5] if unit != "area" else [0.3, -0.2, 1.6, -0.5, 0, 0.7]
    margins = RegionMargins(roi)
    for spacing in ((0.8, 1.3), (1.1, 0.4)):  # two spacings of one region are kept apart
        for margin in wanted:
            alone = torch.stack([dilate(channel, margin, unit, spacing, metric) for channel in roi])
            assert torch.equal(margins.at(margin, unit, spacing, metric), alone)
    margins.at(3, unit, (1, 1), metric)[:] = False
    assert torch.equal(margins.at(0), roi)  # what it gives is a copy


@pytest.mark.parametrize("metric", METRICS)
def test_a_curve_of_margins_shares_its_distances(monkeypatch, metric):
    sizes = []

    class Counted(Growth):
        def __init__(self, inside, *settings):
            sizes.append(inside.size)
            super().__init__(inside, *settings)

    monkeypatch.setattr(margins_module, "Growth", Counted)
    margins = RegionMargins(disk((64, 64), 8)[None])
    for margin in (0, 1, 500, 2, 5, 10, 30, 50, 3):
        margins.at(margin, metric=metric)
    assert sizes == [19 * 19, 64 * 64]  # a window for the first margin, the image for all others
    for margin in (-1, -2, -3.5, -5):
        margins.at(margin, metric=metric)
    assert sizes[2:] == [19 * 19]
    for margin in (0, 64):  # 64 steps along both axes reach every corner
        dilate(disk((64, 64), 8), margin)
    assert len(sizes) == 3
    for margin in (1, 2, 5):  # the control: one region at a time
        dilate(disk((64, 64), 8), margin, metric=metric)
    assert len(sizes) == 6


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(30, 41), (14, 13, 17)])
def test_a_margin_covers_the_image_when_it_reaches_the_farthest_pixel(rng, shape, metric):
    transform = ndimage.distance_transform_edt if metric == "euclidean" else ndimage.distance_transform_cdt
    settings = {} if metric == "euclidean" else {"metric": "taxicab"}
    for share in (0, 0.001, 0.01, 0.2):
        roi = blob(rng, shape, share).roll(tuple(int(rng.integers(n)) for n in shape), tuple(range(len(shape))))
        distance = transform(~roi.numpy(), **settings)
        farthest = float(distance.max())
        assert dilate(roi, farthest, metric=metric).all()
        assert not dilate(roi, math.nextafter(farthest, 0), metric=metric).all()
        margins = RegionMargins(roi[None])
        for margin in range(1, 2 * sum(shape), 3):
            assert np.array_equal(dilate(roi, margin, metric=metric), distance <= margin)
            assert np.array_equal(margins.at(margin, metric=metric)[0], distance <= margin)
    assert dilate(roi, 1e300, metric=metric).all()
    with pytest.raises(RegionError, match="at least one pixel"):
        dilate(roi, -1e300, metric=metric)


@pytest.mark.parametrize("step", [0.25, 2.0])
@pytest.mark.parametrize("metric", ["euclidean", "taxicab"])
def test_millimetres_cover_the_image_when_they_reach_its_farthest_pixel(step, metric):
    roi = torch.zeros(9, 12)
    roi[0, 0] = 1
    farthest = step * (np.hypot(8, 11) if metric == "euclidean" else 19)
    assert dilate(roi, 0.999 * farthest, "mm", (step, step), metric).sum() == roi.numel() - 1
    assert dilate(roi, farthest, "mm", (step, step), metric).all()


def test_an_empty_channel_among_many_margins_is_an_error():
    margins = RegionMargins(torch.stack([disk((9, 9), 2), torch.zeros(9, 9, dtype=torch.bool)]))
    for margin in (0, 1, -1):
        with pytest.raises(RegionError, match="roi must hold at least one pixel"):
            margins.at(margin)
    with pytest.raises(ValueError, match="roi must hold only 0 and 1"):
        RegionMargins(torch.full((1, 9, 9), 2))
