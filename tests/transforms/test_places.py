# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A region must lie on its image: what files say about place, scale, turning and colours."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from dicom_files import needs_itk
from monai.data import MetaTensor, list_data_collate
from monai.transforms import EnsureTyped, Flipd, LoadImage, LoadImaged, Resized
from PIL import Image

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.datasets import usable
from monai_shortcut.handlers.masking import masked_images
from monai_shortcut.regions.pixels import RegionError
from monai_shortcut.transforms import AppendSpacing, MaskROI, MaskROId, SetSpacingd
from monai_shortcut.transforms.metadata import spacing_of

SHAPE = (5, 6, 7)
AFFINE = np.array([[0.0, -0.5, 0, 3], [0.4, 0, 0, -7], [0, 0, 2, 11], [0, 0, 0, 1]])


def load(image: Path | str, roi: Path | str, **options) -> dict:
    return LoadImaged(["image", "roi"], ensure_channel_first=True, **options)({"image": str(image), "roi": str(roi)})


def shown(image: Path | str, roi: Path | str, **options) -> np.ndarray:
    """The image with all outside of its region hidden."""
    return MaskROId("image", "roi", "roi_only", **options)(load(image, roi))["image"][0].numpy()


def cohort_of(image: Path | str, roi: Path | str) -> Cohort:
    rows = [
        {"image_id": name, "patient_id": name, "label": name, "image": str(image), "roi": str(roi)} for name in "ab"
    ]
    return Cohort.from_table(pd.DataFrame(rows))


@pytest.fixture
def volume(tmp_path, rng):
    """A NIfTI image and its region, as arrays; the image is stored."""
    image, roi = rng.integers(1, 100, SHAPE).astype(np.float32), np.zeros(SHAPE, np.uint8)
    roi[1:3, 2, 3:6] = roi[4, 5, 6] = 1
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "image.nii")
    return image, roi


def save_roi(folder: Path, roi: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(roi, affine), folder / "roi.nii")
    return folder / "roi.nii"


def test_a_region_stored_with_other_directions_of_the_axes_is_turned(tmp_path, volume):
    image, roi = volume
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        to_stored = np.zeros((4, 4))  # from indices of the image to those of the stored region
        to_stored[3, 3] = 1
        for axis, (own, sign) in enumerate(zip(axes, signs, strict=True)):
            to_stored[axis, own], to_stored[axis, 3] = sign, 0 if sign > 0 else SHAPE[own] - 1
        stored = np.zeros([SHAPE[own] for own in axes], np.uint8)
        for index in np.argwhere(roi):
            stored[tuple((to_stored @ [*index, 1])[:3].astype(int))] = 1
        path = save_roi(tmp_path, stored, AFFINE @ np.linalg.inv(to_stored))
        np.testing.assert_array_equal(shown(tmp_path / "image.nii", path), image * roi)


def test_the_margin_of_a_turned_region_is_measured_along_its_own_axes(tmp_path, volume):
    image, _ = volume
    roi = np.zeros(SHAPE, np.uint8)
    roi[2, 3, 3] = 1
    path = save_roi(tmp_path, roi.transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]])
    along = np.indices(SHAPE) - np.reshape([2, 3, 3], (3, 1, 1, 1))
    inside = np.sqrt((along**2 * np.reshape([0.16, 0.25, 4], (3, 1, 1, 1))).sum(axis=0)) <= 1.0 + 1e-6
    np.testing.assert_array_equal(shown(tmp_path / "image.nii", path, margin=1.0, unit="mm"), image * inside)


def moved(**changes) -> np.ndarray:
    affine = AFFINE.copy()
    for place, value in changes.items():
        affine[int(place[1]), int(place[2])] += value
    return affine


