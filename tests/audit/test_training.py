# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from difference_cases import row
from matplotlib.colors import to_hex

from monai_shortcut.audit import AuditSettings
from monai_shortcut.audit.training import (
    AttributePoint,
    Cost,
    EpochAudit,
    Onset,
    TrainingCurves,
)
from monai_shortcut.report.drawings import Drawing, drawing
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.tables import curves_table
from monai_shortcut.report.training_page import write_training_report
from monai_shortcut.types import Estimate

NAMES = ("left", "right")
QUICK = AuditSettings(permutations=39, bootstraps=19, repeats=1, minimum_patients=2, folds=2)


def point(value: float, used: bool = False, cleared: bool = False, reason: str = "", **changed) -> AttributePoint:
    """A point whose leading difference is in decision, of the second label."""
    given = {
        "images": 80,
        "own_auroc": Estimate(0.6, 0.5, 0.7),
        "own_auroc_p_value": 0.04,
        "wsc": 0.3,
        "alignment": 0.4,
        "alignment_z": 2.5,
        "alignment_p_value": 0.02,
        "difference": row(value, scale="decision", label=1),
        "where": "decision, right: B against A",
        "p_value": 0.01,
        "noticed": {"left": 0.25, "right": 0.375},
    }
    return AttributePoint(**{**given, "used": used, "cleared": cleared, "reason": reason, **changed})


def recorded(points, settings=QUICK, **changed) -> TrainingCurves:
    """Curves of one attribute, "scanner", with a point at every other epoch; None is an epoch without."""
    epochs = tuple(
        EpochAudit(
            2 * index + 2,
            90,
            30,
            Estimate(0.5 + 0.02 * index, 0.4, 0.9),
            {} if item is None else {"scanner": item},
            {"scanner": "constant"} if item is None else {},
            Cost(0.5 + index, 0.25, None if index == 0 else 4.0),
        )
        for index, item in enumerate(points)
    )
    return TrainingCurves(**{"title": "Tiny", "label_names": NAMES, "attributes": ("scanner",), "settings": settings,
                             "interval": 2, "epochs": epochs} | changed)  # fmt: skip


USED = point(-0.5, used=True, reason="the share of answers moves by -0.50.")
SMALL = point(0.0625, cleared=True, reason="answers differ by less than the tolerances, at most a bit.")
CHANCE = point(0.3, reason="0.30: too uncertain.")


# Onset


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], None),
        ([SMALL, SMALL, CHANCE], None),
        ([USED, USED, SMALL], None),
        ([SMALL, USED, USED, USED], Onset(4, 2, 3)),
        ([USED, SMALL, USED, USED], Onset(6, 4, 2)),
        ([USED, USED], Onset(2, None, 2)),
        ([USED, CHANCE, USED], Onset(6, 4, 1)),
        ([USED, None, USED, USED], Onset(6, 4, 2)),
        ([USED, None], None),
        ([USED], Onset(2, None, 1)),
    ],
)
def test_the_onset_begins_the_unbroken_run_up_to_the_last_audit(points, expected):
    curves = recorded(points)
    assert curves.onset("scanner") == expected
    assert curves.used("scanner") == tuple(item is USED for item in points)


def test_the_tolerance_is_that_of_the_label_and_scale():
    own = replace(QUICK, tolerance=0.3, decision_tolerance=0.15, tolerances={"left": {"rank": 0.05}})
    curves = recorded([USED], settings=own)
    moved = [("decision", 0), ("rank", 0), ("rank", 1), ("probability", 1)]
    points = [replace(USED, difference=row(0.2, scale=scale, label=label)) for scale, label in moved]
    assert [curves.tolerance(one) for one in points] == [0.15, 0.05, 0.1, 0.3]
    assert curves.tolerance(replace(USED, difference=None)) == 0.3


def test_a_point_tells_the_size_of_its_difference_and_former_ones_their_gap():
    assert USED.moved == Estimate(0.5, 0.375, 0.625)
    assert SMALL.moved == Estimate(0.0625, 0.0, 0.1875)
    assert replace(USED, difference=None).moved is None
    assert replace(USED, difference=None, gap=Estimate(-0.25, -0.5, 0.0)).moved == Estimate(-0.25, -0.5, 0.0)


