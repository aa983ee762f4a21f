# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Versions, a check of the installation, and where the overlays, bundles and docs are: ``python -m monai_shortcut``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from monai_shortcut.commands import COMMANDS
from monai_shortcut.installation import OPTIONAL, OVERLAYS, devices, installed, overlay, problems, shared


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is asked for.

    Args:
        arguments: arguments of the command line.

    Returns:
        The exit status: 0 if all is well, 1 if something is wrong, 2 if an audit has a verdict that was not to be.
    """
    parser = _Parser(
        prog="python -m monai_shortcut",
        description="Print versions, check the installation, and say where overlays, bundles and docs are.",
        epilog="To audit a bundle, add an overlay to its configs: python -m monai.bundle run --config_file "
        "\"['configs/inference.json', '$(python -m monai_shortcut --overlay inference)']\"",
    )
    parser.add_argument("--overlay", choices=list(OVERLAYS), help="print the path of this overlay config, nothing else")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.HELP, description=command.__doc__))
    chosen = parser.parse_args(arguments)
    if chosen.command:
        return _ran(COMMANDS[chosen.command], chosen)
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


class _Parser(argparse.ArgumentParser):
    """Wrong arguments have the exit status 1, for 2 is that of a verdict."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: error: {message}\n")


def _ran(command: Any, chosen: argparse.Namespace) -> int:
    """Exit status of a command; what is wrong with what it was given is told without a traceback."""
    try:
        status: int = command.run(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return status


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
