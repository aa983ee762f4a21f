# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import pytest

from monai_shortcut.analyses.encoding import Encoding
from monai_shortcut.analyses.prediction_gap import PredictionGap
from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    NOT_ENCODED,
    NOT_USED,
    USED,
    VERDICTS,
    Alignment,
    Audit,
    AuditSettings,
    Counterfactual,
    EmbeddingMap,
    Evidence,
    Example,
    Finding,
    GivenOther,
    judge,
    summary,
)
from monai_shortcut.report.pages import write_report

SETTINGS = AuditSettings()  # significance 0.05, tolerance 0.1, readable 0.6
ALIGNED = Alignment(((0.99, -0.99),), (0.1, 0.2), 0.001, ((1.0, -1.0),), (0.1, 0.3), 25.0, 0.001)
NOT_ALIGNED = Alignment(((0.0, 0.0),), (0.1, 0.2), 1.0, ((0.0, 0.0),), (0.1, 0.3), -2.0, 1.0)


def measured(encoding_p, high, gap_p, effect, gap_high, alignment=NOT_ALIGNED) -> Evidence:
    area = (high - 0.08, high - 0.16, high)
    encoding = Encoding({"accuracy": (0.5, 0.4, 0.625)}, area, area, encoding_p, (0.5, 0.25))
    means = (((0.25, 0.75), (0.5, 0.5)), ((None, None), (1.0, 0.0)))
    gap = PredictionGap(effect, (-0.05, gap_high), gap_p, 0.2, (0.1, 0.2, 0.3), means)
    return Evidence(encoding, encoding_p, alignment, gap, gap_p)


@pytest.mark.parametrize("alignment", [ALIGNED, NOT_ALIGNED])
@pytest.mark.parametrize(
    ("encoding_p", "high", "gap_p", "effect", "gap_high", "verdict"),
    [
        # encoded, at the very boundary; then what the predictions say
        (0.05, 0.8, 0.05, 0.1, 0.2, USED),
        (0.05, 0.55, 0.05, 0.1, 0.2, USED),
        (0.05, 0.8, 0.0501, 0.1, 0.2, INCONCLUSIVE),  # large, but perhaps chance
        (0.05, 0.8, 0.0501, 0.3, 0.4, INCONCLUSIVE),
        (0.05, 0.8, 0.001, 0.0999, 0.2, INCONCLUSIVE),  # not chance, but perhaps small
        (0.05, 0.8, 0.001, 0.0999, 0.1, INCONCLUSIVE),
        (0.05, 0.8, 0.001, 0.0999, 0.0999, NOT_USED),  # not chance, but small
        (0.05, 0.8, 0.6, 0.0, 0.0999, NOT_USED),
        (0.05, 0.8, 0.6, 0.0, 0.1, INCONCLUSIVE),
        # not encoded: never used
        (0.0501, 0.8, 0.001, 0.5, 0.6, INCONCLUSIVE),
        (0.0501, 0.5999, 0.001, 0.5, 0.6, INCONCLUSIVE),
        (0.0501, 0.5999, 0.05, 0.1, 0.1, INCONCLUSIVE),
        (0.0501, 0.5999, 0.0501, 0.5, 0.6, NOT_ENCODED),
        (0.0501, 0.5999, 0.001, 0.05, 0.0999, NOT_ENCODED),
        (0.0501, 0.5999, 0.6, 0.0, 0.05, NOT_ENCODED),
        (0.0501, 0.6, 0.6, 0.0, 0.05, INCONCLUSIVE),  # perhaps readable
        (0.0501, 0.6, 0.001, 0.05, 0.0999, INCONCLUSIVE),
    ],
)
def test_the_verdict_follows_from_the_probe_and_the_predictions(
    encoding_p, high, gap_p, effect, gap_high, verdict, alignment
):
    found, reason = judge(measured(encoding_p, high, gap_p, effect, gap_high, alignment), SETTINGS)
    assert found == verdict
    assert f"{high - 0.08:.2f} ({high - 0.16:.2f} to {high:.2f})" in reason
    if verdict in (USED, NOT_USED) or "needed" in reason:
        assert f"{effect:.2f} (-0.05 to {gap_high:.2f})" in reason


