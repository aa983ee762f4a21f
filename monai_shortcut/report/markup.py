# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""What every table of a page needs so that telephones and screen readers can show it; templates do not say it.

A template writes rows of `th` and `td`. Here each head cell gets its scope, each other cell the name of its column
(which a narrow screen shows before it, for there rows become cards), each table the heading above it as caption, and
each area that may scroll a name and a place in the order of the Tab key.

References:
    WCAG 2.2: 1.3.1 info and relationships, 1.4.10 reflow, 2.1.1 keyboard.
"""

from __future__ import annotations

import re
from collections import Counter
from html import unescape

from markupsafe import escape

_PART = re.compile(r'<(?P<tag>h[1-6]|summary)\b[^>]*>(?P<name>.*?)</(?P=tag)>|(?P<scroll><div class="scroll">)\s*'
                   r"|<table(?P<given>[^>]*)>(?P<rows>.*?)</table>", re.DOTALL)  # fmt: skip
_ROW, _CELL = re.compile(r"<tr>.*?</tr>", re.DOTALL), re.compile(r"<(t[hd])\b([^>]*)>(.*?)</\1>", re.DOTALL)
_SPAN, _TAG = re.compile(r'colspan="(\d+)"'), re.compile(r"<[^>]*>")
_WIDE = 8  # columns from which a printed table takes smaller type, and a number stands above its limits
_LIMITS = re.compile(r"\([^()<>]* to [^()<>]*\)")


def completed(html: str) -> str:
    """A page whose tables say what their cells are.

    Args:
        html: the page, in which every table is ``<table>`` with rows of ``<tr>``, the first of them its head if it
            holds head cells alone.

    Example:
        >>> completed("<h2>Sizes</h2><table><tr><th>n</th></tr><tr><td>3</td></tr></table>").splitlines()[1]
        '<tr><th scope="col">n</th></tr></thead><tbody>'
    """
    above, counts = "", Counter[str]()
    named = ""

    def part(found: re.Match[str]) -> str:
        nonlocal above, named
        if found["tag"]:
            above = _text(found["name"])
            return found[0]
        if found["scroll"]:
            named = _numbered(above, counts)
            return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(named)}">'
        caption, named = named or _numbered(above, counts), ""
        return _table(caption, found["given"], found["rows"])

    return _PART.sub(part, html)


def _numbered(above: str, counts: Counter[str]) -> str:
    """The heading above a table, with a number from the second table below it on."""
    name = above or "Table"
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}, table {counts[name]}"


def _table(caption: str, given: str, rows: str) -> str:
    lines = _ROW.findall(rows)
    head = lines[0] if lines and "<td" not in lines[0] else ""
    names = [_text(name) for _, span, name in _CELL.findall(head) for _ in range(_width(span))]
    body = "\n".join(_cells(line, names) for line in (lines[1:] if head else lines))
    if len(names) >= _WIDE:
        body = _LIMITS.sub(lambda found: found[0].replace(" ", "&nbsp;"), body)
    begins = f"<thead>\n{_CELL.sub(_scoped, head)}</thead>" if head else ""
    sort = ' class="wide"' if len(names) >= _WIDE else ""
    return f"<table{given}{sort}><caption>{escape(caption)}</caption>{begins}<tbody>\n{body}\n</tbody></table>"


def _scoped(found: re.Match[str]) -> str:
    return f'<th scope="col"{found[2]}>{found[3]}</th>'


def _cells(row: str, names: list[str]) -> str:
    """A row whose cells have the names of their columns."""
    column = 0

    def named(found: re.Match[str]) -> str:
        nonlocal column
        tag, given, content = found.groups()
        span, given = _width(given), given if tag == "td" else f' scope="row"{given}'
        name = names[column] if column < len(names) and span == 1 else ""
        column += span
        label = f' data-label="{escape(name)}"' if name else ""
        return f"<{tag}{given}{label}>{content}</{tag}>"

    return _CELL.sub(named, row)


def _width(given: str) -> int:
    found = _SPAN.search(given)
    return int(found[1]) if found else 1


def _text(html: str) -> str:
    """What a piece of a page says, on one line."""
    return " ".join(unescape(_TAG.sub(" ", html)).split())
