# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every promise of the page on reliability names tests, and these exist."""

from __future__ import annotations

import re

import pytest
from guide_commands import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [
    (heading, row)
    for heading, table in re.findall(r"^\| ([^|\n]*?) \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    for row in table.splitlines()
]
TESTS = {"promise": 1, "kind": 3}  # column that names tests, by heading of the first


def named_tests(text: str) -> list[str]:
    """Paths from the root, some of them given without the folder of the one before."""
    folder, found = "", []
    for name in re.findall(r"`((?:tests/\w+/)?test_\w+\.py)(?:::\w+)?`", text):
        folder = name.rpartition("/")[0] or folder
        found.append(f"{folder}/{name.rpartition('/')[2]}")
    return found


def test_every_test_that_is_named_exists():
    names = named_tests(PAGE)
    assert len(names) > 50
    assert [name for name in names if not (ROOT / name).is_file()] == []
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE):
        assert f"\ndef {test}(" in (ROOT / path).read_text(encoding="utf-8"), test


@pytest.mark.parametrize("heading", list(TESTS))
def test_every_promise_names_a_test(heading):
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for start, row in ROWS if start == heading]
    assert len(rows) >= 8
    assert [cells[0] for cells in rows if not named_tests(cells[TESTS[heading]])] == []
