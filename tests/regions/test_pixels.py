# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from region_drawings import SHAPES, blob, box_by_hand, disk
from scipy import ndimage

from monai_shortcut.regions.pixels import region_generator
from monai_shortcut.regions.strategies import RegionError, bounding_box, choose_labels, dilate, mask_roi


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
        with pytest.raises(RegionError, match="roi must hold at least one pixel, got an empty region"):
            function(torch.zeros(4, 5))


@pytest.fixture
def organs() -> torch.Tensor:
    labels = torch.zeros(1, 6, 8)
    labels[0, 1:3, 1:4], labels[0, 4, 2:7], labels[0, 0, 7] = 1, 2, 5
    return labels


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64])
@pytest.mark.parametrize("labels", [1, 2, (1, 2), [5, 1], 0, np.int64(2)])
def test_the_region_is_made_of_the_chosen_labels(organs, labels, dtype):
    wanted = {int(label) for label in np.atleast_1d(labels)}
    region = choose_labels(organs.to(dtype), labels)
    assert region.dtype == torch.bool
    assert region.flatten().tolist() == [int(value) in wanted for value in organs.flatten()]


def test_a_label_may_have_the_value_of_a_written_mask():
    roi = disk((9, 9), 3)
    assert torch.equal(choose_labels((roi * 255).to(torch.uint8), 255), roi)


@pytest.mark.parametrize(("labels", "absent"), [(3, "3"), ((1, 4, 3), "4, 3"), ((7,), "7")])
def test_an_absent_label_names_those_that_are_there(organs, labels, absent):
    with pytest.raises(
        RegionError, match=rf"roi_labels must be among the labels of the image \(0, 1, 2, 5\), got {absent}\."
    ):
        choose_labels(organs, labels)


@pytest.mark.parametrize("labels", [(), 1.0, True, "1", ("1",), [1, 2.5], None])
def test_labels_that_are_no_integers_are_refused(organs, labels):
    with pytest.raises(ValueError, match="roi_labels must be an integer or several of them, got"):
        choose_labels(organs, labels)


@pytest.mark.parametrize(("value", "shown"), [(1.5, "1.5"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_labels_between_labels_are_refused(organs, value, shown):
    organs[0, 0, 0] = value
    with pytest.raises(ValueError, match=f"roi must hold whole numbers to choose labels from, got {shown}; resize"):
        choose_labels(organs, 1)


def test_a_generator_follows_from_the_region_alone(rng):
    roi = blob(rng, (9, 11)).numpy()
    drawn = [region_generator(pixels).integers(1 << 40) for pixels in (roi, roi.copy(), np.asfortranarray(roi))]
    assert drawn == [drawn[0]] * 3
    other = roi.copy()
    other[0, 0] ^= True
    assert region_generator(other).integers(1 << 40) != drawn[0]
    assert region_generator(roi.reshape(11, 9)).integers(1 << 40) != drawn[0]
