# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from monai_shortcut.installation import OPTIONAL
from monai_shortcut.versions import today

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for place in ("README.md", "CONTRIBUTING.md", "bundles", "docs", "monai_shortcut", "tests")
    for path in (ROOT / place, *(ROOT / place).rglob("*"))
    if path.suffix in (".json", ".md", ".py", ".yaml") and path != Path(__file__)
]
WITHOUT = """
import sys

class Absent:
    packages = ("captum", "pydicom", "itk", "skimage", "distributed", "dask", "tensorboard", "yaml", "jsonschema")

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
LOOK = """
import doctest, importlib, inspect, pkgutil, pydoc
import monai_shortcut

names = ["monai_shortcut", *(found.name for found in pkgutil.walk_packages(monai_shortcut.__path__, "monai_shortcut."))]
for name in names:
    module = importlib.import_module(name)
    for attribute, value in inspect.getmembers(module):
        hasattr(value, "__wrapped__"), inspect.unwrap(value), repr(value)
        getattr(value, "__test__", None), getattr(value, "pytestmark", None)
    doctest.DocTestFinder().find(module)
    pydoc.plaintext.document(module)
print(f"{len(names)} modules were looked at, {sorted(set(Absent.packages) & set(sys.modules))}")
"""
USE = """
import numpy as np, torch
from monai.transforms import LoadImage
from monai_shortcut.datasets import dicom_attributes
from monai_shortcut.readers import DicomReader
from monai_shortcut.transforms import MaskROI

image = torch.rand(1, 8, 8)
for attempt in (
    lambda: LoadImage(reader="monai_shortcut.readers.DicomReader"),
    lambda: DicomReader("itk"),
    lambda: dicom_attributes([]),
    lambda: MaskROI(fill="inpaint")(image, torch.ones(1, 8, 8).tril()),
):
    try:
        attempt()
    except ImportError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """The lines that `LOOK` and `USE` print where none of the optional packages can be imported."""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT + LOOK + USE]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def extras() -> dict[str, str]:
    """What each extra of pyproject.toml installs."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    return dict(re.findall(r"^(\w+) = \[(.*?)\]$", section, re.MULTILINE | re.DOTALL))


def test_every_module_may_be_looked_at_without_the_optional_packages(printed):
    modules = list((ROOT / "monai_shortcut").rglob("*.py"))
    assert printed[0] == f"{len(modules)} modules were looked at, []"


def test_what_needs_an_optional_package_says_how_to_install_it(printed):
    absent = "from a clone (No module named"
    assert printed[1:] == [
        *3 * [f"this use of DICOM needs pydicom: pip install \".[dicom]\" {absent} 'pydicom')"],
        'fill="inpaint" needs scikit-image: pip install ".[inpaint]" from a clone',
    ]


def test_every_extra_that_is_named_can_be_installed_as_written():
    found = set()
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"monai[-_]shortcut\\?\[[a-z]", text), f"{path} names an extra of a registry"
        found |= set(re.findall(r"\.\\?\[([a-z,]+)\\?\]\"", text))
    named = {extra for several in found for extra in several.split(",")}
    assert named >= {"attribution", "cluster", "dev", "dicom", "inpaint", "itk", "test", "yaml"}
    assert named <= set(extras())


def test_the_table_of_optional_packages_names_the_extra_that_installs_each():
    for package, use in OPTIONAL.items():
        extra = re.search(r"\(extra: (\w+)\)$", use)[1]
        assert f'"{package}>=' in extras()[extra]


def test_the_day_is_todays_or_that_of_a_run_to_repeat(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790294399")  # a second before midnight, in UTC
    assert today() == "2026-09-24"
    for nothing in ("", "yesterday"):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", nothing)
        days = {datetime.now(timezone.utc).date().isoformat(), today(), datetime.now(timezone.utc).date().isoformat()}
        assert len(days) <= 2  # midnight may come between
