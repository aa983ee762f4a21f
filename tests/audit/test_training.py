# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses.encoding import fit_probe
from monai_shortcut.audit.assembly import AuditSettings
from monai_shortcut.audit.training import (
    AttributePoint,
    Cost,
    EpochAudit,
    Onset,
    TrainingCurves,
    audit_epoch,
    curve_settings,
)
from monai_shortcut.report.figures.training import training_curves
from monai_shortcut.report.files import png
from monai_shortcut.report.tables import curves_table
from monai_shortcut.report.training_page import write_training_report

NAMES = ("left", "right")
QUICK = AuditSettings(permutations=39, bootstraps=19, repeats=1, minimum_patients=2, folds=2)


def point(
    gap: float = 0.0, p_value: float = 1.0, low: float | None = None, high: float | None = None
) -> AttributePoint:
    limits = gap, gap - 0.02 if low is None else low, gap + 0.02 if high is None else high
    return AttributePoint(80, (0.6, 0.5, 0.7), 0.04, 0.3, 0.4, 2.5, 0.02, limits, p_value)


def recorded(points, settings=QUICK, **changed) -> TrainingCurves:
    """Curves of one attribute, "scanner", with a point at every other epoch; None is an epoch without."""
    epochs = tuple(
        EpochAudit(
            2 * index + 2,
            90,
            30,
            (0.5 + 0.02 * index, 0.4, 0.9),
            {} if item is None else {"scanner": item},
            {"scanner": "constant"} if item is None else {},
            Cost(0.5 + index, 0.25, None if index == 0 else 4.0),
        )
        for index, item in enumerate(points)
    )
    return TrainingCurves(**{"title": "Tiny", "label_names": NAMES, "attributes": ("scanner",), "settings": settings,
                             "interval": 2, "epochs": epochs} | changed)  # fmt: skip


USED, SMALL, CHANCE = point(0.3, 0.01), point(0.05, 0.01), point(0.3, 0.2)


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


@pytest.mark.parametrize(("gap", "p_value", "used"), [(0.1, 0.05, True), (0.0999, 0.05, False), (0.1, 0.0501, False)])
def test_size_and_significance_both_count(gap, p_value, used):
    assert recorded([point(gap, p_value)]).used("scanner") == (used,)
    wider = replace(QUICK, tolerance=0.05, significance=0.06)
    assert recorded([point(gap, p_value)], settings=wider).used("scanner") == (True,)


def test_an_attribute_that_was_not_audited_has_no_onset():
    for ask in (recorded([USED]).onset, recorded([USED]).answer):
        with pytest.raises(ValueError, match=r"attribute must be one of \['scanner'\], got 'age'\."):
            ask("age")


@pytest.mark.parametrize(
    ("points", "said"),
    [
        (
            [SMALL, USED, USED],
            r"From epoch 4 on the .* depend on scanner \(not shown at epoch 2; shown at 2 audits in a",
        ),
        ([USED, USED], r"From epoch 2 on .* \(the first one audited; shown at 2 audits in a row\)\."),
        ([SMALL, USED], r"Only at the last audited epoch, 4, do .* depend on scanner: weak evidence"),
        ([USED], r"Audited once, at the last audited epoch, 2, the predictions depend on scanner: weak"),
        ([USED, USED, SMALL], r"depended on scanner at epochs 2, 4, which the last .* not show: the gap is 0\.05 \("),
        ([SMALL, SMALL], r"At no audited epoch were .* at the last one the gap is 0\.05 \(0\.03 to 0\.07\)\."),
        ([point(0.06, 0.3, -0.1, 0.2)], r"The images cannot tell .* gap is 0\.06 \(-0\.10 to 0\.20\)\."),
        ([USED, None], r"Whether .* scanner was not measured: constant\."),
        ([], r"Whether .* scanner was not measured\."),
    ],
)
def test_the_answer_says_what_is_known(points, said):
    assert re.search(said, recorded(points).answer("scanner"))


# What is measured


def cohort(rng, patients=40, images=2, size=5):
    """Embeddings whose first number is the scanner and whose second is the class, and their table."""
    patient = np.repeat(np.arange(patients), images)
    scanner, other = rng.integers(2, size=patients)[patient], rng.integers(2, size=patients)[patient]
    labels = rng.integers(2, size=len(patient))
    points = rng.normal(size=(len(patient), size))
    points[:, 0] += 2 * (scanner - 0.5)
    points[:, 1] += 2 * (labels - 0.5)
    table = {"scanner": np.array(["A", "B"], dtype=object)[scanner], "other": np.array(["x", "y"], dtype=object)[other]}
    return points, labels, [str(name) for name in patient], table


