# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from region_scores import PLAIN, draw_study, of_condition
from scipy.stats import ttest_1samp
from sklearn.metrics import roc_auc_score

from monai_shortcut.region_study import read_regions
from monai_shortcut.regions.strategies import STRATEGIES
from monai_shortcut.statistics.resampling import holm

INFORMATIVE = ("full", "without_roi", "roi_only", "silhouette", "shifted_roi", "swapped_roi")
SIZE = {"patients": 500, "folds": 5}
LARGE = {"patients": 2500, "folds": 10}  # what it takes to exclude a difference of 0.05


def answers(reading):
    return {source: getattr(reading, source).answer for source in ("inside", "outside", "outline")}


def sentence(reading, start):
    found = [text for text in reading.sentences if text.startswith(start)]
    assert len(found) == 1, reading.sentences
    return found[0]


def areas_of(scores, outcomes, trained_on, evaluated_on):
    own = scores[of_condition(scores, trained_on, evaluated_on)]
    return np.array([roc_auc_score(outcomes.loc[p["image_id"], "ill"], p["ill"]) for _, p in own.groupby("fold")])


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("source", ["inside", "outside", "outline"])
def test_the_one_part_that_tells_the_class_is_named(rng, source, same):
    study = draw_study(rng, {source: 1.4}, strategies=INFORMATIVE, same=same, **LARGE)
    (reading,) = read_regions(*study)
    expected = dict.fromkeys(("inside", "outside", "outline"), "no") | {source: "yes"}
    assert answers(reading) == expected


def test_where_the_class_shows_nowhere_and_everywhere(rng):
    (nowhere,) = read_regions(*draw_study(rng, {}, **LARGE))
    assert answers(nowhere) == {"inside": "no", "outside": "no", "outline": "no"}
    everywhere = draw_study(rng, {"inside": 1.0, "outside": 1.0, "outline": 0.8}, **SIZE)
    (reading,) = read_regions(*everywhere)
    assert answers(reading) == {"inside": "yes", "outside": "yes", "outline": "yes"}


@pytest.mark.parametrize("source", ["inside", "outside", "outline"])
def test_the_five_plain_strategies_cannot_tell_the_outline_from_its_surroundings(rng, source):
    """The outline alone gives the five the same areas as the surroundings and the inside together would."""
    (reading,) = read_regions(*draw_study(rng, {source: 1.4}, strategies=PLAIN, **SIZE))
    assert set(answers(reading).values()) == {"inconclusive"}
    assert reading.outline.reason == "no model was trained and tested on silhouette"
    assert reading.outside.reason.endswith("so that the surroundings cannot be told from the outline")
    left = sentence(reading, "Without the region")
    assert "how much of that is the outline of the hole cannot be told" in left
    assert reading.outside.contrast is None


def test_the_contrasts_that_decide_are_of_retrained_models_and_adjusted(rng):
    scores, outcomes, patients = draw_study(rng, {"outside": 0.7}, patients=150, folds=4)
    (reading,) = read_regions(scores, outcomes, patients)
    diagonal = {name: areas_of(scores, outcomes, name, name) for name in ("without_roi", "roi_only", "silhouette")}
    readers = [areas_of(scores, outcomes, name, "silhouette") for name in STRATEGIES if name != "silhouette"]
    known = [diagonal["silhouette"], *(folds if folds.mean() >= 0.5 else 1 - folds for folds in readers)]
    values = {"outline": [diagonal["silhouette"] - 0.5]}
    for source, name in (("outside", "without_roi"), ("inside", "roi_only")):
        values[source] = [diagonal[name] - folds for folds in known]
    found = {source: getattr(reading, source).contrast for source in values}
    for source, contrast in found.items():
        near = [np.allclose(contrast.fold_values, folds, atol=1e-12) for folds in values[source]]
        assert any(near)
        assert contrast.difference == pytest.approx(values[source][near.index(True)].mean())
        between = ttest_1samp(contrast.fold_values, 0).pvalue
        assert contrast.p_value >= between - 1e-9
        assert contrast.retrained
    np.testing.assert_allclose([c.adjusted_p_value for c in found.values()], holm([c.p_value for c in found.values()]))
    least = min(folds.mean() for folds in values["outside"])
    assert found["outside"].difference <= least + 0.02  # the most doubtful gain, which is about the least


