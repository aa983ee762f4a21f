# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.transforms import GaussianSmooth
from scipy.stats import chi2_contingency

from monai_shortcut.phantom.marks import AMOUNTS, LEVELS, MARKS, plant_mark, planted, planted_levels

LETTERS = ("X.XXX.XX.X", "XXX.X..XXX", "X.XXX.X..X")
INTEGERS = ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.fixture
def images(rng) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(10, 90, (3, 2, 40, 60))).float()


# --- which images are marked


@pytest.mark.parametrize("strength", [-1.0, -0.4, 0.0, 0.6, 1.0])
def test_the_mark_goes_along_with_the_label_as_strongly_as_told(strength):
    label = np.arange(20000) % 2
    marked = planted(label, range(20000), strength, seed=3)
    assert marked.dtype == np.bool_
    assert marked[label == 1].mean() == pytest.approx((1 + strength) / 2, abs=0.02)
    assert marked[label == 0].mean() == pytest.approx((1 - strength) / 2, abs=0.02)
    if abs(strength) == 1:
        np.testing.assert_array_equal(marked, label == (strength == 1))


def test_a_mark_of_strength_0_is_independent_of_the_label_and_a_stronger_one_is_not():
    label, p_values = np.arange(400) % 2, {}
    for strength in (0.0, 0.4):
        tables = [np.histogram2d(label, planted(label, range(400), strength, seed), bins=2)[0] for seed in range(200)]
        p_values[strength] = np.array([chi2_contingency(table, correction=False).pvalue for table in tables])
    assert 0.02 <= (p_values[0.0] < 0.05).mean() <= 0.09
    assert (p_values[0.4] < 0.05).all()


def test_levels_are_the_presence_in_words():
    label, units = np.arange(60) % 3, [f"image {i}" for i in range(60)]
    levels, present = (draw(label, units, 0.3, 1, (0, 2)) for draw in (planted_levels, planted))
    assert levels.dtype == object
    assert levels.tolist() == [LEVELS[int(marked)] for marked in present]
    assert {type(level) for level in levels} == {str}


def test_levels_follow_from_seed_and_unit_alone():
    label, units = np.arange(50) % 3, [f"image {i}" for i in range(50)]
    levels = planted_levels(label, units, 0.3, seed=1, marked_labels=(1, 2))
    order = np.random.default_rng(0).permutation(50)
    shuffled = planted_levels(label[order], [units[i] for i in order], 0.3, seed=1, marked_labels=(1, 2))
    np.testing.assert_array_equal(shuffled, levels[order])
    one_by_one = [planted_levels([code], [unit], 0.3, 1, (1, 2))[0] for code, unit in zip(label, units, strict=True)]
    assert one_by_one == levels.tolist()
    assert (planted_levels(label, units, 0.3, seed=2, marked_labels=(1, 2)) != levels).any()


def test_seeds_draw_independently_of_each_other():
    first, second = (planted(np.zeros(4000, dtype=int), range(4000), 0.0, seed) for seed in (1, 2))
    assert (first == second).mean() == pytest.approx(0.5, abs=0.03)


def test_images_of_a_patient_with_one_label_agree_when_patients_are_the_units():
    patients = np.repeat(range(10), 5)
    by_patient = planted(np.ones(50, dtype=int), patients, 0.0).reshape(10, 5)
    assert (by_patient == by_patient[:, :1]).all()
    assert len(set(by_patient[:, 0].tolist())) == 2
    by_image = planted(np.ones(50, dtype=int), range(50), 0.0).reshape(10, 5)
    assert not (by_image == by_image[:, :1]).all()


def test_a_stronger_tie_only_adds_marks_to_marked_labels_and_takes_them_from_others():
    label = np.arange(300) % 2
    weak, strong = (planted(label, range(300), strength) for strength in (0.2, 0.7))
    assert (weak <= strong)[label == 1].all()
    assert (weak >= strong)[label == 0].all()
    assert (weak != strong).any()


def test_a_number_and_its_text_are_one_id():
    code = np.ones(40, dtype=int)
    texts = planted(code, [str(i) for i in range(40)], 0.1)
    for units in (range(40), np.arange(40), list(torch.arange(40)), np.arange(40).astype(str)):
        np.testing.assert_array_equal(planted(code, units, 0.1), texts)


