# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audit_cases import QUICK, simulated

from monai_shortcut.audit import Audit, AuditSettings, audit
from monai_shortcut.audit.intake import check_rows, taken_in
from monai_shortcut.report import write_report

NAMES = ("embeddings", "weight", "bias", "labels", "patients")


def with_copies(rng: np.random.Generator, count: int) -> dict:
    """The simulated cohort, and its first images once more, barely changed, of other patients."""
    given = simulated(0)
    points = given["embeddings"]
    given["embeddings"] = np.concatenate([points, points[:count] + 1e-4 * rng.normal(size=(count, points.shape[1]))])
    given["labels"] = np.concatenate([given["labels"], given["labels"][:count]])
    given["patients"] = [*given["patients"], *(f"q{number}" for number in range(count))]
    given["attributes"] = {name: [*values, *values[:count]] for name, values in given["attributes"].items()}
    return given


def test_patients_with_copies_are_one_patient(rng, caplog):
    given = with_copies(rng, 5)  # of p0, three images, and p1, two
    found = taken_in(*(given[name] for name in NAMES), given["label_names"], None, QUICK)
    sample, rows, left_out, linked = found
    assert rows.tolist() == list(range(125))
    assert left_out == {}
    assert linked == tuple((str(number), str(120 + number)) for number in range(5))
    expected = [*given["patients"][:120], "p0", "p0", "p0", "p1", "p1"]
    names = list(dict.fromkeys(expected))
    assert sample.patients.tolist() == [names.index(name) for name in expected]
    assert caplog.messages == ["10 images look the same as images of other patients, who are treated as one patient."]


def test_copies_of_ones_own_are_not_told(rng, caplog):
    given = with_copies(rng, 6)
    given["patients"] = [*given["patients"][:120], *["p0"] * 3, *["p1"] * 3]
    with caplog.at_level(logging.WARNING):
        *_, linked = taken_in(*(given[name] for name in NAMES), given["label_names"], None, QUICK)
    assert linked == ()
    assert caplog.messages == []


def test_an_image_that_is_left_out_links_nobody(rng):
    given = with_copies(rng, 3)
    given["embeddings"][1] = np.nan
    sample, _, left_out, linked = taken_in(*(given[name] for name in NAMES), given["label_names"], None, QUICK)
    assert list(left_out) == ["1"]
    assert linked == (("0", "120"), ("2", "122"))
    assert len(np.unique(sample.patients)) == 41  # q1 has lost its double


def test_record_and_page_tell_which_images_look_the_same(rng, tmp_path):
    found = audit(**with_copies(rng, 5) | {"settings": replace(QUICK, privacy={"ids": True})})
    assert found.patients == 40
    assert [len(group) for group in found.linked] == [2] * 5
    found.to_json(tmp_path / "audit.json")
    assert Audit.from_json(tmp_path / "audit.json").linked == found.linked
    text = " ".join(write_report(found, tmp_path).read_text(encoding="utf-8").split())
    assert (
        "10 images look the same as images of other patients (listed below); these patients are treated as one" in text
    )
    assert "<li>4, 124</li>" in text
    without = audit(**simulated(0))
    assert without.linked == ()
    assert "look the same" not in write_report(without, tmp_path).read_text(encoding="utf-8")


def refused(message: str, **changed: object) -> None:
    with pytest.raises(ValueError, match=message):
        audit(**simulated(0) | changed)


def test_what_would_be_read_as_something_else_is_refused():
    given = simulated(0)
    patients, names = list(given["patients"]), list(given["label_names"])
    ids = [f"i{row}" for row in range(len(patients))]
    refused(
        "patients must be known for every image, got 1 that are not: rows 3",
        patients=[*patients[:3], None, *patients[4:]],
    )
    refused("patients must be known for every image", patients=[np.nan, *patients[1:]])
    refused("label_names must be unique, got 1 repeated: ", label_names=[names[0]] * len(names))
    refused("label_names must be given, each, got 1 places without: 0", label_names=["", *names[1:]])
    refused("label_names must be names, got the single text 'ab'", label_names="ab")
    refused("label_names must be text that can be written as UTF-8", label_names=["x\udcff", *names[1:]])
    refused("image_ids must be unique, got 1 repeated: i1", image_ids=["i1", *ids[1:]])
    refused("image_ids must be given, each, got 1 places without: 0", image_ids=[None, *ids[1:]])
    refused(
        r"image_ids must be text that can be written as UTF-8, got 1 others: '\\udcff'", image_ids=["\udcff", *ids[1:]]
    )
    refused("edges must be of the attributes .*, got .'agee'.", settings=AuditSettings(edges={"agee": (1.0,)}))
    tolerances = AuditSettings(tolerances={"malignnt": {"rank": 0.1}})
    refused("tolerances must be of the labels .*, got 1 others: malignnt", settings=tolerances)


@pytest.mark.parametrize("name", ["embeddings", "labels", "site"])
def test_masked_values_are_refused_and_not_read(name):
    """NumPy's arrays say what is missing beside the numbers, where nobody looks."""
    given = simulated(0)
    values = given[name] if name in given else np.arange(len(given["labels"])) % 2
    for masked in (True, False):
        mask = np.zeros(np.shape(values), dtype=bool)
        mask[3] = masked
        array = np.ma.masked_array(values, mask)
        changed = {name: array} if name in given else {"attributes": {name: array}}
        if masked:
            refused(f"{name} must have no masked values, got {mask.sum()}: fill them", **changed)
        else:
            audit(**given | changed | {"settings": QUICK})


def test_bytes_are_the_text_that_they_hold():
    given = simulated(0)
    words = np.array(["männlich", "weiblich"])[np.arange(len(given["labels"])) % 2]
    holders = {"text": words, "bytes": [word.encode() for word in words]}
    found = audit(**given | {"attributes": holders, "settings": QUICK}).findings
    assert found[0].levels == found[1].levels == {"männlich": 60, "weiblich": 60}


def test_missing_strings_are_missing_whatever_holds_them():
    given = simulated(0)
    cells = ["F" if row % 3 else None for row in range(len(given["labels"]))]
    cells[1::7] = ["M"] * len(cells[1::7])
    holders = {"none": cells, "nan": [np.nan if cell is None else cell for cell in cells], "series": pd.Series(cells)}
    holders |= {"object": pd.Series(cells, dtype=object), "string": pd.array(cells, dtype="string")}
    found = audit(**given | {"attributes": holders, "settings": QUICK})
    assert {finding.missing for finding in found.findings} == {cells.count(None)}
    assert all(set(finding.levels) | set(finding.left_out) == {"F", "M"} for finding in found.findings)


@pytest.mark.parametrize("row", [(7.0, 7.0), (-0.5, 1.5), (0.5, 0.4), (np.nan, 1.0), (np.inf, 0.0)])
def test_answers_that_are_no_probabilities_are_refused(row):
    answers = np.full((120, 2), 0.5)
    answers[4] = np.nan
    check_rows({"full": answers}, 120, 2)
    answers[5] = row
    for what in ("regions", "counterfactuals"):
        refused(
            "used must hold probabilities that sum to 1, or NaN in all of a row, got 1 rows else",
            **{what: {"used": answers}},
        )
