# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from monai_shortcut.reader_study.pictures import Display, eight_bits, masked, pictures, png
from monai_shortcut.regions import mask_roi


@pytest.fixture
def item():
    """An image whose hidden part is far brighter than the rest, higher than wide, and a region that is no box."""
    image, roi = torch.linspace(0, 1, 60).reshape(1, 10, 6), torch.zeros(1, 10, 6)
    roi[0, 2:5, 1:4] = 1
    roi[0, 5, 1] = 1
    return {"image": torch.where(roi > 0, 1000.0, image), "roi": roi}


def shown(item, strategies, **display):
    settings = Display(**display)
    return pictures(item, masked(item, strategies, settings), settings)


def pixels(picture):
    return np.asarray(Image.open(BytesIO(picture.png)))


def chunks(content):
    """Names of the parts of a PNG file."""
    place, names = 8, []
    while place < len(content):
        names.append(content[place + 4 : place + 8])
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return names


def test_a_picture_is_the_masked_image_in_its_window(item):
    found = shown(item, ("full", "without_roi", "roi_only", "silhouette"), window=(0, 1))
    for name in ("full", "without_roi", "roi_only"):
        expected = mask_roi(item["image"], item["roi"], name)[0].clamp(0, 1).numpy() * 255
        np.testing.assert_array_equal(pixels(found[name]), np.floor(expected + 0.5))
    np.testing.assert_array_equal(pixels(found["silhouette"]), 255 * item["roi"][0].numpy())
    assert {one.ratio for one in found.values()} == {0.6}


def test_hidden_pixels_do_not_set_the_scale(item):
    other = {**item, "image": torch.where(item["roi"] > 0, -5e6, item["image"])}
    first, second = (shown(one, ["without_roi"])["without_roi"] for one in (item, other))
    assert first == second
    visible = item["image"][item["roi"] == 0].numpy()
    low, high = np.percentile(visible, [1, 99])
    expected = eight_bits(mask_roi(item["image"], item["roi"], "without_roi").double().numpy(), (low, high))[0]
    np.testing.assert_array_equal(pixels(first), expected)
    assert shown(item, ["full"]) != shown(other, ["full"])  # where they are seen, they do


def test_an_image_of_one_value_and_one_without_visible_pixels_are_black(item):
    flat = {"image": torch.full((1, 4, 4), 7.0), "roi": torch.ones(1, 4, 4)}
    found = shown(flat, ["full", "without_roi"])
    assert not pixels(found["full"]).any()
    assert not pixels(found["without_roi"]).any()


def test_files_hold_pixels_and_nothing_else(item):
    for picture in shown(item, ("full", "roi_only")).values():
        assert set(chunks(picture.png)) == {b"IHDR", b"IDAT", b"IEND"}
        assert Image.open(BytesIO(picture.png)).info == {}


def test_images_that_monai_has_transposed_are_shown_upright(item):
    turned = {name: value.swapaxes(1, 2) for name, value in item.items()}
    upright, given = shown(item, ["roi_only"])["roi_only"], shown(turned, ["roi_only"], rows_first=False)["roi_only"]
    assert given == upright
    assert shown(turned, ["roi_only"])["roi_only"].ratio == pytest.approx(10 / 6)


def test_pixels_keep_the_size_they_have_in_the_patient(item):
    assert shown({**item, "spacing": [0.2, 0.5]}, ["full"])["full"].ratio == pytest.approx(6 * 0.5 / (10 * 0.2))


def test_colours_stay_colours():
    image, roi = torch.rand(3, 5, 4), torch.ones(1, 5, 4)
    found = pixels(shown({"image": image, "roi": roi}, ["full"], window=(0, 1))["full"])
    np.testing.assert_array_equal(found, np.floor(255 * np.moveaxis(image.double().numpy(), 0, -1) + 0.5))


def test_a_volume_shows_the_slice_with_most_of_the_region():
    image, roi = torch.rand(1, 4, 5, 6), torch.zeros(1, 4, 5, 6)
    roi[0, 1:3, 1:3, 2], roi[0, 1, 1, 4] = 1, 1
    item = {"image": image, "roi": roi, "spacing": [1, 2, 3]}
    found = shown(item, ["full", "without_roi"], window=(0, 1), section=2)
    np.testing.assert_array_equal(pixels(found["full"]), np.floor(255 * image[0, :, :, 2].double().numpy() + 0.5))
    assert (pixels(found["without_roi"])[1:3, 1:3] == 0).all()
    assert found["full"].ratio == pytest.approx(5 * 2 / (4 * 1))
    with pytest.raises(ValueError, match=r"images must have two axes, or section must name .*, got \(1, 4, 5, 6\)"):
        shown(item, ["full"])


def test_whole_images_need_no_region():
    assert pixels(shown({"image": torch.ones(1, 3, 4)}, ["full"], window=(0, 2))["full"]).tolist() == [[128] * 4] * 3


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(
        ValueError, match=r"images must have one channel, or three that are colours, got shape \(2, 3, 4\)"
    ):
        shown({"image": torch.ones(2, 3, 4), "roi": torch.ones(1, 3, 4)}, ["full"])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"window": (1, 1)}, r'window must be two numbers, the lower first, or "visible", got \(1, 1\)'),
        ({"window": "wide"}, "window must be two numbers"),
        ({"section": 3}, "section must be the axis 0, 1 or 2 of a volume, or None, got 3"),
        ({"unit": "inch"}, "unit must be one of"),
        ({"fill": "red"}, "fill must be a finite number"),
    ],
)
def test_settings_are_checked(setting, message):
    with pytest.raises(ValueError, match=message):
        Display(**setting)


def test_a_png_file_gives_its_pixels_back():
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png(plane)))), plane)
