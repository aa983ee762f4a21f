# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_shortcut.datasets import read_busbra, usable

ATTRIBUTES = ("device", "frequency", "side", "birads", "histology", "width", "height", "lesion_fraction")
HEADER = "ID,Case,Histology,Pathology,BIRADS,Device,Width,Height,Side,BBOX"
ROWS = (
    'bus_0001-l,1,invasive ductal carcinoma,malignant,4,GE Logiq 7 @10-14MHz,20,30,left,"[1,2,3,4]"',
    'bus_0001-r,1,invasive ductal carcinoma,malignant,4,GE Logiq 7 @10-14MHz,20,30,right,"[1,2,3,4]"',
    'bus_0038-s,38,fibroadenoma,benign,2,Toshiba Aplio 300 @12-14 MHz,40,30,single,"[1,2,3,4]"',
    'bus_1000-l,1000,fibroadenoma,benign,3,U-Systems,20,32,left,"[1,2,3,4]"',
)
INSIDE = {"bus_0001-l": 6, "bus_0001-r": 30, "bus_0038-s": 12, "bus_1000-l": 64}


@pytest.fixture
def published(tmp_path, rng) -> Path:
    """Four images in the published layout; the number of pixels inside each lesion is in INSIDE."""
    (tmp_path / "bus_data.csv").write_text("\n".join((HEADER, *ROWS)) + "\n")
    for folder in ("Images", "Masks"):
        (tmp_path / folder).mkdir()
    for row in ROWS:
        name, width, height = row.split(",")[0], *map(int, row.split(",")[6:8])
        inside = np.zeros(width * height, dtype=np.uint8)
        inside[: INSIDE[name]] = 255
        grey = rng.integers(0, 255, (height, width), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "Images" / f"{name}.png")
        mask = Image.fromarray(inside.reshape(height, width)).convert("1" if name.endswith("l") else "L")
        mask.save(tmp_path / "Masks" / f"mask_{name[4:]}.png")
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    cohort = read_busbra(published)
    assert cohort.image_ids == tuple(INSIDE)
    assert cohort.patients.tolist() == ["case0001", "case0001", "case0038", "case1000"]
    assert cohort.label_names == ("benign", "malignant")
    assert cohort.labels.tolist() == [1, 1, 0, 0]
    assert cohort.attributes == ATTRIBUTES
    assert cohort.values("device").tolist() == ["GE Logiq 7", "GE Logiq 7", "Toshiba Aplio 300", "U-Systems"]
    assert cohort.values("frequency").tolist() == ["10-14MHz", "10-14MHz", "12-14 MHz", None]
    assert cohort.values("side").tolist() == ["left", "right", "single", "left"]
    assert cohort.values("birads").tolist() == ["4", "4", "2", "3"]
    assert cohort.values("histology").tolist() == ["invasive ductal carcinoma"] * 2 + ["fibroadenoma"] * 2
    assert cohort.values("width").tolist() == [20, 20, 40, 20]
    assert cohort.values("height").tolist() == [30, 30, 30, 32]
    np.testing.assert_allclose(cohort.values("lesion_fraction"), [6 / 600, 30 / 600, 12 / 1200, 64 / 640])
    assert cohort.table["roi"].iloc[0] == str(published / "Masks" / "mask_0001-l.png")
    assert usable(cohort).excluded == {}


def test_lost_masks_are_missing_values_and_left_to_usable(published):
    (published / "Masks" / "mask_0038-s.png").unlink()
    (published / "Masks" / "mask_1000-l.png").write_text("no image")
    cohort = read_busbra(published)
    assert np.isnan(cohort.values("lesion_fraction")).tolist() == [False, False, True, True]
    excluded = usable(cohort).excluded
    assert set(excluded) == {"bus_0038-s", "bus_1000-l"}
    assert excluded["bus_0038-s"] == "roi missing"


def test_the_pack_has_the_counts_of_its_readme(busbra):
    cohort = read_busbra(busbra)
    assert len(cohort) == 1312
    assert cohort.excluded == {}
    assert len(set(cohort.patients)) == 746
    assert np.bincount(cohort.labels).tolist() == [885, 427]
    devices, counts = np.unique(cohort.values("device").astype(str), return_counts=True)
    assert dict(zip(devices, counts, strict=True)) == {
        "GE Logiq 5": 568,
        "GE Logiq 7": 630,
        "Toshiba Aplio 300": 97,
        "U-Systems": 17,
    }
    assert np.unique(cohort.values("birads").astype(str), return_counts=True)[1].tolist() == [395, 327, 474, 116]
    malignant = [round(100 * cohort.labels[cohort.values("device") == device].mean()) for device in devices]
    assert malignant == [30, 32, 49, 41]


def test_the_pack_and_the_published_layout_agree(busbra):
    cohort = read_busbra(busbra)
    assert cohort.attributes == (*ATTRIBUTES, "mean_outside_roi")
    first = cohort.table.loc["bus_0001-l"]
    # The row of bus_0001-l in the published table: case 1, GE Logiq 7 @10-14MHz, 274 x 353 pixels, left, BI-RADS 4.
    assert first[["patient_id", "label", "device", "frequency", "side", "birads"]].tolist() == [
        "case0001",
        "malignant",
        "GE Logiq 7",
        "10-14MHz",
        "left",
        "4",
    ]
    assert first[["width", "height", "lesion_fraction", "mean_outside_roi"]].tolist() == [274, 353, 0.0586, 50.51]
    assert [cohort.kind(name) for name in cohort.attributes] == [
        *["categorical", "categorical", "categorical", "ordinal", "categorical"],
        *["continuous"] * 4,
    ]
    item = cohort.datalist()[0]
    assert item["image"] == str(busbra / "images" / "bus_0001-l.png")
    inside = np.asarray(Image.open(item["roi"])) > 0
    assert abs(inside.mean() - 0.0586) < 0.02


def test_folders_with_neither_layout_are_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"metadata\.csv or bus_data\.csv, Images and Masks, got .* with: nothing"
    ):
        read_busbra(tmp_path)
    (tmp_path / "bus_data.csv").write_text(HEADER + "\n")
    with pytest.raises(FileNotFoundError, match=r"with: bus_data\.csv\."):
        read_busbra(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"with: no such folder\."):
        read_busbra(tmp_path / "elsewhere")


def test_tables_of_other_collections_are_refused(tmp_path):
    pd.DataFrame({"image": ["a.png"], "label": ["first"], "patient_id": ["p"]}).to_csv(tmp_path / "metadata.csv")
    with pytest.raises(
        ValueError, match=r"metadata\.csv must have columns image, .*, got none named device, frequency,"
    ):
        read_busbra(tmp_path)
