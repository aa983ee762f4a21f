# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import DATA
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, PersistentDataset, set_track_meta
from monai.data.utils import pickle_hashing
from monai.transforms import (
    Compose,
    EnsureTyped,
    Flipd,
    LoadImaged,
    MaskIntensity,
    Resized,
    ScaleIntensityd,
    Spacingd,
)
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_edt

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.phantom.marks import MARKS, plant_mark, planted_levels
from monai_shortcut.regions.strategies import FILLS, METRICS, STRATEGIES, UNITS, RegionError, mask_roi
from monai_shortcut.transforms import (
    MaskROI,
    MaskROID,
    MaskROId,
    MaskROIDict,
    PlantShortcut,
    PlantShortcutD,
    PlantShortcutd,
    PlantShortcutDict,
)

CONTAINERS = [np.asarray, torch.as_tensor, MetaTensor]
AFFINE = torch.diag(torch.tensor([0.5, 2.0, 1.0, 1.0]))


@pytest.fixture
def image(rng) -> torch.Tensor:
    return torch.from_numpy(rng.integers(1, 100, (2, 12, 10)))


@pytest.fixture
def roi() -> torch.Tensor:
    roi = torch.zeros(1, 12, 10, dtype=torch.uint8)
    roi[0, 4:8, 3:6] = 1
    return roi


