# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""How fast is an audit, how much memory does it need, and how do both grow? Rows of a table, in Markdown.

Run from the root of the repository, on an idle machine:

    python docs/benchmarks/performance audit held_out --before BEFORE

BEFORE is a checkout of the code before the audit was rewritten, made by `git worktree add BEFORE 8323e66`. SHORTKIT is
the Python of an environment that holds ShortKit-ML; `shortkit_cheap.py` says how to make it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _bound() -> None:
    """Set the number of threads; it must be known before numpy is imported."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--threads", default="2")
    threads = parser.parse_known_args()[0].threads
    os.environ.update(dict.fromkeys(_VARIABLES, threads), MPLBACKEND="agg")


_bound()

import against_network  # noqa: E402
import against_shortkit  # noqa: E402
import busy  # noqa: E402
import demonstration  # noqa: E402
import folds  # noqa: E402
import growth  # noqa: E402
import held_out  # noqa: E402
import memory  # noqa: E402
import one_pass  # noqa: E402
import permutations  # noqa: E402
import streamed  # noqa: E402
import suite  # noqa: E402
import torch  # noqa: E402
from document import Others, fill, machine, table  # noqa: E402

ROWS = {
    "audit": against_network.row,
    "shortkit": against_shortkit.row,
    "permutations": permutations.row,
    "held_out": held_out.row,
    "folds": folds.row,
    "memory": memory.row,
    "streamed": streamed.row,
    "growth": growth.row,
    "demonstration": demonstration.row,
    "busy": busy.row,
    "tests": suite.row,
    "evaluation": one_pass.row,
}
PLACES = {"shortkit": " --shortkit_python SHORTKIT", "held_out": " --before BEFORE"}


class Options(argparse.Namespace):
    """The command line, and sizes made smaller by `--scale`."""

    scale: float

    def scaled(self, images: int, columns: int) -> tuple[int, int]:
        """An even number of images and a number of columns, neither too small for an audit."""
        return max(400, round(images * self.scale) // 2 * 2), max(16, round(columns * self.scale))

    def permutations(self, number: int) -> int:
        """A number of permutations."""
        return max(19, round(number * self.scale))


def parsed() -> tuple[Options, str]:
    """The command line, and what of it is not as it is by default, to be told with each row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of BLAS and torch, on either side")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1 to try a row on smaller arrays")
    parser.add_argument("--budget", type=float, default=900, help="seconds for each curve of growth")
    parser.add_argument("--shortkit_python", help="Python of an environment that holds ShortKit-ML")
    parser.add_argument("--before", type=Path, help="checkout of the code before")
    parser.add_argument("--folder", type=Path, default=Path("output/performance"), help="for large files")
    parser.add_argument("--write", action="store_true", help="put the rows into docs/benchmarks/performance.md")
    options = parser.parse_args(namespace=Options())
    if options.write and options.scale != 1:
        parser.error(f"--write needs rows at full size, got --scale {options.scale:g}.")
    given = {name: getattr(options, name) for name in ("repeats", "threads", "scale", "budget")}
    return options, "".join(
        f" --{name} {value:g}" for name, value in given.items() if value != parser.get_default(name)
    )


def main() -> None:
    """Measure the rows, print them, and write them down if asked."""
    options, changed = parsed()
    torch.set_num_threads(options.threads)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(machine(), file=sys.stderr)
    for name in options.rows:
        print(name, file=sys.stderr, flush=True)
        others = Others()
        made = ROWS[name](options)
        command = f"`python docs/benchmarks/performance {name}{PLACES.get(name, '')}{changed}`"
        print(table(made, command), made.details, others.told(), sep="\n\n", flush=True)
        if options.write:
            fill(name, made, command, others.told())


if __name__ == "__main__":
    main()
