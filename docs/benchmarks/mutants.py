# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do the tests notice when the code is changed? Mutants of Cosmic Ray, drawn and tried, for `docs/reliability.md`.

    pip install cosmic-ray
    python docs/benchmarks/mutants.py --seed 15 --most 418 mutants.jsonl
    python docs/benchmarks/mutants.py --modules statistics/outcomes regions/properties --most 60 mutants.jsonl

Cosmic Ray itself starts pytest anew for each mutant, of which imports take most of the time. Here a process that has
the libraries in memory is forked for each mutant, in a copy of the checkout. A mutant meets the tests and doctests of
its own module, or those of the whole room where the module has none of its own. What was tried is a line of the file,
and is not tried again: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.figure  # noqa: F401 - in memory before the fork, as are the next ones
import numpy as np
import pandas  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import sklearn.model_selection  # noqa: F401
import torch  # noqa: F401
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
ROOMS = ("statistics", "regions")
SKIPPED = ("core/VariableReplacer", "core/VariableInserter")  # need arguments
KILLED, SURVIVED, SLOW = "killed", "survived", "too slow, as good as killed"


@dataclass(frozen=True)
class Mutant:
    """A place that is changed: the module, the operator of Cosmic Ray, which of its places, and the line."""

    module: str
    operator: str
    occurrence: int
    line: int


def mutants(module: str) -> Iterator[Mutant]:
    """All places of a module, but those of annotations."""
    path = ROOT / "monai_shortcut" / f"{module}.py"
    tree, notes = get_ast_from_path(path), set(annotations(path))
    for name in operator_names():
        if name in SKIPPED or get_operator(name).arguments():
            continue
        operator = get_operator(name)()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, ((line, column), _) in enumerate(places):
            if not any(start <= (line, column) < end for start, end in notes):
                yield Mutant(module, name, occurrence, line)


def annotations(path: Path) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where the annotations of a file begin and end."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in ("annotation", "returns"):
            note = getattr(node, name, None)
            if isinstance(note, ast.expr):
                yield (note.lineno, note.col_offset), (note.end_lineno or 0, note.end_col_offset or 0)


def drawn(modules: Sequence[str], most: int, least: int, seed: int) -> tuple[list[Mutant], int]:
    """Mutants in proportion to the places of each module, some of each at least; and the number of places."""
    rng, places = np.random.default_rng(seed), {module: list(mutants(module)) for module in modules}
    total, chosen = sum(map(len, places.values())), []
    for own in places.values():
        count = min(len(own), max(least, round(most * len(own) / total)))
        chosen += [own[place] for place in sorted(rng.choice(len(own), count, replace=False))]
    return chosen, total


def tried(mutant: Mutant, copy: Path, limit: float) -> str:
    """What the tests say of a mutant."""
    path = copy / "monai_shortcut" / f"{mutant.module}.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence), encoding="utf-8")
    try:
        return tested(mutant.module, copy, limit)
    finally:
        path.write_text(source, encoding="utf-8")


def tested(module: str, copy: Path, limit: float) -> str:
    """What the tests of a module say in a copy of the checkout."""
    process = multiprocessing.get_context("fork").Process(target=run_tests, args=(module, copy))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return SLOW
    return SURVIVED if process.exitcode == 0 else KILLED


def run_tests(module: str, copy: Path) -> None:
    """Run the tests of a module silently; the process ends with the status of pytest."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    room, name = module.split("/")
    own = copy / "tests" / room / f"test_{name}.py"
    wanted = [str(own if own.exists() else own.parent), str(copy / "monai_shortcut" / f"{module}.py")]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        status = pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", *wanted])
    os._exit(int(status))


def main() -> None:
    """Draw, try and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of the results, a line for each mutant; it is added to")
    parser.add_argument("--modules", nargs="+", help="such as statistics/areas; default all of statistics and regions")
    parser.add_argument("--most", type=int, default=400, help="number of mutants, about")
    parser.add_argument("--least", type=int, default=5, help="of each module")
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--limit", type=float, default=120, help="seconds for a mutant")
    given = parser.parse_args()
    found = [f"{room}/{path.stem}" for room in ROOMS for path in sorted((ROOT / "monai_shortcut" / room).glob("*.py"))]
    modules = given.modules or [module for module in found if not module.endswith("__init__")]
    chosen, total = drawn(modules, given.most, given.least, given.seed)
    lines = given.results.read_text(encoding="utf-8").splitlines() if given.results.exists() else []
    known = {Mutant(**line["mutant"]): line["result"] for line in map(json.loads, lines)}
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory() as folder, given.results.open("a", encoding="utf-8") as results:
        copy = Path(folder, "checkout")
        kept = shutil.ignore_patterns("__pycache__", ".git", "output", "*.egg-info")
        shutil.copytree(ROOT, copy, ignore=kept)
        passing: set[str] = set()
        for mutant in chosen:
            if mutant not in known:
                if mutant.module not in passing and tested(mutant.module, copy, given.limit) != SURVIVED:
                    raise SystemExit(f"the tests of {mutant.module} must pass before they can tell anything")
                passing.add(mutant.module)
                known[mutant] = tried(mutant, copy, given.limit)
                results.write(json.dumps({"mutant": asdict(mutant), "result": known[mutant]}) + "\n")
                results.flush()
    print(f"{total} places, {len(chosen)} drawn:", dict(Counter(known[mutant] for mutant in chosen)))
    for mutant in chosen:
        if known[mutant] == SURVIVED:
            source = (ROOT / "monai_shortcut" / f"{mutant.module}.py").read_text(encoding="utf-8")
            place = f"{mutant.module}:{mutant.line} {mutant.operator} ({mutant.occurrence})"
            print(f"{place}: {source.splitlines()[mutant.line - 1].strip()}")


if __name__ == "__main__":
    main()
