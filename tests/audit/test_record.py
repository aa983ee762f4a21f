# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from audit_cases import ALIGNED, QUICK, measured, simulated

from monai_shortcut.analyses.differences import Difference, Differences
from monai_shortcut.analyses.distributions import Distributions, LevelPair
from monai_shortcut.analyses.embedding_maps import EmbeddingMaps, StrategyMap
from monai_shortcut.analyses.embedding_moves import Cosine, EmbeddingMoves
from monai_shortcut.analyses.erasure import ClassChange, ErasureEffect
from monai_shortcut.analyses.held_out_levels import HeldOutLevel
from monai_shortcut.analyses.joint_alignment import JointAlignment
from monai_shortcut.analyses.latent_counterfactual import LatentCounterfactual
from monai_shortcut.analyses.outcome_errors import OutcomeErrors
from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.analyses.subgroups import LevelScore, SubgroupGaps
from monai_shortcut.attribution.record import (
    Attribution,
    Checks,
    Explained,
    LabelShares,
    LevelDifference,
    LevelShare,
    Panel,
    PartShare,
    Plane,
)
from monai_shortcut.audit import Audit, AuditSettings, Finding, audit
from monai_shortcut.audit.answers import Answers
from monai_shortcut.audit.record import (
    INCONCLUSIVE,
    USED,
    VERDICTS,
    ClinicalLabel,
    Company,
    Counterfactual,
    Discovered,
    EmbeddingMap,
    Evidence,
    Example,
    Giveaway,
    GivenOther,
    Identity,
    Regression,
)
from monai_shortcut.reader_study import ReaderStudy, StrategyReading
from monai_shortcut.statistics.task_space import TaskMatrix
from monai_shortcut.statistics.weight_space import Sweep
from monai_shortcut.storage.privacy import Privacy
from monai_shortcut.types import Estimate, Tested

ALL = Privacy(ids=True, paths=True, pixels=True)


