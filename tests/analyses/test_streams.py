# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Each analysis of each attribute has random numbers of its own: nothing that is added moves what was there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import FEW, images_of, levels_of

from monai_shortcut.audit import AuditSettings, audit
from monai_shortcut.audit import evidence as module
from monai_shortcut.audit.evidence import FAMILIES

SETTINGS = AuditSettings(**FEW | {"permutations": 59}, seed=3)  # as many as three attributes need


def cohort(rng, patients: int = 80):
    """Embeddings, labels, patients and a head; two attributes that leave traces, and one that is missing somewhere."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    label, site, sex, age = (rng.integers(count, size=patients)[patient] for count in (2, 3, 2, 4))
    points = rng.normal(size=(len(patient), 8)) + 2 * label[:, None] * np.eye(8)[0]
    points += site[:, None] * np.eye(8)[1] + 2 * sex[:, None] * np.eye(8)[2]
    age[rng.random(len(patient)) < 0.2] = -1
    return points, label, patient, rng.normal(size=(2, 8)), {"site": site, "sex": sex, "age": age}


def answers(data, attribute, order):
    """What each analysis says of a fresh sample, asked in an order."""
    points, label, patient, head, codes = data
    images = images_of(label, patient, points=points, weight=head, seed=3)
    sample = images.by(attribute, levels_of(codes[attribute], "ordinal" if attribute == "age" else "categorical"))
    asked = module.questions(SETTINGS)
    return {name: asked[name](sample) for name in order}


@pytest.mark.parametrize("attribute", ["site", "age"])
def test_the_order_of_the_questions_moves_no_answer(rng, attribute):
    data, names = cohort(rng), list(module.questions(SETTINGS))
    assert len(names) == 9
    first = answers(data, attribute, names)
    assert answers(data, attribute, names[::-1]) == first
    for name in names:
        assert answers(data, attribute, [name])[name] == first[name]  # nor what else is asked


def audited(data, names):
    points, label, patient, head, codes = data
    values = {name: np.where(codes[name] < 0, None, codes[name].astype(str)) for name in names}
    kinds = {"age": "ordinal"} if "age" in names else {}
    people = [f"p{index:03d}" for index in patient]
    labels = ["healthy", "ill"]
    return audit(points, head, [0.0, 0.0], label, people, values, kinds=kinds, label_names=labels, settings=SETTINGS)


def answered(found, names):
    """Findings by attribute, but for what is adjusted for the other attributes."""
    unadjusted = dict.fromkeys((*FAMILIES, "encoding_q_value", "gap_q_value"), 1.0) | {
        "company": None,
        "slices": (),
        "equal": (),
    }
    findings = {finding.attribute: finding for finding in found.findings}
    return {
        name: (replace(findings[name].evidence, **unadjusted), findings[name].giveaways, findings[name].levels)
        for name in names
    }


def test_another_attribute_moves_no_number_of_the_others(rng):
    data = cohort(rng)
    few, more = (audited(data, names) for names in (["site", "sex"], ["age", "sex", "site"]))
    assert answered(more, ["site", "sex"]) == answered(few, ["site", "sex"])
    assert (more.label, more.regions) == (few.label, few.regions)
    assert len(more.findings) == 3


def test_another_analysis_moves_no_number_of_the_others(rng, monkeypatch):
    data, asked, drawn = cohort(rng), module.questions, []

    def another(sample):
        drawn.append(sample.rng("another").normal(size=1000).sum() + sample.images.rng("another").random())
        return sample.permuted.sum() + sample.images.folds(7).fold.sum()

    def more(*arguments):
        given = asked(*arguments)
        # In place of the encoding, which comes first, and after it everything else in another order.
        first = {"encoding": lambda sample: (another(sample), given["encoding"](sample))[1]}
        return first | dict(reversed(given.items())) | first

    before = audited(data, ["site", "age"])
    monkeypatch.setattr(module, "questions", more)
    after = audited(data, ["site", "age"])
    assert answered(after, ["site", "age"]) == answered(before, ["site", "age"])
    assert len(set(drawn)) == 2
