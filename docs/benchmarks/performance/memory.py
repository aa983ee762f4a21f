# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of an audit above what importing takes, in units of the embeddings; each audit in a new process."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path

from timing import Line, Row, ask

_FEW = 299


def status(field: str) -> int:
    """Bytes that Linux tells of this process; its `ru_maxrss` would also hold the peak of the parent process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError(f"/proc/self/status must hold {field}, got none.")
    return 1024 * int(found[1])


def row(options: argparse.Namespace) -> Row:
    """Two attributes, 200,000 images, 1,024 columns of float32, with few and with the default permutations."""
    images, columns = options.scaled(200_000, 1024)
    lines, details = [], []
    for permutations in (options.permutations(_FEW), options.permutations(999)):
        told = [ask("memory", images, columns, permutations) for _ in range(options.repeats)]
        what = f"peak memory, N = {images:,}, D = {columns:,}, 2 attributes, {permutations} permutations"
        shares = [each["peak"] / each["embeddings"] for each in told]
        lines.append(Line(what, "<= 2.5 times the embeddings", shares, "{:.2f}"))
        last = {key: value / 1e6 for key, value in told[-1].items()}
        details.append(
            f"{permutations} permutations: {last['peak']:,.0f} MB above {last['imports']:,.0f} MB, embeddings of "
            f"{last['embeddings']:,.0f} MB, {told[-1]['seconds']:.0f} s"
        )
    return Row(tuple(lines), f"{'; '.join(details)}.")


def main() -> None:
    """Measure one audit, after imports and before anything is drawn."""
    parser = argparse.ArgumentParser()
    for name in ("images", "columns", "permutations"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    from cohorts import draw

    from monai_shortcut.audit import AuditSettings

    imports = status("VmHWM")
    drawn = draw(given.images, given.columns, 2)
    made, start = status("VmHWM"), time.perf_counter()
    drawn.audit(AuditSettings(permutations=given.permutations))
    took, peak = time.perf_counter() - start, status("VmHWM")
    told = {"imports": imports, "made": made - imports, "peak": peak - imports, "seconds": took}
    print(json.dumps(told | {"embeddings": drawn.embeddings.nbytes}))


if __name__ == "__main__":
    main()
