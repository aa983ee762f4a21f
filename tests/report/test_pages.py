# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import measured
from difference_cases import LABELS, bare, compared, found, row, shown
from jinja2 import ChoiceLoader, DictLoader, UndefinedError

from monai_shortcut.audit.leading import least_noticed, naming, told
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    NOT_ENCODED,
    NOT_USED,
    Audit,
    Company,
    GivenOther,
)
from monai_shortcut.report import pages, write_overview, write_report
from monai_shortcut.report.differences import beside
from monai_shortcut.report.drawings import Drawing
from monai_shortcut.report.tables import findings_table, regions_table
from monai_shortcut.report.wording import SAID, limits, number
from monai_shortcut.types import Estimate, p_text, with_limits

TEMPLATES = Path(pages.__file__).parent / "templates"
HOSTILE = "<script>alert('x')</script>"
SLASHED = "a/b ../c & \\d"
FIGURES = ("overview", "regions", "embeddings", "weight_space", "examples", "evidence_0", "evidence_1", "evidence_2")
BLANK = Drawing("blank", "<svg></svg>")


def page_of(audit: Audit) -> str:
    """The page of a record, its white space made single, without its pictures."""
    pictures = dict.fromkeys([*FIGURES[:5], *(f"evidence_{index}" for index in range(len(audit.findings)))], BLANK)
    return " ".join(pages._html(audit, pictures).split())


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
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()}


def test_everything_is_written_under_names_of_our_own(folder):
    tables = ["audit.json", "excluded.csv", "findings.csv", "regions.csv", "report.html"]
    pack = ["evidence.html", "evidence.json", "summary.md"]
    assert sorted(files(folder)) == sorted([*tables, *pack, *(f"figures/{name}.svg" for name in FIGURES)])


def test_a_report_from_the_json_alone_is_the_same_byte_for_byte(folder, tmp_path):
    write_report(folder / "audit.json", tmp_path)
    assert files(tmp_path) == files(folder)


