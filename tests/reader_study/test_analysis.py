# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reader_answers import make_key, rows_of, write_answers
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from monai_shortcut.delong import compare_aucs, estimate_auc
from monai_shortcut.reader_study import ReaderStudy, analyse
from monai_shortcut.statistics.resampling import holm

NAMES = ("full", "without_roi", "roi_only")
SKILL = {"full": 2.0, "without_roi": 0.0, "roi_only": 1.0}
MODEL = {"full": 2.0, "without_roi": 3.0}  # it sees without the region what no reader can
READERS = ("A", "B", "C")


@pytest.fixture(scope="module")
def key():
    return make_key(40, NAMES, MODEL)


@pytest.fixture(scope="module")
def answers(key):
    rng = np.random.default_rng(2)
    return {reader: rows_of(key, reader, SKILL, rng) for reader in READERS}


@pytest.fixture(scope="module")
def study(key, answers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    return analyse([write_answers(folder / f"{name}.csv", rows) for name, rows in answers.items()], key)


@pytest.fixture(scope="module")
def whole(key):
    """The part of the study that shows whole images."""
    shown = tuple(one for one in key.presentations if one.strategy == "full")
    return replace(key, strategies=("full",), presentations=shown)


def only(rows, key):
    cases = {one.case for one in key.presentations}
    return [row for row in rows if row["case"] in cases]


def columns(key, rows, strategy):
    """Label, signed confidence and model score of the pictures of a strategy, by hand."""
    given = {row["case"]: row for row in rows}
    shown = [one for one in key.presentations if one.strategy == strategy]
    signs = {"positive": 1, "negative": -1, "cannot tell": 0}
    scores = [signs[given[one.case]["answer"]] * int(given[one.case]["confidence"] or 0) for one in shown]
    return np.array([one.label for one in shown]), np.array(scores), [one.probability for one in shown]


@pytest.mark.parametrize("strategy", NAMES)
def test_numbers_of_a_reader_are_those_of_other_libraries(key, answers, study, strategy):
    for number, reader in enumerate(READERS):
        label, score, model = columns(key, answers[reader], strategy)
        found = study.reading(strategy).readers[number]
        assert (found.reader, found.answered, found.unanswered) == (reader, 80, 0)
        assert found.cannot_tell == (score == 0).sum() > 0
        right = np.where(score == 0, 0.5, (score > 0) == (label == 1))
        assert found.accuracy.value == pytest.approx(right.mean())
        assert found.sensitivity == pytest.approx(right[label == 1].mean())
        assert found.specificity == pytest.approx(right[label == 0].mean())
        assert found.auc.value == pytest.approx(roc_auc_score(label, score))
        expected = estimate_auc(label, score)
        assert found.auc.low == pytest.approx(expected.auc.low)
        assert found.chance_p_value == pytest.approx(expected.chance_p_value)
        assert found.seconds == 2.5
        if strategy in MODEL:
            paired = compare_aucs(label, model, score)
            assert (found.behind.value, found.behind_p_value) == pytest.approx((paired.difference, paired.p_value))
        else:
            assert found.behind is None


def test_the_means_are_those_of_the_readers(study):
    for reading in study.strategies:
        assert reading.joint == READERS
        assert reading.auc.value == pytest.approx(np.mean([one.auc.value for one in reading.readers]))
        assert reading.accuracy.value == pytest.approx(np.mean([one.accuracy.value for one in reading.readers]))
        if reading.ahead:
            assert reading.ahead.value == pytest.approx(reading.model.value - reading.auc.value)
        assert (reading.cases, reading.positives, reading.patients) == (80, 40, 80)


def test_readers_are_compared_in_pairs_and_all_together(key, answers, study):
    found = study.reading("full").agreements
    assert [(one.first, one.second, one.images) for one in found] == [("A", "B", 80), ("A", "C", 80), ("B", "C", 80)]
    first, second = (np.sign(columns(key, answers[reader], "full")[1]) for reader in "AB")
    assert found[0].kappa.value == pytest.approx(cohen_kappa_score(first, second))
    assert study.reading("full").fleiss.low > 0  # they see the same thing
    nothing = study.reading("without_roi").fleiss
    assert nothing.low < 0 < nothing.high


def test_the_analysis_recovers_the_skill_of_the_readers(study):
    for strategy, skill in SKILL.items():
        reading, area = study.reading(strategy), norm.cdf(skill / np.sqrt(2))
        assert reading.auc.low < area < reading.auc.high
        assert reading.auc.high - reading.auc.low < 0.3


def test_what_the_model_sees_and_no_reader_is_the_finding(study):
    found = study.reading("without_roi")
    assert found.answer == "yes"
    assert found.model.value > max(one.auc.value for one in found.readers)
    assert (
        "It sees there what these readers do not. The readers are not shown to do better than chance." in found.reason
    )
    assert study.reading("full").answer == "inconclusive"
    assert "cannot tell whether it sees more than they do." in study.reading("full").reason
    missing = study.reading("roi_only")
    assert (missing.answer, missing.reason) == ("not measured", "Nobody asked the model about these pictures.")


def test_a_lead_that_is_ruled_out_is_a_no(whole, answers, tmp_path):
    files = [write_answers(tmp_path / f"{name}.csv", only(rows, whole)) for name, rows in answers.items()]
    scores = [float(int(one.case, 16) * 7919 % 97) for one in whole.presentations]
    shown = [replace(one, probability=score) for one, score in zip(whole.presentations, scores, strict=True)]
    worse = replace(whole, presentations=tuple(shown))
    found = analyse(files, worse, tolerance=0.06).reading("full")
    assert found.answer == "no"
    assert found.reason.endswith("A lead of 0.06 is ruled out.")


def test_p_values_of_the_model_are_adjusted_over_the_strategies(key, answers, study, tmp_path):
    raw = []
    for strategy in MODEL:
        label, _, model = columns(key, answers["A"], strategy)
        raw.append(estimate_auc(label, model).chance_p_value)
    assert [study.reading(name).model_p_value for name in MODEL] == pytest.approx(holm(raw).tolist())


def test_patients_with_several_cases_are_the_units(whole, answers, tmp_path):
    """Two images of each patient that are read alike are worth one."""
    answers = {name: only(rows, whole) for name, rows in answers.items()}
    files = [write_answers(tmp_path / f"{name}.csv", rows) for name, rows in answers.items()]
    alone = analyse(files, whole).reading("full")
    twins = {
        one.case: replace(one, case=f"t{one.case}", image_id=f"{one.image_id} twin") for one in whole.presentations
    }
    double = replace(whole, presentations=(*whole.presentations, *twins.values()))
    again = [
        write_answers(tmp_path / f"{name}.csv", rows + [row | {"case": f"t{row['case']}"} for row in rows])
        for name, rows in answers.items()
    ]
    found = analyse(again, double).reading("full")
    for name in ("auc", "accuracy", "ahead", "model"):
        own, both = getattr(alone, name), getattr(found, name)
        assert both.value == pytest.approx(own.value)
        assert both.high - both.low == pytest.approx(own.high - own.low, rel=0.05)


def test_readers_who_have_not_finished_are_listed_and_not_in_the_means(key, answers, tmp_path):
    first = write_answers(tmp_path / "A.csv", answers["A"])
    cases = {one.case for one in key.presentations if one.strategy == "full"}
    others = [row for row in answers["B"] if row["case"] not in cases]
    part = [row for row in answers["B"] if row["case"] in cases][:50] + others
    found = analyse([first, write_answers(tmp_path / "B.csv", part)], key)
    full = found.reading("full")
    assert full.joint == ("A",)
    assert (full.readers[1].answered, full.readers[1].unanswered) == (50, 30)
    assert full.readers[1].auc is not None
    assert full.agreements[0].images == 50
    assert "the only reader's is" in full.reason
    assert "which says nothing of others" in full.reason
    assert found.reading("without_roi").joint == ("A", "B")
    only = analyse(write_answers(tmp_path / "C.csv", part[:1]), key)
    assert only.reading("full").readers[0].auc is None
    assert only.reading("full").reason == "No reader has answered all of these pictures."
    assert only.reading("full").model is not None
    assert only.reading("roi_only").readers[0] == replace(only.reading("roi_only").readers[0], answered=0, seconds=None)


def test_a_class_of_one_patient_is_not_measured(tmp_path):
    key = make_key(1, model={"full": 1.0})
    found = analyse(write_answers(tmp_path / "A.csv", rows_of(key, "A", {"full": 1.0}, np.random.default_rng(0))), key)
    assert found.reading("full").reason == "Each class must have cases of at least two patients."
    assert found.reading("full").model is None


def test_a_record_survives_its_json(study, tmp_path):
    study.to_json(tmp_path / "study.json")
    assert ReaderStudy.from_json(tmp_path / "study.json") == study
    with pytest.raises(ValueError, match="strategy must be one of full, without_roi, roi_only, got 'other'"):
        study.reading("other")
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(ValueError, match="must hold the JSON of a reader study, got other JSON"):
        ReaderStudy.from_json(tmp_path / "study.json")
    replace(study, version=99).to_json(tmp_path / "study.json")
    with pytest.raises(ValueError, match="must have format version 1 or older, got 99"):
        ReaderStudy.from_json(tmp_path / "study.json")
