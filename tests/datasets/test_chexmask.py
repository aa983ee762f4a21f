# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image

from monai_shortcut.datasets import decode_rle, encode_rle, write_chexmask

HEADER = [
    "ImageID",
    "Dice RCA (Mean)",
    "Dice RCA (Max)",
    "Landmarks",
    "Left Lung",
    "Right Lung",
    "Heart",
    "Height",
    "Width",
]
# In an image of 3 rows and 5 columns, pixels counted along the rows from 1:
LEFT = "4 2 9 2"  # the last two columns of rows 0 and 1
RIGHT = "1 1 6 2"  # (0, 0), (1, 0), (1, 1)
HEART = "12 3"  # row 2, columns 1 to 3
LUNGS = [[1, 0, 0, 1, 1], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0]]


def row(image: str, dice: float | str, left: str = LEFT, right: str = RIGHT, heart: str = HEART) -> list[object]:
    return [image, dice, 0.9, "[1,2]", left, right, heart, 3, 5]


def write_table(path: Path, rows: list[list[object]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def slow_decode(code: str, height: int, width: int) -> np.ndarray:
    region = np.zeros((height, width), dtype=bool)
    numbers = [int(text) for text in code.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for pixel in range(start - 1, start - 1 + length):
            region[pixel // width, pixel % width] = True
    return region


def test_runs_go_along_the_rows_and_count_from_one():
    assert decode_rle("4 2 9 2 1 1 6 2", 3, 5).astype(int).tolist() == LUNGS
    assert decode_rle("5 2", 2, 5).astype(int).tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]  # over the line's end
    assert not decode_rle("", 2, 5).any()


@pytest.mark.parametrize("shape", [(1, 1), (7, 4), (4, 7), (30, 50)])
def test_decoding_undoes_encoding(shape, rng):
    for density in (0, 0.1, 0.5, 0.9, 1):
        region = rng.random(shape) < density
        code = encode_rle(region)
        np.testing.assert_array_equal(decode_rle(code, *shape), region)
        np.testing.assert_array_equal(slow_decode(code, *shape), region)


def test_an_image_coded_by_columns_would_be_another():
    region = np.zeros((3, 5), dtype=bool)
    region[1, 1:4] = True
    assert encode_rle(region) == "7 3"
    assert not np.array_equal(decode_rle(encode_rle(region), 5, 3).T, region)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 2 3", r"pairs of start and length, got 3 numbers\."),
        ("14 3", r"among the 3 x 5 pixels 1 to 15, got some from 14 up to 16\."),
        ("0 2", r"among the 3 x 5 pixels 1 to 15, got some from 0 up to 1\."),
        ("3 -1", r"among the 3 x 5 pixels 1 to 15"),
    ],
)
def test_codes_that_fit_no_image_are_refused(code, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(code, 3, 5)


def test_lungs_are_written_where_the_quality_is_high_enough(tmp_path):
    table = write_table(
        tmp_path / "Padchest.csv",
        [row("a.png", 0.95), row("b.png", 0.7), row("c.png", 0.7001), row("d.png", ""), row("e.png", 0.9, right="")],
    )
    paths = write_chexmask(table, tmp_path / "lungs", "padchest")
    assert paths == [tmp_path / "lungs" / "a.png", tmp_path / "lungs" / "c.png"]
    assert sorted(path.name for path in (tmp_path / "lungs").iterdir()) == ["a.png", "c.png"]
    with Image.open(paths[0]) as image:
        assert image.size == (5, 3)
        assert (np.asarray(image) > 0).astype(int).tolist() == LUNGS
    loaded = LoadImage(image_only=True, ensure_channel_first=True)(paths[0]).numpy()
    assert (loaded[0].T > 0).astype(int).tolist() == LUNGS  # MONAI reads PNG with columns first


def test_files_that_are_there_are_kept_and_only_those_asked_for_written(tmp_path):
    table = write_table(tmp_path / "Padchest.csv", [row("a.png", 0.9), row("b.png", 0.9), row("c.png", 0.9)])
    assert write_chexmask(table, tmp_path, "padchest", image_ids=["b.png"]) == [tmp_path / "b.png"]
    (tmp_path / "b.png").write_bytes(b"mine")
    assert len(write_chexmask(table, tmp_path, "padchest")) == 3
    assert (tmp_path / "b.png").read_bytes() == b"mine"
    assert not list(tmp_path.glob(".*"))


def test_structures_and_collections_can_be_chosen(tmp_path):
    header = ["Image Index", *HEADER[1:]]
    table = write_table(tmp_path / "ChestX-Ray8.csv", [row("1.png", 0.8)], header)
    heart = write_chexmask(table, tmp_path / "heart", "nih", structures=["Heart"])
    assert np.asarray(Image.open(heart[0])).astype(int).tolist() == [[0] * 5, [0] * 5, [0, 1, 1, 1, 0]]
    chest = write_chexmask(table, tmp_path / "chest", "nih", structures=["Heart", "Left Lung"], least_dice=0.5)
    assert np.asarray(Image.open(chest[0])).sum() == 7


def test_wrong_tables_and_settings_are_refused(tmp_path):
    table = write_table(tmp_path / "Padchest.csv", [row("a.png", 0.9, heart="99 9")])
    with pytest.raises(ValueError, match=r"collection must be padchest or nih, got 'mimic'\."):
        write_chexmask(table, tmp_path, "mimic")
    with pytest.raises(ValueError, match=r"structures must be among Right Lung, Left Lung, Heart, got Lung\."):
        write_chexmask(table, tmp_path, "padchest", structures=["Lung"])
    with pytest.raises(ValueError, match=r"structures must be among .*, got none\."):
        write_chexmask(table, tmp_path, "padchest", structures=[])
    with pytest.raises(ValueError, match=r"Padchest\.csv must have columns .* got none named Image Index\."):
        write_chexmask(table, tmp_path, "nih")
    with pytest.raises(ValueError, match=r"the codes of a\.png must fit its size: runs must stay among the 3 x 5"):
        write_chexmask(table, tmp_path, "padchest", structures=["Heart"])


@pytest.mark.parametrize(
    ("code", "size", "message"),
    [
        (
            f"1 {2**63 - 1}",
            (2, 3),
            "runs must stay among the 2 x 3 pixels 1 to 6, got some from 1 up to 9223372036854775807",
        ),
        (f"{2**63 - 1} 9", (2, 3), "runs must stay among the 2 x 3 pixels"),
        (f"{2**63} 1", (2, 3), "runs must stay among the 2 x 3 pixels"),
        ("1 -1", (2, 3), "runs must stay among the 2 x 3 pixels"),
        ("0 1", (2, 3), "runs must stay among the 2 x 3 pixels"),
        ("1 1.5", (2, 3), "a run-length code must be whole numbers, got '1.5'"),
        ("nan", (2, 3), "a run-length code must be whole numbers, got 'nan'"),
        ("1_0 1", (9, 9), "a run-length code must be whole numbers, got '1_0'"),
        ("1 1", (0, 3), "an image must have 1 to 1073741824 pixels, got 0 x 3"),
        ("1 1", (10**6, 10**6), "an image must have 1 to 1073741824 pixels"),
    ],
)
def test_numbers_that_are_no_runs_are_refused(code, size, message):
    with pytest.raises(ValueError, match=message):
        decode_rle(code, *size)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "../a.png,0.9,1 1,1 1,1 1,2,2",
            r"t\.csv must name images by their files, without folders, got '../a.png' in line 2",
        ),
        ("a.png,good,1 1,1 1,1 1,2,2", r"t\.csv must hold Dice RCA \(Mean\) from 0 to 1, got 'good' in line 2"),
        ("a.png,1.7,1 1,1 1,1 1,2,2", "from 0 to 1, got '1.7' in line 2"),
        (
            "a.png,0.9,1 1,1 1,1 1,2.5,2",
            r"must fit its size: Height must be a whole number, got '2.5'\. \(.*t\.csv line 2\)",
        ),
        ("a.png,0.9,1 9,1 1,1 1,2,2", r"the codes of a.png must fit its size: runs .* \(.*t\.csv line 2\)"),
    ],
)
def test_rows_that_are_wrong_are_named(tmp_path, row, message):
    head = "Image Index,Dice RCA (Mean),Right Lung,Left Lung,Heart,Height,Width\n"
    (tmp_path / "t.csv").write_text(head + row + "\n")
    with pytest.raises(ValueError, match=message):
        write_chexmask(tmp_path / "t.csv", tmp_path / "masks", "nih")
