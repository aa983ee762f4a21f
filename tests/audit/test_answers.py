# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from audit_cases import simulated

from monai_shortcut.audit import Audit, AuditSettings, audit


@pytest.fixture(scope="module")
def given():
    return simulated(patients=20) | {
        "settings": AuditSettings(permutations=9, bootstraps=9, repeats=1, erasures=1, held_out=0)
    }


@pytest.fixture(scope="module")
def record(given) -> Audit:
    names = [f"image {row}" for row in range(len(given["labels"]))]
    return audit(**given | {"image_ids": names}, title="answers")


def test_a_record_holds_the_answers_of_each_image(record, given, tmp_path):
    found = record.answers.sample(record.settings)
    rows = [int(name.split()[1]) for name in found.image_ids]
    assert sorted(rows) == list(range(60))
    logit = (given["embeddings"] @ given["weight"].T + given["bias"])[rows]
    expected = np.exp(logit - logit.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found.probabilities, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(found.labels, np.asarray(given["labels"])[rows])
    people = np.asarray(given["patients"])[rows]
    assert len({*zip(found.patients.tolist(), people.tolist(), strict=True)}) == 20
    levels = list(record.finding("used").levels)
    assert [levels[code] for code in record.answers.levels("used")] == [
        given["attributes"]["used"][row] for row in rows
    ]
    assert record.answers.held_equal() == {}
    record.to_json(tmp_path / "audit.json")
    text = (tmp_path / "audit.json").read_text()
    assert not any(f'"{name}"' in text for name in given["patients"])
    kept = Audit.from_json(tmp_path / "audit.json").answers
    assert replace(kept, image_ids=()) == replace(record.answers, image_ids=())


def test_levels_at_which_answers_are_compared_are_kept_too(given):
    settings = replace(given["settings"], adjust_for=("tracks",))
    found = audit(**given | {"settings": settings}).answers
    np.testing.assert_array_equal(found.held_equal()["tracks"], found.levels("tracks"))


def test_answers_that_are_cut_off_are_refused(record):
    broken = replace(record.answers, image_ids=record.answers.image_ids[1:])
    with pytest.raises(ValueError, match="reshape"):
        broken.sample(record.settings)
