# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from audit_cases import QUICK, simulated
from difference_cases import bare, compared, found, row, shown

from monai_shortcut.analyses.held_out_levels import HeldOutLevel
from monai_shortcut.analyses.region_sensitivity import RegionScore, RegionSensitivity
from monai_shortcut.analyses.subgroups import SubgroupGaps
from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit.record import INCONCLUSIVE, NOT_USED, Audit, Company, Counterfactual, Identity
from monai_shortcut.report.evidence_items import ANSWERED, ITEMS, NOT_APPLICABLE, NOT_MEASURED, STATES, Answer
from monai_shortcut.report.evidence_pack import EvidencePack
from monai_shortcut.types import Estimate, Tested

ASKED = {
    "CLAIM": ["12", "13", "20", "21", "29", "30", "31", "33", "35", "36", "37", "39"],
    "TRIPOD+AI": ["12d", "14", "20b", "23a", "23b"],
    "METRICS": ["19", "24"],
    "FDA": [
        *(f"sub-groups: {one}" for one in ("site", "equipment", "others")),
        "multiplicity",
        "sample size",
        "leakage",
    ],
}
GAPS = SubgroupGaps((), 0.125, Tested(3.0, (1.0, 2.0, 1.0)), 0.25, Tested(1.0, (1.0, 2.0, 1.0)))
UNSEEN = (
    HeldOutLevel(1, 0, 50, 20, 0.9, 0.85, Estimate(0.05, 0.01, 0.09), 0.04, 1.0, ()),
    HeldOutLevel(1, 2, 50, 20, 0.9, 0.7, Estimate(0.2, 0.125, 0.275), 0.01, 1.0, ()),
)
HIDDEN = RegionScore("malignant", "without_roi", 118, Estimate(0.85, 0.75, 0.9), 0.01, 0.05, 0.25)


@pytest.fixture(scope="module")
def known() -> Audit:
    """A record of given numbers; its attributes are equipment, a site, a person's and one of none of these."""
    scanner = found(
        "ManufacturerModelName",
        shown(
            row(0.3, certain=0.2, scale="decision", label=1),
            row(0.125, detectable=0.25, label=1),
            subgroups=GAPS,
            held_out=UNSEEN,
            company=Company({"site": 0.5}, (), (), True),
        ),
        counterfactual=Counterfactual(55, Estimate(0.25, 0.125, 0.375)),
        missing=7,
    )
    site = found("site", None, INCONCLUSIVE, levels={"north": 120}, reason="One level.")
    sex = found("sex", shown(row(0.02), differences_p_value=0.75), NOT_USED)
    marker = found("marker", None, INCONCLUSIVE, reason="All images lack a value.")
    record = bare(scanner, site, sex, marker, permutations=499, bootstraps=99)
    full = record.regions.scores
    return replace(
        record,
        title="Known",
        excluded={"a": "unreadable", "b": "unreadable", "c": "no label"},
        unseen=("d", "e"),
        linked=(("f", "g"), ("h", "i")),
        regions=RegionSensitivity("full", (*full, HIDDEN), {}),
        sources={"table": "0" * 64},
    )


def answers(record: Audit) -> dict[tuple[str, str], Answer]:
    return {(item.document.name.split(",")[0].split(" ")[0], item.number): item.answer(record) for item in ITEMS}


def test_the_items_are_those_that_an_audit_can_answer():
    found_items: dict[str, list[str]] = {}
    for item in ITEMS:
        found_items.setdefault(item.document.name.split(",")[0], []).append(item.number)
    assert found_items == ASKED
    assert all(item.document.read for item in ITEMS)


@pytest.mark.parametrize("which", ["known", "record", "many"])
def test_every_item_has_a_state_and_a_sentence(which, request):
    record = request.getfixturevalue(which)
    for (document, number), answer in answers(record).items():
        assert answer.state in STATES
        assert answer.sentence.endswith("."), (document, number, answer.sentence)
        names = (*(one.attribute for one in record.findings), *record.label_names)
        assert answer.sentence[0].isupper() or answer.sentence[0].isdecimal() or answer.sentence.startswith(names)
        assert answer.place or answer.state == NOT_MEASURED


