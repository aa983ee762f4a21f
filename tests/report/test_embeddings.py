# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""The section of the pages that tells how embeddings move."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_cases import QUICK, simulated

from monai_shortcut.analyses.embedding_maps import EmbeddingMaps, StrategyMap
from monai_shortcut.analyses.embedding_moves import ANOTHER, MaskedEmbeddings
from monai_shortcut.audit import Audit, audit
from monai_shortcut.report.embeddings import PUBLISHED, cosines_table
from monai_shortcut.report.figures.maps import embedding_figures, strategy_map
from monai_shortcut.report.files import png
from monai_shortcut.report.pages import write_report
from monai_shortcut.report.wording import limits


@pytest.fixture(scope="module")
def record() -> Audit:
    """One strategy that leaves the embedding as it is, one that turns it, and one that fits a few images only."""
    given = simulated() | {"settings": replace(QUICK, permutations=9, embedding_maps=("pca", "tsne"))}
    full = np.asarray(given["embeddings"])
    few = np.full_like(full, np.nan)
    few[:4] = full[:4]
    turned = np.roll(full, 1, axis=1)
    turned[:5] = 0
    masked = {"without_roi": full.copy(), "roi_only": turned, "shifted_roi": few}
    return audit(**given, masked=MaskedEmbeddings.of(masked), folds=np.repeat([0, 1], 60))


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_report(record, folder)
    return folder


def row(page: str, *cells: str) -> list[str]:
    """The texts of the row of the table whose first cells are these."""
    for line in page.split("<tr>"):
        found = [part.split(">", 1)[1] for part in line.split("<td")[1:]]
        found = [text.split("</td>")[0] for text in found]
        if found[: len(cells)] == list(cells):
            return found
    raise AssertionError(cells)


def test_the_page_shows_each_cosine_beside_the_published_ones(record, folder):
    page = (folder / "report.html").read_text(encoding="utf-8").replace("&nbsp;", " ")
    one = record.moves.get("roi_only")
    shown = row(page, "roi only", "all images")
    assert shown[2:] == [
        "115 (39)",
        limits(one.mean),
        f"{one.spread:.2f}",
        limits(one.centred),
        f"{one.centred_spread:.2f}",
        "5",
        "0.762",
        "0.695",
    ]
    assert row(page, "without roi", "class 1")[3] == "1.00 (1.00 to 1.00)"
    assert row(page, "without roi", "class 1")[-2:] == ["", ""]
    assert row(page, "full, another patient of the label", "all images")[-2:] == ["", ""]
    assert "shifted roi, class 0: not computed" in page or "shifted roi, class 1: not computed" in page
    assert "high by" in page  # the caveat


def test_published_means_are_those_of_the_paper():
    assert [list(values.values()) for values in PUBLISHED.values()] == [
        [0.896, 0.827, 0.762, 0.889],
        [0.974, 0.979, 0.695, 0.677],
    ]


def test_the_table_has_the_numbers_of_the_record_unrounded(record, folder):
    table = pd.read_csv(folder / "cosines.csv")
    assert len(table) == len(record.moves.cosines)
    one = table.set_index(["strategy", "label"]).loc[(ANOTHER, "class 1")]
    found = record.moves.get(ANOTHER, "class 1")
    assert (one["cosine"], one["centred_low"]) == pytest.approx((found.mean.value, found.centred.low), rel=1e-12)
    assert set(table["trained_on"]) == {"full"}
    assert cosines_table({}).empty


def test_maps_are_drawn_once_for_each_way_to_colour_them(record, folder):
    drawn = dict(embedding_figures(record.moves, record.maps))
    assert list(drawn) == ["cosines", "map_pca", "map_tsne"]
    panels = {axes.get_title() for axes in drawn["map_pca"].axes} - {""}
    assert panels == {"strategy", "label", "fold", "used", "visible", "absent", "tracks"}
    names = [
        [text.get_text() for text in axes.get_legend().get_texts()]
        for axes in drawn["map_pca"].axes
        if axes.get_legend()
    ]
    assert names[0] == ["full", "without roi", "roi only", "shifted roi"]
    for name in drawn:
        assert (folder / "figures" / f"{name}.svg").is_file()


def test_nine_strategies_are_told_apart(record):
    shown = record.maps.maps[0]
    points = {f"strategy {number}": shown.points["full"] for number in range(9)}
    figure = strategy_map(replace(shown, points=points), record.maps)
    scatters = next(axes for axes in figure.axes if axes.get_legend()).collections
    looks = {
        (tuple(one.get_facecolor()[0]), one.get_paths()[0].vertices.tobytes(), one.get_paths()[0].codes.tobytes())
        for one in scatters
    }
    assert len(looks) == len(scatters) == 9


def test_a_map_holds_every_point_and_its_sides_add_up(record):
    figure = dict(embedding_figures(None, record.maps))["map_pca"]
    scatter = next(axes for axes in figure.axes if axes.get_legend())
    assert sum(len(one.get_offsets()) for one in scatter.collections) == 120 + 120 + 120 + 4


def test_what_was_not_measured_is_said(record, tmp_path):
    record = replace(record, findings=record.findings[:1])  # whose section alone is drawn
    write_report(replace(record, moves=None, maps=None), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not measured: it takes the embeddings of images under masking strategies" in page
    assert not (tmp_path / "cosines.csv").exists()
    write_report(replace(record, maps=replace(record.maps, maps=(), not_computed={"umap": "no <b>"})), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "UMAP: not computed: no &lt;b&gt;" in page
    assert "each is in a map once" not in page


def test_no_cosine_is_no_picture(record):
    assert dict(embedding_figures(replace(record.moves, cosines=()), None)) == {}


def test_two_sample_tests_of_an_attribute_stand_in_its_section(record, folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    pair = next(f for f in record.findings if f.attribute == "visible").evidence.distributions.pairs[0]
    counts = f"{pair.images[1]} ({pair.patients[1]}), {pair.images[0]} ({pair.patients[0]})"
    shown = row(page, "class 0", "visible 1 against visible 0", counts)
    assert float(shown[5]) == pytest.approx(pair.ks[0], abs=0.005)


def test_a_map_of_many_long_names_keeps_room_for_its_points():
    """Combinations of findings are many and long; their legend once left nothing of the map."""
    names = tuple(f"atelectasis, cardiomegaly, consolidation, effusion, pneumothorax, number {n}" for n in range(24))
    points = {"full": tuple((float(n), float(n % 5)) for n in range(24))}
    drawn = strategy_map(StrategyMap("pca", "two components", points), EmbeddingMaps(names, {}, 24, (), {}))
    figure = png(drawn)  # a warning of collapsed axes is an error
    assert figure.startswith(b"\x89PNG")
    told = [text.get_text() for text in drawn.subfigs[1].axes[2].get_legend().get_texts()]
    assert len(told) == 10
    assert told[-1] == "and 15 more"
    assert all(len(name) <= 48 for name in told)
