# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_shortcut.datasets import read_airogs, usable

ROWS = {
    "TRAIN000000": ("NRG", "0"),
    "TRAIN017999": ("RG", "0"),
    "TRAIN018000": ("NRG", "1"),
    "TRAIN101441": ("RG", "5"),
}


@pytest.fixture
def published(tmp_path, rng):
    lines = ["challenge_id,class", *(f"{name},{verdict}" for name, (verdict, _) in ROWS.items())]
    (tmp_path / "train_labels.csv").write_text("\n".join(lines) + "\n")
    for name, (_, number) in ROWS.items():
        (tmp_path / number).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).save(tmp_path / number / f"{name}.jpg")
    return tmp_path


def test_published_layout_is_read_value_by_value(published):
    cohort = read_airogs(published)
    assert cohort.image_ids == tuple(ROWS)
    assert cohort.label_names == ("no glaucoma", "glaucoma")
    assert cohort.labels.tolist() == [0, 1, 0, 1]
    assert len(set(cohort.patients)) == 4
    assert cohort.attributes == ()
    assert cohort.table.loc["TRAIN101441", "image"] == str(published / "5" / "TRAIN101441.jpg")
    assert usable(cohort).excluded == {}
    assert cohort.outcomes().to_dict("list") == {"glaucoma": [0, 1, 0, 1]}


def test_merged_folders_are_read_and_lost_photographs_left_to_usable(published):
    (published / "images").mkdir()
    (published / "5" / "TRAIN101441.jpg").rename(published / "images" / "TRAIN101441.jpg")
    (published / "1" / "TRAIN018000.jpg").unlink()
    cohort = read_airogs(published)
    assert cohort.table.loc["TRAIN101441", "image"] == str(published / "images" / "TRAIN101441.jpg")
    assert usable(cohort).excluded == {"TRAIN018000": "image missing"}


def test_wrong_folders_and_tables_are_refused(tmp_path, published):
    with pytest.raises(FileNotFoundError, match=r"must hold train_labels\.csv, got .* with: no such folder\."):
        read_airogs(tmp_path / "elsewhere")
    (published / "train_labels.csv").write_text("challenge_id,class\nTRAIN000000,NRG\nTRAIN000001,U\n")
    with pytest.raises(ValueError, match=r"class must hold NRG or RG, got 'U' in line"):
        read_airogs(published)
    (published / "train_labels.csv").write_text("image,class\nTRAIN000000,NRG\n")
    with pytest.raises(ValueError, match=r"must have columns challenge_id, class, got none named challenge_id\."):
        read_airogs(published)
