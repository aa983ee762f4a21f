# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import importlib.metadata
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_shortcut.datasets import read_padchest, usable, write_chexmask
from monai_shortcut.datasets.padchest import NARROWER_LABELS, PUBLISHED_LABELS, TABLE

FINDINGS = ["cardiomegaly", "pneumonia", "atelectasis", "pneumothorax", "effusion"]
HEADER = [
    "ImageID",
    "ImageDir",
    "StudyDate_DICOM",
    "StudyID",
    "PatientID",
    "PatientBirth",
    "PatientSex_DICOM",
    "ViewPosition_DICOM",
    "Projection",
    "MethodProjection",
    "Pediatric",
    "Modality_DICOM",
    "Manufacturer_DICOM",
    "MethodLabel",
    "Labels",
]
# image, folder, patient, birth year, sex, projection, labels: the text of a Python list, with blanks as published
ROWS = (
    ("1_a.png", 0, "007", 1930, "F", "PA", "['cardiomegaly', ' pleural effusion', '']"),
    ("2_b.png", 0, "007", 1930, "F", "AP", "['normal']"),
    ("3_c.png", 54, "8", None, "M", "AP_horizontal", "['laminar atelectasis', 'hydropneumothorax']"),
    ("4_d.png", 54, "9", 1950, "M", "L", "['cardiomegaly']"),
    ("5_e.png", 0, "10", 1950, "M", "PA", "['suboptimal study', ' cardiomegaly']"),
    ("6_f.png", 0, "10", 1950, "M", "PA", "['exclude']"),
    ("7_g.png", 0, "11", 1951, "F", "PA", None),
    ("8_h.png", 0, "12", 1952, "M", "PA", "['unchanged', 'pleural effusion']"),
    ("9_i.png", 0, "13", 1953, "F", "PA", "['']"),
    ("10_j.png", 0, "14", 1954, "F", "PA", "[' atypical pneumonia', 'pericardial effusion']"),
    ("11_k.png", 0, "15", 1955, "F", "PA", "['pneumothorax', ' pneumonia ', 'atelectasis']"),
)


def write_table(folder: Path, name: str = TABLE) -> None:
    rows = [
        [
            image,
            number,
            20140915,
            "s",
            patient,
            birth,
            sex,
            "POSTEROANTERIOR",
            view,
            "m",
            "No",
            "CR",
            "Philips",
            "RNN",
            labels,
        ]
        for image, number, patient, birth, sex, view, labels in ROWS
    ]
    frame = pd.DataFrame(rows, columns=HEADER)
    frame.to_csv(folder / name)  # the published table begins with an unnamed column of row numbers


@pytest.fixture
def published(tmp_path, rng) -> Path:
    """Eleven images of 6 rows and 4 columns, 16 bits deep, in numbered folders."""
    write_table(tmp_path)
    for image, number, *_ in ROWS:
        (tmp_path / str(number)).mkdir(exist_ok=True)
        grey = rng.integers(0, 4096, (6, 4), dtype=np.uint16)
        Image.fromarray(grey).save(tmp_path / str(number) / image)
    return tmp_path


@pytest.fixture(scope="module")
def real_table(tmp_path_factory) -> Path:
    """A folder with PadChest's whole table, from MONAI_SHORTCUT_PADCHEST or an installed torchxrayvision."""
    given = os.environ.get("MONAI_SHORTCUT_PADCHEST")
    if given is None:
        try:  # the package cannot be imported everywhere, so it is not
            files = importlib.metadata.files("torchxrayvision") or []
        except importlib.metadata.PackageNotFoundError:
            files = []
        given = next((str(file.locate()) for file in files if file.name == f"{TABLE}.gz"), None)
    if given is None:
        pytest.skip(f"no PadChest table: set MONAI_SHORTCUT_PADCHEST to {TABLE} (or .gz) or a wheel of torchxrayvision")
    folder = tmp_path_factory.mktemp("padchest")
    if given.endswith(".whl"):
        with zipfile.ZipFile(given) as wheel:
            (folder / f"{TABLE}.gz").write_bytes(wheel.read(f"torchxrayvision/data/{TABLE}.gz"))
    else:
        shutil.copy(given, folder / (f"{TABLE}.gz" if given.endswith(".gz") else TABLE))
    return folder


