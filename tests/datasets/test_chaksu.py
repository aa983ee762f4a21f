# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_shortcut.datasets import read_airogs, read_chaksu, usable, write_chaksu_regions

EXPERTS = ",".join(f"Expert.{number}" for number in range(1, 6))
IMAGES, FUSED, DECISIONS = "1.0_Original_Fundus_Images", "4.0_OD_CO_Fusion_Images", "6.0_Glaucoma_Decision"
SUSPECT, NORMAL = "GLAUCOMA SUSPECT", "NORMAL"
# part, camera, photograph, outline, name in the table, verdict, rows of the disc and of the cup
PHOTOGRAPHS = (
    ("Train", "Bosch", "Image101.JPG", "Image101.tif", "Image101.jpg-Image101-1.jpg", NORMAL, (2, 8), (4, 6)),
    ("Train", "Bosch", "P12_Image102.JPG", "P12_Image102.tif", "P12_Image102.jpg-x-1.jpg", SUSPECT, (1, 9), (3, 7)),
    ("Test", "Bosch", "P12_Image103.JPG", "P12_Image103.tif", "P12_Image103.jpg-x-1.jpg", NORMAL, (3, 7), (5, 6)),
    ("Train", "Forus", "7.png", "7.png", "7.jpg-7-1.jpg", NORMAL, (0, 5), (1, 3)),
    ("Test", "Forus", "7.png", "7.png", "7.jpg-7-1.jpg", "GLAUCOMA  SUSUPECT", (5, 10), (6, 9)),
    ("Train", "Remidio", "IMG_24.JPG", "img_24.jpg", "IMG_24.tif-IMG_24-1.tif", SUSPECT, (2, 7), (3, 5)),
    ("Test", "Remidio", "IMG_25.JPG", "IMG_25.tif", "IMG_25.tif-IMG_25-1.tif", NORMAL, (4, 9), (5, 8)),
    ("Test", "Remidio", "IMG_26.JPG", "IMG_26.tif", "", "", (4, 9), (5, 8)),
)
IDS = [f"{part}_{camera}_{Path(name).stem}" for part, camera, name, *_ in PHOTOGRAPHS]
ORDER = [0, 1, 3, 5, 2, 4, 6]  # Train before Test, cameras by name; the last has no verdict
SIZE = 16


def square(rows: tuple[int, int]) -> np.ndarray:
    region = np.zeros((SIZE, 2 * SIZE), dtype=bool)
    region[slice(*rows), slice(*rows)] = True
    return region


@pytest.fixture
def published(tmp_path, rng) -> Path:
    for part in ("Train", "Test"):
        (tmp_path / part / DECISIONS).mkdir(parents=True)
        for camera in ("Bosch", "Forus", "Remidio"):
            spelling = "Remedio" if (part, camera) == ("Test", "Remidio") else camera
            (tmp_path / part / IMAGES / camera).mkdir(parents=True)
            (tmp_path / part / FUSED / spelling / "STAPLE").mkdir(parents=True)
            both = camera == "Bosch"  # its table lists the photographs of both parts
            rows = [row for row in PHOTOGRAPHS if row[1] == camera and (both or row[0] == part) and row[4]]
            column = "Majority Decision" if both or part == "Train" else "Glaucoma Decision"
            lines = [f"{name},{','.join([verdict] * 5)},{verdict}" for *_, name, verdict, _, _ in rows]
            table = tmp_path / part / DECISIONS / f"Glaucoma_Decision_Comparison_{camera}_majority.csv"
            table.write_text("\n".join((f"Images,{EXPERTS},{column}", *lines)) + "\n")
    for part, camera, photograph, outline, _, _, disc, cup in PHOTOGRAPHS:
        colours = rng.integers(0, 256, (SIZE, 2 * SIZE, 3), dtype=np.uint8)
        Image.fromarray(colours).save(tmp_path / part / IMAGES / camera / photograph)
        spelling = "Remedio" if (part, camera) == ("Test", "Remidio") else camera
        grey = np.uint8(127 * square(disc) + 128 * square(cup))
        Image.fromarray(grey).save(tmp_path / part / FUSED / spelling / "STAPLE" / outline)
    (tmp_path / "Train" / IMAGES / "Bosch" / "._Image101.JPG").write_bytes(b"left by an archiver")
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    write_chaksu_regions(published, published / "discs")
    cohort = read_chaksu(published, regions=published / "discs")
    assert cohort.image_ids == tuple(IDS[row] for row in ORDER)
    assert cohort.label_names == ("no glaucoma", "glaucoma")
    assert cohort.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert cohort.excluded == {"Test_Remidio_IMG_26": "label missing"}
    assert cohort.attributes == ("camera", "split")
    assert cohort.values("camera").tolist() == ["Bosch", "Bosch", "Forus", "Remidio", "Bosch", "Forus", "Remidio"]
    assert cohort.values("split").tolist() == ["train"] * 4 + ["test"] * 3
    assert usable(cohort).excluded == cohort.excluded
    assert "roi" not in read_chaksu(published).table


