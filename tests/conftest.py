# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

DATA = Path(os.environ.get("MONAI_SHORTCUT_DATA", Path(__file__).parents[2] / "shared" / "data"))

# Threads that wait for each other spin: beside other workers they cost far more than they save on these small arrays.
torch.set_num_threads(1)
threadpool_limits(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the programs that tests start, and of libraries that are not loaded yet

_DRAW = Figure.draw


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Networks that a module makes when it is imported have the same weights whatever was imported before."""
    if isinstance(collector, pytest.Module):
        torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """What the libraries hold stays: a tenth of the time went into looking through it for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Draw figures in tests of the report and in slow ones alone: a small audit spends nine tenths of its time on them.

    Elsewhere they keep their files and sizes, but are blank.
    """
    drawn = "report" in item.path.parts or item.get_closest_marker("slow") is not None
    Figure.draw = _DRAW if drawn else lambda figure, renderer: None


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def busbra() -> Path:
    """The BUS-BRA pack of real images; tests that need it skip without it."""
    folder = DATA / "busbra-breast-us"
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; set MONAI_SHORTCUT_DATA to the folder that holds busbra-breast-us")
    return folder