def test_the_onset_is_where_the_head_turns_to_the_attribute(rng):
    points, labels, patients, table = cohort(rng, patients=100)
    settings = curve_settings(2, minimum_patients=2)
    epochs = []
    for epoch, use in enumerate((0.0, 0.0, 1.0, 2.0), start=1):
        weight = np.zeros((2, 5))
        weight[1] = use, 1.5, 0, 0, 0
        epochs.append(
            audit_epoch(
                epoch, points, weight, np.zeros(2), labels, patients, table, label_names=NAMES, settings=settings
            )
        )
    curves = TrainingCurves("", NAMES, tuple(table), settings, epochs=tuple(epochs))
    assert curves.onset("scanner") == Onset(3, 2, 2)
    assert curves.onset("other") is None
    gaps = [epoch.points["scanner"].gap[0] for epoch in epochs]
    assert gaps[0] == gaps[1] < 0.1 < gaps[2] < gaps[3]
    assert {epoch.points["scanner"].own_auroc for epoch in epochs} == {epochs[0].points["scanner"].own_auroc}
    assert epochs[3].points["scanner"].alignment > 0.7 > epochs[0].points["scanner"].alignment


def test_chance_makes_no_more_onsets_than_one_test_allows_however_many_epochs(rng):
    """Under the null an onset is as rare as an error at the last epoch; an error at some epoch is not."""
    settings = replace(QUICK, tolerance=-1.0, permutations=19)
    onsets, ever, trials = 0, 0, 50
    for _ in range(trials):
        points, labels, patients, table = cohort(rng, patients=20)
        table = {"other": table["other"]}
        epochs = []
        for epoch in range(1, 9):  # a training that forgets everything from one epoch to the next
            weight = 3 * rng.normal(size=(1, 5))
            found = audit_epoch(
                epoch, points, weight, [0.0], labels, patients, table, label_names=NAMES, settings=settings
            )
            epochs.append(found)
        curves = TrainingCurves("", NAMES, ("other",), settings, epochs=tuple(epochs))
        onsets += curves.onset("other") is not None
        ever += any(curves.used("other"))
    assert onsets <= 7  # of 50 at 5 %; more in about one of a hundred such tests
    assert ever >= 10


def test_each_number_equals_its_definition(rng):
    points, labels, patients, table = cohort(rng, patients=30, images=3)
    labels = rng.integers(3, size=len(labels))
    weight, bias = rng.normal(size=(3, 5)), rng.normal(size=3)
    settings = replace(QUICK, min_components=5)
    found = audit_epoch(
        7, points, weight, bias, labels, patients, table, label_names=("a", "b", "c"), settings=settings
    )
    assert (found.epoch, found.images, found.patients, found.problems) == (7, 90, 30, {})
    scores = softmax(points @ weight.T + bias, axis=1)
    assert found.auroc[0] == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    assert found.auroc[1] < found.auroc[0] < found.auroc[2]
    for name, measured in found.points.items():
        level = np.unique(table[name].astype(str), return_inverse=True)[1]
        blind, inside = fit_probe(points, level).weight, fit_probe(points, level, labels).weight
        cosine = (weight @ blind.T) / np.outer(np.linalg.norm(weight, axis=1), np.linalg.norm(blind, axis=1))
        assert measured.wsc == pytest.approx(np.abs(cosine).max())  # five components are all there are
        logits = np.concatenate([(weight - weight.mean(axis=0)) @ points.T, (inside - inside.mean(axis=0)) @ points.T])
        for value in range(3):
            logits[:, labels == value] -= logits[:, labels == value].mean(axis=1, keepdims=True)
        assert measured.alignment == pytest.approx(np.abs(np.corrcoef(logits)[:3, 3:]).max())
        assert measured.images == 90


def test_p_values_are_adjusted_over_the_attributes_that_could_be_measured(rng):
    points, labels, patients, table = cohort(rng)
    table = {**table, "constant": np.array(["c"] * len(labels), dtype=object)}
    arguments = (1, points, np.eye(2, 5), np.zeros(2), labels, patients)
    both = audit_epoch(*arguments, table, label_names=NAMES, settings=QUICK)
    assert both.problems == {"constant": "every image has the same value (c)"}
    alone = {
        name: audit_epoch(*arguments, {name: table[name]}, label_names=NAMES, settings=QUICK).points[name]
        for name in ("scanner", "other")
    }
    for end in ("own_auroc_p_value", "gap_p_value"):
        raw = [getattr(alone[name], end) for name in ("scanner", "other")]
        assert [getattr(both.points[name], end) for name in ("scanner", "other")] == [
            pytest.approx(min(1, max(2 * p if p == min(raw) else p, 2 * min(raw)))) for p in raw
        ]
    rate = audit_epoch(*arguments, table, label_names=NAMES, settings=replace(QUICK, correction="fdr"))
    assert rate.points["other"].gap_p_value == pytest.approx(max(alone[n].gap_p_value for n in alone))