ELSEWHERE = {
    "three voxels away": moved(_03=1.5),
    "in another slice": moved(_23=2.0),
    "coarser": AFFINE @ np.diag([1, 1.5, 1, 1]),
    "oblique": AFFINE @ np.array([[1, 0.3, 0, 0], [-0.3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "not said": np.eye(4),
}


@pytest.mark.parametrize("affine", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_region_that_lies_elsewhere_is_refused_by_name(tmp_path, volume, affine):
    image, roi = volume
    path = save_roi(tmp_path, roi, affine)
    with pytest.raises(ValueError, match=r"must lie on its image, got .*roi\.nii whose corners are up to .*image\.nii"):
        shown(tmp_path / "image.nii", path)
    reasons = usable(cohort_of(tmp_path / "image.nii", path)).excluded
    assert set(reasons) == {"a", "b"}
    assert all("must lie on its image" in reason for reason in reasons.values())
    data = load(tmp_path / "image.nii", path)
    data = EnsureTyped("roi", track_meta=False)(data)  # what the message advises where the header is wrong
    np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(data)["image"][0].numpy(), image * roi)


def test_rounding_of_headers_is_no_other_place(tmp_path, volume):
    image, roi = volume
    path = save_roi(tmp_path, roi, moved(_03=0.1, _13=-0.05, _01=1e-5))
    np.testing.assert_array_equal(shown(tmp_path / "image.nii", path), image * roi)
    assert usable(cohort_of(tmp_path / "image.nii", path)).excluded == {}


def test_a_header_without_a_place_says_nothing_of_it_but_the_spacing(tmp_path, volume):
    image, roi = volume
    for spacing, message in (([0.4, 0.5, 2.0], None), ([0.4, 0.5, 3.0], "must have one spacing, got 0.4 x 0.5 x 3 mm")):
        stored = nib.Nifti1Image(roi, None)
        stored.header.set_zooms(spacing)
        nib.save(stored, tmp_path / "roi.nii")
        data = load(tmp_path / "image.nii", tmp_path / "roi.nii")
        assert int(data["roi"].meta["qform_code"]) == int(data["roi"].meta["sform_code"]) == 0
        if message is None:
            np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(data)["image"][0].numpy(), image * roi)
        else:
            with pytest.raises(ValueError, match=message):
                MaskROId("image", "roi", "roi_only")(data)


def test_what_a_pipeline_does_to_one_of_both_is_found(tmp_path, volume):
    image, roi = volume
    data = load(tmp_path / "image.nii", save_roi(tmp_path, roi, AFFINE))
    both = Flipd(["image", "roi"], spatial_axis=1)(data)
    expected = (image * roi)[:, ::-1]
    np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(both)["image"][0].numpy(), expected)
    alone = Flipd("image", spatial_axis=1)(data)  # its affine says so, and the region is flipped after it
    np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(alone)["image"][0].numpy(), expected)
    resized = Resized(["image", "roi"], (8, 9, 4), mode=("area", "nearest"))(data)
    masked = MaskROId("image", "roi", "roi_only")(resized)["image"]
    assert torch.equal(masked, resized["image"] * resized["roi"])


def test_a_spacing_that_was_set_is_compared_with_the_files(tmp_path, volume):
    _, roi = volume
    data = load(tmp_path / "image.nii", save_roi(tmp_path, roi, AFFINE))
    data = SetSpacingd("image", "spacing")({**data, "spacing": 0.7})
    with pytest.raises(ValueError, match=r"region and image must have one spacing, got 0\.4 x 0\.5 x 2 mm"):
        MaskROId("image", "roi", "roi_only")(data)


@pytest.mark.parametrize(("unit", "step"), [("mm", 0.1), ("micron", 100.0), ("meter", 1e-4), ("unknown", 0.1)])
def test_margins_and_planes_are_in_millimetres_whatever_the_files_unit(tmp_path, unit, step):
    image, roi = np.ones((11, 11, 3), np.float32), np.zeros((11, 11, 3), np.uint8)
    roi[5, 5, 1] = 1
    for name, array in (("image", image), ("roi", roi)):
        stored = nib.Nifti1Image(array, np.diag([step, step, step, 1.0]))
        stored.header.set_xyzt_units(unit)
        nib.save(stored, tmp_path / f"{name}.nii")
    offsets = np.indices(image.shape) - np.reshape([5, 5, 1], (3, 1, 1, 1))
    inside = 0.01 * (offsets**2).sum(axis=0) <= 0.04 + 1e-9
    assert inside.sum() == 31
    np.testing.assert_array_equal(shown(tmp_path / "image.nii", tmp_path / "roi.nii", margin=0.2, unit="mm"), inside)
    planes = AppendSpacing()(load(tmp_path / "image.nii", tmp_path / "roi.nii")["image"])[1:]
    np.testing.assert_allclose(planes, 0.1, rtol=1e-5)


