# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_shortcut audit``: the audit of arrays in files."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, replace
from typing import Any

import numpy as np

from monai_shortcut.audit.assembly import preview, probabilities
from monai_shortcut.audit.failing import FAILED, failing, failing_words, said_failing
from monai_shortcut.audit.progress import terminal_width
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.audit.wording import summary
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.commands.arrays import IDS, Rows, by_class, linear, read_head, read_rows
from monai_shortcut.commands.columns import add_columns, columns, names_of
from monai_shortcut.handlers.tasks import (
    FITTED,
    CohortMatcher,
    RecordedImages,
    Unmatched,
    chosen_attributes,
    clinical_tasks,
    with_classes,
    with_fitted_head,
)
from monai_shortcut.report.pages import write_report
from monai_shortcut.storage.files import file_digest
from monai_shortcut.storage.tables import read_csv

HELP = "audit embeddings and a head, or predicted probabilities, from files"
_SAME = 1e-3  # by which probabilities may differ from those of the head


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    files = parser.add_argument_group("what is audited")
    files.add_argument("--embeddings", help="what the head reads, a row for each image: .npz, .npy, .parquet or .csv")
    files.add_argument("--head", help=".npz with weight (C, D) and bias (C,)")
    files.add_argument("--fit-head", action="store_true", help="fit a head to the embeddings in folds of patients")
    files.add_argument("--probabilities", help="predicted probabilities, a column for each class; alone, or to check")
    files.add_argument("--metadata", required=True, help="CSV with a row for each image")
    table = add_columns(parser)
    limit = "share of the images, and of the rows, that may be without counterpart; by default all"
    table.add_argument("--most-unmatched", type=float, default=1.0, metavar="SHARE", help=limit)
    how = parser.add_argument_group("how")
    how.add_argument("--output", help="folder of the report")
    how.add_argument("--title", default="Shortcut audit")
    how.add_argument(
        "--adjust-for", type=names_of, default=(), metavar="A,B", help="attributes that may move the answers"
    )
    how.add_argument("--set", action="append", default=[], type=_setting, metavar="NAME=VALUE", help="of AuditSettings")
    how.add_argument("--dry-run", action="store_true", help="say what the audit would rest on, and how long it takes")
    how.add_argument("--fail-on", type=_words, default=(), metavar="used,inconclusive", help="exit with status 2")


def run(arguments: argparse.Namespace) -> int:
    """Audit, and write the report.

    Returns:
        0; or 2 if an attribute has one of the verdicts of ``--fail-on``.

    Raises:
        ValueError: If arguments, arrays and table do not fit each other.
    """
    _require(arguments)
    settings = replace(AuditSettings(**dict(arguments.set)), adjust_for=arguments.adjust_for)
    cohort = _cohort(arguments)
    images = _images(arguments, cohort)
    cohort = with_classes(cohort, images.head) if arguments.head else cohort
    matched = CohortMatcher(cohort).match(images)
    unmatched = Unmatched.among([matched])
    notes = [unmatched.told(len(images.names), len(cohort), arguments.most_unmatched)]
    if arguments.fit_head:
        notes.append(FITTED.format(folds=settings.folds))
        images = with_fitted_head(images, matched, settings)
    tasks, _ = clinical_tasks(images, {"": matched}, None, chosen_attributes([cohort], None, arguments.attributes))
    task = tasks[0]
    print(f"{len(unmatched.images)} images have no row in the table, {len(unmatched.rows)} rows no image")
    if arguments.dry_run:
        print(preview(**task.given(settings)))
        return 0
    record = task.audited(settings, arguments.title)
    record = replace(record, notes=(*filter(None, notes), *record.notes), sources=record.sources | _digests(arguments))
    print("audited; drawing the figures and writing the report", flush=True)
    page = write_report(record, arguments.output)
    print(f"\n{summary(record, terminal_width())}\n\nreport: {page} (beside it audit.json, CSV tables and figures)")
    failed = failing(record, arguments.fail_on)
    if failed:
        print(said_failing(failed))
    return FAILED if failed else 0