def test_an_outline_that_tells_everything_leaves_no_room(rng):
    """Equal to within the tolerance is no more than the outline, and the reading says that there was no room."""
    (reading,) = read_regions(*draw_study(rng, {"outline": 4.0, "inside": 1.0}, **SIZE))
    assert reading.outline.answer == "yes"
    assert reading.outside.answer == "no"
    assert (
        "the outline leaves room for no more than 0.01, so the surroundings may tell the same again"
        in reading.outside.reason
    )
    scores, outcomes, patients = draw_study(rng, {"outline": 4.0}, patients=40, folds=3)
    rows = of_condition(scores, "without_roi", "without_roi")
    scores.loc[rows, "ill"] += 4 * rng.normal(size=rows.sum())
    (doubtful,) = read_regions(scores, outcomes, patients)
    assert doubtful.outside.answer == "inconclusive"
    assert "leaves room for" in doubtful.outside.reason


def test_models_that_have_not_learned_the_outline_say_nothing_about_the_rest(rng):
    scores, outcomes, patients = draw_study(rng, {"outline": 1.5}, **SIZE)
    rows = of_condition(scores, "roi_only", "roi_only")
    scores.loc[rows, "ill"] += 4 * rng.normal(size=rows.sum())
    (reading,) = read_regions(scores, outcomes, patients)
    assert reading.inside.contrast.interval[1] < -0.05
    assert reading.inside.answer == "inconclusive"
    assert reading.inside.reason.endswith("they see the outline too, and have not learned it as well")
    assert reading.outside.answer == "no"


def test_few_images_are_inconclusive(rng):
    (reading,) = read_regions(*draw_study(rng, {"outside": 0.3}, patients=30, folds=3))
    assert set(answers(reading).values()) == {"inconclusive"}
    assert reading.outline.reason.endswith("which may be chance or not")


def test_a_silhouette_below_chance_is_no_evidence_for_the_outline(rng):
    scores, outcomes, patients = draw_study(rng, {"outline": 1.5}, **SIZE)
    rows = of_condition(scores, "silhouette", "silhouette")
    scores.loc[rows, "ill"] *= -1
    (reading,) = read_regions(scores, outcomes, patients)
    assert reading.outline.answer == "inconclusive"
    assert "below chance" in reading.outline.reason


def test_sentences_say_what_is_left_and_how_much_of_it_is_the_outline(rng):
    scores, outcomes, patients = draw_study(rng, {"outside": 1.0, "outline": 0.7}, **SIZE)
    (reading,) = read_regions(scores, outcomes, patients)
    left = areas_of(scores, outcomes, "without_roi", "without_roi").mean()
    outline = areas_of(scores, outcomes, "silhouette", "silhouette").mean()
    text = sentence(reading, "Without the region")
    assert f"models trained so reach {left:.2f} (" in text
    assert f"its silhouette alone reaches {outline:.2f} (" in text
    assert f"Of the {left - 0.5:.2f} above chance that are left, {outline - 0.5:.2f} can be the outline." in text
    (only_outline,) = read_regions(*draw_study(np.random.default_rng(1), {"outline": 1.0}, **SIZE))
    assert "outline" in sentence(only_outline, "Without the region")
    (nothing,) = read_regions(*draw_study(rng, {"inside": 1.0}, **SIZE))
    assert sentence(nothing, "Without the region").endswith("What is left cannot be told from chance.")
    counts = f"in {len(outcomes)} images of 500 patients."
    assert sentence(reading, "Models of full images reach").endswith(counts)


