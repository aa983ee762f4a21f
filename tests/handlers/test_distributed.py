# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""One process against several: the same audit, and an end rather than a wait where something is wrong.

The processes talk over gloo on the CPU; their scripts are in the folder ``distributed``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bundle_data import BUNDLES, write_busbra
from monai.bundle import ConfigParser, run
from monai.data import DataLoader, Dataset
from monai.transforms import EnsureTyped
from phantom_evaluation import evaluate, small_network

from monai_shortcut.audit.assembly import Audit
from monai_shortcut.networks import SonoNet
from monai_shortcut.phantom.fetal_planes import draw_phantom

TESTS = Path(__file__).parent
IMAGES = 47
WAIT_S = 150  # a run that takes longer hangs


def started(command: list[str], processes: int = 2, cwd: Path | None = None) -> subprocess.Popen[str]:
    """A script or module in several processes of torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg", "PYTHONPATH": path}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*torchrun, *command], cwd=cwd, env={**os.environ, **settings}, text=True, **pipes)


def finished(run: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status and what was printed."""
    try:
        printed, errors = run.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        run.terminate()  # which torchrun passes on to its processes
        run.communicate()
        raise
    return run.returncode, printed, errors


def script(name: str, *arguments: object) -> list[str]:
    return [str(TESTS / "distributed" / f"{name}.py"), *map(str, arguments)]


def assert_same(found: Any, expected: Any, place: str = "") -> None:
    """Records are equal, numbers within 1e-6."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key in expected.keys() - {"seconds"}:  # of the methods that say where the model looks
            assert_same(found[key], expected[key], f"{place}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for index, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{place}/{index}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-6, rel=1e-6, nan_ok=True), place
    else:
        assert found == expected, place


def record(folder: Path) -> Any:
    return json.loads((folder / "audit.json").read_text(encoding="utf-8"))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_make_the_audit_of_one(tmp_path, capsys):
    evaluator, handlers = evaluate(tmp_path / "one", small_network())
    recorder, printed = handlers[0], capsys.readouterr().out
    assert len(set(recorder.image_ids)) == IMAGES
    status, shown, errors = finished(started(script("same_audit", tmp_path, IMAGES)))
    assert status == 0, errors[-3000:]
    for name in ("uneven", "even"):  # 24 and 23 images, two batches and one; 24 each, one of them twice
        for rank in (0, 1):
            known = json.loads((tmp_path / f"{name}_{rank}.json").read_text())
            assert tuple(known["image_ids"]) == recorder.image_ids
            found = np.load(tmp_path / f"{name}_{rank}.npy")
            np.testing.assert_allclose(found, recorder.embeddings, rtol=1e-6, atol=1e-6)
            assert len(known["metrics"]) >= 9
            assert_same(known["metrics"], evaluator.state.metrics, name)
        assert_same(record(tmp_path / f"{name}_0"), record(tmp_path / "one"), name)
        assert files(tmp_path / f"{name}_0") == files(tmp_path / "one")
        assert not (tmp_path / f"{name}_1").exists()
        for table in ("findings", "metadata_probe", "weight_space_correlation"):
            pair = [pd.read_csv(tmp_path / folder / f"{table}.csv") for folder in (f"{name}_0", "one")]
            pd.testing.assert_frame_equal(*pair, rtol=1e-6, atol=1e-6)
    table = printed.split("report: ")[0].strip()
    assert "scanner" in table
    assert shown.count(table) == 2  # one for each sampler
    assert shown.count("report: ") == 2


@pytest.fixture(scope="module")
def wrong_runs(tmp_path_factory) -> dict[str, tuple[int, str, Path]]:
    """By script, the exit status, the errors and the folder of a run that cannot succeed."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("few_images", "first_process_only", "failing_process")}
    runs = {name: started(script(name, folder), 3 if name == "few_images" else 2) for name, folder in folders.items()}
    ends = {name: finished(run) for name, run in runs.items()}
    return {name: (status, errors, folders[name]) for name, (status, _, errors) in ends.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("few_images", ["process 2 did not come within 5 s"]),
        ("first_process_only", ["must be attached on each of the 2 processes", "process 1 did not come within 5 s"]),
        ("failing_process", ["out of memory, says process 1"]),
    ],
)
def test_a_run_that_cannot_succeed_ends_with_its_reason_and_leaves_no_files(wrong_runs, name, reasons):
    status, errors, folder = wrong_runs[name]
    assert status != 0
    for reason in reasons:
        assert reason in errors
    assert not files(folder)


