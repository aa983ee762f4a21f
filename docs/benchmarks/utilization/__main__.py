# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which statistic tells that a model uses an attribute? Judged where the truth is known, as tables in Markdown.

Run from the root of the repository; what is finished in the folder is kept, so the study can be stopped and resumed:

    python docs/benchmarks/utilization --folder output/utilization --dataset_dir BUSBRA
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ.setdefault(variable, "1")

import breast  # noqa: E402
import torch  # noqa: E402
from cases import Case, kept, load, measure, save  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from models import STRENGTHS, phantom_cases  # noqa: E402
from scenarios import SCENARIOS, draw_scenario  # noqa: E402
from tables import report  # noqa: E402

MODELS = (False, True)  # multi-task?


def models(
    folder: Path, name: str, make: Callable[[], dict[str, Case]], parts: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Train a model unless its cases are kept, and measure them unless their rows are."""
    torch.set_num_threads(1)
    paths = {part: folder / "cases" / f"{name}_{part}.npz" for part in parts}
    if not all(path.exists() for path in paths.values()):
        for part, case in make().items():
            save(case, paths[part])
    rows = []
    for part, path in paths.items():
        rows += kept(folder / "rows" / f"{name}_{part}.json", lambda path=path: measure(load(path), path.stem))
    return rows


def scenario(folder: Path, name: str, draw: int) -> list[dict[str, Any]]:
    """Draw embeddings of a scenario and measure them."""
    stem = f"{name.replace(' ', '_')}_{draw:03d}"
    return kept(folder / "rows" / "embeddings" / f"{stem}.json", lambda: measure(draw_scenario(name, draw), stem))


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/utilization"))
    parser.add_argument("--dataset_dir", type=Path, help="BUS-BRA; without it the parts on real images are left out")
    parser.add_argument("--parts", nargs="+", default=["embeddings", "phantoms", "devices", "marks"])
    parser.add_argument("--draws", type=int, default=100, help="of each scenario of embeddings")
    parser.add_argument("--first_draw", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=4, help="of each kind of model")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    arguments = parser.parse_args()
    folder, seeds = arguments.folder, range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    jobs = []
    if "phantoms" in arguments.parts:
        for seed, strength, multi_task in product(seeds, STRENGTHS, MODELS):
            name = f"phantoms_{strength:g}_{seed}_{'multi' if multi_task else 'post'}"
            make = partial(phantom_cases, strength, seed, multi_task)
            jobs.append(delayed(models)(folder, name, make, ("balanced", "biased")))
    if "devices" in arguments.parts and arguments.dataset_dir:
        for seed, table, multi_task in product(seeds, breast.TABLES, MODELS):
            name = f"devices_{table}_{seed}_{'multi' if multi_task else 'post'}"
            make = partial(breast.device_cases, arguments.dataset_dir, table, seed, multi_task)
            jobs.append(delayed(models)(folder, name, make, ("unseen",)))
    if "marks" in arguments.parts and arguments.dataset_dir:
        for seed, mark, strength, multi_task in product(seeds, breast.MARKS, breast.STRENGTHS, MODELS):
            name = f"marks_{mark}_{strength:g}_{seed}_{'multi' if multi_task else 'post'}"
            make = partial(breast.mark_cases, arguments.dataset_dir, mark, strength, seed, multi_task)
            jobs.append(delayed(models)(folder, name, make, ("balanced", "biased")))
    if "embeddings" in arguments.parts:
        draws = range(arguments.first_draw, arguments.first_draw + arguments.draws)
        wide_last = sorted(SCENARIOS, key=lambda name: SCENARIOS[name].columns)
        jobs += [delayed(scenario)(folder, name, draw) for name, draw in product(wide_last, draws)]
    done = Parallel(arguments.workers, return_as="generator_unordered")(jobs)
    print(report([row for rows in done for row in rows]))


if __name__ == "__main__":
    main()
