# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import math
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from audit_cases import measured
from difference_cases import bare, found, row, shown
from PIL import Image

from monai_shortcut.audit.assembly import AuditSettings, audit, probabilities
from monai_shortcut.audit.leading import told
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    NOT_ENCODED,
    NOT_USED,
    UNUSED,
    USED,
    Audit,
    Counterfactual,
    Example,
    Finding,
)
from monai_shortcut.report.figures import audit as plots
from monai_shortcut.report.figures.heads import weight_space
from monai_shortcut.report.figures.style import ANSWERS, MARKERS, VERDICTS, in_order
from monai_shortcut.report.wording import number
from monai_shortcut.types import Estimate, p_text

NAMES = ("plain", "cost in $\\foo$", "constant")


@pytest.fixture(scope="module")
def record() -> Audit:
    """Three classes; the first attribute is unknown for images of the middle one."""
    rng = np.random.default_rng(0)
    label, level = np.arange(90) % 3, rng.integers(2, size=90)
    points = rng.normal(size=(90, 6)) + 2 * np.eye(6)[label] + 2 * level[:, None] * np.eye(6)[4]
    weight = np.eye(6)[:3] + np.eye(6)[4] * np.array([[0.0], [0.0], [1.0]])
    scores = probabilities(points, weight, np.zeros(3))
    grey = rng.integers(0, 256, size=(2, 1, 5, 7))
    return audit(
        points,
        weight,
        np.zeros(3),
        label,
        [f"p{index // 3}" for index in range(90)],
        {
            NAMES[0]: [None if own == 1 else f"level {value}" for own, value in zip(label, level, strict=True)],
            NAMES[1]: rng.permutation(["$\\bar", "_low", "high"] * 30).tolist(),
            NAMES[2]: ["same"] * 90,
        },
        label_names=["one", "two", "three"],
        regions={"without_roi": np.roll(scores, 1, axis=0)},
        counterfactuals={NAMES[0]: np.roll(scores, 1, axis=1)},
        examples=(
            Example("a", "one", {"full": plots.picture(grey[0]), "without_roi": plots.picture(grey[1])}),
            Example("b", "two", {"full": plots.picture(grey[1])}),
        ),
        settings=AuditSettings(permutations=19, bootstraps=19, minimum_patients=2, erasures=9, held_out=1),
    )


def drawn(axes, marker: str) -> list:
    """Data of the lines with a marker, those of the legend left out."""
    lines = [line for line in axes.get_lines() if line.get_marker() == marker and len(line.get_xdata())]
    return [np.asarray(line.get_xydata()).tolist() for line in lines]


def test_every_figure_is_made_in_order(record):
    made = dict(plots.figures(record))
    assert list(made) == ["overview", "regions", "embeddings", "weight_space", "examples", "evidence_0", "evidence_1"]
    for figure in made.values():
        buffer = BytesIO()
        figure.savefig(buffer)
        assert np.asarray(Image.open(buffer).convert("L")).std() > 5
    full = replace(record.regions, scores=tuple(s for s in record.regions.scores if s.evaluated_on == "full"))
    assert "regions" not in dict(plots.figures(replace(record, regions=full)))
    assert "examples" not in dict(plots.figures(replace(record, examples=())))


def bands(axes) -> list:
    """Middle, half the width and height of the grey bars."""
    return [
        [bar.get_y() + bar.get_height() / 2, bar.get_width() / 2, bar.get_height()]
        for bar in axes.patches
        if bar.get_x() == pytest.approx(-bar.get_width() / 2)
    ]


def shows(axes, place: float, value: Estimate, finding: Finding, face: str) -> bool:
    """Whether a number stands there with its limits, in the colour and marker of the verdict."""
    points = [line for line in axes.get_lines() if line.get_xydata().tolist() == [[value.value, place]]]
    (point,) = [line for line in points if line.get_marker() != "|"]
    assert (point.get_marker(), point.get_color()) == (MARKERS[finding.verdict], VERDICTS[finding.verdict])
    return point.get_markerfacecolor() == face and [[value.low, place], [value.high, place]] in drawn(axes, "None")


