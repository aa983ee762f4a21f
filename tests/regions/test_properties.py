# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What is measured of images, against the definition in plain loops, and what it has to tell apart."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, median_filter

from monai_shortcut import image_properties
from monai_shortcut.phantom.marks import MARKS, plant_mark
from monai_shortcut.regions.overlays import OverlayRule, _of_size, _strokes
from monai_shortcut.regions.properties import (
    ASPECT,
    BLOCKING,
    BORDER,
    MEAN,
    NOISE,
    PROPERTIES,
    SHARPNESS,
    SIZE,
    SPREAD,
    TEXT,
    as_attributes,
)


def measured(*images, **given) -> dict[str, np.ndarray]:
    return image_properties(torch.as_tensor(np.stack(images)), **given)


def dark_to_the_edge(image: np.ndarray) -> np.ndarray:
    """Pixel by pixel: black, with all others between it and an edge along one axis."""
    low, high = image.reshape(len(image), -1).min(axis=1), image.reshape(len(image), -1).max(axis=1)
    black = np.array([[part <= a + 0.02 * (b - a)] for part, a, b in zip(image, low, high, strict=True)]).all(
        axis=(0, 1)
    )
    found = np.zeros(black.shape, bool)
    for place in np.ndindex(black.shape):
        for axis in range(black.ndim):
            line = black[tuple(slice(None) if other == axis else place[other] for other in range(black.ndim))]
            found[place] |= line[: place[axis] + 1].all() or line[place[axis] :].all()
    return found


def by_definition(image: np.ndarray) -> dict[str, float]:
    """Of an image (C, *spatial), with kernels written out and windows looked at one by one."""
    dark, axes = dark_to_the_edge(image), image.ndim - 1
    curve, corner = np.array([1.0, -2.0, 1.0]), np.array(1.0)
    laplacian = np.zeros((3,) * axes)
    for axis in range(axes):
        place = [1] * axes
        place[axis] = slice(None)
        laplacian[tuple(place)] += curve
        corner = np.multiply.outer(corner, curve)
    windows = [
        place
        for place in np.ndindex(dark.shape)
        if all(0 < at < size - 1 for at, size in zip(place, dark.shape, strict=True))
        and not dark[tuple(slice(at - 1, at + 2) for at in place)].any()
    ]
    chosen = tuple(np.array(windows).T)
    sharp = [np.var(convolve(part, laplacian)[chosen]) / np.var(part[chosen]) for part in image]
    weight = (np.abs(corner).ravel() ** 2).sum() ** 0.5  # what white noise becomes
    noise = [np.mean(np.abs(convolve(part, corner)[chosen])) * np.sqrt(np.pi / 2) / weight for part in image]
    shares = []
    for axis in (1, 2):
        lines = np.moveaxis(image, axis, 0)
        steps = [float(np.mean(np.abs(after - before))) for before, after in pairwise(lines)]
        places = [float(np.median(steps[place::8])) for place in range(8)]
        shares.append(max(places) / np.mean(places))
    return {
        MEAN: image.mean(),
        SPREAD: np.sqrt(((image - image.mean()) ** 2).mean()),
        BORDER: dark.mean(),
        SHARPNESS: np.mean(sharp),
        NOISE: np.mean(noise),
        BLOCKING: np.mean(shares),
    }


@pytest.fixture
def textured(rng) -> np.ndarray:
    """An image (2, 40, 48) with a black border, a notch in it and black pixels inside."""
    image = gaussian_filter(rng.random((2, 40, 48)), (0, 1, 1)) + 0.5
    image[:, :6], image[:, :, -3:], image[:, 5, 10:20], image[:, 20:23, 20] = 0.0, 0.0, 0.7, 0.0
    return image


