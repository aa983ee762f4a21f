# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from monai_shortcut.regions import FILLS, STRATEGIES, UNITS, bounding_box, checked_roi, dilate, mask_roi

SHAPES = [(9, 11), (6, 7, 5)]
REFERENCE = {  # strategy -> which region, what is seen inside it, what outside it, when fill is 7
    "full": ("region", "seen", "seen"),
    "without_roi": ("region", 7, "seen"),
    "without_roi_box": ("box", 7, "seen"),
    "roi_only": ("region", "seen", 7),
    "roi_box_only": ("box", "seen", 7),
    "silhouette": ("region", 1, 0),
    "box_silhouette": ("box", 1, 0),
}


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


def dilated_by_hand(roi: torch.Tensor, margin: float, spacing: tuple[float, ...]) -> torch.Tensor:
    """A pixel joins (leaves) when any region (background) pixel lies within the margin."""
    result = roi.clone()
    everywhere = list(itertools.product(*map(range, roi.shape)))
    others = [p for p in everywhere if bool(roi[p]) == (margin > 0)]
    for p in everywhere:
        if any(math.dist(np.multiply(p, spacing), np.multiply(q, spacing)) <= abs(margin) + 1e-6 for q in others):
            result[p] = margin > 0
    return result


# --- bounding_box


@pytest.mark.parametrize("shape", SHAPES)
def test_the_box_equals_a_loop_over_all_pixels(rng, shape):
    for share in (0.0, 0.02, 0.1):
        roi = blob(rng, shape, share)
        box = torch.zeros_like(roi)
        box[bounding_box(roi)] = True
        assert torch.equal(box, box_by_hand(roi))
        assert bounding_box(roi) == ndimage.find_objects(roi.numpy().astype(int))[0]


def test_the_box_keeps_its_last_row_and_column():
    roi = torch.zeros(4, 5)
    roi[1, 0] = roi[3, 4] = 255
    assert bounding_box(roi) == (slice(1, 4), slice(0, 5))


def test_an_empty_region_has_no_box_and_no_margin():
    for function in (bounding_box, lambda roi: dilate(roi, 1), lambda roi: mask_roi(roi[None], roi[None])):
        with pytest.raises(ValueError, match="roi must hold at least one pixel, got an empty region"):
            function(torch.zeros(4, 5))


# --- dilate


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
    with pytest.raises(ValueError, match=f"margin must leave at least one pixel .* got margin={margin} {unit}"):
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


# --- mask_roi


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_equals_a_loop_over_all_pixels(rng, strategy, shape, dtype):
    image = torch.from_numpy(rng.integers(1, 100, (3, *shape))).to(dtype)
    roi = blob(rng, shape, 0.02)
    for margin in (0, 1):
        kind, inside, outside = REFERENCE[strategy]
        region = dilated_by_hand(roi, margin, (1.0,) * len(shape))
        region = region if kind == "region" else box_by_hand(region)
        expected = image.clone()
        for point in itertools.product(range(3), *map(range, shape)):
            value = inside if region[point[1:]] else outside
            expected[point] = image[point] if value == "seen" else value
        masked = mask_roi(image, roi[None], strategy, margin, fill=7)
        assert masked.dtype == dtype
        assert torch.equal(masked, expected)


@pytest.mark.parametrize("box", ["", "_box"])
def test_the_parts_add_up_to_the_image(rng, box):
    image = torch.from_numpy(rng.normal(size=(2, 9, 11)))
    roi = blob(rng, (9, 11), 0.02)[None]
    shown, hidden = (mask_roi(image, roi, name, 1) for name in (f"roi{box}_only", f"without_roi{box}"))
    torch.testing.assert_close(shown + hidden, image, rtol=0, atol=0)
    other = mask_roi(image, roi, f"without_roi{box}", 2)
    assert not torch.equal(shown + other, image)  # another margin leaves a gap


@pytest.mark.parametrize("fill", [0.0, 5, "mean"])
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "full"])
def test_a_hidden_pixel_never_reaches_the_result(rng, strategy, fill):
    image = torch.from_numpy(rng.normal(size=(2, 9, 11)))
    roi = disk((9, 11), 2)[None]
    before = mask_roi(image, roi, strategy, 1, fill=fill)
    hidden = ~before.eq(image) if "silhouette" not in strategy else torch.ones_like(image, dtype=torch.bool)
    assert hidden.any()
    for value in (math.nan, math.inf, 1e9):
        assert torch.equal(mask_roi(image.masked_fill(hidden, value), roi, strategy, 1, fill=fill), before)
    if "silhouette" not in strategy:
        visible = (~hidden).nonzero()[3]
        image[tuple(visible)] += 1
        assert not torch.equal(mask_roi(image, roi, strategy, 1, fill=fill), before)


