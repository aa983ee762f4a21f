# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from region_drawings import SHAPES, blob, box_by_hand, dilated_by_hand, disk

from monai_shortcut.regions.placement import shift_region
from monai_shortcut.regions.strategies import (
    FILLS,
    METRICS,
    STRATEGIES,
    TABLE,
    UNITS,
    RegionError,
    RegionMargins,
    checked_roi,
    mask_roi,
)

REFERENCE = {  # strategy -> which region, what is seen inside it, what outside it, when fill is 7
    "full": ("region", "seen", "seen"),
    "without_roi": ("region", 7, "seen"),
    "without_roi_box": ("box", 7, "seen"),
    "roi_only": ("region", "seen", 7),
    "roi_box_only": ("box", "seen", 7),
    "silhouette": ("region", 1, 0),
    "box_silhouette": ("box", 1, 0),
    "shifted_roi": ("shifted", 7, "seen"),
    "swapped_roi": ("swapped", 7, "seen"),
}


def test_the_table_says_what_the_reference_does():
    assert STRATEGIES == tuple(TABLE) == tuple(REFERENCE)
    for name, (region, inside, outside) in REFERENCE.items():
        row = TABLE[name]
        assert row.name == name
        assert row.needs_roi == (name != "full")
        assert row.needs_swapped_roi == (region == "swapped")
        assert (row.outline == "box") == (region == "box")
        seen = {(1, 0): "silhouette", ("seen", 7): "inside", (7, "seen"): "outside", ("seen", "seen"): "all"}
        assert row.shown == seen[inside, outside]


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_equals_a_loop_over_all_pixels(rng, strategy, shape, dtype):
    image = torch.from_numpy(rng.integers(1, 100, (3, *shape))).to(dtype)
    roi, other = blob(rng, shape, 0.02 if strategy != "shifted_roi" else 0), blob(rng, shape, 0.02)
    for margin in (0, 1):
        kind, inside, outside = REFERENCE[strategy]
        region = dilated_by_hand(other if kind == "swapped" else roi, margin, (1.0,) * len(shape))
        region = {"box": box_by_hand, "shifted": shift_region}.get(kind, torch.clone)(region)
        expected = image.clone()
        for point in itertools.product(range(3), *map(range, shape)):
            value = inside if region[point[1:]] else outside
            expected[point] = image[point] if value == "seen" else value
        masked = mask_roi(image, roi[None], strategy, margin, fill=7, swapped_roi=other[None])
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


@pytest.mark.parametrize("fill", [0.0, 5, *FILLS])
@pytest.mark.parametrize("shape", [(12, 14), (8, 9, 7)])
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "full"])
def test_a_hidden_pixel_never_reaches_the_result(rng, strategy, shape, fill):
    image = torch.from_numpy(rng.normal(size=(2, *shape)))
    roi, other = disk(shape, 1)[None], disk(shape, 2).roll((2, 1), (0, 1))[None]
    settings = {"strategy": strategy, "margin": 0.5, "fill": fill, "swapped_roi": other}
    before = mask_roi(image, roi, **settings)
    silhouette = REFERENCE[strategy][1] == 1
    hidden = torch.ones_like(image, dtype=torch.bool) if silhouette else ~before.eq(image)
    assert hidden.any()
    for value in (math.nan, math.inf, 1e9):
        assert torch.equal(mask_roi(image.masked_fill(hidden, value), roi, **settings), before)
    if not silhouette:
        visible = (~hidden).nonzero()[3]
        image[tuple(visible)] += 1
        assert not torch.equal(mask_roi(image, roi, **settings), before)


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
    rois = torch.stack([blob(rng, (9, 11), 0), disk((9, 11), 1)])
    others = torch.stack([disk((9, 11), 3), blob(rng, (9, 11), 0.02)])
    for strategy, fill in itertools.product(STRATEGIES, (0, *FILLS)):
        expected = [
            mask_roi(image[c : c + 1], rois[c : c + 1], strategy, 1, fill=fill, swapped_roi=others[c : c + 1])[0]
            for c in range(2)
        ]
        masked = mask_roi(image, rois, strategy, 1, fill=fill, swapped_roi=others)
        assert torch.equal(masked, torch.stack(expected))
    assert not torch.equal(mask_roi(image, rois), mask_roi(image, rois[:1]))


def test_one_empty_channel_is_an_empty_region():
    rois = torch.stack([disk((9, 9), 3), torch.zeros(9, 9, dtype=torch.bool)])
    with pytest.raises(RegionError, match="at least one pixel"):
        mask_roi(torch.ones(2, 9, 9), rois)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_neither_image_nor_region_changes(rng, strategy):
    image, roi = torch.from_numpy(rng.normal(size=(2, 9, 11))), blob(rng, (9, 11), 0)[None]
    other, kept = roi.roll(2, 1), (image.clone(), roi.clone(), roi.roll(2, 1))
    for fill in (0, *FILLS):
        mask_roi(image, roi, strategy, 1, fill=fill, swapped_roi=other).zero_()
    assert all(map(torch.equal, (image, roi, other), kept))


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
    for fill in FILLS:
        assert torch.equal(mask_roi(image, RegionMargins(torch.zeros(1, 9, 9)), "full", 1, fill=fill), image)
    with pytest.raises(ValueError, match="roi must have shape"):
        mask_roi(image, torch.zeros(1, 9, 8), "full")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_result_stays_on_the_images_device(strategy):
    image, roi, other = torch.arange(162.0).reshape(2, 9, 9), disk((9, 9), 1)[None], disk((9, 9), 2)[None]
    for fill, region in itertools.product((0.0, *FILLS), (roi, roi.cuda(), RegionMargins(roi))):
        masked = mask_roi(image.cuda(), region, strategy, 1, fill=fill, swapped_roi=other)
        assert masked.is_cuda
        torch.testing.assert_close(masked.cpu(), mask_roi(image, roi, strategy, 1, fill=fill, swapped_roi=other))


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
        ({"strategy": "inverse"}, f"strategy must be one of {', '.join(STRATEGIES)}, got 'inverse'"),
        ({"unit": "cm"}, f"unit must be one of {', '.join(UNITS)}, got 'cm'"),
        ({"margin": math.nan}, "margin must be a finite number, got nan"),
        ({"margin": "1"}, "margin must be a finite number, got '1'"),
        ({"fill": "median"}, f"fill must be a finite number or one of {', '.join(FILLS)}, got 'median'"),
        ({"metric": "L1"}, f"metric must be one of {', '.join(METRICS)}, got 'L1'"),
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
        (torch.int16, -0.5, False),
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


