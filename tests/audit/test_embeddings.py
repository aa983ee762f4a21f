# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_cases import QUICK, simulated

from monai_shortcut.analyses import embedding_maps
from monai_shortcut.analyses.embedding_moves import ALL, MaskedEmbeddings
from monai_shortcut.audit import Audit, audit, embeddings
from monai_shortcut.statistics.ordering import canonical_order

BRIEF = replace(QUICK, permutations=9, bootstraps=9)


def audited(rows=None, settings=BRIEF, masked=True, **changed) -> Audit:
    """The masked embedding of an image is twice its full one."""
    given = simulated() | {"attributes": {"site": ["n", "s"] * 60}, "settings": settings} | changed
    rows = np.arange(120) if rows is None else np.asarray(rows)
    hidden = MaskedEmbeddings.of({"roi_only": 2 * np.asarray(given["embeddings"])[rows]}, rows)
    return audit(**given, **({"masked": hidden} if masked else {}))


def test_masked_embeddings_are_compared_with_those_of_the_same_images():
    found = audited(rows=np.arange(119, 20, -1))
    assert found.moves.get("roi_only").mean.value == pytest.approx(1)
    assert (found.moves.images, found.moves.of) == (99, 120)
    assert found.moves.get("roi_only", "class 1").images == found.labels["class 1"] - sum(
        np.asarray(simulated()["labels"])[:21]
    )


def test_images_that_are_left_out_take_their_masked_embedding_with_them():
    points = np.array(simulated()["embeddings"])
    points[[0, 50]] = np.nan
    found = audited(embeddings=points)
    assert found.moves.get("roi_only").mean.value == pytest.approx(1)
    assert (found.moves.images, found.moves.of) == (118, 118)


def test_the_map_holds_each_image_once_per_strategy_with_its_label_level_and_fold():
    found = audited(folds=np.repeat([0, 1], 60))
    (shown,) = found.maps.maps
    assert shown.method == "pca"
    assert {name: len(points) for name, points in shown.points.items()} == {"full": 120, "roi_only": 120}
    names, order = simulated()["label_names"], canonical_order(simulated()["embeddings"], simulated()["labels"])
    assert list(found.maps.labels) == [names[label] for label in simulated()["labels"][order]]
    assert found.maps.colours == {
        "site": tuple("ns"[row % 2] for row in order),
        "fold": tuple(str(row // 60) for row in order),
    }
    assert "fold" not in audited(folds=np.zeros(120)).maps.colours


def test_of_many_images_patients_are_drawn_and_not_images(monkeypatch):
    monkeypatch.setattr(embeddings, "POINTS", 100)
    found = audited(image_ids=[str(number) for number in range(120)])
    assert len(found.maps.labels) == 48  # 16 patients of 3 images, under two strategies
    assert found.maps.of == 120


def test_without_masks_the_pca_of_the_page_is_enough():
    found = audited(masked=False)
    assert (found.moves, found.maps) == (None, None)
    found = audited(masked=False, settings=replace(BRIEF, embedding_maps=("pca", "tsne")))
    assert found.moves is None
    assert [(shown.method, list(shown.points)) for shown in found.maps.maps] == [("tsne", ["full"])]


def test_maps_that_are_not_asked_for_are_not_drawn():
    found = audited(settings=replace(BRIEF, embedding_maps=()))
    assert found.maps is None
    assert found.moves.get("roi_only", ALL) is not None


def test_a_mask_that_fits_no_image_moves_none():
    points = np.array(simulated()["embeddings"])
    points[0] = np.nan
    found = audited(rows=[0], embeddings=points)
    assert (found.moves, found.maps) == (None, None)


def test_folds_have_one_entry_for_each_image():
    with pytest.raises(ValueError, match=r"folds must have one row for each of the 120 embeddings, got \(3,\)"):
        audited(folds=[0, 1, 0])


def test_a_record_gives_them_back(tmp_path):
    found = audited()
    found.to_json(tmp_path / "audit.json")
    again = Audit.from_json(tmp_path / "audit.json")
    assert (again.moves, again.maps) == (found.moves, found.maps)
    assert embedding_maps.POINTS == 2000
