# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_shortcut audit``: the audit of arrays in files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from monai_shortcut.audit.assembly import preview, probabilities
from monai_shortcut.audit.failing import FAILED, failing_labels, failing_words, said_failing
from monai_shortcut.audit.settings import AuditSettings
from monai_shortcut.cohort.reading import named_errors
from monai_shortcut.cohort.table import Cohort
from monai_shortcut.commands.arrays import IDS, Rows, by_class, by_name, linear, read_head, read_rows
from monai_shortcut.commands.columns import add_columns, columns, names_of
from monai_shortcut.handlers.reports import write_and_tell
from monai_shortcut.handlers.tasks import (
    FITTED,
    ClinicalTask,
    CohortMatcher,
    RecordedImages,
    Unmatched,
    chosen_attributes,
    clinical_tasks,
    cohorts_by_label,
    head_outputs,
    require_regression,
    with_classes,
    with_fitted_head,
)
from monai_shortcut.heads.linear import LinearHead
from monai_shortcut.storage.files import file_digest
from monai_shortcut.storage.tables import read_csv
from monai_shortcut.types import Outcome

HELP = "audit embeddings and a head, or predicted probabilities, from files"
_SAME = 1e-3  # by which probabilities may differ from those of the head; predictions as a share of the largest
_CLASSES = "--label-names and --fit-head, which are about classes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    files = parser.add_argument_group("what is audited")
    files.add_argument("--embeddings", help="what the head reads, a row for each image: .npz, .npy, .parquet or .csv")
    files.add_argument("--head", help=".npz with weight (C, D) and bias (C,)")
    files.add_argument("--fit-head", action="store_true", help="fit a head to the embeddings in folds of patients")
    files.add_argument("--probabilities", help="predicted probabilities, a column for each class; alone, or to check")
    files.add_argument("--metadata", required=True, help="CSV with a row for each image")
    table = add_columns(parser)
    several = (
        "findings of 0 and 1 that a multi-label model predicts, in the order of its outputs, in place of the label"
    )
    table.add_argument("--findings", type=names_of, metavar="A,B", help=several)
    table.add_argument("--outcome", metavar="COLUMN", help="number that a regression predicts, in place of the label")
    table.add_argument("--unit", default="", help="unit of the outcome and the predictions, such as mm")
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
    settings = AuditSettings(**dict(arguments.set))
    settings = replace(settings, adjust_for=(*settings.adjust_for, *arguments.adjust_for))
    tasks, problems, notes = _tasks(arguments, settings)
    if arguments.dry_run:
        for task in tasks:
            if task.name:
                print(f"\n{task.name}")
            print(preview(**task.given(settings), audits=len(tasks)))
        return 0
    audits = {}
    for task in tasks:
        record = task.audited(settings, arguments.title, audits=len(tasks))
        sources = record.sources | _digests(arguments)
        audits[task.name] = replace(record, notes=(*filter(None, notes), *record.notes), sources=sources)
    write_and_tell(audits, arguments.output, arguments.title, problems)
    failed = failing_labels(audits, problems, arguments.fail_on)
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
    names = ("findings", "outcome", "label_names", "fit_head")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(arguments, name)]
    if len(given) > 1 and given != ["--label-names", "--fit-head"]:
        raise ValueError(
            f"--findings and --outcome must go without the other and {_CLASSES}, got {' and '.join(given)}."
        )
    if not arguments.output and not arguments.dry_run:
        raise ValueError("--output must name the folder of the report, or --dry-run be given, got neither.")