@pytest.fixture
def other() -> torch.Tensor:
    """Another patient's region."""
    other = torch.zeros(1, 12, 10, dtype=torch.uint8)
    other[0, 1:3, 2:9] = 1
    return other


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float16", "float32"])
@pytest.mark.parametrize("roi_container", CONTAINERS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_values_of_mask_roi(image, roi, other, container, roi_container, dtype):
    image = image.to(getattr(torch, dtype))
    given = container(image) if container is not np.asarray else image.numpy()
    region, swapped = (roi_container(x) if roi_container is not np.asarray else x.numpy() for x in (roi, other))
    for strategy, fill in [*((name, "mean") for name in STRATEGIES), *(("shifted_roi", name) for name in FILLS)]:
        masked = MaskROI(strategy, 0.5, "area", fill, "taxicab")(given, region, swapped)
        expected = mask_roi(image, roi, strategy, 0.5, "area", fill, metric="taxicab", swapped_roi=other)
        assert type(masked) is type(MaskIntensity()(given, region))
        assert masked.dtype == expected.dtype
        assert torch.equal(torch.as_tensor(masked).as_subclass(torch.Tensor), expected)


def test_each_image_of_a_batch_is_masked_with_its_own_region():
    items = []
    for row in (0, 3):
        region = torch.zeros(1, 4, 4)
        region[0, row] = 1
        items.append({"image": torch.ones(1, 4, 4), "roi": region})
    dataset = CacheDataset(items, MaskROId("image", roi_key="roi", strategy="roi_only"), progress=False)
    for _ in range(2):  # the cache is read twice
        batch = next(iter(DataLoader(dataset, batch_size=2)))
        torch.testing.assert_close(batch["image"].as_tensor(), torch.stack([item["roi"] for item in items]))


def test_every_key_is_masked_and_the_rest_left_alone(image, roi):
    data = {"image": image, "second": image + 1, "roi": roi, "label": 3}
    kept = {"image": image.clone(), "roi": roi.clone()}
    masked = MaskROId(["image", "second"], "roi", "without_roi_box", 1, "pixel", 9)(data)
    for key in ("image", "second"):
        assert torch.equal(masked[key].as_tensor(), mask_roi(data[key], roi, "without_roi_box", 1, "pixel", 9))
    assert masked["label"] == 3
    assert masked["roi"] is roi
    assert torch.equal(data["image"], kept["image"])
    assert torch.equal(roi, kept["roi"])


def test_the_image_keeps_its_own_metadata(image, roi):
    given = MetaTensor(image.float(), affine=AFFINE, meta={"patient_id": "p1"})
    region = MetaTensor(roi, meta={"patient_id": "another"})
    data = Flipd("image", spatial_axis=0)({"image": given, "roi": region})
    masked = MaskROId("image", "roi")(data)["image"]
    assert masked.meta["patient_id"] == "p1"
    assert torch.equal(masked.affine, data["image"].affine)
    assert masked.applied_operations == data["image"].applied_operations
    assert len(masked.applied_operations) == 1
    assert region.meta["patient_id"] == "another"


def test_lazy_pipelines_equal_eager_ones_and_inverse_skips_the_step(image, roi):
    data = {"image": MetaTensor(image.float()), "roi": MetaTensor(roi.float())}
    steps = [Flipd(["image", "roi"], 0), Resized(["image", "roi"], (24, 20), mode="nearest"), MaskROId("image", "roi")]
    nearest = {key: {"mode": "nearest"} for key in ("image", "roi")}
    eager, lazy = Compose(steps)(data), Compose(steps, lazy=True, overrides=nearest)(data)
    assert torch.equal(eager["image"], lazy["image"])
    resized = image.flip(1).repeat_interleave(2, 1).repeat_interleave(2, 2).float()
    region = roi.flip(1).repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(eager["image"].as_tensor(), mask_roi(resized, region))
    undone = Compose(steps).inverse(eager)["image"].as_tensor()
    assert torch.equal(undone, mask_roi(image.float(), roi))  # back in place, and hidden for good


def test_a_lazy_pipeline_that_interpolates_the_region_is_refused(image, roi):
    data = {"image": image.float(), "roi": roi.float()}
    steps = [Resized(["image", "roi"], (24, 20), mode="nearest"), MaskROId("image", "roi")]
    with pytest.raises(RuntimeError) as error:  # MONAI issue 6850: lazy execution forgets mode="nearest"
        Compose(steps, lazy=True)(data)
    assert "threshold it" in str(error.value.__cause__)


# --- labels and other patients' regions


def test_the_region_is_made_of_labels(image, roi, other):
    labels = 2 * roi + 3 * other
    for chosen, region in ((2, roi), (3, other), ((3, 2), roi | other)):
        for container in (np.asarray, torch.as_tensor, MetaTensor):
            masked = MaskROId("image", "roi", roi_labels=chosen)({"image": image, "roi": container(labels)})["image"]
            assert torch.equal(masked.as_tensor(), mask_roi(image, region))
    with pytest.raises(ValueError, match=r"got 0, 2, 3; threshold it, .*; roi_labels chooses from several labels"):
        MaskROId("image", "roi")({"image": image, "roi": labels})
    with pytest.raises(RegionError, match=r"among the labels of the image \(0, 2, 3\), got 1\."):
        MaskROI(roi_labels=1)(image, labels)
    assert torch.equal(MaskROI("full", roi_labels=1)(image, labels).as_tensor(), image)  # which needs no region
    with pytest.raises(ValueError, match="roi must have shape"):
        MaskROI("full", roi_labels=1)(image, labels[:, 1:])


def test_another_patients_region_comes_from_its_key(image, roi, other):
    data = {"image": image, "roi": roi, "swapped_roi": 5 * other, "spare": 5 * roi}
    step = MaskROId("image", "roi", "swapped_roi", fill="noise", roi_labels=5)
    with pytest.raises(RegionError, match="got 5"):
        step(data)  # its own region has to have the labels too
    data["roi"] = 5 * roi
    expected = mask_roi(image, roi, "swapped_roi", fill="noise", swapped_roi=other)
    assert torch.equal(step(data)["image"].as_tensor(), expected)
    renamed = MaskROId("image", "roi", "swapped_roi", fill="noise", roi_labels=5, swapped_key="spare")(data)
    assert torch.equal(renamed["image"].as_tensor(), mask_roi(image, roi, fill="noise"))
    assert not torch.equal(renamed["image"].as_tensor(), expected)
    del data["swapped_roi"]
    with pytest.raises(
        KeyError, match=r"swapped_key must be one of the data's keys \('image', 'roi', 'spare'\), got 's"
    ):
        step(data)
    MaskROId("image", "roi", "shifted_roi", roi_labels=5)(data)  # no other strategy asks for it
    with pytest.raises(ValueError, match="needs the region of another patient as swapped_roi, got none"):
        MaskROI("swapped_roi")(image, roi)


def test_a_cohort_chooses_the_regions_that_are_swapped(tmp_path, rng):
    frame = pd.DataFrame({"image_id": list("abcd"), "patient_id": list("ppqr"), "label": [0, 1, 0, 1]})
    regions = {}
    for row, name in enumerate("abcd"):
        regions[name] = np.zeros((8, 9), np.uint8)
        regions[name][row : row + 3, 2 : 5 + row] = 255
        for folder, pixels in (("images", rng.integers(0, 255, (8, 9), np.uint8)), ("masks", regions[name])):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    paths = {
        role: [f"{folder}/{name}.png" for name in "abcd"] for role, folder in (("image", "images"), ("roi", "masks"))
    }
    cohort = Cohort.from_table(frame.assign(**paths), root=tmp_path).with_swapped_roi(seed=1)
    keys = ["image", "roi", "swapped_roi"]
    steps = Compose([LoadImaged(keys, ensure_channel_first=True), MaskROId("image", "roi", "swapped_roi", fill=-1)])
    for item, masked in zip(cohort.datalist(), Dataset(cohort.datalist(), steps), strict=True):
        swapped = item["swapped_roi"][-5]
        assert cohort.table["patient_id"][swapped] != cohort.table["patient_id"][item["image_id"]]
        assert np.array_equal(masked["image"][0].numpy() == -1, regions[swapped].T > 0)


# --- caches, workers, and the order of steps


@pytest.fixture
def phantoms(rng) -> list[dict]:
    """Eight images with regions of their own, and another's."""
    items = []
    for number in range(8):
        roi = torch.zeros(1, 16, 18)
        roi[0, 2 + number % 4 : 6 + number % 4, 3 + number : 7 + number] = 1
        items.append({"image": torch.from_numpy(rng.normal(size=(2, 16, 18))), "roi": roi, "swapped_roi": roi.flip(2)})
    return items


def images_of(dataset, **settings) -> torch.Tensor:
    return torch.cat([plain(batch["image"]) for batch in DataLoader(dataset, batch_size=3, **settings)])


@pytest.mark.parametrize("fill", ["noise", "mean"])
@pytest.mark.parametrize("strategy", ["without_roi", "shifted_roi", "swapped_roi"])
def test_workers_caches_and_epochs_agree(phantoms, strategy, fill):
    step = MaskROId("image", "roi", strategy, 1, fill=fill)
    expected = torch.stack(
        [
            mask_roi(item["image"], item["roi"], strategy, 1, fill=fill, swapped_roi=item["swapped_roi"])
            for item in phantoms
        ]
    )
    plainly = Dataset(phantoms, step)
    cached = CacheDataset(phantoms, step, progress=False)
    torch.manual_seed(3)
    assert torch.equal(images_of(plainly), expected)
    assert torch.equal(images_of(plainly, num_workers=2), expected)
    for _ in range(2):
        assert torch.equal(images_of(cached), expected)
    assert not torch.equal(expected[0], expected[4])  # the same rows, other columns


def test_one_folder_of_cached_files_tells_strategies_apart_given_a_hash(phantoms, tmp_path):
    seen = {}
    for hashing, folder in ((pickle_hashing, tmp_path / "hashed"), (None, tmp_path / "plain")):
        for step in (
            *(MaskROId("image", "roi", strategy) for strategy in STRATEGIES),
            MaskROId("image", "roi", margin=1),
            MaskROId("image", "roi", fill="noise"),
            MaskROId("image", "roi", margin=3),
            MaskROId("image", "roi", margin=3, metric="taxicab"),
        ):
            dataset = PersistentDataset(phantoms, step, cache_dir=folder, hash_transform=hashing)
            for _ in range(2):
                stored = torch.stack([plain(item["image"]) for item in dataset])
                right = torch.stack([plain(step(item)["image"]) for item in phantoms])
                seen.setdefault(hashing, []).append(torch.equal(stored, right))
    assert all(seen[pickle_hashing])
    assert seen[None] == [True, True] + [False] * 24  # the control: the first strategy's images, whatever was asked for


@pytest.mark.parametrize("fill", [0.0, *FILLS])
@pytest.mark.parametrize(
    "strategy", [name for name in STRATEGIES if name not in ("full", "silhouette", "box_silhouette")]
)
def test_a_hidden_pixel_leaks_through_a_scale_taken_before_masking_only(phantoms, strategy, fill):
    mask, scale = MaskROId("image", "roi", strategy, fill=fill), ScaleIntensityd("image", 0.0, 1.0)
    item = phantoms[0]
    shown = plain(mask(item)["image"]) == item["image"]
    image = item["image"].clone()
    image[0, ~shown[0]] = 1000.0
    bright = {**item, "image": image}

    leaky, tight = Compose([scale, mask]), Compose([mask, scale])
    first, second = (plain(leaky(data)["image"]) for data in (item, bright))
    assert not torch.equal(first[shown], second[shown])
    hidden_scale = (item["image"].min(), torch.tensor(1000.0))
    expected = ((item["image"] - hidden_scale[0]) / (hidden_scale[1] - hidden_scale[0]))[shown]
    if image[shown].min() == item["image"].min():  # the darkest pixel is visible: the leak, in numbers
        torch.testing.assert_close(second[shown].double(), expected.double(), atol=1e-6, rtol=1e-5)

    first, second = (plain(tight(data)["image"]) for data in (item, bright))
    assert torch.equal(first, second)
    masked = plain(mask(bright)["image"]).double()
    expected = (masked - masked.min()) / (masked.max() - masked.min())
    torch.testing.assert_close(second.double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_lazy_pipelines_resample_every_region_in_time(phantoms, strategy):
    keys = ["image", "roi", "swapped_roi"]
    data = {key: MetaTensor(value.float()) for key, value in phantoms[1].items()}
    steps = [
        Flipd(keys, 0),
        Resized(keys, (32, 36), mode="nearest"),
        MaskROId("image", "roi", strategy, 1, fill="noise"),
    ]
    eager = Compose(steps)(data)["image"]
    lazy = Compose(steps, lazy=True, overrides={key: {"mode": "nearest"} for key in keys})(data)["image"]
    assert torch.equal(eager, lazy)
    image, roi, other = (
        value.flip(1).repeat_interleave(2, 1).repeat_interleave(2, 2).float() for value in phantoms[1].values()
    )
    assert torch.equal(plain(eager), mask_roi(image, roi, strategy, 1, fill="noise", swapped_roi=other))


# --- millimetres


def test_millimetres_follow_the_metadata_through_a_resampling(image, roi):
    data = {key: MetaTensor(value.float(), affine=AFFINE) for key, value in (("image", image), ("roi", roi))}
    step = MaskROId("image", "roi", "silhouette", margin=1.0, unit="mm")
    assert torch.equal(step(data)["image"], mask_roi(image.float(), roi, "silhouette", 1.0, "mm", spacing=(0.5, 2.0)))
    assert not torch.equal(step(data)["image"], mask_roi(image.float(), roi, "silhouette", 1.0))
    finer = Spacingd(["image", "roi"], pixdim=(0.5, 0.5), mode="nearest")(data)
    expected = mask_roi(finer["image"], finer["roi"], "silhouette", 1.0, "mm", spacing=(0.5, 0.5))
    assert torch.equal(step(finer)["image"], expected)
    assert not torch.equal(expected, mask_roi(finer["image"], finer["roi"], "silhouette", 1.0, "mm", spacing=(0.5, 2)))


def test_the_spacing_is_the_rois_or_else_the_images(image, roi):
    step = MaskROI("silhouette", margin=1.0, unit="mm")
    expected = mask_roi(image.float(), roi, "silhouette", 1.0, "mm", spacing=(0.5, 2.0))
    known = MetaTensor(image.float(), affine=AFFINE)
    assert torch.equal(step(known, roi).as_tensor(), expected)
    assert torch.equal(step(image.float(), MetaTensor(roi, affine=AFFINE)).as_tensor(), expected)


@pytest.mark.parametrize("shape", [(8, 9), (8, 9, 6)])
def test_a_nifti_file_carries_its_spacing(tmp_path, rng, shape):
    roi = np.zeros(shape, np.uint8)
    roi[3:5, 3:5] = 1
    affine = np.diag([0.5, 0.7, 2.0, 1.0])
    for key, array in (("image", rng.normal(size=shape)), ("roi", roi)):
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), tmp_path / f"{key}.nii")
    data = LoadImaged(["image", "roi"], ensure_channel_first=True)(
        {key: tmp_path / f"{key}.nii" for key in ("image", "roi")}
    )
    masked = MaskROId("image", "roi", margin=0.7, unit="mm")(data)["image"]
    image, region = data["image"].as_tensor(), data["roi"].as_tensor()
    spacing = (0.5, 0.7, 2.0)[: len(shape)]
    assert torch.equal(masked.as_tensor(), mask_roi(image, region, margin=0.7, unit="mm", spacing=spacing))


