# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The findings as a table of text."""

from __future__ import annotations

import textwrap

from monai_shortcut.analyses.differences import PREDICTION
from monai_shortcut.audit.leading import exceptions, together, told
from monai_shortcut.audit.record import Audit, Finding
from monai_shortcut.types import Outcome, p_text, plain, with_limits

NO_CLASSIFIER = (
    "These images do not show that the model tells any class from the others. Is it trained, were its weights loaded, "
    "and are the label names in the order of its outputs? Nothing is said of what it does not use."
)
NO_REGRESSION = (
    "These images do not show that the predictions rise with the outcome. Is the model trained, were its weights "
    "loaded, and is the outcome the one that it predicts? Nothing is said of what it does not use."
)
HEAD = ("attribute", "verdict", "AUC in label", "p", "difference", "scale, label: levels", "p", "when swapped")


def summary(audit: Audit, width: int | None = None) -> str:
    """The findings as a plain text table.

    Attributes that share a verdict are one finding of several lines: "scanner", then "or site". Below the table are
    the cells that "encoded, not used" does not speak of, and what must be known to read it.

    Args:
        audit: the record.
        width: of the terminal, in characters. Where the table is wider, each finding has lines of its own.
    """
    lines = _table(audit)
    if width is not None and max(map(len, lines)) > width:
        lines = [line for row in summary_rows(audit) for line in _stacked(row, width)]
    below = (
        *(["", performed(audit)] if audit.regression else []),
        *_not_judged(audit),
        *_discovered(audit),
        *_weights(audit),
        *(line for note in notes(audit) for line in ("", note)),
    )
    wrapped = below if width is None else (part for line in below for part in _wrapped(line, width) or [""])
    return "\n".join([*lines, *wrapped])


def _table(audit: Audit) -> list[str]:
    rows = [HEAD, *summary_rows(audit)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _stacked(row: tuple[str, ...], width: int) -> list[str]:
    """A row of the table below one another."""
    name, verdict, *numbers = row
    lines = [f"{name}: {verdict}" if verdict else name]
    read, read_p, differs, where, differs_p, swapped = numbers
    lines += [f"  {HEAD[2]} {read}, p {read_p}", f"  {HEAD[4]} {differs}, p {differs_p}", f"  {where}"]
    lines += [f"  {HEAD[7]} {swapped}"] if swapped != "-" else []
    return [part for line in lines for part in _wrapped(line, width, "    ")]


def _wrapped(line: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def summary_rows(audit: Audit) -> list[tuple[str, ...]]:
    """A row of the table for each finding, with as many cells as its head."""
    rows: list[tuple[str, ...]] = []
    for group in together(audit.findings):
        for place, (name, finding) in enumerate(group):
            first = (f"  {name}", "") if place else (name, finding.verdict)
            rows.append((*first, *_numbers(finding, audit)))
    return rows


def _numbers(finding: Finding, audit: Audit) -> tuple[str, ...]:
    shown, swapped, used = finding.evidence, finding.counterfactual, told(finding, audit)
    encoding = shown and shown.encoding
    read = (with_limits(encoding.own_auroc), p_text(shown.encoding_p_value)) if shown and encoding else ("-", "-")
    differs = (with_limits(used.value), used.where, p_text(used.p_value)) if used else ("-", "-", "-")
    return *read, *differs, with_limits(swapped.change) if swapped else "-"


def _discovered(audit: Audit) -> list[str]:
    return ["", audit.discovered.reason] if audit.discovered else []


def _weights(audit: Audit) -> list[str]:
    files = [f"{name} (SHA-256 {digest})" for digest, name in (audit.weights or {}).items()]
    return ["", f"weights: {', '.join(files)}"] if files else []


def _not_judged(audit: Audit) -> list[str]:
    small = {finding.attribute: exceptions(finding, audit) for finding in audit.findings}
    lines = [f"{name}: too few patients to speak of {', '.join(cells)}" for name, cells in small.items() if cells]
    return ["", *lines] if lines else []


def notes(audit: Audit) -> list[str]:
    """What must be known before the findings are read."""
    return [*filter(None, [unfit(audit)]), *audit.notes]


def unfit(audit: Audit) -> str:
    """What is said of a model that these images do not show to work; "" of one that works."""
    if audit.works:
        return ""
    return NO_REGRESSION if audit.regression else NO_CLASSIFIER


def performed(audit: Audit) -> str:
    """How well a regression predicts and what matters, in sentences; "" of a classifier."""
    if audit.regression is None:
        return ""
    errors, name, spread = audit.regression.errors, audit.regression.name, audit.regression.spread
    of = Outcome(name, audit.unit).of
    limit = of(f"{audit.settings.tolerated('', PREDICTION):g}")
    given = (
        ""
        if not audit.regression.assumed
        else (f", a fifth of the standard deviation of {plain(spread)}, for no outcome_tolerance was given")
    )
    return (
        f"{name[:1].upper()}{name[1:]}: mean absolute error {of(with_limits(errors.absolute))}, mean error (bias) "
        f"{of(with_limits(errors.bias))}, R2 {with_limits(errors.r_squared)}, correlation "
        f"{with_limits(errors.correlation)}. Differences of mean predictions matter from {limit} on{given}."
    )
