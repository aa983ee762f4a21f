# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools

import numpy as np
import pytest
from region_drawings import blob
from scipy import ndimage

from monai_shortcut.regions.growth import Growth
from monai_shortcut.regions.pixels import RegionError

SHAPES = [(23,), (11, 14), (7, 6, 8), (3, 4, 5, 3)]


def apart_by_hand(inside: np.ndarray, metric: str, sampling: tuple[float, ...]) -> np.ndarray:
    """Distance of every pixel to the set, from all pairs."""
    distance = np.empty(inside.shape)
    for point in itertools.product(*map(range, inside.shape)):
        steps = np.abs(np.argwhere(inside) - point) * sampling
        distance[point] = (np.sqrt((steps**2).sum(axis=1)) if metric == "euclidean" else steps.sum(axis=1)).min()
    return distance


def sets(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """A few pixels; one; two with empty rows between them, at the first and the last row; all."""
    few = blob(rng, shape, 0.03).numpy()
    one, two = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    one[tuple(int(rng.integers(n)) for n in shape)] = True
    two[(0, *(n - 1 for n in shape[1:]))] = two[(-1, *(0 for _ in shape[1:]))] = True
    return [few, one, two, np.ones(shape, dtype=bool)]


@pytest.mark.parametrize("metric", ["euclidean", "taxicab"])
@pytest.mark.parametrize("shape", SHAPES)
def test_growing_equals_the_distances_of_all_pairs_to_the_last_bit(rng, shape, metric):
    for inside in sets(rng, shape):
        growth, distance = Growth(inside, metric), apart_by_hand(inside, metric, (1,) * len(shape))
        for level in np.unique(distance):
            assert np.array_equal(growth.within(level), distance <= level)
            if level:
                assert np.array_equal(growth.within(np.nextafter(level, 0)), distance < level)
        assert growth.within(1e300).all()


@pytest.mark.parametrize("metric", ["euclidean", "taxicab"])
@pytest.mark.parametrize("shape", SHAPES)
def test_growing_with_lengths_equals_the_distances_of_all_pairs(rng, shape, metric):
    for inside in sets(rng, shape):
        sampling = tuple(rng.uniform(0.1, 3, len(shape)).round(2))
        growth, distance = Growth(inside, metric, sampling), apart_by_hand(inside, metric, sampling)
        for level in np.unique(distance.round(9))[:60]:
            assert np.array_equal(growth.within(level + 1e-6), distance <= level + 1e-6)


@pytest.mark.parametrize("length", [4090, 4100])  # squares of float32, and of float64
def test_long_distances_are_exact(length):
    inside = np.zeros((9, length), dtype=bool)
    inside[2, 0] = inside[8, 3] = True
    squares = np.minimum(
        *((np.arange(9)[:, None] - row) ** 2 + (np.arange(length) - column) ** 2 for row, column in ((2, 0), (8, 3)))
    )
    growth = Growth(inside, "euclidean")
    for square in (1, 2, 5, 1000**2, 2048**2 + 1, (length - 4) ** 2 + 36, (length - 8) ** 2, squares.max()):
        for reach in (np.sqrt(square), np.nextafter(np.sqrt(square), 0)):
            assert np.array_equal(growth.within(float(reach)), np.sqrt(squares) <= reach)


@pytest.mark.parametrize("shape", [(70, 61), (61, 70), (24, 25, 23)])
def test_growing_equals_scipys_distances(rng, shape):
    for share in (0.3, 0.01, 0.0005):
        inside = blob(rng, shape, share).numpy()
        growths = [Growth(inside, metric) for metric in ("euclidean", "taxicab")]
        distances = [ndimage.distance_transform_edt(~inside), ndimage.distance_transform_cdt(~inside, "taxicab")]
        for growth, distance in zip(growths, distances, strict=True):
            for reach in (0, 0.5, 1, np.sqrt(2), 2, 3.7, np.sqrt(13), 5, 10, 25, 33.3, 50, 100):
                assert np.array_equal(growth.within(reach), distance <= reach)
    assert not np.array_equal(growths[0].within(3), growths[1].within(3))


def test_growing_again_gives_the_same(rng):
    inside = blob(rng, (20, 21), 0.02).numpy()
    for metric in ("euclidean", "taxicab"):
        growth = Growth(inside, metric)
        first = [growth.within(reach) for reach in (3, 7, 1)]
        first[0][:] = True
        assert np.array_equal(growth.within(7), first[1])
        assert np.array_equal(growth.within(3), Growth(inside, metric).within(3))


def test_an_empty_set_cannot_grow():
    with pytest.raises(RegionError, match="roi must hold at least one pixel, got an empty region"):
        Growth(np.zeros((4, 5), dtype=bool), "euclidean")