def test_a_high_alignment_with_an_unreadable_attribute_is_never_used():
    numbers = product((0.051, 0.5, 1.0), (0.5, 0.65, 0.99), (0.0001, 0.05, 0.9), (-0.1, 0.1, 0.9), (0.05, 0.1, 1.0))
    verdicts = {judge(measured(*row, ALIGNED), SETTINGS)[0] for row in numbers}
    assert verdicts == {NOT_ENCODED, INCONCLUSIVE}
    assert judge(measured(0.05, 0.65, 0.0001, 0.9, 1.0, ALIGNED), SETTINGS)[0] == USED  # readable: the same is used


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [({}, USED), ({"significance": 0.005}, NOT_ENCODED), ({"tolerance": 0.5}, NOT_USED), ({"readable": 0.5}, USED)],
)
def test_the_settings_move_the_boundaries(changed, verdict):
    settings = replace(SETTINGS, **changed)
    assert judge(measured(0.01, 0.58, 0.01, 0.3, 0.4), settings)[0] == verdict


@pytest.fixture
def record() -> Audit:
    """A record with every kind of field filled."""
    used = Finding(
        attribute="scanner",
        verdict=USED,
        reason="The embedding encodes it.",
        levels={"A": 20, "B": 30},
        edges=(),
        missing=2,
        left_out={"C": 3},
        patients=17,
        evidence=measured(0.01, 0.9, 0.02, 0.3, 0.4, ALIGNED),
        counterfactual=Counterfactual(55, 0.25, (0.125, 1 / 3)),
    )
    unknown = Finding("âge", INCONCLUSIVE, "All missing.", {}, (1.5, 2.5), 55, {}, 0, None, None)
    scores = (
        RegionScore("plane", "full", 55, 0.9, (0.8, 0.95), 1e-300, 0.0, 1.0),
        RegionScore("plane", "without_roi", 50, 0.1 + 0.2, (0.0, 0.6), 0.25, 0.6, 5e-324),
    )
    return Audit(
        title="A <title>",
        label_names=("other", "plane"),
        labels={"other": 25, "plane": 30},
        patients=20,
        excluded={"x": "embedding not finite"},
        settings=replace(SETTINGS, permutations=9, tolerance=0.125),
        regions=RegionSensitivity("full", scores, {"other": "too few"}),
        findings=(used, unknown),
        embedding_map=EmbeddingMap(((0.5, -1.0), (1e-17, 3.0)), (0.75, 0.125), ("other", "plane"), {"âge": ("", "")}),
        without_roi={"y": "empty"},
        examples=(Example("y", "plane", {"full": "iVBORw0KGgo="}),),
        software={"monai": "1.6.1"},
    )


def test_a_record_survives_its_json_without_loss(record, tmp_path):
    path = tmp_path / "audit.json"
    record.to_json(path)
    again = Audit.from_json(str(path))
    assert again == record
    assert again.findings[0].evidence.gap.means[1][0] == (None, None)
    again.to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 3


def test_a_number_that_json_cannot_hold_is_refused_and_nothing_is_written(record, tmp_path):
    scores = (replace(record.regions.scores[0], auc=float("nan")),)
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(record, regions=replace(record.regions, scores=scores)).to_json(tmp_path / "audit.json")
    assert list(tmp_path.iterdir()) == []


def broken(content: dict, *path: str | int, value: object = None, remove: bool = False) -> dict:
    *above, last = path
    place = content
    for step in above:
        place = place[step]
    if remove:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [c], "must hold the JSON of an audit, got other JSON"),
        (lambda c: broken(c, "version", remove=True), "must hold the JSON of an audit, got other JSON"),
        (lambda c: broken(c, "version", value="1"), "must hold the JSON of an audit, got other JSON"),
        (lambda c: broken(c, "version", value=4), "must have format version 3 or older, got 4: update monai_shortcut"),
        (
            lambda c: broken(c, "title", remove=True),
            r"audit must hold the fields of Audit: absent \['title'\], unknown \[\]",
        ),
        (lambda c: broken(c, "extra", value=1), r"fields of Audit: absent \[\], unknown \['extra'\]"),
        (
            lambda c: broken(c, "findings", 0, "evidence", "gap", "effect", remove=True),
            r"audit.findings\[0\].evidence.gap must hold the fields of PredictionGap: absent \['effect'\]",
        ),
        (lambda c: broken(c, "patients", value="20"), "audit.patients must be int, got str"),
        (lambda c: broken(c, "patients", value=True), "audit.patients must be int, got bool"),
        (
            lambda c: broken(c, "regions", "scores", 1, "auc", value=None),
            r"audit.regions.scores\[1\].auc must be int or float, got NoneType",
        ),
        (
            lambda c: broken(c, "regions", "scores", 1, "interval", value=[0.1]),
            r"audit.regions.scores\[1\].interval must hold 2 values, got 1",
        ),
        (lambda c: broken(c, "findings", value={}), "audit.findings must be list, got dict"),
        (lambda c: broken(c, "labels", "plane", value=0.5), "audit.labels.plane must be int, got float"),
    ],
)
def test_json_that_is_not_an_audit_is_refused(record, tmp_path, change, message):
    path = tmp_path / "audit.json"
    record.to_json(path)
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        Audit.from_json(path)


