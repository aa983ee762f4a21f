# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What commands ask about the columns of a table."""

from __future__ import annotations

import argparse
from typing import Any

from monai_shortcut.commands.arrays import IDS


def add_columns(parser: argparse.ArgumentParser) -> Any:
    """Add the arguments that say what the columns are.

    Returns:
        Their group.
    """
    table = parser.add_argument_group("columns of the table")
    table.add_argument("--patient-id", default="patient_id", metavar="COLUMN")
    table.add_argument("--image-id", default=IDS, metavar="COLUMN")
    table.add_argument("--label", default="label", metavar="COLUMN")
    table.add_argument("--label-names", type=names_of, metavar="A,B", help="classes in the order of the outputs")
    table.add_argument(
        "--attributes", type=names_of, metavar="A,B", help="attributes to look at; by default all others"
    )
    return table


def columns(arguments: argparse.Namespace) -> dict[str, str]:
    """Column by role, as `Cohort.from_csv` takes them."""
    return {"image_id": arguments.image_id, "patient_id": arguments.patient_id, "label": arguments.label}


def names_of(text: str) -> tuple[str, ...]:
    """Names with commas between them.

    Example:
        >>> names_of("scanner, sex")
        ('scanner', 'sex')
    """
    return tuple(name.strip() for name in text.split(","))
