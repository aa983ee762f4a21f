# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from monai_shortcut.report.drawings import Drawing
from monai_shortcut.report.files import label_folders, report_files
from monai_shortcut.storage.folders import replace_files


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


def test_the_files_of_a_report_are_written_where_they_are_named(tmp_path):
    table = pd.DataFrame({"content": ["first", "=1"]})
    records = {"record.json": lambda path: path.write_text("[1]")}
    found = report_files(records, {"rows": table}, {"drawn": Drawing("drawn", "<svg/>")}, "\u00e9\udcff", "page.html")
    assert list(found)[-1] == "page.html"
    assert replace_files(tmp_path, found, "page.html") == tmp_path / "page.html"
    assert files(tmp_path) == {
        "record.json": b"[1]",
        "rows.csv": b"content\nfirst\n'=1\n",
        "figures/drawn.svg": b"<svg/>",
        "page.html": b"\xc3\xa9\\udcff",
    }


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