def test_levels_are_the_same_in_every_process_and_version():
    """Python's own hash, which differs in each process, plays no part."""
    assert (planted([0, 1] * 8, list("abcdefghijklmnop"), 0.1) * 1).tolist() == [int(x) for x in "0011010110010101"]


def test_the_largest_hash_is_still_below_1(monkeypatch):
    class Digest:
        def digest(self) -> bytes:
            return b"\xff" * 8

    monkeypatch.setattr("monai_shortcut.phantom.marks.hashlib.blake2b", lambda *_, **__: Digest())
    assert planted([1, 0], ["a", "a"], 1.0).tolist() == [True, False]


# --- the marks


def test_gain_stretches_from_the_minimum(images):
    low = images[0].min()
    torch.testing.assert_close(plant_mark(images[0], "gain"), low + (images[0] - low) * 1.3)
    integers = torch.tensor([[[0, 101, 250]]], dtype=torch.uint8)
    assert plant_mark(integers, "gain", 0.5).tolist() == [[[0, 152, 255]]]  # rounded, and not beyond the dtype
    signed = torch.tensor([[[-100, 0, 99]]], dtype=torch.int8)
    assert plant_mark(signed, "gain", 0.5).tolist() == [[[-100, 50, 127]]]
    assert plant_mark(torch.tensor([[[0.0, 1.0]]]), "gain", 0.5).max() == 1.5  # floats have no range to keep


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_largest_integers_do_not_overflow(dtype):
    largest = np.iinfo(dtype).max
    image = torch.from_numpy(np.array([[[0, largest]]], dtype=dtype))
    for mark in ("gain", "blur"):
        low, high = plant_mark(image, mark, 0.1).numpy().ravel().tolist()
        assert low < 2000
        assert largest - 4096 < high <= largest
    assert plant_mark(image, "tag").numpy().max() == largest


@pytest.mark.parametrize("shape", [(2, 9, 11), (1, 6, 7, 8)])
def test_blur_is_a_gaussian_mean_of_each_channel_over_mirrored_edges(rng, shape):
    image, sigma = rng.normal(size=shape), 0.7
    reach = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    expected = image
    for axis in range(1, image.ndim):
        padded = np.pad(expected, [(reach, reach) if a == axis else (0, 0) for a in range(image.ndim)], "symmetric")
        expected = np.apply_along_axis(np.convolve, axis, padded, kernel / kernel.sum(), "valid")
    blurred = plant_mark(torch.from_numpy(image), "blur", sigma).numpy()
    np.testing.assert_allclose(blurred, expected, atol=1e-12)
    means = tuple(range(1, image.ndim))
    np.testing.assert_allclose(blurred.mean(means), image.mean(means), atol=1e-12)  # mirrored edges keep the mean
    assert blurred.var() < image.var()


def test_blur_is_that_of_monai_away_from_the_edges(images):
    expected = GaussianSmooth(1.5, approx="sampled")(images[1])
    torch.testing.assert_close(
        plant_mark(images[1], "blur", 1.5)[:, 7:-7, 7:-7], expected[:, 7:-7, 7:-7], rtol=1e-3, atol=0
    )


@pytest.mark.parametrize(("share", "cell"), [(None, 1), (0.2, 3), (0.001, 1), (0.9, 12)])
@pytest.mark.parametrize("depth", [None, 4])
def test_a_tag_is_a_few_letters_in_the_first_corner_and_nothing_else(rng, share, cell, depth):
    image = torch.from_numpy(rng.uniform(10, 90, (2, 40, 60, *([depth] if depth else []))))
    expected = image.clone()
    for row in range(40):
        for column in range(60):
            if row < 3 * cell and column < 10 * cell:
                bright = LETTERS[row // cell][column // cell] == "X"
                expected[:, row, column] = image.max() if bright else image.min()
    assert torch.equal(plant_mark(image, "tag", share), expected)


def test_a_tag_may_have_an_intensity_of_its_own(images):
    assert plant_mark(images[0], "tag", value=200).max() == 200
    assert plant_mark(images[0].to(torch.uint8), "tag", value=300.0).max() == 255  # kept in the range of the dtype
    blank = torch.zeros(1, 20, 20)
    assert torch.equal(plant_mark(blank, "tag"), blank)  # of one intensity: no tag to see
    assert plant_mark(blank, "tag", value=1).sum() == 20


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
def test_a_mark_keeps_dtype_and_shape_and_leaves_its_input_alone(images, mark, dtype):
    image = images[0].to(getattr(torch, dtype))
    before = image.clone()
    marked = plant_mark(image, mark)
    assert (marked.dtype, marked.shape) == (image.dtype, image.shape)
    assert torch.equal(image, before)
    assert not torch.equal(marked, image)
    exact = plant_mark(before.double(), mark)
    if dtype in INTEGERS:
        exact = exact.round().clamp(max=float(np.iinfo(dtype).max))
    torch.testing.assert_close(marked.double(), exact, rtol=1e-2 if dtype in FLOATS[:2] else 1e-6, atol=0)


@pytest.mark.parametrize("mark", MARKS)
def test_booleans_stay_booleans(mark):
    image = torch.zeros(1, 20, 20, dtype=torch.bool)
    image[:, :, 10:] = True
    expected = plant_mark(image.double(), mark).round().clamp(max=1).bool()
    assert torch.equal(plant_mark(image, mark), expected)


def test_channels_share_the_gain_and_an_expanded_image_is_marked_once_per_channel():
    image = torch.arange(600.0).reshape(1, 20, 30)
    for mark in MARKS:
        marked = plant_mark(image.expand(3, 20, 30), mark)
        assert torch.equal(marked, plant_mark(image, mark).expand(3, 20, 30))
    pair = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])
    assert torch.equal(plant_mark(pair, "gain", 1.0), 2 * pair)  # stretched about the minimum of both