def test_what_cannot_be_measured_is_said_and_harms_nothing_else(rng):
    points, labels, patients, table = cohort(rng)
    table = {**table, "twin": np.array(NAMES, dtype=object)[labels]}
    spoiled = points.copy()
    spoiled[:4] = np.nan
    found = audit_epoch(
        1, spoiled, np.eye(2, 5), np.zeros(2), labels, patients, table, label_names=NAMES, settings=QUICK
    )
    assert found.images == len(labels) - 4
    assert set(found.points) == {"scanner", "other"}
    assert "coincides with it" in found.problems["twin"]
    clean = audit_epoch(
        1,
        points[4:],
        np.eye(2, 5),
        np.zeros(2),
        labels[4:],
        patients[4:],
        {name: values[4:] for name, values in table.items()},
        label_names=NAMES,
        settings=QUICK,
    )
    assert clean == found
    nothing = audit_epoch(1, points, np.eye(2, 5), np.zeros(2), labels, patients, {}, label_names=NAMES)
    assert nothing.points == {}
    with pytest.raises(ValueError, match="at least one embedding must be finite, got none"):
        audit_epoch(1, points * np.nan, np.eye(2, 5), np.zeros(2), labels, patients, table, label_names=NAMES)
    with pytest.raises(ValueError, match="other must have one row for each of the 80 embeddings"):
        audit_epoch(
            1, points, np.eye(2, 5), np.zeros(2), labels, patients, {"other": ["x"]}, label_names=NAMES, settings=QUICK
        )


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_default_settings_can_find_one_attribute_among_many(count):
    settings = curve_settings(count)
    assert count / (settings.permutations + 1) <= settings.significance / 2 + 1e-12
    assert (settings.permutations, settings.bootstraps) >= (99, 99)
    assert curve_settings(count, seed=4).seed == 4


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
        (json.dumps({"version": 99, "interval": 1}), "must have format version 1 or older, got 99"),
        (json.dumps({"version": 1, "interval": 1}), "training curves must hold the fields of TrainingCurves"),
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


def test_the_share_of_the_cost_is_that_of_the_epoch():
    assert (Cost(1.0, 3.0, 4.0).share, Cost(1.0, 3.0, None).share, Cost(5.0, 3.0, 4.0).share) == (0.25, None, 1.0)


# Picture and page


def test_the_picture_shows_the_record():
    curves = recorded([SMALL, CHANCE, USED, USED])
    figure = training_curves(curves)
    gap, area, aligned = figure.axes
    assert gap.get_ylabel() == "scanner"
    drawn = {tuple(line.get_ydata()) for axes in (gap, area, aligned) for line in axes.lines}
    for values in ((0.05, 0.3, 0.3, 0.3), (0.6,) * 4, (0.5, 0.52, 0.54, 0.56), (0.4,) * 4, (0.3,) * 4):
        assert values in drawn
    diamonds = next(line for line in gap.lines if line.get_marker() == "D" and len(line.get_xdata()))
    assert diamonds.get_xdata().tolist() == [6, 8]
    circles = next(line for line in gap.lines if line.get_marker() == "o")
    assert circles.get_xdata().tolist() == [2, 4]
    assert to_hex(diamonds.get_color()) != to_hex(circles.get_color())
    marks = [line for line in area.lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in marks] == [6]
    assert "from epoch 6 on" in gap.texts[0].get_text()
    assert (gap.get_ylim()[0], gap.get_ylim()[1] >= 0.6) == (-0.15, True)
    last = training_curves(recorded([SMALL, USED]))
    assert "last epoch only" in last.axes[0].texts[0].get_text()
    assert not training_curves(recorded([SMALL, None])).axes[0].texts
    with pytest.raises(ValueError, match="must hold an audited epoch to be drawn, got none"):
        training_curves(recorded([]))


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
    assert first < second < page.index("<img") < page.index("<table")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    picture = (tmp_path / "new" / "figures" / "training_curves.png").read_bytes()
    assert picture == png(training_curves(curves))
    assert base64.b64encode(picture).decode() in page
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
    given = write_training_report(curves, tmp_path / "c", picture=b"drawn before").read_text(encoding="utf-8")
    assert base64.b64encode(b"drawn before").decode() in given


def test_the_table_has_a_row_for_each_point():
    table = curves_table(recorded([SMALL, None, USED]))
    assert table["epoch"].tolist() == [2, 6]
    assert table["used"].tolist() == [False, True]
    assert table["gap"].tolist() == [0.05, 0.3]
    assert table["label_auroc"].tolist() == [0.5, 0.54]
    assert table["audit_seconds"].tolist() == [0.5, 2.5]
