# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace

import pytest
from difference_cases import bare, found, row, shown

from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED
from monai_shortcut.audit.wording import NO_CLASSIFIER
from monai_shortcut.report.first_screen import first_screen
from monai_shortcut.report.markdown import HEAD, LIMITS, escaped, model_card, pull_request

HOSTILE = "a|b\n# <img src=x onerror=alert(1)> [x](https://e.example) `c` @ann www.e.example $x$ \\| &lt;"


def cells(line: str) -> list[str]:
    """Cells of a line of a table, by bars that nothing escapes, as they show."""
    plain = re.split(r"(?<!\\)\|", line)[1:-1]
    return [re.sub(r"\\([^\w\s])", r"\1", cell.strip()) for cell in plain]


def test_the_summary_holds_the_table_of_the_findings_and_the_strongest_sentences_first():
    tag, scanner = found("tag", shown(row(0.02)), NOT_USED), found("scanner", shown(row(0.3, certain=0.2)))
    record = replace(bare(tag, found("âge", None, INCONCLUSIVE), scanner), title="Model A", excluded={"x": "cut"})
    lines = pull_request(record).splitlines()
    assert lines[:4] == [
        "### Model A",
        "",
        "120 images of 120 patients (benign 60, malignant 60), 1 excluded.",
        "",
    ]
    table = [cells(line) for line in lines if line.startswith("|")]
    screen = first_screen(record)
    assert table[:2] == [list(HEAD), ["---"] * len(HEAD)]
    assert [line[0] for line in table[2:]] == ["scanner", "tag", "âge"]
    assert [line[1:3] for line in table[2:]] == [[one.verdict, one.amount] for one in screen.table]
    assert table[2][2] == "30 points (18 to 42)"
    (caution,) = screen.cautions
    assert [line[2:] for line in lines[-3:]] == [
        escaped(f"{caution.lead} {caution.said}"),
        *(escaped(" ".join(filter(None, (one.lead, one.said)))) for one in screen.table[1:]),
    ]
    assert "predictions differ by scanner" in lines[-3]


def test_the_summary_has_at_most_20_lines():
    many = bare(*(found(f"a{number}", shown(row())) for number in range(30)))
    lines = pull_request(replace(many, notes=("One note.", "Another."))).splitlines()
    assert len(lines) == 20
    assert "21 further rows are in the report." in lines
    assert lines[-3] == "- One note."
    assert all(line.startswith("- ") for line in lines[-3:])
    assert len(pull_request(bare()).splitlines()) <= 20


def test_a_model_that_tells_nothing_is_said_to_first():
    weak = bare(found("scanner", None, INCONCLUSIVE))
    areas = replace(
        weak.regions, scores=tuple(replace(one, auc=replace(one.auc, low=0.4)) for one in weak.regions.scores)
    )
    assert f"- {NO_CLASSIFIER}" in pull_request(replace(weak, regions=areas)).splitlines()


@pytest.mark.parametrize("text", [pull_request, model_card], ids=["summary", "card"])
def test_names_are_shown_and_not_run(text):
    """A negative control stands below: the same name, not escaped, is a tag, a link and two more cells."""
    record = replace(bare(found(HOSTILE, shown(row()))), title=HOSTILE)
    content = text(record)
    plain = " ".join(HOSTILE.split())
    assert plain not in content
    assert not re.search(r"(?<!\\)[<>`\[\]$]", content)
    assert not re.search(r"https?://|www\.|(?<!\\)&lt;|@|\n# <", content)
    rows = [line for line in content.splitlines() if line.startswith("|")]
    assert {len(cells(line)) for line in rows} == {len(HEAD)}
    assert len(cells(f"| {plain} |")) == 2


def test_markdown_shows_what_was_escaped():
    """Another program's reading of it: the text comes back, without a tag or a link."""
    markdown = pytest.importorskip("markdown_it")
    (inline,) = markdown.MarkdownIt("gfm-like").disable("linkify").parse(f"- {escaped(HOSTILE)}")[3:4]
    assert inline.type == "inline"
    assert {token.type for token in inline.children} <= {"text", "text_special"}
    assert inline.content != " ".join(HOSTILE.split())
    assert "".join(token.content for token in inline.children) == " ".join(HOSTILE.split())


def test_the_card_has_the_headings_of_cards_with_the_numbers_of_the_record():
    record = replace(bare(found("scanner", shown(row(0.3, certain=0.2)))), title="Model A", notes=("A note.",))
    lines = model_card(record).splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# Model card: Model A",
        "## Bias, Risks, and Limitations",
        "## Evaluation",
        "### Testing Data, Factors & Metrics",
        "#### Testing Data",
        "#### Factors",
        "#### Metrics",
        "### Results",
    ]
    assert lines[4:7] == ["- scanner: Because of scanner.", "- A note.", f"- {LIMITS[0]}"]
    assert "- Area under the ROC curve: malignant 0.90 (0.80 to 0.95), 120 images." in lines
    assert "- not measured: Nobody asked where the model looks (audit\\_attribution)." in lines