def test_the_silhouette_knows_the_region_and_not_the_image(rng):
    roi = blob(rng, (9, 11), 0.02)[None]
    silhouettes = [mask_roi(torch.from_numpy(rng.normal(size=(3, 9, 11))), roi, "silhouette") for _ in range(2)]
    assert torch.equal(*silhouettes)
    assert torch.equal(silhouettes[0], roi.expand(3, 9, 11).double())
    silhouette = mask_roi(torch.ones(3, 9, 11, dtype=torch.bool), roi, "silhouette")
    silhouette[0] = False  # channels of its own, no view of one
    assert silhouette[1].any()


def test_the_mean_is_that_of_the_visible_pixels_of_each_channel(rng):
    image = torch.from_numpy(rng.normal(size=(2, 9, 11)) + np.array([10, 20]).reshape(2, 1, 1))
    roi = blob(rng, (9, 11))
    masked = mask_roi(image, roi[None], "without_roi", fill="mean")
    for channel in range(2):
        values = [image[channel][p].item() for p in itertools.product(range(9), range(11)) if not roi[p]]
        np.testing.assert_allclose(masked[channel][roi], sum(values) / len(values))
        assert not np.isclose(masked[channel][roi][0], image[channel].mean())
    assert torch.equal(masked[:, ~roi], image[:, ~roi])


def test_the_mean_of_integers_is_rounded():
    image = torch.tensor([[[1, 2, 2, 9]], [[250, 251, 251, 9]]], dtype=torch.uint8)
    roi = torch.tensor([[[0, 0, 0, 1]]])
    assert mask_roi(image, roi, fill="mean")[:, 0, 3].tolist() == [2, 251]


def test_each_channel_is_masked_with_its_own_region(rng):
    image = torch.from_numpy(rng.normal(size=(2, 9, 11)))
    rois = torch.stack([blob(rng, (9, 11), 0.02), disk((9, 11), 3)])
    for strategy in STRATEGIES:
        expected = [mask_roi(image[c : c + 1], rois[c : c + 1], strategy, 1)[0] for c in range(2)]
        assert torch.equal(mask_roi(image, rois, strategy, 1), torch.stack(expected))
    assert not torch.equal(mask_roi(image, rois), mask_roi(image, rois[:1]))


def test_one_empty_channel_is_an_empty_region():
    rois = torch.stack([disk((9, 9), 3), torch.zeros(9, 9, dtype=torch.bool)])
    with pytest.raises(ValueError, match="at least one pixel"):
        mask_roi(torch.ones(2, 9, 9), rois)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_neither_image_nor_region_changes(rng, strategy):
    image, roi = torch.from_numpy(rng.normal(size=(2, 9, 11))), blob(rng, (9, 11))[None]
    kept_image, kept_roi = image.clone(), roi.clone()
    mask_roi(image, roi, strategy, 1).zero_()
    assert torch.equal(image, kept_image)
    assert torch.equal(roi, kept_roi)


@pytest.mark.parametrize("one", [1, 255])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64, torch.float16, torch.float32])
def test_regions_of_0_and_1_or_255_equal_booleans(one, dtype):
    image, roi = torch.arange(81.0).reshape(1, 9, 9), disk((9, 9), 3)[None]
    numbers = (roi * one).to(dtype)
    assert torch.equal(mask_roi(image, numbers, margin=1), mask_roi(image, roi, margin=1))
    assert torch.equal(checked_roi(numbers, image.shape), roi)


def test_the_margin_comes_before_the_box():
    image, roi = torch.ones(1, 9, 9), torch.zeros(1, 9, 9)
    roi[0, 3, 3:6] = 1
    expected = torch.zeros(1, 9, 9)
    expected[0, 2:5, 2:7] = 1
    assert torch.equal(mask_roi(image, roi, "roi_box_only", 1), expected)
    assert torch.equal(mask_roi(image, roi, "roi_box_only", 1, "mm", spacing=(1, 2)), expected * (roi.sum(1) > 0))