def test_the_overview_shows_values_and_intervals(record):
    left, right = plots.overview(record).axes
    assert [text.get_text() for text in left.get_yticklabels()] == [NAMES[0], NAMES[1]]  # those with evidence
    for place, finding in enumerate(record.findings[:2]):
        own = VERDICTS[finding.verdict]
        assert shows(left, place, finding.evidence.encoding.own_auroc, finding, own)
        one = told(finding, record).row
        for scale, away, face in (("probability", -0.17, own), ("decision", 0.17, "white")):
            (same,) = [
                other
                for other in finding.evidence.differences.rows
                if (other.label, other.first, other.second, other.scale) == (one.label, one.first, one.second, scale)
            ]
            assert shows(right, place + away, same.estimate, finding, face)
            assert pytest.approx([place + away, 0.1, 0.34]) in bands(right)
    (tick,) = drawn(right, "|")
    assert np.abs(tick).tolist() == [[record.findings[0].counterfactual.change.value, 0]]
    entries = [text.get_text() for text in plots.overview(record).legends[0].get_texts()]
    assert entries[-3:] == ["mean probability", "share of answers", "same images, attribute swapped"]


def said(figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in figure.axes[1].texts]


def test_the_overview_draws_each_scale_on_its_own_tolerance_and_the_swap_on_its_side():
    rows = (row(-0.3, certain=0.2, label=1, second=2), row(0.25, scale="decision", label=1, second=2), row(0.9))
    swap = Counterfactual(9, Estimate(0.25, 0.125, 0.375))
    lens = found("lens", shown(*rows), counterfactual=swap)
    figure = plots.overview(bare(lens, tolerance=0.05, tolerances={"malignant": {"decision": 0.2}}))
    right = figure.axes[1]
    assert shows(right, -0.17, rows[0].estimate, lens, VERDICTS[USED])
    assert shows(right, 0.17, rows[1].estimate, lens, "white")
    assert bands(right) == [pytest.approx([-0.17, 0.05, 0.34]), pytest.approx([0.17, 0.2, 0.34])]
    assert drawn(right, "|") == [[[-0.25, 0]]]
    assert said(figure) == ["malignant: C against A"]


def test_the_overview_says_a_leading_difference_on_another_scale():
    rows = (row(0.02), row(math.log(8), math.log(2), scale="odds", certain=1.5, outcome=1))
    swap = Counterfactual(9, Estimate(0.25, 0.125, 0.375))
    figure = plots.overview(bare(found("lens", shown(*rows), counterfactual=swap)))
    assert said(figure) == ["8.00 (4.00 to 16.00) odds of malignant, benign: B against A"]
    assert drawn(figure.axes[1], "D") == [[[0.02, -0.17]]]
    assert drawn(figure.axes[1], "|") == [[[0.25, 0]]]
    alone = plots.overview(bare(found("lens", shown(row(0.2, scale="rank")), counterfactual=swap)))
    assert drawn(alone.axes[1], "D") == []
    assert drawn(alone.axes[1], "|") == [[[0.25, 0]]]


def test_the_overview_draws_part_of_the_images_where_the_verdict_rests_on_it():
    part = {"label": 1, "within": ("site", 1), "certain": 0.2}
    rows = (row(0.5, **part), row(0.4, scale="decision", **part))
    site = found("site", None, levels={"X": 60, "Y": 60})
    figure = plots.overview(bare(found("lens", shown(row(0.01, label=1), slices=rows)), site))
    assert drawn(figure.axes[1], "D") == [[[0.5, -0.17]], [[0.4, 0.17]]]
    assert said(figure) == ["malignant: B against A where site is Y"]


def test_the_overview_of_an_older_record_shows_the_gap_and_nothing_where_answers_were_not_compared():
    older = found("lens", measured(0.01, 0.9, 0.02, 0.3, 0.4))
    swap = Counterfactual(9, Estimate(0.25, 0.125, 0.375))
    without = shown(differences=None, differences_p_value=None, not_computed={"differences": "too few"})
    figure = plots.overview(bare(older, found("ward", without, NOT_ENCODED, counterfactual=swap), tolerance=0.05))
    right = figure.axes[1]
    assert shows(right, 0, older.evidence.gap.effect, older, VERDICTS[USED])
    assert bands(right) == [pytest.approx([0, 0.05, 0.9])]
    assert drawn(right, "s") == []
    assert drawn(right, "|") == [[[0.25, 1]]]
    assert said(figure) == []
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert entries == ["used", "not encoded", "same images, attribute swapped"]


def test_the_overview_has_what_shares_a_verdict_together():
    findings = [
        found("scanner", shown(row()), shared_with=("site", "ward")),
        found("age", shown(row()), NOT_USED),
        found("site", shown(row()), shared_with=("scanner", "ward")),
        found("ward", None, INCONCLUSIVE),
    ]
    left = plots.overview(bare(*findings)).axes[0]
    assert [text.get_text() for text in left.get_yticklabels()] == ["scanner or ward", "or site", "age"]


