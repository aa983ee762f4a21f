# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit.epochs import Cost, audit_epoch, curve_settings
from monai_shortcut.audit.training import Onset, TrainingCurves
from monai_shortcut.probes import fit_probe
from monai_shortcut.statistics.resampling import holm

NAMES = ("left", "right")
QUICK = AuditSettings(permutations=39, bootstraps=19, repeats=1, minimum_patients=2, folds=2)


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
    gaps = [epoch.points["scanner"].gap.value for epoch in epochs]
    assert gaps[0] == gaps[1] < 0.1 < gaps[2] < gaps[3]
    assert {epoch.points["scanner"].own_auroc for epoch in epochs} == {epochs[0].points["scanner"].own_auroc}
    assert epochs[3].points["scanner"].alignment > 0.7 > epochs[0].points["scanner"].alignment


@pytest.mark.slow
def test_chance_makes_no_more_onsets_than_one_test_allows_however_many_epochs(rng):
    """Under the null an onset is as rare as an error at the last epoch; an error at some epoch is not.

    A gap that is larger than all of its null is larger than their mean square, so a tolerance of 0 asks nothing more.
    """
    settings = replace(QUICK, tolerance=0.0, permutations=19)
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
    assert found.auroc.value == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr", average="macro"))
    assert found.auroc.low < found.auroc.value < found.auroc.high
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


def test_the_numbers_are_those_of_a_whole_audit_with_the_same_settings(rng):
    points, labels, patients, table = cohort(rng, patients=60)
    settings = replace(QUICK, erasures=1, held_out=0)
    arguments = (points, rng.normal(size=(2, 5)), np.zeros(2), labels, patients, table)
    epoch = audit_epoch(1, *arguments, label_names=NAMES, settings=settings)
    whole = audit(*arguments, label_names=NAMES, settings=settings)
    full = next(score for score in whole.regions.scores if score.evaluated_on == "full")
    assert epoch.auroc.value == pytest.approx(full.auc.value)
    for name, point in epoch.points.items():
        found = whole.finding(name).evidence
        assert (point.own_auroc, point.gap) == (found.encoding.own_auroc, found.gap.effect)
        tests = [f.evidence.encoding.test.p_value for f in whole.findings]  # of the linear probe alone
        assert point.own_auroc_p_value == holm(tests)[list(epoch.points).index(name)]
        assert point.gap_p_value == found.gap_p_value
        assert (point.wsc, point.alignment) == (found.alignment.wsc_test.observed, found.alignment.test.observed)
        assert (point.alignment_z, point.alignment_p_value) == (found.alignment.test.z, found.alignment.test.p_value)


def test_an_ordinal_attribute_is_measured_as_such(rng):
    """A number that rises from one to the next level and falls again is no trace of an order."""
    points, labels, patients, table = cohort(rng, patients=120)
    grade = rng.integers(3, size=120).repeat(2)
    points[:, 2] += np.array([0.0, 3.0, 0.0])[grade]
    points[:, 3] += np.array([0.0, 1.5, 3.0])[grade]
    table = {"grade": np.array(["low", "mid", "high"], dtype=object)[grade]}
    arguments = (1, points[:, :3], np.eye(2, 3), np.zeros(2), labels, patients, table)
    orders = {"grade": ["low", "mid", "high"]}
    named = audit_epoch(*arguments, label_names=NAMES, settings=QUICK).points["grade"]
    ordered = audit_epoch(*arguments, label_names=NAMES, settings=QUICK, kinds={"grade": "ordinal"}, orders=orders)
    assert named.own_auroc.low > 0.6 > ordered.points["grade"].own_auroc.value
    rising = audit_epoch(
        1, points, np.eye(2, 5), *arguments[3:], label_names=NAMES, settings=QUICK, kinds={"grade": "ordinal"},
        orders=orders,
    )  # fmt: skip
    assert rising.points["grade"].own_auroc.low > 0.75
    for given in ("kinds", "orders"):
        message = rf"{given} must be of the attributes \['grade'\], got \['site'\]\."
        with pytest.raises(ValueError, match=message):
            audit_epoch(*arguments, label_names=NAMES, **{given: {"site": "ordinal"}})


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_default_settings_can_find_one_attribute_among_many(count):
    settings = curve_settings(count)
    assert count / (settings.permutations + 1) <= settings.significance / 2 + 1e-12
    assert (settings.permutations, settings.bootstraps) >= (99, 99)
    assert curve_settings(count, seed=4).seed == 4


def test_the_share_of_the_cost_is_that_of_the_epoch():
    assert (Cost(1.0, 3.0, 4.0).share, Cost(1.0, 3.0, None).share, Cost(5.0, 3.0, 4.0).share) == (0.25, None, 1.0)