def _tasks(
    arguments: argparse.Namespace, settings: AuditSettings
) -> tuple[list[ClinicalTask], dict[str, str], list[str]]:
    """The labels to audit, why others cannot be, and what must be known to read the audits."""
    cohorts, labels = _cohorts(arguments), arguments.findings
    images = _images(arguments, cohorts)
    matches = {name: CohortMatcher(own).match(images) for name, own in cohorts.items()}
    unmatched, rows = Unmatched.among(matches.values()), {image for own in cohorts.values() for image in own.image_ids}
    notes = [unmatched.told(len(images.names), len(rows), arguments.most_unmatched)]
    if arguments.fit_head:
        notes.append(FITTED.format(folds=settings.folds))
        images = with_fitted_head(images, matches[""], settings)
    attributes = chosen_attributes(cohorts.values(), labels, arguments.attributes)
    tasks, problems = clinical_tasks(images, matches, labels, attributes)
    print(f"{len(unmatched.images)} images have no row in the table, {len(unmatched.rows)} rows no image")
    outcome = Outcome(arguments.outcome, arguments.unit) if arguments.outcome else None
    return [replace(task, outcome=outcome) for task in tasks], problems, notes


def _cohorts(arguments: argparse.Namespace) -> dict[str, Cohort]:
    """The cohort of each finding; "" of the label or the outcome."""
    roles, outcome = columns(arguments), arguments.outcome
    if outcome:
        return {"": Cohort.from_csv(arguments.metadata, **{**roles, "label": outcome}).with_outcome(outcome)}
    found = cohorts_by_label(arguments.metadata, arguments.findings, label_names=arguments.label_names, **roles)
    if arguments.findings or not arguments.head:
        return found
    return {"": with_classes(found[""], read_head(arguments.head))}


def _images(arguments: argparse.Namespace, cohorts: Mapping[str, Cohort]) -> RecordedImages:
    """The images of the files, with names."""
    if not arguments.embeddings:
        answers, predicted = _predicted(arguments, cohorts)
        outputs, names = predicted.shape[1], _named(answers, arguments)
        nothing = linear(np.empty((outputs, 0)), np.zeros(outputs))
        return RecordedImages(names, names, np.empty((len(names), 0)), nothing, predicted=predicted)
    points = read_rows(arguments.embeddings, "embeddings")
    names = _named(points, arguments)
    if arguments.fit_head:
        return RecordedImages(names, names, points.values, linear(np.empty((1, 0)), np.zeros(1)))
    head = read_head(arguments.head)
    with named_errors(arguments.head):
        head_outputs(head, arguments.findings)
        if arguments.outcome:
            require_regression(head)
    if arguments.probabilities:
        answers, predicted = _predicted(arguments, cohorts)
        _require_same(names, _expected(points, head, arguments), _named(answers, arguments), predicted)
    return RecordedImages(names, names, points.values, head)


def _predicted(arguments: argparse.Namespace, cohorts: Mapping[str, Cohort]) -> tuple[Rows, NDArray[np.float64]]:
    """The answers as they are in their file, and (M, C) of the classes, (M, L) of findings or (M, 1) of an outcome."""
    answers = read_rows(arguments.probabilities, "probabilities")
    with named_errors(arguments.probabilities):
        if arguments.findings:
            return answers, by_name(answers, arguments.findings, "finding", "--findings")
        if arguments.outcome:
            return answers, by_name(answers, (arguments.outcome,), "outcome", "--outcome")
        return answers, by_class(answers, cohorts[""].label_names)


def _expected(points: Rows, head: LinearHead, arguments: argparse.Namespace) -> NDArray[np.float64]:
    """What the head makes of the embeddings, in the columns of `_predicted`."""
    weight, bias = head.weight.numpy(), head.bias.numpy()
    if not arguments.findings and not arguments.outcome:
        return probabilities(points.values, weight, bias)
    logits = points.values @ weight.T + bias
    return np.asarray(expit(logits) if arguments.findings else logits)


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


def _require_same(names: Sequence[str], expected: Any, answered: Sequence[str], found: Any) -> None:
    """The proof that this head, on these embeddings, gives the model's answers.

    Args:
        names: M images of the embeddings.
        expected: (M, C) what the head makes of them.
        answered: images of the answers.
        found: their answers.
    """
    places = {name: place for place, name in enumerate(answered)}
    absent = [name for name in names if name not in places]
    if absent:
        raise ValueError(f"probabilities must hold every image of the embeddings, got none of {absent[0]}.")
    off = np.abs(found[[places[name] for name in names]] - expected).max(initial=0.0)
    if not off <= _SAME * max(1.0, np.abs(expected).max(initial=0.0)):
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
