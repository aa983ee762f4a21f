# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Versions, a check of the installation, and where the overlays, bundles and docs are: ``python -m monai_shortcut``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from monai_shortcut.installation import OPTIONAL, OVERLAYS, devices, installed, overlay, problems, shared


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is asked for.

    Args:
        arguments: arguments of the command line.

    Returns:
        The exit status: 0 if all is well.
    """
    parser = argparse.ArgumentParser(
        prog="python -m monai_shortcut",
        description="Print versions, check the installation, and say where overlays, bundles and docs are.",
        epilog="To audit a bundle, add an overlay to its configs: python -m monai.bundle run --config_file "
        "\"['configs/inference.json', '$(python -m monai_shortcut --overlay inference)']\"",
    )
    parser.add_argument("--overlay", choices=list(OVERLAYS), help="print the path of this overlay config, nothing else")
    chosen = parser.parse_args(arguments)
    if chosen.overlay:
        print(overlay(chosen.overlay))
        return 0
    _print_versions()
    _print_places()
    found = problems()
    print("\ncheck: a small model, audited through the overlay:", "failed" if found else "passed")
    for problem in found:
        print(f"    {problem}", file=sys.stderr)
    return 1 if found else 0


def _print_versions() -> None:
    for name, number in installed().items():
        print(f"{name:<16}{number:<16}{OPTIONAL.get(name, '')}".rstrip())
    print(f"{'devices':<16}{', '.join(devices())}")
    print('extras are installed from a clone, such as: pip install ".[yaml,dicom]"')


def _print_places() -> None:
    print("\noverlays")
    for name, what in OVERLAYS.items():
        print(f"    {overlay(name)}\n        {what}")
    for folder in ("bundles", "docs"):
        print(f"{folder}\n    {shared(folder) or 'not installed; they are in the repository'}")


if __name__ == "__main__":
    sys.exit(main())
