# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The folders of handlers have one owner, and what other runs left there is told apart."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from storage_processes import holding, start
from tiny_training import SETTINGS

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers import MetadataProbe, ReaderExport, ShortcutAudit, TrainingAudit
from monai_shortcut.handlers.cohort_handler import CohortHandler
from monai_shortcut.storage.folders import FolderInUseError

TRY = """
try:
    with owned(sys.argv[2]):
        print("owned")
except FolderInUseError as error:
    print(error)
"""


def tried(folder: Path) -> str:
    """What another process gets that wants the folder."""
    out, problems = start(TRY, folder).communicate()
    assert problems == ""
    return out


class Trying(CohortHandler):
    """Lets another process want the folder, while this one computes."""

    got = ""

    def _finish(self, engine, tasks):
        self.got = tried(self.output_dir)
        return {}


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    numbers = np.arange(40)
    frame = pd.DataFrame({"image_id": [f"i{number}" for number in numbers], "patient_id": numbers})
    return Cohort.from_table(frame.assign(label=numbers % 2, scanner=numbers // 2 % 2), attributes=["scanner"])


def run(network: torch.nn.Module, handler: CohortHandler, images: int = 40) -> None:
    images = torch.rand(images, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    items = [{"image": image, "image_id": f"i{number}"} for number, image in enumerate(images)]
    loader = DataLoader(Dataset(items), batch_size=20)
    SupervisedEvaluator(torch.device("cpu"), loader, network.eval(), val_handlers=[handler]).run()


def test_while_a_handler_runs_no_other_process_may_write(network, cohort, tmp_path):
    handler = Trying(network, cohort, output_dir=tmp_path)
    run(network, handler)
    assert handler.got.startswith(f"a folder must be written by one process at a time, got {tmp_path}, which process")
    assert tried(tmp_path) == "owned\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [MetadataProbe, ReaderExport, ShortcutAudit, TrainingAudit])
def test_a_folder_that_another_process_writes_is_refused_before_the_evaluation(network, cohort, tmp_path, kind):
    handler = Trying(network, cohort, output_dir=tmp_path)
    process = holding(tmp_path)
    try:
        for call in (lambda: kind(network, cohort, output_dir=tmp_path), lambda: run(network, handler)):
            with pytest.raises(FolderInUseError, match=f"which process {process.pid} on host"):
                call()
        assert handler.got == ""
    finally:
        process.communicate()


def test_a_training_keeps_its_folder_between_epochs(network, cohort, tmp_path):
    handler = TrainingAudit(network, cohort, tmp_path, settings=SETTINGS)
    run(network, handler)
    assert "which process" in tried(tmp_path)
    run(network, handler)
    del handler
    gc.collect()
    assert tried(tmp_path) == "owned\n"


def test_the_list_of_a_former_run_goes_with_the_problems(network, cohort, tmp_path):
    run(network, Trying(network, cohort, output_dir=tmp_path), images=38)
    assert len(pd.read_csv(tmp_path / "unmatched.csv")) == 2
    run(network, Trying(network, cohort, output_dir=tmp_path))
    assert list(tmp_path.iterdir()) == []