def test_image_and_region_may_have_different_units_but_no_unknown_ones(tmp_path):
    roi = np.zeros((4, 4, 4), np.uint8)
    roi[1, 1, 1] = 1
    for name, step, unit in (("image", 0.5, "mm"), ("roi", 500.0, "micron")):
        stored = nib.Nifti1Image(roi, np.diag([step, step, step, 1]))
        stored.header.set_xyzt_units(unit)
        nib.save(stored, tmp_path / f"{name}.nii")
    assert shown(tmp_path / "image.nii", tmp_path / "roi.nii", margin=0.5, unit="mm").sum() == 1
    stored = nib.Nifti1Image(roi, np.diag([0.5, 0.5, 0.5, 1]))
    stored.header["xyzt_units"] = 5
    nib.save(stored, tmp_path / "roi.nii")
    with pytest.raises(ValueError, match=r"xyzt_units must be metres, .*, got 5 in .*roi\.nii: correct the header\."):
        shown(tmp_path / "image.nii", tmp_path / "roi.nii")
    assert "xyzt_units" in usable(cohort_of(tmp_path / "image.nii", tmp_path / "roi.nii")).excluded["a"]


def test_units_of_nrrd_files_are_those_of_their_header():
    affine = np.diag([200.0, 200, 200, 1])
    meta = {"filename_or_obj": "x.nrrd", "original_affine": affine, "space units": ["um", "um", "um"]}
    image = MetaTensor(torch.ones(1, 3, 3, 3), affine=affine, meta=meta)
    assert spacing_of(image) == pytest.approx([0.2] * 3)
    image.meta["space units"] = ["mm", "mm", "s"]
    with pytest.raises(ValueError, match=r"space units must be one of mm, .*, got mm, s in x\.nrrd\."):
        spacing_of(image)


def test_itk_has_converted_units_and_agrees_with_nibabel_about_the_place(tmp_path, volume):
    needs_itk()
    image, roi = volume
    micrometres = np.diag([1e3, 1e3, 1e3, 1]) @ AFFINE
    stored = nib.Nifti1Image(roi, micrometres)
    stored.header.set_xyzt_units("micron")
    nib.save(stored, tmp_path / "roi.nii")
    data = {
        "image": LoadImage(reader="NibabelReader", ensure_channel_first=True)(tmp_path / "image.nii"),
        "roi": LoadImage(reader="ITKReader", ensure_channel_first=True)(tmp_path / "roi.nii"),
    }
    assert spacing_of(data["roi"]) == pytest.approx([0.4, 0.5, 2.0])
    np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(data)["image"][0].numpy(), image * roi)


@pytest.fixture
def picture(tmp_path):
    """A square PNG image and its region."""
    image, roi = np.full((8, 8), 50, np.uint8), np.zeros((8, 8), np.uint8)
    roi[2:5, 3:7] = 255
    image[roi > 0] = 200
    Image.fromarray(image).save(tmp_path / "image.png")
    return tmp_path / "image.png", roi


WHITE_FIRST, BLACK_FIRST = [255, 255, 255, 0, 0, 0], [0, 0, 0, 255, 255, 255]


def with_palette(indices: np.ndarray, palette: list[int]) -> Image.Image:
    found = Image.fromarray(indices.astype(np.uint8))
    found.putpalette(palette)
    assert found.mode == "P"
    return found


def test_palettes_must_show_the_region_brighter_than_value_zero(tmp_path, picture):
    image, roi = picture
    seen = {"white first": (roi == 0, WHITE_FIRST), "black first": (roi > 0, BLACK_FIRST)}
    for name, (indices, palette) in seen.items():
        stored = with_palette(indices, palette)
        np.testing.assert_array_equal(np.asarray(stored.convert("L")), roi)  # both look alike
        stored.save(tmp_path / f"{name}.png")
    with_palette(roi == 0, [255, 255, 255, 90, 0, 0]).save(tmp_path / "white first.bmp")
    black, white = tmp_path / "black first.png", tmp_path / "white first.png"
    for path in (white, white.with_suffix(".bmp")):
        with pytest.raises(ValueError, match=r"must be dark outside, got .*white first.*shows value 0 brighter"):
            shown(image, path)
        assert "must be dark outside" in usable(cohort_of(image, path)).excluded["a"]
    np.testing.assert_array_equal(shown(image, black), 200 * (roi.T > 0))
    assert usable(cohort_of(image, black)).excluded == {}
    data = load(image, white, converter=lambda picture: picture.convert("L"))  # as the message advises
    np.testing.assert_array_equal(MaskROId("image", "roi", "roi_only")(data)["image"][0].numpy(), 200 * (roi.T > 0))