@pytest.mark.parametrize("origin", [0, -90])
def test_one_millimetre_at_the_origin_is_no_spacing(tmp_path, origin):
    affine = np.eye(4)
    affine[:3, 3] = origin
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), affine), tmp_path / "roi.nii")
    data = LoadImaged("roi", ensure_channel_first=True)({"roi": tmp_path / "roi.nii"})
    step = MaskROI(margin=1, unit="mm")
    if origin:
        assert (step(np.ones((1, 4, 4, 4)), data["roi"]) == 0).all()
    else:
        with pytest.raises(ValueError, match='unit="mm" needs the spacing'):
            step(np.ones((1, 4, 4, 4)), data["roi"])


@pytest.mark.parametrize("container", CONTAINERS)
def test_millimetres_without_metadata_are_refused(image, roi, container):
    given, region = (container(x) if container is not np.asarray else x.numpy() for x in (image, roi))
    with pytest.raises(ValueError, match=r'unit="mm" needs the spacing .* PNG and JPEG files and plain arrays'):
        MaskROI(margin=1, unit="mm")(given, region)


@pytest.mark.parametrize("resized", [False, True])
def test_millimetres_on_a_png_are_refused(tmp_path, roi, resized):
    Image.fromarray(roi[0].numpy() * 255).save(tmp_path / "roi.png")
    data = LoadImaged("roi", ensure_channel_first=True)({"roi": tmp_path / "roi.png"})
    if resized:
        data = Resized("roi", (30, 30), mode="nearest")(data)
        assert (data["roi"].pixdim != 1).any()  # what would be taken for millimetres
    with pytest.raises(ValueError, match='unit="mm" needs the spacing'):
        MaskROI(margin=1, unit="mm")(data["roi"], data["roi"])


