# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_shortcut check`` as users type it, and its guide."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from monai_shortcut.__main__ import main
from monai_shortcut.report.check_page import write_check
from monai_shortcut.table_check import TableCheck

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "how-to" / "check-a-table.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A table that leaks: the scanner tells the label, a patient is in two parts, an image is there twice."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image_id": [f"scan_{number:03}" for number in range(120)]})
    table["patient_id"] = np.repeat([f"Ann{number:02}" for number in range(60)], 2)
    table["label"] = np.repeat(rng.permutation(["benign", "malignant"] * 30), 2)
    table["scanner"] = np.where(table["label"] == "malignant", "B", np.repeat(rng.choice(["A", "C"], 60), 2))
    table["sex"] = np.repeat(rng.permutation(["F", "M"] * 30), 2)
    table["split"] = ["train"] * 80 + ["test"] * 40
    table.loc[7, "split"] = "test"
    table.to_csv("metadata.csv", index=False)
    table.drop(columns=["scanner", "split"]).to_csv("clean.csv", index=False)
    Path("images").mkdir()
    for name in table["image_id"][:12]:
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8))
        coarse.resize((64, 48), Image.Resampling.BICUBIC).save(f"images/{name}.png")
    Image.open("images/scan_001.png").resize((96, 72)).save("images/scan_010.png")
    return tmp_path


def test_a_leaking_table_fails_with_a_page_and_tables(folder, capsys):
    given = ["metadata.csv", "--images", "images", "--output", "check", "--fail-on", "confounded, leak,duplicates"]
    assert main(["check", *given]) == 2
    printed = capsys.readouterr().out
    assert "scanner: confounded, AUC from it alone: malignant 1.00" in printed
    assert "sex: " in printed
    assert "no image is malignant with scanner A" in printed
    assert "patients in several folds: 1" in printed
    assert "108 images could not be read: image missing" in printed
    assert printed.splitlines()[-1].startswith("the check fails: confounded (")
    assert printed.splitlines()[-1].endswith(
        "leak (1 patient in several folds); duplicates (1 image seen twice or more)"
    )
    assert f"report: {Path('check') / 'report.html'} (beside it check.json, CSV tables and figures)" in printed
    assert {path.name for path in Path("check").glob("*.*")} >= {
        *(
            f"{name}.csv"
            for name in ("telling", "associations", "cells", "leaks", "duplicates", "unusable", "excluded")
        ),
        "check.json",
        "report.html",
    }
    assert Path("check/figures/areas.svg").is_file()
    page = " ".join(Path("check/report.html").read_text().split())
    assert "<b>The label can be told without the images</b>, from" in page
    assert "<b>1 patient is in several folds</b>" in page
    assert "no image</b>: a shortcut by them no audit of these images can see" in page
    leaks, told = pd.read_csv("check/leaks.csv"), pd.read_csv("check/telling.csv")
    assert leaks[["group", "image_id", "folds"]].to_numpy().tolist() == [
        [1, "image 1", "test, train"],
        [1, "image 2", "test, train"],
    ]
    assert told.set_index("attribute").loc["scanner", ["area", "verdict"]].tolist() == [1.0, "confounded"]


def test_names_are_written_only_when_asked_for(folder):
    given = ["check", "metadata.csv", "--images", "images", "--output", "check"]
    assert main(given) == 0
    texts = [path.read_text() for path in Path("check").iterdir() if path.suffix in (".csv", ".json", ".html")]
    assert not any("scan_" in text or "Ann" in text for text in texts)
    assert main([*given, "--ids"]) == 0
    assert pd.read_csv("check/leaks.csv")["image_id"].tolist() == ["scan_006", "scan_007"]
    assert pd.read_csv("check/duplicates.csv")["image_id"].tolist() == ["scan_001", "scan_010"]
    assert "scan_007" in Path("check/report.html").read_text()
    assert not any("Ann" in path.read_text() for path in Path("check").glob("*.csv"))


def test_a_clean_table_passes(folder, capsys):
    assert main(["check", "clean.csv", "--no-images", "--output", "check", "--fail-on", "confounded"]) == 0
    printed = capsys.readouterr().out
    assert "patients in several folds: not looked for: the table has no folds" in printed
    assert "look the same: not looked for: no image was read" in printed
    page = " ".join(Path("check/report.html").read_text().split())
    assert "No attribute is shown to tell the label by more than the tolerance" in page
    assert "The table has no folds: no leak was looked for" in page
    record = TableCheck.from_json("check/check.json")
    assert record.problems == {}
    before = Path("check/report.html").read_bytes()
    write_check("check/check.json", "check")
    assert Path("check/report.html").read_bytes() == before


def test_paths_of_the_table_are_followed_and_folds_are_not_attributes(folder, capsys):
    table = pd.read_csv("metadata.csv")[:12].rename(columns={"split": "fold"})
    table["image"] = "images/" + table["image_id"] + ".png"
    Image.new("L", (48, 48), 9).save("images/scan_003.png")
    table.to_csv("metadata.csv", index=False)
    assert main(["check", "metadata.csv", "--attributes", "sex", "--output", "check"]) == 0
    printed = capsys.readouterr().out
    assert "images of several patients or folds that look the same: 1" in printed
    assert "patients in several folds: 1" in printed
    record = TableCheck.from_json("check/check.json")
    assert list(record.unusable.values()) == ["all pixels are the same"]
    assert record.compared == 11
    assert {cell.attribute for cell in record.cells} == {"sex"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clean.csv", "--fail-on", "leak"], "failing on 'leak' must have a column of folds, got none"),
        (
            ["clean.csv", "--fail-on", "duplicates"],
            "failing on 'duplicates' must have images that can be read, got none",
        ),
        (["clean.csv", "--split", "part"], "--split must name a column of the table, got 'part'"),
        (["clean.csv", "--attributes", "scanner"], "columns must be among those of the table"),
        (["clean.csv", "--folds", "1"], "folds must be an integer of at least 2, got 1"),
        (["nothing.csv"], "No such file"),
    ],
)
def test_what_does_not_fit_is_said_without_a_traceback(arguments, message, folder, capsys):
    assert main(["check", *arguments, "--output", "check"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]  # readers of images may log before what they lack
    assert said.startswith("error: ")
    assert message in said
    assert not Path("check").exists()


def test_words_that_fail_are_checked(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["check", "metadata.csv", "--fail-on", "leak,guilty"])
    assert caught.value.code == 1
    assert "words that fail must be among confounded, leak, duplicates, got guilty" in capsys.readouterr().err


def test_every_block_of_the_guide_does_what_it_says(folder, capsys):
    blocks = re.findall(r"```(\w*)\n(.*?)```", GUIDE, re.DOTALL)
    statuses, known = [], {}
    for language, block in blocks:
        if language == "python":
            exec(block, known)
            continue
        command = shlex.split(block)
        assert command[:4] == ["python", "-m", "monai_shortcut", "check"]
        statuses.append(main(command[3:]))
        assert Path("check/report.html").is_file()
    assert statuses == [0, 2]
    assert known["check"].confounded
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    shown = capsys.readouterr().out
    named = set(re.findall(r"`(--[a-z-]+)", GUIDE))
    assert named
    assert all(name in shown for name in named)
