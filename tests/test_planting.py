# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor
from scipy.ndimage import gaussian_filter

from monai_shortcut.planting import MARKS, plant_mark, planted_levels
from monai_shortcut.transforms import PlantShortcut, PlantShortcutD, PlantShortcutd, PlantShortcutDict


@pytest.fixture
def images(rng) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(10, 90, (3, 2, 40, 60))).float()


@pytest.mark.parametrize("strength", [-1.0, 0.0, 0.6, 1.0])
def test_the_mark_goes_along_with_the_label_as_strongly_as_told(strength):
    label = np.arange(20000) % 2
    marked = planted_levels(label, range(20000), strength, seed=3) == "present"
    assert marked[label == 1].mean() == pytest.approx((1 + strength) / 2, abs=0.02)
    assert marked[label == 0].mean() == pytest.approx((1 - strength) / 2, abs=0.02)


def test_levels_follow_from_seed_and_unit_alone():
    label, units = np.arange(50) % 3, [f"image {i}" for i in range(50)]
    levels = planted_levels(label, units, 0.3, seed=1, marked_labels=(1, 2))
    order = np.random.default_rng(0).permutation(50)
    shuffled = planted_levels(label[order], [units[i] for i in order], 0.3, seed=1, marked_labels=(1, 2))
    np.testing.assert_array_equal(shuffled, levels[order])
    assert (planted_levels(label, units, 0.3, seed=2, marked_labels=(1, 2)) != levels).any()
    # Images of a patient with one label agree when patients are the units.
    by_patient = planted_levels(np.ones(50, dtype=int), np.repeat(range(10), 5), 0.0)
    assert all(len(set(of_patient)) == 1 for of_patient in by_patient.reshape(10, 5))
    assert len(set(by_patient)) == 2


def test_levels_are_the_same_in_another_process():
    code = (
        "from monai_shortcut.planting import planted_levels as p; print(p([0, 1] * 8, list('abcdefghijklmnop'), 0.1))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(planted_levels([0, 1] * 8, list("abcdefghijklmnop"), 0.1))


def test_gain_stretches_from_the_minimum(images):
    low = images[0].min()
    torch.testing.assert_close(plant_mark(images[0], "gain"), low + (images[0] - low) * 1.3)
    integers = torch.tensor([[[0, 100, 250]]], dtype=torch.uint8)
    assert plant_mark(integers, "gain", 0.5).tolist() == [[[0, 150, 255]]]  # rounded, and not beyond the dtype


def test_blur_treats_each_channel_alone(images):
    blurred = plant_mark(images[1], "blur", 1.5)
    expected = np.stack([gaussian_filter(channel.double().numpy(), 1.5) for channel in images[1]])
    np.testing.assert_allclose(blurred.numpy(), expected, rtol=1e-5)
    volume = torch.rand(1, 8, 9, 10, dtype=torch.float64)
    np.testing.assert_allclose(plant_mark(volume, "blur")[0].numpy(), gaussian_filter(volume[0].numpy(), 1.0))


def test_a_tag_changes_a_corner_and_nothing_else(images):
    tagged = plant_mark(images[2], "tag", 0.2)
    changed = (tagged != images[2]).any(dim=0)
    rows, columns = changed.nonzero().T
    assert 5 <= int(rows.max()) <= 9
    assert int(columns.max()) < 40
    assert set(tagged[:, : int(rows.max()) + 1, :10].unique().tolist()) == {
        images[2].min().item(),
        images[2].max().item(),
    }
    volume = torch.rand(1, 30, 30, 4)
    assert (plant_mark(volume, "tag") != volume).any(dim=(0, 1, 2)).all()  # in every slice


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float16, torch.float32, torch.float64])
def test_a_mark_keeps_dtype_and_shape_and_leaves_its_input_alone(images, mark, dtype):
    image = images[0].to(dtype)
    before = image.clone()
    marked = plant_mark(image, mark)
    assert (marked.dtype, marked.shape) == (dtype, image.shape)
    assert torch.equal(image, before)
    assert not torch.equal(marked, image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_on_cuda_is_that_on_the_cpu(images, mark):
    torch.testing.assert_close(plant_mark(images[0].cuda(), mark).cpu(), plant_mark(images[0], mark))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mark": "logo"}, r"mark must be one of tag, gain, blur, got 'logo'\."),
        ({"amount": 0}, r"amount must be a positive number, got 0\."),
        ({"amount": "big"}, r"amount must be a positive number, got 'big'\."),
    ],
)
def test_settings_that_do_not_exist_are_refused(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        plant_mark(images[0], **arguments)
    with pytest.raises(ValueError, match=message):
        PlantShortcutd("image", **arguments)


def test_wrong_shapes_and_strengths_are_refused():
    with pytest.raises(ValueError, match=r"image must have shape \(C, H, W\) or \(C, H, W, D\), got \(4, 4\)\."):
        plant_mark(torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"strength must be in \[-1, 1\], got 2\."):
        planted_levels([0], ["a"], 2)
    with pytest.raises(ValueError, match=r"strength must be in \[-1, 1\], got 1\.5\."):
        PlantShortcutd("image", strength=1.5)
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\) to match units, got \(1,\)\."):
        planted_levels([0], ["a", "b"], 0.5)


