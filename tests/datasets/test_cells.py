# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Published tables that were saved once more: the right value, an exclusion with its reason, or file and line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_shortcut.datasets import (
    read_airogs,
    read_busbra,
    read_chaksu,
    read_dicom,
    read_fetal_planes,
    read_hc18,
    read_nih,
    read_padchest,
    write_hc18_regions,
)
from monai_shortcut.datasets.padchest import TABLE as PADCHEST

NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position"
NIH_ROWS = ("1.png,Cardiomegaly,0,1,058Y,M,PA", "2.png,No Finding,0,2,60,F,AP", "3.png,Effusion,0,3,61,F,AP")


def nih(folder: Path, *rows: str, header: str = NIH, encoding: str = "utf-8", **settings):
    (folder / "Data_Entry_2017.csv").write_text("\n".join((header, *rows)) + "\n", encoding=encoding)
    return read_nih(folder, **settings)


PAD = ",ImageID,ImageDir,StudyDate_DICOM,PatientID,PatientBirth,PatientSex_DICOM,Projection,Labels"
PAD_ROWS = ("0,a.png,0,20140131,1,1950,F,PA,\"['pneumonia']\"", "1,b.png,0,20140131,2,1960,M,PA,\"['normal']\"")


def padchest(folder: Path, labels: str, *, patient: str = "3", birth: str = "1960", date: str = "20140131"):
    row = f'2,c.png,0,{date},{patient},{birth},M,PA,"{labels}"'
    (folder / PADCHEST).write_text("\n".join((PAD, *PAD_ROWS, row)) + "\n", encoding="utf-8")
    return read_padchest(folder, label="pneumonia")


@pytest.mark.parametrize(
    "labels",
    [
        "['cardiomegaly', 'pneumonia']",
        "['cardiomegaly' 'pneumonia']",
        "['cardiomegaly'\n 'pneumonia']",
        "['cardiomegaly','pneumonia',]",
        "[ 'cardiomegaly' , ' pneumonia ' ]",
        "['' ''Kerley's lines'' 'cardiomegaly' 'pneumonia']".replace("''Kerley's lines''", '""Kerley\'s lines""'),
    ],
)
def test_padchests_lists_are_read_with_and_without_commas(tmp_path, labels):
    cohort = padchest(tmp_path, labels)
    assert cohort.table.loc["c.png", ["label", "cardiomegaly"]].tolist() == ["present", "present"]
    assert cohort.table.loc["b.png", "label"] == "absent"


@pytest.mark.parametrize(
    "labels", ["normal", "['normal'", "'normal'", "[normal]", "['a''b']", "['a'; 'b']", "[‘normal’]"]
)
def test_padchests_labels_that_are_no_list_are_refused(tmp_path, labels):
    with pytest.raises(ValueError, match=r"csv: Labels must hold a list such as \['normal'\], got .* in line 4: "):
        padchest(tmp_path, labels)


def test_padchests_other_cells_are_checked(tmp_path):
    assert padchest(tmp_path, "").excluded == {"c.png": "labels missing"}
    assert padchest(tmp_path, "['pneumonia']", patient="").excluded == {"c.png": "patient missing"}
    cohort = padchest(tmp_path, "['pneumonia']", patient="7.0", birth="1960.0", date="20140131.0")
    assert cohort.patients.tolist() == ["1", "2", "7"]
    assert cohort.values("age").tolist() == [64, 54, 54]
    assert np.isnan(padchest(tmp_path, "['pneumonia']", birth="").values("age")[2])
    with pytest.raises(ValueError, match=r"PatientBirth must hold numbers with a decimal point, got 'old' in line 4"):
        padchest(tmp_path, "['pneumonia']", birth="old")
    with pytest.raises(ValueError, match=r"StudyDate_DICOM must hold numbers from 1\.9e\+07, got '2014' in line 4"):
        padchest(tmp_path, "['pneumonia']", date="2014")
    with pytest.raises(
        ValueError, match=r"PatientID must hold ids with all their digits, .*, got '8\.4E\+35' in line 4"
    ):
        padchest(tmp_path, "['pneumonia']", patient="8.4E+35")


