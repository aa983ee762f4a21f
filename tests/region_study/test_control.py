# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A silhouette whose own models have learned badly is no evidence for the inside or the surroundings."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from region_scores import draw_study, of_condition
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import read_regions

NAMES = ("full", "without_roi", "roi_only", "silhouette")
SIZE = {"strategies": NAMES, "patients": 500, "folds": 5}


def areas_of(scores, outcomes, name):
    """Areas by fold of the models of a strategy, tested as they were trained."""
    own = scores[of_condition(scores, name, name)]
    return np.array([roc_auc_score(outcomes.loc[p["image_id"], "ill"], p["ill"]) for _, p in own.groupby("fold")])


def weak(rng, truth, spread=1.5, others=True):
    """A study whose silhouette's models read it badly, all in the same way; others may be tested on silhouettes."""
    scores, outcomes, patients = draw_study(rng, truth, **SIZE)
    rows = scores["trained_on"] == "silhouette"
    scores.loc[rows, "ill"] += spread * rng.normal(size=rows.sum())
    if not others:
        scores = scores[rows | (scores["evaluated_on"] != "silhouette")]
    return scores, outcomes, patients


def fitted(outcomes, distance, rng):
    """Scores of the silhouette's models on their training images, their classes so far apart."""
    moved = distance * outcomes["ill"] + rng.normal(size=len(outcomes))
    place = {"trained_on": "silhouette", "fold": 0, "part": "training"}
    return pd.DataFrame({"image_id": outcomes.index, "ill": moved.to_numpy(), **place})


@pytest.mark.slow
def test_what_others_read_off_silhouettes_shows_what_the_outline_tells():
    """The former rule, against the silhouette's own models alone, said yes in nearly all of these."""
    for seed in range(12):
        study = weak(np.random.default_rng(seed), {"outline": 1.2})
        (reading,) = read_regions(*study)
        assert (reading.inside.answer, reading.outside.answer) == ("inconclusive", "inconclusive")
        assert abs(reading.inside.contrast.difference) < 0.05
        assert "read off the silhouette, in" in reading.inside.reason


def test_a_reader_that_is_upside_down_shows_as_much(rng):
    scores, outcomes, patients = weak(rng, {"outline": 1.2})
    others = (scores["evaluated_on"] == "silhouette") & (scores["trained_on"] != "silhouette")
    (as_it_is,) = read_regions(scores, outcomes, patients)
    scores.loc[others, "ill"] *= -1
    (mirrored,) = read_regions(scores, outcomes, patients)
    assert mirrored.inside.answer == as_it_is.inside.answer == "inconclusive"
    assert mirrored.inside.contrast.difference == pytest.approx(as_it_is.inside.contrast.difference)
    np.testing.assert_allclose(mirrored.inside.contrast.interval, as_it_is.inside.contrast.interval)


def test_a_silhouette_that_others_read_better_is_no_control_for_gains_of_that_size():
    """What inside and outline tell together is above all readers, but by less than its control falls short."""
    truth = {"outline": 1.2, "inside": 1.2}
    (reading,) = read_regions(*weak(np.random.default_rng(0), truth, spread=2.5))
    assert reading.inside.contrast.interval[0] > 0
    assert reading.inside.answer == "inconclusive"
    assert re.search(
        r"but models trained on .* read silhouettes better than its own, by 0\.\d\d$", reading.inside.reason
    )
    (sound,) = read_regions(*weak(np.random.default_rng(0), truth, spread=0.0))
    assert sound.inside.answer == "yes"
    (large,) = read_regions(*weak(np.random.default_rng(0), {"outline": 0.7, "inside": 1.6}))
    assert large.inside.contrast.interval[0] > 0.1
    assert large.inside.answer == "yes"


def test_readers_at_chance_show_nothing():
    """A true gain is held against nobody but the silhouette's own models where the outline tells nothing."""
    scores, outcomes, patients = draw_study(np.random.default_rng(1), {"inside": 1.4}, **SIZE)
    (reading,) = read_regions(scores, outcomes, patients)
    own = areas_of(scores, outcomes, "roi_only") - areas_of(scores, outcomes, "silhouette")
    np.testing.assert_allclose(reading.inside.contrast.fold_values, own)
    assert reading.inside.answer == "yes"


def test_where_nobody_else_was_tested_nothing_is_read(rng):
    for truth in ({"outline": 1.2}, {"inside": 1.4, "outside": 1.4}):
        scores, outcomes, patients = weak(rng, truth, others=False)
        (reading,) = read_regions(scores, outcomes, patients, fitted=fitted(outcomes, 3.0, rng))
        for found in (reading.inside, reading.outside):
            assert found.contrast.adjusted_p_value < 0.05
            assert found.answer == "inconclusive"
            assert "but no other models were tested on silhouettes" in found.reason


def test_models_that_do_not_fit_their_own_images_are_no_control(rng):
    scores, outcomes, patients = draw_study(rng, {"inside": 1.4}, **SIZE)
    (doubtful,) = read_regions(scores, outcomes, patients, fitted=fitted(outcomes, 0.5, rng))
    assert doubtful.inside.answer == "inconclusive"
    assert "but the silhouette's models have not learned: they reach 0.6" in doubtful.inside.reason
    (sound,) = read_regions(scores, outcomes, patients, fitted=fitted(outcomes, 3.0, rng))
    assert sound.inside.answer == "yes"  # they could fit, and found nothing that holds in new images


def test_a_gain_below_the_tolerance_may_be_luck_of_training():
    """A gain of 0.03 that is no chance among patients and folds is no answer either."""
    scores, outcomes, patients = draw_study(
        np.random.default_rng(3), {"outline": 1.2, "inside": 0.6}, strategies=NAMES, patients=2500, folds=10
    )
    (reading,) = read_regions(scores, outcomes, patients)
    assert 0 < reading.inside.contrast.difference < 0.05
    assert reading.inside.contrast.adjusted_p_value < 0.05
    assert reading.inside.answer == "inconclusive"
    assert reading.inside.reason.endswith("less than the 0.05 that matter: trainings may differ as much by luck")
    (finer,) = read_regions(scores, outcomes, patients, tolerance=0.01)
    assert finer.inside.answer == "yes"


def test_the_outline_is_not_excluded_where_others_read_it(rng):
    scores, outcomes, patients = draw_study(rng, {"outline": 1.2}, strategies=NAMES, patients=2500, folds=10)
    rows = of_condition(scores, "silhouette", "silhouette")
    scores.loc[rows, "ill"] = rng.normal(size=rows.sum())
    (reading,) = read_regions(scores, outcomes, patients)
    assert reading.outline.answer == "inconclusive"
    assert "but models trained otherwise tell silhouettes apart by 0.2" in reading.outline.reason
    own = scores[rows | (scores["evaluated_on"] != "silhouette")]
    assert read_regions(own, outcomes, patients)[0].outline.answer == "no"