def test_verdicts_differ_in_colour_and_marker():
    for look in (VERDICTS, MARKERS):
        assert len(set(look.values())) == 5
        assert set(look) == {USED, NOT_USED, NOT_ENCODED, UNUSED, INCONCLUSIVE}
    assert len(set(ANSWERS.values())) == 3
    assert ANSWERS["inconclusive"] == VERDICTS[INCONCLUSIVE]  # the pages look both up by their word


def test_regions_shows_the_area_of_every_class_and_strategy(record):
    (axes,) = plots.regions(record).axes
    lines = drawn(axes, "None")
    points = [point for marker in "osD" for point in drawn(axes, marker)]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["full", "without roi"]
    assert len(points) == len(record.regions.scores) == 6
    for score in record.regions.scores:
        row = {"full": 0, "without_roi": 1}[score.evaluated_on]
        row += {"one": -0.2, "two": 0.0, "three": 0.2}[score.label]
        assert [[score.auc.value, pytest.approx(row)]] in points
        assert [[score.auc.low, pytest.approx(row)], [score.auc.high, pytest.approx(row)]] in lines
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["one", "two", "three"]


def test_embeddings_shows_every_image_in_every_panel_once(record):
    panels = [axes for axes in plots.embeddings(record).axes if axes.get_visible()]
    assert [axes.get_title() for axes in panels] == ["label", *NAMES]
    mapped = record.embedding_map
    for axes, values in zip(panels, (mapped.labels, *mapped.levels.values()), strict=True):
        offsets = [collection.get_offsets().data.tolist() for collection in axes.collections]
        levels = in_order(values, record.label_names)
        for level, offset in zip(levels, offsets, strict=True):
            expected = [list(point) for point, value in zip(mapped.points, values, strict=True) if value == level]
            assert offset == expected
        assert sum(map(len, offsets)) == 90
    labels = [collection.get_label() for collection in panels[1].collections]
    assert labels == ["level 0", "level 1", "missing or left out"]
    assert panels[3].collections[0].get_label() == "same"


def test_evidence_shows_the_values_against_their_nulls(record):
    finding = record.findings[0]
    shown = finding.evidence
    top, bottom = plots.evidence(finding, record).subfigs
    erased = shown.erasure
    values = (shown.encoding.own_auroc.value, None, np.abs(shown.alignment.wsc).max(), erased.change.value)
    tests = (shown.encoding.test, shown.differences.test, shown.alignment.wsc_test, erased.test)
    for axes, value, test in zip(top.axes, values, tests, strict=True):
        null, p_value = test.null, test.p_value
        assert axes.get_lines()[0].get_xdata() == [test.observed, test.observed]
        assert value is None or test.observed == pytest.approx(value)
        assert sum(bar.get_height() for bar in axes.patches) == len(null)
        filled = [bar for bar in axes.patches if bar.get_height()]
        assert filled[0].get_x() == pytest.approx(min(null))
        assert filled[-1].get_x() + filled[-1].get_width() == pytest.approx(max(null))
        assert axes.get_title().endswith(f"unadjusted p {p_text(p_value)}")
    matrix = bottom.axes[0]
    np.testing.assert_array_equal(matrix.images[0].get_array(), shown.alignment.wsc)
    assert [text.get_text() for text in matrix.texts] == [number(v) for row in shown.alignment.wsc for v in row]
    assert [text.get_text() for text in matrix.get_yticklabels()] == ["one", "two", "three"]
    assert [text.get_text() for text in matrix.get_xticklabels()] == ["level 0", "level 1"]


def test_predictions_stand_at_their_own_true_class(record):
    """The middle class has no image with the attribute: its place stays empty."""
    finding = record.findings[0]
    axes = plots.evidence(finding, record).subfigs[1].axes[1]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["true one", "true two", "true three"]
    lines = [line for line in axes.get_lines() if len(line.get_xdata())]
    assert len(lines) == 2 * 3
    for line, (level, predicted) in zip(lines, np.ndindex(2, 3), strict=True):
        np.testing.assert_allclose(line.get_xdata(), np.arange(3) + (predicted - 1) * 0.8 / 3)
        expected = [row[level][predicted] for row in finding.evidence.gap.means]
        assert expected[1] is None
        np.testing.assert_array_equal(line.get_ydata(), np.array(expected, dtype=float))


def test_a_finding_without_evidence_cannot_be_drawn(record):
    with pytest.raises(ValueError, match="finding must hold evidence to be drawn, got none for 'constant'"):
        plots.evidence(record.finding("constant"), record)