def test_an_attribute_that_was_not_audited_has_no_onset():
    for ask in (recorded([USED]).onset, recorded([USED]).answer):
        with pytest.raises(ValueError, match=r"attribute must be one of \['scanner'\], got 'age'\."):
            ask("age")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            [SMALL, USED, USED],
            r"From epoch 4 on the .* depend on scanner \(not shown at epoch 2; shown at 2 audits in a row\)\. "
            r"At the last one the share of answers moves by -0\.50\.$",
        ),
        (
            [USED, USED],
            r"From epoch 2 on .* \(the first one audited; shown at 2 audits in a row\)\. At the last one the",
        ),
        ([SMALL, USED], r"Only at the last audited epoch, 4, do .* depend on scanner: weak evidence"),
        ([USED], r"Audited once, at the last audited epoch, 2, the predictions depend on scanner: weak"),
        (
            [USED, USED, SMALL],
            r"depended on scanner at epochs 2, 4, which the last .* not show: answers differ by less .* most a bit\.$",
        ),
        ([USED, CHANCE], r"depended on scanner at epoch 2, which the last .* not show: 0\.30: too uncertain\.$"),
        (
            [CHANCE, SMALL],
            r"At no audited epoch were .*; at the last one answers differ by less than the tolerances, at m",
        ),
        (
            [SMALL, CHANCE],
            r"The images cannot tell whether .* on scanner; at the last audited epoch: 0\.30: too uncertain\.$",
        ),
        ([USED, None], r"Whether .* scanner was not measured: constant\."),
        ([], r"Whether .* scanner was not measured\."),
    ],
)
def test_the_answer_says_what_is_known(points, said):
    assert re.search(said, recorded(points).answer("scanner"))


# The record


def test_the_record_survives_its_file(tmp_path):
    curves = recorded([SMALL, None, USED], settings=AuditSettings(edges={"age": (40.0, 60.0)}))
    curves.to_json(tmp_path / "curves.json")
    assert TrainingCurves.from_json(tmp_path / "curves.json") == curves


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must hold the JSON of training curves, got text that is not JSON"),
        ("[]", "must hold the JSON of training curves, got other JSON"),
        (json.dumps({"version": 2, "findings": []}), "must hold the JSON of training curves, got other JSON"),
        (json.dumps({"version": 99, "interval": 1}), "must have format version 3 or older, got 99"),
        (json.dumps({"version": 2, "interval": 1}), "training curves must hold the fields of TrainingCurves"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    (tmp_path / "curves.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        TrainingCurves.from_json(tmp_path / "curves.json")


def test_audits_are_replaced_from_an_epoch_on():
    curves = recorded([SMALL, SMALL, USED])
    assert [epoch.epoch for epoch in curves.before(6).epochs] == [2, 4]
    again = replace(curves.epochs[0], epoch=4)
    assert curves.with_epoch(again).epochs == (curves.epochs[0], again)
    other = replace(curves, interval=3, label_names=("one",), title="other", epochs=())
    assert curves.differences(other) == ["label_names", "interval"]
    assert curves.differences(replace(curves, epochs=())) == []
    gap = replace(USED, difference=None, gap=Estimate(0.3, 0.2, 0.4))
    former = recorded([gap, None])
    assert [curves.rule, former.rule, recorded([]).rule] == ["differences", "prediction gap", "differences"]
    assert former.differences(curves) == ["rule"]


# Picture and page


def test_the_picture_shows_the_record():
    curves = recorded([SMALL, CHANCE, USED, USED])
    figure = training_curves(curves)
    moved, area, aligned = figure.axes
    assert moved.get_ylabel() == "scanner"
    drawn = {tuple(line.get_ydata()) for axes in (moved, area, aligned) for line in axes.lines}
    for values in ((0.0625, 0.3, 0.5, 0.5), (0.6,) * 4, (0.5, 0.52, 0.54, 0.56), (0.4,) * 4, (0.3,) * 4):
        assert values in drawn
    diamonds = next(line for line in moved.lines if line.get_marker() == "D" and len(line.get_xdata()))
    assert diamonds.get_xdata().tolist() == [6, 8]
    circles = next(line for line in moved.lines if line.get_marker() == "o")
    assert circles.get_xdata().tolist() == [2, 4]
    assert to_hex(diamonds.get_color()) != to_hex(circles.get_color())
    marks = [line for line in area.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in marks] == [6]
    assert "from epoch 6 on" in moved.texts[0].get_text()
    assert (moved.get_ylim()[0], moved.get_ylim()[1] >= 0.6) == (0.0, True)
    limits = [segment[:, 1].tolist() for segment in moved.collections[1].get_segments()]
    assert limits == [[0.0, 0.1875], [0.3 - 0.125, 0.425], [0.375, 0.625], [0.375, 0.625]]
    last = training_curves(recorded([SMALL, USED]))
    assert "last epoch only" in last.axes[0].texts[0].get_text()
    assert not training_curves(recorded([SMALL, None])).axes[0].texts
    with pytest.raises(ValueError, match="must hold an audited epoch to be drawn, got none"):
        training_curves(recorded([]))


def test_the_grey_below_each_point_is_its_own_tolerance():
    own = replace(QUICK, decision_tolerance=0.15, tolerances={"left": {"rank": 0.05}})
    points = [USED, None, replace(USED, difference=row(0.2, scale="rank", label=0)), replace(USED, difference=None)]
    moved = training_curves(recorded(points, settings=own)).axes[0]
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in moved.patches]
    assert bars == [(1, 2, 0.15), (3, 2, 0), (5, 2, 0.05), (7, 2, 0.1)]


def test_names_are_drawn_and_written_as_they_are(tmp_path):
    curves = recorded([USED, USED], title="<b>$5</b>")
    named = tuple(replace(epoch, points={"a$b$ <i>": epoch.points["scanner"]}) for epoch in curves.epochs)
    curves = replace(curves, attributes=("a$b$ <i>",), epochs=named)
    page = write_training_report(curves, tmp_path).read_text(encoding="utf-8")
    assert "<b>" not in page
    assert "a$b$ &lt;i&gt;" in page


def test_the_page_answers_first_and_stands_alone(tmp_path):
    curves = recorded([SMALL, None, USED, USED])
    curves = replace(curves, attributes=("operator", "scanner"))
    page = write_training_report(curves, tmp_path / "new").read_text(encoding="utf-8")
    first, second = (page.index(curves.answer(name)) for name in ("scanner", "operator"))
    assert first < second < page.index("<svg") < page.index("<table")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    picture = (tmp_path / "new" / "figures" / "training_curves.svg").read_text(encoding="utf-8")
    assert picture == drawing("training_curves", training_curves(curves)).svg
    assert "not measured: constant" in page
    assert "3.50 s" in page
    assert "88 %" in page  # 3.5 of 4 seconds
    assert TrainingCurves.from_json(tmp_path / "new" / "training_curves.json") == curves
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "new" / "training_curves.csv"), curves_table(curves), check_dtype=False
    )


