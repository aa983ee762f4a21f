# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from region_scores import draw_study, of_condition
from scipy.stats import norm, rankdata, t, ttest_1samp
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import METADATA, Condition, LabelAreas, StudyScores, region_matrix
from monai_shortcut.statistics.delong import compare_aucs
from monai_shortcut.statistics.resampling import holm
from monai_shortcut.types import Unmeasurable

THREE = ("full", "without_roi", "silhouette")
FULL, WITHOUT, SILHOUETTE = (Condition(name, name) for name in THREE)
CROSSED = Condition("full", "without_roi")


@pytest.fixture
def study(rng):
    return draw_study(rng, {"outside": 0.8, "inside": 1.0}, strategies=THREE, labels=("ill", "old"))


def metadata_of(scores, rng):
    """A baseline that knows as much as a coin that listens a little."""
    rows = scores[of_condition(scores, "full", "full")]
    return rows[["fold", "image_id"]].assign(
        ill=rows["ill"] + 3 * rng.normal(size=len(rows)), old=rng.normal(size=len(rows))
    )


def areas_by_fold(scores, outcomes, condition, label="ill"):
    own = scores[of_condition(scores, condition.trained_on, condition.evaluated_on)]
    return [roc_auc_score(outcomes.loc[part["image_id"], label], part[label]) for _, part in own.groupby("fold")]


def single(rng, **settings):
    """One fold of every image, so that tests of one fold apply."""
    return draw_study(rng, {"outside": 0.5, "inside": 0.5}, strategies=THREE, folds=1, **settings)


def test_areas_are_means_over_folds_of_those_of_scikit_learn(study):
    scores, outcomes, patients = study
    matrix = region_matrix(scores, outcomes, patients)
    assert len(matrix.cells) == 18
    for cell in matrix.cells:
        expected = areas_by_fold(scores, outcomes, Condition(cell.trained_on, cell.evaluated_on), cell.label)
        np.testing.assert_allclose(cell.fold_aucs, expected, atol=1e-12)
        assert cell.auc == pytest.approx(np.mean(expected))
        assert (cell.images, cell.patients) == (len(outcomes), patients.nunique())
    assert matrix["full", "without_roi"]["old"] == matrix.get("old", "full", "without_roi")
    assert matrix.strategies == THREE
    assert matrix.baseline("ill") is None


def test_cells_of_one_fold_equal_paired_tests_of_their_scores(rng):
    scores, outcomes, patients = single(rng)
    cell = region_matrix(scores, outcomes, patients).get("ill", "silhouette", "without_roi")
    first, second = (scores[of_condition(scores, *pair)] for pair in (("silhouette", "without_roi"), ("full", "full")))
    expected = compare_aucs(outcomes["ill"], first["ill"], second["ill"], patients)
    assert cell.to_full.difference == pytest.approx(expected.difference)
    assert cell.to_full.p_value == pytest.approx(expected.p_value)
    np.testing.assert_allclose(cell.to_full.interval, expected.interval)


def test_intervals_agree_with_a_bootstrap_of_patients(rng):
    """Over folds that share all images, whose models share what they read."""
    scores, outcomes, patients = draw_study(rng, {"outside": 1.0, "inside": 0.7}, strategies=THREE, same=True)
    matrix = region_matrix(scores, outcomes, patients)
    tables = {
        key: scores[of_condition(scores, *key)]
        .pivot_table(index="image_id", columns="fold", values="ill")
        .loc[outcomes.index]
        for key in (("full", "full"), ("without_roi", "without_roi"))
    }
    rows_of = [np.flatnonzero(patients == name) for name in patients.unique()]
    drawn = []
    for _ in range(300):
        rows = np.concatenate([rows_of[index] for index in rng.integers(len(rows_of), size=len(rows_of))])
        truth = outcomes["ill"].to_numpy()[rows]
        ill = int(truth.sum())
        sums = [rankdata(table.to_numpy()[rows], axis=0)[truth == 1].sum(axis=0).mean() for table in tables.values()]
        means = (np.array(sums) - ill * (ill + 1) / 2) / (ill * (len(rows) - ill))
        drawn.append([means[1], means[1] - means[0]])
    cell, reach = matrix.get("ill", "without_roi", "without_roi"), norm.ppf(0.975)
    widths = [np.ptp(cell.interval), np.ptp(cell.to_full.interval)]
    np.testing.assert_allclose(widths, 2 * reach * np.std(drawn, axis=0), rtol=0.15)


