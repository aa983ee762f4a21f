# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from monai_shortcut.cohort.table import Cohort

ROWS = [(f"i{k}", f"p{k}", ["no", "yes"][k % 2], "AB"[k // 2 % 2]) for k in range(12)]
FRAME = pd.DataFrame(ROWS, columns=["image_id", "patient_id", "label", "scanner"])


@pytest.fixture
def saved(tmp_path):
    def save(frame: pd.DataFrame, written: str = "utf-8", **options) -> Cohort:
        frame.to_csv(tmp_path / "t.csv", index=False, encoding=written)
        return Cohort.from_csv(tmp_path / "t.csv", **options)

    return save


def changed(column: str, values: dict[int, object]) -> pd.DataFrame:
    cells = FRAME[column].astype(object).tolist()
    for row, value in values.items():
        cells[row] = value
    return FRAME.assign(**{column: pd.Series(cells, dtype=object)})


def test_a_comma_too_many_moves_no_column(tmp_path):
    lines = [",".join(row) + "," for row in ROWS]
    (tmp_path / "t.csv").write_text("\n".join([",".join(FRAME.columns), *lines]))
    pd.testing.assert_frame_equal(Cohort.from_csv(tmp_path / "t.csv").table, Cohort.from_table(FRAME).table)


def test_a_word_is_a_class_from_a_table_and_from_a_file(saved, caplog):
    frame = FRAME.assign(label=["None", "Mild", "NA"] * 4, implant=["null", "Pacemaker"] * 6)
    with caplog.at_level(logging.WARNING):
        read = saved(frame)
    assert read.label_names == Cohort.from_table(frame).label_names == ("Mild", "NA", "None")
    pd.testing.assert_frame_equal(read.table, Cohort.from_table(frame).table)
    assert "column implant holds 'null' 6 times" in caplog.text
    assert set(saved(frame, missing=["NA"]).excluded.values()) == {"label missing"}


def test_ages_with_words_for_nothing_are_numbers(saved):
    cohort = saved(FRAME.assign(age=["NA", *range(30, 41)]))
    assert cohort.kinds["age"] == "continuous"
    np.testing.assert_array_equal(cohort.values("age"), [np.nan, *range(30, 41)])


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (changed("patient_id", {3: "NA", 4: "NA"}), "patient_id must be given for every image, got 1 such ids: NA"),
        (changed("patient_id", {3: "7", 4: "7.0"}), "patient_id must be spelled in one way, .* pairs: 7 and 7.0"),
        (changed("patient_id", {3: "7", 4: "007"}), "patient_id must be spelled in one way, .* pairs: 007 and 7"),
        (changed("image_id", {3: "12", 4: "12.0"}), "image_id must be spelled in one way, .* pairs: 12 and 12.0"),
        (changed("patient_id", {3: "1.23457E+12"}), r"patient_id must be written out .*: 1\.23457E\+12"),
        (FRAME.set_axis([*FRAME.columns[:3], "label"], axis=1), "must name each column once, got label repeated"),
    ],
)
def test_what_may_be_another_patient_is_refused_with_the_file(saved, frame, message):
    with pytest.raises(ValueError, match=rf"t\.csv.*{message}"):
        saved(frame)


def test_ids_that_differ_stay_apart(saved):
    assert saved(changed("image_id", {3: "12", 4: "012"})).image_ids[3:5] == ("12", "012")
    assert saved(changed("patient_id", {3: "1.2.10", 4: "1.2.1"})).patients[3:5].tolist() == ["1.2.10", "1.2.1"]


def test_floats_that_lost_digits_are_no_ids():
    with pytest.raises(ValueError, match="patient_id must be text or whole numbers where it has more than 15 digits"):
        Cohort.from_table(FRAME.assign(patient_id=np.arange(12) + 1e16))


def test_names_that_look_alike_are_one(saved):
    frame = changed("patient_id", {2: "Mu\u0308ller\u200b", 3: "\ufeffM\u00fcller", 4: "A\u00a0B", 5: "A B"})
    patients = saved(frame).patients
    assert patients[2] == patients[3] == "M\u00fcller"
    assert patients[4] == patients[5] == "A B"
    assert Cohort.from_table(FRAME.assign(image="e\u0301.png"), root="/d").table["image"].iloc[0] == "/d/e\u0301.png"


@pytest.mark.parametrize("column", ["image_id", "patient_id", "label", "scanner"])
def test_text_that_no_file_can_hold_is_refused_at_once(column):
    with pytest.raises(
        ValueError, match=rf"{column} must be text that can be written as UTF-8, got 1 others: 'x.udcff'"
    ):
        Cohort.from_table(changed(column, {0: "x\udcff"}))
    with pytest.raises(ValueError, match=rf"{column} must be text that can be written as UTF-8, got 1 others: 'x.x00'"):
        Cohort.from_table(changed(column, {0: "x\0"}))


def test_encoding_separator_and_findings(saved, tmp_path):
    frame = changed("scanner", {0: "Größe"})
    assert saved(frame, "cp1252", encoding="cp1252").values("scanner")[0] == "Größe"
    with pytest.raises(ValueError, match=r"t\.csv must be text in UTF-8"):
        saved(frame, "cp1252")
    found = FRAME.drop(columns="label").assign(mass=[0, 1] * 6, edema=[0, 0, "?", 1] * 3)
    found.to_csv(tmp_path / "f.csv", index=False, sep=";")
    cohorts = Cohort.by_finding(tmp_path / "f.csv", ["mass", "edema"], separator=";", missing=["?"])
    assert {name: len(cohort) for name, cohort in cohorts.items()} == {"mass": 12, "edema": 9}
    with pytest.raises(ValueError, match=r"f\.csv must have cells separated as said"):
        Cohort.by_finding(tmp_path / "f.csv", ["mass"])