@pytest.mark.parametrize("shape", [(2, 40, 48), (1, 26, 27, 12)])
def test_properties_are_what_their_definition_says(shape, rng, textured):
    image = textured if len(shape) == 3 else gaussian_filter(rng.random(shape), (0, 1, 1, 1))
    if len(shape) == 4:
        image[:, :2] = image[..., -2:] = 0.0
    other = rng.normal(3.0, 2.0, size=shape)
    found = measured(image, other)
    for place, one in enumerate((image, other)):
        expected = by_definition(one)
        np.testing.assert_allclose([found[name][place] for name in expected], list(expected.values()), rtol=1e-9)
    assert list(found) == list(PROPERTIES)
    assert {column.dtype.name for column in found.values()} == {"float64"}


def test_sharpness_falls_with_blur_and_not_with_contrast(rng):
    image = rng.random((1, 64, 64))
    blurred = [gaussian_filter(image, (0, width, width)) for width in (0.0, 0.7, 1.5, 3.0)]
    found = measured(*blurred, 40 * blurred[2] - 7)[SHARPNESS]
    assert (np.diff(found[:4]) < 0).all()
    assert found[4] == pytest.approx(found[2])
    assert found[0] == pytest.approx(20, rel=0.1)  # 16 + 4 of independent pixels


@pytest.mark.parametrize("shape", [(1, 96, 96), (1, 32, 32, 32)])
def test_noise_is_that_which_was_added_to_a_smooth_image(shape, rng):
    smooth = np.stack(np.meshgrid(*[np.linspace(0, 9, size) for size in shape[1:]], indexing="ij")).sum(axis=0)[None]
    found = measured(*[smooth + rng.normal(0, sigma, shape) for sigma in (0.0, 0.05, 0.4)])[NOISE]
    np.testing.assert_allclose(found, [0.0, 0.05, 0.4], rtol=0.04, atol=1e-9)


def test_the_border_is_the_share_of_black_pixels_around_and_changes_neither_noise_nor_sharpness(rng):
    inside = rng.normal(5.0, 0.5, size=(1, 40, 50))
    framed = np.pad(inside, ((0, 0), (4, 6), (10, 0)))
    holed = inside.copy()
    holed[0, 10:20, 10:20] = 0.0  # black, but nowhere to the edge
    found = measured(framed, np.pad(inside, ((0, 0), (5, 5), (5, 5)), constant_values=9.0))
    assert found[BORDER].tolist() == [1000 / 3000, 0.0]
    assert measured(holed)[BORDER].tolist() == [0.0]
    plain = measured(inside)
    for name in (NOISE, SHARPNESS):
        assert found[name][0] == pytest.approx(plain[name][0], rel=1e-12)


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float64)


def test_blocking_is_high_of_images_in_blocks_of_eight_alone(rng):
    image = 128 + 60 * gaussian_filter(rng.normal(size=(96, 96)), 3) / 0.1
    image = image.clip(0, 255) + rng.normal(0, 2, size=(96, 96))
    crushed = through_jpeg(image, 5)
    flat = rng.random((12, 12)).repeat(8, 0).repeat(8, 1)
    blocks_of_six = rng.random((16, 16)).repeat(6, 0).repeat(6, 1)
    edge = image.copy()
    edge[:, 56:] += 200  # one edge where a block begins
    given = [image, crushed, crushed, flat, blocks_of_six, edge, through_jpeg(image, 100)]
    given[2] = np.roll(crushed, (3, 5), (0, 1))  # as if cropped
    whole, blocks, cropped, steps, six, one, fine = measured(*[item[None] for item in given])[BLOCKING]
    assert steps == pytest.approx(8.0)
    assert min(blocks, cropped) > 1.4 > 1.25 > max(whole, six, one, fine)


def test_text_is_found_where_a_tag_is_burned_in_and_no_other_mark_is(rng):
    plain = gaussian_filter(rng.random((1, 64, 64)), (0, 2, 2))
    marked = [plant_mark(torch.as_tensor(plain), mark, value=2.0 if mark == "tag" else None) for mark in MARKS]
    found = measured(plain, *marked)[TEXT]
    assert dict(zip(("none", *MARKS), found, strict=True)) == {"none": 0.0, "tag": 1.0, "gain": 0.0, "blur": 0.0}
    assert as_attributes({TEXT: np.array([0.0, 1.0, np.nan])})[TEXT].tolist() == ["absent", "present", None]


