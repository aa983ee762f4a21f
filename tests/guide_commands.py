# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Fenced blocks of pages, and commands of MONAI as they are written there."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

from monai_shortcut.installation import OVERLAYS, overlay

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(r"^```([\w{}-]*)\n(.*?)^```", re.M | re.S)
_OVERLAY = re.compile(r"\$\(python -m monai_shortcut --overlay (\w+)\)")


def page(name: str) -> str:
    """A page of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str | None = None) -> list[str]:
    """The fenced blocks of a page, of one language or all."""
    return [block for named, block in _FENCE.findall(text) if language in (None, named)]


def languages(text: str) -> set[str]:
    """The languages of the fenced blocks of a page, without directives of the site."""
    return {named for named, _ in _FENCE.findall(text) if "{" not in named}


def words(line: str) -> list[str]:
    """What a command gives MONAI, with the paths of overlays in it."""
    assert set(_OVERLAY.findall(line)) <= set(OVERLAYS)
    given = shlex.split(_OVERLAY.sub(lambda one: str(overlay(one[1])), line))
    assert given[:3] == ["python", "-m", "monai.bundle"]
    return given[2:]


def run(line: str, monkeypatch, **settings: object) -> None:
    """Run a command of MONAI in this process, with a few more options."""
    more = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", words(line) + more)
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
