# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The tables of keys and arguments that the site makes are whole, and say something of each."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import fields

import pytest
from guide_commands import ROOT, page

from monai_shortcut.audit import AuditSettings
from monai_shortcut.commands import COMMANDS
from monai_shortcut.installation import OVERLAYS, overlay

REFERENCE = page("docs/reference/configuration.md")


@pytest.fixture(scope="module")
def tables():
    """The module of the site that makes them."""
    spec = importlib.util.spec_from_file_location("configuration", ROOT / "docs" / "configuration.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(table: str) -> dict[str, tuple[str, str]]:
    """Default and meaning by name."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return {name.strip(" `"): (default.strip(" `"), meaning.strip()) for name, default, meaning in lines}


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_key_of_an_overlay_has_its_default_and_a_meaning(tables, name):
    content = json.loads(overlay(name).read_text(encoding="utf-8"))
    found = rows(tables.keys_table(name))
    assert set(found) == set(content) - {"run", "audit_import", "audit_contained"}
    assert [key for key, (_, meaning) in found.items() if not meaning or "as in `" in meaning.split(",")[0]] == []
    plain = {key: value for key, value in content.items() if key in found and "_target_" not in str(value)}
    assert {key: json.loads(found[key][0].replace("\\|", "|")) for key in plain} == plain
    assert f"<!-- keys of {name} -->" in REFERENCE


def test_every_setting_has_its_default_and_what_its_docstring_says(tables):
    found = rows(tables.settings_table("monai_shortcut.audit.AuditSettings"))
    assert set(found) == {field.name for field in fields(AuditSettings)}
    assert found["tolerance"] == (
        "0.1",
        "smallest difference of predicted probability between two levels that matters, for images of a label.",
    )
    assert found["folds"][0] == "5"  # of the base class
    assert all(meaning for _, meaning in found.values())


def test_every_command_has_every_argument_with_its_help(tables):
    shown = tables.commands_tables("monai_shortcut")
    for name, command in COMMANDS.items():
        assert f"### monai_shortcut {name}\n\n{command.HELP}" in shown
    assert "--dry-run" in shown


def test_a_page_is_filled_and_keeps_the_rest(tables):
    given = "# Title\n\n<!-- keys of compare -->\n\n<!-- bundle: two_classes -->\nText\n"
    before, _, after = tables.filled(given).partition(tables.keys_table("compare"))
    assert before == "# Title\n\n"
    assert after == "\n\n<!-- bundle: two_classes -->\nText\n"


def test_references_come_from_docstrings(tables):
    assert "| `monai_shortcut.statistics.weight_space` | Wong et al. (2026)" in tables.references_table(
        "monai_shortcut"
    )


def test_an_entry_that_points_to_the_base_is_told_in_its_words(tables):
    class Base:
        """Something.

        Args:
            first: a number,
                on two lines.
            second: other.
        """

    class Derived(Base):
        """Something else.

        Args:
            first, second: as in `Base`.
            third: own.

        Raises:
            ValueError: never.
        """

    assert tables.described(Derived) == {"first": "a number, on two lines.", "second": "other.", "third": "own."}
