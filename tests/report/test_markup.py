# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import pytest
from matplotlib.figure import Figure

from monai_shortcut.report import write_report, write_reports
from monai_shortcut.report.drawings import drawing
from monai_shortcut.report.figures.style import DARK, INK, PAPER, SERIES, VERDICTS, in_order, place_of
from monai_shortcut.report.markup import completed

ROWS = '<div class="scroll"><table><tr><th>n</th><th>a &amp; b</th></tr><tr><td>1</td><td><b>2</b></td></tr></table>'


def test_a_table_says_what_its_cells_are():
    page = completed(f'<h2>Sizes <span class="badge">used</span></h2>{ROWS}')
    assert page == (
        '<h2>Sizes <span class="badge">used</span></h2>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Sizes used">'
        '<table><caption>Sizes used</caption><thead>\n<tr><th scope="col">n</th>'
        '<th scope="col">a &amp; b</th></tr></thead>'
        '<tbody>\n<tr><td data-label="n">1</td><td data-label="a &amp; b"><b>2</b></td></tr>\n</tbody></table>'
    )


def test_tables_below_one_heading_have_different_names():
    names = re.findall('aria-label="(.*?)"', completed(f"<h2>A</h2>{ROWS}{ROWS}<h3>B</h3>{ROWS}<h2>A</h2>{ROWS}"))
    assert names == ["A", "A, table 2", "B", "A, table 3"]


def test_a_cell_over_several_columns_moves_the_names_of_those_behind_it():
    row = '<tr><td colspan="2">both</td><td>c</td></tr>'
    page = completed(f"<table><tr><th>a</th><th>b</th><th>c</th></tr>{row}</table>")
    assert '<td colspan="2">both</td><td data-label="c">c</td>' in page


def test_a_table_without_a_head_names_its_rows():
    assert '<tr><th scope="row">seed</th><td>0</td></tr>' in completed(
        "<table><tr><th>seed</th><td>0</td></tr></table>"
    )


def test_what_holds_no_table_stays_as_it_is():
    text = '<h1>A & b</h1><p class="scroll">td</p><thead>'
    assert completed(text) == text


def lightness(colour: str) -> float:
    """L* of CIELAB."""
    share = luminance(colour)
    return 116 * share ** (1 / 3) - 16 if share > 0.008856 else 903.3 * share


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_of_a_figure_stand_out_and_differ_in_grey_in_both_schemes():
    for colours, paper in ((SERIES, PAPER), ([DARK[one] for one in SERIES], DARK[PAPER])):
        assert min(contrast(one, paper) for one in colours) >= 3  # WCAG 2.2, 1.4.11
        assert min(abs(lightness(a) - lightness(b)) for a, b in combinations(colours[:4], 2)) >= 5
    assert min(contrast(one, "#FFFFFF") for one in VERDICTS.values()) >= 4.5  # white on a badge: 1.4.3
    assert min(contrast(DARK[one], DARK[PAPER]) for one in (INK, *VERDICTS.values())) >= 4.5


def test_names_are_in_the_order_that_people_expect():
    assert in_order(["> 100", "20 to 100", "<= 20", "", "100"]) == ["<= 20", "20 to 100", "100", "> 100", ""]
    assert in_order(["GE 10", "GE 9", "b"], known=["b", "a"]) == ["b", "GE 9", "GE 10"]
    assert [place_of(name, ("no", "yes")) for name in ("yes", "no", "other")] == [1, 0, 2]


def test_two_drawings_of_a_page_share_no_name_and_take_the_colours_of_its_scheme():
    figure = Figure(figsize=(2, 2))
    axes = figure.subplots()
    axes.plot([0, 1], "o", color=SERIES[0], label="a < b")
    axes.set_title("cost in $\\foo <b>")
    figure.set_label("AUC 0.8")
    first, second = drawing("one", figure), drawing("a b", figure)
    assert first.svg == second.svg
    pages = [found.inline('What "it" shows') for found in (first, second)]
    ids = [re.findall(' id="([^"]*)"', page) for page in pages]
    links = [set(re.findall(r'(?:href="|url\()#([^")]*)', page)) for page in pages]
    assert not set(ids[0]) & set(ids[1])
    for own, used in zip(ids, links, strict=True):
        assert len(own) == len(set(own))
        assert used <= set(own)
    assert pages[0].startswith(
        '<div class="drawn" role="img" aria-label="What &#34;it&#34; shows: AUC 0.8"><svg viewBox='
    )
    assert "var(--c0072b2)" in pages[0]
    assert "var(--cffffff)" in pages[0]
    assert "&lt;b&gt;</text>" in pages[0]
    assert not re.search("xmlns|<style|<metadata|#0072b2", pages[0])


