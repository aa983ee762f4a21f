# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""An audit of predicted probabilities alone says what one with embeddings says of the answers, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_cases import QUICK, simulated

from monai_shortcut.audit import Audit, audit, probabilities
from monai_shortcut.audit.assembly import preview
from monai_shortcut.audit.preview import expected_seconds
from monai_shortcut.report.figures.audit import figures
from monai_shortcut.report.tables import findings_table

NONE = {"embeddings": None, "weight": None, "bias": None}
SETTINGS = replace(QUICK, tolerance=0.9, decision_tolerance=0.9, rank_tolerance=0.9)  # so that something is not used


@pytest.fixture(scope="module")
def known() -> dict:
    given = simulated(patients=60, classes=3)
    few = {name: given["attributes"][name] for name in ("used", "visible")}
    return given | {"attributes": few, "settings": SETTINGS}


@pytest.fixture(scope="module")
def answers(known) -> np.ndarray:
    return probabilities(known["embeddings"], known["weight"], known["bias"])


@pytest.fixture(scope="module")
def alone(known, answers) -> Audit:
    return audit(**{**known, **NONE}, predicted=answers)


def test_answers_are_compared_as_with_embeddings(known, alone):
    both = audit(**known)
    for one, other in zip(alone.findings, both.findings, strict=True):
        assert one.levels == other.levels
        assert one.patients == other.patients
        np.testing.assert_allclose(one.evidence.gap.means, other.evidence.gap.means, atol=1e-12)
        for mine, theirs in zip(one.evidence.differences.rows, other.evidence.differences.rows, strict=True):
            assert (mine.label, mine.first, mine.second, mine.scale) == (
                theirs.label,
                theirs.first,
                theirs.second,
                theirs.scale,
            )
            assert mine.estimate.value == pytest.approx(theirs.estimate.value, abs=1e-9)
    for mine, theirs in zip(alone.regions.scores, both.regions.scores, strict=True):
        assert mine.auc.value == pytest.approx(theirs.auc.value)


def test_what_takes_embeddings_says_why_it_is_not_computed(alone):
    why = "it takes the embeddings, and only the predicted probabilities are known"
    for finding in alone.findings:
        shown = finding.evidence
        assert shown.encoding is shown.encoding_p_value is shown.alignment is shown.erasure is None
        lacking = {"encoding", "alignment", "erasure", "held_out", "distributions"}
        assert {name for name, reason in shown.not_computed.items() if reason == why} == lacking
        assert shown.subgroups is not None
    assert (alone.label, alone.weight_space, alone.joint, alone.maps) == (None, None, None, None)
    assert alone.embedding_map.points == ()


def test_nothing_is_said_of_what_the_model_sees(alone):
    found = {finding.attribute: (finding.verdict, finding.reason) for finding in alone.findings}
    assert found["visible"][0] == "not used"
    assert found["visible"][1].startswith("Whether the model sees it is not known, but answers differ by less than the")
    assert not {"encoded, not used", "not encoded"} & {verdict for verdict, _ in found.values()}


def test_the_record_the_table_and_the_figures_do_without(alone, tmp_path):
    alone.to_json(tmp_path / "audit.json")
    read = Audit.from_json(tmp_path / "audit.json")
    assert replace(read, answers=None) == replace(alone, answers=None)
    assert "own_auroc" not in findings_table(alone)
    assert [name for name, _ in figures(alone)] == ["overview", *(f"evidence_{place}" for place in range(2))]


def test_images_without_an_answer_are_counted(known, answers):
    gaps = answers.copy()
    gaps[[2, 5]] = np.nan
    found = audit(**{**known, **NONE}, predicted=gaps)
    assert found.excluded == {"2": "answer not known", "5": "answer not known"}
    assert sum(found.labels.values()) == len(answers) - 2


def test_the_order_of_the_rows_moves_nothing(known, answers, alone):
    order = np.random.default_rng(1).permutation(len(answers))
    turned = {
        "labels": known["labels"][order],
        "patients": np.array(known["patients"])[order].tolist(),
        "attributes": {name: np.array(values, dtype=object)[order] for name, values in known["attributes"].items()},
        "image_ids": [str(row) for row in order],
    }
    found = audit(**{**known, **NONE, **turned}, predicted=answers[order])
    assert [one.evidence.differences for one in found.findings] == [one.evidence.differences for one in alone.findings]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"embeddings": np.ones((180, 2))}, "predicted must go without embeddings, weight and bias"),
        ({"predicted": None}, "embeddings, weight and bias must be given, or predicted in their place, got neither"),
        (
            {"predicted": np.full((180, 2), 0.5)},
            r"predicted must have shape \(N, 3\) to match label_names, got \(180, 2\)",
        ),
        ({"predicted": np.full((180, 3), np.nan)}, "at least one answer must be known, got none"),
        ({"predicted": np.full((180, 3), 0.5)}, "rows of probabilities must sum to 1"),
    ],
)
def test_what_is_no_answer_is_refused(changed, message, known, answers):
    with pytest.raises(ValueError, match=message):
        audit(**{**known, **NONE, "predicted": answers, **changed})


def test_a_preview_counts_what_the_audit_would_rest_on(known, answers):
    by_embeddings = preview(**known)
    found = preview(**{**known, **NONE}, predicted=answers)
    assert (found.images, found.patients) == (180, 60)
    assert found.noticed == by_embeddings.noticed
    rows = {tuple(row[:3]): tuple(row[3:]) for row in found.cells.itertuples(index=False)}
    labels, levels = known["labels"], np.array(known["attributes"]["used"])
    inside = (labels == 1) & (levels == "used 0")
    assert rows["used", "class 1", "used 0"] == (inside.sum(), len(set(np.array(known["patients"])[inside])))
    assert len(rows) == 2 * 3 * 2
    assert found.seconds < by_embeddings.seconds
    assert str(found).startswith("180 images of 60 patients\n")


def test_a_preview_says_what_cannot_be_analysed(known):
    found = preview(**{**known, "attributes": {"empty": [None] * 180}})
    assert found.noticed["empty"].startswith("cannot be analysed: ")
    assert "empty: cannot be analysed: " in str(found)


def test_the_expected_time_grows_with_the_numbers():
    assert expected_seconds(20_000, 1024, 999) - expected_seconds(10_000, 1024, 999) == pytest.approx(9.38, abs=0.01)
    assert expected_seconds(1000, 0, 999) < expected_seconds(1000, 64, 999) < expected_seconds(1000, 512, 999) < 3
