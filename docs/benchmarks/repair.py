# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Do repairs work, and does the comparison of audits say so? Tables in Markdown.

Run from the root of the repository. Every study keeps what is finished in its folder, so that it can be stopped and
resumed; `--workers` processes take one thread each; rows of the tables are small files, FOLDER/rows/*.json, of which
`--report` prints what there is and runs nothing.

Embeddings with a known truth (about ten minutes of one core), and how often the comparison is wrong:

    python docs/benchmarks/repair.py --worlds output/repair/worlds --draws 8 --workers 16
    python docs/benchmarks/repair.py --calibration 60
    python docs/benchmarks/repair.py --attacks output/repair/attacks --attack_draws 100 --workers 16

Phantoms: a training, an audit and a repair by the overlay for each strength and seed, a minute and a half of one core;
strength 0 is the ceiling of the others:

    python docs/benchmarks/repair.py --phantoms output/repair/phantoms --strengths 0 0.5 0.9 1 --seeds 4 --workers 16

Breast ultrasound: networks with a planted mark, of a device-by-label table, and of images as they are, whose lesion
size is disease. Each is trained with the tie and, for the ceiling, without:

    python docs/benchmarks/repair.py --images output/repair/images --dataset_dir BUSBRA --networks SonoNet-16 \
        DenseNet-121 --parts marks devices size --seeds 4 --workers 16

`--processor cuda` trains there; processes share it. With `--shortkit_python`, the Python of an environment that holds
ShortKit-ML (``utilization/shortkit_verdicts.py`` says how to make it), its last-layer retraining is asked for a head to
the same embeddings, of worlds and images, and judged beside ours; that can be done later, on another machine, with
the folder `fits` and `cases` of the study:

    python docs/benchmarks/repair.py --images output/repair/images --dataset_dir BUSBRA --shortkit_python PYTHON
    python docs/benchmarks/repair.py --worlds output/repair/worlds --shortkit_python PYTHON

The tables of what is finished:

    python docs/benchmarks/repair.py --report --worlds output/repair/worlds --phantoms output/repair/phantoms \
        --images output/repair/images
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before numpy is imported
    os.environ.setdefault(variable, "1")
sys.path.insert(0, str(Path(__file__).parent / "utilization"))

import repair_attacks  # noqa: E402
import repair_images  # noqa: E402
import repair_phantoms  # noqa: E402
import repair_worlds  # noqa: E402
from cases import kept  # noqa: E402
from joblib import Parallel, delayed  # noqa: E402
from repair_rows import Row, finished, table  # noqa: E402


def ask_shortkit(folder: Path, options: argparse.Namespace) -> None:
    """Heads of ShortKit-ML for what is in the folder."""
    script = Path(__file__).parent / "repair_shortkit.py"
    command = [options.shortkit_python, str(script), "--folder", str(folder), "--workers", str(options.workers)]
    subprocess.run(command, check=True)


def worlds(folder: Path, options: argparse.Namespace) -> None:
    """Run what is missing of the embeddings."""
    draws = list(product(repair_worlds.WORLDS, range(options.draws)))
    kind = "shortkit" if options.shortkit_python else "ours"
    if options.shortkit_python:
        for name, seed in draws:
            path = _fit_of(folder, name, seed)
            if not path.exists():
                repair_worlds.keep_fit(path, name, seed)
        ask_shortkit(folder / "fits", options)
    Parallel(options.workers)(delayed(one_world)(folder, kind, name, seed) for name, seed in draws)


def one_world(folder: Path, kind: str, name: str, seed: int) -> list[Row]:
    """The rows of a draw; those with ShortKit-ML replace those without."""
    elsewhere = _fit_of(folder, name, seed).with_suffix(".json")
    other = folder / "rows" / f"{elsewhere.stem}_ours.json"
    rows = kept(
        folder / "rows" / f"{elsewhere.stem}_{kind}.json",
        lambda: repair_worlds.one_draw(name, seed, elsewhere if kind == "shortkit" else None),
    )
    if kind == "shortkit":
        other.unlink(missing_ok=True)
    return rows


def _fit_of(folder: Path, name: str, seed: int) -> Path:
    return folder / "fits" / f"{name.replace(',', '').replace(' ', '_')}_{seed:03d}.npz"


def attacks(folder: Path, options: argparse.Namespace) -> None:
    """Run what is missing of the attacks."""
    jobs = [
        delayed(kept)(
            folder / "rows" / f"{number}.json", partial(repair_attacks.rows, name, attack, options.attack_draws)
        )
        for number, (name, attack) in enumerate(repair_attacks.attacks().items())
    ]
    Parallel(options.workers)(jobs)


def phantoms(folder: Path, options: argparse.Namespace) -> None:
    """Run what is missing of the phantoms."""
    chosen = [(folder, strength, seed) for strength, seed in product(options.strengths, range(options.seeds))]
    for step in (repair_phantoms.train_and_repair, repair_phantoms.rows_of):  # all networks before any ceiling
        Parallel(options.workers)(delayed(step)(*one) for one in chosen)


def images(folder: Path, options: argparse.Namespace) -> None:
    """Run what is missing of breast ultrasound."""
    jobs = [
        (folder, options.dataset_dir, part, network, scenario, seed, options.processor)
        for part in options.parts
        for network, seed in product(options.networks, range(options.seeds))
        for scenario in repair_images.SCENARIOS[part]
    ]
    jobs.sort(key=lambda job: job[3])  # the slow networks first: DenseNet
    for asked in (False, True) if options.shortkit_python else (False,):
        if asked:
            ask_shortkit(folder / "fits", options)
        Parallel(options.workers)(delayed(repair_images.one_network)(*job) for job in jobs)


def main() -> None:
    """Run what is asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=Path, help="folder of the embeddings")
    parser.add_argument("--draws", type=int, default=8, help="of each world")
    parser.add_argument("--attacks", type=Path, help="folder of the cohorts that the rule was not made on")
    parser.add_argument("--attack_draws", type=int, default=100, help="of each attack")
    parser.add_argument("--calibration", type=int, default=0, help="draws of each row of the table of wrong verdicts")
    parser.add_argument("--phantoms", type=Path, help="folder of the phantoms")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.0, 0.5, 0.9, 1.0])
    parser.add_argument("--images", type=Path, help="folder of breast ultrasound")
    parser.add_argument("--dataset_dir", type=Path, help="BUS-BRA")
    parser.add_argument("--parts", nargs="+", choices=repair_images.STUDIES, default=list(repair_images.STUDIES))
    parser.add_argument("--networks", nargs="+", choices=repair_images.NETWORKS, default=["SonoNet-16"])
    parser.add_argument(
        "--processor", default="cpu", help="where networks of breast ultrasound are trained: cpu or cuda"
    )
    parser.add_argument("--seeds", type=int, default=4, help="of phantoms and breast ultrasound")
    parser.add_argument("--shortkit_python", help="Python of an environment that holds ShortKit-ML, to ask it too")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--report", action="store_true", help="the tables of what is finished, without more")
    options = parser.parse_args()
    if options.images and not options.dataset_dir and not options.report:
        parser.error("--images needs --dataset_dir, the folder of BUS-BRA")
    studies: dict[str, tuple[Callable[[Path, argparse.Namespace], None], list[str]]] = {
        "worlds": (worlds, ["world", "repair"]),
        "phantoms": (phantoms, ["strength", "repair"]),
        "images": (images, ["part", "network", "scenario", "trained", "repair"]),
    }
    for name, (study, by) in studies.items():
        if folder := getattr(options, name):
            if not options.report:
                study(folder, options)
            print(table(finished(folder / "rows"), by), end="\n\n", flush=True)
    if options.attacks:
        if not options.report:
            attacks(options.attacks, options)
        print(repair_attacks.table(finished(options.attacks / "rows")), end="\n\n", flush=True)
    for line in repair_worlds.calibration(options.calibration) if options.calibration else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
