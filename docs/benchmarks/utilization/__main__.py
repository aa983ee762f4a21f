# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Which statistic tells that a model uses an attribute? Judged where the truth is known, as tables in Markdown.

Run from the root of the repository; what is finished in the folder is kept, so the study can be stopped and resumed:

    python docs/benchmarks/utilization --folder output/utilization --dataset_dir BUSBRA
    python docs/benchmarks/utilization --folder output/utilization --parts hard --draws 100
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ.setdefault(variable, "1")

import breast  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from cases import Case, kept, load, measure, save  # noqa: E402
from hard_measures import measure_case, measure_world  # noqa: E402
from hard_models import MARKS, STORIES, VARIANTS, mark_cases, story_cases  # noqa: E402
from hard_scenarios import HARD  # noqa: E402
from hard_tables import hard_report, truths  # noqa: E402
from hard_worlds import SEEDS  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from models import STRENGTHS, phantom_cases  # noqa: E402
from scenarios import SCENARIOS, draw_scenario  # noqa: E402
from tables import figure, report  # noqa: E402

from monai_shortcut.cohort.levels import attribute_levels  # noqa: E402

MODELS = (False, True)  # multi-task?
FIRST = 40  # draws
PARTS = ("embeddings", "phantoms", "devices", "marks")
HARD_PARTS = ("hard", "hard_phantoms", "hard_marks")  # the second judge, asked for by name


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


def slug(name: str) -> str:
    """A name as part of the name of a file."""
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")


def hard_models(folder: Path, name: str, make: Callable[[], dict[str, Case]], seeds: str) -> list[dict[str, Any]]:
    """Train a model of the second judge unless its cases are kept, and measure its variants unless their rows are."""
    torch.set_num_threads(1)
    paths = {variant: folder / "cases" / "hard" / seeds / f"{name}_{slug(variant)}.npz" for variant in VARIANTS}
    if not all(path.exists() for path in paths.values()):
        for variant, case in make().items():
            save(case, paths[variant])
    rows = []
    for path in paths.values():
        rows += kept(folder / "rows" / "hard" / seeds / f"{path.stem}.json", lambda path=path: measure_case(load(path)))
    return rows


def hard_scenario(folder: Path, name: str, draw: int, seeds: str) -> list[dict[str, Any]]:
    """Draw a world of the second judge and measure it."""
    path = folder / "rows" / "hard" / seeds / f"{slug(name)}_{draw:03d}.json"
    return kept(path, lambda: measure_world(name, draw, seeds))


def finished(folder: Path, seeds: str) -> list[dict[str, Any]]:
    """All rows of the second judge that a folder holds."""
    paths = sorted((folder / "rows" / "hard" / seeds).glob("*.json"))
    return [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))]


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("output/utilization"))
    parser.add_argument("--dataset_dir", type=Path, help="BUS-BRA; without it the parts on real images are left out")
    parser.add_argument("--parts", nargs="+", choices=PARTS + HARD_PARTS, default=PARTS)
    parser.add_argument("--draws", type=int, default=100, help="of each scenario of embeddings")
    parser.add_argument("--first_draw", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=4, help="of each kind of model")
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--shortkit_python", help="Python of an environment that holds ShortKit-ML, to ask it too")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--seed_set", choices=SEEDS, default=SEEDS[0], help="of the second judge")
    parser.add_argument("--scenarios", nargs="+", default=[""], help="parts of names, of the second judge")
    parser.add_argument("--report", action="store_true", help="of what the second judge has finished, without more")
    parser.add_argument("--before", type=Path, help="folder of the second judge's rows of another version")
    parser.add_argument("--truths", action="store_true", help="of the second judge's scenarios, without any audit")
    arguments = parser.parse_args()
    if arguments.truths:
        print(truths(arguments.draws, arguments.seed_set))
        return
    if arguments.report:
        before = finished(arguments.before, arguments.seed_set) if arguments.before else []
        print(hard_report(finished(arguments.folder, arguments.seed_set), before))
        return
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
        # Some draws of every scenario before more of any, the slow ones last.
        order = sorted(product(SCENARIOS, draws), key=lambda job: (job[1] >= FIRST, SCENARIOS[job[0]].columns))
        jobs += [delayed(scenario)(folder, name, draw) for name, draw in order]
    if "hard" in arguments.parts:
        draws = range(arguments.first_draw, arguments.first_draw + arguments.draws)
        chosen = [name for name in HARD if any(part in name for part in arguments.scenarios)]
        jobs += [
            delayed(hard_scenario)(folder, name, draw, arguments.seed_set) for draw, name in product(draws, chosen)
        ]
    if "hard_phantoms" in arguments.parts:
        for seed, name in product(seeds, STORIES):
            make = partial(story_cases, name, seed, arguments.seed_set)
            jobs.append(delayed(hard_models)(folder, f"story_{slug(name)}_{seed}", make, arguments.seed_set))
    if "hard_marks" in arguments.parts and arguments.dataset_dir:
        for seed, name in product(seeds, MARKS):
            make = partial(mark_cases, arguments.dataset_dir, name, seed, arguments.seed_set)
            jobs.append(delayed(hard_models)(folder, f"mark_{slug(name)}_{seed}", make, arguments.seed_set))
    if not jobs:
        parser.error("the parts on real images need --dataset_dir, the folder of BUS-BRA")
    done = Parallel(arguments.workers, return_as="generator_unordered")(jobs)
    rows = [row for rows in done for row in rows]
    hard, rows = [[row for row in rows if (row["part"] in HARD_PARTS) == is_hard] for is_hard in (True, False)]
    if hard:
        print(hard_report(hard, finished(arguments.before, arguments.seed_set) if arguments.before else []))
    if arguments.shortkit_python:
        rows = with_shortkit(rows, arguments)
    if rows:
        print(report(rows))
    if any(row["part"] in ("phantoms", "marks") for row in rows):
        figure(rows, folder / "statistics.png")


def with_shortkit(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows with what ShortKit-ML says of the same embeddings, labels and attributes."""
    place = arguments.folder / "shortkit"
    place.mkdir(parents=True, exist_ok=True)
    for row in rows:
        path = place / f"{row['case']}_{row['attribute'].replace(' ', '_')}.npz"
        if path.exists():
            continue
        if row["part"] == "embeddings":
            case = draw_scenario(row["scenario"], row["draw"])
        else:
            case = load(arguments.folder / "cases" / f"{row['case']}.npz")
        levels = attribute_levels(case.attributes[row["attribute"]], case.patients)
        known = levels.codes >= 0
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(
                stream, embeddings=case.embeddings[known], labels=case.labels[known], attribute=levels.codes[known]
            )
        part.replace(path)
    script = Path(__file__).parent / "shortkit_verdicts.py"
    command = [arguments.shortkit_python, str(script), "--folder", str(place), "--workers", str(arguments.workers)]
    subprocess.run(command, check=True)
    told = json.loads((place / "shortkit.json").read_text(encoding="utf-8"))
    answers = [told[f"{row['case']}_{row['attribute'].replace(' ', '_')}"] for row in rows]
    return [
        {**row, "shortkit": answer["verdict"], "shortkit score": answer["score"]}
        for row, answer in zip(rows, answers, strict=True)
    ]


if __name__ == "__main__":
    main()