def evidence() -> Evidence:
    """With every field filled by other numbers."""
    lacking = LevelScore(1, 0, 9, 4, None, 0.25, 0.5, -0.25, None)
    scored = LevelScore(1, 1, 30, 20, Estimate(0.75, 0.5, 0.875), 0.5, 0.4, 0.1, (0.05, 0.15))
    erased = ErasureEffect(
        change=Estimate(0.2, 0.1, 0.3),
        test=Tested(0.2, (0.01, 0.02)),
        gap=(0.3, 0.01),
        auc=(ClassChange(1, 0.9, 0.8, Estimate(0.1, 0.05, 0.15), 0.001),),
        encoded=(0.95, 0.55),
    )
    head = HeldOutLevel(
        label=1,
        level=0,
        images=9,
        patients=4,
        auc_seen=0.9,
        auc_unseen=0.8,
        difference=Estimate(0.1, -0.1, 0.3),
        p_value=0.25,
        inflation=1.5,
        null=(0.05, -0.05),
    )
    aligned = replace(
        ALIGNED,
        raw=((0.5, -0.5),),
        balanced=((0.25, 0.75),),
        multi_task=((0.1, 0.2, 0.7),),
        logits=((0.3, 0.6),),
        sweep=Sweep((1, 2), (((0.1, -0.1),), ((0.2, -0.2),))),
    )
    apart = LevelPair(1, 0, 1, (20, 30), (15, 17), 0.25, 0.5, (0.125,), (0.75,))
    row = Difference(1, 0, 1, "rank", Estimate(0.25, 0.125, 1 / 3), 0.0625, 0.375, 0.5, 17, 0.02)
    return replace(
        measured(0.01, 0.9, 0.02, 0.3, 0.4, aligned),
        encoding_q_value=0.015,
        gap_q_value=0.025,
        latent=LatentCounterfactual(0.35, Tested(0.36, (0.03, 0.04))),
        erasure=erased,
        subgroups=SubgroupGaps((lacking, scored), None, None, 0.35, Tested(3.5, (0.5, 1.5))),
        held_out=(head,),
        given=(GivenOther("âge", 0.45, Estimate(0.28, -1.0, 1.0), 0.03, 0.04),),
        not_computed={"erasure": "erasure takes at least 3 folds, got 2"},
        differences=Differences((row,), Tested(3.5, (1.5,)), Tested(1.0, (2.0,)), (1, 0, 1), 2.5, ((3, 4),), ("age",)),
        differences_p_value=0.03,
        spread_p_value=0.75,
        equal=(replace(row, scale="decision"),),
        slices=(replace(row, within=("âge", 2)),),
        company=Company({"âge": 0.45}, (replace(row, scale="odds", outcome=1),), ("âge",), True),
        distributions=Distributions(Tested(0.5, (0.25,)), Tested(2.0, (1.5,)), (apart,), (0.75, 0.125), 55),
        errors=(errors(0), errors(1)),
    )


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
        evidence=evidence(),
        counterfactual=Counterfactual(55, Estimate(0.25, 0.125, 1 / 3)),
        giveaways=(Giveaway("y", "A", 2.25),),
        kind="ordinal",
        shared_with=("âge",),
    )
    unknown = Finding("âge", INCONCLUSIVE, "All missing.", {}, (1.5, 2.5), 55, {}, 0, None, None)
    moved = Cosine("roi_only", "plane", 50, 15, 3, Estimate(0.5, 0.25, 0.75), 0.1, Estimate(0.0, -0.1, 0.1), 0.2)
    placed = StrategyMap("pca", "75 % and 12 %", {"full": ((0.5, -1.0),), "roi_only": (None,)})
    scores = (
        RegionScore("plane", "full", 55, Estimate(0.9, 0.8, 0.95), 1e-300, 0.0, 1.0),
        RegionScore("plane", "without_roi", 50, Estimate(0.1 + 0.2, 0.0, 0.6), 0.25, 0.6, 5e-324),
    )
    return Audit(
        title="A <title>",
        label_names=("other", "plane"),
        labels={"other": 25, "plane": 30},
        patients=20,
        excluded={"x": "embedding not finite"},
        settings=AuditSettings(
            privacy=ALL,
            permutations=9,
            tolerance=0.125,
            edges={"âge": (1.5, 2.5)},
            tolerances={"plane": {"rank": 0.25}},
            adjust_for=("âge",),
            embedding_maps=("pca", "umap"),
        ),
        regions=RegionSensitivity("full", scores, {"other": "too few"}),
        findings=(used, unknown),
        embedding_map=EmbeddingMap(((0.5, -1.0), (1e-17, 3.0)), (0.75, 0.125), ("other", "plane"), {"âge": ("", "")}),
        without_roi={"y": "empty"},
        unseen=("z",),
        examples=(Example("y", "plane", {"full": "iVBORw0KGgo="}),),
        software={"monai": "1.6.1"},
        label=ClinicalLabel({"f1": Estimate(0.5, 0.4, 0.6)}, Estimate(0.7, 0.6, 0.8), {"f1": 0.1}, ((0.9, -0.9),)),
        weight_space=TaskMatrix(("label", "scanner (probe)"), ((1.0, 0.5), (0.5, 1.0))),
        joint=JointAlignment(("scanner",), (0.7, 0.1), Tested(0.7, (0.2, 0.8)), 0.4),
        moves=EmbeddingMoves((moved,), 50, 55, {"roi_only, âge": "too few"}),
        maps=EmbeddingMaps(("plane",), {"âge": ("",)}, 55, (placed,), {"umap": "not installed"}),
        linked=(("y", "w"),),
        readers=ReaderStudy("Read", "5f", "Is it?", ("a", "b"), ("R1",), 5, (StrategyReading("full", 4, 2, 4, ()),)),
        attribution=looked(),
        answers=Answers(("y",), "AACAPwAAAAA=", "AQAAAA==", "AAAAAA==", {"âge": "AAAAAA=="}, {"âge": "AAAAAA=="}),
        notes=("Its head was fitted.",),
        weights={"0123abcd": "model.pt"},
        sources={"table": "4567cdef"},
        discovered=Discovered(None, "Not computed: too few."),
        regression=Regression("âge", "years", 12.5, (40.0,), errors()),
        identity=Identity("SonoNet", "class_layers.out", "table.csv", "2026-11-26", True),
    )


def errors(level: int | None = None) -> OutcomeErrors:
    """With every field filled, but for the level."""
    half = Estimate(0.5, 0.25, 0.75)
    return OutcomeErrors(9, 4, Estimate(-0.5, -1.0, 0.0), half, half, half, level)


def looked() -> Attribution:
    """With every field filled."""
    half = Estimate(0.5, 0.25, 0.75)
    label = LabelShares("plane", 9, 4, (PartShare("roi", half, Estimate(0.1, 0.0, 0.2), Estimate(-1.5, -2.0, 1.0)),))
    differing = LevelDifference("âge", (LevelShare("plane", "low", 9, 4, half),), Tested(0.5, (0.25,)), 0.75)
    checks = Checks(5, 0.125, 0.25, 0.75, (1.0, 0.0), (0.0, 1.0), half, {"curves": "blur"}, ("it survives",))
    method = Explained("gradient_shap", "background", 9, 0.125, (label,), (differing,), {"site": "too few"}, checks)
    plane = Plane.of([[0.0, 1.0]], 0.0, 1.0)
    panel = Panel("y", "plane", "highest", 0.5, plane, plane, {method.name: plane}, {method.name: (0.25, 0.25, 0.5)})
    return Attribution(9, 4, "2 pixels", (method,), {"deep_lift_shap": "TorchScript"}, {"z": "empty"}, (panel,))


