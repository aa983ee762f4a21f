# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from monai_shortcut.cohort import Cohort
from monai_shortcut.report.check_page import said, write_check
from monai_shortcut.statistics.image_hashes import thumbnail
from monai_shortcut.statistics.resampling import patient_folds
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.table_check import CheckSettings, TableCheck, check_table
from monai_shortcut.types import Estimate


def drawn(seed: int = 0, tied: float = 0.0, patients: int = 200) -> pd.DataFrame:
    """Two images of each patient, as of a breast ultrasound collection; the device follows the label where tied."""
    rng = np.random.default_rng(seed)
    ill = np.repeat(rng.random(patients) < 0.35, 2)
    device = np.where(np.repeat(rng.random(patients) < tied, 2), ill, np.repeat(rng.random(patients) < 0.5, 2))
    table = pd.DataFrame({"image_id": [f"bus_{row:04}" for row in range(2 * patients)]})
    table["patient_id"] = np.repeat([f"case{number:04}" for number in range(patients)], 2)
    table["label"] = np.where(ill, "malignant", "benign")
    table["device"] = np.where(device, "Logiq 7", "Logiq 5")
    table["side"] = ["left", "right"] * patients
    table["age"] = np.repeat(rng.integers(20, 80, patients), 2)
    return table


def checked(table: pd.DataFrame, **given) -> TableCheck:
    return check_table(Cohort.from_table(table), **given)


def bare(patients: int) -> pd.DataFrame:
    """A table without attributes."""
    return drawn(patients=patients)[["image_id", "patient_id", "label"]]


def verdicts(check: TableCheck) -> dict[str, str]:
    return {one.attribute: one.verdict for one in check.telling}


def test_a_device_that_follows_the_label_is_found_and_nothing_else():
    check = checked(drawn(tied=0.8))
    assert verdicts(check)["device"] == verdicts(check)["all together"] == "confounded"
    assert check.confounded == tuple(one.attribute for one in check.telling[:2])
    assert verdicts(check)["side"] == "not confounded"
    assert check.failing(["confounded"]) == {"confounded": ", ".join(check.confounded)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_table_without_ties_is_not_confounded(seed):
    check = checked(drawn(seed), folds=dict.fromkeys(drawn(seed)["image_id"], "train"))
    assert check.confounded == ()
    assert min(one.p_value for one in check.telling) > 0.05
    assert check.leaks == ()
    assert check.empty == ()
    assert check.failing(["confounded", "leak"]) == {}


def test_areas_are_those_of_scikit_learn_in_folds_of_patients():
    table, settings = drawn(tied=0.5), CheckSettings(seed=4)
    cohort = Cohort.from_table(table)
    fold = patient_folds(cohort.patients, cohort.labels, 5, np.random.default_rng(4))
    values = pd.get_dummies(table["device"]).to_numpy(dtype=float)
    expected = []
    for index in range(5):
        fit = LogisticRegression(max_iter=1000).fit(values[fold != index], cohort.labels[fold != index])
        score = fit.decision_function(values[fold == index])
        expected.append(roc_auc_score(cohort.labels[fold == index], score))
    found = next(one for one in check_table(cohort, settings=settings).telling if one.attribute == "device")
    assert found.areas["malignant"].value == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.areas["malignant"].low < np.mean(expected) < found.areas["malignant"].high


def test_limits_hold_for_all_attributes_together():
    table = drawn(tied=0.5)
    alone = checked(table[["image_id", "patient_id", "label", "device"]]).telling[0]
    several = next(one for one in checked(table).telling if one.attribute == "device")
    assert several.areas["malignant"].value == alone.areas["malignant"].value
    assert several.areas["malignant"].low < alone.areas["malignant"].low
    assert several.p_value == pytest.approx(4 * alone.p_value)
    wider = checked(
        table[["image_id", "patient_id", "label", "device"]], settings=CheckSettings(confidence=0.9875)
    ).telling[0]
    assert wider.areas["malignant"].low == pytest.approx(several.areas["malignant"].low)


def test_a_label_of_middle_values_and_one_that_missing_values_tell_are_found():
    table, rng = bare(200), np.random.default_rng(0)
    age = np.repeat(rng.normal(50, 10, 200), 2)
    table["label"] = np.where(np.abs(age - 50) > 5, "malignant", "benign")
    table["age"] = age
    table["biopsy"] = np.where(table["label"] == "malignant", "core", None)
    check = checked(table)
    assert verdicts(check)["age"] == verdicts(check)["biopsy"] == "confounded"
    assert [(cell.label, cell.level) for cell in check.empty if cell.attribute == "biopsy"] == [
        ("malignant", "(missing)"),
        ("benign", "core"),
    ]


def test_each_of_several_classes_is_held_against_the_rest():
    table = bare(200)
    table["label"] = np.repeat(np.random.default_rng(1).choice(["a", "b", "c"], 200), 2)
    table["site"] = np.where(table["label"] == "c", "X", "Y")
    found = next(one for one in checked(table).telling if one.attribute == "site")
    assert found.areas["c"].value == 1.0
    assert found.areas["a"].value == pytest.approx(
        1 - np.mean(table["label"] == "b") / np.mean(table["label"] != "a") / 2,
        abs=0.05,  # a ties with b
    )
    assert found.verdict == "confounded"


def test_associations_are_cramers_v_of_scipy_corrected():
    table = drawn(tied=0.6)
    check = checked(table)
    found = {(one.first, one.second): one.v for one in check.associations}
    for pair, v in found.items():
        if "age" in pair:
            continue
        counts = pd.crosstab(*(table[name] for name in pair)).to_numpy()
        n, (rows, columns) = counts.sum(), counts.shape
        phi = chi2_contingency(counts, correction=False).statistic / n
        excess = max(0.0, phi - (rows - 1) * (columns - 1) / (n - 1))
        least = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns)) - 1
        assert v == pytest.approx(np.sqrt(excess / least))
    assert len(found) == 6
    assert next(iter(found)) == ("label", "device")