def test_the_page_needs_no_other_file(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\((?!#)|@import", text)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "net", "b", "i"})
    links = [attributes["href"] for _, attributes in page.tags if "href" in attributes]
    anchors = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    inside = {link for link in links if link.startswith("#")}
    assert {f"#finding-{index}" for index in range(4)} <= inside <= anchors
    drawn = [attributes["aria-label"] for tag, attributes in page.tags if attributes.get("role") == "img"]
    windows = [tag for tag, _ in page.tags if tag == "svg"]
    again = [link for link in inside if link.endswith("-whole")]
    assert len(drawn) == len(FIGURES) == len(windows) - text.count('-whole"/>')  # a row of panels is a window
    assert again
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert all((folder / "figures" / f"{name}.svg").read_text().startswith("<?xml") for name in FIGURES)
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
            one, names = told(finding, record), naming(finding, record)
            assert row[4:6] == [f"{with_limits(one.value)} {one.where}", p_text(shown.differences_p_value)]
            least = least_noticed(shown.differences, record.settings, names)
            assert row[6] == ", ".join(f"{label} {number(value)}" for label, value in least.items())
        else:
            assert row[2:7] == ["-"] * 5
        assert (row[7] == "-") == (finding.counterfactual is None)
        assert row[8].startswith(f"{sum(finding.levels.values())} ({finding.patients})")
        assert escape(finding.reason) in text.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
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
    assert "benign: no AUC, because of reasons." in text
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == [
        *["embeddings.svg", "overview.svg", "weight_space.svg"]
    ]
    assert pd.read_csv(tmp_path / "excluded.csv").columns.tolist() == ["image_id", "reason"]
    assert findings_table(small).empty
    assert regions_table(small)["auc"].tolist() == [record.regions.scores[0].auc.value]


def test_a_broken_or_newer_json_is_refused_before_anything_is_written(folder, tmp_path):
    path = tmp_path / "audit.json"
    for content, message in (("{", "not JSON"), ('{"version": 99, "findings": []}', "version 5 or older, got 99")):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            write_report(path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_page_lists_the_rows_without_an_image(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 further rows of the cohort were not among the images evaluated" in text
    assert "<p>image 200, &lt;u&gt;</p>" in text


def test_the_overview_shows_every_label_beside_the_others(record, tmp_path):
    first, *rest = record.findings
    other = replace(
        record, findings=(replace(first, shared_with=("x", "<y>")), *(f for f in rest if f.attribute != "plain name"))
    )
    audits = {"pleural effusion": record, "a/b": other}
    page = write_overview(audits, tmp_path, title="<Two> labels", problems={"mass": "nobody <has> it"})
    text = page.read_text(encoding="utf-8")
    rows = Page(text).rows
    assert rows[0] == ["label", "images, patients", "AUC", HOSTILE, SLASHED, "plain name", "empty"]
    verdicts = {finding.attribute: SAID[finding.verdict] for finding in record.findings}
    assert rows[1][3:] == [verdicts[name] for name in rows[0][3:]]
    assert rows[2][3:6] == [f"{verdicts[HOSTILE]} or x or <y>", verdicts[SLASHED], "-"]
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


# Differences


def test_the_page_of_an_audit_shows_the_used_attribute_by_its_leading_difference(many):
    text = page_of(many)
    (line,) = [cells for cells in Page(text).rows if cells[0] == "used" and len(cells) == 9]
    finding = many.finding("used")
    shown = finding.evidence
    top = max(shown.differences.rows, key=lambda one: one.certain)  # one tolerance for all scales that occur
    assert top.certain > 0.1
    label, scale = many.label_names[top.label], top.scale
    assert line[1:2] + line[4:6] == [
        "used",
        f"{with_limits(top.estimate)} {scale}, {label}: used 1 against used 0",
        p_text(shown.differences_p_value),
    ]
    assert "<strong>Caution: predictions differ by used.</strong>" in text
    best = {one.label: one.detectable for one in shown.differences.rows if one.scale == "probability"}
    assert line[6] == ", ".join(f"{many.label_names[label]} {number(0.1 + best[label])}" for label in (0, 1))


def test_attributes_that_share_a_verdict_are_one_finding_of_two_sections():
    scanner = found("scanner", shown(row(certain=0.15)), shared_with=("site",))
    site = found("site", shown(row(0.25)), shared_with=("scanner",))
    text = page_of(bare(scanner, found("age", None, INCONCLUSIVE), site, found("<sex>", shown(row()))))
    cautions = re.findall(r"<strong>Caution: predictions differ by (.*?)\.</strong>", text)
    assert sorted(cautions) == ["&lt;sex&gt;", "scanner or site"]
    rows = [cells for cells in Page(text).rows if len(cells) == 9][1:]
    assert [cells[0] for cells in rows] == ["scanner", "or site", "age", "<sex>"]
    assert [cells[1] for cells in rows] == ["used", "", "inconclusive", "used"]
    assert [cells[4].split(" ")[0] for cells in rows] == ["0.20", "0.25", "-", "0.20"]
    links = re.findall(r'<a href="#finding-(.)">([^<]*)<', text)
    assert links == [("0", "scanner"), ("2", "or site"), ("1", "age"), ("3", "&lt;sex&gt;")]
    heads = re.findall(r'<h3 id="finding-(.)">([^<]*) <span', text)
    assert heads == [("0", "scanner or site"), ("1", "age"), ("2", "site or scanner"), ("3", "&lt;sex&gt;")]


def test_a_difference_that_may_be_any_is_not_measurable():
    text = page_of(bare(found("lens", shown(row(0.0, 1.0)), INCONCLUSIVE), found("tint", shown(row(0.0, 0.99)))))
    lens, tint = [cells for cells in Page(text).rows if len(cells) == 9][1:]
    assert lens[4].startswith("not measurable probability, benign")
    assert tint[4].startswith("0.00 (-0.99 to 0.99) probability, benign")
    assert "(-1.00 to 1.00)" not in text


def test_exceptions_of_what_is_not_used_stand_beside_the_verdict():
    """Which ones, the first screen says."""
    for few, said in (((40, 40, 40), ""), ((3, 40, 40), " (exceptions below)")):
        tag = found("tag", shown(differences=compared(row(0.02), patients=((40, 40, 40), few))), NOT_USED)
        (line,) = [cells for cells in Page(page_of(bare(tag))).rows if cells[0] == "tag" and len(cells) == 9]
        assert line[1] == f"encoded, not used{said}"


def test_the_largest_differences_are_shown_and_the_others_on_demand():
    levels = [f"L{index}" for index in range(6)]
    pairs = [(label, a, b) for label in (0, 1) for a in range(6) for b in range(a + 1, 6)]
    rows = []
    for place, (label, first, second) in enumerate(pairs):
        at = {"label": label, "first": first, "second": second, "patients": 19 if second == 5 else 20 + place}
        rows += [row(0.01 * place, p_value=0.5, **at), row(-0.02 * place, p_value=0.4, scale="decision", **at)]
    rows += [row(0.7, 0.1, scale="odds", label=1, first=2, second=3, outcome=0)]
    rows[0] = replace(rows[0], certain=0.11)
    finding = found("lens", shown(*rows), levels=dict.fromkeys(levels, 40))
    text = page_of(bare(finding))
    lines = [cells for cells in Page(text).rows if len(cells) == 7 and " against " in cells[1]]
    expected = [pairs[0], *pairs[:0:-1]]
    assert [cells[:2] for cells in lines] == [[LABELS[label], f"L{b} against L{a}"] for label, a, b in expected]
    for cells, (label, first, second) in zip(lines, expected, strict=True):
        place = pairs.index((label, first, second))
        assert cells[2:4] == [
            with_limits(Estimate(value, value - 0.125, value + 0.125)) for value in (0.01 * place, -0.02 * place)
        ]
        odds = "benign: 2.01 (1.82 to 2.23)" if (label, first, second) == (1, 2, 3) else "-"
        assert cells[4:6] == [odds, "0.250" if odds != "-" else "0.400"]
        assert cells[6] == ("19 (too few)" if second == 5 else str(20 + place))
    assert text.count("<summary>18 smaller ones</summary>") == 1
    cell = f'>{LABELS[0]}</td><td data-label="levels">L5 against L1</td>'
    assert text.index("<summary>18 smaller") < text.index(cell)
    assert re.findall(r"<span class=used>([^<]*)</span>", text) == ["0.00 (-0.12 to 0.12)"]
    heads = next(cells for cells in Page(text).rows if cells[:2] == ["label", "levels"])
    assert heads[2:5] == ["probability", "decision (share of answers)", "ratio of the odds"]
    assert "smaller ones</summary>" not in page_of(
        bare(found("lens", shown(*rows[:24]), levels=dict.fromkeys(levels, 40)))
    )


def test_scatter_and_adjustment_are_said():
    text = page_of(bare(found("lens", shown(differences=compared(row(), adjusted_for=("size", "<age>"))))))
    assert "levels differ most among images of malignant, C against A (p 0.750)" in text
    assert "Answers are compared at equal levels of size, &lt;age&gt;." in text
    without = page_of(bare(found("lens", shown(differences=compared(row(), spread=None, scattered=None)))))
    assert "Scatter of the answers" not in without
    assert "are compared at equal levels of size" not in without


@pytest.mark.parametrize(
    ("kept", "keeps", "said"),
    [
        ((), True, "its differences stay. No other one's differences stay"),
        ((), False, "its differences do not stay. No other one's differences stay"),
        (("site", "ward"), True, "its differences stay. Those of site and ward stay"),
        (("site", "ward"), False, "its differences do not stay. Those of site and ward stay"),
    ],
)
def test_company_says_what_stays_at_equal_levels_of_what_goes_along(kept, keeps, said):
    rest = (row(0.0625, scale="rank", label=1, p_value=0.125),)
    company = Company({"site": 0.75, "ward": 0.5}, rest, kept, keeps)
    text = page_of(bare(found("scanner", shown(row(), company=company))))
    assert "(site: Cramer's V 0.75 within labels, ward: Cramer's V 0.50 within labels)" in text
    assert f"in one model of all of them: {said} at equal levels of this one." in text
    assert ["malignant", "B against A", "0.06 (-0.06 to 0.19)", "0.125", "40"] in Page(text).rows
    (line,) = [cells for cells in Page(text).rows if cells[0] == "scanner" and len(cells) == 9]
    marked = "; not at equal levels of site and ward" if kept and not keeps else ""
    assert line[4] == f"0.20 (0.08 to 0.33) probability, benign: B against A{marked}"
    alone = page_of(bare(found("scanner", shown(row(), company=replace(company, differences=())))))
    assert "No difference can be told apart from theirs." in alone
    assert "At equal levels of what goes along" not in page_of(bare(found("scanner", shown(row()))))


def test_part_of_the_images_is_shown_where_the_verdict_rests_on_it():
    part = row(-0.4, certain=0.2, p_value=0.002, within=("site", 1))
    site = found("site", None, INCONCLUSIVE, levels={"X": 60, "<Y>": 60})
    text = page_of(bare(found("lens", shown(row(), slices=(part,))), site))
    assert ["benign", "B against A where site is <Y>", "-0.40 (-0.53 to -0.28)", "0.002", "40"] in Page(text).rows
    assert text.count("<strong>In part of the images</strong>") == 1
    whole = page_of(bare(found("lens", shown(row(certain=0.2), slices=(part,))), site))
    assert "<strong>In part of the images</strong>" not in whole


def test_differences_at_equal_levels_are_shown_where_the_verdict_rests_on_them():
    over_all, equal = row(0.3, 0.2), row(0.0625, 0.03125)
    lens = found("lens", shown(over_all, equal=(equal,)), NOT_USED)
    text, head = page_of(bare(lens)), "At equal levels of attributes that are used or go along with it"
    assert head in text
    rows = [line for line in Page(text).rows if line[:2] == ["benign", "B against A"]]
    assert [line[2] for line in rows] == [limits(over_all.estimate), limits(equal.estimate)]
    assert head not in page_of(bare(found("lens", shown(over_all, equal=(equal,)))))
    assert head not in page_of(bare(found("lens", shown(over_all), NOT_USED)))
    assert beside(equal, lens) == {"probability": equal}
    assert beside(over_all, lens) == {"probability": over_all}


def test_the_settings_say_what_matters_and_how_answers_are_given():
    same = page_of(bare(found("lens", shown(row()))))
    words = (
        "10 points of probability, 10 points of the answers, 0.1 of the AUC that a label has at one level, a ratio of "
        "the odds of 2"
    )
    assert ["all labels", words] in Page(same).rows
    assert f"Tolerances: all labels: {words}.</p>" in same
    assert "cells judged from 20 patients on" in same
    assert "Answer given: the likeliest class." in same
    assert "at whose equal levels answers are compared (<code>adjust_for</code>): none.</p>" in same
    settings = {"tolerances": {"malignant": {"decision": 0.05, "odds": 3}}, "judged_patients": 12}
    own = page_of(bare(found("lens", shown(row())), threshold=0.25, adjust_for=("age", "size"), **settings))
    changed = words.replace("10 points of the answers", "5 points of the answers").replace("odds of 2", "odds of 3")
    assert f"Tolerances: benign: {words}; malignant: {changed}.</p>" in own
    assert [["benign", words], ["malignant", changed]] == [cells for cells in Page(own).rows if cells[0] in LABELS][-2:]
    assert "Answer given: the second class from a probability of 0.25 on." in own
    assert "at whose equal levels answers are compared (<code>adjust_for</code>): age, size.</p>" in own
    assert "cells with at least 12 patients" in own
    assert "an answer is given, from a probability of 0.25 on. Rank" in own


def test_of_more_than_two_classes_it_is_said_that_probability_has_no_sign():
    two, finding = bare(found("lens", shown(row()))), found("lens", shown(row()))
    assert "have no sign" not in page_of(two)
    assert "have no sign" in page_of(replace(bare(finding), label_names=(*LABELS, "normal")))


def test_a_record_of_before_shows_the_gap_and_says_so():
    gap = GivenOther("site", 0.25, Estimate(0.125, 0.0, 0.25), 0.25)
    older = found("scanner", replace(measured(0.01, 0.9, 0.02, 0.3, 0.4), given=(gap,)))
    text = page_of(bare(older, found("age", None, INCONCLUSIVE)))
    (line,) = [cells for cells in Page(text).rows if cells[0] == "scanner" and len(cells) == 9]
    assert line[4:7] == ["0.30 (-0.05 to 0.40) prediction gap, all labels", "0.020", "-"]
    seen = replace(older.evidence.gap, detectable=0.0625)
    detected = page_of(bare(replace(older, evidence=replace(older.evidence, gap=seen))))
    assert next(cells for cells in Page(detected).rows if cells[0] == "scanner" and len(cells) == 9)[6] == "0.06"
    assert "This record was written before differences were compared" in text
    assert "over all labels; the verdict rests on it" in text
    assert ["prediction gap at equal site", "0.12 (0.00 to 0.25)", "0.250"] in [cells[:3] for cells in Page(text).rows]
    assert "Do answers to images of one label differ" not in text
    now = page_of(bare(found("scanner", shown(row()))))
    assert "This record was written before" not in now
    assert "over all labels; it describes and decides nothing" in now


def test_answers_that_could_not_be_compared_are_a_dash_with_a_reason():
    why = {"differences": "no label has two levels of at least 5 patients each"}
    evidence = shown(differences=None, differences_p_value=None, spread_p_value=None, not_computed=why)
    text = page_of(bare(found("ward", evidence, NOT_ENCODED)))
    (line,) = [cells for cells in Page(text).rows if cells[0] == "ward" and len(cells) == 9]
    assert line[4:7] == ["-", "-", "-"]
    assert f"Differences: not computed: {why['differences']}" in text
    assert "This record was written before" not in text
    assert "over all labels; it describes and decides nothing" in text


# Templates


def test_there_is_one_skeleton_one_style_sheet_and_one_way_to_print_a_number():
    texts = {path.name: path.read_text(encoding="utf-8") for path in TEMPLATES.rglob("*.jinja")}
    skeletons = {name for name, text in texts.items() if "<style" in text or "<!doctype" in text}
    assert skeletons == {"base.html.jinja", "reading.html.jinja"}  # readers answer on a page that is no report
    whole = {name for name, text in texts.items() if text.startswith('{% extends "base.html.jinja" %}')}
    pages = {"audit", "check", "comparison", "evidence", "overview", "reader_study", "regions", "training"}
    assert whole == {f"{name}.html.jinja" for name in pages}
    printed = {name: text for name, text in texts.items() if name.endswith(".html.jinja")}
    assert not [name for name, text in printed.items() if re.search(r"%[+.0-9]*[fe]\b|round\(", text)]


def test_every_analysis_has_a_template():
    analyses = {path.stem for path in (TEMPLATES.parents[1] / "analyses").glob("[!_]*.py")}
    analyses -= {"sample", "changes"}  # which are of two models
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
    text = pages._html(record, dict.fromkeys(FIGURES, BLANK))
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
        differences=compared(row(-0.001, 0.003, scale="decision"), scattered=(1, 0, 1)),
        differences_p_value=0.0,
        gap=replace(shown.gap, effect=Estimate(-0.001, -0.004, 0.004)),
        latent=replace(shown.latent, effect=-0.0),
        subgroups=replace(
            shown.subgroups, auc_gap=0.3, auc_test=replace(shown.gap.test, observed=9.0, null=(0.0,) * 9999)
        ),
        given=(GivenOther("other <b>", 0.25, Estimate(-0.002, -0.004, 0.3), 0.0004),),
    )
    text = pages._html(small, dict.fromkeys(FIGURES, BLANK))
    assert not re.search(r"-0\.0+(?!\d)|[^.\d]0\.000(?!\d)", text)
    rows = Page(text).rows
    assert next(row for row in rows if row[0] == HOSTILE and len(row) == 9)[3:6] == [
        "< 0.001",
        "0.00 (0.00 to 0.00) decision, benign: low against <b>high</b>",
        "< 0.001",
    ]
    assert next(row for row in rows if row[0] == "prediction gap")[1] == "0.00 (0.00 to 0.00)"
    (given,) = [row for row in rows if row[0] == "prediction gap at equal other <b>"]
    assert given[1:3] == ["0.00 (0.00 to 0.30)", "< 0.001"]
    assert "Cramer's V 0.25" in given[3]


def test_what_was_not_computed_is_said_with_its_reason(record):
    why = {"held_out": "too few <patients>.", "alignment": "no head.", "erasure": "one level."}
    text = pages._html(changed(record, alignment=None, erasure=None, not_computed=why), dict.fromkeys(FIGURES, BLANK))
    assert re.findall(r"<p class=\"small\">(.*): not computed: (.*)</p>", text) == [
        ("A head that has never seen a level", "too few &lt;patients&gt;."),
        ("Alignment", "no head."),
        ("Erasure", "one level."),
    ]
    others = sum(finding.evidence is not None for finding in record.findings[1:])
    shown = [row[0] for row in Page(text).rows if row]
    assert shown.count("erasure") == shown.count("do the heads point the same way?") == others
