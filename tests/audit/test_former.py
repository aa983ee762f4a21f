# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Records that the code of versions 1, 2 and 3 wrote, each read by its own names and compared with what arrives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monai_shortcut.audit import Audit
from monai_shortcut.audit.former import modern, modern_curves
from monai_shortcut.audit.training import Onset, TrainingCurves
from monai_shortcut.report import write_report, write_training_report
from monai_shortcut.storage import privacy
from monai_shortcut.storage.records import encode
from monai_shortcut.types import Estimate, Tested

RECORDS = Path(__file__).parent / "records"
VERSIONS = (1, 2, 3)


def written(version: int) -> dict[str, Any]:
    return json.loads((RECORDS / f"version_{version}.json").read_text(encoding="utf-8"))


def read(version: int) -> Audit:
    return Audit.from_json(RECORDS / f"version_{version}.json")


def same(number: Estimate, triple: list[float]) -> bool:
    return [number.value, number.low, number.high] == triple


def tells(test: Tested, observed: float, null: list[float], p_value: float) -> bool:
    return (test.observed, list(test.null), test.p_value) == (observed, null, pytest.approx(p_value))


def pairs(version: int) -> list[tuple[dict[str, Any], Any]]:
    """Evidence as it was written, and as it is read."""
    record = read(version)
    return [
        (finding["evidence"], record.finding(finding["attribute"]).evidence)
        for finding in written(version)["findings"]
        if finding["evidence"]
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_what_was_counted_and_said_arrives(version):
    before, now = written(version), read(version)
    assert before["version"] == version
    assert now.version == 5
    for name in ("title", "labels", "patients", "excluded", "without_roi", "software"):
        assert getattr(now, name) == before[name], name
    assert [finding.attribute for finding in now.findings] == [finding["attribute"] for finding in before["findings"]]
    for finding, old in zip(now.findings, before["findings"], strict=True):
        for name in ("verdict", "reason", "levels", "missing", "left_out", "patients"):
            assert getattr(finding, name) == old[name], name
        assert list(finding.edges) == old["edges"]
        assert finding.kind == ""
        assert [encode(image) for image in finding.giveaways] == old.get("giveaways", [])
    assert now.finding("empty").evidence is None
    swapped, old = now.finding("scanner").counterfactual, before["findings"][0]["counterfactual"]
    assert swapped.images == old["images"]
    assert same(swapped.change, [old["change"], *old["interval"]])
    assert encode(now.embedding_map) == before["embedding_map"]


@pytest.mark.parametrize("version", VERSIONS)
def test_settings_arrive_and_the_level_of_intervals_is_their_confidence(version):
    before, now = written(version)["settings"], encode(read(version).settings)
    assert now["confidence"] == before.pop("level") == 0.95
    assert {name: now[name] for name in before} == before


def test_the_rows_without_an_image_are_their_number_before_version_3():
    assert read(3).unseen == ("image 61", "image 62")
    for version in (1, 2):
        assert written(version)["unseen"] == 2
        assert read(version).unseen == ("(not recorded)", "(not recorded)")


@pytest.mark.parametrize("version", VERSIONS)
def test_areas_and_tests_of_the_encoding_arrive(version):
    for old, now in pairs(version):
        before, encoding = old["encoding"], now.encoding
        assert same(encoding.auroc, before["auroc"])
        assert same(encoding.own_auroc, before["own_auroc"])
        assert {name: [number.value, number.low, number.high] for name, number in encoding.metrics.items()} == before[
            "metrics"
        ]
        assert tells(encoding.test, before["own_auroc"][0], before["null"], before["p_value"])
        assert encoding.spread == before.get("spread", {})
        assert now.encoding_p_value == old["encoding_p_value"]
        assert now.encoding_q_value == old.get("encoding_q_value")


@pytest.mark.parametrize("version", VERSIONS)
def test_cosines_and_their_tests_arrive(version):
    for old, now in pairs(version):
        before, aligned = old["alignment"], now.alignment
        for name in ("wsc", "within", "raw", "balanced", "multi_task", "logits"):
            assert encode(getattr(aligned, name)) == before.get(name, []), name
        assert encode(aligned.sweep) == before.get("sweep")
        largest = {name: max(abs(value) for row in before[name] for value in row) for name in ("wsc", "within")}
        assert tells(aligned.wsc_test, largest["wsc"], before["wsc_null"], before["wsc_p_value"])
        assert tells(aligned.test, largest["within"], before["null"], before["p_value"])
        assert aligned.test.z == pytest.approx(before["z"])


@pytest.mark.parametrize("version", VERSIONS)
def test_the_gap_with_its_limits_and_test_arrives(version):
    for old, now in pairs(version):
        before = old["gap"]
        assert same(now.gap.effect, [before["effect"], *before["interval"]])
        assert tells(now.gap.test, before["raw"], before["null"], before["p_value"])
        assert encode(now.gap.means) == before["means"]
        assert now.gap.detectable == before.get("detectable")
        assert now.gap_p_value == old["gap_p_value"]
        assert now.gap_q_value == old.get("gap_q_value")


def test_what_version_1_did_not_measure_is_absent_and_not_called_failed():
    now = read(1)
    assert (now.label, now.weight_space, now.joint) == (None, None, None)
    for _, evidence in pairs(1):
        assert (evidence.latent, evidence.erasure, evidence.subgroups) == (None, None, None)
        assert evidence.held_out == evidence.given == ()
        assert evidence.not_computed == {}


@pytest.mark.parametrize("version", [2, 3])
def test_the_wider_evidence_arrives(version):
    for old, now in pairs(version):
        latent, erased = old["latent"], old["erasure"]
        assert now.latent.effect == latent["effect"]
        assert tells(now.latent.test, latent["raw"], latent["null"], latent["p_value"])
        assert same(now.erasure.change, erased["change"])
        assert tells(now.erasure.test, erased["change"][0], erased["random"], erased["p_value"])
        assert [list(now.erasure.gap), list(now.erasure.encoded)] == [erased["gap"], erased["encoded"]]
        for change, before in zip(now.erasure.auc, erased["auc"], strict=True):
            assert same(change.difference, [before.pop("difference"), *before.pop("interval")])
            assert {name: getattr(change, name) for name in before} == before
        assert now.erasure.auc
        for head, before in zip(now.held_out, old["held_out"], strict=True):
            assert same(head.difference, [before.pop("difference"), *before.pop("interval")])
            assert list(head.null) == before.pop("null")
            assert {name: getattr(head, name) for name in before} == before


@pytest.mark.parametrize("version", [2, 3])
def test_scores_of_levels_and_their_tests_arrive(version):
    for old, now in pairs(version):
        before, found = old["subgroups"], now.subgroups
        assert (found.auc_gap, found.calibration_gap) == (before["auc_gap"], before["calibration_gap"])
        for name, test in (("auc", found.auc_test), ("calibration", found.calibration_test)):
            if before[f"{name}_gap"] is None:
                assert test is None
            else:
                assert tells(test, before[f"{name}_statistic"], before[f"{name}_null"], before[f"{name}_gap_p"])
        for score, one in zip(found.scores, before["scores"], strict=True):
            area, limits = one.pop("auc"), one.pop("interval")
            assert (score.auc is None) == (area is None)
            if score.auc is not None:
                assert same(score.auc, [area, *limits])
            assert encode(score.calibration_limits) == one.pop("calibration_interval")
            assert {name: getattr(score, name) for name in one} == one


def test_a_level_without_an_area_and_gaps_without_a_test_are_read():
    content = written(3)
    before = content["findings"][0]["evidence"]["subgroups"]
    before["scores"][0] |= {"auc": None, "interval": None, "calibration_interval": None}
    for name in ("auc", "calibration"):
        before |= {f"{name}_gap": None, f"{name}_gap_p": None, f"{name}_statistic": None, f"{name}_null": []}
    found = modern(content)["findings"][0]["evidence"]["subgroups"]
    assert (found["auc_gap"], found["auc_test"]) == (None, None)
    assert (found["calibration_gap"], found["calibration_test"]) == (None, None)
    assert (found["scores"][0]["auc"], found["scores"][0]["calibration_limits"]) == (None, None)


@pytest.mark.parametrize("version", [2, 3])
def test_gaps_at_equal_levels_of_others_arrive(version):
    count = 0
    for old, now in pairs(version):
        for given, before in zip(now.given, old["given"], strict=True):
            assert same(given.effect, [before.pop("effect"), *before.pop("interval")])
            assert {name: getattr(given, name) for name in before} == before
            count += 1
    assert count >= 2


@pytest.mark.parametrize("version", [2, 3])
def test_the_label_the_joint_alignment_and_the_matrix_arrive(version):
    before, now = written(version), read(version)
    assert same(now.label.auroc, before["label"]["auroc"])
    assert {name: [number.value, number.low, number.high] for name, number in now.label.metrics.items()} == before[
        "label"
    ]["metrics"]
    assert now.label.spread == before["label"]["spread"]
    assert encode(now.label.wsc) == before["label"]["wsc"]
    joint = before["joint"]
    assert tells(now.joint.test, joint["correlations"][0], joint["null"], joint["p_value"])
    assert (list(now.joint.attributes), list(now.joint.correlations)) == (joint["attributes"], joint["correlations"])
    assert now.joint.share == joint["share"]
    assert encode(now.weight_space) == before["weight_space"]


@pytest.mark.parametrize("version", VERSIONS)
def test_areas_of_masking_strategies_arrive(version):
    before, now = written(version)["regions"], read(version).regions
    assert (now.trained_on, now.untested) == (before["trained_on"], before["untested"])
    assert {score.evaluated_on for score in now.scores} == {"full", "without_roi"}
    for score, old in zip(now.scores, before["scores"], strict=True):
        assert same(score.auc, [old.pop("auc"), *old.pop("interval")])
        assert {name: getattr(score, name) for name in old} == old


@pytest.mark.parametrize("version", VERSIONS)
def test_a_report_is_written_from_a_former_record_and_the_new_one_beside_it(version, tmp_path):
    page = write_report(RECORDS / f"version_{version}.json", tmp_path).read_text(encoding="utf-8")
    for finding in written(version)["findings"]:
        assert finding["reason"] in page
    assert Audit.from_json(tmp_path / "audit.json") == privacy.written(read(version))


def test_a_record_of_the_newest_version_stays_as_it_is():
    content = encode(read(3))
    assert modern(content) is content


def curves_of_version(version: int) -> dict[str, Any]:
    """Curves as version 1 wrote them, or as version 2 did, whose numbers have limits by name."""
    content = json.loads((RECORDS / "training_curves_version_1.json").read_text(encoding="utf-8"))
    if version == 1:
        return content

    def limits(triple: list[float]) -> dict[str, float]:
        return {"value": triple[0], "low": triple[1], "high": triple[2]}

    for epoch in content["epochs"]:
        epoch["auroc"] = limits(epoch["auroc"])
        for point in epoch["points"].values():
            point |= {name: limits(point[name]) for name in ("own_auroc", "gap")}
    content["settings"]["confidence"] = content["settings"].pop("level")
    return {**content, "version": 2}


@pytest.mark.parametrize("version", [1, 2])
def test_training_curves_of_former_versions_arrive_and_make_a_page(version, tmp_path):
    path = tmp_path / "former.json"
    path.write_text(json.dumps(curves_of_version(version)), encoding="utf-8")
    before, now = curves_of_version(1), TrainingCurves.from_json(path)
    assert now.version == 3
    for name in ("title", "interval"):
        assert getattr(now, name) == before[name]
    assert [list(now.label_names), list(now.attributes)] == [before["label_names"], before["attributes"]]
    assert now.settings.confidence == before["settings"]["level"]
    for epoch, old in zip(now.epochs, before["epochs"], strict=True):
        assert same(epoch.auroc, old["auroc"])
        assert (epoch.epoch, epoch.images, epoch.patients) == (old["epoch"], old["images"], old["patients"])
        assert (epoch.problems, encode(epoch.cost)) == (old["problems"], old["cost"])
        assert set(epoch.points) == set(old["points"]) == {"scanner", "age"}
        for name, point in old["points"].items():
            assert same(epoch.points[name].own_auroc, point.pop("own_auroc"))
            assert same(epoch.points[name].gap, point.pop("gap"))
            assert epoch.points[name].p_value == point.pop("gap_p_value")
            assert {field: getattr(epoch.points[name], field) for field in point} == point
            assert (epoch.points[name].difference, epoch.points[name].noticed) == (None, {})
    assert now.onset("scanner") == Onset(3, 1, 1)
    page = write_training_report(path, tmp_path).read_text(encoding="utf-8")
    assert now.answer("scanner") in page
    assert TrainingCurves.from_json(tmp_path / "training_curves.json") == now
    assert modern_curves(encode(now)) == encode(now)


@pytest.mark.parametrize(
    ("gap", "p_value", "used", "cleared"),
    [
        ([0.1, 0.08, 0.12], 0.05, True, False),
        ([0.0999, 0.08, 0.12], 0.05, False, False),
        ([0.1, 0.08, 0.12], 0.0501, False, False),
        ([0.05, 0.03, 0.0999], 0.01, False, True),
        ([0.05, 0.03, 0.1], 0.01, False, False),
    ],
)
def test_former_curves_are_judged_by_the_size_and_significance_of_their_gap(gap, p_value, used, cleared, tmp_path):
    content = curves_of_version(1)
    content["settings"] |= {"significance": 0.05, "tolerance": 0.1}
    content["epochs"][-1]["points"]["scanner"] |= {"gap": gap, "gap_p_value": p_value}
    path = tmp_path / "former.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    now = TrainingCurves.from_json(path)
    point = now.epochs[-1].points["scanner"]
    assert (now.used("scanner")[-1], point.used, point.cleared) == (used, used, cleared)
    assert point.moved == point.gap
    said = f"the prediction gap, a mean over labels, is {gap[0]:.2f} ({gap[1]:.2f} to {gap[2]:.2f})."
    assert now.answer("scanner").endswith(said)
    assert ("cannot tell" in now.answer("scanner")) == (not used and not cleared)
