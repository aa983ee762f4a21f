# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.phantom.marks import planted_levels


@pytest.fixture
def frame() -> pd.DataFrame:
    """120 images, two of each patient; the label is the patient's."""
    number = np.arange(120)
    return pd.DataFrame(
        {
            "image_id": [f"img{i:03d}" for i in number],
            "patient_id": [f"p{i // 2:02d}" for i in number],
            "label": np.where(number // 2 % 3 == 0, "malignant", "benign"),
            "image": [f"images/{i}.png" for i in number],
            "roi": [f"masks/{i}.png" for i in number],
            "device": np.where(number % 5 == 0, "A", "B"),
            "age": 30 + number / 2,
        }
    )


def with_value(frame: pd.DataFrame, column: str, rows: list[int], value: object) -> pd.DataFrame:
    values = frame[column].astype(object)
    values.iloc[rows] = value
    return frame.assign(**{column: values})


def test_each_image_keeps_its_patient_label_and_values(frame):
    cohort = Cohort.from_table(frame)
    assert cohort.image_ids == tuple(frame["image_id"])
    assert cohort.patients.tolist() == frame["patient_id"].tolist()
    assert cohort.label_names == ("benign", "malignant")
    assert cohort.labels.dtype == np.int64
    np.testing.assert_array_equal(cohort.labels, (frame["label"] == "malignant").astype(int))
    assert cohort.attributes == ("device", "age")
    assert cohort.values("device").tolist() == frame["device"].tolist()
    np.testing.assert_array_equal(cohort.values("age"), frame["age"])
    assert len(cohort) == 120
    assert repr(cohort) == (
        "Cohort(120 images of 60 patients, 0 excluded, labels benign, malignant, attributes device, age (continuous))"
    )


def test_a_cohorts_own_table_makes_the_same_cohort(frame):
    cohort = Cohort.from_table(frame).with_folds(3, seed=0)
    pd.testing.assert_frame_equal(Cohort.from_table(cohort.table).table, cohort.table, check_like=True)


def test_columns_may_have_other_names(frame):
    frame = frame.assign(site=3).rename(columns={"image_id": "file", "patient_id": "case", "label": "dx"})
    names = {"image_id": "file", "patient_id": "case", "label": "dx", "image": "file", "roi": None, "fold": None}
    cohort = Cohort.from_table(frame, attributes="site", **names)
    assert cohort.table["image"].tolist() == list(cohort.image_ids) == frame["file"].tolist()
    assert cohort.attributes == ("site",)
    assert set(cohort.values("site")) == {"3"}


@pytest.mark.parametrize(
    ("labels", "names", "codes"),
    [
        ([10, 9, 2], ("2", "9", "10"), [2, 1, 0]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (["b", "a ", "b"], ("a", "b"), [1, 0, 1]),
    ],
)
def test_labels_are_sorted_as_numbers_where_they_are_numbers(frame, labels, names, codes):
    cohort = Cohort.from_table(frame.head(3).assign(label=labels))
    assert cohort.label_names == names
    assert cohort.labels.tolist() == codes


def test_label_names_give_the_order_of_the_outputs(frame):
    names = ("normal", "malignant", "benign")
    cohort = Cohort.from_table(frame, label_names=names)
    assert [names[code] for code in cohort.labels] == frame["label"].tolist()


@pytest.mark.parametrize("labels", [[0, 1, 1], [False, True, True], [0.0, 1.0, 1.0]])
def test_integer_labels_are_indices_into_label_names(frame, labels):
    cohort = Cohort.from_table(frame.head(3).assign(label=labels), label_names=("sick", "healthy"))
    assert cohort.table["label"].tolist() == ["sick", "healthy", "healthy"]
    assert cohort.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("missing", ["", "  ", None, np.nan, pd.NA, pd.NaT])
def test_every_way_of_missing_is_one(frame, missing):
    changed = with_value(
        with_value(with_value(frame, "device", [1, 4], missing), "age", [2], missing), "roi", [3], missing
    )
    cohort = Cohort.from_table(changed)
    assert [i for i, value in enumerate(cohort.values("device")) if value is None] == [1, 4]
    assert np.flatnonzero(np.isnan(cohort.values("age"))).tolist() == [2]
    assert cohort.kind("age") == "continuous"
    assert cohort.select(cohort.image_ids[::-1]).values("device")[-2] is None
    with pytest.raises(ValueError, match=r"path for image and roi \(or use roi=False\), got 1 without: img003\."):
        cohort.datalist()
    assert len(cohort.datalist(roi=False)) == 120


def test_rows_without_label_or_path_are_excluded_with_a_reason(frame):
    changed = with_value(with_value(frame, "label", [0, 7], None), "image", [7, 8], "")
    cohort = Cohort.from_table(changed)
    assert cohort.excluded == {
        "img000": "label missing",
        "img007": "label missing",
        "img008": "image path missing",
    }
    assert len(cohort) == 117
    assert not set(cohort.excluded) & set(cohort.image_ids)


def test_kinds_follow_the_values_unless_told(frame):
    number = np.arange(120)
    changed = frame.assign(
        few=number % 10, many=number % 11, score=(number % 4).astype(float), flag=number % 2 == 0, code=number % 11
    )
    cohort = Cohort.from_table(changed, continuous=["few"], categorical="code")
    expected = {"few": "continuous", "many": "continuous", "score": "categorical", "flag": "categorical"}
    assert {name: cohort.kind(name) for name in expected} == expected
    assert cohort.values("code").tolist() == [str(i % 11) for i in number]
    assert cohort.values("score").tolist() == [str(i % 4) for i in number]
    assert set(cohort.values("flag")) == {"True", "False"}
    np.testing.assert_array_equal(cohort.values("few"), number % 10)


def test_infinity_is_a_missing_number_and_lists_are_text(frame):
    changed = frame.assign(age=[np.inf, -np.inf, *range(118)], box=[[1, 2]] * 120)
    cohort = Cohort.from_table(changed)
    assert np.isnan(cohort.values("age")[:2]).all()
    assert set(cohort.values("box")) == {"[1, 2]"}


def test_rare_and_numerous_categories_are_kept(frame):
    frame = pd.concat([frame.assign(image_id=frame["image_id"] + str(i)) for i in range(5)], ignore_index=True)
    values = [f"v{i}" for i in range(600)]
    cohort = Cohort.from_table(frame.assign(scanner=values, rare=["one"] + ["other"] * 599))
    assert cohort.values("scanner").tolist() == values
    assert cohort.values("rare").tolist().count("one") == 1
    summary = cohort.summary()
    assert summary.loc["scanner"].tolist() == ["categorical", 600, 0, "v0"]
    assert summary.loc["rare"].tolist() == ["categorical", 2, 0, "other"]


def test_summary_counts_by_hand(frame):
    ages = [40.5] * 3 + [None] * 4 + [float(i) for i in range(113)]
    cohort = Cohort.from_table(frame.assign(age=ages, nothing=None))
    summary = cohort.summary()
    assert list(summary.columns) == ["kind", "values", "missing", "most_common"]
    assert summary.loc["device"].tolist() == ["categorical", 2, 0, "B"]
    assert summary.loc["age"].tolist() == ["continuous", 114, 4, "40.5"]
    assert summary.loc["nothing", ["kind", "values", "missing"]].tolist() == ["categorical", 0, 120]
    assert summary.index.tolist() == ["device", "age", "nothing"]


def test_select_reorders_rows_together(frame):
    cohort = Cohort.from_table(frame).select(["img007", "img000", "img003"])
    assert cohort.image_ids == ("img007", "img000", "img003")
    assert cohort.patients.tolist() == ["p03", "p00", "p01"]
    assert cohort.values("age").tolist() == [33.5, 30.0, 31.5]
    assert cohort.labels.tolist() == [1, 1, 0]


def test_exclude_remembers_and_leaves_the_first_cohort_alone(frame):
    before = Cohort.from_table(with_value(frame, "label", [5], None))
    after = before.exclude({"img001": "blurred"}).exclude({"img002": "burnt in"})
    assert after.excluded == {"img005": "label missing", "img001": "blurred", "img002": "burnt in"}
    assert len(after) == 117
    assert len(before) == 119
    assert before.excluded == {"img005": "label missing"}


def test_folds_keep_patients_whole_and_labels_even(frame):
    cohort = Cohort.from_table(frame).with_folds(5, seed=1)
    folds_of = {}
    for patient, fold in zip(cohort.patients, cohort.table["fold"], strict=True):
        folds_of.setdefault(patient, set()).add(fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    for fold in range(5):
        part = cohort.in_folds(fold)
        assert set(part.table["fold"]) == {fold}
        assert abs(len(part) - 24) <= 2
        assert abs(part.labels.mean() - 1 / 3) < 0.05
    assert len(cohort.in_folds(0, 3)) == len(cohort.in_folds(0)) + len(cohort.in_folds(3))


def test_folds_do_not_move_with_the_order_of_the_rows_and_names_of_patients(frame, rng):
    """The same table, shuffled, its patients called otherwise."""
    names = {name: f"x{number}" for number, name in enumerate(rng.permutation(frame["patient_id"].unique()))}
    other = frame.assign(patient_id=frame["patient_id"].map(names)).sample(frac=1, random_state=1)
    first, again = (Cohort.from_table(each).with_folds(3, seed=0).table["fold"] for each in (frame, other))
    assert again.index.tolist() != first.index.tolist()
    assert again[first.index].tolist() == first.tolist()


def test_folds_depend_on_the_seed_only(frame):
    cohort = Cohort.from_table(frame)
    first, again, other = (cohort.with_folds(4, seed).table["fold"].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert "fold" not in cohort.table


def test_datalist_holds_only_plain_values(frame):
    items = Cohort.from_table(with_value(frame, "device", [0], None)).datalist()
    assert items[1] == {"image": "images/1.png", "roi": "masks/1.png", "label": 1, "image_id": "img001"}
    assert {type(value) for item in items for value in item.values()} == {str, int}
    assert set(Cohort.from_table(frame, roi=None, attributes=()).datalist()[0]) == {"image", "label", "image_id"}


def test_csv_and_datalist_round_trip(frame, tmp_path):
    frame = frame.assign(patient_id=[f"{i // 2:03d}" for i in range(120)], image=str(tmp_path) + "/" + frame["image"])
    cohort = Cohort.from_table(with_value(frame, "device", [3], None), root=tmp_path).with_folds(3, 0)
    cohort.table.to_csv(tmp_path / "cohort.csv")
    from_csv = Cohort.from_csv(tmp_path / "cohort.csv")
    assert (from_csv.source, from_csv.in_folds(0).source, cohort.source) == ("cohort.csv", "cohort.csv", "")
    pd.testing.assert_frame_equal(from_csv.table, cohort.table, check_like=True)

    rows = [
        {**item, "patient_id": patient} for item, patient in zip(from_csv.datalist(), from_csv.patients, strict=True)
    ]
    (tmp_path / "datalist.json").write_text(json.dumps({"training": rows}))
    from_json = Cohort.from_datalist(tmp_path / "datalist.json", label_names=cohort.label_names)
    assert from_json.datalist() == cohort.datalist()
    assert from_json.patients.tolist() == [f"{i // 2:03d}" for i in range(120)]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert Cohort.from_datalist(tmp_path / "list.json", label_names=cohort.label_names).datalist() == cohort.datalist()


def test_relative_paths_start_from_the_file_or_the_root(frame, tmp_path):
    frame.assign(image=["/data/0.png", *frame["image"][1:]]).to_csv(tmp_path / "c.csv", index=False)
    images = Cohort.from_csv(tmp_path / "c.csv").table["image"]
    assert images.iloc[:2].tolist() == [str(Path("/data/0.png")), str(tmp_path / "images" / "1.png")]
    assert Cohort.from_csv(tmp_path / "c.csv", root="/x").table["roi"].iloc[1] == str(Path("/x/masks/1.png"))


def test_untidy_paths_start_from_the_root_as_pathlib_joins_them(frame):
    odd = ["./a.png", "x//a.png", "x/./a.png", "../a.png", "/b/./a.png", "/b/a.png", "x/", ".", "..a/.b", "x/.a.png"]
    for root in ("/data", "data/c", ".", "./c//d", ".."):
        cohort = Cohort.from_table(frame.head(10).assign(image=odd), root=root)
        assert cohort.table["image"].tolist() == [str(Path(root, path)) for path in odd]


def test_sections_of_a_datalist_are_joined_or_chosen():
    items = [{"image": f"{i}.png", "label": i % 2, "case": i} for i in range(6)]
    content = {"name": "x", "training": items[:4], "validation": items[4:], "test": ["7.png"]}
    names = {"image_id": "image", "patient_id": "case"}
    cohort = Cohort.from_datalist(content, **names)
    assert cohort.values("section").tolist() == ["training"] * 4 + ["validation"] * 2
    one = Cohort.from_datalist(content, section="validation", **names)
    assert one.image_ids == ("4.png", "5.png")
    assert one.attributes == ()
    with pytest.raises(ValueError, match=r"got section test; present: training, validation\."):
        Cohort.from_datalist(content, section="test", **names)
    with pytest.raises(ValueError, match=r"lists of dictionaries in the datalist; present: none, its keys are name\."):
        Cohort.from_datalist({"name": "x"})


def test_a_cohort_can_be_pickled(frame):
    cohort = Cohort.from_table(frame)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(cohort)).table, cohort.table)


def test_a_cohort_is_drawn_to_a_table(frame):
    cohort = Cohort.from_table(with_value(frame, "device", [7, 8], None)).with_folds(3, seed=0).exclude({"img003": "x"})
    table = {"malignant": {"A": 4, "B": 12}, "benign": {"B": 30}}
    drawn = cohort.draw("device", table, seed=3)
    assert Counter(zip(drawn.table["label"], drawn.values("device"), strict=True)) == {
        ("malignant", "A"): 4,
        ("malignant", "B"): 12,
        ("benign", "B"): 30,
    }
    assert (drawn.attributes, drawn.label_names, drawn.excluded) == (
        cohort.attributes,
        cohort.label_names,
        cohort.excluded,
    )
    rows = [image for image in cohort.image_ids if image in set(drawn.image_ids)]
    pd.testing.assert_frame_equal(drawn.table, cohort.table.loc[rows])  # rows as they were, in their order
    assert drawn.image_ids == cohort.draw("device", table, seed=3).image_ids
    assert drawn.image_ids != cohort.draw("device", table, seed=4).image_ids


def test_a_draw_keeps_patients_together_where_counts_allow(frame):
    cohort = Cohort.from_table(frame.assign(device=np.where(np.arange(120) // 2 % 5 == 0, "A", "B")))
    for count, alone in ((20, 0), (21, 1)):
        drawn = cohort.draw("device", {"benign": {"B": count}, "malignant": {"A": 4}}, seed=1)
        images = Counter(drawn.patients.tolist())
        assert sum(number == 1 for number in images.values()) == alone


def test_impossible_draws_are_refused(frame):
    cohort = Cohort.from_table(frame)
    with pytest.raises(ValueError, match=r"must be categorical or ordinal to be drawn by its levels, got 'age'\."):
        cohort.draw("age", {"benign": {"A": 1}}, seed=0)
    with pytest.raises(ValueError, match=r"attribute must be one of the cohort's \(device, age\), got 'site'\."):
        cohort.draw("site", {"benign": {"A": 1}}, seed=0)
    with pytest.raises(
        ValueError,
        match=r"table must ask for at most the images there are, got 300 of benign / A where there are 16\.",
    ):
        cohort.draw("device", {"benign": {"A": 300}}, seed=0)


@pytest.mark.parametrize(
    "values",
    [
        ["present", "absent", None, "absent"] * 30,
        [1.0, 2.0, np.nan, 1.0] * 30,
        [0, 1, 1, 0] * 30,
        [True, False, False, True] * 30,
        [" a", "a ", "", "b"] * 30,
        list(range(120)),
        [None, *np.linspace(0, 1, 119)],
        [None] * 120,
    ],
)
@pytest.mark.parametrize("kind", [None, "categorical"])
def test_an_attribute_is_added_as_if_it_had_been_in_the_table(frame, values, kind):
    cohort = Cohort.from_table(frame)
    wider = cohort.with_attribute("site", values, kind)
    listed = () if kind is None else ("site",)
    expected = Cohort.from_table(frame.assign(site=pd.Series(values, dtype=object)), categorical=listed)
    pd.testing.assert_frame_equal(wider.table, expected.table)
    assert wider.attributes == expected.attributes == ("device", "age", "site")
    assert wider.kind("site") == expected.kind("site")
    assert "site" not in cohort.table


def test_an_added_attribute_goes_with_its_images(frame):
    cohort = Cohort.from_table(frame)
    levels = planted_levels(cohort.labels, cohort.image_ids, 0.5, seed=2)
    tagged = cohort.with_attribute("tag", levels)
    assert tagged.kind("tag") == "categorical"
    np.testing.assert_array_equal(tagged.select(cohort.image_ids[::-1]).values("tag"), levels[::-1])
    assert set(tagged.draw("tag", {"benign": {"present": 5}}, seed=0).values("tag")) == {"present"}
    numbers = tagged.with_attribute("dose", [1, 2] * 60, "continuous")
    assert (numbers.kind("dose"), numbers.values("dose").dtype) == ("continuous", np.float64)


def test_wrong_attributes_are_not_added(frame):
    cohort = Cohort.from_table(frame).with_attribute("tag", ["a", "b"] * 60)
    for name in ("tag", "device", "label", "image_id", "fold"):
        with pytest.raises(ValueError, match=rf"name must be that of no other column, got '{name}'\."):
            cohort.with_attribute(name, range(120))
    with pytest.raises(ValueError, match=r"values must be one for each of the 120 images, got 2\."):
        cohort.with_attribute("dose", [1, 2])
    with pytest.raises(ValueError, match=r"kind must be one of categorical, ordinal, continuous, got 'nominal'\."):
        cohort.with_attribute("dose", [1] * 120, "nominal")
    with pytest.raises(ValueError, match=r"attribute dose must hold numbers to be continuous, got 120 others: x, x,"):
        cohort.with_attribute("dose", ["x"] * 120, "continuous")


def test_every_image_gets_the_region_of_another_patient(frame):
    cohort = Cohort.from_table(frame)
    owner = dict(zip(frame["roi"], frame["patient_id"], strict=True))
    swapped = cohort.with_swapped_roi(seed=0)
    for patient, path in zip(swapped.patients, swapped.table["swapped_roi"], strict=True):
        assert owner[path] != patient
    pd.testing.assert_frame_equal(swapped.table.drop(columns="swapped_roi"), cohort.table)
    assert "swapped_roi" not in cohort.table
    again, other = (cohort.with_swapped_roi(seed).table["swapped_roi"].tolist() for seed in (0, 1))
    assert swapped.table["swapped_roi"].tolist() == again != other
    assert swapped.with_swapped_roi(1).table["swapped_roi"].tolist() == other


def test_regions_of_others_are_drawn_with_equal_chances():
    patients = ["b", "a", "b", "c", "b", "d", "a"]
    frame = pd.DataFrame(
        {
            "image_id": range(7),
            "patient_id": patients,
            "label": [0, 1] * 3 + [0],
            "image": [f"{i}.png" for i in range(7)],
            "roi": [None if i == 5 else f"{i}" for i in range(7)],
        }
    )
    cohort = Cohort.from_table(frame)
    draws = np.stack([cohort.with_swapped_roi(seed).table["swapped_roi"].astype(int) for seed in range(2000)])
    for image, patient in enumerate(patients):
        allowed = [i for i in range(7) if patients[i] != patient and i != 5]  # image 5 has no region to give
        found, counts = np.unique(draws[:, image], return_counts=True)
        assert found.tolist() == allowed
        assert chisquare(counts).pvalue > 0.001
    assert abs(np.corrcoef(draws[:, 0], draws[:, 2])[0, 1]) < 0.1  # images of one patient are drawn apart


def test_the_datalist_holds_the_swapped_regions(frame, tmp_path):
    cohort = Cohort.from_table(frame, root=tmp_path).with_swapped_roi(seed=3)
    for item, path in zip(cohort.datalist(), cohort.table["swapped_roi"], strict=True):
        assert list(item) == ["image", "roi", "swapped_roi", "label", "image_id"]
        assert item["swapped_roi"] == path != item["roi"]
    assert list(cohort.datalist(roi=False)[0]) == ["image", "label", "image_id"]
    cohort.table.to_csv(tmp_path / "cohort.csv")
    again = Cohort.from_csv(tmp_path / "cohort.csv")
    assert again.datalist() == cohort.datalist()
    assert again.attributes == cohort.attributes == ("device", "age")
    moved = Cohort.from_table(frame.assign(swapped_roi=frame["roi"]), root="/data")
    assert moved.table["swapped_roi"].tolist() == moved.table["roi"].tolist()


def test_regions_are_not_swapped_within_one_patient(frame):
    with pytest.raises(ValueError, match=r"roi paths must be of two patients or more to be swapped, got 1\."):
        Cohort.from_table(frame.assign(patient_id="p")).with_swapped_roi(seed=0)
    only = with_value(frame, "roi", list(range(2, 120)), None)
    with pytest.raises(ValueError, match=r"of two patients or more to be swapped, got 1\."):
        Cohort.from_table(only).with_swapped_roi(seed=0)
    with pytest.raises(
        ValueError, match=r"the cohort must have roi paths, got columns patient_id, label, image, device"
    ):
        Cohort.from_table(frame.drop(columns="roi")).with_swapped_roi(seed=0)
    for name in ("swapped_roi", "roi"):
        with pytest.raises(ValueError, match=rf"name must be that of no other column, got '{name}'\."):
            Cohort.from_table(frame).with_attribute(name, range(120))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"patient_id": "case"}, r"of the table \(image_id, .*, age\); name those .*, got 1 absent: case\."),
        ({}, {"roi": "outline"}, r"got 1 absent: outline\."),
        ({}, {"attributes": ["sex", "age"]}, r"\(image_id, patient_id, .*\), got 1 absent: sex\."),
        ({}, {"attributes": ["label"]}, r"attributes must not be named image_id, .*, got 1 such: label\."),
        ({}, {"image": None}, r"attributes must not be named .*, got 1 such: image\."),
        ({}, {"continuous": ["device"]}, r"attribute device must hold numbers to be continuous, got 120 others: A, B,"),
        ({}, {"categorical": ["sex"]}, r"must name attributes \(device, age\), got 1 others: sex\."),
        (
            {},
            {"categorical": ["age"], "ordinal": ["age"]},
            r"must have one kind of continuous, categorical, ordinal, got 1 with several: age\.",
        ),
        ({"image_id": ([2, 5], None)}, {}, r"image_id must be given in every row, got 2 rows without: 2, 5\."),
        ({"image_id": ([2, 5], "x")}, {}, r"image_id must be unique, got 1 repeated: x\."),
        ({"image_id": ([1], "img000")}, {}, r"image_id must be unique, got 1 repeated: img000\."),
        (
            {"patient_id": ([3, 4], "")},
            {},
            r"patient_id must be given for every image, got 2 images without: img003, img004\.",
        ),
        ({"label": (list(range(120)), "benign")}, {}, r"label must have at least two classes, got benign\."),
        ({"label": (list(range(120)), None)}, {}, r"at least two classes, got no labelled image\."),
        (
            {"label": ([0], "normal")},
            {"label_names": ("benign", "malignant")},
            r"label_names \(benign, malignant\) must hold every label, got 1 others: normal\.",
        ),
        ({}, {"label_names": ("benign", "benign", "malignant")}, r"label_names must be unique, got 1 others: benign\."),
    ],
)
def test_wrong_tables_are_refused(frame, change, options, message):
    for column, (rows, value) in change.items():
        frame = with_value(frame, column, rows, value)
    with pytest.raises(ValueError, match=message):
        Cohort.from_table(frame, **options)


def test_more_wrong_tables_are_refused(frame):
    with pytest.raises(ValueError, match=r"columns must have different names, got 1 repeated: device\."):
        Cohort.from_table(pd.concat([frame, frame[["device"]]], axis=1))
    with pytest.raises(ValueError, match=r"label must hold one value per image, got 120 others: \[0, 1\], "):
        Cohort.from_table(frame.assign(label=[[0, 1]] * 120))
    with pytest.raises(ValueError, match=r"label_names \(a, b\) must hold every label, got 3 others: 0, 1, 2\."):
        Cohort.from_table(frame.assign(label=[0, 1, 2] * 40), label_names=("a", "b"))
    with pytest.raises(ValueError, match=r"fold must be an integer for every image, got 2 others: None, x\."):
        Cohort.from_table(frame.assign(fold=[None, "x"] + ["1"] * 118))
    with pytest.raises(
        ValueError, match=r"a patient must be in one fold, got 60 in several: p\d\d(, p\d\d){4}, \.\.\.\."
    ):
        Cohort.from_table(frame.assign(fold=[0, 1] * 60))
    whole = Cohort.from_table(frame.assign(fold=["0", "00"] * 60))
    assert whole.table["fold"].tolist() == [0] * 120


def test_wrong_requests_are_refused(frame):
    cohort = Cohort.from_table(frame)
    many = [f"x{i}" for i in range(7)]
    with pytest.raises(
        ValueError, match=r"image_ids must be in the cohort, got 7 unknown: x0, x1, x2, x3, x4, \.\.\.\."
    ):
        cohort.select(["img000", *many])
    with pytest.raises(ValueError, match=r"image_ids must be unique, got 1 others: img000\."):
        cohort.select(["img000", "img000"])
    with pytest.raises(ValueError, match=r"in the cohort, got 1 unknown: x\."):
        cohort.exclude({"x": "blurred"})
    for folds in (61, 1):
        with pytest.raises(ValueError, match=rf"folds must not exceed the number of patients \(60\).*, got {folds}\."):
            cohort.with_folds(folds, seed=0)
    with pytest.raises(
        ValueError, match=r"folds must be among those of the cohort \(none: use with_folds\), got \(0,\)"
    ):
        cohort.in_folds(0)
    with pytest.raises(ValueError, match=r"of the cohort \(0, 1, 2\), got \(1, 3\)\."):
        cohort.with_folds(3, seed=0).in_folds(1, 3)
    with pytest.raises(ValueError, match=r"attribute must be one of the cohort's \(device, age\), got 'sex'\."):
        cohort.values("sex")
    with pytest.raises(ValueError, match=r"must have image paths, got columns patient_id, label, device\."):
        Cohort.from_table(frame[["image_id", "patient_id", "label", "device"]]).datalist()
