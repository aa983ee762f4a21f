# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from looked import PLANE, explained
from region_scores import draw_study

from monai_shortcut.attribution.record import MaskedPanel, MaskedView
from monai_shortcut.reader_study import ReaderStudy, StrategyReading
from monai_shortcut.region_study import Fit, ModelAttribution, RegionStudyRecord, study_record
from monai_shortcut.region_study.record import IDENTITY
from monai_shortcut.report import write_region_report
from monai_shortcut.report.figures.regions import diagonal
from monai_shortcut.report.figures.style import ANSWERS
from monai_shortcut.report.region_page import identity
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.types import Estimate, p_text, with_limits

NAMES = ("full", "without_roi", "silhouette")


@pytest.fixture(scope="module")
def record() -> RegionStudyRecord:
    scores, outcomes, patients = draw_study(
        np.random.default_rng(0), {"outside": 2.0, "outline": 0.3}, strategies=NAMES, labels=("ill <b>",)
    )
    found = study_record(
        scores,
        outcomes,
        patients,
        title="Study of <net>",
        learning_curves={("full", 0): [(1, 0.7, 0.5), (2, 0.6, 0.6)]},
        excluded={"image <3>": "its region is empty"},
        settings={"folds": "3"},
        software={"numpy": "2"},
    )
    return replace(found, privacy=Privacy(True, True, True))


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    assert write_region_report(record, folder) == folder / "report.html"
    return folder


def plain(text: str) -> str:
    """A page whose cells do not say their columns."""
    return re.sub(' data-label="[^"]*"', "", text).replace("&nbsp;", " ")


def test_the_page_shows_every_cell_of_the_matrix(record, folder):
    text = plain("".join((folder / "report.html").read_text(encoding="utf-8").splitlines()))
    for cell in record.matrix.cells:
        numbers = (
            with_limits(Estimate(cell.auc, *cell.interval)),
            p_text(cell.adjusted_chance_p_value).replace("<", "&lt;"),
        )
        name = f"<td>{cell.trained_on.replace('_', ' ')}</td><td>{cell.evaluated_on.replace('_', ' ')}</td>"
        cells = "".join(f'<td class="number">{shown}</td>' for shown in (f"{cell.images} ({cell.patients})", *numbers))
        assert f"{name}{cells}" in text
    assert any(cell.adjusted_chance_p_value < 0.001 for cell in record.matrix.cells)
    assert not re.search(r">-?0\.000<|-0\.00(?!\d)", text)