def test_no_field_of_the_record_is_left_at_its_default(record):
    """So that the round trip below is one of all that there is."""
    empty = Audit("", (), {}, 0, {}, AuditSettings(), record.regions, (), record.embedding_map)
    assert [field.name for field in fields(Audit) if getattr(record, field.name) == getattr(empty, field.name)] == [
        "regions",
        "embedding_map",
        "version",
    ]
    plain = Evidence(evidence().encoding, 0.5, evidence().gap, 0.5)
    same = [field.name for field in fields(Evidence) if getattr(evidence(), field.name) == getattr(plain, field.name)]
    assert same == ["encoding", "gap"]


def test_a_record_survives_its_json_without_loss(record, tmp_path):
    path = tmp_path / "audit.json"
    record.to_json(path)
    again = Audit.from_json(str(path))
    assert again == record
    assert again.findings[0].evidence.gap.means[1][0] == (None, None)
    again.to_json(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()
    assert json.loads(path.read_text(encoding="utf-8"))["version"] == 5


def test_an_audit_survives_its_json_without_loss(tmp_path):
    whole = audit(**simulated() | {"settings": replace(QUICK, permutations=9, edges={"visible": ()}, privacy=ALL)})
    whole.to_json(tmp_path / "audit.json")
    assert Audit.from_json(tmp_path / "audit.json") == whole


def test_a_number_that_json_cannot_hold_is_refused_and_nothing_is_written(record, tmp_path):
    scores = (replace(record.regions.scores[0], auc=Estimate(float("nan"), 0.0, 1.0)),)
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
        (lambda c: broken(c, "findings", remove=True), "must hold the JSON of an audit, got other JSON"),
        (lambda c: broken(c, "version", value=6), "must have format version 5 or older, got 6: update monai_shortcut"),
        (
            lambda c: broken(c, "title", remove=True),
            r"audit must hold the fields of Audit: absent \['title'\], unknown \[\]",
        ),
        (lambda c: broken(c, "extra", value=1), r"fields of Audit: absent \[\], unknown \['extra'\]"),
        (
            lambda c: broken(c, "findings", 0, "evidence", "gap", "effect", remove=True),
            r"audit.findings\[0\].evidence.gap must hold the fields of PredictionGap: absent \['effect'\]",
        ),
        (
            lambda c: broken(c, "findings", 0, "evidence", "gap", "test", "p_value", value=0.5),
            r"evidence.gap.test must hold the fields of Tested: absent \[\], unknown \['p_value'\]",
        ),
        (lambda c: broken(c, "settings", "level", value=0.9), r"fields of AuditSettings: .*unknown \['level'\]"),
        (lambda c: broken(c, "patients", value="20"), "audit.patients must be int, got str"),
        (lambda c: broken(c, "patients", value=True), "audit.patients must be int, got bool"),
        (
            lambda c: broken(c, "regions", "scores", 1, "auc", "low", value=None),
            r"audit.regions.scores\[1\].auc.low must be int or float, got NoneType",
        ),
        (
            lambda c: broken(c, "findings", 0, "evidence", "erasure", "gap", value=[0.1]),
            r"audit.findings\[0\].evidence.erasure.gap must hold 2 values, got 1",
        ),
        (lambda c: broken(c, "findings", value={}), "audit.findings must be list, got dict"),
        (lambda c: broken(c, "labels", "plane", value=0.5), "audit.labels.plane must be int, got float"),
        (
            lambda c: broken(c, "findings", 0, "verdict", value="fine"),
            r"audit.findings\[0\] must hold a Finding: verdict must be one of used, .*, got 'fine'",
        ),
        (lambda c: broken(c, "findings", 0, "kind", value="odd"), "kind must be one of categorical, .*, got 'odd'"),
        (
            lambda c: broken(c, "findings", 0, "evidence", "gap_p_value", value=1.5),
            r"audit.findings\[0\].evidence.gap_p_value must be between 0 and 1, got 1.5",
        ),
        (
            lambda c: broken(c, "findings", 0, "evidence", "gap_p_value", value=float("nan")),
            "got text that is not JSON: numbers must be finite, got NaN",
        ),
        (lambda c: broken(c, "settings", "readable", value=5), "must hold a AuditSettings: readable must be between"),
        (lambda c: broken(c, "version", value=2) | {"findings": [1]}, "must hold what its version 2 holds"),
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
    assert {finding.verdict for finding in record.findings} < set(VERDICTS)
    assert record.finding("âge") is record.findings[1]
    assert record.finding("scanner") is record.findings[0]
    with pytest.raises(ValueError, match=r"attribute must be one of \['scanner', 'âge'\], got 'sex'"):
        record.finding("sex")
