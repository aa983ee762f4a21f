# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from monai_shortcut.report import writable, write_report
from monai_shortcut.report.files import label_folders


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_folders_place_is_refused(record, tmp_path, below):
    place = tmp_path / "taken"
    place.write_text("mine")
    for call in (lambda: writable(place / below), lambda: write_report(record, place / below)):
        with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*taken"):
            call()
    assert place.read_text() == "mine"


@pytest.mark.parametrize("place", ["audit.json", "findings.csv", "figures/overview.png", "report.html"])
def test_a_report_that_cannot_be_finished_leaves_the_former_files_whole(record, folder, tmp_path, place):
    target = tmp_path / "report"
    write_report(record, target)
    before = files(target)
    (target / place).unlink()
    (target / place).mkdir()  # which no file can replace
    with pytest.raises(OSError, match=place.rsplit("/", 1)[-1].replace(".", r"\.")):
        write_report(replace(record, title="Another"), target)
    left = files(target)
    assert not [name for name in left if "part" in name]
    assert {name for name in left if left[name] != before[name]} <= {"audit.json"}


def test_folders_of_labels_differ_on_every_file_system():
    labels = ["Mass", "mass", "a/b", "a b", "..", "?", "mass_2", "größe"]
    folders = label_folders(labels)
    assert list(folders) == labels
    assert len({name.lower() for name in folders.values()}) == len(labels)
    assert all(re.fullmatch(r"[\w.-]+", name) and name not in (".", "..") for name in folders.values())
    assert folders["Mass"] == "Mass"