@pytest.mark.parametrize(
    ("indices", "palette", "refused"),
    [
        (lambda inside: inside, [0, 0, 0, 128, 0, 0], False),  # black and dark red, as in PASCAL VOC
        (lambda inside: inside, [90, 90, 90, 20, 20, 20], True),
        (lambda inside: inside, [9, 9, 9, 9, 9, 9], True),
        (lambda inside: 255 * inside, None, False),  # a grey palette of 256 colours
        (lambda inside: np.ones_like(inside), BLACK_FIRST, False),
        (lambda inside: np.ones_like(inside), WHITE_FIRST, True),
    ],
)
def test_palettes_are_judged_by_the_colours_that_occur(tmp_path, picture, indices, palette, refused):
    image, roi = picture
    palette = [level for grey in range(256) for level in (grey,) * 3] if palette is None else palette
    with_palette(indices(roi > 0), palette).save(tmp_path / "roi.png")
    data = load(image, tmp_path / "roi.png")
    if refused:
        with pytest.raises(ValueError, match="must be dark outside"):
            MaskROId("image", "roi", "roi_only")(data)
    else:
        visible = MaskROId("image", "roi", "roi_only")(data)["image"][0].numpy() > 0
        np.testing.assert_array_equal(visible, indices(roi > 0).T > 0)


def test_labels_are_numbers_of_colours_and_lost_palettes_are_refused(tmp_path, picture):
    image, roi = picture
    with_palette(roi == 0, WHITE_FIRST).save(tmp_path / "roi.png")
    data = load(image, tmp_path / "roi.png")
    masked = MaskROId("image", "roi", "roi_only", roi_labels=0)(data)["image"][0].numpy()
    np.testing.assert_array_equal(masked, 200 * (roi.T > 0))
    swapped = MaskROI("swapped_roi")
    own = load(image, image)["roi"] > 100
    with pytest.raises(ValueError, match="must be dark outside"):
        swapped(data["image"], own, data["roi"])
    with pytest.raises(ValueError, match="must be dark outside"):
        MaskROI("roi_only")(data["image"].numpy(), data["roi"])
    (tmp_path / "roi.png").unlink()
    with pytest.raises(ValueError, match=r"roi\.png, whose palette cannot be looked up any more"):
        MaskROI("roi_only")(data["image"], data["roi"])


def test_a_channel_of_opacity_is_no_region(tmp_path, picture):
    image, roi = picture
    for path, grey in ((tmp_path / "colour.png", Image.open(image)), (tmp_path / "roi.png", Image.fromarray(roi))):
        grey.convert("RGBA").save(path)
    with pytest.raises(ValueError, match=r"a region must have no opacity, got .*roi\.png with a channel of it"):
        shown(tmp_path / "colour.png", tmp_path / "roi.png")


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_of_several_pages_nobody_knows_which_is_the_region(tmp_path, picture, suffix):
    image, roi = picture
    pages = [Image.fromarray(page) for page in (roi, 255 - roi)]
    pages[0].save(tmp_path / f"one.{suffix}")
    pages[0].save(tmp_path / f"two.{suffix}", save_all=True, append_images=pages[1:])
    img, array = load(image, image)["image"], torch.as_tensor(roi.T.copy())[None]

    def masked(file: str) -> np.ndarray:  # as MONAI's PILReader reads it, which leaves files of several pages open
        return MaskROI("roi_only")(img, MetaTensor(array, meta={"filename_or_obj": str(tmp_path / file)}))[0].numpy()

    np.testing.assert_array_equal(masked(f"one.{suffix}") > 100, roi.T > 0)
    with pytest.raises(ValueError, match=rf"a region must be one picture, got .*two\.{suffix} of 2: save its page"):
        masked(f"two.{suffix}")


