# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The documentation site: `sphinx-build -W -c docs . output/site`.

The root of the repository is the source folder, so that links between pages, bundles and scripts are the same here and
on a git host.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from configuration import filled
from pygments.lexers.special import TextLexer

from monai_shortcut import __version__

project = "monai_shortcut"
author = "monai_shortcut contributors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["docs/**", "bundles/*/docs/README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
root_doc = "docs/index"
default_role = "code"
highlight_language = "none"
myst_heading_anchors = 3
nb_execution_mode = "off"  # a test runs the notebook
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
suppress_warnings = ["myst.header"]  # of pages whose sections skip a level

html_theme = "pydata_sphinx_theme"
html_title = project
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_persistent": ["search-button"],  # the wide one is named otherwise than it reads
}
html_sidebars = {name: [] for name in ("docs/start", "docs/method", "docs/glossary")}  # nothing is below them
linkcheck_ignore = [r"https://doi\.org/.*"]  # publishers refuse programs
_AT_THE_ROOT = '<!doctype html>\n<meta http-equiv="refresh" content="0; url=docs/index.html">\n'


def escaped(line: str) -> str:
    """A line of a docstring with shapes such as (N, *spatial) and |S| as they are, outside code and examples."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    spans = line.split("`")
    spans[::2] = [re.sub(r"(?<![\w*])\*(?=\w)|\|", r"\\\g<0>", span) for span in spans[::2]]
    return "`".join(spans)


def as_written(*event: Any) -> None:
    """Show a docstring as it is written."""
    lines = event[-1]
    lines[:] = map(escaped, lines)


def with_tables(app: Any, page: str, source: list[str]) -> None:
    """Fill the tables that are made of configs and docstrings."""
    source[0] = filled(source[0])


def entrance(app: Any, error: Exception | None) -> None:
    """Lead from the root of the site to its first page."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "index.html").write_text(_AT_THE_ROOT, encoding="utf-8")


def setup(app: Any) -> None:
    """Register what is peculiar to this site."""
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", with_tables)
    app.connect("autodoc-process-docstring", as_written, priority=400)
    app.connect("build-finished", entrance)