def test_default_amounts(images):
    assert set(AMOUNTS) == set(MARKS)
    for mark, amount in AMOUNTS.items():
        assert torch.equal(plant_mark(images[0], mark), plant_mark(images[0], mark, amount))
        assert not torch.equal(plant_mark(images[0], mark), plant_mark(images[0], mark, 3 * amount))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_on_cuda_is_that_on_the_cpu(images, mark):
    marked = plant_mark(images[0].cuda(), mark)
    assert marked.is_cuda
    torch.testing.assert_close(marked.cpu(), plant_mark(images[0], mark))


# --- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mark": "logo"}, r"mark must be one of tag, gain, blur, got 'logo'\."),
        ({"amount": 0}, r"amount must be a positive number, got 0\."),
        ({"amount": "big"}, r"amount must be a positive number, got 'big'\."),
        ({"amount": float("inf")}, r"amount must be a positive number, got inf\."),
        ({"amount": float("nan")}, r"amount must be a positive number, got nan\."),
        ({"mark": "blur", "value": 1.0}, r"value must be None unless mark is tag, got 1\.0 for blur\."),
        ({"value": float("nan")}, r"value must be a finite number, got nan\."),
        ({"value": "white"}, r"value must be a finite number, got 'white'\."),
    ],
)
def test_settings_that_do_not_exist_are_refused(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        plant_mark(images[0], **arguments)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(4, 4), r"image must have shape \(C, H, W\) or \(C, H, W, D\), got \(4, 4\)\."),
        (torch.zeros(1, 0, 4), r"image must have shape .*, got \(1, 0, 4\)\."),
        (torch.zeros(1, 4, 4, dtype=torch.complex64), r"image must be of a real dtype, got torch\.complex64\."),
        (torch.tensor([[[0.0, torch.nan, torch.inf]]]), r"image must be finite, got 2 values that are not\."),
    ],
)
@pytest.mark.parametrize("mark", MARKS)
def test_images_that_cannot_be_marked_are_refused(image, message, mark):
    with pytest.raises(ValueError, match=message):
        plant_mark(image, mark)


@pytest.mark.parametrize("draw", [planted, planted_levels])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], ["a"], 2), r"strength must be in \[-1, 1\], got 2\."),
        (([0], ["a"], float("nan")), r"strength must be in \[-1, 1\], got nan\."),
        (([0], ["a", "b"], 0.5), r"labels must have shape \(2,\) to match units, got \(1,\)\."),
        ((["sick"], ["a"], 0.5), r"labels must be integers, got <U4\."),
        (([0.5], ["a"], 0.5), r"labels must be integers, got float64\."),
        (([0], ["a"], 0.5, 0, ("sick",)), r"marked_labels must be integers, got \('sick',\)\."),
    ],
)
def test_ties_that_do_not_exist_are_refused(draw, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(*arguments)


def test_no_images_and_no_marked_labels():
    assert planted([], [], 0.5).tolist() == []
    assert planted([0, 1], ["a", "b"], 1.0, marked_labels=()).tolist() == [False, False]
