# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""MONAI's own handlers log the numbers of an audit."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundle_data import BUNDLES
from conftest import DATA
from difference_cases import bare, found, row, shown
from monai.bundle import verify_metadata
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import MLFlowHandler, TensorBoardStatsHandler
from scanner_images import scanned
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_shortcut.__main__ import main
from monai_shortcut.audit import Audit, AuditSettings
from monai_shortcut.audit.logged import loggable, logged
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED
from monai_shortcut.handlers import LateSummaryWriter, ShortcutAudit
from monai_shortcut.workflows import attach_audit

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "how-to" / "evidence-pack.md").read_text(encoding="utf-8")
SCHEMA = DATA / "monai-bundle-schema" / "meta_schema_20240725.json"
QUICK = AuditSettings(permutations=39, bootstraps=19, erasures=2, held_out=0)


@pytest.fixture
def given(tmp_path, monkeypatch) -> dict[str, Any]:
    """A network, a loader of its images, and their table in the folder at hand; a column is called as people write."""
    monkeypatch.chdir(tmp_path)
    images, table = scanned(80, 2, (16, 16), 0.8, 0)
    table.rename(columns={"operator": "operator (shift)"}).to_csv("metadata.csv", index=False)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2))
    pixels = torch.as_tensor(images, dtype=torch.float32)[:, None]
    items = [{"image": one, "image_id": name} for one, name in zip(pixels, table["image_id"], strict=True)]
    loader = DataLoader(Dataset(items), batch_size=40)
    return {
        "network": network,
        "loader": loader,
        "device": torch.device("cpu"),
        "SupervisedEvaluator": SupervisedEvaluator,
    }


def evaluator(given: dict[str, Any], *handlers: Any) -> SupervisedEvaluator:
    return SupervisedEvaluator(given["device"], given["loader"], given["network"], val_handlers=list(handlers))


def scalars(folder: str) -> dict[str, float]:
    events = EventAccumulator(folder).Reload()
    return {name: events.Scalars(name)[0].value for name in events.Tags()["scalars"]}


def test_what_is_logged_is_what_the_record_holds():
    odds = row(np.log(4), certain=np.log(3), scale="odds", outcome=1)
    record = bare(
        found("scanner", shown(row(-0.5, certain=0.375))),
        found("site", shown(odds)),
        found("age", shown(row(0.02), differences_p_value=0.5), NOT_USED),
        found("sex", None, INCONCLUSIVE),
    )
    numbers = logged(record, "effusion_")
    gap, area = 0.3, 0.82
    assert numbers == {
        **{f"effusion_{name}_own_auroc": pytest.approx(area) for name in ("scanner", "site", "age")},
        **{f"effusion_{name}_prediction_gap": gap for name in ("scanner", "site", "age")},
        "effusion_scanner_difference": 0.5,
        "effusion_site_difference": pytest.approx(np.log(4)),
        "effusion_age_difference": 0.02,
        "effusion_scanner_used": 1.0,
        "effusion_site_used": 1.0,
        "effusion_age_used": 0.0,
    }
    assert set(logged(bare(found("scanner", shown(row(), encoding=None))))) == {
        "scanner_prediction_gap",
        "scanner_difference",
        "scanner_used",
    }


def test_names_are_those_that_mlflow_takes():
    """Its rule, as published: letters, digits and "_", "-", ".", " ", and no path that has a shorter form."""
    given_names = ["a/b ../c & \\d_used", "age (years)_used", "age [years]_used", "größe_used", "../x", "plain-1.5 mm"]
    found_names = loggable(dict(zip(given_names, map(float, range(6)), strict=True)))
    assert all(re.fullmatch(r"[\w.\- ]+", name) for name in found_names)
    assert list(found_names.values()) == list(map(float, range(6)))
    assert {"größe_used", "plain-1.5 mm"} <= set(found_names)


def test_tensorboard_logs_an_audit_that_is_added_to_an_evaluator(given):
    """Its handler was there before, as in a bundle; the audit still ends the epoch first."""
    board = TensorBoardStatsHandler(log_dir="runs", iteration_log=False)
    engine = evaluator(given, board)
    handler = ShortcutAudit(given["network"], "metadata.csv", None, settings=QUICK)
    attach_audit(handler, engine)
    engine.run()
    board.close()
    expected = loggable(logged(handler.audit))
    assert {"scanner_used", "scanner_difference", "operator _shift__used"} <= set(expected)
    assert engine.state.metrics == expected
    assert scalars("runs") == pytest.approx(expected, rel=1e-6)


def test_no_empty_event_file_is_made(tmp_path):
    late = TensorBoardStatsHandler(LateSummaryWriter(tmp_path / "late"), iteration_log=False)
    late._writer.flush()
    late._writer.close()
    assert not (tmp_path / "late").exists()
    late._writer.add_scalar("used", 1.0, 3)
    late._writer.flush()
    late._writer.close()
    assert scalars(str(tmp_path / "late")) == {"used": 1.0}
    TensorBoardStatsHandler(log_dir=str(tmp_path / "own")).close()  # a negative control
    assert len(list((tmp_path / "own").iterdir())) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, on which MLflow stands
def test_mlflow_logs_an_audit_where_the_guide_says(given):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")  # without it MLflow logs to servers only
    (place,) = re.findall(r'MLFlowHandler\(tracking_uri="(.*?)"\)', GUIDE)
    handler = ShortcutAudit(given["network"], "metadata.csv", None, settings=QUICK)
    log = MLFlowHandler(tracking_uri=place, iteration_log=False, close_on_complete=True)
    evaluator(given, handler, log).run()
    (run,) = mlflow.MlflowClient(place).search_runs([log.experiment.experiment_id])
    assert loggable(logged(handler.audit)).items() <= run.data.metrics.items()


@pytest.mark.skipif(not SCHEMA.is_file(), reason="MONAI's schema is not here")
@pytest.mark.filterwarnings("ignore:No hash value provided:UserWarning")
def test_every_block_of_the_guide_does_what_it_says(given, tmp_path, monkeypatch):
    for place, content in (("models/model.pt", b"weights"), ("configs/inference.json", b"{}")):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes(content)
    own = BUNDLES / "planted_shortcut" / "configs" / "metadata.json"
    for copy, source in (("configs/metadata.json", own), ("schema.json", SCHEMA)):
        (tmp_path / copy).write_bytes(source.read_bytes())
    blocks = re.findall(r"```(\w*)\n(.*?)```", GUIDE, re.DOTALL)
    (python,) = [block for language, block in blocks if language == "python"]
    exec(python, given)
    assert scalars("runs/audit")["scanner_used"] in (0.0, 1.0)
    record = Audit.from_json("audit/audit.json")
    completed, verified, shown_in = [block for language, block in blocks if language == "bash"]
    assert main(shlex.split(completed)[3:]) == 0
    words = shlex.split(verified)
    assert words[:5] == ["python", "-m", "monai.bundle", "verify_metadata", "--meta_file"]
    verify_metadata(eval(words[5]), filepath=words[7])
    assert shlex.split(shown_in)[:2] == ["cat", "audit/summary.md"]
    assert Path("audit/summary.md").read_text(encoding="utf-8").startswith(f"### {record.title}\n")
    assert Path("audit/model_card.md").is_file()
