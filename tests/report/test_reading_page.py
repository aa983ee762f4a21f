# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The page for readers, played in a real browser without a window, and the page of what they saw."""

from __future__ import annotations

import base64
import csv
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from reader_answers import make_key, rows_of, write_answers
from scipy.stats import norm

from monai_shortcut.audit.record import Audit
from monai_shortcut.phantom.regions import draw_region_phantom
from monai_shortcut.reader_study import Display, ReaderSet, ReaderStudy, StudyKey, analyse, prepare
from monai_shortcut.reader_study.answers import COLUMNS, read_answers
from monai_shortcut.report import write_reader_report, write_reading_page, write_report
from monai_shortcut.types import with_limits

ANSWERS = ("few lobes", "many lobes")


def study(per_percentile: int = 1, percentiles: int = 2) -> ReaderSet:
    """Drawn regions of few and of many lobes, each as it is and as a silhouette."""
    phantom = draw_region_phantom("outline", 40, 0, size=48)
    items = [dict(zip(("image", "roi"), phantom.draw(index), strict=True)) for index in range(len(phantom.cohort))]
    label = phantom.cohort.labels
    return prepare(
        items,
        label,
        phantom.cohort.patients,
        label + np.random.default_rng(0).normal(size=len(label)),
        image_ids=phantom.cohort.image_ids,
        strategies=("full", "silhouette"),
        percentiles=percentiles,
        per_percentile=per_percentile,
        display=Display(window=(0, 1)),
        answers=ANSWERS,
        title="Lobes & <b>regions</b>",
        seed=7,
    )


@pytest.fixture(scope="module")
def small() -> ReaderSet:
    return study()


@pytest.fixture(scope="module")
def place(small, tmp_path_factory) -> Path:
    written = tmp_path_factory.mktemp("readers")
    assert write_reading_page(small, written) == written / "for_readers" / "reading.html"
    return written


@pytest.fixture
def address(place) -> str:
    return (place / "for_readers" / "reading.html").as_uri()


@pytest.fixture
def page(browser, address) -> Iterator[Any]:
    context = browser.new_context(accept_downloads=True)
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text))
    opened.goto(address)
    yield opened
    context.close()
    assert problems == []


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def begin(page, reader: str) -> None:
    press(page, "Tab")
    page.keyboard.type(reader)
    press(page, "Enter")


