# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit in Markdown: a summary for a pull request, and a model card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_ENCODED, NOT_USED, UNUSED, USED, Audit
from monai_shortcut.audit.wording import HEAD, notes, summary_rows
from monai_shortcut.report.evidence_items import ANSWERED, CLAIM, ITEMS

LIMITS = (
    "A finding says that answers differ, not why; no finding means no evidence, not safety.",
    "Only attributes of the table were looked at.",
    "For research; it is no approval of any use in patients.",
)
METHOD = (
    "Answers to images of one label are compared between the levels of each attribute, on four scales, by permutation "
    "between patients; limits and tests have patients as their units."
)
_ORDER = (USED, INCONCLUSIVE, NOT_USED, UNUSED, NOT_ENCODED)
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
    rows = summary_rows(record)
    more = [f"{len(rows) - _ROWS} further rows are in the report."] if len(rows) > _ROWS else []
    said = [*notes(record)[:1], *strongest(record)][:_SENTENCES]
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
            *table(HEAD, summary_rows(record)),
            "",
            *_bullets(one.sentence if one.state == ANSWERED else f"{one.state}: {one.sentence}" for one in results),
        ]
    )


def strongest(record: Audit) -> list[str]:
    """The findings in sentences, what is used first."""
    order = sorted(record.findings, key=lambda one: _ORDER.index(one.verdict))
    return [f"{one.attribute}: {one.verdict}. {one.reason}" for one in order]


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
