# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import monai_shortcut

PACKAGE = Path(monai_shortcut.__file__).parent
# Top to bottom: a module imports from rows below its own, and never from its own row.
ROWS = (
    ("monai_shortcut",),
    ("__main__",),
    ("installation",),
    ("workflows",),
    ("handlers", "readers"),
    ("transforms", "region_report", "training_report"),
    ("report",),
    ("plots", "region_plots", "curve_plots"),
    ("weight_plots",),
    ("audit", "training_curves"),
    ("evidence", "region_study"),
    ("findings",),
    (
        "probes",
        "weight_space",
        "task_space",
        "prediction_gap",
        "erasure",
        "sensitivity",
        "held_out_levels",
        "subgroups",
    ),
    ("heads", "networks"),
    ("embeddings", "datasets", "region_phantom"),
    ("phantom",),
    ("cohort", "matching"),
    ("classification", "columns", "discriminant", "gaps", "levels", "overlays", "regions", "records", "subspaces"),
    ("delong", "fills", "margins", "placement", "planting", "resampling", "sampling"),
    ("region_pixels", "files", "layers", "versions"),
)
RANK = {part: rank for rank, row in enumerate(ROWS) for part in row}
CONFINED = {
    "monai": {"installation", "handlers", "readers", "transforms", "workflows", "networks", "datasets"},
    "ignite": {"handlers", "transforms", "workflows", "networks", "datasets"},
    "pydicom": {"datasets"},
    "itk": {"readers"},
    "matplotlib": {"plots", "weight_plots", "region_plots", "curve_plots", "report", "region_report"},
    "jinja2": {"plots", "report", "region_report"},
}


def imported(source: str, package: str) -> Iterator[str]:
    """Full names of all modules that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """The module or subpackage right under the package that a full name belongs to."""
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in RANK else names[0]


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What the imports of a module break, in words."""
    part, found = part_of(module), []
    for name in imported(source, module if is_package else module.rpartition(".")[0]):
        top, other = name.split(".")[0], part_of(name)
        if part not in CONFINED.get(top, {part}):
            found.append(f"{module} imports {top}")
        if top == "monai_shortcut" and other != part and RANK[other] <= RANK[part]:
            found.append(f"{module} imports {name}")
    return found


def modules() -> list[tuple[str, Path]]:
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [(name.removesuffix(".__init__"), path) for name, path in zip(names, paths, strict=True)]


def test_every_module_has_its_place():
    parts = {name.split(".")[1] for name, _ in modules() if "." in name}
    assert parts == set(RANK) - {"monai_shortcut"}


@pytest.mark.parametrize(("module", "path"), modules(), ids=[name for name, _ in modules()])
def test_imports_go_down_only(module, path):
    assert violations(module, path.read_text(encoding="utf-8"), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source", "broken"),
    [
        ("monai_shortcut.probes", "from monai_shortcut.weight_space import alignment", "weight_space.alignment"),
        ("monai_shortcut.probes", "from .weight_space import alignment", "weight_space.alignment"),
        ("monai_shortcut.probes", "from . import audit", "imports monai_shortcut.audit"),
        ("monai_shortcut.probes", "from monai_shortcut import audit", "imports monai_shortcut.audit"),
        ("monai_shortcut.regions", "def f():\n    import monai_shortcut.report", "imports monai_shortcut.report"),
        ("monai_shortcut.cohort", "import monai_shortcut", "monai_shortcut.cohort imports monai_shortcut"),
        ("monai_shortcut.networks.sononet", "from ..handlers import ShortcutAudit", "handlers.ShortcutAudit"),
        ("monai_shortcut.audit", "import monai.transforms as mt", "monai_shortcut.audit imports monai"),
        ("monai_shortcut.report", "from ignite.engine import Engine", "monai_shortcut.report imports ignite"),
        ("monai_shortcut.handlers.metadata_probe", "import matplotlib.pyplot", "imports matplotlib"),
        ("monai_shortcut.findings", "from jinja2 import Template", "imports jinja2"),
    ],
)
def test_a_forbidden_import_is_found(module, source, broken):
    found = violations(module, source)
    assert len(found) == 1
    assert found[0].endswith(broken)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("monai_shortcut.audit", "from monai_shortcut.probes import fit_probe\nimport numpy"),
        ("monai_shortcut.handlers.shortcut_audit", "from .cohort_handler import CohortHandler\nimport ignite.engine"),
        ("monai_shortcut.report", "from matplotlib.figure import Figure\nfrom . import plots"),
        ("monai_shortcut.audit", "from monai_shortcut.versions import __version__"),
    ],
)
def test_an_import_that_goes_down_is_allowed(module, source):
    assert violations(module, source) == []