def focused(page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")


def shown_case(page, pictures: dict[str, str]) -> str:
    """The name of the picture on the screen, which the page does not say."""
    return pictures[page.locator("#image").get_attribute("src").partition(",")[2]]


def by_content(prepared: ReaderSet) -> dict[str, str]:
    found = {base64.b64encode(picture.png).decode(): case for case, picture in prepared.pictures.items()}
    assert len(found) == len(prepared.pictures)
    return found


def downloaded(page, path: Path) -> Path:
    with page.expect_download() as waiting:
        press(page, "Tab", "Enter")
    waiting.value.save_as(path)
    return path


def test_a_reader_plays_two_sessions_by_keyboard_from_the_first_key_to_the_file(page, small, tmp_path):
    pictures, given = by_content(small), {}
    begin(page, "R-1")
    assert focused(page) == "place"
    assert page.locator("#place").inner_text() == "Image 1 of 4"
    assert page.locator("#progress-text").inner_text() == "session 1 of 2"
    press(page, "Enter")
    assert page.get_by_role("alert").filter(has_text="Choose an answer.").is_visible()
    press(page, "j", "Enter")
    assert page.get_by_role("alert").filter(has_text="Say how sure you are.").is_visible()
    given[shown_case(page, pictures)] = "positive", "3"
    press(page, "3", "Enter")

    assert (page.locator("#place").inner_text(), focused(page)) == ("Image 2 of 4", "place")
    assert page.locator("input:checked").count() == 1  # the keys, alone: nothing is chosen yet
    given[shown_case(page, pictures)] = "cannot tell", ""
    press(page, "4", "c")
    assert page.get_by_role("radio", name="5", exact=True).is_disabled()
    press(page, "Enter")

    given[shown_case(page, pictures)] = "negative", "2"
    press(page, "f", "2", "p")
    assert (focused(page), page.locator("#image").get_attribute("src")) == ("paused-title", None)
    time.sleep(1.5)
    press(page, "j")  # nothing is answered in a pause
    press(page, "Tab", "Enter")
    assert page.locator("#place").inner_text() == "Image 3 of 4"
    page.reload()
    assert page.locator("#reader").input_value() == "R-1"
    press(page, "Tab", "Enter")
    assert page.locator("#place").inner_text() == "Image 3 of 4"
    assert page.locator("input:checked").evaluate_all("all => all.map((one) => one.value)") == ["on", "negative", "2"]
    press(page, "Enter")
    given[shown_case(page, pictures)] = "positive", "5"
    press(page, "f", "5", "j", "Enter")
    assert focused(page) == "done-title"
    assert page.locator("#done-title").inner_text() == "Session 1 complete"
    half = pd.read_csv(downloaded(page, tmp_path / "half.csv"))
    assert half["session"].tolist() == [1] * 4

    press(page, "Tab", "Enter")  # back to the start, for the next session without the keys
    page.locator("#shortcuts").uncheck()
    page.get_by_role("button", name="Start or continue").click()
    press(page, "f")
    assert page.get_by_role("radio", checked=True).count() == 0
    for number in range(4):
        given[shown_case(page, pictures)] = "negative", "1"
        press(page, "Tab", "Tab", "Tab", *(["Tab"] if number else []))
        page.locator('input[value="positive"]').focus()
        press(page, "ArrowUp", "Tab", "Space", "Tab", "Enter")
    assert page.locator("#done-title").inner_text() == "All sessions complete"
    path = downloaded(page, tmp_path / "all.csv")
    check_file(path, small.key, given)


def check_file(path: Path, key: StudyKey, given: dict[str, tuple[str, str]]) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["case"]: (row["answer"], row["confidence"]) for row in rows} == given
    assert [row["position"] for row in rows] == ["1", "2", "3", "4"] * 2
    sessions = {shown.case: str(shown.session) for shown in key.presentations}
    assert [row["session"] for row in rows] == [sessions[row["case"]] for row in rows]
    assert float(rows[2]["seconds"]) < 1.4  # the pause is not counted
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", row["answered_at"]) for row in rows)
    record = analyse(path, key)
    assert record.readers == ("R-1",)
    assert [one.readers[0].answered for one in record.strategies] == [4, 4]
    assert sum(one.readers[0].cannot_tell for one in record.strategies) == 1


@pytest.mark.slow
def test_the_analysis_recovers_the_skill_of_readers_who_use_the_page(browser, tmp_path):
    """Three readers see silhouettes with a skill of two standard deviations, and nothing in whole images."""
    prepared = study(per_percentile=12, percentiles=1)
    write_reading_page(prepared, tmp_path)
    pictures = by_content(prepared)
    shown = {one.case: one for one in prepared.key.presentations}
    files = []
    for number in range(3):
        rng = np.random.default_rng(number)
        context = browser.new_context(accept_downloads=True)
        page = context.new_page()
        page.goto((tmp_path / "for_readers" / "reading.html").as_uri())
        begin(page, f"R{number}")
        for place in range(len(shown)):
            one = shown[shown_case(page, pictures)]
            seen = 2 * (one.label - 0.5) * (one.strategy == "silhouette") + rng.normal()
            press(page, "j" if seen > 0 else "f", str(min(5, 1 + int(2 * abs(seen)))), "Enter")
            if place == len(shown) // 2 - 1:
                press(page, "Tab", "Tab", "Enter")
                page.get_by_role("button", name="Start or continue").click()
        files.append(downloaded(page, tmp_path / f"{number}.csv"))
        context.close()
    record = analyse(files, tmp_path / "for_organisers" / "key.json")
    for strategy, skill in (("full", 0.0), ("silhouette", 2.0)):
        found = record.reading(strategy)
        assert found.joint == ("R0", "R1", "R2")
        assert found.auc.low < norm.cdf(skill / np.sqrt(2)) < found.auc.high
    assert record.reading("silhouette").auc.low > 0.7
    positions = pd.concat([pd.read_csv(path) for path in files]).groupby("case")["position"].nunique()
    assert (positions > 1).mean() > 0.8  # each reader has an order of their own