def _digests(arguments: argparse.Namespace) -> dict[str, str]:
    """SHA-256 of the files of arrays, by what they hold."""
    files = {name: getattr(arguments, name) for name in ("embeddings", "head", "probabilities")}
    return {name: file_digest(path) for name, path in files.items() if path}


def _require(arguments: argparse.Namespace) -> None:
    """Refuse arguments that do not go together."""
    if not arguments.embeddings and not arguments.probabilities:
        raise ValueError("--embeddings or --probabilities must be given, got neither.")
    heads = [name for name, given in (("--head", arguments.head), ("--fit-head", arguments.fit_head)) if given]
    if len(heads) != bool(arguments.embeddings):
        raise ValueError(
            f"--embeddings must go with one of --head and --fit-head, got {' and '.join(heads) or 'neither'} "
            f"{'with' if arguments.embeddings else 'without'} embeddings."
        )
    if not arguments.output and not arguments.dry_run:
        raise ValueError("--output must name the folder of the report, or --dry-run be given, got neither.")


def _cohort(arguments: argparse.Namespace) -> Cohort:
    return Cohort.from_csv(arguments.metadata, label_names=arguments.label_names, **columns(arguments))


def _images(arguments: argparse.Namespace, cohort: Cohort) -> RecordedImages:
    """The images of the files, with names."""
    answers = read_rows(arguments.probabilities, "probabilities") if arguments.probabilities else None
    if not arguments.embeddings:
        assert answers is not None
        names, predicted = _named(answers, arguments), by_class(answers, cohort.label_names)
        classes = len(cohort.label_names)
        nothing = linear(np.empty((classes, 0)), np.zeros(classes))
        return RecordedImages(names, names, np.empty((len(names), 0)), nothing, predicted=predicted)
    points = read_rows(arguments.embeddings, "embeddings")
    names = _named(points, arguments)
    if arguments.fit_head:
        return RecordedImages(names, names, points.values, linear(np.empty((1, 0)), np.zeros(1)))
    head = read_head(arguments.head)
    if answers is not None:
        weight, bias = head.weight.numpy(), head.bias.numpy()
        _require_same(points, probabilities(points.values, weight, bias), answers, cohort)
    return RecordedImages(names, names, points.values, head)


def _named(rows: Rows, arguments: argparse.Namespace) -> tuple[str, ...]:
    """Names of the rows: their own, or those of the table's rows in their order."""
    if rows.image_ids is not None:
        return rows.image_ids
    table = read_csv(arguments.metadata, text=None, only=lambda name: name == arguments.image_id)
    if len(table) != len(rows.values):
        raise ValueError(
            f"arrays without {IDS} must have a row for each of the table's {len(table)}, in its order, "
            f"got {len(rows.values)}."
        )
    return tuple(table.iloc[:, 0].astype(str))


def _require_same(points: Rows, expected: Any, answers: Rows, cohort: Cohort) -> None:
    """The proof that this head, on these embeddings, gives the model's answers."""
    found = by_class(answers, cohort.label_names)
    if points.image_ids is not None and answers.image_ids is not None and points.image_ids != answers.image_ids:
        places = {name: place for place, name in enumerate(answers.image_ids)}
        absent = [name for name in points.image_ids if name not in places]
        if absent:
            raise ValueError(f"probabilities must hold every image of the embeddings, got none of {absent[0]}.")
        found = found[[places[name] for name in points.image_ids]]
    if found.shape != expected.shape:
        raise ValueError(f"probabilities must have shape {expected.shape} as head(embedding), got {found.shape}.")
    off = np.abs(found - expected).max(initial=0.0)
    if not off <= _SAME:
        raise ValueError(
            f"head(embedding) must give the probabilities, got a difference of {off:.3g}: are embeddings, head and "
            "probabilities of one model, and is the head the last layer?"
        )


def _words(text: str) -> tuple[str, ...]:
    try:
        return failing_words(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _setting(text: str) -> tuple[str, Any]:
    """A field of the settings and its value in JSON, or as text."""
    name, _, value = text.partition("=")
    known = [field.name for field in fields(AuditSettings)]
    if name not in known or not value:
        raise argparse.ArgumentTypeError(f"NAME=VALUE must set one of {', '.join(known)}, got {text!r}")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
