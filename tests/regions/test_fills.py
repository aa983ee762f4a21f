# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from region_drawings import SHAPES, blob, disk, reach_by_hand
from scipy.ndimage import gaussian_filter

from monai_shortcut.regions.fills import FILLS, fill_hidden
from monai_shortcut.regions.strategies import RegionError

DTYPES = [torch.uint8, torch.int16, torch.int64, torch.uint16, torch.bool, torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture(params=SHAPES, ids=str)
def image(request, rng) -> torch.Tensor:
    """Two channels of very different intensities."""
    offset = np.array([10, 200]).reshape(2, *[1] * len(request.param))
    return torch.from_numpy(rng.normal(size=(2, *request.param)) + offset)


@pytest.fixture
def visible(image, rng) -> torch.Tensor:
    """Another region is hidden in each channel."""
    shape = tuple(image.shape[1:])
    return ~torch.stack([disk(shape, 2), blob(rng, shape, 0.2)])


# --- every fill


@pytest.mark.parametrize("fill", [0.0, -3, *FILLS])
def test_visible_pixels_stay_and_hidden_ones_are_lost(image, visible, fill):
    kept = image.clone()
    filled = fill_hidden(image, visible, fill)
    assert torch.equal(filled[visible], image[visible])
    assert (filled[~visible] != image[~visible]).all()
    for value in (math.nan, math.inf, -1e300):
        assert torch.equal(fill_hidden(image.masked_fill(~visible, value), visible, fill), filled)
    spoiled = image.clone()
    spoiled[~visible] = torch.rand(int((~visible).sum()), dtype=image.dtype)
    assert torch.equal(fill_hidden(spoiled, visible, fill), filled)
    assert torch.equal(image, kept)
    changed = fill_hidden(image + visible * 1.5, visible, fill)  # the control: visible pixels do matter
    assert torch.equal(changed[~visible], filled[~visible]) == (not isinstance(fill, str))


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_and_range_are_those_of_the_visible_pixels(rng, fill, dtype):
    for shape in SHAPES:
        seen = ~disk(shape, 2)
        image = torch.from_numpy(rng.integers(0, 256, (2, *shape))).to(dtype)
        filled = fill_hidden(image, seen.expand_as(image), fill)
        assert filled.dtype == dtype
        for before, after in zip(image.double(), filled.double(), strict=True):
            assert before[seen].min() <= after.min()
            assert after.max() <= before[seen].max()
        exact = fill_hidden(image.double(), seen.expand_as(image), fill)
        expected = exact.to(dtype) if image.is_floating_point() else exact.round().to(dtype)
        assert (filled == expected).all()


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("constant", [0.0, -1000.1, 1e8])
def test_an_image_of_one_intensity_is_restored(visible, fill, constant):
    image = torch.full(visible.shape, constant, dtype=torch.float64)
    torch.testing.assert_close(fill_hidden(image, visible, fill), image, rtol=1e-15, atol=0)


@pytest.mark.parametrize("fill", FILLS)
def test_channels_are_filled_one_by_one(image, visible, fill):
    alone = [fill_hidden(image[c : c + 1], visible[c : c + 1], fill)[0] for c in range(2)]
    assert torch.equal(fill_hidden(image, visible, fill), torch.stack(alone))
    scaled = fill_hidden(image * 3 - 7, visible, fill)
    torch.testing.assert_close(scaled, fill_hidden(image, visible, fill) * 3 - 7)


@pytest.mark.parametrize("fill", FILLS)
def test_nothing_is_filled_where_nothing_is_hidden(image, visible, fill):
    everything = torch.ones_like(visible)
    filled = fill_hidden(image, everything, fill)
    assert torch.equal(filled, image)
    assert filled is not image
    visible[0] = True
    assert torch.equal(fill_hidden(image, visible, fill)[0], image[0])


@pytest.mark.parametrize("fill", FILLS)
def test_a_fill_needs_visible_finite_pixels(image, visible, fill):
    visible[1] = False
    with pytest.raises(RegionError, match=rf'fill="{fill}" needs visible pixels, all finite, in every channel, .*nan'):
        fill_hidden(image, visible, fill)
    image[1], visible[1] = math.inf, True
    with pytest.raises(ValueError, match=r"in every channel, got channel means .*inf") as error:
        fill_hidden(image, visible, fill)
    assert not isinstance(error.value, RegionError)  # the image is to blame
    assert torch.equal(fill_hidden(image, visible, 5)[1], image[1])


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_agree(image, visible, fill):
    filled = fill_hidden(image.cuda(), visible.cuda(), fill)
    assert filled.is_cuda
    torch.testing.assert_close(filled.cpu(), fill_hidden(image, visible, fill))


# --- noise


def test_noise_is_made_of_visible_values_of_the_same_channel(image, visible):
    filled = fill_hidden(image, visible, "noise")
    for before, after, seen in zip(image, filled, visible, strict=True):
        assert set(after[~seen].tolist()) <= set(before[seen].tolist())
    assert len(filled[0][~visible[0]].unique()) > 1


def test_noise_has_the_distribution_of_the_visible_pixels(rng):
    seen = ~disk((80, 80), 20)
    image = torch.from_numpy(rng.gamma(2.0, size=(1, 80, 80)))
    drawn, shown = fill_hidden(image, seen[None], "noise")[0][~seen], image[0][seen]
    quantiles = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64)
    share = torch.stack([(drawn <= value).double().mean() for value in shown.quantile(quantiles)])
    assert ((share - quantiles).abs() < 4 * (quantiles * (1 - quantiles) / len(drawn)).sqrt()).all()


