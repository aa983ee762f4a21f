# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_shortcut evidence``: the evidence pack of a record, a bundle's metadata and a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from monai_shortcut.audit.record import Audit
from monai_shortcut.report.evidence_pack import CARD, METADATA, PACK, PACK_PAGE, pack_files
from monai_shortcut.report.pages import render
from monai_shortcut.storage.files import file_digest
from monai_shortcut.storage.folders import replace_files
from monai_shortcut.storage.privacy import written

HELP = "file an audit by the items of reporting guidelines, with checksums, for a bundle and a model card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.add_argument("record", help="audit.json of a report")
    parser.add_argument("--output", metavar="FOLDER", help="where the files go; by default beside the record")
    files = parser.add_argument_group("files whose SHA-256 is noted")
    files.add_argument("--metadata", metavar="CSV", help="the table that was audited")
    files.add_argument("--checkpoint", nargs="+", metavar="FILE", help="weights of the model")
    files.add_argument("--configuration", nargs="+", metavar="FILE", help="such as configs/inference.json")


def run(arguments: argparse.Namespace) -> int:
    """Write the pack.

    Returns:
        0.

    Raises:
        ValueError: If the record is no audit, or was made from another table or checkpoint.
    """
    record = written(Audit.from_json(arguments.record))
    files = {
        "record": [arguments.record],
        "table": [arguments.metadata] if arguments.metadata else [],
        "checkpoint": arguments.checkpoint or [],
        "configuration": arguments.configuration or [],
    }
    given = {name: [file_digest(path) for path in paths] for name, paths in files.items() if paths}
    pack = pack_files(record, render, given, further=True)
    page = replace_files(arguments.output or Path(arguments.record).parent, pack, PACK_PAGE)
    print(f"evidence pack: {page} (beside it {PACK}, {METADATA} and {CARD})")
    return 0
