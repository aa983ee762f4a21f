# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Every command and program of README and documentation runs in a test, or a reason says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide_commands import ROOT, blocks, languages, page

GUIDE = "tests/commands/test_guide.py"
TUTORIALS = "tests/documentation/test_tutorials.py"
# What runs the blocks of a page: a test file that reads the page, or a reason why none does.
RUN_BY = {
    ("README.md", ""): ".ci/run",
    ("README.md", "bash"): GUIDE,
    ("README.md", "python"): GUIDE,
    ("docs/bundles.md", "bash"): "needs the Model Zoo, whose rules tests/bundles/test_model_zoo_rules.py keeps",
    ("docs/datasets.md", "python"): "needs the archive of PadChest; tests/datasets read folders of its layout",
    ("docs/how-to/after-used.md", ""): "tests/bundles/test_repair_guide.py",
    ("docs/how-to/after-used.md", "python"): "tests/bundles/test_repair_guide.py",
    ("docs/how-to/any-classifier.md", "bash"): GUIDE,
    ("docs/how-to/any-classifier.md", "python"): GUIDE,
    ("docs/how-to/audit-your-own-bundle.md", ""): "tests/bundles/test_addon.py",
    ("docs/how-to/audit-your-own-bundle.md", "csv"): "an example of a table; tests/cohort reads such",
    ("docs/how-to/audit-your-own-bundle.md", "json"): "tests/bundles/test_addon.py",
    ("docs/how-to/check-a-table.md", "bash"): "tests/commands/test_check.py",
    ("docs/how-to/check-a-table.md", "python"): "tests/commands/test_check.py",
    ("docs/how-to/evidence-pack.md", "bash"): "needs MONAI's schema and GitHub; tests of the pack run its command",
    ("docs/how-to/evidence-pack.md", "python"): "tests/handlers/test_logging.py",
    ("docs/how-to/formats.md", "json"): "tests/bundles/test_formats.py",
    ("docs/how-to/reader-study.md", ""): "tests/bundles/test_reader_guide.py",
    ("docs/how-to/reader-study.md", "python"): "tests/bundles/test_reader_guide.py",
    ("docs/how-to/region-study.md", ""): "trains 45 models; tests/workflows/test_region_study.py runs its config",
    ("docs/how-to/region-study.md", "json"): "tests/workflows/test_region_study.py",
    ("docs/how-to/slices.md", "python"): "any-classifier.md and one setting, given in test_discovered_pictures.py",
    ("docs/reading/after-inconclusive.md", "python"): TUTORIALS,
    ("docs/reliability.md", ""): "mutants take minutes to hours; the script is tried on a module when it is changed",
    ("docs/start.md", ""): TUTORIALS,
    ("docs/tutorials/phantom.md", ""): TUTORIALS,
    ("docs/tutorials/region-study.md", ""): TUTORIALS,
    ("docs/tutorials/your-bundle.md", ""): TUTORIALS,
    ("docs/tutorials/your-bundle.md", "csv"): TUTORIALS,
    ("docs/tutorials/your-bundle.md", "python"): TUTORIALS,
}


def test_every_block_is_run_or_excused():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    names = [path.relative_to(ROOT).as_posix() for path in pages if path.parent.name != "benchmarks"]
    assert {(name, language) for name in names for language in languages(page(name))} - set(RUN_BY) == set()


@pytest.mark.parametrize(("name", "language"), RUN_BY)
def test_what_runs_a_block_reads_its_page(name, language):
    by = RUN_BY[name, language]
    assert blocks(page(name), language), f"{name} has no blocks of {language!r} any more"
    if (ROOT / by).is_file():
        assert Path(name).name in page(by)
    else:
        assert " " in by, f"{by} must be a file or a reason"


def test_commands_of_the_readme_are_those_of_the_pages_that_are_tested():
    overlaid, region = (block.strip() for block in blocks(page("README.md"), "")[-2:])
    assert overlaid in page("docs/how-to/audit-your-own-bundle.md")
    assert region.splitlines()[1] in page("bundles/planted_region/docs/README.md")


def test_benchmarks_which_take_minutes_to_hours_name_scripts_that_exist():
    pages = (ROOT / "docs" / "benchmarks").glob("*.md")
    words = {word for path in pages for block in blocks(page(path)) for word in block.split()}
    scripts = {word for word in words if word.startswith("docs/benchmarks/")}
    assert len(scripts) > 10
    assert {name for name in scripts if not (ROOT / name).exists()} == set()


def test_every_figure_of_the_readmes_claims_is_on_the_page_it_names():
    claims = (
        page("README.md").partition("## What it finds that others do not")[2].partition("\n## ")[0].split("\n- ")[1:]
    )
    assert len(claims) >= 5
    for claim in claims:
        (source,) = re.findall(r"\]\((docs/benchmarks/\w+\.md)\)", claim)
        figures = re.findall(r"-?\d[\d,.]*\d|\d", claim)
        assert figures
        assert [figure for figure in figures if figure not in page(source)] == []