def test_nihs_blank_cells_are_excluded_or_missing(tmp_path):
    cohort = nih(tmp_path, *NIH_ROWS, "4.png,,0,4,50,F,AP", "5.png,Mass,0,,50,F,AP", "6.png,Mass,0,6,,,", ",,,,,,")
    assert cohort.image_ids == ("1.png", "2.png", "3.png", "6.png")
    assert cohort.excluded == {"4.png": "labels missing", "5.png": "patient missing"}
    np.testing.assert_array_equal(cohort.values("age"), [58, 60, 61, np.nan])
    assert cohort.values("sex").tolist() == ["M", "F", "F", None]


def test_what_was_excluded_is_named_where_the_rest_is_too_little(tmp_path):
    with pytest.raises(
        ValueError, match=r"Data_Entry_2017\.csv: label must have at least two classes, got present\. 1 were"
    ):
        nih(tmp_path, NIH_ROWS[0], "2.png,,0,2,60,F,AP")
    with pytest.raises(ValueError, match=r"two classes, got absent\. 1 were excluded before: c\.png: labels missing\."):
        read_padchest(padchest(tmp_path, "") and tmp_path, label="effusion")
    (tmp_path / "train_labels.csv").write_text("challenge_id,class\na,RG\nb,\n")
    with pytest.raises(ValueError, match=r"train_labels\.csv: label must have at least two classes, got glaucoma\."):
        read_airogs(tmp_path)
    with pytest.raises(
        ValueError, match=r"FETAL_PLANES_DB_data\.csv: label .* 1 were excluded before: c: patient missing"
    ):
        planes(tmp_path, "c;;Fetal femur;;;;1", planes=["Fetal brain", "Fetal femur"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "4.png,No Finding,0,4,unknown,F,AP",
            r"Patient Age must hold years, or a number with .*, got 'unknown' in line 5",
        ),
        ("4.png,No Finding,0,4,-5,F,AP", r"Patient Age must hold years, .*, got '-5' in line 5"),
        (
            "4.png,Effusion;Mass,0,4,50,F,AP",
            r"Finding Labels must hold the collection's labels joined by .*, got 'Effusion;",
        ),
        ("4.png,cardiomegaly,0,4,50,F,AP", r"Finding Labels must hold .*, got 'cardiomegaly' in line 5"),
        ("4.png,No Finding|Mass,0,4,50,F,AP", r"Finding Labels must hold .*, got 'No Finding\|Mass' in line 5"),
        ("3.png,Mass,0,4,50,F,AP", r"Image Index must hold each image once, got '3\.png' in line 5"),
        (",Mass,0,4,50,F,AP", r"Image Index must hold the name of an image in every row, got None in line 5"),
        ("4.png,Mass,0,1.2E+10,50,F,AP", r"Patient ID must hold ids with all their digits"),
        ("4.png,Mass,0,4,50,F,AP,1", r"must have a cell for each of its 7 columns in every row, got 8 in line 5"),
        ("4.png,Mass,#REF!,4,50,F,#REF!", r"#REF! of a spreadsheet in line 5"),
    ],
)
def test_nihs_cells_that_are_not_as_published_are_refused_with_file_and_line(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"Data_Entry_2017\.csv.*{message}"):
        nih(tmp_path, *NIH_ROWS, row)


