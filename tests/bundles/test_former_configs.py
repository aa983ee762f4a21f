# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Configurations from before the modules moved into rooms: what they name is there, and one of them runs as it was.

``former/references.json`` lists what the configurations and guides of that time name, with the keywords and the most
positional arguments that they give; ``former/planted_shortcut`` holds the configurations of that bundle.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow, run

from monai_shortcut.audit import Audit, AuditSettings
from monai_shortcut.cohort.reading import Columns
from monai_shortcut.training_curves import TrainingCurves

FORMER = Path(__file__).parent / "former"
REFERENCES = json.loads((FORMER / "references.json").read_text(encoding="utf-8"))
TINY = {"logging_file": False, "patients": 30, "audit_patients": 24, "epochs": 1}

PASSED_ON = {"columns": Columns, "changed": AuditSettings}  # what takes the last keywords of a function, by their name

# MONAI warns about every config it runs.
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")


def resolved(path: str) -> Any:
    """What a dotted path names, as `_target_` finds it: the longest module, then its attributes."""
    names = path.split(".")
    for length in range(len(names), 0, -1):
        try:
            found = import_module(".".join(names[:length]))
        except ModuleNotFoundError as error:
            if not ".".join(names[:length]).startswith(error.name or " "):
                raise
            continue
        for name in names[length:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


def keywords(function: Any) -> set[str]:
    """Names of the keyword arguments, also of those that are passed on by ``**name: Unpack[...]``."""
    names = list(inspect.signature(function).parameters)
    if names[-1] in PASSED_ON:
        return {*names[:-1], *inspect.signature(PASSED_ON[names[-1]]).parameters}
    found = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            passed_on = re.fullmatch(r"Unpack\[(\w+)\]", str(parameter.annotation))
            assert passed_on, f"{function} takes any keyword"
            found |= set(getattr(sys.modules[function.__module__], passed_on[1]).__annotations__)
        elif parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            found.add(name)
    return found


def positional(function: Any) -> float:
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return float("inf")
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


@pytest.mark.parametrize("path", REFERENCES)
def test_what_former_configurations_name_is_there_and_takes_what_they_give(path):
    found, given = resolved(path), REFERENCES[path]
    if given["keywords"] or given["positional"]:
        assert set(given["keywords"]) <= keywords(found)
        assert given["positional"] <= positional(found)


def test_every_name_in_the_former_bundle_is_in_the_table():
    text = "".join(path.read_text(encoding="utf-8") for path in (FORMER / "planted_shortcut").iterdir())
    named = set(re.findall(r"monai_shortcut\.[\w.]+", text))
    assert len(named) >= 6
    assert named <= set(REFERENCES)


def configs(*names: str) -> list[str]:
    return [str(FORMER / "planted_shortcut" / f"{name}.json") for name in names]


@pytest.mark.slow
def test_the_former_planted_shortcut_trains_and_audits(tmp_path, capsys):
    draws = {"permutations": 59, "bootstraps": 9, "erasures": 9, "repeats": 1, "held_out": 1, "minimum_patients": 4}
    run(
        config_file=configs("audit"),
        meta_file=configs("metadata"),
        output_dir=str(tmp_path),
        **TINY,
        **{f"settings#{name}": value for name, value in draws.items()},
    )
    audit = Audit.from_json(tmp_path / "audit.json")
    assert sum(audit.labels.values()) == 72
    assert {name: getattr(audit.settings, name) for name in draws} == draws
    assert {finding.attribute for finding in audit.findings} >= {"scanner", "annotation", "operator"}
    assert audit.finding("scanner").counterfactual.images == 72
    assert {score.evaluated_on for score in audit.regions.scores} >= {"full", "without_roi", "roi_only"}
    assert (tmp_path / "report.html").is_file()
    assert "scale, label: levels" in capsys.readouterr().out


def test_the_former_planted_shortcut_is_audited_while_it_trains(tmp_path):
    workflow = ConfigWorkflow(
        config_file=configs("audit", "training_audit"),
        meta_file=configs("metadata"),
        workflow_type="train",
        run=["$@train#trainer.run()"],
        output_dir=str(tmp_path),
        curve_patients=40,
        **TINY,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    curves = TrainingCurves.from_json(tmp_path / "training" / "training_curves.json")
    assert [epoch.epoch for epoch in curves.epochs] == [1]
    assert set(curves.epochs[0].points) >= {"scanner", "operator"}
