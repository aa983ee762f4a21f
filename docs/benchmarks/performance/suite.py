# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The tests, by the README's command."""

from __future__ import annotations

import argparse
import subprocess

from timing import HERE, Line, Row, environment, interleaved, seconds


def row(options: argparse.Namespace) -> Row:
    """The whole suite in the environment at hand; `--scale` below 1 runs those of one file."""
    command = ["pytest", "-q", *(["--no-cov", "monai_shortcut/statistics/resampling.py"] if options.scale < 1 else [])]
    unset = environment(OMP_NUM_THREADS=None, OPENBLAS_NUM_THREADS=None, MKL_NUM_THREADS=None)

    def run() -> float:
        return seconds(lambda: subprocess.run(command, cwd=HERE.parents[2], env=unset, stdout=2, check=True)) / 60

    found = interleaved({"tests": run}, options.repeats)["tests"]
    return Row((Line(f"the README's tests, `{' '.join(command)}`", "< 5 min", found, "{:.1f}", "min"),))