def test_the_first_screen_says_what_was_studied_and_what_is_not_known(record, folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    first = text[: text.index("In short")]
    entries = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", first))
    counts = record.counts
    assert entries["Models"] == "network not known, trained with configuration not known"
    assert entries["Data"].startswith(f"table not known; {counts.images} test images of {counts.patients} patients (")
    assert entries["Study"] == "date not known; monai_shortcut version not known"
    known = ("Net", "train.json, more.json", "table.csv", "2026-11-26")
    settings = dict(zip(IDENTITY, known, strict=True))
    told = identity(replace(record, settings=settings, software={"monai_shortcut": "1.2"}))
    assert told["Models"] == "Net, trained with train.json, more.json"
    assert told["Data"].startswith("table.csv; ")
    assert told["Study"] == "2026-11-26; monai_shortcut 1.2"


def test_the_page_answers_each_question_in_its_colour(record, folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    badges = re.findall(r'class="badge" style="background: (#\w+)">(\w+)<', text)
    colours = ANSWERS
    (reading,) = record.readings
    answers = [found.answer for found in (reading.outline, reading.outside, reading.inside)]
    assert "yes" in answers
    assert badges == [(colours[answer], answer) for answer in answers]


def test_the_page_stands_alone_and_runs_no_name(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<b>|<net>|<3>|https?://|url\((?!#)", text)
    assert "<h1>Study of &lt;net&gt;</h1>" in text
    assert "<td>image &lt;3&gt;</td>" in plain(text)
    assert "<td>its region is empty</td>" in plain(text)
    assert re.search(r'<tr><th scope="row">folds</th><td>3</td></tr>\s*<tr><th scope="row">numpy</th><td>2</td>', text)
    assert {path.name for path in (folder / "figures").iterdir()} == {"diagonal.svg", "matrix.svg", "learning.svg"}
    assert text.count('role="img"') == text.count("<svg") - text.count('-whole"/>') == 3


def test_bars_and_sentences_state_the_same_numbers_and_each_answer_once(record, folder):
    text = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    (reading,) = record.readings
    axes = diagonal(record).axes[0]
    bars = {tuple(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 2}
    for row, strategy in enumerate(record.strategies):
        area = reading.areas[strategy]
        assert area.value == pytest.approx(record.matrix.get("ill <b>", strategy, strategy).auc)
        assert (area.low, area.high) in bars, row
        said = [sentence for sentence in reading.sentences if with_limits(area) in sentence]
        assert said, strategy
    first = text[: text.index("In three dimensions")]
    for answer in (reading.outline, reading.outside, reading.inside):
        assert first.count(answer.reason) == 1
    former = replace(record, readings=(replace(reading, areas={}),))
    cell = record.matrix.get("ill <b>", "full", "full")
    assert cell.interval in {tuple(line.get_xdata()) for line in diagonal(former).axes[0].get_lines()}


def test_the_report_can_be_written_again_from_its_json(record, folder, tmp_path):
    page = write_region_report(folder / "region_study.json", tmp_path)
    assert page.read_bytes() == (folder / "report.html").read_bytes()
    assert pd.read_csv(tmp_path / "matrix.csv")["auc"].tolist() == pytest.approx(
        [cell.auc for cell in record.matrix.cells], rel=1e-12
    )


def test_what_was_not_measured_says_so_on_top_and_in_its_section(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.index("In short") < page.index("does it show ...") < page.index("In three dimensions")
    sections = page[page.index("How to read this") - 4000 :]
    for name in ("Where it looks", "How the embedding moves", "What readers see"):
        assert re.search(rf"<h2>{name}</h2>\s*<p class=\"small\">Not measured: ", sections)


def test_each_finding_has_its_own_sections_and_pictures(record, tmp_path):
    view = MaskedView("roi_only", PLANE, PLANE, None)
    masked = MaskedPanel(
        "image <5>", "present", "gradient_shap, background", PLANE, (view,), {"shifted_roi": "no <room>"}
    )
    looked = [
        ModelAttribution(label, fold, replace(explained(0.1 * (1 + fold)), masked=(masked,) if fold == 0 else ()))
        for label in ("ill <b>", "other")
        for fold in (0, 1)
    ]
    read = ReaderStudy("t", "s", "<q>?", ("a", "b"), ("R",), 5, (StrategyReading("full", 4, 2, 4, ()),))
    found = replace(record, attribution=tuple(looked), readers={"ill <b>": read, "other": replace(read, question="q2")})
    text = write_region_report(found, tmp_path).read_text(encoding="utf-8")
    assert [name.stem for name in sorted((tmp_path / "figures").glob("attribution_*"))] == [
        "attribution_masked",
        "attribution_masked_2",
        "attribution_shares",
        "attribution_shares_2",
    ]
    seen = (tmp_path / "figures" / "strategies.svg").read_text()
    assert seen.count("<image") == 1
    assert ">roi only<" in seen
    assert (tmp_path / "figures" / "readers_2.svg").is_file()
    headings = re.findall("<h2>(Where it looks|What readers see)(.*?)</h2>", text)
    names = [": ill &lt;b&gt;", ": other"]
    assert headings == [(title, name) for title in ("Where it looks", "What readers see") for name in names]
    assert text.count("fold 1: 20 % (10 to 30) of what decides lies outside") == 2
    assert text.count("image &lt;5&gt;, shifted roi: not measured: no &lt;room&gt;") == 2
    assert not re.search("<b>|<5>|<room>|<q>", text)
    table = pd.read_csv(tmp_path / "attribution.csv")
    table = table[table["part"] == "outside"]
    assert table[["finding", "fold", "share"]].to_numpy().tolist() == [
        ["ill <b>", 0, 0.1],
        ["ill <b>", 1, 0.2],
        ["other", 0, 0.1],
        ["other", 1, 0.2],
    ]
    again = RegionStudyRecord.from_json(tmp_path / "region_study.json")
    assert again == found


def test_a_record_without_readers_is_still_read(record, tmp_path):
    record.to_json(tmp_path / "now.json")
    value = json.loads((tmp_path / "now.json").read_text())
    (tmp_path / "former.json").write_text(json.dumps({**value, "readers": None}))
    del value["readers"], value["attribution"]
    (tmp_path / "older.json").write_text(json.dumps(value))
    assert all(RegionStudyRecord.from_json(tmp_path / f"{name}.json") == record for name in ("former", "older"))


def test_how_well_models_fit_their_own_images_stands_beside_new_ones(record, tmp_path):
    fits = (Fit("ill <b>", "silhouette", 0.617, None, (0.6, 0.634), ()), Fit("ill <b>", "full", 1.0, 0.875, (1.0,), ()))
    text = write_region_report(replace(record, fits=fits), tmp_path).read_text(encoding="utf-8")
    text = plain("".join(text.splitlines()))
    for fit, shown in zip(fits, (("0.62", "-"), ("1.00", "0.88")), strict=True):
        tested = f"{record.matrix.get('ill <b>', fit.trained_on, fit.trained_on).auc:.2f}"
        cells = "".join(f'<td class="number">{value}</td>' for value in (*shown, tested))
        assert f"<td>{fit.trained_on}</td>{cells}</tr>" in text
    assert pd.read_csv(tmp_path / "fits.csv")["training"].tolist() == [0.617, 1.0]
