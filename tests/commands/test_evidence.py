# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The command that completes an evidence pack."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bundle_data import BUNDLES
from conftest import DATA
from difference_cases import bare, found, row, shown
from monai.bundle import verify_metadata

from monai_shortcut.__main__ import main
from monai_shortcut.audit import Audit
from monai_shortcut.report import write_report

SCHEMA = DATA / "monai-bundle-schema" / "meta_schema_20240725.json"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def report(tmp_path) -> Path:
    """A report, and beside it the files that were audited."""
    (tmp_path / "metadata.csv").write_text("image_id,label\na,0\n", encoding="utf-8")
    (tmp_path / "model.pt").write_bytes(b"weights")
    (tmp_path / "inference.json").write_text("{}", encoding="utf-8")
    record = bare(found("scanner", shown(row(0.3, certain=0.2))))
    known = {"table": digest(tmp_path / "metadata.csv")}
    write_report(
        replace(record, title="Known", sources=known, weights={digest(tmp_path / "model.pt"): "model.pt"}),
        tmp_path / "audit",
    )
    return tmp_path / "audit"


def test_the_checksums_are_those_of_the_files(report, tmp_path, capsys):
    files = {"table": "metadata.csv", "checkpoint": "model.pt", "configuration": "inference.json"}
    before = {path.name: digest(path) for path in report.glob("[!.]*.*")}
    arguments = ["--metadata", "--checkpoint", "--configuration"]
    given = [
        text for name, file in zip(arguments, files.values(), strict=True) for text in (name, str(tmp_path / file))
    ]
    assert main(["evidence", str(report / "audit.json"), *given]) == 0
    assert "evidence pack: " in capsys.readouterr().out
    expected = {name: [digest(tmp_path / file)] for name, file in files.items()}
    pack = json.loads((report / "evidence.json").read_text(encoding="utf-8"))
    assert pack["sha256"] == {"record": [digest(report / "audit.json")], **expected}
    section = json.loads((report / "metadata_audit.json").read_text(encoding="utf-8"))["audit"]
    assert section["sha256"] == pack["sha256"]
    after = {path.name: digest(path) for path in report.glob("[!.]*.*")}
    assert after.keys() - before.keys() == {"metadata_audit.json", "model_card.md"}
    changed = {name for name, value in before.items() if after[name] != value}
    assert changed == {"evidence.json", "evidence.html"}


def test_the_pack_may_go_elsewhere_and_the_report_can_be_written_again(report, tmp_path):
    record = report / "audit.json"
    assert main(["evidence", str(record), "--output", str(tmp_path / "pack")]) == 0
    names = {path.name for path in (tmp_path / "pack").iterdir() if not path.name.startswith(".")}
    assert names == {"evidence.json", "evidence.html", "summary.md", "metadata_audit.json", "model_card.md"}
    assert main(["evidence", str(record), "--configuration", str(tmp_path / "inference.json")]) == 0
    write_report(Audit.from_json(record), report)
    pack = json.loads((report / "evidence.json").read_text(encoding="utf-8"))
    assert pack["sha256"]["configuration"] == ["not known"]


def test_files_of_another_audit_are_refused(report, tmp_path, capsys):
    (tmp_path / "other.csv").write_text("image_id,label\nb,1\n", encoding="utf-8")
    for option, what in (("--metadata", "table"), ("--checkpoint", "checkpoint")):
        assert main(["evidence", str(report / "audit.json"), option, str(tmp_path / "other.csv")]) == 1
        assert f"error: the {what} must be what was audited, of SHA-256 " in capsys.readouterr().err
    assert main(["evidence", str(tmp_path / "inference.json")]) == 1
    assert "must hold the JSON of an audit" in capsys.readouterr().err


@pytest.mark.skipif(not SCHEMA.is_file(), reason="MONAI's schema is not here")
@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_the_metadata_of_a_bundle_may_hold_the_section(report):
    """MONAI reads it beside the bundle's own file, which stays as it is."""
    own = BUNDLES / "planted_shortcut" / "configs" / "metadata.json"
    before = own.read_bytes()
    assert main(["evidence", str(report / "audit.json")]) == 0
    verify_metadata([str(own), str(report / "metadata_audit.json")], filepath=str(SCHEMA))
    assert own.read_bytes() == before
    section = json.loads((report / "metadata_audit.json").read_text(encoding="utf-8"))
    assert section["audit"]["verdicts"] == {"scanner": "used"}
    assert section["audit"]["auc"] == {"malignant": 0.9}
    broken = report / "broken.json"
    broken.write_text(json.dumps({"authors": 3}), encoding="utf-8")
    with pytest.raises(ValueError, match="Failed validating"):  # a negative control
        verify_metadata([str(own), str(broken)], filepath=str(SCHEMA))
