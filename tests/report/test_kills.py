# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""A program that writes reports is killed at moments that nobody chose."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from monai_shortcut.report import write_report
from monai_shortcut.storage.folders import writable

KILLS = 60
SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from monai_shortcut.audit.record import Audit
from monai_shortcut.report.pages import _audit_files
from monai_shortcut.storage.folders import replace_files
old, new = (dict(_audit_files(Audit.from_json(path))) for path in sys.argv[1:3])  # drawn once
target, kills = Path(sys.argv[3]), int(sys.argv[4])
def write(files, folder):
    replace_files(folder, files, "report.html")
begun = time.perf_counter()
write(new, target / "whole")
lasts = time.perf_counter() - begun
for kill in range(kills):
    folder = target / str(kill)
    write(old, folder)
    (folder / "embeddings.npz").write_text("mine")
    child = os.fork()
    if not child:
        write(new, folder)
        os._exit(0)
    time.sleep(lasts * 3 * kill / kills)  # a busy machine takes longer than it took
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def seen(folder: Path) -> dict[str, bytes]:
    """The files that are not hidden, nor in hidden folders."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".")}


@pytest.mark.slow
def test_a_killed_program_leaves_the_old_report_or_the_new_one(record, tmp_path):
    small = replace(record, title="The new one", findings=record.findings[:1], excluded={})
    reports, records = {}, []
    for name, audit in (("old", record), ("new", small)):
        write_report(audit, tmp_path / name)
        reports[name] = seen(tmp_path / name)
        records.append(tmp_path / name / "audit.json")
    assert len(reports["new"]) < len(reports["old"])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, [*records, tmp_path, KILLS])],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "MPLBACKEND": "agg"},
    )
    assert run.returncode == 0, run.stderr
    found, hidden = Counter(), 0
    for kill in range(KILLS):
        folder = tmp_path / str(kill)
        left = seen(folder)
        assert left.pop("embeddings.npz") == b"mine"
        name = next((name for name, files in reports.items() if files == left), "no page")
        assert name in reports or "report.html" not in left, kill
        found[name] += 1
        hidden += any(folder.glob(".*.new")) or any(folder.glob(".*.lock"))
        writable(folder)
        left = seen(folder)
        assert left.pop("embeddings.npz") == b"mine"
        assert left in reports.values(), kill
        assert {path.name for path in folder.glob(".*")} == {".report.html.monai_shortcut.files"}
    assert found["old"]
    assert found["new"]
    print(json.dumps({"kills": KILLS, **found, "with leftovers before the next run": hidden}))
