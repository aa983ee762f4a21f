# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_shortcut.datasets import read_nih, usable, write_chexmask

TABLE = "Data_Entry_2017_v2020.csv"
FINDINGS = ["cardiomegaly", "pneumonia", "atelectasis", "pneumothorax", "effusion"]
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Effusion,1,1,58,M,AP,2894,2729,0.143,0.143",
    "00000003_000.png,No Finding,0,3,81,F,PA,2582,2991,0.143,0.143",
    "00013670_151.png,Pleural_Thickening|Pneumonia|Pneumothorax|Atelectasis,151,13670,60,F,AP,3056,2544,0.139,0.139",
)
FOLDERS = ("images_001", "images_001", "images_001", "images_012")


@pytest.fixture
def published(tmp_path, rng) -> Path:
    (tmp_path / TABLE).write_text("\n".join((HEADER, *ROWS)) + "\n")
    for row, folder in zip(ROWS, FOLDERS, strict=True):
        images = tmp_path / folder / "images"
        images.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(images / row.split(",")[0])
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    cohort = read_nih(published)
    assert cohort.image_ids == tuple(row.split(",")[0] for row in ROWS)
    assert cohort.patients.tolist() == ["1", "1", "3", "13670"]
    assert cohort.finding == "cardiomegaly"
    assert cohort.outcomes(FINDINGS).to_numpy().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
    ]
    assert cohort.attributes == (*FINDINGS[1:], "age", "sex", "view")
    assert cohort.values("age").tolist() == [57, 58, 81, 60]
    assert cohort.values("sex").tolist() == ["M", "M", "F", "F"]
    assert cohort.values("view").tolist() == ["PA", "AP", "PA", "AP"]
    assert cohort.table.loc["00013670_151.png", "image"] == str(
        published / "images_012" / "images" / "00013670_151.png"
    )
    assert usable(cohort).excluded == {}


def test_the_older_table_and_the_published_split_are_read(published):
    older = [
        row.replace(",57,M,", ",057Y,M,").replace(",60,F,", ",006M,F,").replace(",58,M,", ",012D,M,") for row in ROWS
    ]
    header = HEADER.replace("Gender", "Sex")
    (published / TABLE).unlink()
    (published / "Data_Entry_2017.csv").write_text("\n".join((header + ",", *(f"{row}," for row in older))) + "\n")
    (published / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (published / "test_list.txt").write_text("00000003_000.png")
    cohort = read_nih(published, label="pneumonia")
    assert cohort.labels.tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(cohort.values("age"), [57, 12 / 365.25, 81, 0.5])
    assert cohort.values("split").tolist() == ["development", "development", "test", None]


def test_lung_masks_join_by_name(published):
    (published / "ChestX-Ray8.csv").write_text(
        "Image Index,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width\n"
        "00000001_001.png,0.9,1,[],1 2,8 1,,8,8\n00000003_000.png,0.8,1,[],3 4,12 1,,8,8\n"
    )
    write_chexmask(published / "ChestX-Ray8.csv", published / "lungs", "nih")
    cohort = read_nih(published, masks=published / "lungs")
    assert cohort.image_ids == ("00000001_001.png", "00000003_000.png")
    assert set(cohort.excluded.values()) == {"no lung mask"}
    assert usable(cohort).image_ids == cohort.image_ids


def test_images_elsewhere_are_found_and_lost_ones_left_to_usable(published):
    (published / "images").mkdir()
    for row, folder in list(zip(ROWS, FOLDERS, strict=True))[:3]:
        name = row.split(",")[0]
        (published / folder / "images" / name).rename(published / "images" / name)
    (published / "images_012" / "images" / "00013670_151.png").unlink()
    cohort = read_nih(published)
    assert cohort.table["image"].tolist() == [str(published / "images" / row.split(",")[0]) for row in ROWS]
    assert usable(cohort).excluded == {"00013670_151.png": "image missing"}


def test_wrong_folders_tables_and_labels_are_refused(tmp_path, published):
    with pytest.raises(FileNotFoundError, match=r"must hold Data_Entry_2017_v2020\.csv or Data_Entry_2017\.csv, got"):
        read_nih(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"label must be one of cardiomegaly, .*, got 'Effusion'\."):
        read_nih(published, label="Effusion")
    (published / TABLE).write_text("\n".join((HEADER.replace("Patient Gender", "Gender"), *ROWS)))
    with pytest.raises(ValueError, match=r"must have a column Patient Gender or Patient Sex, got Image Index,"):
        read_nih(published)
    (published / TABLE).write_text("\n".join((HEADER.replace("Finding Labels", "Labels"), *ROWS)))
    with pytest.raises(ValueError, match=r"must have columns Image Index, .* got none named Finding Labels\."):
        read_nih(published)


def test_the_real_table_has_the_known_counts(tmp_path):
    wheel = os.environ.get("MONAI_SHORTCUT_PADCHEST", "")
    if not wheel.endswith(".whl"):
        pytest.skip("no NIH table: set MONAI_SHORTCUT_PADCHEST to a wheel of torchxrayvision, which has it too")
    with zipfile.ZipFile(wheel) as files:
        (tmp_path / f"{TABLE}.gz").write_bytes(files.read(f"torchxrayvision/data/{TABLE}.gz"))
    cohort = read_nih(tmp_path)
    assert len(cohort) == 112_120
    assert len(set(cohort.patients)) == 30_805
    assert cohort.outcomes(FINDINGS).sum().astype(int).tolist() == [2_776, 1_431, 11_559, 5_302, 13_317]
