# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Rows of the table as Markdown, and their place in docs/benchmarks/performance.md."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib.metadata import version
from pathlib import Path

from timing import HERE, Row

PAGE = HERE.parent / "performance.md"
_STAT = Path("/proc/stat")
_HEADER = ["what", "target", "median", "range", "command"]
_PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-learn")


def machine() -> str:
    """Processor, cores and versions."""
    told = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", told.read_text()) if told.exists() else None
    processor = found[1] if found else platform.machine()
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return f"{os.cpu_count()} cores ({processor}), Python {platform.python_version()}, {versions}"


class Others:
    """How much of the machine other programs take, from the making of this on."""

    def __init__(self) -> None:
        """Remember what was used before."""
        self._begun, self._used = time.perf_counter(), _used()

    def told(self) -> str:
        """Cores in use by others, on average; empty where Linux does not tell."""
        cores = (_used() - self._used) / (time.perf_counter() - self._begun)
        return f"Other programs used {max(cores, 0.0):.2f} cores meanwhile." if _STAT.exists() else ""


def _used() -> float:
    """Seconds of processor time of all programs but this one and what it started, since the machine started."""
    own = sum(os.times()[:4])
    if not _STAT.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, _STAT.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own


def lines(row: Row, command: str) -> list[str]:
    """Lines of the table, one string each."""
    return [f"| {' | '.join([*line.cells(), command])} |" for line in row.lines]


def table(row: Row, command: str) -> str:
    """The row as a table of its own."""
    return "\n".join([f"| {' | '.join(_HEADER)} |", "|" + "---|" * len(_HEADER), *lines(row, command)])


def fill(name: str, row: Row, command: str, others: str, page: Path = PAGE) -> None:
    """Put a row into the page.

    Lines of the page's table that end in `<!-- row NAME -->` are replaced, and what stands between
    `<!-- details NAME -->` and `<!-- end NAME -->` and between `<!-- machine -->` and `<!-- end machine -->`.

    Raises:
        ValueError: If the page lacks the marks.
    """
    mark, text = f"<!-- row {name} -->", page.read_text(encoding="utf-8")
    marked = "".join(f"{line.removesuffix(' |')} {mark} |\n" for line in lines(row, command))
    details = "\n\n".join(part for part in (row.details, others) if part)
    for pattern, new in (
        (rf"(^\|[^\n]*{mark} \|\n)+", marked),
        (rf"(?<=<!-- details {name} -->\n).*?(?=<!-- end {name} -->)", f"\n{details}\n\n"),
        (r"(?<=<!-- machine -->\n).*?(?=<!-- end machine -->)", f"\n{machine()}.\n\n"),
    ):
        text, count = re.subn(pattern, lambda _, new=new: new, text, flags=re.DOTALL | re.MULTILINE)
        if count != 1:
            raise ValueError(f"{page.name} must hold the marks of {name} once, got {count} matches of {pattern}.")
    page.write_text(text, encoding="utf-8")