def test_other_encodings_and_separators_are_read_or_asked_for(tmp_path):
    plain = nih(tmp_path, *NIH_ROWS).table
    for encoding in ("utf-8-sig", "utf-16"):
        assert nih(tmp_path, *NIH_ROWS, encoding=encoding).table.equals(plain)
    for sign in (";", "\t"):
        rows = [row.replace(",", sign) for row in NIH_ROWS]
        assert nih(tmp_path, *rows, header=NIH.replace(",", sign)).table.equals(plain)
        told = f"sep={sign}\n" + NIH.replace(",", sign)
        assert nih(tmp_path, *rows, header=told).table.equals(plain)
    accents = [f"{row},Müller" for row in NIH_ROWS]
    with pytest.raises(ValueError, match=r"Data_Entry_2017\.csv must be text in UTF-8, got .*encoding='cp1252'"):
        nih(tmp_path, *accents, header=f"{NIH},Reader", encoding="cp1252")
    assert read_nih(tmp_path, encoding="cp1252").table.equals(plain)


HC = "filename,pixel size(mm),head circumference (mm)"


def hc18(folder: Path, *rows: str, header: str = HC):
    (folder / "training_set").mkdir(exist_ok=True)
    (folder / "training_set_pixel_size_and_HC.csv").write_text("\n".join((header, *rows)) + "\n")
    return read_hc18(folder)


def test_hc18_without_a_circumference_is_excluded(tmp_path):
    cohort = hc18(tmp_path, "000_HC.png,0.07,44.3", "001_HC.png,0.08,", "002_HC.png,,180", ",,")
    assert cohort.table["label"].to_dict() == {"000_HC": "first", "002_HC": "second"}
    assert cohort.excluded == {"001_HC": "circumference missing"}
    np.testing.assert_array_equal(cohort.values("pixel_size_mm"), [0.07, np.nan])
    assert write_hc18_regions(tmp_path, tmp_path / "heads") == []
    trailing = hc18(tmp_path, "000_HC.png,0.07,44.3,", "001_HC.png,0.08,120,")
    assert trailing.table["label"].tolist() == ["first", "second"]
    assert trailing.values("head_circumference_mm").tolist() == [44.3, 120]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            '001_HC.png,0.08,"44,3"',
            r"head circumference \(mm\) must hold numbers with a decimal point, got '44,3' in line 3",
        ),
        ("001_HC.png,0.08,-4", r"head circumference \(mm\) must hold positive numbers, got '-4' in line 3"),
        ("001_HC.png,0,44", r"pixel size\(mm\) must hold positive numbers, got '0' in line 3"),
        ("001_HC.png,0.08,inf", r"head circumference \(mm\) must hold numbers .* got 'inf' in line 3"),
        (",0.08,44", r"filename must hold the name of an image in every row, got None in line 3"),
        ("000_HC.png,0.08,44", r"filename must hold each image once, got '000_HC\.png' in line 3"),
    ],
)
def test_hc18s_cells_that_are_no_measures_are_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=rf"training_set_pixel_size_and_HC\.csv: {message}"):
        hc18(tmp_path, "000_HC.png,0.07,44.3", row, "002_HC.png,0.07,180")


PLANES = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "
PLANE_ROWS = ("a;1;Other;Not A Brain;Op. 1;Aloka;1 ", "b;2;Fetal brain;Trans-ventricular;Op. 1;Aloka;0 ")


def planes(folder: Path, row: str, **settings):
    (folder / "Images").mkdir(exist_ok=True)
    (folder / "FETAL_PLANES_DB_data.csv").write_text("\n".join((PLANES, *PLANE_ROWS, row)) + "\n")
    return read_fetal_planes(folder, **settings)


def test_fetal_planes_cells_are_checked(tmp_path):
    assert planes(tmp_path, "c;;Other;Not A Brain;Op. 1;Aloka;1").excluded == {"c": "patient missing"}
    assert planes(tmp_path, "c;3;;Not A Brain;Op. 1;Aloka;1").excluded == {"c": "label missing"}
    assert planes(tmp_path, "c;3;Other;;;;1.0").values("split").tolist() == ["train", "test", "train"]
    assert planes(tmp_path, "c;3;Other;;;;").values("split").tolist() == ["train", "test", None]
    with pytest.raises(ValueError, match=r"FETAL_PLANES_DB_data\.csv: Plane must hold .*, got 'Fetal heart' in line 4"):
        planes(tmp_path, "c;3;Fetal heart;;;;1")
    with pytest.raises(ValueError, match=r"FETAL_PLANES_DB_data\.csv: Train must hold 1 or 0 .*, got 'TRUE' in line 4"):
        planes(tmp_path, "c;3;Other;;;;TRUE")


