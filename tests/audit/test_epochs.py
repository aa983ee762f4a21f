# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import levels_of
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from monai_shortcut.analyses.differences import ODDS
from monai_shortcut.analyses.prediction_gap import prediction_gap
from monai_shortcut.analyses.sample import Sample
from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit.epochs import Cost, audit_epoch, curve_settings
from monai_shortcut.audit.leading import leading, least_noticed, size, where
from monai_shortcut.audit.names import Names
from monai_shortcut.audit.record import NOT_USED, USED
from monai_shortcut.audit.training import Onset, TrainingCurves
from monai_shortcut.probes import fit_probe
from monai_shortcut.statistics.ordering import canonical_order
from monai_shortcut.statistics.resampling import holm

NAMES = ("left", "right")
QUICK = AuditSettings(permutations=39, bootstraps=19, repeats=1, minimum_patients=2, folds=2)
ANY = {"tolerance": 0.0, "decision_tolerance": 0.0, "rank_tolerance": 0.0, "odds_tolerance": 1.0}


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
    for epoch, use in enumerate((0.0, 0.0, 3.0, 6.0), start=1):
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
    sizes = [epoch.points["scanner"].moved for epoch in epochs]
    assert sizes[0] == sizes[1]
    assert sizes[1].value < sizes[2].value < sizes[3].value
    assert sizes[1].low < 0.1 < sizes[2].low < sizes[3].low
    assert {epoch.points["scanner"].own_auroc for epoch in epochs} == {epochs[0].points["scanner"].own_auroc}
    assert epochs[3].points["scanner"].alignment > 0.7 > epochs[0].points["scanner"].alignment


@pytest.mark.slow
def test_chance_makes_no_more_onsets_than_one_test_allows_however_many_epochs(rng):
    """Under the null an onset is as rare as an error at the last epoch; an error at some epoch is not."""
    settings = replace(QUICK, permutations=19, **ANY)
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
    assert ever > onsets


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
    settings = replace(QUICK, permutations=59)  # as many as three attributes take
    both = audit_epoch(*arguments, table, label_names=NAMES, settings=settings)
    assert both.problems == {"constant": "every image has the same value (c)"}
    alone = {
        name: audit_epoch(*arguments, {name: table[name]}, label_names=NAMES, settings=settings).points[name]
        for name in ("scanner", "other")
    }
    for end in ("own_auroc_p_value", "p_value"):
        raw = [getattr(alone[name], end) for name in ("scanner", "other")]
        assert [getattr(both.points[name], end) for name in ("scanner", "other")] == [
            pytest.approx(min(1, max(2 * p if p == min(raw) else p, 2 * min(raw)))) for p in raw
        ]
    rate = audit_epoch(*arguments, table, label_names=NAMES, settings=replace(settings, correction="fdr"))
    assert rate.points["other"].p_value == pytest.approx(max(alone[n].p_value for n in alone))


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
    order = canonical_order(points, labels)  # an epoch takes the rows as they come
    points, labels, patients = points[order], labels[order], [patients[row] for row in order]
    table = {name: np.asarray(values)[order] for name, values in table.items()}
    settings = replace(QUICK, erasures=1, held_out=0)
    arguments = (points, rng.normal(size=(2, 5)), np.zeros(2), labels, patients, table)
    epoch = audit_epoch(1, *arguments, label_names=NAMES, settings=settings)
    whole = audit(*arguments, label_names=NAMES, settings=settings)
    full = next(score for score in whole.regions.scores if score.evaluated_on == "full")
    assert epoch.auroc.value == pytest.approx(full.auc.value)
    for name, point in epoch.points.items():
        found = whole.finding(name).evidence
        assert point.own_auroc == found.encoding.own_auroc
        tests = [f.evidence.encoding.test.p_value for f in whole.findings]  # of the linear probe alone
        assert point.own_auroc_p_value == holm(tests)[list(epoch.points).index(name)]
        assert point.p_value == found.differences_p_value
        names = Names(NAMES, tuple(whole.finding(name).levels))
        assert point.difference == leading([r for r in found.differences.rows if r.scale != ODDS], settings, names)
        assert point.where == where(point.difference, names)
        assert point.noticed == least_noticed(found.differences, settings, names)
        assert (point.moved, point.gap) == (size(point.difference), None)
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
    for changed in ({"significance": 0.01}, {"permutations": 9}):
        strict = curve_settings(count, **changed)
        assert count / (strict.permutations + 1) <= strict.significance + 1e-12