def test_published_layout_is_read_value_by_value(published):
    cohort = read_padchest(published)
    assert cohort.image_ids == ("1_a.png", "2_b.png", "3_c.png", "8_h.png", "9_i.png", "10_j.png", "11_k.png")
    assert cohort.patients.tolist() == ["007", "007", "8", "12", "13", "14", "15"]
    assert cohort.label_names == ("absent", "present")
    assert cohort.finding == "cardiomegaly"
    assert cohort.labels.tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert cohort.outcomes(FINDINGS).to_numpy().astype(int).tolist() == [
        [1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],  # laminar atelectasis and hydropneumothorax are other labels
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0],
    ]
    assert cohort.attributes == (
        *FINDINGS[1:],
        *("birth_year", "age", "sex", "projection", "pediatric", "modality", "manufacturer", "labelled_by"),
    )
    np.testing.assert_array_equal(cohort.values("birth_year")[:4], [1930, 1930, np.nan, 1952])
    np.testing.assert_array_equal(cohort.values("age")[:4], [84, 84, np.nan, 62])
    assert cohort.values("sex").tolist() == ["F", "F", "M", "M", "F", "F", "F"]
    assert cohort.values("projection").tolist()[:3] == ["PA", "AP", "AP_horizontal"]
    assert set(cohort.values("manufacturer")) == {"Philips"}
    assert cohort.table.loc["3_c.png", "image"] == str(published / "54" / "3_c.png")
    assert cohort.excluded == {
        "4_d.png": "projection L",
        "5_e.png": "label suboptimal study",
        "6_f.png": "label exclude",
        "7_g.png": "labels missing",
    }
    assert usable(cohort).excluded == cohort.excluded


def test_the_corrected_rule_counts_narrower_labels_and_drops_what_is_unknown(published):
    cohort = read_padchest(published, rule="corrected", label="effusion")
    outcomes = cohort.outcomes(FINDINGS)
    assert outcomes.loc["3_c.png"].tolist() == [0, 0, 1, 1, 1]
    assert outcomes.loc["10_j.png"].tolist() == [0, 1, 0, 0, 0]  # fluid around the heart is not in the pleura
    assert cohort.excluded["8_h.png"] == "label unchanged"
    assert cohort.excluded["9_i.png"] == "labels empty"
    assert cohort.excluded["7_g.png"] == "labels missing"
    assert cohort.labels.tolist() == [1, 0, 1, 0, 0]


def test_the_label_and_the_views_can_be_chosen(published):
    cohort = read_padchest(published, label="effusion", views=("PA", "L"))
    assert cohort.finding == "effusion"
    assert cohort.excluded["2_b.png"] == "projection AP"
    assert "cardiomegaly" in cohort.attributes
    assert cohort.outcomes(["cardiomegaly"]).loc["4_d.png"].tolist() == [1]
    other = read_padchest(published).with_label("effusion")
    pd.testing.assert_series_equal(
        other.outcomes()["effusion"], read_padchest(published, label="effusion").outcomes()["effusion"]
    )


def test_lung_masks_join_by_name_and_images_without_are_excluded(published):
    header = "ImageID,Dice RCA (Mean),Dice RCA (Max),Landmarks,Left Lung,Right Lung,Heart,Height,Width"
    rows = [
        f"{image},{dice},1,[],1 2,8 1,,6,4" for image, dice in (("1_a.png", 0.9), ("2_b.png", 0.8), ("9_i.png", 0.3))
    ]
    (published / "Padchest.csv").write_text("\n".join([header, *rows]) + "\n")
    write_chexmask(published / "Padchest.csv", published / "lungs", "padchest")
    cohort = read_padchest(published, masks=published / "lungs")
    assert cohort.image_ids == ("1_a.png", "2_b.png")
    assert cohort.excluded["9_i.png"] == "no lung mask"
    assert usable(cohort).image_ids == cohort.image_ids
    assert cohort.datalist(findings=FINDINGS)[0] == {
        "image": str(published / "0" / "1_a.png"),
        "roi": str(published / "lungs" / "1_a.png"),
        "label": [1.0, 0.0, 0.0, 0.0, 1.0],
        "image_id": "1_a.png",
    }


