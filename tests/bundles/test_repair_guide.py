# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every command of the guide to repairs, word for word; and a bundle that loads a repaired network as its own."""

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
import torch
from monai.bundle import run
from monai.data import load_decathlon_datalist
from repair_cases import BIAS, WEIGHT, WIDE, draw

from monai_shortcut.audit import Audit
from monai_shortcut.installation import OVERLAYS, overlay
from monai_shortcut.phantom import draw_phantom
from monai_shortcut.repair import Comparison

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "how-to" / "after-used.md").read_text(encoding="utf-8")
BUNDLE = {
    "imports": ["$import json", "$import pathlib", "$import torch"],
    "ckpt_path": "model.pt",
    "network": "$torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2))",
    "dataset": {
        "_target_": "Dataset",
        "data": "$json.loads(pathlib.Path('items.json').read_text())",
        "transform": {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
    },
    "loader": {"_target_": "CheckpointLoader", "load_path": "@ckpt_path", "load_dict": {"model": "@network"}},
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "$torch.device('cpu')",
        "val_data_loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 500},
        "network": "@network",
        "val_handlers": ["@loader"],
    },
}
pytestmark = [pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")]


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Path:
    """A bundle that knows nothing of repairs, with two tables of its images, and the folder to work in."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(BUNDLE))
    images = draw(9, patients=500)
    names = [f"i{row:04}" for row in range(len(images.labels))]
    shown = images.points.reshape(-1, 1, 2, 4).tolist()
    items = [{"image": image, "image_id": name} for image, name in zip(shown, names, strict=True)]
    (tmp_path / "items.json").write_text(json.dumps(items))
    torch.save({"1.weight": torch.as_tensor(WEIGHT), "1.bias": torch.as_tensor(BIAS)}, tmp_path / "model.pt")
    frame = pd.DataFrame({"image_id": names, "patient_id": images.patients, "label": images.labels})
    frame = frame.assign(scanner=np.array(["A", "B"])[images.scanner], image=[f"{name}.png" for name in names])
    for name, rows in (("metadata", slice(0, 300)), ("others", slice(300, None))):
        frame[rows].drop(columns="image" if name == "others" else []).to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(text: str, monkeypatch, **settings: object) -> None:
    """Run a command of MONAI in this process, with a few more options."""
    assert text.startswith("python -m monai.bundle run ")
    named = r"\$\(python -m monai_shortcut --overlay (\w+)\)"
    assert set(re.findall(named, text)) <= set(OVERLAYS)
    given = shlex.split(re.sub(named, lambda one: str(overlay(one[1])), text))[2:]
    more = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", given + more)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)


def blocks(language: str) -> list[str]:
    return [text for named, text in re.findall(r"```(\w*)\n(.*?)```", GUIDE, re.S) if named == language]


@pytest.mark.slow
def test_the_commands_of_the_guide_lead_from_a_bundle_to_a_repaired_one(bundle, monkeypatch, capsys):
    lines = [line for block in blocks("") for line in block.strip().splitlines()]
    assert len(lines) == 4
    few = {f"audit_settings#{name}": 99 for name in ("permutations", "bootstraps")} | {"audit_settings#erasures": 1}
    few |= {f"audit_settings#{name}": value for name, value in {**WIDE, "repeats": 1, "held_out": 0}.items()}
    for line in lines:
        command(line, monkeypatch, **({} if "overlay compare" in line else few))
    before, after = (Audit.from_json(bundle / name / "audit.json") for name in ("before", "after"))
    assert before.finding("scanner").verdict == "used"
    shown, given = (np.abs(audit.finding("scanner").evidence.gap.effect.value) for audit in (before, after))
    assert given < shown / 2
    found = Comparison.from_json(bundle / "before_and_after" / "comparison.json")
    assert found.paired
    assert found.attribute("scanner").verdict in ("repaired", "reduced")
    assert "scanner: " in capsys.readouterr().out
    for page in ("repair", "before_and_after"):
        assert (bundle / page / "report.html").is_file()


def test_the_program_of_the_guide_writes_weights_for_a_training(bundle):
    (program,) = blocks("python")
    values: dict[str, object] = {}
    exec(compile(program, "after-used.md", "exec"), values)
    items = load_decathlon_datalist(str(bundle / "datalist.json"), data_list_key="training")
    assert len(items) == 300
    assert np.mean([item["weight"] for item in items]) == pytest.approx(1)
    drawn = pd.crosstab(values["balanced"].table["label"], values["balanced"].table["scanner"]).to_numpy()
    assert len(set(drawn.ravel().tolist())) == 1


def test_options_of_the_guide_exist():
    overlaid = json.loads(overlay("repair").read_text())
    options = re.findall(r"`--(repair_\w+)`", GUIDE)
    assert len(options) == 6
    assert set(options) <= set(overlaid)


@pytest.mark.slow
def test_the_untouched_planted_bundle_loads_a_repaired_network_as_its_own(tmp_path):
    configs = ROOT / "bundles" / "planted_shortcut" / "configs"
    few = {"audit_settings#permutations": 19, "audit_settings#bootstraps": 19, "audit_settings#erasures": 1}
    run(
        config_file=str(configs / "audit.json"),
        output_dir=str(tmp_path),
        strength=0.9,
        patients=120,
        audit_patients=60,
        epochs=4,
        **{name.replace("audit_", ""): value for name, value in few.items()},
    )
    cohort = draw_phantom(100, 0.0, 4_000_000, name="new").cohort
    cohort.table.reset_index().to_csv(tmp_path / "new.csv", index=False)
    given = {"output_dir": str(tmp_path), "strength": 0.0, "metadata_csv": str(tmp_path / "new.csv")}
    given |= {"audit_label_names": list(cohort.label_names)}
    files = [str(configs / "inference.json"), str(overlay("repair"))]
    run(config_file=files, repair_attributes=["scanner"], repair_dir=str(tmp_path / "repair"), **given, **few)
    answers = []
    for checkpoint in ("model.pt", "repair/repaired.pt"):
        own = {"output_dir": str(tmp_path), "strength": 0.0, "ckpt_path": str(tmp_path / checkpoint)}
        run(config_file=str(configs / "inference.json"), **own)
        answers.append(pd.read_csv(tmp_path / "predictions.csv", header=None, index_col=0))
    assert answers[0].shape == answers[1].shape == (300, 4)
    assert np.abs(answers[0] - answers[1]).to_numpy().max() > 0.02
    old, new = torch.load(tmp_path / "model.pt"), torch.load(tmp_path / "repair" / "repaired.pt")
    assert {name: value.shape for name, value in old.items()} == {name: value.shape for name, value in new.items()}
    assert 1 <= sum(not torch.equal(old[name], new[name]) for name in old) <= 2