def test_the_page_can_be_written_again_from_its_json(tmp_path):
    curves = recorded([SMALL, USED])
    first = write_training_report(curves, tmp_path).read_text(encoding="utf-8")
    assert write_training_report(tmp_path / "training_curves.json", tmp_path / "b").read_text(encoding="utf-8") == first
    before = Drawing("training_curves", "<svg viewBox='0 0 1 1'><text>drawn before</text></svg>")
    given = write_training_report(curves, tmp_path / "c", picture=before).read_text(encoding="utf-8")
    assert "<text>drawn before</text>" in given


def test_the_table_has_a_row_for_each_point():
    table = curves_table(recorded([SMALL, None, USED]))
    assert table["epoch"].tolist() == [2, 6]
    assert table["used"].tolist() == [False, True]
    assert table["difference"].tolist() == [0.0625, 0.5]
    assert table["difference_low"].tolist() == [0.0, 0.375]
    assert table["difference_where"].tolist() == ["decision, right: B against A"] * 2
    assert table["differences_p"].tolist() == [0.01, 0.01]
    assert table["cleared"].tolist() == [True, False]
    assert table["noticed"].tolist() == [0.375, 0.375]
    assert table["label_auroc"].tolist() == [0.5, 0.54]
    assert table["audit_seconds"].tolist() == [0.5, 2.5]


def test_a_point_without_differences_has_a_row_without_them():
    bare = replace(SMALL, difference=None, where="", p_value=None, noticed={}, cleared=False)
    table = curves_table(recorded([bare, USED]))
    assert table["difference"].isna().tolist() == [True, False]
    assert table["noticed"].isna().tolist() == [True, False]
