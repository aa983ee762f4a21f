# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from monai_shortcut.analyses.prediction_gap import GivenOther
from monai_shortcut.audit.record import Audit
from monai_shortcut.report import pages, write_overview, write_report
from monai_shortcut.report.tables import findings_table, regions_table
from monai_shortcut.report.wording import number
from monai_shortcut.types import Estimate, p_text, with_limits

TEMPLATES = Path(pages.__file__).parent / "templates"
HOSTILE = "<script>alert('x')</script>"
SLASHED = "a/b ../c & \\d"
FIGURES = ("overview", "regions", "embeddings", "weight_space", "examples", "evidence_0", "evidence_1", "evidence_2")


class Page(HTMLParser):
    """Tags with their attributes, and the text of every table row, with single spaces."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.rows[-1][-1] += data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written_under_names_of_our_own(folder):
    tables = ["audit.json", "excluded.csv", "findings.csv", "regions.csv", "report.html"]
    assert sorted(files(folder)) == sorted([*tables, *(f"figures/{name}.png" for name in FIGURES)])


def test_a_report_from_the_json_alone_is_the_same_byte_for_byte(folder, tmp_path):
    write_report(folder / "audit.json", tmp_path)
    assert files(tmp_path) == files(folder)


def test_the_page_needs_no_other_file(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "net", "b", "i"})
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert len(links) == 4
    assert set(links) == anchors
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == len(FIGURES)
    contents = {base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in pictures}
    assert contents == {(folder / "figures" / f"{name}.png").read_bytes() for name in FIGURES}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_gives_every_attribute_its_verdict_and_numbers(record, folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    rows = {row[0]: row for row in Page(text).rows if len(row) == 9}
    assert list(rows) == ["attribute", HOSTILE, SLASHED, "plain name", "empty"]
    for finding in record.findings:
        row, shown = rows[finding.attribute], finding.evidence
        assert row[1] == finding.verdict
        if shown is not None:
            assert row[2:4] == [with_limits(shown.encoding.own_auroc), p_text(shown.encoding_p_value)]
            assert row[4:6] == [with_limits(shown.gap.effect), p_text(shown.gap_p_value)]
        else:
            assert row[2:7] == ["-"] * 5
        assert shown is None or row[6] == number(shown.gap.detectable)
        assert (row[7] == "-") == (finding.counterfactual is None)
        assert row[8].startswith(f"{sum(finding.levels.values())} ({finding.patients})")
        assert escape(finding.reason) in text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert record.finding(HOSTILE).verdict == "used"
    assert "119 images of 40 patients" in text
    assert "2 images excluded" in text
    assert "7 images have no value" not in text  # image 5 was excluded before
    assert "6 images have no value" in text
    assert "rare (3 images)" in text
    assert "1 images have no usable region" in text


def test_the_page_names_every_statistic_of_use_beside_the_published_one(record, folder):
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    for finding in record.findings[:3]:
        shown = finding.evidence
        aligned, erased = shown.alignment, shown.erasure
        for name, values in (
            ("weight space correlation as published (Wong et al. 2026), post-hoc probe", aligned.wsc),
            ("the same without the principal subspace", aligned.raw),
            ("the same with a probe of label-by-attribute balanced weights", aligned.balanced),
            ("correlation of the logits (ours)", aligned.logits),
        ):
            assert [name, number(np.abs(values).max())] in [row[:2] for row in page.rows]
        assert any(row[:2] == ["latent counterfactual", number(shown.latent.effect)] for row in page.rows)
        assert any(row[:2] == ["erasure", with_limits(erased.change)] for row in page.rows)
        for score in shown.subgroups.scores:
            cells = [f"{score.images} ({score.patients})", number(score.mean_probability)]
            assert any(row[2:3] + row[4:5] == cells for row in page.rows if len(row) == 7)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert f"explain {100 * record.joint.share:.0f} % of the variance" in " ".join(text.split())
    assert all(image.image_id in text for finding in record.findings for image in finding.giveaways)


def test_names_are_shown_as_text_and_never_run(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    for name in (HOSTILE, "<b>high</b>", "malignant <i>", "<img>", "Audit of <net> & co"):
        assert name not in text
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in text
    assert "Audit of &lt;net&gt; &amp; co" in text
    assert "a/b ../c &amp; \\d" in text


def test_an_audit_without_regions_and_exclusions_leaves_their_sections_out(record, tmp_path):
    full = replace(record.regions, scores=record.regions.scores[:1], untested={"benign": "of reasons."})
    small = replace(record, findings=(), examples=(), excluded={}, without_roi={}, regions=full)
    small = replace(small, embedding_map=replace(small.embedding_map, levels={}))
    text = write_report(small, tmp_path).read_text(encoding="utf-8")
    assert "Which region does the model need?" not in text
    assert "No image was excluded." in text
    assert "benign: no area under the ROC curve, because of reasons." in text
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        *["embeddings.png", "overview.png", "weight_space.png"]
    ]
    assert pd.read_csv(tmp_path / "excluded.csv").columns.tolist() == ["image_id", "reason"]
    assert findings_table(small).empty
    assert regions_table(small)["auc"].tolist() == [record.regions.scores[0].auc.value]


def test_a_broken_or_newer_json_is_refused_before_anything_is_written(folder, tmp_path):
    path = tmp_path / "audit.json"
    for content, message in (("{", "not JSON"), ('{"version": 99, "findings": []}', "version 4 or older, got 99")):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            write_report(path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_page_lists_the_rows_without_an_image(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 further rows of the cohort were not among the images evaluated" in text
    assert "<p>image 200, &lt;u&gt;</p>" in text


def test_the_overview_shows_every_label_beside_the_others(record, tmp_path):
    other = replace(record, findings=tuple(f for f in record.findings if f.attribute != "plain name"))
    audits = {"pleural effusion": record, "a/b": other}
    page = write_overview(audits, tmp_path, title="<Two> labels", problems={"mass": "nobody <has> it"})
    text = page.read_text(encoding="utf-8")
    rows = Page(text).rows
    assert rows[0] == ["label", "images, patients", "area under the ROC curve", HOSTILE, SLASHED, "plain name", "empty"]
    verdicts = {finding.attribute: finding.verdict for finding in record.findings}
    assert rows[1][3:] == [verdicts[name] for name in rows[0][3:]]
    assert rows[2][3:6] == [*(verdicts[name] for name in (HOSTILE, SLASHED)), "-"]
    assert rows[2][6] == verdicts["empty"]
    assert rows[1][:2] == ["pleural effusion", f"{sum(record.labels.values())}, {record.patients}"]
    full = next(score for score in record.regions.scores if score.evaluated_on == "full")
    assert rows[1][2] == with_limits(full.auc)
    assert rows[-1] == ["mass", "nobody <has> it"]
    assert [a["href"] for tag, a in Page(text).tags if tag == "a"] == [
        "pleural_effusion/report.html",
        "a_b/report.html",
    ]
    assert "<h1>&lt;Two&gt; labels</h1>" in text
    table = pd.read_csv(tmp_path / "findings.csv")
    assert table["label"].tolist() == [*["pleural effusion"] * 4, *["a/b"] * 3]
    assert table["verdict"].tolist() == [f.verdict for audit in audits.values() for f in audit.findings]


# Templates


def test_there_is_one_skeleton_one_style_sheet_and_one_way_to_print_a_number():
    texts = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.rglob("*.jinja")}
    assert [name for name, text in texts.items() if "<style" in text or "<!doctype" in text] == ["base.html.jinja"]
    whole = {path.name for path in TEMPLATES.glob("*.jinja")} - {"base.html.jinja", "macros.html.jinja"}
    assert whole == {f"{name}.html.jinja" for name in ("audit", "overview", "regions", "training")}
    assert all(texts[name].startswith('{% extends "base.html.jinja" %}') for name in whole)
    assert not [name for name, text in texts.items() if re.search(r"%[+.0-9]*[fe]\b|round\(", text)]


def test_every_analysis_has_a_template():
    analyses = {path.stem for path in (TEMPLATES.parents[1] / "analyses").glob("[!_]*.py")} - {"sample"}
    assert analyses <= {path.name.removesuffix(".html.jinja") for path in (TEMPLATES / "evidence").iterdir()}


def test_templates_are_part_of_the_package():
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((TEMPLATES.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["monai_shortcut"]
    listed = {path for pattern in patterns for path in TEMPLATES.parents[1].glob(pattern)}
    assert set(TEMPLATES.rglob("*.jinja")) <= listed


def test_who_adds_an_analysis_adds_one_template(record, monkeypatch):
    """It becomes a section of each finding that has evidence, after those that the page knows."""
    added = DictLoader({"evidence/added.html.jinja": "<p>Added to {{ finding.attribute|length }}: {{ 0.0004|p }}</p>"})
    environment = pages._environment()
    monkeypatch.setattr(environment, "loader", ChoiceLoader([environment.loader, added]))
    text = pages._html(record, dict.fromkeys(FIGURES, ""))
    expected = [f"Added to {len(finding.attribute)}" for finding in record.findings if finding.evidence is not None]
    assert re.findall(r"<p>(Added to \d+): &lt; 0\.001</p>", text) == expected
    assert text.index("Performance and calibration by level") < text.index("Added to")


def test_a_template_that_lacks_a_value_is_an_error():
    with pytest.raises(UndefinedError, match="'audits' is undefined"):
        pages.render("overview", title="")


# Numbers


def changed(record: Audit, **evidence: object) -> Audit:
    """The record with some evidence for the first attribute replaced."""
    first = record.findings[0]
    return replace(
        record, findings=(replace(first, evidence=replace(first.evidence, **evidence)), *record.findings[1:])
    )


def test_a_small_p_value_is_never_zero_and_a_small_number_has_no_minus(record):
    shown = record.findings[0].evidence
    small = changed(
        record,
        encoding_p_value=0.0004,
        gap_p_value=0.0,
        gap=replace(shown.gap, effect=Estimate(-0.001, -0.004, 0.004)),
        latent=replace(shown.latent, effect=-0.0),
        subgroups=replace(
            shown.subgroups, auc_gap=0.3, auc_test=replace(shown.gap.test, observed=9.0, null=(0.0,) * 9999)
        ),
        given=(GivenOther("other <b>", 0.25, Estimate(-0.002, -0.004, 0.3), 0.0004),),
    )
    text = pages._html(small, dict.fromkeys(FIGURES, ""))
    assert not re.search(r"-0\.0+(?!\d)|[^.\d]0\.000(?!\d)", text)
    rows = Page(text).rows
    assert next(row for row in rows if row[0] == HOSTILE)[3:6] == ["< 0.001", "0.00 (0.00 to 0.00)", "< 0.001"]
    (given,) = [row for row in rows if row[0] == "prediction gap at equal other <b>"]
    assert given[1:3] == ["0.00 (0.00 to 0.30)", "< 0.001"]
    assert "Cramer's V 0.25" in given[3]


def test_what_was_not_computed_is_said_with_its_reason(record):
    why = {"held_out": "too few <patients>.", "alignment": "no head.", "erasure": "one level."}
    text = pages._html(changed(record, alignment=None, erasure=None, not_computed=why), dict.fromkeys(FIGURES, ""))
    assert re.findall(r"<p class=\"small\">(.*): not computed: (.*)</p>", text) == [
        ("A head that has never seen a level", "too few &lt;patients&gt;."),
        ("Alignment", "no head."),
        ("Erasure", "one level."),
    ]
    others = sum(finding.evidence is not None for finding in record.findings[1:])
    shown = [row[0] for row in Page(text).rows if row]
    assert shown.count("erasure") == shown.count("do the heads point the same way?") == others
