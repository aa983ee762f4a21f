# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CopyItemsd, LoadImage
from scipy.ndimage import binary_dilation

import monai_shortcut.transforms as transforms_module
from monai_shortcut.phantom.fetal_planes import _mark, draw_phantom
from monai_shortcut.regions.overlays import OverlayRule, find_overlay, remove_overlay
from monai_shortcut.transforms import RemoveOverlay, RemoveOverlayd

LETTERS = ("1010111", "1110101", "1010111")  # H, and A or O, with strokes of one pixel


@pytest.fixture(scope="module")
def clean() -> list[torch.Tensor]:
    """Different planes of both scanners, without text."""
    phantom = draw_phantom(patients=8, strength=0.5, seed=3, size=128, images_per_patient=1)
    return [torch.from_numpy(phantom.draw(index, annotation="absent")[0]) for index in range(len(phantom.cohort))]


def written(image: torch.Tensor, row: int, column: int, cell: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """The image with two letters and a caliper in its brightest value, and which pixels those are."""
    text = torch.tensor([[glyph == "1" for glyph in line] for line in LETTERS])
    text = text.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
    where = torch.zeros(image.shape[1:], dtype=torch.bool)
    where[row : row + text.shape[0], column : column + text.shape[1]] = text
    where[row + 20, column - 5 : column + 6] = True
    where[row + 15 : row + 26, column] = True
    return torch.where(where, image.max(), image), where


def grown(where: torch.Tensor, pixels: int) -> torch.Tensor:
    return torch.from_numpy(binary_dilation(where.numpy(), np.ones((3, 3)), iterations=pixels))


def slow_strokes(grey: np.ndarray, rule: OverlayRule) -> np.ndarray:
    """The rule's three sentences, pixel by pixel."""
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    half = rule.window // 2
    padded = np.pad(grey, half, mode="reflect")

    def connected(found: set[tuple[int, int]]) -> set[tuple[int, int]]:
        kept: set[tuple[int, int]] = set()
        left = set(found)
        while left:
            part, border = set(), [left.pop()]
            while border:
                row, column = border.pop()
                part.add((row, column))
                near = {(row + r, column + c) for r in (-1, 0, 1) for c in (-1, 0, 1)} & left
                left -= near
                border += near
            kept |= part if len(part) >= rule.least else set()
        return kept

    bright = connected({(int(r), int(c)) for r, c in zip(*np.nonzero(grey >= rule.brightness), strict=True)})
    thin = set()
    for row, column in bright:
        around = sorted(padded[row : row + rule.window, column : column + rule.window].ravel())
        if grey[row, column] - around[len(around) // 2] >= rule.contrast:
            thin.add((row, column))
    found = np.zeros(grey.shape, dtype=bool)
    for place in connected(thin):
        found[place] = True
    return found


def test_the_rule_equals_its_sentences_written_out(clean):
    for image, brightness in ((clean[0], 0.6), (clean[1], 0.75), (written(clean[2], 60, 60)[0], 0.98)):
        rule = OverlayRule(brightness=brightness, contrast=0.2, window=9, least=3, margin=0)
        expected = slow_strokes(image[0].double().numpy(), rule)
        assert expected.any()
        assert np.array_equal(find_overlay(image, rule).numpy(), expected)


def test_an_image_without_text_is_returned_unchanged(clean):
    for image in clean:
        cleaned = remove_overlay(image)
        assert torch.equal(cleaned, image)
        assert cleaned.data_ptr() != image.data_ptr()


def test_planted_text_is_replaced_by_what_was_near_it_and_nothing_else_changes(clean):
    for number, image in enumerate(clean):
        marked, where = written(image, 20 + 8 * number, 30 + 5 * number)
        before = marked.clone()
        exact = OverlayRule(margin=0)
        assert torch.equal(find_overlay(marked, exact), where)
        cleaned = remove_overlay(marked, exact)
        assert torch.equal(cleaned[:, ~where], image[:, ~where])
        error, mark = ((other - image)[:, where].abs().mean() for other in (cleaned, marked))
        assert float(error) < 0.3 * float(mark)  # speckle is what remains: it cannot be known
        around = remove_overlay(marked)  # with the usual margin
        assert torch.equal(around[:, ~grown(where, 1)], image[:, ~grown(where, 1)])
        assert torch.equal(marked, before)


def test_the_phantoms_own_annotation_loses_its_text_and_ticks(clean):
    image = clean[0]
    pixels = image[0].numpy().copy()
    _mark(pixels)
    marked = torch.from_numpy(pixels)[None]
    changed = (marked != image)[0]
    text = changed.clone()
    text[:, 64:] = False  # the grey wedge is wider than a stroke
    cleaned = remove_overlay(marked, OverlayRule(window=31))
    assert torch.equal(cleaned[:, ~grown(changed, 1)], image[:, ~grown(changed, 1)])
    assert float((cleaned - image)[:, text].abs().mean()) < 0.35 * float((marked - image)[:, text].abs().mean())
    assert float((cleaned[:, text] == 1).float().mean()) < 0.02


def test_text_on_real_images_is_removed(busbra):
    rule = OverlayRule(margin=0)
    for name in ("bus_0001-l", "bus_0004-r", "bus_0993-l", "bus_0848-r"):
        image = LoadImage(image_only=True, ensure_channel_first=True)(busbra / "images" / f"{name}.png").as_tensor()
        image = image.to(torch.uint8)
        marked, where = written(image, 90, 70)
        marked[:, where] = 255
        found = find_overlay(marked, rule)
        assert bool(found[where].all())
        cleaned = remove_overlay(marked, rule)
        assert cleaned.dtype == torch.uint8
        assert torch.equal(cleaned[:, ~found], marked[:, ~found])
        assert int((found & ~where).sum()) == 0
        error, mark = ((other.double() - image)[:, where].abs().mean() for other in (cleaned, marked))
        assert float(error) < 0.2 * float(mark)


def test_text_that_came_with_the_image_is_found_by_a_lower_brightness(busbra):
    image = LoadImage(image_only=True, ensure_channel_first=True, reverse_indexing=False)(
        busbra / "images" / "bus_0001-l.png"
    ).as_tensor()  # "MAMA ESQUERDA" in rows 120 to 130, of a grey below the brightest, softened when it was reduced
    found = find_overlay(image, OverlayRule(brightness=0.6, contrast=0.35, margin=2))
    assert float(found[120:131, 40:125].float().mean()) > 0.5
    assert float(found.float().mean()) < 0.06
    assert not find_overlay(image)[120:131].any()


@pytest.mark.parametrize("change", [lambda x: 3 * x - 7, lambda x: (255 * x).round()], ids=["affine", "whole numbers"])
def test_stretched_intensities_change_nothing(clean, change):
    marked, _ = written(clean[0], 40, 50)
    marked = marked.double()
    assert torch.equal(find_overlay(change(marked)), find_overlay(marked))
    torch.testing.assert_close(remove_overlay(3 * marked - 7), 3 * remove_overlay(marked) - 7)


def test_specks_and_broad_bright_areas_stay(clean):
    image = 0.5 * clean[0]
    image[0, 10, 10:15] = 1.0  # five pixels are too few
    image[0, 60:90, 60:90] = 1.0  # wider than half a window
    found = find_overlay(image, OverlayRule(margin=0))
    assert not found[10, 10:15].any()
    assert not found[68:82, 68:82].any()
    assert bool(find_overlay(image, OverlayRule(margin=0, least=5))[10, 10:15].all())


def test_coloured_calipers_are_removed_from_all_channels(clean):
    grey = clean[0].expand(3, -1, -1)
    marked = grey.clone()
    marked[0, 40:52, 60], marked[1, 40:52, 60], marked[2, 40:52, 60] = 0.6, 0.6, 0.1  # yellow, no brighter than tissue
    cleaned = remove_overlay(marked, OverlayRule(margin=0))
    assert bool((cleaned[:, 40:52, 60] - grey[:, 40:52, 60]).abs().mean() < 0.15)
    assert float((cleaned - cleaned.mean(dim=0)).abs().max()) < 1e-6  # no colour is left
    changed = (cleaned != grey).any(dim=0)
    changed[40:52, 60] = False
    assert not changed.any()
    assert torch.equal(remove_overlay(marked, OverlayRule(colour=None)), marked)


def test_a_coloured_map_is_refused(clean):
    tinted = torch.cat([clean[0], 0.5 * clean[0], 0 * clean[0]])
    with pytest.raises(ValueError, match=r"must cover less than 25% of the image, got \d\d%; make a coloured map grey"):
        find_overlay(tinted)
    assert not find_overlay(tinted, OverlayRule(colour=None)).any()


def test_an_image_of_one_intensity_has_no_text():
    image = torch.full((1, 16, 16), 7, dtype=torch.int16)
    assert not find_overlay(image).any()
    assert torch.equal(remove_overlay(image), image)


def test_results_do_not_depend_on_chance(clean):
    marked, _ = written(clean[3], 40, 50)
    first = remove_overlay(marked)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert torch.equal(remove_overlay(marked), first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"brightness": 1.2}, r"brightness must be in \(0, 1\], got 1.2"),
        ({"contrast": 0}, r"contrast must be in \(0, 1\], got 0"),
        ({"contrast": None}, r"contrast must be in \(0, 1\], got None"),
        ({"colour": -1}, r"colour must be in \(0, 1\], got -1"),
        ({"window": 20}, "window must be an odd number of at least 3 pixels, got 20"),
        ({"least": 0}, "least must be a whole number of at least 1, got 0"),
        ({"margin": -1}, "margin must be a whole number of at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    for build in (OverlayRule, RemoveOverlay, lambda **given: RemoveOverlayd("image", **given)):
        with pytest.raises(ValueError, match=message):
            build(**settings)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 4), r"image must have shape \(C, H, W\) and a real dtype, got \(4, 4\)"),
        (torch.zeros(1, 4, 4, dtype=torch.complex64), "real dtype, got .*complex64"),
        (torch.tensor([[[1.0, float("nan")]]]), "image must be finite, got 1 values that are not"),
    ],
)
def test_other_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        find_overlay(image)