def test_p_values_are_adjusted_within_each_kind_of_comparison(study, rng):
    scores, outcomes, patients = study
    matrix = region_matrix(scores, outcomes, patients, metadata=metadata_of(scores, rng))
    np.testing.assert_allclose(
        [cell.adjusted_chance_p_value for cell in matrix.cells], holm([cell.chance_p_value for cell in matrix.cells])
    )
    for kind, compared in (("to_full", 16), ("to_metadata", 18)):
        found = [getattr(cell, kind) for cell in matrix.cells if getattr(cell, kind) is not None]
        assert len(found) == compared
        np.testing.assert_allclose([c.adjusted_p_value for c in found], holm([c.p_value for c in found]))
    alone = [baseline.chance_p_value for baseline in matrix.baselines]
    np.testing.assert_allclose([baseline.adjusted_chance_p_value for baseline in matrix.baselines], holm(alone))


def test_the_baseline_is_an_area_and_cells_are_compared_with_it(study, rng):
    scores, outcomes, patients = study
    metadata = metadata_of(scores, rng)
    matrix = region_matrix(scores, outcomes, patients, metadata=metadata)
    expected = [roc_auc_score(outcomes.loc[p["image_id"], "ill"], p["ill"]) for _, p in metadata.groupby("fold")]
    assert matrix.baseline("ill").auc == pytest.approx(np.mean(expected))
    for cell in matrix["full", "full"].values():
        assert cell.to_metadata.difference == pytest.approx(cell.auc - matrix.baseline(cell.label).auc)
        assert cell.to_full is None


def test_models_that_score_alike_differ_by_nothing_and_those_below_chance_stay_there(study):
    scores, outcomes, patients = study
    rows = of_condition(scores, "without_roi", "without_roi")
    scores.loc[rows, "ill"] = np.tanh(scores.loc[of_condition(scores, "full", "full"), "ill"].to_numpy())
    scores.loc[of_condition(scores, "silhouette", "silhouette"), "ill"] = -scores.loc[rows, "ill"].to_numpy()
    matrix = region_matrix(scores, outcomes, patients)
    same = matrix.get("ill", "without_roi", "without_roi").to_full
    assert (same.difference, same.p_value, same.adjusted_p_value, same.interval) == (0.0, 1.0, 1.0, (0.0, 0.0))
    reversed_ = matrix.get("ill", "silhouette", "silhouette")
    assert reversed_.auc == pytest.approx(1 - matrix.get("ill", "full", "full").auc)
    assert reversed_.auc < 0.3
    assert reversed_.interval[1] < 0.5


def test_cells_are_paired_on_the_images_that_both_have(study, rng):
    scores, outcomes, patients = study
    lacking = set(rng.choice(outcomes.index, 60, replace=False))
    gone = of_condition(scores, "without_roi", "without_roi") & scores["image_id"].isin(lacking)
    fewer = scores[~gone]
    cell = region_matrix(fewer, outcomes, patients).get("ill", "without_roi", "without_roi")
    kept = scores[~scores["image_id"].isin(lacking)]
    expected = region_matrix(kept, outcomes, patients).get("ill", "without_roi", "without_roi")
    assert cell.images == len(outcomes) - 60
    assert cell.to_full.interval == pytest.approx(expected.to_full.interval)
    whole = region_matrix(fewer, outcomes, patients).get("ill", "full", "full")
    assert whole.images == len(outcomes)
    assert cell.to_full.difference != pytest.approx(cell.auc - whole.auc, abs=1e-4)


