# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from monai_shortcut.analyses.embedding_maps import METHODS, EmbeddingMaps, embedding_maps
from monai_shortcut.statistics.variation import SAME
from monai_shortcut.storage.records import decode, encode

needs_umap = pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is an extra")


def clouds(rng, images: int = 20, columns: int = 6):
    """Two strategies that are apart, and labels that are not."""
    full = rng.normal(size=(images, columns))
    return {"full": full, "roi_only": full + 8}, [f"label {number % 2}" for number in range(images)]


def mapped(points, labels=None, method="pca", **options) -> EmbeddingMaps:
    labels = ["a"] * len(next(iter(points.values()))) if labels is None else labels
    return embedding_maps(points, labels, {}, methods=[method], **options)


def as_array(found: EmbeddingMaps) -> np.ndarray:
    (shown,) = found.maps
    return np.array(list(shown.points.values()), dtype=float).reshape(-1, 2)


def test_pca_is_the_projection_on_the_two_main_directions(rng):
    points, labels = clouds(rng)
    stacked = np.concatenate(list(points.values()))
    centred = stacked - stacked.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    found = mapped(points, labels)
    np.testing.assert_allclose(np.abs(as_array(found)), np.abs(centred @ axes[:2].T), rtol=1e-3)
    share = 100 * singular**2 / (singular**2).sum()
    assert found.maps[0].settings == f"{share[0]:.0f} % and {share[1]:.0f} % of the variance"
    assert (found.labels, found.of) == (tuple(labels), 20)


@pytest.mark.parametrize("method", ["tsne", pytest.param("umap", marks=[needs_umap, pytest.mark.slow])])
def test_neighbours_stay_neighbours_and_a_seed_gives_the_same_map(rng, method):
    points, _ = clouds(rng, 30)
    first, again = (mapped(points, method=method, seed=3) for _ in range(2))
    assert first == again
    strategy = np.repeat([0, 1], 30)
    assert KNeighborsClassifier(5).fit(as_array(first), strategy).score(as_array(first), strategy) == 1
    assert "seed 3" in first.maps[0].settings
    assert mapped(points, method=method, seed=4) != first


def test_the_published_perplexity_is_used_where_there_are_points_for_it(rng):
    for images, settings in (
        (15, "perplexity 10, seed 0"),
        (4, "perplexity 2.33, for want of points: published were 10"),
    ):
        assert mapped(clouds(rng, images)[0], method="tsne").maps[0].settings.startswith(settings)


@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_too_few_points_are_no_map(rng, method):
    found = mapped(clouds(rng, 2)[0], method=method)
    assert found.maps == ()
    assert found.not_computed == {method: "it takes at least 5 points, got 4"}


def test_one_point_is_no_map_and_equal_ones_are_none(rng):
    assert mapped({"full": rng.normal(size=(1, 3))}).not_computed == {"pca": "a map takes at least 2 points, got 1"}
    for method in ("pca", "tsne"):
        assert mapped({"full": np.ones((9, 3))}, method=method).not_computed == {method: SAME}


def test_embeddings_of_one_column_are_mapped(rng):
    column = rng.normal(size=(20, 1))
    assert np.ptp(as_array(mapped({"full": column})), axis=0)[1] == 0
    assert np.isfinite(as_array(mapped({"full": column}, method="tsne"))).all()


def test_an_image_that_a_strategy_cannot_mask_has_no_place_there(rng):
    points, labels = clouds(rng)
    points["roi_only"][[3, 5]] = np.nan
    shown = mapped(points, labels).maps[0].points
    assert [place for place, point in enumerate(shown["roi_only"]) if point is None] == [3, 5]
    assert None not in shown["full"]
    assert len(shown["full"]) == len(shown["roi_only"]) == 20


@pytest.mark.usefixtures("no_umap")
def test_without_umap_the_others_go_on_and_it_says_how_to_install_it(rng):
    found = embedding_maps(clouds(rng)[0], ["a"] * 20, {"site": ["x"] * 20}, methods=METHODS, of=50)
    assert [shown.method for shown in found.maps] == ["pca", "tsne"]
    assert found.not_computed["umap"].endswith("in a clone of monai_shortcut, pip install '.[umap]'")
    assert (found.colours, found.of) == ({"site": ("x",) * 20}, 50)
    assert decode(EmbeddingMaps, encode(found)) == found


def refusing(monkeypatch, error: Exception) -> None:
    """Let the import of umap fail."""
    imported = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "umap":
            raise error
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.fixture
def no_umap(monkeypatch):
    refusing(monkeypatch, ImportError("umap"))


def test_a_umap_that_breaks_when_it_is_imported_is_told(rng, monkeypatch):
    refusing(monkeypatch, AttributeError("no types"))
    why = "umap-learn cannot be imported: AttributeError: no types"
    assert mapped(clouds(rng)[0], method="umap").not_computed == {"umap": why}


def test_an_unknown_method_is_refused(rng):
    with pytest.raises(ValueError, match="methods must be among pca, tsne, umap, got isomap"):
        mapped(clouds(rng)[0], method="isomap")
