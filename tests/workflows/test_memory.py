# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Memory that is freed and used again is not given back page by page."""

from __future__ import annotations

import subprocess
import sys

import pytest

from monai_shortcut.workflows import keep_freed_memory

_ROUNDS = """
import resource, sys, numpy as np
from monai_shortcut.workflows import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        blocks = [np.ones(1 << 19) for _ in range(10)]  # 4 MiB each, as activations of a small network
        del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(memory: str) -> int:
    found = subprocess.run([sys.executable, "-c", _ROUNDS, memory], check=True, capture_output=True, text=True)
    return int(found.stdout)


@pytest.mark.slow  # two processes of their own
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting is of the GNU C library")
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    if not keep_freed_memory():
        pytest.skip("the C library has no such setting")
    returned, kept = _page_faults("returned"), _page_faults("kept")
    assert returned > 100  # 400 MiB are 102,400 pages of 4 kiB, or 200 of 2 MiB
    assert kept < returned / 10


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
