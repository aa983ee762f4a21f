# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The tutorials' commands, word for word, with fewer patients and epochs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from guide_commands import ROOT, blocks, page, run, words

from monai_shortcut.audit import Audit
from monai_shortcut.region_study.record import RegionStudyRecord

BUNDLES = ROOT / "bundles"
FEW = {"audit_settings#permutations": 99, "audit_settings#bootstraps": 19, "audit_settings#repeats": 1}
pytestmark = [pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")]


def commands(name: str) -> list[str]:
    """The commands of MONAI on a page."""
    lines = [line for block in blocks(page(name), "") for line in block.splitlines()]
    return [line[line.index("python -m monai.bundle") :] for line in lines if "python -m monai.bundle" in line]


def bundle(name: str, folder: Path) -> Path:
    """A copy of a bundle."""
    return Path(shutil.copytree(BUNDLES / name, folder / name, ignore=shutil.ignore_patterns("output")))


@pytest.mark.slow
def test_your_bundle_is_trained_and_audited(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(bundle("planted_shortcut", tmp_path))
    train, audit = commands("docs/tutorials/your-bundle.md")
    few = {f"settings#{name.partition('#')[2]}": value for name, value in FEW.items()}
    run(train, monkeypatch, patients=100, audit_patients=30, epochs=4, **few)
    (program,) = blocks(page("docs/tutorials/your-bundle.md"), "python")
    exec(compile(program, "your-bundle.md", "exec"), {})
    (shown,) = blocks(page("docs/tutorials/your-bundle.md"), "csv")
    assert Path("metadata.csv").read_text(encoding="utf-8").startswith(shown)
    run(audit, monkeypatch, patients=150, **FEW)
    found = Audit.from_json("audit/audit.json")
    assert "450 images of 150 patients" in repr(found)
    assert found.finding("scanner").verdict == "used"
    assert found.finding("operator").verdict != "used"
    assert Path("audit/report.html").is_file()
    (program,) = blocks(page("docs/reading/after-inconclusive.md"), "python")
    capsys.readouterr()
    exec(compile(program, "after-inconclusive.md", "exec"), {})
    told = [line.partition(" - ") for line in capsys.readouterr().out.splitlines()]
    assert [name for name, _, _ in told] == [one.attribute for one in found.findings if one.verdict == "inconclusive"]
    assert all(reason for _, _, reason in told)


@pytest.mark.slow
def test_the_region_study_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(bundle("planted_region", tmp_path))
    (study,) = commands("docs/tutorials/region-study.md")
    run(study, monkeypatch, patients=24, batch_size=8, max_epochs=1, n_jobs=1, margins=[])
    record = RegionStudyRecord.from_json("output/planted_region_outline/study/region_study.json")
    assert set(record.strategies) == {"full", "without_roi", "roi_only", "silhouette"}


@pytest.mark.parametrize("name", ["docs/start.md", "docs/tutorials/phantom.md"])
def test_options_of_the_demonstration_exist(name):
    """The demonstration itself runs in `.ci/run`; these are the same command with other options."""
    found = commands(name)
    assert found
    for line in found:
        given = words(line)
        assert given[:4] == ["monai.bundle", "run", "--config_file", "bundles/planted_shortcut/configs/audit.json"]
        config = json.loads((ROOT / given[3]).read_text(encoding="utf-8"))
        assert {option.removeprefix("--") for option in given[4::2]} <= set(config)
    assert blocks(page("docs/start.md"), "")[0] == blocks(page("README.md"), "")[0]


@pytest.mark.slow
def test_the_notebook_says_what_it_says_here():
    """Run anew, its texts are those that are stored, and none names a place of a machine."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    path = ROOT / "docs" / "tutorials" / "audit-a-pytorch-model.ipynb"
    stored = nbformat.read(path, as_version=4)
    anew = nbclient.NotebookClient(nbformat.read(path, as_version=4), timeout=300, kernel_name="python3").execute()
    assert verdicts(anew) == verdicts(stored)
    assert verdicts(stored)[0][0] == ("scanner", "used")
    assert "used" not in dict(verdicts(stored)[1]).values()  # the model that learned no shortcut
    for place in (str(Path.home()), str(ROOT), "site-packages"):
        assert place not in path.read_text(encoding="utf-8")


def verdicts(notebook) -> list[list[tuple[str, str]]]:
    """Attributes and verdicts of the data frames that a notebook shows."""
    shown = [one["data"]["text/plain"] for cell in notebook.cells for one in cell.get("outputs", []) if "data" in one]
    frames = [text.splitlines()[1:] for text in shown if text.split()[:2] == ["attribute", "verdict"]]
    return [[(line.split()[1], line.split()[2]) for line in lines] for lines in frames]
