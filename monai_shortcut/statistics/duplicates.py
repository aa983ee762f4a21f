# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Images that look the same to a network, and the patients who share them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from monai_shortcut.types import Floats, Integers, Points

TOLERANCE = 0.002  # distance of images that look the same, as a share of the median distance of two images
_SAMPLE = 256  # images whose distances show how near ordinary images come
_LEAST = 10  # different images among them, without which nothing is known
_ACCIDENTS = 0.01  # expected number of ordinary pairs within the tolerance, above which nothing is linked
_GRIDS, _AXES = 4, 4
_WIDTH = 32  # of a cell, in tolerances: a pair is split by one grid in 10 %, by all four in 0.01 %
_COLUMNS, _RARE, _TELLING = 64, 0.05, 8
_BLOCK = 4096  # rows that are looked at at once; bounds the memory


def near_duplicates(points: Points, order: Integers | None = None) -> Integers:
    """Group of each image, those of one group having equal or nearly equal embeddings.

    Two embeddings are nearly equal if their distance is at most `TOLERANCE` of the median distance of two images. That
    means equal images only where different ones cannot come as near by accident. So nothing is linked where the
    embeddings have few dimensions: with n different images in a sample, d the median distance to the second nearest
    and k the number of dimensions, N images have about ``N^2 / n (tolerance / d)^k`` accidental pairs, of which there
    may be 0.01. Nor are embeddings whose columns take few values or are dead: at least eight of the 64 columns of
    largest variance must hold a value that at most 5 % of the other images share. Nor is a group of more than one image
    in twenty, beyond four.

    Pairs are found on four random grids, each with the image's neighbours in its cell, in ``O(N D + N log N)``.

    Args:
        points: (N, D) embeddings, finite.
        order: (N,) order of the images in which some are drawn; see `canonical_order`.

    Returns:
        (N,) numbers of groups, from 0; an image without a double has a number of its own.

    References:
        Datar et al. (2004), SCG (random grids); Grassberger and Procaccia (1983), Physica D 9 (dimensions from
        distances).

    Example:
        >>> points = np.random.default_rng(0).normal(size=(20, 16))
        >>> groups = near_duplicates(np.concatenate([points, points[:2]]))
        >>> bool((groups[20:] == groups[:2]).all()), len(np.unique(groups))
        (True, 20)
    """
    count, rng = len(points), np.random.default_rng(0)
    alone = np.arange(count, dtype=np.int64)
    drawn = alone if order is None else order
    sample = points[drawn[rng.permutation(count)[:_SAMPLE]]].astype(np.float64)
    reach = _reach(sample, count)
    if reach is None or points.shape[1] < _TELLING:
        return alone
    near = _pairs(points, reach, sample.mean(axis=0), rng)
    groups = connected(near, count)
    sizes = np.bincount(groups)[groups]
    doubled = np.flatnonzero((sizes > 1) & (sizes <= max(4, count // 20)))
    _, first = np.unique(groups[doubled], return_index=True)
    others = drawn[rng.permutation(count)[:_SAMPLE]]
    telling = groups[doubled[first]][_tells(points, doubled[first], groups, reach, others)]
    kept = np.isin(groups, telling)
    return np.unique(np.where(kept, groups, groups.max() + 1 + alone), return_inverse=True)[1].astype(np.int64)


def linked_patients(groups: Integers, patients: NDArray[np.str_]) -> tuple[NDArray[np.str_], list[Integers]]:
    """Patients who share an image are one.

    Args:
        groups: (N,) group of each image; see `near_duplicates`.
        patients: (N,) patient of each image.

    Returns:
        (N,) patients, linked ones under the name that comes first, and the images of each group that several patients
        have.
    """
    names, codes = np.unique(patients, return_inverse=True)
    order = np.lexsort((codes, groups))
    same = (groups[order[1:]] == groups[order[:-1]]) & (codes[order[1:]] != codes[order[:-1]])
    pairs = np.stack([codes[order[:-1]], codes[order[1:]]])[:, same]
    linked = connected(pairs, len(names))
    _, first = np.unique(linked, return_index=True)
    shared = np.unique(groups[order[1:]][same])
    return names[first[linked]][codes], [np.flatnonzero(groups == group) for group in shared]


def _reach(sample: Floats, count: int) -> float | None:
    """Distance within which images look the same, or None where ordinary ones of ``count`` may come as near."""
    if len(sample) < _LEAST:
        return None
    distances = cdist(sample, sample)
    reach = TOLERANCE * float(np.median(distances[np.triu_indices(len(sample), 1)]))
    _, different = np.unique(connected(np.stack(np.nonzero(distances <= reach)), len(sample)), return_index=True)
    if reach == 0 or len(different) < _LEAST:
        return None
    apart = distances[np.ix_(different, different)]
    nearest = np.partition(apart, (2, 8), axis=1)[:, [2, 8]]  # the first is the image itself
    # The second and the eighth, for the first two of a lattice are equally far.
    dimensions = math.log(4) / max(float(np.median(np.log(nearest[:, 1] / nearest[:, 0]))), 1e-9)
    spacing = math.log(reach / float(np.median(nearest[:, 0])))
    accidents = 2 * math.log(count) - math.log(len(different)) + dimensions * spacing
    return reach if accidents <= math.log(_ACCIDENTS) else None


def _pairs(points: Points, reach: float, centre: Floats, rng: np.random.Generator) -> Integers:
    """(2, P) images that are within reach of each other; of a group, enough to connect it."""
    directions = rng.normal(size=(points.shape[1], _GRIDS * (_AXES + 1)))
    blocks = (slice(start, start + _BLOCK) for start in range(0, len(points), _BLOCK))
    places = np.concatenate([(points[rows] - centre) @ directions for rows in blocks]) / (_WIDTH * reach)
    found = [_beside(own, rng) for own in np.split(places, _GRIDS, axis=1)]
    pairs = np.unique(np.sort(np.concatenate(found, axis=1), axis=0), axis=1)
    near = np.zeros(pairs.shape[1], dtype=bool)
    for start in range(0, len(near), _BLOCK):
        one, other = pairs[:, start : start + _BLOCK]
        near[start : start + _BLOCK] = np.linalg.norm(points[one].astype(np.float64) - points[other], axis=1) <= reach
    return pairs[:, near]


def _beside(places: Floats, rng: np.random.Generator) -> Integers:
    """(2, P) images that are next or next but one to each other along the last axis of a cell of a grid."""
    cells = np.floor(places[:, :_AXES] + rng.random(_AXES)).astype(np.int64)
    key = cells.view(np.uint64) @ rng.integers(1, 2**63, _AXES, dtype=np.uint64)
    order = np.lexsort((places[:, _AXES], key))
    found = []
    for lag in (1, 2):
        one, other = order[:-lag], order[lag:]
        # A projection on a random direction is seldom longer than four times the distance itself.
        near = (key[one] == key[other]) & (np.abs(places[one] - places[other]) <= 4 / _WIDTH).all(axis=1)
        found.append(np.stack([one[near], other[near]]))
    return np.concatenate(found, axis=1)


def _tells(points: Points, rows: Integers, groups: Integers, reach: float, others: Integers) -> NDArray[np.bool_]:
    """Whether the embedding of a row has enough values that other images do not share, for its double to be one."""
    columns = np.argsort(-points[others].var(axis=0), kind="stable")[:_COLUMNS]
    values, near = points[others][:, columns], reach / math.sqrt(points.shape[1])
    found = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(rows), 32):
        own = rows[start : start + 32]
        equal = np.abs(points[own][:, None, columns] - values) <= near
        strange = groups[own][:, None] != groups[others]
        share = (equal & strange[:, :, None]).sum(axis=1) / np.maximum(strange.sum(axis=1), 1)[:, None]
        found[start : start + 32] = (share <= _RARE).sum(axis=1) >= _TELLING
    return np.asarray(found & (np.ptp(points[rows], axis=1) > 0))


def connected(pairs: Integers, count: int) -> Integers:
    """(count,) number of the part of a graph that each of its points is in."""
    one, other = pairs.astype(np.int32)  # as SciPy before 1.15 wants them
    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
