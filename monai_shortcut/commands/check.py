# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_shortcut check``: a table, and its images, before a model is trained on them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from monai_shortcut.audit.failing import FAILED
from monai_shortcut.cohort.reading import PATHS
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.commands.columns import add_columns, columns, names_of
from monai_shortcut.datasets.files import read_images
from monai_shortcut.report.check_page import said, write_check
from monai_shortcut.statistics.image_hashes import Thumbnails, thumbnail
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.storage.tables import read_csv
from monai_shortcut.table_check import CheckSettings, check_table
from monai_shortcut.table_check.record import WORDS

HELP = "check a table, before training: attributes that tell the label, leaks, double images"
_PARTS = ("fold", "split")  # columns that say which part of the data an image is in
_ONE_VALUE = "all pixels are the same"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    known = CheckSettings()
    parser.add_argument("metadata", help="CSV with a row for each image")
    table = add_columns(parser)
    table.add_argument("--split", metavar="COLUMN", help="fold, or part such as train; by default fold or split")
    table.add_argument("--image", default="image", metavar="COLUMN", help="paths of the images")
    how = parser.add_argument_group("how")
    how.add_argument("--images", metavar="FOLDER", help="where images are, by path or by image_id")
    how.add_argument("--no-images", action="store_true", help="do not look for double images")
    how.add_argument("--output", help="folder of the report")
    how.add_argument("--title", default="Check of a table")
    how.add_argument("--folds", type=int, default=known.folds)
    how.add_argument("--tolerance", type=float, default=known.tolerance, help="area beyond one half that matters")
    how.add_argument("--ids", action="store_true", help="write names of images, as in the table")
    how.add_argument("--fail-on", type=_words, default=(), metavar=",".join(WORDS), help="exit with status 2")


def run(arguments: argparse.Namespace) -> int:
    """Check, and write the report.

    Returns:
        0; or 2 if something is found that ``--fail-on`` names.

    Raises:
        ValueError: If arguments and table do not fit each other, or what ``--fail-on`` names cannot be looked for.
    """
    settings = CheckSettings(folds=arguments.folds, tolerance=arguments.tolerance, privacy=Privacy(ids=arguments.ids))
    header = [str(name) for name in read_csv(arguments.metadata, text=None, rows=0)]
    part = arguments.split or next((name for name in _PARTS if name in header), None)
    cohort = _cohort(arguments, header, part)
    small, unusable = ({}, {}) if arguments.no_images else _thumbnails(_paths(arguments, cohort))
    check = check_table(
        cohort,
        folds=_folds(arguments, part, cohort) if part else None,
        thumbnails=small or None,
        unusable=unusable,
        settings=settings,
        title=arguments.title,
    )
    failed = check.failing(arguments.fail_on)
    print("\n".join(said(check)))
    if arguments.output:
        page = write_check(check, arguments.output)
        print(f"\nreport: {page} (beside it check.json, CSV tables and figures)")
    if failed:
        print("the check fails: " + "; ".join(f"{word} ({what})" for word, what in failed.items()))
    return FAILED if failed else 0


def _cohort(arguments: argparse.Namespace, header: Sequence[str], part: str | None) -> Cohort:
    """The images, with neither folds nor paths among their attributes."""
    roles = columns(arguments)
    image = arguments.image if arguments.image in header or arguments.image != "image" else None
    others = [name for name in header if name and name not in {*roles.values(), image, part, *PATHS, "fold"}]
    return Cohort.from_csv(
        arguments.metadata,
        root=arguments.images,
        label_names=arguments.label_names,
        attributes=arguments.attributes or others,
        fold=None,
        image=image,
        **roles,
    )


def _folds(arguments: argparse.Namespace, part: str, cohort: Cohort) -> dict[str, str]:
    """Part of the data by image, of images that are in one."""
    wanted = (arguments.image_id, part)
    table = read_csv(arguments.metadata, text=None, only=lambda name: name in wanted)
    if part not in table:
        raise ValueError(f"--split must name a column of the table, got {part!r}.")
    rows = table[table[arguments.image_id].isin(cohort.image_ids) & table[part].notna()]
    return dict(zip(rows[arguments.image_id], rows[part], strict=True))


def _paths(arguments: argparse.Namespace, cohort: Cohort) -> dict[str, str | None]:
    """File by image: those of the table, or those of the folder that have its name."""
    if "image" in cohort.table:
        return dict(zip(cohort.image_ids, cohort.table["image"], strict=True))
    if not arguments.images:
        return {}
    files = sorted(path for path in Path(arguments.images).rglob("*") if path.is_file())
    called = Counter(name for path in files for name in {path.name, path.name.partition(".")[0]})
    found = {
        name: str(path) for path in files for name in (path.name, path.name.partition(".")[0]) if called[name] == 1
    }
    return {image: found.get(image) for image in cohort.image_ids}


def _thumbnails(paths: dict[str, str | None]) -> tuple[dict[str, Thumbnails], dict[str, str]]:
    """Small copies by image, and why there are none of others."""
    small, unusable = {}, {}
    for name, image, reason in read_images(paths):
        one = None if image is None else thumbnail(image.numpy())
        if one is None:
            unusable[name] = reason or _ONE_VALUE
        else:
            small[name] = one
    return small, unusable


def _words(text: str) -> tuple[str, ...]:
    words = names_of(text)
    wrong = [word for word in words if word not in WORDS]
    if wrong:
        raise argparse.ArgumentTypeError(f"words that fail must be among {', '.join(WORDS)}, got {', '.join(wrong)}")
    return words