def test_full_shows_everything_and_accepts_an_empty_region():
    image = torch.arange(81.0).reshape(1, 9, 9)
    assert torch.equal(mask_roi(image, torch.zeros(1, 9, 9), "full", fill="mean"), image)
    with pytest.raises(ValueError, match="roi must have shape"):
        mask_roi(image, torch.zeros(1, 9, 8), "full")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_result_stays_on_the_images_device(strategy):
    image, roi = torch.arange(162.0).reshape(2, 9, 9), disk((9, 9), 3)[None]
    for fill in (0.0, "mean"):
        masked = mask_roi(image.cuda(), roi, strategy, 1, fill=fill)
        assert masked.is_cuda
        assert torch.equal(masked.cpu(), mask_roi(image, roi, strategy, 1, fill=fill))


@pytest.mark.parametrize(
    ("roi", "message"),
    [
        (torch.full((1, 9, 9), 0.5), "roi must hold only 0 and 1 .* got 0.5; threshold it, or resize .*nearest"),
        (torch.arange(81).reshape(1, 9, 9), r"got 0, 1, 2, 3, 4, \.\.\.; threshold it"),
        (torch.tensor([0, 1, 255]).repeat(27).reshape(1, 9, 9), "got 0, 1, 255; threshold it"),
        (torch.full((1, 9, 9), -1), "got -1; threshold it"),
        (torch.full((1, 9, 9), math.nan), "got NaN"),
        (torch.ones(9, 9), r"roi must have shape \(1, 9, 9\) or \(2, 9, 9\) to match the image, got \(9, 9\)"),
        (torch.ones(3, 9, 9), r"got \(3, 9, 9\)"),
        (torch.ones(1, 1, 9), r"got \(1, 1, 9\)"),
        (torch.ones(1, 9, 9, 1), r"got \(1, 9, 9, 1\)"),
    ],
)
def test_regions_that_do_not_fit_are_refused(roi, message):
    with pytest.raises(ValueError, match=message):
        mask_roi(torch.ones(2, 9, 9), roi)


def test_images_without_a_channel_axis_are_refused():
    with pytest.raises(ValueError, match=r"image must have shape \(C, H, W\) or \(C, H, W, D\), got \(9, 9\)"):
        mask_roi(torch.ones(9, 9), torch.ones(9, 9))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "swapped_roi"}, f"strategy must be one of {', '.join(STRATEGIES)}, got 'swapped_roi'"),
        ({"unit": "cm"}, f"unit must be one of {', '.join(UNITS)}, got 'cm'"),
        ({"margin": math.nan}, "margin must be a finite number, got nan"),
        ({"margin": "1"}, "margin must be a finite number, got '1'"),
        ({"fill": "noise"}, f"fill must be a finite number or one of {', '.join(FILLS)}, got 'noise'"),
        ({"fill": math.inf}, "fill must be a finite number .* got inf"),
        ({"fill": None}, "fill must be a finite number .* got None"),
    ],
)
def test_settings_that_do_not_exist_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        mask_roi(torch.ones(1, 9, 9), torch.ones(1, 9, 9), **settings)


@pytest.mark.parametrize(
    ("dtype", "fill", "fits"),
    [
        (torch.uint8, 255, True),
        (torch.uint8, 256, False),
        (torch.uint8, -1, False),
        (torch.int16, 0.5, False),
        (torch.int8, -1.0, True),
        (torch.float16, 1e6, False),
        (torch.float32, 0.1, True),
        (torch.bool, 2, False),
    ],
)
def test_a_fill_the_image_cannot_hold_is_refused(dtype, fill, fits):
    image, roi = torch.ones(1, 3, 3).to(dtype), disk((3, 3), 0)[None]
    if fits:
        assert mask_roi(image, roi, fill=fill)[0, 1, 1] == torch.tensor(fill, dtype=dtype)
    else:
        with pytest.raises(ValueError, match=f"fill must be a value that an image of {dtype} can hold, got {fill}"):
            mask_roi(image, roi, fill=fill)


@pytest.mark.parametrize("spoil", ["no pixel", "nan"])
def test_a_mean_without_visible_finite_pixels_is_refused(spoil):
    image, roi = torch.ones(1, 3, 3), disk((3, 3), 0)[None]
    if spoil == "no pixel":
        roi[:] = True
    else:
        image[0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r'fill="mean" needs visible pixels, all finite, in every channel, got .*nan'):
        mask_roi(image, roi, fill="mean")
