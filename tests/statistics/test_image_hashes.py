# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from monai_shortcut.statistics.image_hashes import near_hashes, perceptual_hashes, same_pictures, thumbnail


def pictures(count: int, seed: int = 0, side: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Smooth images (count, H, W) of 0 to 255, like ultrasound of different patients."""
    rng = np.random.default_rng(seed)
    found = np.stack([gaussian_filter(rng.normal(size=side), 8) for _ in range(count)])
    low, high = found.min(axis=(1, 2), keepdims=True), found.max(axis=(1, 2), keepdims=True)
    return 255 * (found - low) / (high - low)


def stacked(images) -> np.ndarray:
    return np.stack([thumbnail(one[None]) for one in images])


def compressed(image: np.ndarray) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer), dtype=np.float64)


def test_a_thumbnail_holds_the_means_of_equal_parts(rng):
    image = rng.random((3, 64, 96))
    parts = image.mean(axis=0).reshape(32, 2, 32, 3).mean(axis=(1, 3))
    expected = (parts - parts.mean()) / np.linalg.norm(parts - parts.mean())
    np.testing.assert_allclose(thumbnail(image), expected, atol=1e-4)
    np.testing.assert_allclose(thumbnail(np.repeat(image[..., None], 4, axis=-1)), expected, atol=1e-4)
    np.testing.assert_array_equal(thumbnail(image * 3 + 7), thumbnail(image))


def test_an_image_of_one_value_has_none_and_other_shapes_are_refused():
    assert thumbnail(np.full((1, 40, 40), 0.1)) is None
    assert thumbnail(np.zeros((1, 40, 40))) is None
    with pytest.raises(ValueError, match=r"pixels must have shape \(C, H, W\) or \(C, H, W, D\), got \(40, 40\)"):
        thumbnail(np.zeros((40, 40)))


def test_bits_are_those_of_the_cosine_transform_written_out():
    small = stacked(pictures(3))
    place, frequency = np.arange(32), np.arange(8)
    wave = np.cos(np.pi * frequency[:, None] * (2 * place + 1) / 64)
    for own, found in zip(small.astype(np.float64), perceptual_hashes(small), strict=True):
        low = (wave @ own @ wave.T).ravel()
        bits = low > np.median(low[1:])
        expected = np.packbits(bits).view(np.uint64)[0]
        assert bin(int(found ^ expected)).count("1") <= 1  # the mean is zero but for rounding


def test_pairs_are_those_of_all_comparisons(rng):
    hashes = rng.integers(0, 2**64, 40, dtype=np.uint64)
    flips = [np.uint64(sum(1 << int(bit) for bit in rng.choice(64, count, replace=False))) for count in range(12)]
    hashes = np.concatenate([hashes, hashes[:12] ^ np.array(flips)])
    apart = [(i, j) for j in range(len(hashes)) for i in range(j) if bin(int(hashes[i] ^ hashes[j])).count("1") <= 7]
    assert len(apart) == 8  # 0 to 7 bits were flipped
    assert sorted(zip(*near_hashes(hashes, 7).tolist(), strict=True)) == sorted(apart)
    assert near_hashes(hashes[:1], 7).shape == (2, 0)


@pytest.mark.parametrize(
    "changed",
    [
        compressed,
        lambda image: np.asarray(Image.fromarray(image).resize((64, 48))),
        lambda image: 255 * (image / 255) ** 0.8,
        lambda image: 0.5 * image + 40,
        lambda image: image + np.random.default_rng(3).normal(0, 8, image.shape),
    ],
    ids=["compressed", "half the size", "gamma", "contrast", "noise"],
)
def test_copies_are_found_and_others_are_not(changed):
    images = pictures(60)
    copies = [changed(image) for image in images[:20]]
    groups = same_pictures(stacked([*images, *copies]))
    np.testing.assert_array_equal(groups[60:], groups[:20])
    assert len(np.unique(groups)) == 60


def test_many_copies_of_one_image_are_one_group():
    image = pictures(1)[0]
    rng = np.random.default_rng(0)
    copies = [image + rng.normal(0, 4, image.shape) for _ in range(300)]
    assert len(np.unique(same_pictures(stacked(copies)))) == 1