def test_unknown_outcomes_and_rows_of_margins_and_other_cohorts_are_left_aside(study):
    scores, outcomes, patients = study
    expected = region_matrix(scores[scores["image_id"] != "image 0"], outcomes, patients)
    outcomes.loc["image 0", "ill"] = np.nan
    extra = scores.assign(ill=0.0)
    more = pd.concat([scores, extra.assign(margin=2.0), extra.assign(cohort="elsewhere")])
    matrix = region_matrix(more, outcomes, patients)
    assert matrix["full", "full"]["ill"].fold_aucs == expected["full", "full"]["ill"].fold_aucs
    assert matrix["full", "full"]["old"].images == expected["full", "full"]["old"].images + 1
    assert len(matrix.cells) == 18


def test_a_fold_with_too_few_patients_is_left_out_and_said(study):
    scores, outcomes, patients = study
    ids = scores.loc[scores["fold"] == 2, "image_id"].unique()
    outcomes.loc[ids, "ill"] = 0.0
    outcomes.loc[ids[0], "ill"] = 1.0
    cell = region_matrix(scores, outcomes, patients).get("ill", "full", "full")
    assert cell.untested == {"2": "needs 2 patients of each class, got 1 of class 1"}
    assert cell.fold_aucs == pytest.approx(areas_by_fold(scores[scores["fold"] < 2], outcomes, FULL))
    assert cell.images == len(outcomes) - len(ids)
    outcomes["ill"] = 0.0
    matrix = region_matrix(scores, outcomes, patients, metadata=scores[of_condition(scores, "full", "full")])
    assert {cell.label for cell in matrix.cells} == {"old"}
    assert matrix.untested["ill, full, silhouette"].startswith(
        "fold 0: needs 2 patients of each class, got 0 of class 1"
    )
    assert "ill, metadata" in matrix.untested


def test_a_comparison_that_cannot_be_made_is_said_and_its_cell_kept(study):
    scores, outcomes, patients = study
    half = of_condition(scores, "silhouette", "silhouette") & (scores["fold"] > 0)
    other = ~of_condition(scores, "silhouette", "silhouette") & (scores["fold"] == 0)
    matrix = region_matrix(scores[half | other], outcomes, patients)
    assert matrix.get("ill", "silhouette", "silhouette").to_full is None
    assert matrix.untested["ill, silhouette, silhouette, against full"].startswith("fold 0: not all models have scores")


def degrees_of_freedom(scores, outcomes, patients, metadata):
    """Satterthwaite's, of the numbers of patients that the images of each class amount to in all folds together."""
    own = scores[of_condition(scores, "full", "full")].merge(metadata[["fold", "image_id"]])
    truth, unit = own["image_id"].map(outcomes["ill"]), own["image_id"].map(patients)
    counts = []
    for value in (1, 0):
        rows = truth == value
        shares = 1 / own["fold"].map(own["fold"][rows].value_counts()) / own["fold"].nunique()
        counts.append(1 / (shares[rows].groupby(unit[rows]).sum() ** 2).sum())
    return (1 / counts[0] + 1 / counts[1]) ** 2 / sum(1 / count**2 / (count - 1) for count in counts)