def test_medians_that_need_not_be_known_are_those_that_are_not_computed(rng):
    """The pixels that are found are those of the rule with a median of every window."""
    grey = gaussian_filter(rng.random((60, 70)), 2)
    grey = ((grey - grey.min()) / np.ptp(grey)).clip(0.2, 0.8)  # large parts are as bright as any
    grey = (grey - grey.min()) / np.ptp(grey)
    grey[5, 5:30] = grey[40:48, 60] = 1.0
    rule = OverlayRule(contrast=0.3)
    bright = _of_size(grey >= rule.brightness, rule.least)
    bright &= grey - median_filter(grey, rule.window, mode="mirror") >= rule.contrast
    expected = _of_size(bright, rule.least)
    np.testing.assert_array_equal(_strokes(grey, rule), expected)
    assert expected.any()
    assert not expected.all()


def test_shapes_are_those_of_files_where_these_are_known():
    images = torch.rand(3, 1, 20, 10)
    found = image_properties(images, [(600, 400), None, (300, 300, 3)])
    np.testing.assert_array_equal(found[ASPECT], [1.5, 2.0, 1.0])
    np.testing.assert_array_equal(found[SIZE], [240000.0, np.nan, 90000.0])


def test_what_cannot_be_measured_is_missing():
    one_value, broken, whole = torch.full((1, 32, 32), 7.0), torch.rand(1, 32, 32), torch.rand(1, 32, 32)
    broken[0, 3, 3] = torch.nan
    found = image_properties(torch.stack([one_value, broken, whole]))
    missing = {name: np.isnan(column).tolist() for name, column in found.items()}
    assert missing == {
        **{name: [False, True, False] for name in (MEAN, SPREAD, NOISE, TEXT)},
        **{name: [True, True, False] for name in (BORDER, SHARPNESS, BLOCKING)},
        ASPECT: [False, False, False],
        SIZE: [True, True, True],
    }
    assert (found[MEAN][0], found[SPREAD][0], found[NOISE][0], found[TEXT][0]) == (7.0, 0.0, 0.0, 0.0)
    volume, small = image_properties(torch.rand(1, 1, 30, 30, 5)), image_properties(torch.rand(1, 1, 2, 2))
    assert {name for name, column in volume.items() if np.isnan(column[0])} == {TEXT, SIZE}
    assert {name for name, column in small.items() if np.isnan(column[0])} == {SHARPNESS, NOISE, BLOCKING, SIZE}
    coloured = torch.rand(1, 3, 32, 32)  # a quarter of it would be marks
    assert np.isnan(image_properties(coloured)[TEXT][0])


def test_whole_numbers_and_half_precision_are_measured_alike(rng):
    image = torch.as_tensor(rng.integers(0, 200, size=(1, 1, 32, 32)))
    expected = image_properties(image.double())
    for dtype in (torch.uint8, torch.float16, torch.int64):
        assert {name: value[0] for name, value in image_properties(image.to(dtype)).items()} == pytest.approx(
            {name: value[0] for name, value in expected.items()}, nan_ok=True
        )


def test_properties_refuse_what_is_no_batch_of_images():
    with pytest.raises(ValueError, match=r"images must have shape \(N, C, H, W\) or .* got \(3, 4\), torch.float32"):
        image_properties(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="original must hold a shape for each of the 2 images, got 1"):
        image_properties(torch.zeros(2, 1, 4, 4), [(4, 4)])


def test_windows_and_blocks_are_asked_for_as_soon_as_there_is_one(rng):
    image = torch.as_tensor(1 + rng.random((1, 1, 3, 3)))
    image[..., 1, 1] = 0  # the darkest pixel is not at the edge, where it would be border
    assert np.isfinite(image_properties(image)[NOISE]).all()
    assert np.isnan(image_properties(image[..., 1:, :])[NOISE]).all()
    blocks = torch.as_tensor(rng.random((1, 1, 24, 24)))
    assert np.isfinite(image_properties(blocks)[BLOCKING]).all()
    assert np.isnan(image_properties(blocks[..., :23])[BLOCKING]).all()
