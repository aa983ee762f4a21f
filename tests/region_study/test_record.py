# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from region_scores import draw_study, of_condition
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import (
    RegionStudyRecord,
    fits_of,
    margin_curves,
    read_regions,
    region_matrix,
    study_record,
    study_tables,
)
from monai_shortcut.statistics.delong import fold_auc_covariance
from monai_shortcut.storage.privacy import Privacy

NAMES = ("full", "without_roi", "silhouette")


def own_images(scores):
    """The test images of other folds as training images, those of the next fold as those that chose the weights."""
    own = scores[scores["trained_on"] == scores["evaluated_on"]][["trained_on", "fold", "image_id", "ill", "old"]]
    training = [own[own["fold"] != fold].assign(fold=fold, part="training") for fold in range(3)]
    return pd.concat([*training, own.assign(fold=(own["fold"] + 1) % 3, part="validation")], ignore_index=True)


@pytest.fixture
def tables(rng):
    """A study with a margin, a baseline, and a cohort of another place, whose images every fold's model scored."""
    scores, outcomes, patients = draw_study(rng, {"outside": 1.0}, strategies=NAMES, labels=("ill", "old"), patients=90)
    rows = scores[of_condition(scores, "full", "without_roi")]
    grown = rows.assign(margin=2.0, ill=rows["ill"] + rng.normal(size=len(rows)))
    far, far_outcomes, far_patients = draw_study(
        rng, {"outside": 0.6}, strategies=NAMES, labels=("ill", "old"), patients=40, same=True
    )
    far = far[far["evaluated_on"] == "full"].assign(cohort="elsewhere", image_id="far " + far["image_id"])
    far_outcomes.index, far_patients.index = "far " + far_outcomes.index, "far " + far_patients.index
    return {
        "scores": pd.concat([scores, grown, far], ignore_index=True),
        "outcomes": pd.concat([outcomes, far_outcomes]),
        "patients": pd.concat([patients, "far " + far_patients]),
        "metadata": scores[of_condition(scores, "silhouette", "silhouette")][["fold", "image_id", "ill", "old"]],
        "fitted": own_images(scores),
    }


@pytest.fixture
def record(tables):
    return study_record(
        **tables,
        title="phantom",
        learning_curves={("full", 0): [(1, 0.7, 0.5), (2, 0.6, math.nan)], ("silhouette", 1): [[1, 0.7, 0.4]]},
        excluded={"image 3": "its region is empty"},
        settings={"folds": "3"},
        software={"numpy": np.__version__},
    )


def test_the_record_is_what_the_analyses_give(record, tables):
    frames = tables["scores"], tables["outcomes"], tables["patients"]
    assert record.matrix == region_matrix(*frames, metadata=tables["metadata"])
    assert record.readings == read_regions(*frames, metadata=tables["metadata"], fitted=tables["fitted"])
    assert record.fits == fits_of(tables["fitted"], tables["outcomes"])
    assert record.curves == margin_curves(*frames)
    assert (record.strategies, record.labels) == (NAMES, ("ill", "old"))
    assert record.reading("old") == record.readings[1]
    assert len(record.curves) == 12


def test_a_round_trip_through_json_gives_an_equal_record(record, tmp_path):
    allowed = replace(record, privacy=Privacy(ids=True))
    allowed.to_json(tmp_path / "study.json")
    assert RegionStudyRecord.from_json(tmp_path / "study.json") == allowed
    record.to_json(tmp_path / "study.json")
    assert RegionStudyRecord.from_json(tmp_path / "study.json").excluded == {"image 1": "its region is empty"}
    assert json.loads((tmp_path / "study.json").read_text())["version"] == 2


def test_records_of_version_1_are_read(record, tmp_path):
    record.to_json(tmp_path / "study.json")
    former = json.loads((tmp_path / "study.json").read_text())
    del former["fits"]
    (tmp_path / "former.json").write_text(json.dumps(former | {"version": 1}))
    found = RegionStudyRecord.from_json(tmp_path / "former.json")
    assert (found.fits, found.readings) == ((), record.readings)


def test_counts_are_of_the_studys_own_images(record, tables):
    own = tables["outcomes"][~tables["outcomes"].index.str.startswith("far")]
    assert (record.counts.images, record.counts.patients) == (len(own), 90)
    assert record.counts.positives == {"ill": int(own["ill"].sum()), "old": int(own["old"].sum())}
    assert record.counts.unknown == {"ill": 0, "old": 0}


def variance(scores, label, outcomes, patients):
    """Of the mean area of some models, patients being independent."""
    folds = [
        (outcomes.loc[fold["image_id"], label], fold[[label]].to_numpy().T, patients.loc[fold["image_id"]])
        for _, fold in scores.groupby("fold")
    ]
    return fold_auc_covariance(folds)[1][0, 0]