def test_so_few_permutations_that_nothing_could_be_significant_become_more(rng):
    points, labels, patients, table = cohort(rng, patients=100)
    table = {**table, "third": table["other"][::-1]}
    weight = np.array([[0.0, 0, 0, 0, 0], [3, 1, 0, 0, 0]])
    arguments = (1, points, weight, np.zeros(2), labels, patients, table)
    found = audit_epoch(*arguments, label_names=NAMES, settings=replace(QUICK, permutations=9))
    assert found.points["scanner"].p_value == pytest.approx(0.05)  # 3 / 60
    assert found.points["scanner"].used
    assert found == audit_epoch(*arguments, label_names=NAMES, settings=replace(QUICK, permutations=59))


# Uses that a mean over labels and levels does not see


def answered(rng, logits, labels, codes):
    """What `audit_epoch` takes of images with these logits of the second class, each of a patient, and a scanner."""
    points = rng.normal(size=(len(logits), 5))
    points[:, 0] = logits
    points[:, 1] += codes
    weight = np.array([[0.0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    table = {"scanner": np.array(list("ABCD"), dtype=object)[codes]}
    return points, weight, np.zeros(2), labels, [str(row) for row in range(len(logits))], table


def in_one_label(rng):
    labels, codes = (rng.random(600) < 0.2).astype(int), rng.integers(2, size=600)
    return answered(rng, 3 * labels - 1.5 + rng.normal(size=600) - 2.5 * codes * labels, labels, codes)


def at_one_rare_level(rng):
    labels, codes = rng.integers(2, size=600), rng.choice(4, p=[0.31, 0.31, 0.31, 0.07], size=600)
    return answered(rng, 3 * labels - 1.5 + rng.normal(size=600) + 2.5 * (codes == 3), labels, codes)


def of_an_uncalibrated_model(rng):
    labels, codes = rng.integers(2, size=(2, 600))
    return answered(rng, 0.1 * (3 * labels - 1.5 + rng.normal(size=600) + 1.6 * codes - 0.8), labels, codes)


@pytest.mark.parametrize(
    ("drawn", "place"),
    [(in_one_label, "right: B against A"), (at_one_rare_level, "D against"), (of_an_uncalibrated_model, "decision")],
)
def test_a_use_that_the_mean_gap_does_not_show_is_found(drawn, place):
    """The former rule asked for a gap, averaged over pairs of labels and levels, of at least the tolerance."""
    settings = curve_settings(1, minimum_patients=5)
    for seed in range(3):
        points, weight, bias, labels, patients, table = drawn(np.random.default_rng(seed))
        found = audit_epoch(
            1, points, weight, bias, labels, patients, table, label_names=NAMES, settings=settings
        ).points["scanner"]
        assert found.used
        assert place in found.where
        levels = levels_of(np.unique(table["scanner"].astype(str), return_inverse=True)[1])
        sample = Sample.of(points, weight, bias, labels, np.arange(len(labels)), draws=settings)
        assert prediction_gap(sample.by("scanner", levels)).effect.value < settings.tolerance


def test_odds_of_a_rare_class_decide_and_are_not_drawn(rng):
    """A probability of 0.01 that becomes 0.06 moves no other scale by as much as 0.1, ranks of images apart."""
    labels, codes = (rng.random(3000) < 0.02).astype(int), rng.integers(2, size=3000)
    drawn = answered(rng, 2 * labels - 4 + 0.5 * rng.normal(size=3000) + 1.8 * codes, labels, codes)
    settings = curve_settings(1, rank_tolerance=1.0, tolerance=0.5, decision_tolerance=0.5)
    found = audit_epoch(1, *drawn, label_names=NAMES, settings=settings).points["scanner"]
    assert found.used
    assert found.difference.scale != ODDS
    assert found.difference.certain < 0.5
    assert found.reason.startswith("the ratio of the odds is ")
    other = audit_epoch(1, *drawn, label_names=NAMES, settings=replace(settings, odds_tolerance=50.0))
    assert not other.points["scanner"].used
    assert replace(found, used=False, reason=other.points["scanner"].reason) == other.points["scanner"]


# What is not shown


@pytest.mark.slow
def test_nothing_is_shown_at_the_last_epoch_more_often_than_the_test_allows():
    """100 small cohorts with an attribute that nothing ties to the answers, and tolerances of zero."""
    onsets, settings = 0, replace(QUICK, permutations=19, **ANY)
    for seed in range(100):
        rng = np.random.default_rng([13, seed])
        points, labels, patients, table = cohort(rng, patients=30)
        table, weight = {"other": table["other"]}, 3 * rng.normal(size=(1, 5))
        found = audit_epoch(9, points, weight, [0.0], labels, patients, table, label_names=NAMES, settings=settings)
        onsets += TrainingCurves("", NAMES, ("other",), settings, epochs=(found,)).onset("other") is not None
    assert onsets <= 11  # of 100 at 5 %; more in about one of a hundred such tests


def kept_from(rng, kind: str):
    """A cohort of 600 images; "copy" goes along with the scanner, and one of them or none may be used."""
    labels, codes, sex = rng.integers(2, size=(3, 600))
    copy = np.where(rng.random(600) < 0.6, codes, rng.integers(2, size=600))
    moves = {
        "none": 0 * codes,
        "used": 1.5 * codes,
        "cancelled": 1.2 * codes - 1.2 * copy,
        "turned": 1.8 * (codes - 0.5) * (2 * sex - 1),
        "spread": 3 * codes * rng.normal(size=600),
    }
    drawn = answered(rng, 3 * labels - 1.5 + 0.7 * rng.normal(size=600) + moves[kind], labels, codes)
    drawn[0][:, 2] += 2 * copy
    drawn[0][:, 3] += 2 * sex
    return *drawn[:-1], {**drawn[-1], "copy": np.array(["x", "y"])[copy], "sex": np.array(["f", "m"])[sex]}


@pytest.mark.parametrize("kind", ["none", "used", "cancelled", "turned", "spread"])
def test_an_epoch_clears_no_more_than_the_audit_does(kind):
    settings, names = replace(QUICK, permutations=99, erasures=1, held_out=0), []
    for seed in range(2):
        drawn = kept_from(np.random.default_rng([1, seed]), kind)
        epoch = audit_epoch(1, *drawn, label_names=NAMES, settings=settings)
        whole = audit(*drawn, label_names=NAMES, settings=settings)
        for name, point in epoch.points.items():
            finding, found = whole.finding(name), whole.finding(name).evidence
            assert finding.verdict == NOT_USED or not point.cleared
            if found.company is None:
                assert point.used == (finding.verdict == USED and not found.slices)
                assert point.cleared == (finding.verdict == NOT_USED)
                assert point.reason.removeprefix("answers do not differ with it") in finding.reason
            names += [name] if point.cleared else []
    cleared = {"none": True, "used": False, "cancelled": False, "turned": False, "spread": False}
    assert ("scanner" in names) == cleared[kind]


def test_a_use_in_part_of_the_images_is_not_cleared(rng):
    found = audit_epoch(1, *kept_from(rng, "turned"), label_names=NAMES, settings=replace(QUICK, permutations=99))
    scanner = found.points["scanner"]
    assert (scanner.used, scanner.cleared) == (False, False)
    assert scanner.reason.startswith("answers do not differ with it over all images, but do in part of them: ")
    assert "where sex is" in scanner.reason


def test_answers_that_cannot_be_compared_leave_the_rest_of_the_point(rng):
    """Four patients have the second level: too few to compare, enough for a probe."""
    points, labels, patients, table = cohort(rng)
    table = {"scanner": np.array(["B"] * 8 + ["A"] * 72, dtype=object)}
    found = audit_epoch(
        1, points, np.eye(2, 5), np.zeros(2), labels, patients, table, label_names=NAMES, settings=QUICK
    ).points["scanner"]
    assert (found.difference, found.moved, found.p_value, found.used, found.cleared) == (None, None, None, False, False)
    assert found.reason == "no label has two levels of at least 5 patients each."
    assert 0 < found.own_auroc_p_value <= 1


def test_attributes_that_may_move_answers_are_held_equal(rng):
    """Severity moves the answers and comes with age; at equal severity nothing is left."""
    labels, severity = rng.integers(2, size=900), rng.integers(2, size=900)
    age = np.where(rng.random(900) < 0.8, severity, 1 - severity)
    points, *rest, table = answered(rng, 3 * labels - 1.5 + rng.normal(size=900) + 2 * severity, labels, age)
    table = {"age": table["scanner"], "severity": np.array(["mild", "severe"])[severity]}
    points[:, 2] += 2 * severity
    plain, equal = (
        audit_epoch(1, points, *rest, table, label_names=NAMES, settings=replace(QUICK, adjust_for=given)).points["age"]
        for given in ((), ("severity",))
    )
    assert plain.used
    assert not equal.used
    assert equal.moved.value < plain.moved.value / 2
    message = r"adjust_for must be of the attributes \['age'\], got \['severity'\]\."
    with pytest.raises(ValueError, match=message):
        audit_epoch(
            1, points, *rest, {"age": table["age"]}, label_names=NAMES,
            settings=replace(QUICK, adjust_for=("severity",)),
        )  # fmt: skip


def test_the_share_of_the_cost_is_that_of_the_epoch():
    assert (Cost(1.0, 3.0, 4.0).share, Cost(1.0, 3.0, None).share, Cost(5.0, 3.0, 4.0).share) == (0.25, None, 1.0)