@pytest.mark.parametrize("container", [np.asarray, torch.as_tensor, MetaTensor])
def test_every_container_gives_the_values_of_plant_mark(images, container):
    given = container(images[0].numpy()) if container is np.asarray else container(images[0])
    marked = PlantShortcut("blur")(given, present=True)
    np.testing.assert_allclose(np.asarray(marked), plant_mark(images[0], "blur").numpy())
    np.testing.assert_array_equal(np.asarray(PlantShortcut("blur")(given, present=False)), images[0].numpy())


def test_metadata_of_the_image_stay():
    image = MetaTensor(torch.rand(1, 20, 20), affine=torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0])))
    marked = PlantShortcut("gain")(image, present=True)
    assert torch.equal(marked.affine, image.affine)
    assert marked.pixdim.tolist() == [0.5, 2.0]


def test_table_and_pipeline_agree_over_workers_and_epochs(images):
    labels, ids = np.arange(12) % 2, [f"image {i}" for i in range(12)]
    items = [
        {"image": images[i % 3] + i, "label": int(label), "image_id": name}
        for i, (label, name) in enumerate(zip(labels, ids, strict=True))
    ]
    levels = planted_levels(labels, ids, 0.5, seed=4)
    assert set(levels) == {"absent", "present"}
    plant = PlantShortcutd("image", "gain", 0.5, seed=4, swapped_suffix="_swapped")
    for workers in (0, 2):
        loader = DataLoader(CacheDataset(items, plant, progress=False), batch_size=5, num_workers=workers)
        for _ in range(2):
            batches = list(loader)
            assert [level for batch in batches for level in batch["shortcut"]] == levels.tolist()
            for key, wanted in (("image", "present"), ("image_swapped", "absent")):
                shown = torch.cat([batch[key] for batch in batches])
                for item, image, level in zip(items, shown, levels, strict=True):
                    expected = plant_mark(item["image"], "gain") if level == wanted else item["image"]
                    torch.testing.assert_close(torch.as_tensor(image).as_subclass(torch.Tensor), expected)


def test_a_level_in_the_data_is_obeyed(images):
    data = {"image": images[0], "label": 0, "image_id": "a", "shortcut": "present"}
    assert torch.equal(PlantShortcutd("image", "gain")(data)["image"].as_tensor(), plant_mark(images[0], "gain"))
    assert torch.equal(data["image"], images[0])
    with pytest.raises(ValueError, match=r"shortcut must be one of absent, present, got 'maybe'\."):
        PlantShortcutd("image")({**data, "shortcut": "maybe"})


def test_missing_keys_are_named(images):
    with pytest.raises(KeyError, match=r"the data must have the key 'label' to plant a shortcut, got 'image'"):
        PlantShortcutd("image")({"image": images[0]})
    plant = PlantShortcutd(["image", "other"], allow_missing_keys=True)
    assert set(plant({"image": images[0], "label": 1, "image_id": "a"})) == {"image", "label", "image_id", "shortcut"}
    with pytest.raises(KeyError, match="other"):
        PlantShortcutd(["image", "other"])({"image": images[0], "label": 1, "image_id": "a"})


def test_aliases():
    assert PlantShortcutD is PlantShortcutDict is PlantShortcutd
