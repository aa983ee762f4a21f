# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md promises and no other test shows."""

from __future__ import annotations

import os
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from tiny_training import SETTINGS, small_network

from monai_shortcut.cohort.table import Cohort
from monai_shortcut.handlers import ShortcutAudit
from monai_shortcut.networks import load_imagenet_densenet
from monai_shortcut.workflows.cell_embeddings import read_embeddings

ROOT = Path(__file__).parents[1]
_watching: list[tuple[str, Any]] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system", "os.exec"):
        _watching.append((event, arguments))
    elif event in ("os.mkdir", "os.remove", "os.rmdir"):
        place = f"/proc/self/fd/{arguments[-1]}"
        _watching.append((event, os.path.join(os.readlink(place) if arguments[-1] >= 0 else "", arguments[0])))
    elif event in ("os.rename", "os.link", "os.symlink"):
        _watching.extend([(event, arguments[0]), (event, arguments[1])])
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        _watching.append((event, arguments[0]))


@pytest.fixture
def watched() -> Iterator[list[tuple[str, Any]]]:
    """What is asked of the system meanwhile: files that are written, and connections."""
    global _watching
    if not getattr(sys, "_shortcut_watch", False):  # a hook cannot be taken away
        sys.addaudithook(_note)
        sys._shortcut_watch = True
    _watching = []
    yield _watching
    _watching = None


def outside(folder: Path, events: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The events that are no writing in a folder; caches of Python aside."""
    kept = []
    for event, what in events:
        inside = isinstance(what, str | os.PathLike) and Path(os.path.abspath(what)).is_relative_to(folder)
        if not inside and "__pycache__" not in str(what) and what != os.devnull:
            kept.append((event, what))
    return kept


@pytest.mark.slow
def test_an_audit_of_hostile_names_writes_in_its_folder_alone_and_asks_no_network(tmp_path, watched, monkeypatch):
    monkeypatch.chdir(tmp_path)
    numbers, label = np.arange(80), "../../evil"
    frame = pd.DataFrame({"image_id": [f"../{number}" for number in numbers], "patient_id": numbers})
    frame = frame.assign(**{label: numbers % 2, "/up": numbers // 4 % 2})
    cohort = Cohort.from_table(frame, findings=[label], attributes=["/up"])
    images = torch.rand(80, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    items = [{"image": image, "image_id": name} for image, name in zip(images, frame["image_id"], strict=True)]
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 1)).eval()
    folder = tmp_path / "report"
    handler = ShortcutAudit(network, cohort, folder, labels=[label], settings=SETTINGS)
    SupervisedEvaluator(
        torch.device("cpu"), DataLoader(Dataset(items), batch_size=40), network, val_handlers=[handler]
    ).run()
    assert (folder / "evil" / "report.html").is_file()
    assert len({str(what) for event, what in watched if event == "open"}) > 10
    assert outside(folder, watched) == []
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    (tmp_path / "beside").touch()  # which would be seen
    assert outside(folder, watched) == [("open", str(tmp_path / "beside"))]


def test_nothing_in_the_package_unpickles():
    loads = []
    for path in (path for folder in ("monai_shortcut", "bundles") for path in (ROOT / folder).rglob("*")):
        if path.suffix in (".py", ".json"):
            text = path.read_text(encoding="utf-8")
            loads += re.findall(r"(?:torch|np|numpy)\.load\([^\n]*", text)
            assert not re.search(
                r"pickle\.loads?\(|allow_pickle=True|weights_only=False|joblib\.load|read_pickle", text
            )
    assert len(loads) > 5
    assert not [call for call in loads if call.startswith("torch") and "weights_only=True" not in call]


class Evil:
    def __reduce__(self):
        return print, ("a pickle ran",)


def test_checkpoints_and_embeddings_with_objects_are_refused(tmp_path, capsys):
    torch.save({"features.conv0.weight": Evil()}, tmp_path / "densenet.pth")
    with pytest.raises(pickle.UnpicklingError, match="Weights only"):
        load_imagenet_densenet(small_network(), tmp_path / "densenet.pth")
    np.savez(tmp_path / "full_0.npz", problem=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_embeddings(tmp_path / "full_0.npz")
    assert "a pickle ran" not in capsys.readouterr().out


def test_every_promise_names_a_test_that_is_there():
    rows = re.findall(r"(?m)^\| (?!promise|---)(.*) \| (.*) \|$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(rows) == 7
    for _, tests in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert named
        assert all((ROOT / name).is_file() for name in named)