def test_contrasts_are_of_any_weighted_sum_of_cells_and_baseline(study, rng):
    scores, outcomes, patients = study
    metadata = metadata_of(scores, rng)
    areas = LabelAreas(StudyScores.of(scores, outcomes, patients, metadata), "ill", level=0.9)
    found = areas.contrast({FULL: 1, WITHOUT: -1, METADATA: -1, CROSSED: 1})
    each = [np.mean(areas_by_fold(scores, outcomes, one)) for one in (FULL, WITHOUT, CROSSED)]
    baseline = region_matrix(scores, outcomes, patients, metadata=metadata).baseline("ill").auc
    assert found.difference == pytest.approx(each[0] - each[1] - baseline + each[2])
    freedom = degrees_of_freedom(scores, outcomes, patients, metadata)
    assert np.ptp(found.interval) == pytest.approx(2 * t.ppf(0.95, freedom) * found.standard_error)
    assert found.p_value == pytest.approx(2 * t.sf(abs(found.difference) / found.standard_error, freedom))
    there = areas.contrast({FULL: 1, SILHOUETTE: -1})
    back = areas.contrast({SILHOUETTE: 1, FULL: -1})
    assert there.difference == pytest.approx(-back.difference)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))


def test_comparisons_for_models_trained_anew_are_the_more_cautious_of_patients_and_folds(rng):
    scores, outcomes, patients = draw_study(rng, {"outside": 1.0}, strategies=THREE, folds=6, luck=1.0)
    areas = LabelAreas(StudyScores.of(scores, outcomes, patients), "ill")
    given, anew = (areas.contrast({WITHOUT: 1, FULL: -1}, retrained=anew) for anew in (False, True))
    between = ttest_1samp(given.fold_values, 0)
    assert between.pvalue > given.p_value
    assert (given.retrained, anew.retrained, anew.difference) == (False, True, given.difference)
    assert anew.p_value == pytest.approx(between.pvalue)
    assert anew.interval == pytest.approx(tuple(between.confidence_interval(0.95)))
    for folds in (scores["fold"] == 0, scores["fold"] < 2):
        few = LabelAreas(StudyScores.of(scores[folds], outcomes, patients), "ill")
        given, anew = (few.contrast({FULL: 1}, 0.5, retrained=anew) for anew in (False, True))
        assert (anew.p_value == given.p_value) == (len(given.fold_values) == 1)
    same = areas.contrast({WITHOUT: 1, FULL: -1, Condition("full", "silhouette"): 0}, retrained=True)
    assert same.p_value == pytest.approx(between.pvalue)


@pytest.mark.slow
@pytest.mark.parametrize("same", [False, True])
def test_equally_good_strategies_differ_by_chance_alone_in_one_of_twenty_studies(same):
    """Of 250 studies with several images per patient; the standard error of the share is 0.014."""
    p_values, ignoring = [], []
    for seed in range(250):
        scores, outcomes, patients = draw_study(
            np.random.default_rng(seed), {}, strategies=("full", "silhouette"), patients=60, same=same
        )
        # What a patient adds, in each model its own, makes images of a patient alike.
        for name in ("full", "silhouette"):
            effect = dict(zip(patients.unique(), np.random.default_rng([seed, len(name)]).normal(size=60), strict=True))
            scores.loc[scores["trained_on"] == name, "ill"] += scores["image_id"].map(patients).map(effect)
        known = outcomes.assign(ill=(patients.str[1:].astype(int) % 2).astype(float))
        for units, kept in ((patients, p_values), (pd.Series(patients.index, patients.index), ignoring)):
            areas = LabelAreas(StudyScores.of(scores, known, units), "ill")
            kept.append(areas.contrast({FULL: 1, SILHOUETTE: -1}).p_value)
    assert 0.015 < np.mean(np.array(p_values) < 0.05) < 0.1
    assert np.mean(np.array(ignoring) < 0.05) > 0.12


@pytest.mark.slow
def test_luck_of_training_is_not_taken_for_information_where_it_is_asked_for():
    """Models that see the same but read it better or worse; the standard error of 0.05 in 200 studies is 0.015."""
    given, anew = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scores, outcomes, patients = draw_study(
            rng, {}, strategies=("full", "silhouette"), tested_on=("full", "silhouette"), patients=200, folds=5
        )
        skill = rng.normal(0.8, 0.35, size=(2, 5))
        truth = scores["image_id"].map(outcomes["ill"])
        scores["ill"] += truth * skill[(scores["trained_on"] == "full").astype(int), scores["fold"]] + rng.normal(
            size=len(truth)
        )
        areas = LabelAreas(StudyScores.of(scores, outcomes, patients), "ill")
        given.append(areas.contrast({FULL: 1, SILHOUETTE: -1}).p_value)
        anew.append(areas.contrast({FULL: 1, SILHOUETTE: -1}, retrained=True).p_value)
    assert np.mean(np.array(given) < 0.05) > 0.15
    assert np.mean(np.array(anew) < 0.05) < 0.1


