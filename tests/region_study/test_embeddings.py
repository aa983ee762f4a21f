# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.analyses.embedding_moves import ALL, ANOTHER
from monai_shortcut.region_study import embeddings as module
from monai_shortcut.region_study.embeddings import NONE, ModelEmbeddings, study_maps, study_moves
from monai_shortcut.statistics.cosines import row_cosines
from monai_shortcut.statistics.resampling import Resampling

DRAWS = Resampling(bootstraps=49)


@pytest.fixture
def study(rng):
    """Two findings, one of which is unknown somewhere; two folds of ten patients with two images each."""
    names = pd.Index([f"image{number:02}" for number in range(40)], name="image_id")
    outcomes = pd.DataFrame(rng.integers(2, size=(40, 2)).astype(float), names, ["nodule", "effusion"])
    outcomes.iloc[3, 1] = np.nan
    patients = pd.Series([f"/p{number // 2}" for number in range(40)], names)
    models = []
    for trained_on in ("full", "roi_only"):
        for fold in (0, 1):
            rows = names[20 * fold : 20 * fold + 20]
            full = pd.DataFrame(rng.normal(size=(20, 6)) + fold, rows)
            points = {
                "full": full,
                "roi_only": (full + rng.normal(size=(20, 6))).sample(frac=1, random_state=0).iloc[1:],
            }
            models.append(ModelEmbeddings(trained_on, fold, points))
    return models, outcomes, patients


def test_cosines_are_those_of_each_image_by_the_model_that_tested_it(study):
    models, outcomes, patients = study
    found = study_moves(models, outcomes, patients, DRAWS)
    assert list(found) == ["full", "roi_only"]
    for trained_on, moves in found.items():
        plain, centred, names = [], [], []
        for model in (one for one in models if one.trained_on == trained_on):
            full, masked = model.points["full"], model.points["roi_only"]
            names += masked.index.tolist()
            pair = full.loc[masked.index].to_numpy(), masked.to_numpy()
            plain += row_cosines(*pair).tolist()
            centred += row_cosines(*pair, full.to_numpy().mean(axis=0)).tolist()
        one = moves.get("roi_only")
        assert (one.images, moves.images) == (38, 40)
        assert (one.mean.value, one.centred.value) == pytest.approx((np.mean(plain), np.mean(centred)), abs=1e-6)
        ill = outcomes.loc[names, "effusion"].to_numpy() == 1
        assert moves.get("roi_only", "effusion").mean.value == pytest.approx(np.mean(np.array(plain)[ill]), abs=1e-6)
        none = (outcomes.loc[names] == 0).all(axis=1)
        assert moves.get("roi_only", NONE).images == none.sum()
    assert {one.label for one in found["full"].cosines} == {ALL, "nodule", "effusion", NONE}
    assert found["full"].get(ANOTHER).patients == 20


def test_an_image_that_several_models_test_is_of_one_patient(study):
    models, outcomes, patients = study
    again = [models[0], ModelEmbeddings("full", 1, models[0].points)]
    one = study_moves(again, outcomes, patients, DRAWS)["full"].get("roi_only")
    assert (one.images, one.patients) == (38, 10)


def test_a_map_shows_the_images_of_one_model_with_their_labels(study, monkeypatch):
    models, outcomes, patients = study
    colours = pd.DataFrame({"scanner": ["A", ""] * 20}, outcomes.index)
    found = study_maps(models[0], outcomes, patients, colours, methods=["pca"], seed=0)
    assert (len(found.labels), found.of) == (20, 20)
    expected = {(0.0, 0.0): NONE, (1.0, 0.0): "nodule", (0.0, 1.0): "effusion", (1.0, 1.0): "nodule and effusion"}
    assert found.labels[4:] == tuple(expected[tuple(row)] for row in outcomes.iloc[4:20].to_numpy())
    assert found.colours == {"scanner": ("A", "") * 10}
    points = found.maps[0].points
    assert (len(points["full"]), sum(point is None for point in points["roi_only"])) == (20, 1)
    monkeypatch.setattr(module, "POINTS", 13)
    few = study_maps(models[0], outcomes, patients, colours, methods=["pca"], seed=0)
    assert (len(few.labels), few.of) == (6, 20)  # three patients under two strategies


def test_images_without_the_only_label_are_named_by_it(study):
    models, outcomes, patients = study
    alone, nothing = outcomes[["nodule"]], pd.DataFrame(index=outcomes.index)
    found = study_moves(models, alone, patients, DRAWS)["full"]
    assert {one.label for one in found.cosines} == {ALL, "nodule", "not nodule"}
    shown = study_maps(models[0], alone, patients, nothing, methods=["pca"], seed=0)
    assert set(shown.labels) == {"nodule", "not nodule"}


def test_without_models_there_is_nothing(study):
    assert study_moves([], study[1], study[2], DRAWS) == {}