def test_airogs_cells_are_checked(tmp_path):
    rows = "challenge_id,class\nTRAIN000000,NRG\nTRAIN000001,RG\nTRAIN000002,\n"
    (tmp_path / "train_labels.csv").write_text(rows)
    assert read_airogs(tmp_path).excluded == {"TRAIN000002": "label missing"}
    (tmp_path / "train_labels.csv").write_text(rows + "TRAIN000003,rg\n")
    with pytest.raises(ValueError, match=r"train_labels\.csv: class must hold NRG or RG, got 'rg' in line 5"):
        read_airogs(tmp_path)
    (tmp_path / "train_labels.csv").write_text(rows + "TRAIN000001,NRG\n")
    with pytest.raises(ValueError, match=r"challenge_id must hold each image once, got 'TRAIN000001' in line 5"):
        read_airogs(tmp_path)


BUS = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side"
BUS_ROWS = ("bus_0001-l,1,x,benign,2,GE@10MHz,8,8,left", "bus_0002-l,2,x,malignant,5,GE@10MHz,8,8,left")


def busbra(folder: Path, row: str):
    for name in ("Images", "Masks"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "bus_data.csv").write_text("\n".join((BUS, *BUS_ROWS, row)) + "\n")
    return read_busbra(folder)


def test_busbras_cells_are_checked(tmp_path):
    cohort = busbra(tmp_path, "bus_0003-r,3.0,,malignant,4.0,GE,8,,right")
    assert cohort.patients.tolist() == ["case0001", "case0002", "case0003"]
    assert cohort.values("birads").tolist() == ["2", "5", "4"]
    assert cohort.values("frequency").tolist() == ["10MHz", "10MHz", None]
    np.testing.assert_array_equal(cohort.values("height"), [8, 8, np.nan])
    assert busbra(tmp_path, "bus_0003-r,,,malignant,4,GE,8,8,right").excluded == {"bus_0003-r": "patient missing"}
    assert busbra(tmp_path, "bus_0003-r,3,,,4,GE,8,8,right").excluded == {"bus_0003-r": "label missing"}
    for row, message in (
        (
            "bus_0003-r,3,x,Malignant,4,GE,8,8,right",
            r"Pathology must hold benign or malignant, got 'Malignant' in line 4",
        ),
        ("bus_0003-r,3,x,malignant,4a,GE,8,8,right", r"BIRADS must hold numbers .*, got '4a' in line 4"),
        ("bus_0003-r,c3,x,malignant,4,GE,8,8,right", r"Case must hold numbers .*, got 'c3' in line 4"),
        ("bus_0003-r,3,x,malignant,4,GE,8px,8,right", r"Width must hold numbers .*, got '8px' in line 4"),
    ):
        with pytest.raises(ValueError, match=rf"bus_data\.csv: {message}"):
            busbra(tmp_path, row)


def test_busbras_share_of_the_lesion_is_what_a_viewer_sees(tmp_path):
    busbra(tmp_path, "")
    roi = np.zeros((8, 8), np.uint8)
    roi[2:5, 3:6] = 255
    white_first = Image.fromarray((roi == 0).astype(np.uint8))
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    for name, mask in (("0001-l", Image.fromarray(roi)), ("0002-l", white_first)):
        mask.save(tmp_path / "Masks" / f"mask_{name}.png")
    assert read_busbra(tmp_path).values("lesion_fraction").tolist() == [9 / 64, 9 / 64]
    Image.fromarray(roi > 0).save(tmp_path / "Masks" / "mask_0002-l.png")
    assert read_busbra(tmp_path).values("lesion_fraction").tolist() == [9 / 64, 9 / 64]


