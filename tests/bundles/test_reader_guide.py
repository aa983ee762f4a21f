# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every command of the guide to reader studies, word for word."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reader_answers import rows_of, write_answers

from monai_shortcut.installation import OVERLAYS, overlay
from monai_shortcut.phantom.regions import draw_region_phantom
from monai_shortcut.reader_study import READ, Display, ReaderStudy, StudyKey, prepare

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
GUIDE = (FOLDER / "reader-study.md").read_text(encoding="utf-8")
BUNDLE = {
    "imports": ["$import torch", "$import monai_shortcut"],
    "network": "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 2))",
    "validate": {
        "dataset": {
            "_target_": "Dataset",
            "data": "$monai_shortcut.cohort.Cohort.from_csv('metadata.csv').datalist()",
            "transform": {
                "_target_": "Compose",
                "transforms": [
                    {
                        "_target_": "LoadImaged",
                        "keys": ["image", "roi"],
                        "reader": "PILReader",
                        "reverse_indexing": False,
                        "ensure_channel_first": True,
                    },
                    {
                        "_target_": "ScaleIntensityRanged",
                        "keys": "image",
                        "a_min": 0,
                        "a_max": 255,
                        "b_min": 0,
                        "b_max": 1,
                    },
                ],
            },
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "$torch.device('cpu')",
            "val_data_loader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 10},
            "network": "@network",
        },
    },
}


def blocks(language: str) -> list[str]:
    return [text for named, text in re.findall(r"```(\w*)\n(.*?)```", GUIDE, re.S) if named == language]


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Path:
    """A bundle that knows nothing of readers, and the folder to work in."""
    cohort = draw_region_phantom("outline", 24, 0, size=32).save(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "evaluate.json").write_text(json.dumps(BUNDLE))
    given = np.random.default_rng(0).random(len(cohort))
    table = pd.DataFrame({"image": cohort.table["image"], "negative": 1 - given, "positive": given})
    table.to_csv(tmp_path / "predictions.csv", header=False, index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_the_commands_of_the_guide_lead_from_a_bundle_to_a_report(bundle, monkeypatch):
    export, answers = (" ".join(block.split()) for block in blocks(""))
    command(export, monkeypatch)
    key = StudyKey.from_json(bundle / "study" / "for_organisers" / "key.json")
    assert key.strategies == READ
    assert (bundle / "study" / "for_readers" / "reading.html").is_file()
    for number, reader in enumerate(("R1", "R2")):
        rows = rows_of(key, reader, dict.fromkeys(READ, 1.0), np.random.default_rng(number))
        write_answers(bundle / f"{reader}.csv", rows)
    command(answers, monkeypatch)
    assert ReaderStudy.from_json(bundle / "readers" / "reader_study.json").readers == ("R1", "R2")
    assert (bundle / "readers" / "report.html").is_file()


def command(text: str, monkeypatch) -> None:
    """Run a command of MONAI in this process."""
    assert text.startswith("python -m monai.bundle run ")
    named = r"\$\(python -m monai_shortcut --overlay (\w+)\)"
    assert set(re.findall(named, text)) <= set(OVERLAYS)
    monkeypatch.setattr(sys, "argv", shlex.split(re.sub(named, lambda one: str(overlay(one[1])), text))[2:])
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def test_the_program_of_the_guide_makes_a_page_from_predictions(bundle):
    (program,) = blocks("python")
    exec(compile(program, "reader-study.md", "exec"), {})
    key = StudyKey.from_json(bundle / "study_of_predictions" / "for_organisers" / "key.json")
    assert {shown.strategy for shown in key.presentations if shown.probability is not None} == {"full"}


def test_options_and_pictures_of_the_guide_exist():
    overlaid = json.loads(overlay("readers").read_text())
    options = re.findall(r"\| `--(audit_\w+)(?:#(\w+))?`", GUIDE)
    assert len(options) == 9
    for name, part in options:
        assert name in overlaid
        assert not part or part in overlaid[name]
    for row in re.findall(r"^\| `--audit.*$", GUIDE, re.M):
        for keyword in re.findall(r"`((?:Display\.)?\w+)`", row.split("|")[2]):
            owner = (
                Display.__annotations__ if keyword.startswith("Display.") else {*prepare.__annotations__, "positive"}
            )
            assert keyword.removeprefix("Display.") in owner
    for picture in re.findall(r"!\[.*\]\((.*)\)", GUIDE):
        assert (FOLDER / picture).stat().st_size < 120_000