def test_what_is_wrong_with_a_region_names_its_file(tmp_path, picture):
    image, roi = picture
    for wrong, what in (
        (roi[:5], "must have shape"),
        (roi // 2, "must hold only 0 and 1"),
        (0 * roi, "must hold at least one"),
    ):
        Image.fromarray(wrong).save(tmp_path / "roi.png")
        with pytest.raises(ValueError, match=rf"roi {what}.* The region is that of .*roi\.png\.$") as caught:
            shown(image, tmp_path / "roi.png")
        assert isinstance(caught.value, RegionError) is (what == "must hold at least one")
    with pytest.raises(ValueError, match=r"got an empty region\.$"):
        MaskROI("roi_only")(np.ones((1, 8, 8)), np.zeros((1, 8, 8)))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_pictures_that_viewers_turn_need_a_region_that_says_so_too(tmp_path, picture, orientation, suffix):
    image, roi = picture
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(image).save(tmp_path / f"turned.{suffix}", exif=exif, quality=100)
    Image.fromarray(roi).save(tmp_path / "roi.png")
    message = rf"must be turned alike, got EXIF orientation 1 in .*roi\.png and {orientation} in .*turned\.{suffix}"
    with pytest.raises(ValueError, match=message):
        shown(tmp_path / f"turned.{suffix}", tmp_path / "roi.png")
    assert "turned alike" in usable(cohort_of(tmp_path / f"turned.{suffix}", tmp_path / "roi.png")).excluded["a"]
    Image.fromarray(roi).save(tmp_path / "roi.png", exif=exif)
    masked = shown(tmp_path / f"turned.{suffix}", tmp_path / "roi.png")
    np.testing.assert_array_equal(masked > 100, roi.T > 0)


def test_pictures_with_pixels_of_other_shapes_are_refused(tmp_path, picture):
    image, roi = picture
    Image.open(image).save(tmp_path / "wide.png", dpi=(72, 144))
    Image.fromarray(roi).save(tmp_path / "roi.png", dpi=(300, 300))
    with pytest.raises(
        ValueError, match=r"must have pixels of one shape, got width to height 1 in .*roi\.png and 2 in"
    ):
        shown(tmp_path / "wide.png", tmp_path / "roi.png")
    np.testing.assert_array_equal(shown(image, tmp_path / "roi.png") > 100, roi.T > 0)


def test_a_square_array_beside_a_picture_is_found_by_usable(tmp_path, picture):
    image, roi = picture
    np.save(tmp_path / "roi.npy", roi)
    assert "one is an array" in usable(cohort_of(image, tmp_path / "roi.npy")).excluded["a"]
    np.save(tmp_path / "image.npy", np.asarray(Image.open(image)))
    assert usable(cohort_of(tmp_path / "image.npy", tmp_path / "roi.npy")).excluded == {}


def test_images_of_a_batch_are_compared_each_with_its_own_region(tmp_path, volume):
    image, roi = volume
    items = [load(tmp_path / "image.nii", save_roi(tmp_path, roi, affine)) for affine in (AFFINE, moved(_03=1.5))]
    flipped = AFFINE @ np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    items.append(load(tmp_path / "image.nii", save_roi(tmp_path, roi[::-1], flipped)))
    batch = list_data_collate(items)
    results = [
        masked_images(pixels, region, ["roi_only"]) for pixels, region in zip(batch["image"], batch["roi"], strict=True)
    ]
    for masked, problem in (results[0], results[2]):
        assert problem == ""
        np.testing.assert_array_equal(masked["roi_only"][0].numpy(), image * roi)
    assert results[1][0] == {}
    assert "must lie on its image" in results[1][1]


def test_arrays_that_know_no_place_are_taken_as_they_are(volume):
    image, roi = map(torch.from_numpy, volume)
    known = MetaTensor(image[None], affine=torch.from_numpy(AFFINE))
    for region in (roi[None], MetaTensor(roi[None])):
        assert torch.equal(MaskROI("roi_only")(known, region).as_tensor(), (image * roi)[None])
    flat = MetaTensor(image[None], affine=torch.zeros(4, 4))
    with pytest.raises(ValueError, match=r"the affine of an image must be invertible, got an array without volume\."):
        MaskROI("roi_only")(flat, MetaTensor(roi[None], affine=torch.from_numpy(AFFINE)))
    nowhere = MetaTensor(roi[None], affine=torch.full((4, 4), torch.nan))
    assert torch.equal(MaskROI("roi_only")(known, nowhere).as_tensor(), (image * roi)[None])