def test_packs_are_checked_too(tmp_path):
    columns = "image,mask,label,patient_id,pixel_size_mm,head_circumference_mm,black_fraction"
    header = f"{columns},orig_width,orig_height,mask_fraction,mean_outside_mask"
    rows = ["a.png,a_m.png,first,1,0.1,80,0,8,8,0.1,9", "b.png,b_m.png,second,2,0.1,180,0,8,8,0.1,9"]

    def pack(row: str):
        (tmp_path / "metadata.csv").write_text("\n".join((header, *rows, row)) + "\n")
        return read_hc18(tmp_path)

    assert pack("c.png,c_m.png,first,,0.1,80,0,8,8,0.1,9").excluded == {"c": "patient missing"}
    assert pack("c.png,c_m.png,,3,0.1,80,0,8,8,0.1,9").excluded == {"c": "label missing"}
    with pytest.raises(ValueError, match=r"metadata\.csv: label must hold first or .*, got 'fourth' in line 4"):
        pack("c.png,c_m.png,fourth,3,0.1,80,0,8,8,0.1,9")
    with pytest.raises(
        ValueError, match=r"metadata\.csv: black_fraction must hold numbers .*, got 'none of it' in line 4"
    ):
        pack("c.png,c_m.png,first,3,0.1,80,none of it,8,8,0.1,9")


def test_chaksus_verdicts_are_checked(tmp_path):
    images, decisions = "1.0_Original_Fundus_Images", "6.0_Glaucoma_Decision"
    for part in ("Train", "Test"):
        (tmp_path / part / decisions).mkdir(parents=True)
        for camera in ("Bosch", "Forus", "Remidio"):
            (tmp_path / part / images / camera).mkdir(parents=True)
            table = tmp_path / part / decisions / f"Glaucoma_Decision_Comparison_{camera}_majority.csv"
            table.write_text("Images,Majority Decision\n1.jpg-1-1.jpg,NORMAL\n2.jpg-2-1.jpg,GLAUCOMA SUSPECT\n")
            for name in "12":
                Image.new("L", (2, 2)).save(tmp_path / part / images / camera / f"{name}.jpg")
    assert len(read_chaksu(tmp_path)) == 12
    start = table.read_text()
    for row, message in (
        ("1.jpg-1-1.jpg,GLAUCOMA SUSPECT", r"Images must hold each photograph with one verdict, got '1\.jpg-1-1\.jpg'"),
        (",NORMAL", r"Images must hold the name of a photograph beside every verdict, got None in line 4"),
        ("3.jpg-3-1.jpg,MAYBE", r"Majority Decision must hold NORMAL or GLAUCOMA SUSPECT, got 'MAYBE' in line 4"),
    ):
        table.write_text(f"{start}{row}\n")
        with pytest.raises(ValueError, match=rf"Remidio_majority\.csv: {message}"):
            read_chaksu(tmp_path)
    table.write_text(f"{start}1.jpg-1-1.jpg,NORMAL\n3.jpg-3-1.jpg,\n")
    assert len(read_chaksu(tmp_path)) == 12


def test_labels_of_a_dicom_folder_may_have_another_encoding(tmp_path):
    from dicom_files import write_dicom

    for number in range(2):
        write_dicom(tmp_path / f"{number}.dcm", np.arange(4).reshape(2, 2), PatientID=f"P{number}")
    (tmp_path / "labels.csv").write_text("image,label\n0,hübsch\n1,übel\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"labels\.csv must be text in UTF-8"):
        read_dicom(tmp_path, tmp_path / "labels.csv")
    assert read_dicom(tmp_path, tmp_path / "labels.csv", encoding="cp1252").label_names == ("hübsch", "übel")