def test_cells_are_those_of_pandas():
    table = drawn(tied=0.9, patients=60)
    table.loc[table["label"] == "malignant", "device"] = "Logiq 7"
    check = checked(table)
    for cell in check.cells:
        if cell.attribute == "device":
            inside = table[(table["label"] == cell.label) & (table["device"] == cell.level)]
            assert (cell.images, cell.patients) == (len(inside), inside["patient_id"].nunique())
    assert [(cell.attribute, cell.label, cell.level) for cell in check.empty] == [("device", "malignant", "Logiq 5")]
    assert all(0 < cell.patients < 10 for cell in check.few)


def test_rare_levels_are_counted_in_a_line_and_their_cells_are_not_listed(tmp_path):
    table = drawn()
    height = np.repeat(540, len(table))
    height[[0, 1, 2, 6]], height[9] = 538, 563  # of patients 0, 1 and 3, and of patient 4
    table["height"], table["depth"] = height, np.arange(len(table)) % 97  # numbers of many values are cut into bins
    table["device"] = np.where(table["label"] == "malignant", "Logiq 7", table["device"])
    check = checked(table, settings=CheckSettings(minimum_patients=4))
    assert check.rare == {"height": {"538": 4, "563": 1}}
    assert {cell.level for cell in check.cells if cell.attribute == "height"} == {"538", "540", "563"}
    assert [(cell.attribute, cell.label, cell.level) for cell in check.empty] == [("device", "malignant", "Logiq 5")]
    assert check.few == ()
    assert len({cell.level for cell in check.cells if cell.attribute == "depth"}) == 3
    told = "538, 563 (5 images together): fewer than 4 patients each, which an audit leaves out"
    assert f"height: {told}" in said(check)
    assert told in " ".join(write_check(check, tmp_path).read_text().split())
    common = checked(table, settings=CheckSettings(minimum_patients=1))
    assert common.rare == {}
    assert {(cell.label, cell.level) for cell in common.empty if cell.attribute == "height"} >= {
        (({"benign", "malignant"} - {str(table["label"][9])}).pop(), "563")
    }


def test_patients_in_two_folds_are_found_and_images_in_none_do_not_count():
    table = bare(40)
    split = {name: "train" if number < 60 else "test" for number, name in enumerate(table["image_id"])}
    assert checked(table, folds=split).leaks == ()
    split["bus_0003"] = "test"  # of case0001
    del split["bus_0004"]  # of case0002
    check = checked(table, folds=split)
    assert [(one.linked, one.patients, one.folds) for one in check.leaks] == [
        (("bus_0002", "bus_0003"), 1, ("test", "train"))
    ]
    assert check.failing(["leak"]) == {"leak": "1 patient in several folds"}
    assert checked(table, folds={}).leaks == ()