def test_evidence_without_alignment_and_erasure_leaves_their_panels_out(record):
    finding = record.findings[0]
    fewer = replace(finding, evidence=replace(finding.evidence, alignment=None, erasure=None))
    top, bottom = plots.evidence(fewer, record).subfigs
    assert [axes.get_title().split("\n")[0] for axes in top.axes] == [
        "encoded? AUC within labels",
        "used? largest difference",
    ]
    assert not bottom.axes[0].images
    right = weight_space(replace(record, findings=(fewer, *record.findings[1:]))).axes[2]
    labels = [line.get_label() for line in right.get_lines() if not line.get_label().startswith("_")]
    assert labels == [NAMES[1]]


def test_evidence_of_an_older_record_shows_the_gap_against_its_null(record):
    finding = record.findings[0]
    older = replace(finding, evidence=replace(finding.evidence, differences=None))
    panel = plots.evidence(older, record).subfigs[0].axes[1]
    assert panel.get_title().startswith("used? prediction gap\n")
    assert panel.get_lines()[0].get_xdata() == [finding.evidence.gap.test.observed] * 2


def test_examples_show_the_pixels_they_were_given(record):
    figure = plots.examples(record)
    first, second = (example.label for example in record.examples)
    assert [axes.get_title() for axes in figure.axes] == [f"{first}: full", "without roi", f"{second}: full", ""]
    for axes, picture in zip(
        figure.axes, [p for example in record.examples for p in example.pictures.values()], strict=False
    ):
        np.testing.assert_allclose(axes.images[0].get_array()[..., 0] * 255, decoded(picture), atol=1e-4)
    assert not figure.axes[3].images


def decoded(picture: str) -> np.ndarray:
    image = Image.open(BytesIO(base64.b64decode(picture)))
    assert image.format == "PNG"
    return np.asarray(image.convert("L"))


def test_a_picture_is_drawn_from_its_lowest_to_its_highest_value():
    ramp = np.arange(256).reshape(1, 16, 16)
    two_channels = np.concatenate([ramp, 7 * ramp[:, ::-1]])
    volume = np.stack([0 * ramp, ramp + 5, 9 * ramp], axis=-1)
    for image in (ramp, ramp / 1000 - 3, two_channels, volume):
        np.testing.assert_allclose(decoded(plots.picture(image)), ramp[0], atol=1)  # one step of grey


def test_what_is_not_finite_is_drawn_black():
    image = np.array([[[np.nan, 1.0, 2.0], [np.inf, -np.inf, 1.5]]])
    np.testing.assert_array_equal(decoded(plots.picture(image)), [[0, 0, 255], [0, 0, 128]])
    for flat in (np.full((1, 2, 3), np.nan), np.full((1, 2, 3), 4.0)):
        np.testing.assert_array_equal(decoded(plots.picture(flat)), np.zeros((2, 3)))


def test_an_audit_of_nothing_but_hopeless_attributes_is_drawn(record):
    bare = replace(record, findings=record.findings[2:])
    left, right = plots.overview(bare).axes
    assert drawn(left, "X") == drawn(right, "X") == []
    assert "evidence_0" not in dict(plots.figures(bare))


def test_the_matrix_of_all_heads_is_drawn_with_its_histograms_and_sweeps(record):
    left, middle, right = weight_space(record).axes
    np.testing.assert_array_equal(left.images[0].get_array(), record.weight_space.cosines)
    assert [label.get_text() for label in left.get_yticklabels()] == list(dict.fromkeys(record.weight_space.tasks))
    ends = [line.get_ydata()[0] for line in left.get_lines() if line.get_ydata()[0] == line.get_ydata()[1]]
    assert ends == [2.5, 4.5]  # three classes, two levels, three levels
    for container, values in zip(
        middle.containers, (record.weight_space.between(), record.weight_space.within()), strict=True
    ):
        counts = np.histogram(values, np.linspace(-1, 1, 41))[0]
        heights = np.array([bar.get_height() for bar in container])
        np.testing.assert_allclose(heights, counts / counts.sum() / 0.05, atol=1e-9)
    for finding, line in zip(record.findings[:2], right.get_lines(), strict=False):
        sweep = finding.evidence.alignment.sweep
        assert line.get_xdata().tolist() == list(sweep.components)
        np.testing.assert_allclose(line.get_ydata(), np.abs(sweep.cosines).max(axis=(1, 2)))
        assert line.get_label() == finding.attribute


def test_an_audit_without_a_matrix_of_heads_cannot_draw_it(record):
    older = replace(record, weight_space=None)
    with pytest.raises(ValueError, match=r"the audit must hold the matrix of its heads to be drawn, got none\."):
        weight_space(older)
    assert "weight_space" not in dict(plots.figures(older))