def test_patients_are_those_that_names_tell_also_across_parts(published):
    cohort = read_chaksu(published)
    patients = dict(zip(cohort.image_ids, cohort.patients.tolist(), strict=True))
    assert patients["Train_Bosch_P12_Image102"] == patients["Test_Bosch_P12_Image103"] == "Bosch_P12"
    assert patients["Train_Forus_7"] != patients["Test_Forus_7"]  # one name in both parts, but two photographs
    assert len(set(patients.values())) == 6


@pytest.mark.parametrize(("structure", "column"), [("disc", 6), ("cup", 7)])
def test_each_photograph_gets_its_own_disc_or_cup(published, structure, column):
    paths = {path.stem: path for path in write_chaksu_regions(published, published / structure, structure=structure)}
    assert set(paths) == set(IDS)
    for image, row in zip(IDS, PHOTOGRAPHS, strict=True):
        region = np.asarray(Image.open(paths[image])) > 0
        wrong = region ^ square(row[column])
        assert wrong.sum() <= (6 if row[3].endswith("jpg") else 0)  # a lossy picture blurs the edge


def test_outlines_that_say_nothing_leave_photographs_without_region(published):
    fused = published / "Train" / FUSED
    (fused / "Bosch" / "STAPLE" / "Image101.tif").unlink()
    (fused / "Bosch" / "STAPLE" / "P12_Image102.tif").write_text("no image")
    Image.new("L", (2 * SIZE, SIZE)).save(fused / "Forus" / "STAPLE" / "7.png")
    assert len(write_chaksu_regions(published, published / "discs")) == len(PHOTOGRAPHS) - 3
    reasons = usable(read_chaksu(published, regions=published / "discs")).excluded
    assert {image for image, reason in reasons.items() if reason == "roi missing"} == {IDS[0], IDS[1], IDS[3]}


def test_a_folder_inside_itself_is_read(published):
    before = read_chaksu(published)
    (published / "Train").rename(published / "inner")
    (published / "Train").mkdir()
    (published / "inner").rename(published / "Train" / "Train")
    after = read_chaksu(published)
    assert after.image_ids == before.image_ids
    assert after.table["image"].iloc[0] == str(published / "Train" / "Train" / IMAGES / "Bosch" / "Image101.JPG")


def test_a_model_of_chaksu_can_be_tested_on_airogs(published, tmp_path):
    (tmp_path / "train_labels.csv").write_text("challenge_id,class\nTRAIN000000,NRG\nTRAIN000001,RG\n")
    assert read_airogs(tmp_path).label_names == read_chaksu(published).label_names


def test_wrong_folders_tables_and_structures_are_refused(tmp_path, published):
    with pytest.raises(FileNotFoundError, match=r"must hold Train and Test, each with 1\.0_.* got .* no such folder\."):
        read_chaksu(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"structure must be disc or cup, got 'rim'\."):
        write_chaksu_regions(published, tmp_path, structure="rim")
    table = published / "Train" / DECISIONS / "Glaucoma_Decision_Comparison_Forus_majority.csv"
    table.write_text(f"Images,{EXPERTS},Majority Decision\n7.jpg-7-1.jpg,,,,,,MAYBE\n")
    with pytest.raises(ValueError, match=r"Forus.*must hold NORMAL or GLAUCOMA SUSPECT, got 'MAYBE' in line 2:"):
        read_chaksu(published)
    table.write_text(f"Images,{EXPERTS}\n")
    with pytest.raises(ValueError, match=r"must have a column Majority Decision or Glaucoma Decision, got Images,"):
        read_chaksu(published)
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold Glaucoma_Decision_Comparison_Forus_majority\.csv, got"):
        read_chaksu(published)
    fused = published / "Test" / FUSED
    (fused / "Remedio").rename(fused / "Other")
    with pytest.raises(FileNotFoundError, match=r"must hold Remidio/STAPLE, got .* with: Bosch, Forus, Other\."):
        write_chaksu_regions(published, tmp_path / "discs")
    (published / "Test" / IMAGES / "Forus").rename(published / "Test" / IMAGES / "Bosch2")
    with pytest.raises(
        FileNotFoundError, match=r"must hold Bosch, Forus, Remidio, got .* with: Bosch, Bosch2, Remidio"
    ):
        read_chaksu(published)
