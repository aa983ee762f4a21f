# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit in Markdown: a summary for a pull request, and a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from monai_shortcut.audit.record import Audit
from monai_shortcut.audit.wording import notes
from monai_shortcut.report.evidence_items import ANSWERED, CLAIM, ITEMS
from monai_shortcut.report.first_screen import FirstScreen, first_screen

LIMITS = (
    "A finding says that answers differ, not why; no finding means no evidence, not safety.",
    "Only attributes of the table were looked at.",
    "For research; it is no approval of any use in patients.",
)
METHOD = (
    "Answers to images of one label are compared between the levels of each attribute, on several scales, by "
    "permutation between patients; limits and tests have patients as their units."
)
HEAD = ("attribute", "verdict", "size", "certainty")
_ROWS, _SENTENCES = 9, 3  # of the summary
_ACTIVE = re.compile(r"[\\`*_{}\[\]<>#|~!$]")
_LINKS = {"@": "&#64;", "://": "&#58;//", "www.": "www&#46;"}  # what pages of repositories make links of by themselves


def escaped(text: str) -> str:
    r"""A text in one line that Markdown, and the HTML in it, shows as it is.

    Example:
        >>> print(escaped("a|b *c* <i>@d"))
        a\|b \*c\* \<i\>&#64;d
    """
    text = _ACTIVE.sub(r"\\\g<0>", " ".join(text.replace("&", "&amp;").split()))
    for active, plain in _LINKS.items():
        text = text.replace(active, plain)
    return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    return [_row(map(escaped, head)), _row(["---"] * len(head)), *(_row(map(escaped, row)) for row in rows)]


def pull_request(record: Audit) -> str:
    """An audit in at most 20 lines, to be shown with a pull request.

    Args:
        record: the audit, as it may be written.
    """
    screen = first_screen(record)
    rows = _rows(screen)
    more = [f"{len(rows) - _ROWS} further rows are in the report."] if len(rows) > _ROWS else []
    said = [*notes(record)[:1], *_strongest(screen)][:_SENTENCES]
    lines = [f"### {escaped(record.title)}", "", escaped(_about(record)), "", *table(HEAD, rows[:_ROWS]), *more, ""]
    return _text([*lines, *(f"- {escaped(one)}" for one in said)])


def model_card(record: Audit) -> str:
    """What the card of a model may say of an audit, under the headings that cards of models have.

    Args:
        record: the audit, as it may be written.
    """
    measured = [item for item in ITEMS if item.number in ("37", "30", "31") and item.document is CLAIM]
    results = [item.answer(record) for item in measured]
    return _text(
        [
            f"# Model card: {escaped(record.title)}",
            "",
            "## Bias, Risks, and Limitations",
            "",
            *_bullets(f"{one.attribute}: {one.reason}" for one in record.findings),
            *_bullets(notes(record)),
            *_bullets(LIMITS),
            "",
            "## Evaluation",
            "",
            "### Testing Data, Factors & Metrics",
            "",
            "#### Testing Data",
            "",
            escaped(_about(record)),
            "",
            "#### Factors",
            "",
            escaped(_named(one.attribute for one in record.findings)),
            "",
            "#### Metrics",
            "",
            METHOD,
            "",
            "### Results",
            "",
            *table(HEAD, _rows(first_screen(record))),
            "",
            *_bullets(one.sentence if one.state == ANSWERED else f"{one.state}: {one.sentence}" for one in results),
        ]
    )


def _rows(screen: FirstScreen) -> list[tuple[str, str, str, str]]:
    return [(one.name, one.verdict, one.amount, one.certainty or "-") for one in screen.table]


def _strongest(screen: FirstScreen) -> list[str]:
    """What is to be said first, cautions before all else."""
    others = [one for one in screen.table if one not in screen.cautions]
    return [" ".join(filter(None, (one.lead, one.said))) for one in (*screen.cautions, *others)]


def _about(record: Audit) -> str:
    return (
        f"{sum(record.labels.values())} images of {record.patients} patients "
        f"({_named(f'{name} {count}' for name, count in record.labels.items())}), {len(record.excluded)} excluded."
    )


def _named(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _bullets(parts: Iterable[str]) -> list[str]:
    return [f"- {escaped(one)}" for one in parts]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
