# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from monai_shortcut.report import writable
from monai_shortcut.report.files import label_folders, write_files


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_folders_place_is_refused(tmp_path, below):
    place = tmp_path / "taken"
    place.write_text("mine")
    for call in (lambda: writable(place / below), lambda: write_files(place / below, {}, {}, {}, "")):
        with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*taken"):
            call()
    assert place.read_text() == "mine"


@pytest.mark.parametrize("place", ["record.json", "rows.csv", "figures/drawn.png", "report.html"])
def test_a_report_that_cannot_be_finished_leaves_the_former_files_whole(tmp_path, place):
    def write(content: str) -> Path:
        records = {"record.json": lambda path: path.write_text(content)}
        tables = {"rows": pd.DataFrame({"content": [content]})}
        return write_files(tmp_path, records, tables, {"drawn": content.encode()}, content)

    assert write("first") == tmp_path / "report.html"
    before = files(tmp_path)
    assert list(before.values()).count(b"first") == 3
    assert before["rows.csv"] == b"content\nfirst\n"
    (tmp_path / place).unlink()
    (tmp_path / place).mkdir()  # which no file can replace
    with pytest.raises(OSError, match=place.rsplit("/", 1)[-1].replace(".", r"\.")):
        write("second")
    order = ["record.json", "rows.csv", "figures/drawn.png", "report.html"]
    left = files(tmp_path)
    assert set(left) == set(before) - {place}
    assert {name for name in left if left[name] != before[name]} == set(order[: order.index(place)])


def test_folders_of_labels_differ_on_every_file_system():
    labels = ["Mass", "mass", "a/b", "a b", "..", "?", "mass_2", "größe"]
    folders = label_folders(labels)
    assert list(folders) == labels
    assert len({name.lower() for name in folders.values()}) == len(labels)
    assert all(re.fullmatch(r"[\w.-]+", name) and name not in (".", "..") for name in folders.values())
    assert folders["Mass"] == "Mass"


def test_folders_of_hostile_labels():
    labels = ["con", "COM1", "lpt9.txt", "figures", "report.html", "x" * 300, "x" * 299 + "y", "\u4e2d" * 300]
    labels += ["e\u0301", "\u00e9", "stra\u00dfe", "STRASSE", "x\udcff", "../a", "a", "CONTRAST", ""]
    folders = list(label_folders(labels).values())
    assert folders[:5] == ["label_con", "label_COM1", "label_lpt9.txt", "label_figures", "label_report.html"]
    assert folders[5:8] == ["x" * 100, "x" * 100 + "_2", "\u4e2d" * 33]
    assert folders[8:] == ["\u00e9", "\u00e9_2", "stra\u00dfe", "STRASSE_2", "x", "a", "a_2", "CONTRAST", "label"]