def test_external_areas_are_of_each_model_and_held_against_the_studys_own(record, tables):
    scores, outcomes = tables["scores"], tables["outcomes"]
    assert [(e.label, e.trained_on) for e in record.external] == [(la, n) for la in ("ill", "old") for n in NAMES]
    for found in record.external:
        part = scores[(scores["cohort"] == "elsewhere") & (scores["trained_on"] == found.trained_on)]
        expected = [
            roc_auc_score(outcomes.loc[p["image_id"], found.label], p[found.label]) for _, p in part.groupby("fold")
        ]
        np.testing.assert_allclose(found.fold_aucs, expected)
        assert (found.cohort, found.evaluated_on, found.patients) == ("elsewhere", "full", 40)
        own = record.matrix.get(found.label, found.trained_on, "full")
        assert found.difference == pytest.approx(found.auc - own.auc)
        # Zou and Donner: each limit takes the far limit of one part and the near one of the other.
        below = math.hypot(found.auc - found.interval[0], own.interval[1] - own.auc)
        above = math.hypot(found.interval[1] - found.auc, own.auc - own.interval[0])
        np.testing.assert_allclose(found.difference_interval, [found.difference - below, found.difference + above])
        error = (below if found.difference > 0 else above) / norm.ppf(0.975)
        assert found.p_value == pytest.approx(2 * norm.sf(abs(found.difference) / error))
        mine = scores[(scores["cohort"] == "") & of_condition(scores, found.trained_on, "full")]
        parts = (part, mine[mine["margin"] == 0])
        plain = math.sqrt(sum(variance(one, found.label, outcomes, tables["patients"]) for one in parts))
        assert error == pytest.approx(plain, rel=0.1)  # with 40 patients hardly another than the normal one


def test_external_areas_without_a_cell_of_their_own_have_no_difference(tables):
    scores = tables["scores"]
    own = (scores["cohort"] == "") & (scores["trained_on"] == "silhouette") & (scores["evaluated_on"] == "full")
    found = study_record(scores[~own], tables["outcomes"], tables["patients"]).external
    assert [e.difference is None for e in found] == [False, False, True] * 2
    few = tables["outcomes"].copy()
    few.loc[few.index.str.startswith("far"), "ill"] = 0.0
    left = study_record(scores, few, tables["patients"]).external
    assert {e.label for e in left} == {"old"}


def test_equal_scores_here_and_there_differ_by_nothing_and_opposite_ones_by_all():
    """Chance makes areas of one and of zero of four and four patients each once in 2,450 times."""
    index = [f"i{row}" for row in range(8)] + [f"j{row}" for row in range(8)]
    outcomes = pd.DataFrame({"ill": [0.0, 1.0] * 8}, index)
    base = {"trained_on": "full", "fold": 0, "evaluated_on": "full", "margin": 0.0}
    patients = pd.Series(index, index)
    for there, low, high in ((outcomes["ill"], 1.0, 1.0), (-outcomes["ill"], 1e-5, 1e-3)):
        scores = pd.concat(
            [
                pd.DataFrame({**base, "cohort": "", "image_id": index[:8], "ill": outcomes["ill"].iloc[:8]}),
                pd.DataFrame({**base, "cohort": "far", "image_id": index[8:], "ill": there.iloc[8:]}),
            ]
        )
        (found,) = study_record(scores, outcomes, patients).external
        assert low <= found.p_value <= high


def test_values_of_learning_curves_that_are_not_finite_are_none(record):
    assert [(c.trained_on, c.fold) for c in record.learning_curves] == [("full", 0), ("silhouette", 1)]
    assert record.learning_curves[0].epochs == ((1, 0.7, 0.5), (2, 0.6, None))


def test_tables_hold_every_value(record):
    tables = study_tables(record)
    matrix = tables["matrix"]
    assert len(matrix) == len(record.matrix.cells) == 18
    for row, cell in zip(matrix.itertuples(), record.matrix.cells, strict=True):
        assert (row.label, row.trained_on, row.evaluated_on) == (cell.label, cell.trained_on, cell.evaluated_on)
        assert (row.auc, row.low, row.high) == (cell.auc, *cell.interval)
        expected = math.nan if cell.to_full is None else cell.to_full.adjusted_p_value
        np.testing.assert_equal(row.to_full_adjusted_p_value, expected)
        assert row.to_metadata_low == cell.to_metadata.interval[0]
    readings = tables["readings"].set_index(["label", "source"])
    assert readings.loc[("ill", "outside"), "answer"] == record.readings[0].outside.answer
    assert readings.loc[("ill", "outline"), "contrast"] == record.readings[0].outline.contrast.difference
    curves = tables["curves"]
    assert curves["auc"].tolist() == [point.auc for point in record.curves]
    assert curves["difference_low"].tolist() == [point.difference_interval[0] for point in record.curves]
    assert tables["external"]["high"].tolist() == [found.interval[1] for found in record.external]
    assert tables["baselines"]["auc"].tolist() == [baseline.auc for baseline in record.matrix.baselines]
    fits = tables["fits"].set_index(["label", "trained_on"])
    assert fits.loc[("old", "silhouette")].tolist() == [record.fits[-1].training, record.fits[-1].validation]
    assert tables["learning_curves"].iloc[0].tolist() == ["full", 0, 1, 0.7, 0.5]
    assert not any(name.startswith("fold_") for table in tables.values() for name in table)


def test_tables_of_what_was_not_studied_are_empty(rng):
    tables = study_tables(study_record(*draw_study(rng, {}, strategies=("full",), patients=20)))
    assert {name for name, table in tables.items() if not len(table)} == {
        "baselines",
        "curves",
        "external",
        "fits",
        "learning_curves",
    }
    assert "auc" in tables["curves"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no", "must hold the JSON of a region study, got text that is not JSON"),
        ("{}", "must hold the JSON of a region study, got other JSON"),
        ('{"version": 1}', "must hold the JSON of a region study, got other JSON"),
        ('{"version": 3, "matrix": {}}', "must have format version 2 or older, got 3: update monai_shortcut"),
    ],
)
def test_files_that_are_no_record_are_refused(tmp_path, content, message):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        RegionStudyRecord.from_json(tmp_path / "study.json")


def test_a_label_that_was_not_studied_is_refused(record):
    with pytest.raises(ValueError, match="label must be one of ill, old, got 'young'"):
        record.reading("young")