# --- regions elsewhere and of others


@pytest.mark.parametrize("margin", [0, 1.5])
def test_a_shifted_region_hides_as_much_and_leaves_the_region(rng, margin):
    image, roi = torch.from_numpy(rng.normal(size=(1, 30, 28))), disk((30, 28), 3)[None]
    without = mask_roi(image, roi, "without_roi", margin) == 0
    shifted = mask_roi(image, roi, "shifted_roi", margin) == 0
    assert int(shifted.sum()) == int(without.sum())
    assert not (shifted & without).any()
    (rows, columns), (other_rows, other_columns) = (hidden[0].nonzero().T for hidden in (without, shifted))
    assert (rows - other_rows).unique().numel() == (columns - other_columns).unique().numel() == 1


def test_a_region_without_room_elsewhere_is_an_error():
    with pytest.raises(RegionError, match="shifted_roi needs a place that leaves at least half of the region visible"):
        mask_roi(torch.ones(1, 9, 9), disk((9, 9), 3)[None], "shifted_roi", 1)


def test_a_swapped_region_is_that_of_another_and_grows_alike(rng):
    image, roi, other = torch.from_numpy(rng.normal(size=(2, 9, 11))), disk((9, 11), 1)[None], blob(rng, (9, 11))[None]
    for margin, unit in ((0, "pixel"), (1, "pixel"), (0.5, "area"), (2, "mm")):
        swapped = mask_roi(image, roi, "swapped_roi", margin, unit, "mean", (2, 1), swapped_roi=other)
        assert torch.equal(swapped, mask_roi(image, other, "without_roi", margin, unit, "mean", (2, 1)))
        assert not torch.equal(swapped, mask_roi(image, roi, "without_roi", margin, unit, "mean", (2, 1)))
    for strategy in set(STRATEGIES) - {"swapped_roi"}:  # which no other strategy looks at
        assert torch.equal(mask_roi(image, roi, strategy), mask_roi(image, roi, strategy, swapped_roi=other[:, :3]))


def test_another_patients_region_must_be_there_and_fit():
    image, roi = torch.ones(2, 9, 9), disk((9, 9), 1)[None]
    with pytest.raises(
        ValueError, match=r"needs the region of another patient as swapped_roi, got none; Cohort\.with_s"
    ):
        mask_roi(image, roi, "swapped_roi")
    with pytest.raises(
        ValueError,
        match=r"swapped_roi must have shape \(1, 9, 9\) or \(2, 9, 9\) to match the image, got \(1, 8, 9\); resize all",
    ):
        mask_roi(image, roi, "swapped_roi", swapped_roi=roi[:, 1:])
    with pytest.raises(RegionError, match="roi must hold at least one pixel"):
        mask_roi(image, roi, "swapped_roi", swapped_roi=torch.zeros(1, 9, 9))


# --- many margins


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_margins_made_once_give_the_same_images(rng, strategy):
    image = torch.from_numpy(rng.normal(size=(2, 24, 21)))
    roi, other = disk((24, 21), 3)[None], disk((24, 21), 2).roll(5, 0)[None]
    margins, others = RegionMargins(roi), RegionMargins(other)
    for margin, metric in itertools.product((0, 1, 2.5, -1, 0.5), METRICS):
        once = mask_roi(image, margins, strategy, margin, metric=metric, swapped_roi=others)
        assert torch.equal(once, mask_roi(image, roi, strategy, margin, metric=metric, swapped_roi=other))
    with pytest.raises(ValueError, match=r"roi must have shape \(1, 9, 9\) to match the image, got \(1, 24, 21\)"):
        mask_roi(torch.ones(1, 9, 9), margins)


def test_a_taxicab_margin_is_a_diamond():
    image, roi = torch.ones(1, 9, 9), torch.zeros(1, 9, 9)
    roi[0, 4, 4] = 1
    rows, columns = torch.meshgrid(torch.arange(9), torch.arange(9), indexing="ij")
    diamond = ((rows - 4).abs() + (columns - 4).abs() <= 3)[None]
    assert torch.equal(mask_roi(image, roi, "silhouette", 3, metric="taxicab"), diamond.float())
    assert not torch.equal(mask_roi(image, roi, "silhouette", 3), diamond.float())


@pytest.mark.parametrize("fill", FILLS)
def test_a_margin_that_hides_everything_leaves_nothing_to_fill_from(fill):
    image, roi = torch.ones(1, 9, 9), disk((9, 9), 2)[None]
    assert (mask_roi(image, roi, margin=500, fill=3) == 3).all()
    with pytest.raises(RegionError, match=f'fill="{fill}" needs visible pixels'):
        mask_roi(image, roi, margin=500, fill=fill)
