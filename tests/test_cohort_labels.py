# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import Dataset, list_data_collate
from monai.transforms import EnsureTyped

from monai_shortcut.cohort import Cohort
from monai_shortcut.columns import finding_outcomes

PRESENT = {
    "edema": [1, 0, 0, 1, 0, 1],
    "effusion": [0, 0, 1, 1, None, 1],
    "mass": [0, 0, 0, 0, 0, 1],
}


@pytest.fixture
def cohort() -> Cohort:
    """Six images of three patients; edema is the label, effusion is unknown in one image."""
    levels = {
        name: [None if code is None else ("absent", "present")[code] for code in codes]
        for name, codes in PRESENT.items()
    }
    frame = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "patient_id": [1, 1, 2, 2, 3, 3],
            "image": [f"{name}.png" for name in "abcdef"],
            "age": [31.0, 32, 33, 34, 35, 36],
            **levels,
        }
    )
    cohort = Cohort.from_table(frame, label="edema", label_names=("absent", "present"), continuous=["age"])
    return replace(cohort, finding="edema")


def test_outcomes_are_ones_zeros_and_unknown(cohort):
    outcomes = cohort.outcomes(["mass", "edema", "effusion"])
    assert outcomes.columns.tolist() == ["mass", "edema", "effusion"]
    assert outcomes.index.tolist() == list("abcdef")
    for name in outcomes:
        expected = np.array([np.nan if code is None else code for code in PRESENT[name]], dtype=np.float64)
        np.testing.assert_array_equal(outcomes[name], expected)
        assert outcomes[name].dtype == np.float64


def test_another_finding_becomes_the_label_and_nothing_is_lost(cohort):
    changed = cohort.with_label("effusion")
    assert changed.image_ids == tuple("abcdf")
    assert changed.excluded == {"e": "effusion unknown"}
    assert changed.labels.tolist() == [0, 0, 1, 1, 1]
    assert changed.label_names == ("absent", "present")
    assert changed.finding == "effusion"
    assert changed.attributes == ("age", "mass", "edema")
    assert changed.values("edema").tolist() == ["present", "absent", "absent", "present", "present"]
    names = ["edema", "effusion", "mass"]
    pd.testing.assert_frame_equal(changed.outcomes(names), cohort.outcomes(names).drop("e"))
    with pytest.raises(ValueError, match=r"attribute must be one of the cohort's .*, got 'effusion'"):
        changed.values("effusion")
    back = changed.with_label("edema")
    pd.testing.assert_frame_equal(back.table, cohort.table.drop("e"), check_like=True)
    assert cohort.with_label("edema") is cohort
    assert cohort.attributes == ("age", "effusion", "mass")


def test_a_label_that_is_no_finding_needs_a_name_of_its_own(cohort):
    plain = Cohort.from_table(cohort.table.assign(label=["x", "y", "z", "x", "y", "z"]))
    with pytest.raises(ValueError, match=r"former must name the label \(x, y, z\), which is no finding\."):
        plain.with_label("mass")
    changed = plain.with_label("mass", former="shape")
    assert changed.values("shape").tolist() == ["x", "y", "z", "x", "y", "z"]
    assert changed.kind("shape") == "categorical"
    with pytest.raises(ValueError, match=r"name must be that of no other column, got 'age'"):
        plain.with_label("mass", former="age")


def test_outcomes_of_the_label_alone(cohort):
    assert cohort.outcomes().to_dict("list") == {"edema": [1, 0, 0, 1, 0, 1]}
    two = Cohort.from_table(cohort.table.assign(label=["b", "m", "m", "b", "b", "b"]))
    assert two.outcomes().to_dict("list") == {"m": [0, 1, 1, 0, 0, 0]}
    three = Cohort.from_table(cohort.table.assign(label=list("xyzzyx")))
    assert three.outcomes().to_dict("list") == {
        "x": [1, 0, 0, 0, 0, 1],
        "y": [0, 1, 0, 0, 1, 0],
        "z": [0, 0, 1, 1, 0, 0],
    }
    assert (three.outcomes().sum(axis=1) == 1).all()


def test_a_datalist_of_several_findings_holds_floats_in_order(cohort):
    known = cohort.exclude({"e": "effusion unknown"})
    items = known.datalist(findings=["effusion", "edema", "mass"])
    assert [item["label"] for item in items] == [
        [0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [1.0, 1.0, 0.0],
        [1.0, 1.0, 1.0],
    ]
    assert {type(value) for item in items for value in item["label"]} == {float}
    assert [item["label"] for item in known.datalist()] == [1, 0, 0, 1, 1]
    assert [item["label"] for item in known.datalist(findings="mass")] == [[0.0], [0.0], [0.0], [0.0], [1.0]]
    ready = Dataset(items, EnsureTyped("label", dtype=torch.float32))
    labels = list_data_collate([{"label": item["label"]} for item in ready])["label"]
    assert labels.dtype == torch.float32
    np.testing.assert_array_equal(labels.numpy(), known.outcomes(["effusion", "edema", "mass"]))


def test_unknown_findings_cannot_be_trained_on(cohort):
    with pytest.raises(ValueError, match=r"a value for effusion and mass, got 1 without: e\."):
        cohort.datalist(findings=["effusion", "mass"])


def test_what_is_no_finding_is_refused(cohort):
    with pytest.raises(ValueError, match=r"finding age must be absent or present, got numbers\."):
        cohort.outcomes(["age"])
    with pytest.raises(ValueError, match=r"attribute must be one of the cohort's .*, got 'nodule'"):
        cohort.outcomes(["nodule"])
    with pytest.raises(ValueError, match=r"findings must be unique, got 1 others: mass\."):
        cohort.outcomes(["mass", "edema", "mass"])
    with pytest.raises(ValueError, match=r"finding mass must be absent in some images and present in others"):
        cohort.select(["a", "b", "c"]).with_label("mass")
    with pytest.raises(ValueError, match=r"finding mass must be absent or present, got 1 others: maybe\."):
        finding_outcomes(["absent", "maybe", None], "mass")
