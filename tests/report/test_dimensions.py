# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from looked import explained

from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.attribution.measure import not_asked
from monai_shortcut.reader_study import ReaderStudy, StrategyReading
from monai_shortcut.region_study import ModelAttribution, RegionStudyRecord
from monai_shortcut.report.dimensions import dimensions, study_dimensions
from monai_shortcut.types import Estimate

FULL = RegionScore("malignant", "full", 50, Estimate(0.8, 0.75, 0.86), 0.001, 0.0, 1.0)
HIDDEN = replace(FULL, evaluated_on="without_roi", auc=Estimate(0.71, 0.64, 0.77), p_value=0.0123)


def told(scores, attribution=None, readers=None, without_roi=()):
    audit = SimpleNamespace(regions=RegionSensitivity("full", scores, {}), attribution=attribution, readers=readers)
    audit.without_roi = dict.fromkeys(without_roi, "roi must hold at least one pixel")
    return dimensions(audit)


def test_what_was_not_measured_says_so():
    assert told((FULL,)) == {
        "Region sensitivity": "Not measured: the audit has no region of interest (audit_roi_key).",
        "Interpretability": "Not measured: nobody asked where the model looks (audit_attribution).",
        "Clinical plausibility": "Not measured: nobody has read these images.",
    }


def test_regions_that_were_given_and_cannot_be_used_are_told_apart():
    said = "Not measured: too few images have a usable region (audit_roi_key)."
    assert told((FULL,), without_roi=["a"])["Region sensitivity"] == said


def test_each_dimension_is_told_with_its_uncertainty():
    full = StrategyReading("full", 4, 2, 4, (), auc=Estimate(0.9, 0.8, 1.0), model=Estimate(0.7, 0.6, 0.8), answer="no")
    study = ReaderStudy("t", "s", "q", ("a", "b"), ("R",), 5, (full, StrategyReading("without_roi", 4, 2, 4, ())))
    alone = replace(HIDDEN, evaluated_on="roi_only", p_value=0.5)
    found = told((FULL, HIDDEN, alone, replace(FULL, label="other")), not_asked("no mask"), study)
    assert found["Region sensitivity"] == (
        "malignant: AUC 0.80 (0.75 to 0.86) on full images, 0.71 (0.64 to 0.77) without the region (p 0.012), "
        "0.71 (0.64 to 0.77) with the region alone (p 0.500)."
    )
    assert found["Interpretability"] == "Not computed: no mask."
    assert found["Clinical plausibility"] == (
        "Does the model see what no reader sees? full: no (model 0.70 (0.60 to 0.80), readers 0.90 (0.80 to 1.00)); "
        "without roi: not measured."
    )


def test_a_region_study_is_told_by_models_trained_on_such_images():
    full = cell("full", "full", Estimate(0.8, 0.75, 0.86), None)
    hidden = cell("without_roi", "without_roi", Estimate(0.71, 0.64, 0.77), 0.0123)
    other = cell("full", "without_roi", Estimate(0.5, 0.4, 0.6), 0.001)
    none = study_dimensions(study(full))
    assert none == {
        "Region sensitivity": "Not measured: no model was trained without the region, or on it alone (strategies).",
        "Interpretability": "Not measured: nobody asked where the models look (attribution of RegionStudy).",
        "Clinical plausibility": "Not measured: nobody has read these images.",
    }
    read = ReaderStudy("t", "s", "q", ("a", "b"), ("R",), 5, (StrategyReading("full", 4, 2, 4, ()),))
    looked = (ModelAttribution("mass", 0, not_asked("no mask")), ModelAttribution("mass", 1, explained(0.25)))
    looked += (ModelAttribution("edema", 0, explained(0.5)), ModelAttribution("edema", 1, explained(0.25, "bad")))
    found = study_dimensions(study(full, other, hidden, attribution=looked, readers={"mass": read}))
    assert found["Region sensitivity"] == (
        "malignant: AUC 0.80 (0.75 to 0.86) on full images, 0.71 (0.64 to 0.77) without the region (p 0.012). "
        "Each by models trained on such images."
    )
    assert found["Interpretability"] == (
        "mass: Not computed: no mask. Outside in the models of other folds: 25 % (15 to 35). "
        "edema: 50 % (40 to 60) of what decides lies outside the region and the ring around it, which is 80 % of the "
        "image (exact Shapley values of the parts (hidden: mean), 9 images). The method passed its checks. "
        "Outside in the models of other folds: 25 % (15 to 35), no method passed its checks."
    )
    assert found["Clinical plausibility"] == "mass: Does the model see what no reader sees? full: not measured."


def cell(trained_on, evaluated_on, area, p_value):
    contrast = None if p_value is None else SimpleNamespace(adjusted_p_value=p_value)
    return SimpleNamespace(
        label="malignant",
        trained_on=trained_on,
        evaluated_on=evaluated_on,
        auc=area.value,
        interval=(area.low, area.high),
        to_full=contrast,
    )


def study(*cells, attribution=(), readers=None):
    matrix = SimpleNamespace(cells=cells)
    return RegionStudyRecord("t", (), None, matrix, (), attribution=attribution, readers=readers or {})


def test_they_stand_on_top_of_the_page(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.index("In short") < page.index("In three dimensions") < page.index("Clinical plausibility")
    assert page.index("Clinical plausibility") < page.index("Findings")