@pytest.mark.parametrize(("rasterized", "sort"), [(False, "drawn"), (True, "drawn plate")])
def test_points_that_are_pixels_stay_on_a_light_ground(rasterized, sort):
    figure = Figure(figsize=(1, 1))
    figure.subplots().scatter([0], [0], rasterized=rasterized)
    assert f'class="{sort}"' in drawing("x", figure).inline("x")


def windows(page: str) -> list[tuple[float, float]]:
    """Where the parts of a drawing begin, and how high they are."""
    boxes = [box.split() for box in re.findall('<svg viewBox="([^"]*)"', page)]
    return [(float(top), float(height)) for _, top, _, height in boxes]


@pytest.mark.parametrize(("rows", "columns"), [(3, 1), (2, 2)])
def test_each_row_of_panels_has_a_window_onto_the_drawing_and_the_legend_is_in_the_last(rows, columns):
    figure = Figure(figsize=(4, 6), layout="constrained")
    for place, axes in enumerate(figure.subplots(rows, columns).flat):
        axes.plot([0, 1], label=f"line {place}")
        axes.set(title=f"title {place}", xlabel="x")
    figure.legend(loc="outside lower center")
    found = drawing("a b", figure)
    page = found.inline("x")
    parts = windows(page)
    assert len(parts) == rows
    assert page.count("title 0") == 1
    assert page.count('<use href="#a-b-whole"/>') == rows - 1
    ends = [top + height for top, height in parts]
    assert [top for top, _ in parts] == pytest.approx([0, *ends[:-1]], abs=0.01)
    assert ends[-1] == pytest.approx(6 * 72, abs=0.01)
    for place, axes in enumerate(figure.axes):
        box, (top, height) = axes.get_tightbbox(), parts[place // columns]
        low, high = (432 * (1 - end / figure.bbox.height) for end in (box.y1, box.y0))
        assert top <= low
        assert high <= top + height
    box = figure.legends[0].get_window_extent()
    assert 432 * (1 - box.y1 / figure.bbox.height) >= parts[-1][0]


def test_panels_that_overlap_and_bars_of_colours_are_not_cut():
    figure = Figure(figsize=(4, 4))
    figure.add_axes((0.1, 0.1, 0.3, 0.8))
    figure.add_axes((0.6, 0.6, 0.3, 0.3))
    assert drawing("x", figure).cuts == ()
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots(2, 1)
    figure.colorbar(axes[1].imshow([[0, 1]]), ax=axes[1], orientation="horizontal")
    assert len(drawing("x", figure).cuts) == 1
    figure = Figure(figsize=(4, 6), layout="constrained")
    for axes in figure.subplots(4, 1, height_ratios=[0.1, 1, 0.1, 1]):  # densities above what they are of
        axes.set(xticks=[], yticks=[])
    assert len(drawing("x", figure).cuts) == 1


def test_the_report_of_a_label_leads_back_to_all(record, tmp_path):
    small = replace(record, findings=(), weight_space=None, examples=())
    write_reports({"a/b": small}, tmp_path)
    page = tmp_path / "a_b" / "report.html"
    (link,) = re.findall('<a href="(.*?)">All labels</a>', page.read_text(encoding="utf-8"))
    assert (page.parent / link).resolve() == (tmp_path / "report.html").resolve()
    assert "All labels" not in write_report(small, tmp_path / "alone").read_text(encoding="utf-8")


def test_many_exclusions_are_counted_by_reason(record, tmp_path):
    why = {f"image {index}": f"reason {index % 3}" for index in range(3000)}
    small = replace(record, findings=(), weight_space=None, examples=(), excluded=why)
    text = write_report(small, tmp_path).read_text(encoding="utf-8")
    assert text.count(">1000</td>") == 3
    assert "image 0, image 3, image 6 and 997 more" in " ".join(text.split())
    assert "image 9," not in text
    assert len((tmp_path / "excluded.csv").read_text().splitlines()) == 3001


def test_limits_stay_in_one_line_where_a_table_is_wide():
    def table(columns: int) -> str:
        row = "<td>0.50 (0.40 to 0.60)</td><td>a (b)</td>" + "<td>1</td>" * (columns - 2)
        return completed(f"<table><tr>{'<th>n</th>' * columns}</tr><tr>{row}</tr></table>")

    assert "0.50 (0.40&nbsp;to&nbsp;0.60)<" in table(8)
    assert "a (b)" in table(8)
    assert "&nbsp;" not in table(7)
