# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from audit_cases import simulated
from matplotlib.figure import Figure

from monai_shortcut.audit import Audit, audit
from monai_shortcut.report.tables import findings_table
from monai_shortcut.storage.privacy import written


class Cells(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.inside = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def found() -> Audit:
    known = simulated()
    few = {name: known["attributes"][name] for name in ("used", "absent")}
    return audit(**known | {"attributes": few}, title="A & B")


def test_an_audit_is_one_short_line(found):
    said = {one.attribute: one.verdict for one in found.findings}
    verdicts = ", ".join(f"{name}: {verdict}" for name, verdict in said.items())
    assert repr(found) == f"Audit(A & B: 120 images of 40 patients; {verdicts})"
    assert repr(found.finding("used")) == f"Finding(used: {said['used']}, 120 images)"


def test_a_notebook_shows_the_findings(found):
    page = replace(found, notes=("The head was <fitted>.",))._repr_html_()
    assert "A &amp; B" in page
    assert "The head was &lt;fitted&gt;." in page
    rows = Cells(page).rows
    assert rows[0][:3] == ["attribute", "verdict", "AUC in label"]
    assert [row[:2] for row in rows[1:]] == [[one.attribute, one.verdict] for one in found.findings]
    assert {len(row) for row in rows} == {8}


def test_findings_are_a_frame_and_a_report(found, tmp_path):
    assert found.to_frame().equals(findings_table(found))
    assert found.report(tmp_path / "audit") == tmp_path / "audit" / "report.html"
    assert Audit.from_json(tmp_path / "audit" / "audit.json") == written(found)


def test_a_finding_is_drawn_with_its_audit(found):
    figure = found.finding("used").plot()
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.axes]
    assert any(title.startswith("used? largest difference") for title in titles)
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_finding_of_no_audit_cannot_be_drawn(found):
    with pytest.raises(ValueError, match="must be taken from its audit to be drawn"):
        replace(found.finding("used")).plot()
