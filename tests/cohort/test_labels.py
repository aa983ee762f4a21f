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

from monai_shortcut.cohort.columns import finding_outcomes
from monai_shortcut.cohort.table import Cohort

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


def test_columns_of_findings_make_a_cohort_of_several_labels(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text(
        "image_id,patient_id,sex,edema,mass\n01,7,F,0,1\n02,7,F,1,\n03,8,M,1,0\n04,9,M,,1\n05,9,M,0,1\n",
        encoding="utf-8",
    )
    read = Cohort.from_csv(path, findings=["mass", "edema"])
    assert read.finding == "mass"
    assert read.label_names == ("absent", "present")
    assert read.image_ids == ("01", "03", "04", "05")
    assert read.excluded == {"02": "label missing"}
    assert read.attributes == ("sex", "edema")
    assert read.labels.tolist() == [1, 0, 1, 1]
    assert read.values("edema").tolist() == ["absent", "present", None, "absent"]
    other = read.with_label("edema")
    assert other.image_ids == ("01", "03", "05")
    assert other.labels.tolist() == [0, 1, 0]
    assert other.excluded == {"02": "label missing", "04": "edema unknown"}
    several = Cohort.by_finding(path, ["mass", "edema"])
    assert {name: cohort.image_ids for name, cohort in several.items()} == {
        "mass": ("01", "03", "04", "05"),
        "edema": ("01", "02", "03", "05"),
    }
    assert several["edema"].labels.tolist() == [0, 1, 1, 0]
    assert several["edema"].attributes == ("sex", "mass")
    path.write_text(
        path.read_text(encoding="utf-8").replace("0,1\n", "0,0\n").replace(",1\n", ",0\n"), encoding="utf-8"
    )
    assert list(Cohort.by_finding(path, ["mass", "edema"])) == ["edema"]
    asked = Cohort.from_csv(path, findings=["edema", "mass"], attributes=["sex"])
    assert asked.attributes == ("sex", "mass")


@pytest.mark.parametrize(
    "values", [[0, 1, 1], [False, True, True], ["absent", "present", "present"], [0.0, 1.0, 1.0], ["0", "1", "True"]]
)
def test_a_finding_may_be_written_in_several_ways(values):
    frame = pd.DataFrame({"image_id": ["a", "b", "c"], "patient_id": [1, 2, 3], "mass": values})
    assert Cohort.from_table(frame, findings="mass").labels.tolist() == [0, 1, 1]


def test_other_values_in_a_column_of_a_finding_are_refused():
    frame = pd.DataFrame({"image_id": ["a", "b"], "patient_id": [1, 2], "mass": [0, 2]})
    with pytest.raises(ValueError, match=r"finding mass must be absent or present, got 1 others: 2\."):
        Cohort.from_table(frame, findings=["mass"])
    with pytest.raises(ValueError, match=r"columns must be among those of the table .*, got 1 absent: edema\."):
        Cohort.from_table(frame, findings=["edema"])