def test_flat_folders_and_packed_tables_are_read_and_lost_images_left_to_usable(tmp_path, published):
    flat = tmp_path / "flat"
    (flat / "images").mkdir(parents=True)
    with gzip.open(flat / f"{TABLE}.gz", "wb") as packed:
        packed.write((published / TABLE).read_bytes())
    for image, number, *_ in ROWS[:-1]:
        shutil.copy(published / str(number) / image, flat / "images" / image)
    cohort = read_padchest(flat)
    assert cohort.table.loc["3_c.png", "image"] == str(flat / "images" / "3_c.png")
    assert cohort.table.loc["11_k.png", "image"] == str(flat / "0" / "11_k.png")
    assert usable(cohort).excluded["11_k.png"] == "image missing"


def test_a_table_may_lack_what_is_not_needed(published):
    frame = pd.read_csv(published / TABLE, dtype={"PatientID": str})
    frame.drop(columns=["StudyDate_DICOM", "Pediatric", "Manufacturer_DICOM", "MethodLabel"]).to_csv(published / TABLE)
    cohort = read_padchest(published)
    assert cohort.attributes == (*FINDINGS[1:], "birth_year", "sex", "projection", "modality")
    assert cohort.image_ids[0] == "1_a.png"


def test_wrong_folders_tables_and_settings_are_refused(tmp_path, published):
    with pytest.raises(
        FileNotFoundError, match=r"must hold PADCHEST.*\.csv \(or \.gz\), got .* with: no such folder\."
    ):
        read_padchest(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"regions must be in a folder, .* got nowhere\."):
        read_padchest(published, masks="nowhere")
    with pytest.raises(ValueError, match=r"rule must be published or corrected, got 'strict'\."):
        read_padchest(published, rule="strict")
    with pytest.raises(ValueError, match=r"label must be one of cardiomegaly, .*, got 'edema'\."):
        read_padchest(published, label="edema")
    (published / TABLE).write_text("ImageID,Labels\n1.png,['normal']\n")
    with pytest.raises(ValueError, match=r"must have columns ImageID, .* got none named ImageDir, PatientID,"):
        read_padchest(published)


def test_the_published_rule_on_the_real_table(real_table):
    cohort = read_padchest(real_table)
    assert len(cohort) == 108_097  # published: 108,071
    counts = cohort.outcomes(FINDINGS).sum().astype(int).tolist()
    assert counts == [9_661, 4_996, 2_146, 383, 6_770]  # published: 9,659, 4,995, 2,146, 383, 6,764
    assert len(set(cohort.patients)) == 66_213
    assert Counter(cohort.values("projection")) == {"PA": 90_199, "AP_horizontal": 13_591, "AP": 4_307}
    assert len(cohort) + len(cohort.excluded) == 160_861
    assert Counter(cohort.excluded.values()) == {
        "labels missing": 103,
        "label suboptimal study": 1_839,
        "label exclude": 1_312,
        "projection L": 48_876,
        "projection COSTAL": 615,
        "projection EXCLUDE": 11,
        "projection UNK": 8,
    }


def test_the_corrected_rule_on_the_real_table(real_table):
    cohort = read_padchest(real_table, rule="corrected")
    assert len(cohort) == 97_982
    assert cohort.outcomes(FINDINGS).sum().astype(int).tolist() == [8_913, 4_808, 5_316, 337, 5_842]


def test_the_real_table_holds_the_labels_that_the_rules_name(real_table):
    frame = pd.read_csv(next(real_table.iterdir()), usecols=["Labels"])
    texts = frame["Labels"].dropna()
    for name in (*PUBLISHED_LABELS.values(), *(name for names in NARROWER_LABELS.values() for name in names)):
        if name != "hemothorax":  # in the published tree, in no row
            assert texts.str.contains(f"{name}'", regex=False).any(), name
    assert not texts.str.contains("hemothorax'", regex=False).any()
    assert not texts.str.contains("Unchanged", regex=False).any()
    assert texts.str.contains("'unchanged'", regex=False).sum() == 14_207
