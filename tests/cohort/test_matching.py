# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
import re
import time

import pytest

from monai_shortcut.cohort.matching import SUFFIXES, ImageMatcher, short_names, without_suffix


@pytest.mark.parametrize(
    ("name", "image_ids", "expected"),
    [
        ("a", ["a", "b"], "a"),
        ("/data/a.png", ["a", "b"], "a"),
        ("/data/a.nii.gz", ["a", "b"], "a"),
        ("/data/A.PNG", ["a", "A"], "A"),
        ("a.png", ["a.png", "b.png"], "a.png"),
        ("/data/a.png", ["a.jpg"], "a.jpg"),
        ("a", ["images/a.png"], "images/a.png"),
        ("C:\\scans\\a.dcm", ["scans/a"], "scans/a"),
        ("/data//x/a.png", ["x/a", "y/a"], "x/a"),
        ("/data/x/a.png", ["a", "x/a"], "x/a"),
        ("/data/z/a.png", ["a", "x/a"], "a"),
        ("/data/a.png", ["a.png", "a.jpg"], "a.png"),
        ("/data/1.2.840.7.dcm", ["1.2.840.7", "1.2.840"], "1.2.840.7"),
        ("1.2.840.7", ["1.2.840"], None),
        ("/data/scan.v2.png", ["scan.v2", "scan"], "scan.v2"),
        ("/data/scan.v2.png", ["scan"], None),
        ("/data/z/a.png", ["x/a"], None),
        ("/data/ab.png", ["a", "b"], None),
        ("7", ["07", "7"], "7"),
        (".png", ["png"], None),
        ("/", ["a"], None),
    ],
)
def test_an_image_finds_its_row_by_the_end_of_its_path(name, image_ids, expected):
    assert ImageMatcher(image_ids).find(name) == expected
    assert ImageMatcher(image_ids).find_all([name]) == [expected]


def test_all_images_are_matched_in_their_order():
    assert ImageMatcher(["a", "b", "c"]).find_all(["/d/c.png", "/d/a.png", "/d/x.png"]) == ["c", "a", None]


def test_a_name_that_fits_several_rows_is_refused():
    with pytest.raises(ValueError, match=re.escape("an image must fit one image id, got a, which fits x/a, y/a.")):
        ImageMatcher(["x/a", "y/a"]).find_all(["a"])


def test_two_files_that_fit_one_row_are_refused():
    message = (
        "image ids must tell the images apart (they may hold folders, as in a/x.png), got 2 alike: /p/a.png, /q/a.png"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        ImageMatcher(["a", "b"]).find_all(["/p/a.png", "/q/a.png", "/q/b.png"])
    assert ImageMatcher(["p/a", "q/a"]).find_all(["/p/a.png", "/q/a.png"]) == ["p/a", "q/a"]


def test_names_are_shortened_only_if_that_tells_them_apart():
    assert short_names(["/p/a.png", "/q/b.nii.gz", "/p/a.png"]) == ["a", "b", "a"]
    assert short_names(["/p/a.png", "/q/a.png"]) == ["/p/a.png", "/q/a.png"]
    assert short_names(["/p/a.png", "/p/a.jpg"]) == ["/p/a.png", "/p/a.jpg"]
    assert short_names([]) == []


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".nii.gz", ".DCM", ".npy.gz"])
def test_the_suffixes_of_images_are_known(suffix):
    assert without_suffix(f"scan.1{suffix}") == "scan.1"


@pytest.mark.parametrize("name", ["scan.1", "scan.v2", "archive.gz", "table.csv", ".png", "scan"])
def test_other_endings_are_part_of_the_name(name):
    assert without_suffix(name) == name


# --- many names


def slow_find(image_ids, name) -> str | None:
    """By the definition: all ids are compared, folder by folder from the end."""

    def split(text):
        *folders, file = [part for part in re.split(r"[/\\\\]+", text) if part] or [text]
        return folders[::-1], file, without_suffix(file)

    if name in image_ids:
        return name
    folders, file, stem = split(name)
    fitting = []
    for image in image_ids:
        own, own_file, own_stem = split(image)
        if own_stem == stem and all(a == b for a, b in zip(own, folders, strict=False)):
            fitting.append((own_file == file, len(own), image))
    best = [image for *rank, image in fitting if rank == list(max(fitting)[:2])]
    if len(best) > 1:
        raise ValueError(f"an image must fit one image id, got {name}, which fits {', '.join(best[:5])}.")
    return best[0] if best else None


def random_name(chance: random.Random) -> str:
    folders = [chance.choice(["a", "b", "..", "1.2"]) + chance.choice("//\\") for _ in range(chance.randrange(4))]
    file = chance.choice(["a", "b", "a.png", "a.PNG", "a.nii.gz", "b.dcm", "a.v2", ".png", "a..png", "a.gz"])
    return chance.choice(["", "", "/"]) + "".join(folders) + file


def test_images_are_found_as_by_comparing_all_ids():
    chance, outcomes = random.Random(0), {"found": 0, "none": 0, "several": 0}
    for _ in range(800):
        image_ids = list(dict.fromkeys(random_name(chance) for _ in range(chance.randrange(1, 9))))
        matcher = ImageMatcher(image_ids)
        for name in (random_name(chance) for _ in range(6)):
            try:
                expected = slow_find(image_ids, name)
            except ValueError as error:
                outcomes["several"] += 1
                with pytest.raises(ValueError, match=f"^{re.escape(str(error))}$"):
                    matcher.find(name)
            else:
                outcomes["none" if expected is None else "found"] += 1
                assert matcher.find(name) == expected
    assert min(outcomes.values()) > 100


@pytest.mark.parametrize("names_are_longer", [True, False])
def test_files_that_share_one_name_take_a_time_that_grows_with_their_number(names_are_longer):
    seconds = {}
    for count in (1000, 8000):
        whole = [f"/data/train/patient{i:05d}/study1/view1_frontal.jpg" for i in range(count)]
        part = [name.removeprefix("/data/") for name in whole]
        image_ids, names = (part, whole) if names_are_longer else (whole, part)
        seconds[count] = float("inf")
        for _ in range(3):  # the least, for whatever else a process does takes time too
            start = time.process_time()
            assert ImageMatcher(image_ids).find_all(names) == image_ids
            seconds[count] = min(seconds[count], time.process_time() - start)
    assert seconds[8000] < 24 * seconds[1000]  # 8 times as long; 64 times if each were compared with all


def test_one_name_in_two_unicode_forms_is_one_name():
    matcher = ImageMatcher(["Mu\u0308ller/1", "Jos\u00e9.png"])
    assert matcher.find("M\u00fcller/1") == "Mu\u0308ller/1"
    assert matcher.find("/data/M\u00fcller/1.png") == "Mu\u0308ller/1"
    assert matcher.find("/data/Jose\u0301.png") == "Jos\u00e9.png"
    assert matcher.find("/data/Jose.png") is None


def test_deep_folders_take_no_longer_than_the_ids_are_deep():
    ids = [f"p{i}/view1_frontal.jpg" for i in range(2000)]
    deep = "/x" * 2000
    start = time.process_time()
    assert ImageMatcher(ids).find_all([f"{deep}/{image}" for image in ids]) == ids
    assert time.process_time() - start < 2