def test_a_large_study_is_fast(rng):
    scores, outcomes, patients = draw_study(rng, {"inside": 1.0}, patients=2500, folds=5)
    started = time.process_time()
    assert len(region_matrix(scores, outcomes, patients).cells) == 81
    assert time.process_time() - started < 10


def replaced(frame, column, value):
    return frame.assign(**{column: [value, *frame[column].iloc[1:]]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, o, p: (s.drop(columns="margin"), o, p), "scores must have the columns .*, got none named margin"),
        (lambda s, o, p: (s, o.replace(1.0, 2.0), p), r"outcomes must be 0, 1 or NaN, got \[2.0"),
        (lambda s, o, p: (s, o, p.iloc[1:]), "patients must name the patient of every image, got none of image 0"),
        (lambda s, o, p: (s, pd.concat([o, o.iloc[:1]]), p), "outcomes must hold each image once, got image 0 again"),
        (lambda s, o, p: (s, o, pd.concat([p, p.iloc[:1]])), "patients must hold each image once, got image 0 again"),
        (lambda s, o, p: (replaced(s, "ill", np.nan), o, p), "scores must be finite, got others for image"),
        (
            lambda s, o, p: (pd.concat([s, s.iloc[:2]]), o, p),
            r"scores of \[full, full\], fold 0, must hold each image once, got image \d+, image \d+ again",
        ),
        (
            lambda s, o, p: (replaced(s, "image_id", "x"), o, p),
            r"scores of \[full, full\], fold 0, must be of images that have an outcome, got x",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused(study, change, message):
    with pytest.raises(ValueError, match=message):
        region_matrix(*change(*study))


def test_a_baseline_that_does_not_fit_is_refused(study):
    scores, outcomes, patients = study
    rows = scores[of_condition(scores, "full", "full")]
    with pytest.raises(ValueError, match="metadata must have the columns fold, image_id, ill, old, got none named old"):
        region_matrix(scores, outcomes, patients, metadata=rows.drop(columns="old"))
    with pytest.raises(ValueError, match=r"metadata of fold 0 must hold each image once, got .* and \d+ more again"):
        region_matrix(scores, outcomes, patients, metadata=pd.concat([rows, rows]))


def test_what_does_not_exist_is_refused(study):
    areas = LabelAreas(StudyScores.of(*study), "ill")
    with pytest.raises(ValueError, match=r"conditions to compare must have scores, got none for \[roi_only, full\]"):
        areas.contrast({Condition("roi_only", "full"): 1})
    with pytest.raises(ValueError, match="weights must hold at least one condition, got none"):
        areas.contrast({})
    with pytest.raises(ValueError, match="label must be one of ill, old, got 'young'"):
        LabelAreas(areas.study, "young")
    with pytest.raises(KeyError, match=r"\[roi_only, full\] must be a tested pair of full, without_roi, silhouette"):
        region_matrix(*study)["roi_only", "full"]
    scores, outcomes, patients = study
    empty = LabelAreas(StudyScores.of(scores, outcomes.assign(ill=np.nan), patients), "ill")
    with pytest.raises(Unmeasurable, match="fold 0: needs 2 patients of each class, got 0 of class 1 and 0 of class 0"):
        empty.contrast({FULL: 1})


def test_conditions_are_named_in_words():
    assert str(Condition("full", "roi_only", -2.5, "elsewhere")) == "[full, roi_only, margin -2.5, elsewhere]"