@pytest.mark.parametrize(
    ("item", "state", "told"),
    [
        (("CLAIM", "12"), ANSWERED, "without a value: ManufacturerModelName 7 of 120 images."),
        (("CLAIM", "13"), ANSWERED, "used (0.30 (0.17 to 0.42) in decision, malignant: B against A, p 0.030)."),
        (("CLAIM", "20"), ANSWERED, "drawn by patient (120 patients, 120 images). 2 groups of images"),
        (("CLAIM", "21"), ANSWERED, "in probability: ManufacturerModelName: malignant 0.35; sex: benign 0.16."),
        (
            ("CLAIM", "29"),
            ANSWERED,
            "499 permutations and 99 bootstrap samples of patients; limits at 95 %, significance",
        ),
        (
            ("CLAIM", "30"),
            ANSWERED,
            "0.90 (0.80 to 0.95) on full images, 0.85 (0.75 to 0.90) without the region (p 0.250)",
        ),
        (("CLAIM", "30"), ANSWERED, "in the same 55 images, ManufacturerModelName moves 0.25 (0.12 to 0.38) of the"),
        (("CLAIM", "31"), NOT_MEASURED, "Nobody asked where the model looks (audit_attribution)."),
        (
            ("CLAIM", "33"),
            ANSWERED,
            "at most 0.20 (0.12 to 0.28) of the AUC is lost (C, malignant)",
        ),
        (
            ("CLAIM", "35"),
            ANSWERED,
            "120 patients audited, 3 excluded (unreadable: 2; no label: 1). 2 rows of the table",
        ),
        (
            ("CLAIM", "36"),
            ANSWERED,
            "benign 60, malignant 60. By attribute: ManufacturerModelName (A 40, B 40, C 40); site",
        ),
        (("CLAIM", "37"), ANSWERED, "malignant 0.90 (0.80 to 0.95), 120 images."),
        (("CLAIM", "39"), ANSWERED, "ManufacturerModelName: Because of ManufacturerModelName."),
        (("TRIPOD+AI", "12d"), ANSWERED, "by level: ManufacturerModelName, site, sex, marker."),
        (
            ("TRIPOD+AI", "14"),
            ANSWERED,
            "sex: encoded, not used (0.02 (-0.10 to 0.14) in probability, benign: B against A",
        ),
        (("TRIPOD+AI", "20b"), ANSWERED, "without a value: ManufacturerModelName 7 of 120 images."),
        (("TRIPOD+AI", "23a"), ANSWERED, "ManufacturerModelName area 0.12 (p 0.250), calibration 0.25 (p 1.000)."),
        (("TRIPOD+AI", "23b"), ANSWERED, "ManufacturerModelName area 0.12 (p 0.250), calibration 0.25 (p 1.000)."),
        (
            ("METRICS", "19"),
            ANSWERED,
            "goes along with site (Cramér's V 0.50); at equal levels of these its differences stay.",
        ),
        (("METRICS", "24"), NOT_MEASURED, "against no model without images"),
        (("FDA", "sub-groups: site"), NOT_APPLICABLE, "All images are of site north."),
        (("FDA", "sub-groups: equipment"), ANSWERED, "p 0.030). Largest gap between two levels, p unadjusted: Man"),
        (("FDA", "sub-groups: others"), ANSWERED, "B against A, p 0.750); marker: inconclusive."),
        (("FDA", "multiplicity"), ANSWERED, "adjusted over 4 attributes by Holm's method."),
        (("FDA", "sample size"), ANSWERED, "120 images of 120 patients."),
        (
            ("FDA", "leakage"),
            NOT_MEASURED,
            "2 groups of images of different patients look the same; these patients count as one. Whether",
        ),
    ],
)
def test_a_sentence_holds_the_numbers_of_the_record(known, item, state, told):
    answer = answers(known)[item]
    assert answer.state == state
    assert told in answer.sentence


@pytest.fixture(scope="module")
def predicted() -> Audit:
    """An audit of predicted probabilities alone."""
    given = simulated()
    points, weight = given.pop("embeddings"), given.pop("weight")
    odds = np.exp(points @ weight.T + given.pop("bias"))
    return audit(
        None,
        None,
        None,
        **{**given, "attributes": {"site": given["attributes"]["used"]}},
        predicted=odds / odds.sum(axis=1, keepdims=True),
    )


def test_what_probabilities_alone_cannot_tell_is_not_measured(predicted):
    told = answers(predicted)
    assert {item: answer.sentence for item, answer in told.items() if answer.state == NOT_MEASURED} == {
        ("CLAIM", "13"): "No attribute whose name says scanner, device, manufacturer or the like was audited.",
        ("CLAIM", "30"): "The audit has no region of interest (audit_roi_key).",
        ("CLAIM", "31"): "Nobody asked where the model looks (audit_attribution).",
        ("CLAIM", "33"): "Whether these images come from other places than those of the training is not in the record. "
        f"site: {predicted.findings[0].evidence.not_computed['held_out']}.",
        ("TRIPOD+AI", "14"): "No attribute whose name says sex, gender, age or the like was audited.",
        ("METRICS", "24"): told["METRICS", "24"].sentence,
        ("FDA", "sub-groups: equipment"): told["CLAIM", "13"].sentence,
        ("FDA", "sub-groups: others"): "No other attribute was audited.",
        ("FDA", "leakage"): "Whether these patients are apart from those of the training is not in the record.",
    }
    assert told["FDA", "sub-groups: site"].state == ANSWERED


