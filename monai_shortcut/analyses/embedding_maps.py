# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What do the embeddings of the same images look like under every masking strategy? Maps of two dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.manifold import TSNE

from monai_shortcut.analyses.sample import Embeddings
from monai_shortcut.statistics.ordering import OrderedRows
from monai_shortcut.statistics.variation import SAME
from monai_shortcut.types import Booleans, Floats, Points, Unmeasurable

PCA, TSNE_MAP, UMAP_MAP = "pca", "tsne", "umap"
METHODS = (PCA, TSNE_MAP, UMAP_MAP)
POINTS = 2000  # of a map; a page and its record hold them
PERPLEXITY = 10  # as published
_NEIGHBOURS = 15  # of UMAP, its default
_FEWEST = 5  # points of a map that is not linear
_COMPONENTS = 50  # principal components that t-SNE and UMAP see
_DIGITS = 8  # of a coordinate
Map = tuple[Floats, str]


@dataclass(frozen=True)
class StrategyMap:
    """Two coordinates of every image under every strategy.

    Attributes:
        method: one of `METHODS`.
        settings: what it was computed with, in words.
        points: (n,) coordinates of the images by strategy; None where a strategy could not be applied.
    """

    method: str
    settings: str
    points: dict[str, tuple[tuple[float, float] | None, ...]]


@dataclass(frozen=True)
class EmbeddingMaps:
    """Maps of the same images under several strategies; each image is in a map once per strategy.

    Attributes:
        labels: (n,) label of each image.
        colours: (n,) other names to colour the images by, such as their levels of an attribute; "" where missing.
        of: number of images that these were drawn from, by patient.
        maps: one for each method.
        not_computed: why there is no map, by method.
    """

    labels: tuple[str, ...]
    colours: dict[str, tuple[str, ...]]
    of: int
    maps: tuple[StrategyMap, ...]
    not_computed: dict[str, str]


def embedding_maps(
    points: Mapping[str, Points],
    labels: Sequence[str],
    colours: Mapping[str, Sequence[str]],
    *,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    of: int | None = None,
) -> EmbeddingMaps:
    """Lay out the same images under every strategy in the plane, all strategies in one map.

    PCA is linear: distances are distances. t-SNE and UMAP keep neighbours together, of the 50 leading principal
    components; their distances between groups, and the sizes of groups, mean nothing.

    Args:
        points: (n, D) embeddings by strategy; NaN rows where it could not be applied.
        labels: (n,) label of each image.
        colours: (n,) other names by what they are.
        methods: some of `METHODS`.
        seed: of t-SNE and UMAP.
        of: number of images that these were drawn from; as many as there are by default.

    Raises:
        ValueError: If a method is unknown.

    References:
        van der Maaten and Hinton (2008), J. Machine Learning Research 9; McInnes, Healy and Melville (2018),
        arXiv 1802.03426; Sourget et al. (2025), Mask of truth (t-SNE, perplexity 10).
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"methods must be among {', '.join(METHODS)}, got {', '.join(unknown)}.")
    given = {name: np.asarray(np.isfinite(values).all(axis=1)) for name, values in points.items()}
    stacked = np.concatenate([values[given[name]] for name, values in points.items()])
    maps: list[StrategyMap] = []
    not_computed: dict[str, str] = {}
    for method in dict.fromkeys(methods):
        try:
            coordinates, settings = _LAYOUTS[method](stacked, seed)
        except Unmeasurable as reason:
            not_computed[method] = str(reason)
            continue
        maps.append(StrategyMap(method, settings, _by_strategy(coordinates, given)))
    named = {name: tuple(map(str, values)) for name, values in colours.items()}
    return EmbeddingMaps(tuple(map(str, labels)), named, of or len(labels), tuple(maps), not_computed)


def _by_strategy(
    coordinates: Floats, given: Mapping[str, Booleans]
) -> dict[str, tuple[tuple[float, float] | None, ...]]:
    rows = ((_rounded(x), _rounded(y)) for x, y in coordinates.tolist())
    return {name: tuple(next(rows) if one else None for one in known.tolist()) for name, known in given.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _components(points: Points, most: int) -> tuple[Floats, Floats]:
    """Coordinates (m, k) along the leading principal axes, and the share of the variance of each."""
    if len(points) < 2:
        raise Unmeasurable(f"a map takes at least 2 points, got {len(points)}")
    whole = Embeddings(OrderedRows(points))
    if not whole.vary:
        raise Unmeasurable(SAME)
    power, axes = whole.axes
    found = (points - whole.standardized.centre) @ axes[:most].T
    return np.asarray(found, dtype=np.float64), power[:most] / max(float(power.sum()), 1e-300)


def _pca(points: Points, seed: int) -> Map:
    found, share = _components(points, 2)
    missing = 2 - found.shape[1]  # of embeddings that vary in fewer directions
    shares = " and ".join(f"{100 * one:.0f} %" for one in (*share, *[0.0] * missing))
    return np.pad(found, ((0, 0), (0, missing))), f"{shares} of the variance"


def _tsne(points: Points, seed: int) -> Map:
    found, _ = _components(points, _COMPONENTS)
    _enough(found)
    perplexity = PERPLEXITY if len(found) >= 3 * PERPLEXITY else (len(found) - 1) / 3
    few = "" if perplexity == PERPLEXITY else f", for want of points: published were {PERPLEXITY}"
    start = np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))[:, :2]
    start = 1e-4 * start / max(float(start[:, 0].std()), 1e-300)
    layout = TSNE(perplexity=perplexity, init=start.astype(np.float32), learning_rate="auto", random_state=seed)
    return np.asarray(layout.fit_transform(found), dtype=np.float64), f"perplexity {perplexity:.3g}{few}, seed {seed}"


def _umap(points: Points, seed: int) -> Map:
    found, _ = _components(points, _COMPONENTS)
    _enough(found)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its compiler
            from umap import UMAP
    except ImportError:
        raise Unmeasurable(
            "it takes umap-learn, which is not installed: in a clone of monai_shortcut, pip install '.[umap]'"
        ) from None
    except Exception as error:  # of its compiler, where other packages do not suit it
        raise Unmeasurable(f"umap-learn cannot be imported: {type(error).__name__}: {error}") from error
    neighbours = min(_NEIGHBOURS, len(found) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed takes one thread
        start = np.pad(found, ((0, 0), (0, max(0, 2 - found.shape[1]))))[:, :2]
        start = 10 * start / max(float(np.abs(start).max()), 1e-300)
        layout = UMAP(n_neighbors=neighbours, init=start.astype(np.float32), random_state=seed, n_jobs=1)
        placed = layout.fit_transform(found)
    return np.asarray(placed, dtype=np.float64), f"{neighbours} neighbours, seed {seed}"


def _enough(found: Floats) -> None:
    if len(found) < _FEWEST:
        raise Unmeasurable(f"it takes at least {_FEWEST} points, got {len(found)}")


_LAYOUTS: Mapping[str, Callable[[Points, int], Map]] = {PCA: _pca, TSNE_MAP: _tsne, UMAP_MAP: _umap}