def test_noise_repeats_for_a_region_and_differs_between_regions(image, visible):
    filled = fill_hidden(image, visible, "noise")
    torch.manual_seed(7)
    assert torch.equal(fill_hidden(image, visible, "noise"), filled)
    other = visible.clone()
    other[0].view(-1)[0] = False
    assert not torch.equal(fill_hidden(image, other, "noise")[0][~visible[0]], filled[0][~visible[0]])


def test_noise_keeps_the_colours_of_channels_with_one_region(image, visible):
    colours = torch.stack([image[0], 2 * image[0] + 1])
    filled = fill_hidden(colours, visible[:1].expand_as(colours), "noise")
    assert torch.equal(filled[1], 2 * filled[0] + 1)


# --- blur


def test_blur_equals_weighted_means_over_all_visible_pixels(image, visible):
    filled = fill_hidden(image, visible, "blur")
    for before, after, seen in zip(image, filled, visible, strict=True):
        sigma = reach_by_hand(seen) / 4
        for point in (~seen).nonzero()[::3].tolist():
            total = weights = 0.0
            for other in itertools.product(*map(range, seen.shape)):
                steps = np.subtract(point, other)
                if seen[other] and abs(steps).max() <= math.ceil(4 * sigma):
                    weight = math.exp(-(steps**2).sum() / (2 * sigma**2))
                    total, weights = total + weight * before[other].item(), weights + weight
            np.testing.assert_allclose(after[tuple(point)], total / weights, rtol=1e-9)


def test_blur_equals_scipys_filter_of_image_and_visibility(rng):
    image, seen = rng.normal(size=(60, 50)), (~disk((60, 50), 8)).numpy()
    sigma = reach_by_hand(torch.from_numpy(seen)) / 4
    parts = [
        gaussian_filter(array, sigma, mode="constant", radius=math.ceil(4 * sigma))
        for array in (image * seen, seen * 1.0)
    ]
    filled = fill_hidden(torch.from_numpy(image)[None], torch.from_numpy(seen)[None], "blur")[0].numpy()
    np.testing.assert_allclose(filled[~seen], (parts[0] / parts[1])[~seen], rtol=1e-9, atol=1e-12)


def test_blur_follows_what_is_near():
    image = torch.zeros(1, 40, 60, dtype=torch.float64)
    image[..., 30:] = 100
    hole = torch.zeros(1, 40, 60, dtype=torch.bool)
    hole[0, 10:30, 5:55] = True
    filled = fill_hidden(image, ~hole, "blur")[0, 20]
    assert filled[8] < 10
    assert filled[52] > 90
    assert (filled.diff() > -1e-9).all()
    mean = fill_hidden(image, ~hole, "mean")[0, 20]
    assert mean[8] == mean[52]  # the control


def test_one_visible_pixel_is_enough_to_blur_far_away():
    image = torch.arange(90000.0).reshape(1, 300, 300)
    seen = torch.zeros(1, 300, 300, dtype=torch.bool)
    seen[0, 0, 1] = True
    assert (fill_hidden(image, seen, "blur") == 1).all()


# --- inpaint


def test_inpainting_continues_a_plane_and_blur_does_not():
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(32.0), indexing="ij")
    plane = (2 * rows - 3 * columns + 100)[None].double()
    seen = ~disk((30, 32), 5)[None]
    torch.testing.assert_close(fill_hidden(plane, seen, "inpaint"), plane)
    assert (fill_hidden(plane, seen, "blur") - plane).abs().max() > 1


def test_inpainting_is_that_of_scikit_image(rng):
    from skimage.restoration import inpaint_biharmonic

    image = gaussian_filter(rng.normal(size=(20, 22, 9)), 2)
    hole = disk((20, 22, 9), 3).numpy()
    expected = inpaint_biharmonic(np.where(hole, 0, image), hole)
    filled = fill_hidden(torch.from_numpy(image)[None], torch.from_numpy(~hole)[None], "inpaint")[0]
    np.testing.assert_allclose(filled, expected, atol=1e-9)


def test_inpainting_without_scikit_image_names_the_extra(monkeypatch, image, visible):
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(ImportError, match=r'needs scikit-image: pip install "\.\[inpaint\]" from a clone'):
        fill_hidden(image, visible, "inpaint")
    fill_hidden(image, visible, "blur")  # which does not need it