def test_page_and_pictures_tell_nothing(small, place):
    text = (place / "for_readers" / "reading.html").read_text(encoding="utf-8")
    secrets = {one.image_id for one in small.key.presentations} | {one.patient_id for one in small.key.presentations}
    secrets |= {"silhouette", "phantom", "label", "percentile", "probability", "key.json"}
    visible = re.sub(r'"[A-Za-z0-9+/=]{60,}"', '""', text)
    assert not [secret for secret in secrets - {"label"} if secret in visible]
    assert "label" not in re.sub(r"aria-label(ledby)?|</?label|label \{|field label|\.check label", "", visible)
    assert StudyKey.from_json(place / "for_organisers" / "key.json") == small.key
    assert sorted(path.name for path in (place / "for_readers").iterdir()) == ["reading.html"]
    for content in re.findall(r'"(iVBOR[A-Za-z0-9+/=]+)"', text):
        picture = base64.b64decode(content)
        assert not re.search(rb"tEXt|iTXt|zTXt|tIME|eXIf", picture)
    listed = re.findall(r"[0-9a-f]{16}", text.partition('"sessions": ')[2].partition("]]")[0])
    assert len(listed) == len(small.pictures)
    assert listed[:4] == sorted(listed[:4])  # the order says nothing of how cases were drawn


def test_the_page_asks_the_network_for_nothing(browser, address):
    context = browser.new_context(offline=True)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    begin(page, "R1")
    press(page, "j", "5", "Enter", "p")
    assert {one.partition(":")[0] for one in asked} <= {"file", "data"}
    assert page.evaluate("fetch('http://localhost:9/').then(() => 'sent', () => 'refused')") == "refused"
    context.close()


def test_readers_of_one_computer_do_not_mix(page, address):
    begin(page, "R1")
    press(page, "j", "5", "Enter", "p")
    page.reload()
    page.locator("#reader").fill("R2")
    page.get_by_role("button", name="Start or continue").click()
    assert page.locator("#place").inner_text() == "Image 1 of 4"
    press(page, "p")
    page.reload()
    assert page.locator("#reader").input_value() == "R2"
    page.locator("#reader").fill("R1")
    press(page, "Enter")
    assert page.locator("#place").inner_text() == "Image 2 of 4"


def test_a_code_that_is_none_is_refused(page):
    for code in ("", "R 1", "=1+1", "a,b"):
        page.locator("#reader").fill(code)
        press(page, "Enter")
        assert page.get_by_role("alert").filter(has_text="Give your reader code").is_visible()
        assert (focused(page), page.locator("#reader").get_attribute("aria-invalid")) == ("reader", "true")


def test_a_code_that_a_spreadsheet_takes_for_a_formula_is_none_in_the_file(page, small, tmp_path):
    begin(page, "-A1")
    press(page, "j", "5", "Enter", "p", "Tab")
    path = downloaded(page, tmp_path / "answers.csv")
    with path.open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["reader"] == "'-A1"
    assert (row["study"], row["answer"], row["confidence"]) == (small.key.study, "positive", "5")
    assert read_answers([path], small.key)["reader"].tolist() == ["-A1"]


def test_leaving_the_page_pauses_it(page):
    begin(page, "R1")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert page.locator("#paused").is_visible()
    assert not page.locator("#reading").is_visible()


def test_without_a_place_to_save_the_page_says_so_and_works(browser, address, tmp_path):
    context = browser.new_context(accept_downloads=True)
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('forbidden'); }})")
    page = context.new_page()
    page.goto(address)
    begin(page, "R1")
    assert page.get_by_role("status").filter(has_text="does not let the page save answers").is_visible()
    press(page, "j", "5", "Enter", "p", "Tab")
    assert len(pd.read_csv(downloaded(page, tmp_path / "answers.csv"))) == 1
    context.close()


def test_every_control_has_a_name_and_a_role(page):
    assert page.get_by_role("textbox", name="Your reader code, from the organiser").get_attribute("aria-describedby")
    begin(page, "R1")
    assert page.get_by_role("group", name="Is it few lobes or many lobes?").is_visible()
    for name in (*ANSWERS, "cannot tell", "1", "5"):
        assert page.get_by_role("radio", name=name, exact=True).is_visible()
    for name in ("Next", "Pause", "Larger image", "Smaller image"):
        assert page.get_by_role("button", name=name, exact=True).is_visible()
    assert page.get_by_role("img", name="Image 1 of 4").is_visible()
    assert page.get_by_role("progressbar", name="Answered in this session").is_visible()
    assert page.evaluate("document.documentElement.lang") == "en"
    press(page, "+", "+")
    assert page.get_by_role("status").filter(has_text="200 %").is_visible()
    press(page, "-")
    assert page.locator("#zoom").inner_text() == "141 %"


