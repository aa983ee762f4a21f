# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Other processes that know `monai_shortcut.storage` alone, which they load in a moment, and may be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_HEAD = """
import json, os, sys, time, types
package = types.ModuleType("monai_shortcut")  # whose own import takes seconds
package.__path__ = [sys.argv[1]]
sys.modules["monai_shortcut"] = package
from monai_shortcut.storage.folders import FolderInUseError, owned, replace_files
"""
HOLD = """
with owned(sys.argv[2]):
    print("owned", flush=True)
    sys.stdin.read()
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script that finds its arguments from ``sys.argv[2]`` on, and waits for nothing but what it says."""
    package = Path(__file__).parents[1] / "monai_shortcut"
    command = [sys.executable, "-c", _HEAD + script, str(package), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def holding(folder: Path) -> subprocess.Popen[str]:
    """A process that owns a folder, until it is killed or its input ends."""
    process = start(HOLD, folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n", process.communicate()
    return process