def test_without_scikit_image_the_error_says_what_to_install(clean, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.restoration", None)
    with pytest.raises(ImportError, match=r'pip install "\.\[inpaint\]" from a clone'):
        remove_overlay(written(clean[0], 40, 50)[0])


@pytest.mark.parametrize("container", [np.asarray, torch.as_tensor, MetaTensor])
def test_the_transform_gives_the_values_of_the_function(clean, container):
    marked, _ = written(clean[0], 40, 50)
    rule = OverlayRule(margin=2, brightness=0.9)
    result = RemoveOverlay(margin=2, brightness=0.9)(container(marked))
    assert isinstance(result, MetaTensor)
    assert torch.equal(result.as_tensor(), remove_overlay(marked, rule))


def test_a_pipeline_keeps_an_image_with_its_calipers_and_the_metadata(clean):
    items = []
    for number in (0, 1):
        marked, _ = written(clean[number], 40, 50)
        image = MetaTensor(marked, meta={"filename_or_obj": f"{number}.png"})
        pipeline = Compose([CopyItemsd("image", names="uncleaned"), RemoveOverlayd("image")])
        items.append(pipeline({"image": image, "label": number}))
        assert torch.equal(items[-1]["uncleaned"].as_tensor(), marked)
        assert torch.equal(items[-1]["image"].as_tensor(), remove_overlay(marked))
        assert items[-1]["image"].meta["filename_or_obj"] == f"{number}.png"
    assert not torch.equal(items[0]["image"], items[1]["image"])
    assert RemoveOverlayd("other", allow_missing_keys=True)({"image": 1}) == {"image": 1}
    with pytest.raises(KeyError, match="other"):
        RemoveOverlayd("other")({"image": clean[0]})


def test_the_aliases_are_the_transform():
    for name in ("RemoveOverlay", "SetSpacing", "AppendSpacing"):
        wrapper = getattr(transforms_module, f"{name}d")
        assert getattr(transforms_module, f"{name}D") is getattr(transforms_module, f"{name}Dict") is wrapper
        assert {name, f"{name}d", f"{name}D", f"{name}Dict"} <= set(transforms_module.__all__)


def test_text_is_bright_within_the_range_of_its_image(clean):
    image, where = written(clean[0], 20, 30)
    found = find_overlay(image)
    assert (found & where).any()
    assert torch.equal(find_overlay(0.25 * image + 0.5), found)


def test_the_grey_of_colours_is_stretched_to_its_own_range(clean):
    """Text of one colour is at most a third as bright as white, and the brightest of its image all the same."""
    grey = clean[0].clone()
    grey[0, 5, 5:15] = 2 * grey.max()
    image = torch.cat([grey, 0 * grey, 0 * grey])
    rule = OverlayRule(colour=None)
    assert find_overlay(grey, rule).any()
    np.testing.assert_array_equal(find_overlay(image, rule).numpy(), find_overlay(grey, rule).numpy())


def test_a_window_is_three_pixels_at_least():
    assert OverlayRule(window=3).window == 3
    with pytest.raises(ValueError, match="window must be an odd number of at least 3 pixels, got 1"):
        OverlayRule(window=1)