def test_double_images_are_found_across_patients_and_folds_only():
    table, rng = bare(20), np.random.default_rng(0)
    small = {name: thumbnail(rng.random((1, 40, 40))) for name in table["image_id"]}
    small["bus_0001"] = small["bus_0000"]  # of one patient, in one fold
    assert checked(table, thumbnails=small).duplicates == ()
    across = checked(table, thumbnails=small, folds={"bus_0000": "train", "bus_0001": "test"})
    assert [(one.linked, one.patients) for one in across.duplicates] == [(("bus_0000", "bus_0001"), 1)]
    small["bus_0031"] = small["bus_0010"]
    check = checked(table, thumbnails=small)
    assert [(one.linked, one.patients, one.folds) for one in check.duplicates] == [(("bus_0010", "bus_0031"), 2, ())]
    assert check.compared == 40
    assert check.failing(["duplicates"]) == {"duplicates": "1 image seen twice or more"}


def test_what_cannot_be_checked_says_why():
    table = bare(30)
    table["device"], table["serial"] = "Logiq 7", [f"s{row}" for row in range(60)]
    assert checked(table).problems == {
        "device": "every image has the same value (Logiq 7)",
        "serial": "60 different categories in 60 images, more than the 20 that are analysed",
    }
    few = drawn(patients=200)
    few = few[(few["label"] == "benign") | (few["patient_id"] < "case0010")]
    check = checked(few)
    assert check.telling == ()
    assert "in each of 5 folds two patients must be malignant and two not" in check.problems["all together"]
    with pytest.raises(
        ValueError, match="failing on 'confounded' must have an attribute that can be checked, got none"
    ):
        check.failing(["confounded"])
    with pytest.raises(ValueError, match="failing on 'leak' must have a column of folds, got none"):
        check.failing(["leak"])
    with pytest.raises(ValueError, match="failing on 'duplicates' must have images that can be read, got none"):
        check.failing(["duplicates"])
    with pytest.raises(ValueError, match=r"words that fail must be among confounded, leak, duplicates, got .*guilty"):
        check.failing(["guilty"])


def test_what_is_of_other_images_is_refused():
    with pytest.raises(ValueError, match=r"folds must be of images of the cohort, got .*nobody"):
        checked(bare(9), folds={"nobody": "train"})
    with pytest.raises(ValueError, match=r"thumbnails must be of images of the cohort, got .*nobody"):
        checked(bare(9), thumbnails={"nobody": np.zeros((32, 32), dtype=np.float16)})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("folds", 1, "folds must be an integer of at least 2, got 1"),
        ("minimum_patients", 0, "minimum_patients must be an integer of at least 1, got 0"),
        ("confidence", 1.0, "confidence must be a number between 0 and 1, got 1.0"),
        ("tolerance", 0.5, "tolerance must be a number between 0 and 0.5, got 0.5"),
    ],
)
def test_settings_out_of_their_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        CheckSettings(**{name: value})


def test_the_record_is_written_without_names_and_read_back(tmp_path):
    table = drawn(patients=40)
    folds = {name: str(number % 2) for number, name in enumerate(table["image_id"])}
    check = checked(table, folds=folds, unusable={"bus_0007": "cannot read /data/bus_0007.png"})
    check.to_json(tmp_path / "check.json")
    text = (tmp_path / "check.json").read_text()
    assert "bus_" not in text
    read = TableCheck.from_json(tmp_path / "check.json")
    assert len(read.leaks) == 40
    assert replace(read, leaks=(), unusable={}) == replace(check, leaks=(), unusable={})
    named = checked(table, folds=folds, settings=CheckSettings(privacy=Privacy(ids=True)))
    named.to_json(tmp_path / "check.json")
    assert TableCheck.from_json(tmp_path / "check.json") == named
    assert isinstance(named.telling[0].areas["malignant"], Estimate)


def test_a_published_collection_is_told_by_what_was_written_after_the_diagnosis():
    folder = Path(os.environ.get("MONAI_SHORTCUT_DATA", ""), "busbra-breast-us")
    if not (folder / "metadata.csv").is_file():
        pytest.skip("MONAI_SHORTCUT_DATA holds no busbra-breast-us")
    names = ["birads", "side", "device"]
    check = check_table(Cohort.from_csv(folder / "metadata.csv", image_id="image", attributes=names))
    assert (check.images, check.patients) == (1312, 746)
    assert verdicts(check) == {
        "birads": "confounded",
        "all together": "confounded",
        "device": "not confounded",
        "side": "not confounded",
    }