@pytest.mark.parametrize("content", [b"", b'{"version": 1', b"<html>", b"\xff\xfe\x00"])
def test_text_that_is_not_json_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "audit.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"audit\.json must hold the JSON of an audit, got text that is not JSON"):
        Audit.from_json(path)


def test_a_finding_is_found_by_its_attribute(record):
    assert record.finding("âge") is record.findings[1]
    assert record.finding("scanner") is record.findings[0]
    with pytest.raises(ValueError, match=r"attribute must be one of \['scanner', 'âge'\], got 'sex'"):
        record.finding("sex")


def test_the_summary_is_a_table_of_the_findings(record):
    assert {finding.verdict for finding in record.findings} < set(VERDICTS)
    assert summary(record.findings).splitlines() == [
        "attribute  verdict       AUROC in label       p      prediction gap        p      when swapped",
        "-" * 101,
        "scanner    used          0.82 (0.74 to 0.90)  0.010  0.30 (-0.05 to 0.40)  0.020  0.25 (0.12 to 0.33)",
        "âge        inconclusive  -                    -      -                     -      -",
    ]
    assert summary([]).splitlines()[0].startswith("attribute  verdict  AUROC in label  p")


@pytest.mark.parametrize(
    ("interval", "p_value", "other_p_value", "verdict", "said"),
    [
        ((-0.05, 0.06), 0.4, 0.01, NOT_USED, "not among images that agree in device, which it goes along with"),
        ((-0.05, 0.1), 0.4, 0.05, INCONCLUSIVE, "whether it is this or device"),
        ((0.2, 0.4), 0.01, 0.01, USED, "the output depends on it"),  # both are
        ((-1.0, 1.0), 1.0, 1.0, USED, "cannot be told apart from device"),
        ((-0.05, 0.06), 0.4, 0.3, USED, "cannot be told apart from device"),  # the other's gap vanishes too
        ((0.2, 0.4), 0.01, 0.3, USED, "the output depends on it"),
    ],
)
def test_an_attribute_that_goes_along_with_another_must_keep_its_gap_without_it(
    interval, p_value, other_p_value, verdict, said
):
    evidence = measured(0.01, 0.9, 0.01, 0.3, 0.4)
    given = GivenOther("device", 0.8, sum(interval) / 2, interval, p_value, other_p_value)
    found, reason = judge(replace(evidence, given=(given,)), SETTINGS)
    assert found == verdict
    assert said in reason
    assert judge(measured(0.01, 0.9, 0.6, 0.0, 0.05), SETTINGS)[0] == NOT_USED


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match=r"correction must be one of holm, fdr, got 'bonferroni'\."):
        AuditSettings(correction="bonferroni")
    assert AuditSettings(edges={"age": [40, 60]}).edges == {"age": (40.0, 60.0)}


def test_a_record_of_format_version_1_is_read(record, tmp_path):
    record = replace(record, examples=())  # its picture is none that can be drawn
    record.to_json(tmp_path / "new.json")
    content = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))
    for name in ("label", "weight_space", "joint"):
        del content[name]
    for name in ("repeats", "erasures", "held_out", "correction", "edges", "associated", "giveaways"):
        del content["settings"][name]
    for finding in content["findings"]:
        del finding["giveaways"]
        if finding["evidence"]:
            for name in ("encoding_q_value", "gap_q_value", "latent", "erasure", "subgroups", "held_out", "given"):
                del finding["evidence"][name]
            for name in ("raw", "balanced", "multi_task", "logits", "sweep"):
                del finding["evidence"]["alignment"][name]
            del finding["evidence"]["gap"]["detectable"], finding["evidence"]["encoding"]["spread"]
    (tmp_path / "old.json").write_text(json.dumps(content | {"version": 1}), encoding="utf-8")
    assert replace(Audit.from_json(tmp_path / "old.json"), version=3) == record
    assert write_report(tmp_path / "old.json", tmp_path / "report").exists()


def test_records_before_version_3_only_count_the_rows_without_an_image(record, tmp_path):
    record.to_json(tmp_path / "audit.json")
    content = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    (tmp_path / "old.json").write_text(json.dumps(content | {"version": 2, "unseen": 2}), encoding="utf-8")
    assert Audit.from_json(tmp_path / "old.json").unseen == ("(not recorded)", "(not recorded)")
