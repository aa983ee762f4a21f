# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What the documentation quotes of a page is there, and its glossary is that of the pages."""

from __future__ import annotations

import importlib.util
import re

import pytest
from guide_commands import ROOT, page

from monai_shortcut.audit.record import VERDICTS
from monai_shortcut.report.glossary import GLOSSARY

PAGES = "\n".join(
    path.read_text(encoding="utf-8")
    for pattern in ("report/*.py", "report/templates/*.jinja")
    for path in (ROOT / "monai_shortcut").glob(pattern)
)
DOCUMENTATION = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize(
    "quoted",
    [
        "Methods and all numbers",
        "Caution: predictions differ by",
        "without the region of interest",
        "No readable trace",
        "Not tested.",
        "What to do next.",
        "Performance.",
        "Verdicts",
        "Clear evidence",
        "Open",
    ],
)
def test_what_the_annotated_report_quotes_is_on_the_page(quoted):
    assert quoted in page("docs/reading/report.md")
    assert quoted in PAGES


def test_the_annotated_report_has_every_verdict():
    verdicts = page("docs/reading/report.md").partition("## The verdicts")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\w[\w, ]*) \|", verdicts, re.M)[1:]
    assert set(rows) == set(VERDICTS)


def test_the_glossary_is_that_of_the_pages():
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    filled = module.filled(page("docs/glossary.md"))
    assert [name for name, meaning in GLOSSARY.items() if f"| {name} | {meaning} |" not in filled] == []


@pytest.mark.parametrize("term", GLOSSARY)
def test_every_term_of_the_glossary_is_used(term):
    assert re.search(rf"\b{term}", DOCUMENTATION, re.I), "the documentation never uses it"
    assert re.search(rf"\b{term}", PAGES, re.I)


def test_the_picture_of_a_report_is_small():
    assert 20_000 < (ROOT / "docs" / "images" / "report.png").stat().st_size < 250_000
