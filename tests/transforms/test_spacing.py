# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, set_track_meta
from monai.transforms import Compose, ConcatItemsd, CopyItemsd, LoadImaged, Resized, ScaleIntensityRanged
from PIL import Image
from torch import nn

from monai_shortcut.networks import SASonoNet
from monai_shortcut.transforms import AppendSpacing, AppendSpacingd, MaskROI, RemoveOverlayd, SetSpacing, SetSpacingd


@pytest.fixture
def items(tmp_path, rng) -> list[dict]:
    """Two grey PNGs of 40 rows and 60 columns with their spacing in centimetres, as in SA-SonoNet's tables."""
    found = []
    for number in range(2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 200, size=(40, 60), dtype=np.uint8)).save(path)
        found.append({"image": str(path), "y": 0.01 * (number + 1), "x": 0.02 * (number + 1), "label": float(number)})
    return found


def load() -> LoadImaged:
    return LoadImaged("image", reader="PILReader", reverse_indexing=False, ensure_channel_first=True)


def test_planes_hold_each_images_spacing_in_the_order_of_its_axes(items):
    pipeline = Compose([load(), SetSpacingd("image", ("y", "x"), factor=10), AppendSpacingd("image")])
    for number, item in enumerate(items):
        image = pipeline(item)["image"]
        assert image.shape == (3, 40, 60)
        plain = np.asarray(Image.open(item["image"]), dtype=np.float32)
        np.testing.assert_array_equal(image[0].numpy(), plain)
        np.testing.assert_allclose(image[1].numpy(), 0.1 * (number + 1), rtol=1e-6)
        np.testing.assert_allclose(image[2].numpy(), 0.2 * (number + 1), rtol=1e-6)
        assert image.meta["filename_or_obj"] == item["image"]


def test_spacing_set_before_a_resize_follows_it_and_after_it_stays(items):
    spacing, resize = SetSpacingd("image", ("y", "x"), factor=10), Resized("image", (20, 15))
    before = Compose([load(), spacing, resize, AppendSpacingd("image")])(items[0])["image"]
    assert [float(plane[0, 0]) for plane in before[1:]] == pytest.approx([0.1 * 40 / 20, 0.2 * 60 / 15])
    after = Compose([load(), resize, spacing, AppendSpacingd("image")])(items[0])["image"]
    assert [float(plane[0, 0]) for plane in after[1:]] == pytest.approx([0.1, 0.2])


def test_an_image_that_knows_its_spacing_needs_no_column():
    affine = torch.diag(torch.tensor([0.3, 0.5, 0.7, 1.0]))
    image = AppendSpacing()(MetaTensor(torch.zeros(2, 4, 5, 6), affine=affine))
    assert image.shape == (5, 4, 5, 6)
    assert [float(plane.mean()) for plane in image[2:]] == pytest.approx([0.3, 0.5, 0.7])


def test_one_millimetre_that_was_set_is_known():
    image = SetSpacing()(np.zeros((1, 4, 4)), [1.0, 1.0])
    assert AppendSpacing()(image)[1:].unique().tolist() == [1.0]


def test_one_column_serves_all_axes(items):
    image = Compose([load(), SetSpacingd("image", "x"), AppendSpacingd("image")])(items[1])["image"]
    assert image[1:].unique().tolist() == pytest.approx([0.04])


def test_margins_in_millimetres_follow_a_spacing_that_was_set():
    image, roi = torch.ones(1, 9, 9), torch.zeros(1, 9, 9)
    roi[0, 4, 4] = 1
    masked = MaskROI("roi_only", margin=1.0, unit="mm")(SetSpacing()(image, [1.0, 0.5]), roi)
    expected = torch.zeros(9, 9)
    expected[4, 2:7] = expected[3:6, 4] = 1  # one row, two columns
    assert torch.equal(masked[0].as_tensor(), expected)


def test_whole_numbers_become_float_and_the_input_is_left_alone():
    image = torch.full((1, 2, 2), 7, dtype=torch.uint8)
    known = SetSpacing()(image, [0.25, 0.75])
    planes = AppendSpacing()(known)
    assert planes.dtype == torch.float32
    assert planes[:, 0, 0].tolist() == [7.0, 0.25, 0.75]
    assert known.dtype == torch.uint8
    original = MetaTensor(image)
    SetSpacing()(original, [0.25, 0.75])
    assert original.pixdim.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("image", [np.zeros((1, 2, 2)), torch.zeros(1, 2, 2), MetaTensor(torch.zeros(1, 2, 2))])
def test_planes_of_an_unknown_spacing_are_refused(image):
    with pytest.raises(ValueError, match=r"image must know its spacing \(use SetSpacing\), got a \w+ that does not"):
        AppendSpacing()(image)


@pytest.mark.parametrize("spacing", [[0.5], [0.5, 0.0], [0.5, float("nan")], [0.5, float("inf")], [1, 1, 1]])
def test_spacings_other_than_a_positive_number_per_axis_are_refused(spacing):
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers, one per axis, got"):
        SetSpacing()(torch.zeros(1, 2, 2), spacing)


def test_missing_keys_are_named(items):
    image = torch.zeros(1, 2, 2)
    with pytest.raises(KeyError, match=r"spacing_keys must be among the data's keys \('image', 'y'\), got 'x'"):
        SetSpacingd("image", ("y", "x"))({"image": image, "y": 1.0})
    with pytest.raises(KeyError, match="other"):
        SetSpacingd("other", "y")({"image": image, "y": 1.0})
    assert SetSpacingd("other", "y", allow_missing_keys=True)({"y": 1.0}) == {"y": 1.0}
    assert AppendSpacingd("other", allow_missing_keys=True)({"y": 1.0}) == {"y": 1.0}
    with pytest.raises(KeyError, match="other"):
        AppendSpacingd("other")({"y": 1.0})


def test_without_metadata_there_is_no_spacing_to_set():
    set_track_meta(False)
    try:
        image = SetSpacing()(torch.ones(1, 2, 2), [0.5, 0.5])
        assert type(image) is torch.Tensor
        assert torch.equal(image, torch.ones(1, 2, 2))
    finally:
        set_track_meta(True)


def test_a_pipeline_builds_the_batches_of_sa_sononet(items):
    pipeline = Compose(
        [
            load(),
            SetSpacingd("image", ("y", "x"), factor=10),
            CopyItemsd("image", names="uncleaned"),
            RemoveOverlayd("image"),
            ConcatItemsd(["image", "uncleaned"], name="image"),
            Resized("image", (32, 48)),
            ScaleIntensityRanged("image", 0, 255, -1, 1),
            AppendSpacingd("image"),
        ]
    )
    for item in items:  # a caliper
        pixels = np.array(Image.open(item["image"]))
        pixels[20, 10:30] = 255
        Image.fromarray(pixels).save(item["image"])
    batch = next(iter(DataLoader(Dataset(items, pipeline), batch_size=2)))["image"]
    assert batch.shape == (2, 4, 32, 48)
    assert float(batch[:, :2].min()) >= -1
    # 40 rows became 32, 60 columns 48
    assert batch[:, 2:, 0, 0].flatten().tolist() == pytest.approx([0.125, 0.25, 0.25, 0.5])
    strip = (slice(None), slice(15, 18), slice(9, 23))
    assert float((batch[:, 1][strip] - batch[:, 0][strip]).mean()) > 0.1  # calipers in the one, none in the other
    logits = SASonoNet(segmentation=nn.Conv2d(1, 5, 1), width=2).eval()(batch)
    assert logits.shape == (2, 1)
    assert float((logits[0] - logits[1]).detach().abs()) > 0
