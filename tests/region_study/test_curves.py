# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from region_scores import draw_study, of_condition
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import margin_curves
from monai_shortcut.statistics.delong import compare_aucs, estimate_auc

MARGINS = (-1.0, 0.0, 3.0)


def grown_study(rng, folds=3, same=False):
    """A full model tested without the region: what a growing hole hides makes its scores noisier, and lower."""
    scores, outcomes, patients = draw_study(
        rng, {"outside": 1.2}, strategies=("full", "without_roi"), folds=folds, same=same
    )
    rows = scores[of_condition(scores, "full", "without_roi")]
    more = [rows.assign(margin=m, ill=rows["ill"] - m + abs(m) * rng.normal(size=len(rows))) for m in MARGINS if m != 0]
    return pd.concat([scores, *more], ignore_index=True), outcomes, patients


def at(points, grown, margin):
    return next(point for point in points if (point.grown, point.margin) == (grown, margin))


def mixed(scores, outcomes, grown, margin):
    """Fold, image and score where the margin is that of all images or of one class."""
    rows = scores[of_condition(scores, "full", "without_roi")].set_index(["fold", "image_id"])
    before, after = (rows.loc[rows["margin"] == m, "ill"] for m in (0.0, margin))
    both = pd.DataFrame({"before": before, "after": after}).dropna()
    truth = both.index.get_level_values("image_id").map(outcomes["ill"])
    chosen = {"all": truth >= 0, "positives": truth == 1, "negatives": truth == 0}[grown]
    return both.assign(truth=truth, score=np.where(chosen, both["after"], both["before"])).reset_index()


def test_each_point_is_the_area_of_its_margin_in_all_images_or_in_one_class(rng):
    scores, outcomes, patients = grown_study(rng)
    points = margin_curves(scores, outcomes, patients)
    assert [(p.grown, p.margin) for p in points] == [(g, m) for m in MARGINS for g in ("all", "positives", "negatives")]
    for point in points:
        assert (point.label, point.trained_on, point.evaluated_on) == ("ill", "full", "without_roi")
        parts = [part for _, part in mixed(scores, outcomes, point.grown, point.margin).groupby("fold")]
        assert point.auc == pytest.approx(np.mean([roc_auc_score(p["truth"], p["score"]) for p in parts]))
        change = [roc_auc_score(p["truth"], p["score"]) - roc_auc_score(p["truth"], p["before"]) for p in parts]
        assert point.difference == pytest.approx(np.mean(change), abs=1e-12)
        assert (point.images, point.dropped, point.patients) == (len(outcomes), 0, patients.nunique())


def test_a_size_that_tells_the_class_shows_where_one_class_grows(rng):
    """The larger the hole, the lower the score: growing it in one class moves the area to either end."""
    points = margin_curves(*grown_study(rng))
    assert at(points, "positives", 3.0).auc < 0.5 < at(points, "all", 3.0).auc < at(points, "negatives", 3.0).auc
    assert at(points, "positives", 3.0).interval[1] < 0.5
    assert at(points, "negatives", 3.0).p_value < 0.001


def test_margin_zero_is_the_same_for_all_and_differs_from_itself_by_nothing(rng):
    curves = margin_curves(*grown_study(rng))
    points = [at(curves, grown, 0.0) for grown in ("all", "positives", "negatives")]
    assert len({(point.auc, point.interval) for point in points}) == 1
    assert {(point.difference, point.difference_interval, point.p_value) for point in points} == {
        (0.0, (0.0, 0.0), 1.0)
    }


def test_bands_and_differences_are_those_of_paired_tests(rng):
    scores, outcomes, patients = grown_study(rng, folds=1)
    for point in margin_curves(scores, outcomes, patients, level=0.9):
        own = mixed(scores, outcomes, point.grown, point.margin)
        units = own["image_id"].map(patients)
        expected = compare_aucs(own["truth"], own["score"], own["before"], units, confidence=0.9)
        np.testing.assert_allclose(point.difference_interval, expected.interval, atol=1e-12)
        assert point.p_value == pytest.approx(expected.p_value)
        alone = estimate_auc(own["truth"], own["score"], units, confidence=0.9).auc
        np.testing.assert_allclose(point.interval, (alone.low, alone.high))


def test_images_that_lack_a_margin_are_dropped_from_both_and_counted(rng):
    scores, outcomes, patients = grown_study(rng, same=True)
    emptied = list(outcomes.index[5:30])
    fewer = scores[~((scores["margin"] == -1) & scores["image_id"].isin(emptied))]
    points = margin_curves(fewer, outcomes, patients)
    without = margin_curves(scores[~scores["image_id"].isin(emptied)], outcomes, patients)
    point, expected = at(points, "positives", -1.0), at(without, "positives", -1.0)
    assert (point.images, point.dropped) == (len(outcomes) - 25, 25)
    assert (point.auc, point.difference) == (expected.auc, expected.difference)
    assert (at(points, "all", 3.0).images, at(points, "all", 3.0).dropped) == (len(outcomes), 0)


def test_a_margin_that_too_few_patients_have_gives_no_point(rng):
    scores, outcomes, patients = grown_study(rng)
    ill = set(outcomes.index[outcomes["ill"] == 1])
    fewer = scores[~((scores["margin"] == 3) & scores["image_id"].isin(ill))]
    assert {point.margin for point in margin_curves(fewer, outcomes, patients)} == {-1.0, 0.0}


def test_without_margins_there_are_no_curves(rng):
    assert margin_curves(*draw_study(rng, {}, patients=20)) == ()


def test_curves_need_margin_zero(rng):
    scores, outcomes, patients = grown_study(rng)
    fewer = scores[~(of_condition(scores, "full", "without_roi") & (scores["margin"] == 0))]
    message = r"scores of \[full, without_roi\] with margins must hold margin 0, got \[-1.0, 3.0\]"
    with pytest.raises(ValueError, match=message):
        margin_curves(fewer, outcomes, patients)
