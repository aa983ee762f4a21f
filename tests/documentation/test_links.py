# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every link within the repository leads somewhere, as a git host and the site follow it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from guide_commands import ROOT

PATTERNS = ("*.md", "docs/**/*.md", "docs/**/*.ipynb", "bundles/*/docs/*.md")
PAGES = [path for pattern in PATTERNS for path in ROOT.glob(pattern)]


def text_of(page: Path) -> str:
    """A page's prose, without its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells)
    return re.sub(r"^```.*?^```|(`+).*?\1", "", text, flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def dead_links(page: Path) -> list[str]:
    """Links of a page to a file or a heading that is not there."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not re.match(r"\w+:", link) and (not target.exists() or (anchor and anchor not in anchors(target))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    links = "[a](#its-title) [b](#title) [c](page.md#its-title) [d](none.md) [e](https://x.org) `[f](g)`"
    page.write_text(f"# Its, title\n{links}")
    assert dead_links(page) == ["#title", "none.md"]
