# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from monai.bundle import ConfigParser

from monai_shortcut.cohort import Cohort, attribute_levels

GRADES = ("none", "mild", "severe")


@pytest.fixture
def frame() -> pd.DataFrame:
    """Twelve images of six patients; a grade is missing in one, and so is a score."""
    return pd.DataFrame(
        {
            "image_id": list("abcdefghijkl"),
            "patient_id": np.arange(12) // 2,
            "label": ["sick", "well"] * 6,
            "image": [f"{name}.png" for name in "abcdefghijkl"],
            "grade": [
                "none",
                "severe",
                "mild",
                "none",
                None,
                "mild",
                "none",
                "severe",
                "mild",
                "none",
                "mild",
                "severe",
            ],
            "score": [10, 2, 9, np.nan, 2, 10, 9, 2, 10, 2, 9, 9],
            "mass": [0, 1] * 6,
            "edema": [0, 0, 1, 1] * 3,
        }
    )


def test_the_kind_of_an_attribute_is_kept_beside_the_table(frame):
    cohort = Cohort.from_table(frame, ordinal={"grade": GRADES}, categorical=["mass"])
    assert cohort.kinds == {"grade": "ordinal", "score": "categorical", "mass": "categorical", "edema": "categorical"}
    assert cohort.attributes == ("grade", "score", "mass", "edema")
    assert cohort.orders == {"grade": GRADES}
    assert cohort.values("grade").tolist() == [None if grade != grade else grade for grade in frame["grade"]]
    # A column looks the same whatever its kind is.
    other = replace(cohort, kinds={**cohort.kinds, "grade": "categorical"}, orders={})
    pd.testing.assert_frame_equal(other.table, cohort.table)
    assert [each.levels("grade", minimum_patients=1).names for each in (cohort, other)] == [
        GRADES,
        ("mild", "none", "severe"),
    ]


@pytest.mark.parametrize("ordinal", ["score", ["score"], {"score": (2, 9, 10)}, {"score": ["2", "9", "10", "11"]}])
def test_levels_that_are_numbers_order_themselves(frame, ordinal):
    cohort = Cohort.from_table(frame, ordinal=ordinal)
    assert cohort.kind("score") == "ordinal"
    assert cohort.orders["score"][:3] == ("2", "9", "10")
    levels = cohort.levels("score", minimum_patients=1)
    assert levels.names == ("2", "9", "10")
    expected = [-1 if np.isnan(value) else [2, 9, 10].index(value) for value in frame["score"]]
    assert levels.codes.tolist() == expected


def test_numbers_are_ordinal_where_they_would_be_continuous(frame):
    cohort = Cohort.from_table(frame.assign(stage=range(11, -1, -1)), ordinal="stage")
    assert cohort.kind("stage") == "ordinal"
    assert cohort.orders["stage"] == tuple(map(str, range(12)))
    assert Cohort.from_table(frame.assign(stage=range(12))).kind("stage") == "continuous"


def test_every_door_takes_kinds_and_every_change_keeps_them(frame, tmp_path):
    frame.to_csv(tmp_path / "cohort.csv", index=False)
    frame.drop(columns="label").to_csv(tmp_path / "findings.csv", index=False)
    items = [{key: value for key, value in row.items() if value == value} for row in frame.to_dict("records")]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": items[:4], "validation": items[4:]}))
    given = {"ordinal": {"grade": GRADES}}
    cohort = Cohort.from_csv(tmp_path / "cohort.csv", **given)
    cohorts = [
        cohort,
        Cohort.from_datalist(tmp_path / "datalist.json", **given),
        *Cohort.by_finding(tmp_path / "findings.csv", ["mass", "edema"], **given).values(),
        cohort.select(cohort.image_ids[::-2]),
        cohort.exclude({"a": "blurred"}),
        cohort.with_folds(2, seed=0).in_folds(1),
        cohort.with_attribute("dose", range(12), "continuous"),
        cohort.draw("grade", {"sick": {"mild": 2}, "well": {"severe": 3}}, seed=0),
        Cohort.from_csv(tmp_path / "findings.csv", findings=["mass", "edema"], **given).with_label("edema"),
    ]
    for each in cohorts:
        assert (each.kind("grade"), each.orders) == ("ordinal", {"grade": GRADES})
        assert each.levels("grade", minimum_patients=1).names == tuple(g for g in GRADES if g in each.values("grade"))