# --- errors


def test_a_missing_region_names_the_keys_that_are_there(image, roi):
    step = MaskROId("image", "roi", allow_missing_keys=True)
    with pytest.raises(KeyError, match=r"roi_key must be one of the data's keys \('image', 'label'\), got 'roi'"):
        step({"image": image, "label": 1})
    assert step({"label": 1}) == {"label": 1}
    with pytest.raises(KeyError, match="image"):
        MaskROId("image", "roi")({"roi": roi})


@pytest.mark.parametrize("build", [MaskROI, lambda **settings: MaskROId("image", "roi", **settings)])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "roi"}, f"strategy must be one of {', '.join(STRATEGIES)}, got 'roi'"),
        ({"unit": "inch"}, f"unit must be one of {', '.join(UNITS)}, got 'inch'"),
        ({"fill": "median"}, f"fill must be a finite number or one of {', '.join(FILLS)}, got 'median'"),
        ({"metric": "L1"}, f"metric must be one of {', '.join(METRICS)}, got 'L1'"),
        ({"roi_labels": ()}, r"roi_labels must be an integer or several of them, got \(\)"),
        ({"margin": float("inf")}, "margin must be a finite number, got inf"),
    ],
)
def test_settings_are_checked_when_the_transform_is_built(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_the_aliases_are_the_transform():
    assert MaskROID is MaskROIDict is MaskROId
    assert MaskROId.backend == MaskROI.backend


# --- planted marks


def plain(image) -> torch.Tensor:
    return torch.as_tensor(image).as_subclass(torch.Tensor)


@pytest.fixture
def cohort() -> Cohort:
    """24 images, two of each patient; the label is the patient's."""
    number = np.arange(24)
    frame = {"image_id": [f"img{i:02d}" for i in number], "patient_id": number // 2, "label": number // 2 % 2}
    return Cohort.from_table(pd.DataFrame(frame))


@pytest.fixture
def items(cohort, rng) -> list[dict]:
    return [
        {
            "image": torch.from_numpy(rng.uniform(size=(1, 12, 14))),
            "label": int(code),
            "image_id": name,
            "patient": patient,
        }
        for code, name, patient in zip(cohort.labels, cohort.image_ids, cohort.patients.tolist(), strict=True)
    ]


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_values_of_plant_mark(image, container, dtype):
    image = image.to(getattr(torch, dtype))
    given = container(image) if container is not np.asarray else image.numpy()
    before = plain(given).clone()
    for mark in MARKS:
        for present, expected in ((True, plant_mark(image, mark)), (False, image)):
            marked = PlantShortcut(mark)(given, present)
            assert type(marked) is type(MaskROI("full")(given, given[:1] > 0))
            assert marked.dtype == expected.dtype
            assert torch.equal(plain(marked), expected)
            marked[:] = 1  # never in place: the result is no view of the image
            assert torch.equal(plain(given), before)


def test_without_metadata_a_mark_gives_a_tensor(image):
    set_track_meta(False)
    try:
        assert type(PlantShortcut("gain")(MetaTensor(image.float()), present=True)) is torch.Tensor
    finally:
        set_track_meta(True)


def test_marked_and_swapped_images_keep_the_metadata(image):
    given = MetaTensor(image.float(), affine=AFFINE, meta={"patient_id": "p1"})
    data = Flipd("image", spatial_axis=0)({"image": given, "label": 1, "image_id": "a"})
    marked = PlantShortcutd("image", "gain", swapped_suffix="_swapped")(data)
    for key in ("image", "image_swapped"):
        assert marked[key].meta["patient_id"] == "p1"
        assert torch.equal(marked[key].affine, data["image"].affine)
        assert marked[key].pixdim.tolist() == [0.5, 2.0]
        assert marked[key].applied_operations == data["image"].applied_operations
    assert marked["image"].applied_operations is not marked["image_swapped"].applied_operations


@pytest.mark.parametrize("id_key", ["image_id", "patient"])
@pytest.mark.parametrize("workers", [0, 2])
def test_table_and_pipeline_agree_for_every_image_over_workers_and_epochs(cohort, items, id_key, workers):
    units = cohort.image_ids if id_key == "image_id" else cohort.patients
    cohort = cohort.with_attribute("tag", planted_levels(cohort.labels, units, 0.5, seed=4))
    levels = dict(zip(cohort.image_ids, cohort.values("tag"), strict=True))
    assert set(levels.values()) == {"absent", "present"}
    plant = PlantShortcutd("image", "gain", 0.5, seed=4, id_key=id_key, swapped_suffix="_swapped")
    source = {item["image_id"]: item["image"] for item in items}
    loader = DataLoader(CacheDataset(items, plant, progress=False), batch_size=5, num_workers=workers, shuffle=True)
    for _ in range(2):
        seen = []
        for batch in loader:
            for name, level, *shown in zip(
                batch["image_id"], batch["shortcut"], batch["image"], batch["image_swapped"], strict=True
            ):
                assert level == levels[name]
                pair = [source[name], plant_mark(source[name], "gain")]
                pair = pair if level == "absent" else pair[::-1]
                assert all(torch.equal(plain(found), wanted) for found, wanted in zip(shown, pair, strict=True))
                seen.append(name)
        assert sorted(seen) == sorted(levels)


def test_a_column_of_the_table_decides_where_there_is_one(items):
    plant = PlantShortcutd("image", "gain", strength=1.0, attribute_key="tag", swapped_suffix="_swapped")
    for level, swapped in (("absent", "present"), ("present", "absent")):
        for item in items[:4]:  # both labels, so that strength 1 would mark half of them
            marked = plant({"image": item["image"], "tag": level})  # neither label nor id is needed
            other = plant({"image": item["image"], "tag": swapped})
            assert marked["tag"] == level
            assert torch.equal(marked["image"], other["image_swapped"])
            assert torch.equal(marked["image_swapped"], other["image"])
            assert torch.equal(plain(marked["image"]), item["image"]) == (level == "absent")
    drawn = [plant(item) for item in items]
    assert [item["tag"] for item in drawn] == ["present" if item["label"] else "absent" for item in items]
    assert not any("tag" in item or "image_swapped" in item for item in items)


def test_all_images_of_a_dictionary_share_one_level_and_the_rest_is_left_alone(items):
    plant = PlantShortcutd(["image", "second", "third"], "blur", 0.0, swapped_suffix="_x", allow_missing_keys=True)
    for item in items:
        data = {**item, "second": item["image"] + 1}
        marked = plant(data)
        for key in ("image", "second"):
            both = (data[key], plant_mark(data[key], "blur"))
            for name, shown in zip(
                (key, f"{key}_x"), both if marked["shortcut"] == "absent" else both[::-1], strict=True
            ):
                assert torch.equal(plain(marked[name]), shown)
        assert set(marked) == {*data, "image_x", "second_x", "shortcut"}
        assert (marked["label"], marked["image_id"]) == (item["label"], item["image_id"])


def test_labels_may_be_tensors_and_any_label_may_be_marked(items):
    plant = PlantShortcutd("image", strength=1.0, label_key="plane", id_key="patient", marked_labels=[0, 2])
    for code in range(4):
        for label in (code, torch.tensor(code), np.int64(code)):
            data = {"image": items[0]["image"], "plane": label, "patient": "p"}
            assert plant(data)["shortcut"] == ("present" if code in (0, 2) else "absent")


def test_missing_keys_are_named(items):
    with pytest.raises(KeyError, match=r"the data must have the key 'label' to plant a shortcut, got 'image'"):
        PlantShortcutd("image")({"image": items[0]["image"]})
    with pytest.raises(
        KeyError, match=r"must have the key 'case' to plant a shortcut, got 'image', 'label', 'image_id'"
    ):
        PlantShortcutd("image", id_key="case")(items[0])
    with pytest.raises(KeyError, match="other"):
        PlantShortcutd(["image", "other"])(items[0])


def test_an_unknown_level_in_the_data_is_refused(items):
    with pytest.raises(ValueError, match=r"shortcut must be one of absent, present, got 'maybe'\."):
        PlantShortcutd("image")({**items[0], "shortcut": "maybe"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mark": "logo"}, r"mark must be one of tag, gain, blur, got 'logo'\."),
        ({"amount": -1}, r"amount must be a positive number, got -1\."),
        ({"strength": 1.5}, r"strength must be in \[-1, 1\], got 1\.5\."),
        ({"marked_labels": ["sick"]}, r"marked_labels must be integers, got \['sick'\]\."),
        ({"swapped_suffix": ""}, r"swapped_suffix must not be empty, .*, got ''\."),
    ],
)
def test_settings_of_a_shortcut_are_checked_when_the_transform_is_built(settings, message):
    with pytest.raises(ValueError, match=message):
        PlantShortcutd("image", **settings)
    if set(settings) <= {"mark", "amount"}:
        with pytest.raises(ValueError, match=message):
            PlantShortcut(**settings)


def test_the_aliases_are_the_shortcut():
    assert PlantShortcutD is PlantShortcutDict is PlantShortcutd
    assert PlantShortcutd.backend == PlantShortcut.backend


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_marked_image_stays_on_its_device(image):
    for mark in MARKS:
        marked = PlantShortcut(mark)(MetaTensor(image.float().cuda()), present=True)
        assert marked.is_cuda
        torch.testing.assert_close(plain(marked).cpu(), plant_mark(image.float(), mark))


# --- a real image


@pytest.mark.parametrize("reader_dtype", [np.float32, np.uint8])
def test_a_real_lesion_is_hidden_and_nothing_else(busbra, reader_dtype):
    files = {"image": busbra / "images" / "bus_0001-l.png", "roi": busbra / "masks" / "bus_0001-l.png"}
    pixels = np.asarray(Image.open(files["image"])).T  # MONAI reads width first
    lesion = np.asarray(Image.open(files["roi"])).T > 0
    data = LoadImaged(["image", "roi"], ensure_channel_first=True, dtype=reader_dtype)(files)
    masked = MaskROId("image", "roi", margin=5)(EnsureTyped(["image"])(data))["image"]
    hidden = np.asarray(dilate_with_scipy(lesion, 5))
    assert np.array_equal(masked[0], np.where(hidden, 0, pixels))
    assert masked.meta["filename_or_obj"] == str(files["image"])
    only = MaskROId("image", "roi", "roi_box_only", margin=5)(data)["image"]
    rows, columns = np.nonzero(hidden.any(axis=1))[0], np.nonzero(hidden.any(axis=0))[0]
    box = np.zeros_like(hidden)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert np.array_equal(only[0], np.where(box, pixels, 0))
    assert 0 < lesion.sum() < hidden.sum() < box.sum() < box.size


@pytest.mark.parametrize(
    ("pack", "names", "without_room"),
    [
        ("covid-cxr-ccby", ("00870a9c", "0a7faa2a", "08d780ae"), ("08d780ae",)),  # lungs: large, and in two parts
        ("hc18-fetal-head", ("000_HC", "002_HC", "011_HC"), ()),
    ],
)
def test_lungs_and_heads_go_through_every_strategy(pack, names, without_room):
    folder = DATA / pack
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set MONAI_SHORTCUT_DATA to the folder that holds {pack}")
    keys = ["image", "roi", "swapped_roi"]
    load = LoadImaged(keys, ensure_channel_first=True)
    for name, another in zip(names, names[1:] + names[:1], strict=True):
        places = {"image": f"images/{name}.png", "roi": f"masks/{name}.png", "swapped_roi": f"masks/{another}.png"}
        data = load({key: folder / place for key, place in places.items()})
        pixels = {key: np.asarray(Image.open(folder / place), np.float32).T for key, place in places.items()}
        region, other = (dilate_with_scipy(pixels[key] > 0, 4) for key in ("roi", "swapped_roi"))
        box = np.zeros_like(region)
        box[tuple(slice(line.min(), line.max() + 1) for line in np.nonzero(region))] = True
        hidden = {"without_roi": region, "without_roi_box": box, "roi_only": ~region, "roi_box_only": ~box}
        hidden |= {"full": np.zeros_like(box), "swapped_roi": other}
        for strategy in STRATEGIES:
            if strategy == "shifted_roi" and name in without_room:
                with pytest.raises(RegionError, match=f"got a region of {region.sum()} pixels"):
                    MaskROId("image", "roi", strategy, 4)(data)
                continue
            masked = MaskROId("image", "roi", strategy, 4, fill=-1)(data)["image"]
            assert masked.meta["filename_or_obj"] == str(folder / places["image"])
            found = plain(masked)[0].numpy()
            if strategy in hidden:
                assert np.array_equal(found, np.where(hidden[strategy], -1, pixels["image"]))
            elif strategy == "shifted_roi":
                moved = found == -1
                assert np.array_equal(found, np.where(moved, -1, pixels["image"]))
                assert moved.sum() == region.sum() > 2 * (moved & region).sum()
            else:
                assert np.array_equal(found, region if strategy == "silhouette" else box)
        rim = region & dilate_with_scipy(~region, 1)
        nearest = distance_transform_edt(region, return_distances=False, return_indices=True)
        beside, step = pixels["image"][tuple(nearest)][rim], {}
        for fill in ("mean", "noise", "blur"):
            filled = plain(MaskROId("image", "roi", "without_roi", 4, fill=fill)(data)["image"])[0].numpy()
            seen = pixels["image"][~region]
            assert np.array_equal(filled[~region], seen)
            assert seen.min() <= filled[region].min() <= filled[region].max() <= seen.max()
            step[fill] = abs(filled[rim] - beside).mean()  # how much of an edge the hole has
        assert step["blur"] < step["mean"] < step["noise"]


def dilate_with_scipy(region: np.ndarray, radius: int) -> np.ndarray:
    steps = np.arange(-radius, radius + 1)
    return binary_dilation(region, steps[:, None] ** 2 + steps**2 <= radius**2)