def test_without_a_finding_nothing_is_said_of_groups():
    told = answers(replace(bare(), regions=RegionSensitivity("full", (), {"malignant": "one patient has it"})))
    unmeasured = [item for item, answer in told.items() if answer.state == NOT_MEASURED]
    assert {("CLAIM", "21"), ("CLAIM", "39"), ("TRIPOD+AI", "12d"), ("METRICS", "19")} <= set(unmeasured)
    assert told["CLAIM", "39"].sentence == "No attribute was audited."
    assert told["CLAIM", "37"] == Answer(NOT_MEASURED, "malignant: one patient has it.")
    assert told["TRIPOD+AI", "23a"] == told["CLAIM", "37"]


def test_names_are_taken_word_by_word():
    """A negative control: "message" has no age, "offsite" no site; letters of either case and plurals are the same."""
    told = answers(bare(found("message", shown(row())), found("offsite", shown(row()))))
    assert told["TRIPOD+AI", "14"].state == told["FDA", "sub-groups: site"].state == NOT_MEASURED
    told = answers(bare(found("PatientAge", shown(row())), found("study_sites", shown(row()))))
    assert told["TRIPOD+AI", "14"].state == told["FDA", "sub-groups: site"].state == ANSWERED


def test_the_checksums_are_those_of_the_files(folder):
    pack = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / "audit.json").read_bytes()).hexdigest()
    unknown = ["not known"]
    assert pack["sha256"] == {"record": [digest], "table": unknown, "checkpoint": unknown, "configuration": unknown}
    assert digest in (folder / "evidence.html").read_text(encoding="utf-8")
    assert [one["number"] for one in pack["items"]] == [number for numbers in ASKED.values() for number in numbers]
    assert "read only as summaries" in {one["name"][:5]: one["read"] for one in pack["documents"]}["CLAIM"]


def test_the_record_knows_some_files_and_others_are_given(known):
    weighed = replace(known, weights={"2" * 64: "model.pt", "1" * 64: "backbone.pt"})
    found_sums = EvidencePack.of(weighed, {"record": ["3" * 64], "configuration": ["5" * 64, "4" * 64]}).sha256
    assert found_sums == {
        "record": ("3" * 64,),
        "table": ("0" * 64,),
        "checkpoint": ("1" * 64, "2" * 64),
        "configuration": ("4" * 64, "5" * 64),
    }
    assert EvidencePack.of(known, {"checkpoint": ["6" * 64]}).sha256["checkpoint"] == ("6" * 64,)
    assert EvidencePack.of(replace(known, sources={"head": "7"}), {}).sha256["checkpoint"] == ("7",)


def test_another_table_than_the_audited_one_is_refused(known):
    with pytest.raises(ValueError, match=f"the table must be what was audited, of SHA-256 {'0' * 64}, got one of 1."):
        EvidencePack.of(known, {"table": ["1"]})


def test_names_that_a_page_must_not_run_are_text(folder):
    text = (folder / "evidence.html").read_text(encoding="utf-8")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append(tag)
    parser.feed(text)
    assert set(tags).isdisjoint({"script", "net", "b", "i", "img", "u"})
    assert "&lt;script&gt;" in text
    assert "http" not in text


@pytest.mark.parametrize(("unseen", "trained"), [(True, "none"), (False, "some")])
def test_what_the_record_says_of_the_training_is_told(known, unseen, trained):
    told = answers(replace(known, identity=Identity(unseen_patients=unseen)))
    said = f"The record says that the model was trained on {trained} of these patients."
    assert told["FDA", "leakage"].state == ANSWERED
    assert told["FDA", "leakage"].sentence.endswith(said)
    assert told["CLAIM", "20"].sentence.endswith(said)


def test_settings_are_told_as_they_were(known):
    told = answers(replace(known, settings=AuditSettings(correction="fdr", adjust_for=("sex",))))
    assert "by the false discovery rate." in told["FDA", "multiplicity"].sentence
    assert told["METRICS", "19"].sentence.startswith("All answers were compared at equal levels of sex.")
    alone = answers(bare(found("scanner", shown(differences=compared(row())))))
    assert alone["METRICS", "19"].sentence == (
        "Nothing was held equal (adjust_for). No attribute that answers differ with goes along with another such one "
        f"(Cramér's V from {QUICK.associated:g})."
    )