def test_a_config_names_kinds_by_keyword(frame, tmp_path):
    frame.assign(age=1).to_csv(tmp_path / "cohort.csv", index=False)
    config = {
        "_target_": "monai_shortcut.cohort.Cohort.from_csv",
        "path": str(tmp_path / "cohort.csv"),
        "continuous": ["age"],
        "categorical": ["mass"],
        "ordinal": {"grade": list(GRADES)},
    }
    cohort = ConfigParser({"cohort": config}).get_parsed_content("cohort")
    assert cohort.kinds == {
        "grade": "ordinal",
        "score": "categorical",
        "mass": "categorical",
        "edema": "categorical",
        "age": "continuous",
    }
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'nominal'"):
        Cohort.from_csv(tmp_path / "cohort.csv", nominal=["mass"])


def test_an_ordinal_attribute_can_be_added_and_become_the_label(frame):
    cohort = Cohort.from_table(frame).with_attribute("size", ["L", "S", "M"] * 4, "ordinal", ["S", "M", "L"])
    assert (cohort.kind("size"), cohort.orders) == ("ordinal", {"size": ("S", "M", "L")})
    assert cohort.levels("size", minimum_patients=1).codes.tolist() == [2, 0, 1] * 4
    assert cohort.with_attribute("dose", [3, 1, 20] * 4, "ordinal").orders["dose"] == ("1", "3", "20")
    assert cohort.with_attribute("dose", range(12), "continuous").kinds["dose"] == "continuous"
    shown = Cohort.from_table(frame).with_attribute("seen", ["present", "absent"] * 6, "ordinal", ["absent", "present"])
    changed = shown.with_label("seen", former="state")
    assert (changed.orders, changed.labels.tolist(), changed.kind("state")) == ({}, [1, 0] * 6, "categorical")


def test_levels_of_a_cohort_are_those_of_its_values(frame):
    cohort = Cohort.from_table(frame.assign(age=np.arange(12.0)), ordinal={"grade": GRADES})
    for name, options in (("age", {"bins": 2}), ("age", {"edges": [3, 8]}), ("grade", {}), ("mass", {})):
        expected = attribute_levels(
            cohort.values(name),
            cohort.patients,
            kind=cohort.kind(name),
            order=cohort.orders.get(name),
            minimum_patients=2,
            **options,
        )
        found = cohort.levels(name, minimum_patients=2, **options)
        assert found.codes.tolist() == expected.codes.tolist()
        assert (found.names, found.edges, found.kind) == (expected.names, expected.edges, cohort.kind(name))
    with pytest.raises(ValueError, match=r"attribute must be one of the cohort's .*, got 'sex'\."):
        cohort.levels("sex")


def test_the_summary_and_the_text_of_a_cohort_tell_the_kinds(frame):
    cohort = Cohort.from_table(frame, ordinal={"grade": GRADES}, continuous=["score"])
    assert cohort.summary().loc["grade"].tolist() == ["ordinal", 3, 1, "mild"]
    assert cohort.summary()["kind"].tolist() == ["ordinal", "continuous", "categorical", "categorical"]
    assert repr(cohort).endswith("attributes grade (ordinal), score (continuous), mass, edema)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ordinal": ["grade"]},
            r"ordinal attribute grade must hold numbers, or name the order of its levels, got 3 others: mild, none, ",
        ),
        (
            {"ordinal": {"grade": ["none", "mild"]}},
            r"ordinal attribute grade must hold levels of its order \(none, mild\), got 1 others: severe\.",
        ),
        (
            {"ordinal": {"grade": ["none", "mild", "mild", "severe"]}},
            r"the order of ordinal attribute grade must name each level once, got 1 repeated: mild\.",
        ),
        ({"ordinal": ["sex"]}, r"continuous, categorical, ordinal must name attributes \(.*\), got 1 others: sex\."),
        (
            {"ordinal": {"grade": GRADES}, "continuous": ["grade"]},
            r"an attribute must have one kind of continuous, categorical, ordinal, got 1 with several: grade\.",
        ),
    ],
)
def test_kinds_that_do_not_fit_are_refused(frame, options, message):
    with pytest.raises(ValueError, match=message):
        Cohort.from_table(frame, **options)


def test_an_order_needs_an_ordinal_attribute(frame):
    cohort = Cohort.from_table(frame)
    with pytest.raises(ValueError, match=r"order must be that of an ordinal .*, got \['a', 'b'\] for kind None\."):
        cohort.with_attribute("site", ["a", "b"] * 6, order=["a", "b"])
    with pytest.raises(ValueError, match=r"attribute site must hold levels of its order \(a\), got 1 others: b"):
        cohort.with_attribute("site", ["a", "b"] * 6, "ordinal", ["a"])
