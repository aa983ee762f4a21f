# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The README's demonstration: seconds in all, and of them those inside `monai_shortcut.audit.audit`."""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import tempfile
import time
from typing import Any

from timing import HERE, Line, Row, ask, interleaved

CONFIG = HERE.parents[2] / "bundles" / "planted_shortcut" / "configs" / "audit.json"
_SMALL = ["--patients", "60", "--audit_patients", "60", "--epochs", "1"]


def row(options: argparse.Namespace) -> Row:
    """The README's command in a new process, threads as they come, into a folder of its own."""
    parts: list[dict[str, float]] = []

    def run() -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            unset = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"))
            parts.append(ask("demonstration", folder, *(_SMALL if options.scale < 1 else ()), **unset))
            return time.perf_counter() - start

    whole = interleaved({"demonstration": run}, options.repeats)["demonstration"]
    lines = (
        Line("the README's demonstration, in all", "< 45 s", whole, "{:.1f}", "s"),
        Line("of it the statistics", "< 5 s", [part["statistics"] for part in parts], "{:.1f}", "s"),
    )
    return Row(lines, f"{parts[0]['audits']} call of the audit in a run.")


def timed(took: list[float]) -> None:
    """Put a clock around the audit wherever it is imported."""
    import monai_shortcut.handlers
    from monai_shortcut.audit import audit

    def clocked(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        result = audit(*arguments, **named)
        took.append(time.perf_counter() - start)
        return result

    for name, module in list(sys.modules.items()):
        if name.startswith(monai_shortcut.__name__):
            for key, value in list(vars(module).items()):
                if value is audit:
                    setattr(module, key, clocked)


def main() -> None:
    """Run the bundle as the README says, and print the seconds inside the audit."""
    folder, *others = sys.argv[1:]
    took: list[float] = []
    timed(took)
    sys.argv = ["monai.bundle", "run", "--config_file", str(CONFIG), "--output_dir", folder, *others]
    try:
        runpy.run_module("monai.bundle", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    print(f"\n{json.dumps({'statistics': sum(took), 'audits': len(took)})}")


if __name__ == "__main__":
    main()