@pytest.fixture(scope="module")
def biased() -> SonoNet:
    """A network that was trained where the scanner tells the plane."""
    network = small_network()
    phantom = draw_phantom(60, 1.0, seed=0, images_per_patient=4, size=32)
    loader = DataLoader(Dataset(phantom.datalist(), EnsureTyped("image")), batch_size=40, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(8):
        for batch in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch["image"].as_tensor()), batch["label"]).backward()
            optimizer.step()
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))],
)
def test_mixed_precision_gives_the_verdicts_of_full_precision(biased, device, tmp_path):
    found = {}
    for name, amp in (("full", False), ("mixed", True)):
        options: dict[str, Any] = {"images": 160, "strength": 0.0, "batch_size": 80, "permutations": 99}
        recorder = evaluate(tmp_path / name, biased, device=device, amp=amp, **options)[1][0]
        found[name] = recorder.embeddings, Audit.from_json(tmp_path / name / "audit.json")
    (full, audit), (mixed, other) = found["full"], found["mixed"]
    assert np.isfinite(mixed).all()
    assert 0 < np.abs(mixed - full).max() < 0.05 * np.abs(full).max()  # mixed it was, and numbers stay numbers
    assert np.array_equal(mixed.astype(np.float32), mixed)
    verdicts = {finding.attribute: finding.verdict for finding in other.findings}
    assert verdicts == {finding.attribute: finding.verdict for finding in audit.findings}
    assert verdicts["scanner"] == "used"
    assert verdicts["operator"] != "used"
    biased.cpu()


def arguments(options: dict[str, object]) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key}", str(value))]


@pytest.mark.slow
def test_the_planted_shortcut_is_trained_and_found_by_two_processes(tmp_path):
    options = {"patients": 120, "audit_patients": 60, "epochs": 6, "batch_size": 16, "output_dir": tmp_path / "output"}
    options |= {"settings#permutations": 99, "settings#bootstraps": 19, "settings#held_out": 0}
    configs = "['configs/audit.json','configs/multi_gpu_train.json']"
    command = ["-m", "monai.bundle", "run", "--config_file", configs, *arguments(options)]
    status, shown, errors = finished(started(command, cwd=BUNDLES / "planted_shortcut"))
    assert status == 0, errors[-3000:]
    audit = Audit.from_json(tmp_path / "output" / "audit.json")
    assert sum(audit.labels.values()) == 180
    assert audit.finding("scanner").verdict == "used"
    assert audit.finding("scanner").counterfactual.images == 180
    assert audit.finding("operator").verdict != "used"
    assert shown.count("report: ") == 1
    assert shown.count("Epoch[6] Metrics") == 1
    state = torch.load(tmp_path / "output" / "model.pt", weights_only=True)
    assert state["features.0.weight"].shape == (8, 1, 3, 3)  # without the names of the wrapper


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
def test_the_audit_of_a_bundle_is_the_same_on_two_processes(tmp_path):
    folder = BUNDLES / "breast_ultrasound_classification"
    data, model = write_busbra(tmp_path / "BUSBRA"), tmp_path / "model.pt"
    configs = [str(folder / "configs" / f"{name}.json") for name in ("train", "audit", "multi_gpu_evaluate")]
    options: dict[str, object] = {"dataset_dir": str(data), "ckpt_path": str(model)}
    options |= {"network_name": "sononet8", "spatial_size": 32, "batch_size": 10}
    options |= {"settings#permutations": 9, "settings#bootstraps": 9, "settings#erasures": 2, "settings#held_out": 0}
    options |= {"settings#minimum_patients": 3}
    parser = ConfigParser()
    parser.read_config(configs[0])
    parser.update({"network_name": "sononet8"})
    torch.save(parser.get_parsed_content("network_def").state_dict(), model)
    run(config_file=configs[:2], logging_file=False, output_dir=str(tmp_path / "one"), **options)
    more = arguments({**options, "output_dir": tmp_path / "two", "logging_file": False})
    status, _, errors = finished(started(["-m", "monai.bundle", "run", "--config_file", str(configs), *more]))
    assert status == 0, errors[-3000:]
    assert sum(record(tmp_path / "one" / "audit")["labels"].values()) == 40
    assert_same(record(tmp_path / "two" / "audit"), record(tmp_path / "one" / "audit"))