def test_hiding_the_region_is_held_against_hiding_as_much_elsewhere(rng):
    scores, outcomes, patients = draw_study(rng, {"inside": 1.2, "outside": 0.5}, strategies=INFORMATIVE, **SIZE)
    (reading,) = read_regions(scores, outcomes, patients)
    for control, words in (
        ("shifted_roi", "the same shape elsewhere in the image"),
        ("swapped_roi", "another patient's region"),
    ):
        extra = reading.contrasts[f"full, {control} against full, without_roi"]
        expected = areas_of(scores, outcomes, "full", control) - areas_of(scores, outcomes, "full", "without_roi")
        np.testing.assert_allclose(extra.fold_values, expected, atol=1e-12)
        text = next(t for t in reading.sentences if t.startswith("Models of full images lose") and words in t)
        assert f"they need the region more, by {extra.difference:.2f} (" in text
    swapped = {"shifted_roi": "without_roi", "without_roi": "shifted_roi"}
    crossed = scores.assign(evaluated_on=scores["evaluated_on"].replace(swapped))
    rows = crossed["trained_on"] == "full"
    (less,) = read_regions(pd.concat([crossed[rows], scores[~rows]]), outcomes, patients)
    assert any("they need the region less, by " in text for text in less.sentences)
    (outside_only,) = read_regions(*draw_study(rng, {"outside": 1.2}, strategies=INFORMATIVE, **SIZE))
    assert any("it is not shown that they need the region more" in text for text in outside_only.sentences)


def test_what_the_metadata_know_and_boxes_tell_is_said(rng):
    scores, outcomes, patients = draw_study(rng, {"outside": 1.2, "inside": 1.0}, **SIZE)
    rows = scores[of_condition(scores, "full", "full")]
    metadata = rows.assign(ill=scores["image_id"].map(outcomes["ill"]) + 2 * rng.normal(size=len(scores)))
    (reading,) = read_regions(scores, outcomes, patients, metadata=metadata)
    known = np.mean([roc_auc_score(outcomes.loc[p["image_id"], "ill"], p["ill"]) for _, p in metadata.groupby("fold")])
    gain = reading.contrasts["full against metadata"].difference
    text = sentence(reading, "The metadata alone")
    assert f"reach {known:.2f} (" in text
    assert f"full images tell {gain:.2f} (" in text
    boxes = sentence(reading, "Against the silhouette of its box")
    assert boxes.endswith("Hiding the box also hides the surroundings near the region.")
    assert set(reading.contrasts) > {"without_roi_box against box_silhouette", "roi_box_only against box_silhouette"}
    (without,) = read_regions(scores, outcomes, patients)
    assert sentence(without, "What the metadata know was not measured.")


def test_labels_are_read_one_by_one(rng):
    scores, outcomes, patients = draw_study(
        rng, {"outside": 1.4}, labels=("ill", "old"), strategies=INFORMATIVE, **SIZE
    )
    outcomes["old"] = rng.permutation(outcomes["old"].to_numpy())
    first, second = read_regions(scores, outcomes, patients)
    assert (first.label, first.outside.answer) == ("ill", "yes")
    assert (second.label, second.outside.answer == "yes") == ("old", False)


def test_a_label_that_too_few_patients_have_is_inconclusive(rng):
    scores, outcomes, patients = draw_study(rng, {"outside": 1.0}, patients=30)
    (reading,) = read_regions(scores, outcomes.assign(ill=0.0), patients)
    assert set(answers(reading).values()) == {"inconclusive"}
    assert reading.outline.reason.startswith("too few patients: fold 0: needs 2 patients of each class")
    assert sentence(reading, "What is left without the region is unknown: too few patients")


@pytest.mark.slow
def test_two_networks_that_learned_the_same_are_not_read_as_information():
    """With models that differ by luck, "yes" for the surroundings of an outline-only class stays rare."""
    wrong = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores, outcomes, patients = draw_study(rng, {"outline": 1.2}, strategies=("without_roi", "silhouette"), **SIZE)
        keys = scores[["trained_on", "fold"]].apply(tuple, axis=1)
        spread = {key: rng.uniform(0.3, 2.0) for key in sorted(set(keys))}
        scores["ill"] += keys.map(spread) * rng.normal(size=len(scores))
        (reading,) = read_regions(scores, outcomes, patients)
        wrong.append(reading.outside.answer == "yes")
    assert np.mean(wrong) <= 0.1


def test_a_tolerance_that_makes_no_sense_is_refused(rng):
    with pytest.raises(ValueError, match=r"tolerance must be in \(0, 0.5\), got 0.5"):
        read_regions(*draw_study(rng, {}, patients=20, strategies=("full",)), tolerance=0.5)
