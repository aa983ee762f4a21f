# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_shortcut.datasets import read_fetal_planes, usable

HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "  # the blank at the end is published
ROWS = (
    "Patient00001_Plane1_1_of_2;1;Other;Not A Brain;Other;Aloka;1 ",
    "Patient00001_Plane3_1_of_1;1;Fetal brain;Trans-ventricular;Other;Aloka;1 ",
    "Patient00168_Plane2_1_of_1;168;Fetal abdomen;Not A Brain;Op. 1;Voluson E6;0 ",
    "Patient01792_Plane5_1_of_1;1792;Fetal femur;Not A Brain;Op. 3;Voluson S10;0 ",
    "Patient01792_Plane6_1_of_1;1792;Fetal thorax;Not A Brain;Op. 3;Voluson S10;0 ",
    "Patient01790_Plane4_1_of_1;1790;Maternal cervix;Not A Brain;Op. 2;Other;1 ",
)


@pytest.fixture
def published(tmp_path, rng):
    (tmp_path / "FETAL_PLANES_DB_data.csv").write_text("\n".join((HEADER, *ROWS)) + "\n")
    (tmp_path / "Images").mkdir()
    for row in ROWS:
        grey = Image.fromarray(rng.integers(0, 256, (5, 7), dtype=np.uint8))
        grey.save(tmp_path / "Images" / f"{row.split(';')[0]}.png")
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    cohort = read_fetal_planes(published)
    assert cohort.image_ids == tuple(row.split(";")[0] for row in ROWS)
    assert cohort.patients.tolist() == ["1", "1", "168", "1792", "1792", "1790"]
    assert [cohort.label_names[code] for code in cohort.labels] == [row.split(";")[2] for row in ROWS]
    assert cohort.attributes == ("machine", "operator", "split", "brain_plane")
    assert cohort.values("machine").tolist() == ["Aloka", "Aloka", "Voluson E6", "Voluson S10", "Voluson S10", "Other"]
    assert cohort.values("operator").tolist() == ["Other", "Other", "Op. 1", "Op. 3", "Op. 3", "Op. 2"]
    assert cohort.values("split").tolist() == ["train", "train", "test", "test", "test", "train"]
    assert cohort.values("brain_plane").tolist() == [None, "Trans-ventricular", None, None, None, None]
    assert usable(cohort).excluded == {}
    assert cohort.outcomes().shape == (6, 6)


def test_planes_are_kept_in_the_order_asked_for(published):
    cohort = read_fetal_planes(published, planes=("Fetal thorax", "Fetal brain"))
    assert cohort.label_names == ("Fetal thorax", "Fetal brain")
    assert cohort.labels.tolist() == [1, 0]
    assert len(cohort.excluded) == 4
    assert cohort.excluded["Patient00168_Plane2_1_of_1"] == "plane Fetal abdomen"


def test_wrong_folders_tables_and_planes_are_refused(tmp_path, published):
    with pytest.raises(FileNotFoundError, match=r"must hold FETAL_PLANES_DB_data\.csv and Images, got"):
        read_fetal_planes(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"planes must be among Fetal abdomen, .*, got Fetal heart\."):
        read_fetal_planes(published, planes=["Fetal heart"])
    for path in (published / "Images").iterdir():
        path.unlink()
    (published / "Images").rmdir()
    with pytest.raises(FileNotFoundError, match=r"and Images, got .* with: FETAL_PLANES_DB_data\.csv\."):
        read_fetal_planes(published)
    (published / "Images").mkdir()
    (published / "FETAL_PLANES_DB_data.csv").write_text("\n".join((HEADER.replace("_name", ""), *ROWS)))
    with pytest.raises(ValueError, match=r"must have columns Image_name, .* got none named Image_name\."):
        read_fetal_planes(published)