@pytest.mark.parametrize(("width", "height", "zoom"), [(360, 740, 1), (800, 900, 1), (1400, 900, 1), (1400, 900, 2)])
def test_the_page_fits_every_width_and_a_zoom_of_200_percent(browser, address, width, height, zoom):
    context = browser.new_context(
        viewport={"width": width // zoom, "height": height // zoom}, device_scale_factor=zoom, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(address)
    for keys in ((), ("j", "4"), ("p",)):
        if keys == ("j", "4"):
            begin(page, "R1")
        press(page, *keys)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    moving = "[...document.querySelectorAll('*')].filter((one) => { const style = getComputedStyle(one);"
    moving += " return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0; }).length"
    assert page.evaluate(moving) == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_schemes(browser, address, scheme):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    begin(page, "R1")
    press(page, "Enter", "j")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(ground) < 0.05) == (scheme == "dark")
    for where in ("h1", "legend", ".choice:has(input:checked)", "#problem", "button.main", "#pause", "#progress-text"):
        for one in page.locator(where).all():
            if one.is_visible():
                ink, paper = one.evaluate(
                    "one => { let under = one; const clear = 'rgba(0, 0, 0, 0)';"
                    " while (getComputedStyle(under).backgroundColor === clear) under = under.parentElement;"
                    " return [getComputedStyle(one).color, getComputedStyle(under).backgroundColor]; }"
                )
                light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (where, ink, paper)  # WCAG 2.2, 1.4.3
    context.close()


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.fixture(scope="module")
def readers(tmp_path_factory) -> ReaderStudy:
    key, place = make_key(12, ("full", "without_roi", "roi_only"), {"full": 1.0, "without_roi": 6.0}), tmp_path_factory
    key = replace(
        key, answers=("benign <i>", "malignant"), excluded={"image <7>": "empty"}, settings={"seed": "random"}
    )
    folder, rng = place.mktemp("answers"), np.random.default_rng(0)
    skill = {"full": 1.5, "without_roi": 0.0, "roi_only": 1.0}
    rows = {name: rows_of(key, name, skill, rng) for name in ("A", "B", "C")}
    return analyse([write_answers(folder / f"{name}.csv", rows[name]) for name in rows], key)


def test_the_report_says_what_readers_see(readers, tmp_path):
    page = write_reader_report(readers, tmp_path)
    text = re.sub(' data-label="[^"]*"', "", page.read_text(encoding="utf-8")).replace("&nbsp;", " ")
    text = " ".join(text.split())
    assert [one.answer for one in readers.strategies] == ["inconclusive", "yes", "not measured"]
    for reading in readers.strategies:
        assert f"<td>{escape(reading.reason)}</td>" in text
        for found in (reading.auc, reading.accuracy, reading.fleiss, *(one.accuracy for one in reading.readers)):
            assert with_limits(found) in text
    assert "benign &lt;i&gt; found" in text
    assert "<td>image 1</td><td>empty</td>" in text  # its name is in the key
    assert ReaderStudy.from_json(tmp_path / "reader_study.json") == replace(readers, excluded={"image 1": "empty"})
    table = pd.read_csv(tmp_path / "readers.csv")
    assert len(table) == 9
    assert table["auc"].tolist() == pytest.approx([one.auc.value for s in readers.strategies for one in s.readers])
    assert (tmp_path / "figures" / "readers.svg").stat().st_size > 5000
    assert write_reader_report(tmp_path / "reader_study.json", tmp_path / "again").read_bytes() == page.read_bytes()


def test_one_reader_who_has_just_begun_has_a_report(tmp_path):
    key = make_key(4, ("full",))
    rows = rows_of(key, "A", {"full": 1.0}, np.random.default_rng(0))[:1]
    text = write_reader_report(analyse(write_answers(tmp_path / "A.csv", rows), key), tmp_path).read_text(
        encoding="utf-8"
    )
    assert "No reader has answered all of these pictures." in text
    assert "1 of 8" in text


def test_an_audit_shows_its_readers_or_says_that_there_are_none(readers, record, folder, tmp_path):
    assert "Not measured: nobody has read these images." in (folder / "report.html").read_text(encoding="utf-8")
    shown = replace(record, findings=record.findings[:1], weight_space=None, readers=readers)
    text = write_report(shown, tmp_path / "with").read_text(encoding="utf-8")
    assert escape(readers.reading("without_roi").reason) in " ".join(text.split())
    assert (tmp_path / "with" / "figures" / "readers.svg").is_file()
    assert Audit.from_json(tmp_path / "with" / "audit.json").readers == readers
