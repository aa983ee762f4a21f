# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every page kind in a real browser: axe finds nothing serious, nothing is cut off, and the HTML is valid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from every_page import pages

KINDS = (
    *("audit", "audit of a label", "check", "comparison", "overview", "readers", "reading", "regions", "training"),
    "evidence pack",
)
SMALL = """() => [...document.querySelectorAll('.drawn text')]
  .map((one) => parseFloat(getComputedStyle(one).fontSize) * one.closest('svg').getScreenCTM().a)
  .reduce((least, size) => Math.min(least, size), 99)"""
VALID = {"extends": ["html-validate:standard"], "rules": {
    "no-inline-style": "off", "no-trailing-whitespace": "off", "long-title": "off", "no-raw-characters": "off",
    "no-redundant-role": "off", "prefer-native-element": "off", "attribute-boolean-style": "off", "void-style": "off",
    "attr-quotes": "off", "input-missing-label": "off", "doctype-style": "off", "no-implicit-button-type": "off",
}}  # fmt: skip

pytestmark = pytest.mark.slow


def _module(name: str) -> Path:
    """A module of npm in the folder that NODE_MODULES names."""
    folder = os.environ.get("NODE_MODULES")
    if not folder or not (Path(folder) / name).exists():
        pytest.skip(f"no {name}: NODE_MODULES must name the folder into which npm installed it, got {folder!r}")
    return Path(folder) / name


@pytest.fixture(scope="module")
def written(record, tmp_path_factory) -> dict[str, Path]:
    _module("axe-core")  # before pages are drawn for nothing
    found = pages(record, tmp_path_factory.mktemp("pages"))
    pack = found["audit"].with_name("evidence.html")
    return found | ({"evidence pack": pack} if pack.exists() else {})


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious_in_both_schemes_and_a_telephone_shows_all(kind, written, browser):
    axe = (_module("axe-core") / "axe.min.js").read_text(encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(written[kind].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(axe)
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 844})
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(one["impact"], one["id"]) for one in found if one["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert page.evaluate(SMALL) >= 10.9
    assert page.evaluate("[...document.querySelectorAll('table')].every((one) => one.offsetWidth <= window.innerWidth)")
    page.close()


def test_axe_and_the_validator_find_what_is_wrong(browser, tmp_path):
    """What else would a silence tell?"""
    axe = (_module("axe-core") / "axe.min.js").read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<!doctype html><html><body><p style='color: #aaa'>pale</p><img src='x'><p id=a><p id=a></body></html>"
    )
    page = browser.new_page()
    page.goto(bad.as_uri())
    page.evaluate(axe)
    found = {one["id"] for one in page.evaluate("axe.run()")["violations"]}
    assert {"color-contrast", "image-alt", "html-has-lang"} <= found
    page.close()
    assert "no-dup-id" in _invalid([bad], tmp_path)


def test_pages_are_valid(written, tmp_path):
    assert _invalid(list(written.values()), tmp_path) == ""


def _invalid(files: list[Path], folder: Path) -> str:
    """What the validator says of pages."""
    program = _module("html-validate") / "bin" / "html-validate.mjs"
    if shutil.which("node") is None:
        pytest.skip("no node: the validator of HTML is a program of it")
    settings = folder / "validate.json"
    settings.write_text(json.dumps(VALID))
    command = ["node", str(program), "--config", str(settings), "--formatter", "text", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout
