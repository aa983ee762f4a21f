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

from monai_shortcut.audit.assembly import AuditSettings, audit
from monai_shortcut.audit.record import Audit, Example
from monai_shortcut.report.figures.audit import picture
from monai_shortcut.report.pages import (
    findings_table,
    label_folders,
    regions_table,
    writable,
    write_overview,
    write_report,
)

HOSTILE = "<script>alert('x')</script>"
SLASHED = "a/b ../c & \\d"
FIGURES = ("overview", "regions", "embeddings", "weight_space", "examples", "evidence_0", "evidence_1", "evidence_2")


@pytest.fixture(scope="module")
def record() -> Audit:
    rng = np.random.default_rng(1)
    label, level = rng.integers(2, size=(2, 120))
    points = rng.normal(size=(120, 4)) + 2 * label[:, None] * np.eye(4)[0] + 2 * level[:, None] * np.eye(4)[1]
    points[5] = np.nan
    level_names = np.array(["low", "<b>high</b>"], dtype=object)
    third = rng.uniform(20, 40, 120)
    third[:7] = np.nan
    masked = rng.dirichlet([1, 1], size=120)
    masked[9] = np.nan
    return audit(
        points,
        [[0, 0, 0, 0], [1.5, 1.5, 0, 0]],
        [0, -3],
        label,
        [f"p{index // 3}" for index in range(120)],
        {
            HOSTILE: level_names[level],
            SLASHED: third,
            "plain name": ["rare"] * 3 + rng.permutation(["x", "y"] * 60).tolist()[3:],
            "empty": [None] * 120,
        },
        label_names=["benign", "malignant <i>"],
        image_ids=[f"image {index}" for index in range(120)],
        regions={"without_roi": masked},
        counterfactuals={SLASHED: rng.dirichlet([1, 1], size=120)},
        excluded={"<img>": 'unreadable, "really"'},
        without_roi={"image 9": "roi must hold at least one pixel"},
        unseen=["image 200", "<u>"],
        examples=(Example("image 0", "benign", {"full": picture(rng.normal(size=(1, 8, 8)))}),),
        settings=AuditSettings(permutations=99, bootstraps=49, held_out=1),
        title="Audit of <net> & co",
        software={"monai": "1.6.1"},
    )


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made" / "when absent"
    assert write_report(record, folder) == folder / "report.html"
    return folder


class Page(HTMLParser):
    """Tags with their attributes, and the text of every table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and self.rows[-1] and self.get_starttag_text() != "</table>":
            self.rows[-1][-1] += data


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_written_under_names_of_our_own(folder):
    tables = ["audit.json", "excluded.csv", "findings.csv", "regions.csv", "report.html"]
    assert sorted(files(folder)) == sorted([*tables, *(f"figures/{name}.png" for name in FIGURES)])


def test_a_report_from_the_json_alone_is_the_same_byte_for_byte(folder, tmp_path):
    write_report(folder / "audit.json", tmp_path / "path")
    write_report(Audit.from_json(folder / "audit.json"), tmp_path / "record")
    assert files(tmp_path / "path") == files(tmp_path / "record") == files(folder)


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
    rows = {row[0].strip(): [cell.strip() for cell in row] for row in Page(text).rows if len(row) == 9}
    assert list(rows) == ["attribute", HOSTILE, SLASHED, "plain name", "empty"]
    for finding in record.findings:
        row, shown = rows[finding.attribute], finding.evidence
        assert row[1] == finding.verdict
        if shown is not None:
            value, low, high = shown.encoding.own_auroc
            assert row[2] == f"{value:.2f} ({low:.2f} to {high:.2f})"
            assert row[3] == f"{shown.encoding_p_value:.3f}"
            assert row[4] == f"{shown.gap.effect:.2f} ({shown.gap.interval[0]:.2f} to {shown.gap.interval[1]:.2f})"
            assert row[5] == f"{shown.gap_p_value:.3f}"
        else:
            assert row[2:7] == ["-"] * 5
        assert shown is None or row[6] == f"{shown.gap.detectable:.2f}"
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
            number = f"{np.abs(values).max():.2f}"
            assert [name, number] in [[cell.strip() for cell in row[:2]] for row in page.rows]
        assert any(row[:2] == ["latent counterfactual", f"{shown.latent.effect:.2f}"] for row in page.rows)
        change = f"{erased.change[0]:.2f} ({erased.change[1]:.2f} to {erased.change[2]:.2f})"
        assert any(row[:2] == ["erasure", change] for row in page.rows)
        for score in shown.subgroups.scores:
            cells = [f"{score.images} ({score.patients})", f"{score.mean_probability:.2f}"]
            rows = [[cell.strip() for cell in row] for row in page.rows if len(row) == 7]
            assert any(row[2:3] + row[4:5] == cells for row in rows)
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


def test_the_findings_table_holds_the_records_numbers(record, folder):
    table = pd.read_csv(folder / "findings.csv").set_index("attribute")
    assert list(table.index) == [HOSTILE, SLASHED, "plain name", "empty"]
    for finding in record.findings:
        row, shown = table.loc[finding.attribute], finding.evidence
        assert (row["verdict"], row["reason"]) == (finding.verdict, finding.reason)
        assert row[["images", "patients", "missing", "left_out"]].tolist() == [
            sum(finding.levels.values()),
            finding.patients,
            finding.missing,
            sum(finding.left_out.values()),
        ]
        assert row[["images", "missing", "left_out"]].sum() == 119
        if shown is None:
            assert row[["own_auroc", "gap", "accuracy", "alignment_z"]].isna().all()
            continue
        numbers = dict(zip(("own_auroc", "own_auroc_low", "own_auroc_high"), shown.encoding.own_auroc, strict=True))
        numbers |= {"own_auroc_p": shown.encoding_p_value, "auroc": shown.encoding.auroc[0]}
        numbers |= {name: shown.encoding.metrics[name][0] for name in ("accuracy", "precision", "recall", "f1")}
        numbers |= {"gap": shown.gap.effect, "gap_low": shown.gap.interval[0], "gap_high": shown.gap.interval[1]}
        numbers |= {"gap_p": shown.gap_p_value, "largest_wsc": np.abs(shown.alignment.wsc).max()}
        numbers |= {"wsc_p": shown.alignment.wsc_p_value, "largest_alignment": np.abs(shown.alignment.within).max()}
        numbers |= {"alignment_z": shown.alignment.z, "alignment_p": shown.alignment.p_value}
        assert row[list(numbers)].to_dict() == pytest.approx(numbers, rel=1e-12)
    swapped = record.finding(SLASHED).counterfactual
    found = table.loc[SLASHED, ["swapped", "swapped_low", "swapped_high"]].tolist()
    assert found == pytest.approx([swapped.change, *swapped.interval], rel=1e-12)
    assert table["swapped"].notna().sum() == 1
    assert table.loc["plain name", "levels"] == "; ".join(
        f"{name}: {count}" for name, count in record.finding("plain name").levels.items()
    )


def test_the_regions_table_holds_the_records_numbers(record, folder):
    table = pd.read_csv(folder / "regions.csv")
    assert len(table) == len(record.regions.scores) == 2
    for (_, row), score in zip(table.iterrows(), record.regions.scores, strict=True):
        assert row.tolist()[:4] == [score.label, "full", score.evaluated_on, score.images]
        numbers = [score.auc, *score.interval, score.chance_p_value, score.difference, score.p_value]
        assert row.tolist()[4:] == pytest.approx(numbers, rel=1e-12)
    assert table["images"].tolist() == [119, 118]


def test_the_excluded_table_holds_every_image_with_its_reason(folder):
    table = pd.read_csv(folder / "excluded.csv")
    assert table.to_numpy().tolist() == [["<img>", 'unreadable, "really"'], ["image 5", "embedding not finite"]]


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
    assert regions_table(small)["auc"].tolist() == [record.regions.scores[0].auc]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_folders_place_is_refused(record, tmp_path, below):
    place = tmp_path / "taken"
    place.write_text("mine")
    for call in (lambda: writable(place / below), lambda: write_report(record, place / below)):
        with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*taken"):
            call()
    assert place.read_text() == "mine"


def test_a_broken_or_newer_json_is_refused_before_anything_is_written(folder, tmp_path):
    path = tmp_path / "audit.json"
    for content, message in (("{", "not JSON"), ('{"version": 99, "findings": []}', "version 3 or older, got 99")):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            write_report(path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_the_page_lists_the_rows_without_an_image(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 further rows of the cohort were not among the images evaluated" in text
    assert "<p>image 200, &lt;u&gt;</p>" in text


@pytest.mark.parametrize("place", ["audit.json", "findings.csv", "figures/overview.png", "report.html"])
def test_a_report_that_cannot_be_finished_leaves_the_former_files_whole(record, folder, tmp_path, place):
    target = tmp_path / "report"
    write_report(record, target)
    before = files(target)
    (target / place).unlink()
    (target / place).mkdir()  # which no file can replace
    with pytest.raises(OSError, match=place.rsplit("/", 1)[-1].replace(".", r"\.")):
        write_report(replace(record, title="Another"), target)
    left = files(target)
    assert not [name for name in left if "part" in name]
    assert {name for name in left if left[name] != before[name]} <= {"audit.json"}


def test_the_overview_shows_every_label_beside_the_others(record, tmp_path):
    other = replace(record, findings=tuple(f for f in record.findings if f.attribute != "plain name"))
    audits = {"pleural effusion": record, "a/b": other}
    page = write_overview(audits, tmp_path, title="<Two> labels", problems={"mass": "nobody <has> it"})
    text = page.read_text(encoding="utf-8")
    rows = [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in Page(text).rows]
    assert rows[0] == ["label", "images, patients", "area under the ROC curve", HOSTILE, SLASHED, "plain name", "empty"]
    verdicts = {finding.attribute: finding.verdict for finding in record.findings}
    assert rows[1][3:] == [verdicts[name] for name in rows[0][3:]]
    assert rows[2][3:6] == [*(verdicts[name] for name in (HOSTILE, SLASHED)), "-"]
    assert rows[2][6].startswith(verdicts["empty"])  # then comes what follows the table
    assert rows[1][:2] == ["pleural effusion", f"{sum(record.labels.values())}, {record.patients}"]
    full = next(score for score in record.regions.scores if score.evaluated_on == "full")
    assert f"{full.auc:.2f} ({full.interval[0]:.2f} to {full.interval[1]:.2f})" in rows[1][2]
    assert rows[-1] == ["mass", "nobody <has> it"]
    assert [a["href"] for tag, a in Page(text).tags if tag == "a"] == [
        "pleural_effusion/report.html",
        "a_b/report.html",
    ]
    assert "<h1>&lt;Two&gt; labels</h1>" in text
    table = pd.read_csv(tmp_path / "findings.csv")
    assert table["label"].tolist() == [*["pleural effusion"] * 4, *["a/b"] * 3]
    assert table["verdict"].tolist() == [f.verdict for audit in audits.values() for f in audit.findings]


def test_folders_of_labels_differ_on_every_file_system():
    labels = ["Mass", "mass", "a/b", "a b", "..", "?", "mass_2", "größe"]
    folders = label_folders(labels)
    assert list(folders) == labels
    assert len({name.lower() for name in folders.values()}) == len(labels)
    assert all(re.fullmatch(r"[\w.-]+", name) and name not in (".", "..") for name in folders.values())
    assert folders["Mass"] == "Mass"
