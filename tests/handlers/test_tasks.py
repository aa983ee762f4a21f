# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, softmax

from monai_shortcut.audit import AuditSettings
from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.tasks import (
    ClinicalTask,
    CohortMatcher,
    RecordedImages,
    Unmatched,
    analysable_levels,
    chosen_attributes,
    clinical_tasks,
    cohorts_by_label,
    head_outputs,
)
from monai_shortcut.heads import LinearHead

FRAME = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d", "e"],
        "patient_id": [1, 1, 2, 3, 3],
        "label": ["sick", "well", "well", "sick", "well"],
        "scanner": ["A", "B", "A", "B", "A"],
        "age": [30.5, 41.0, np.nan, 52.0, 63.5],
    }
)


@pytest.fixture
def cohort() -> Cohort:
    """Four images; the fifth is excluded."""
    return Cohort.from_table(FRAME, continuous=["age"]).exclude({"e": "blurred"})


def recorded(names: str = "xdbea", outputs: int = 2, activation: str = "") -> RecordedImages:
    """Images in an order of their own; embedding k of the n-th image is 10 n + k."""
    count = len(names)
    embeddings = 10 * np.arange(count, dtype=np.float32)[:, None] + np.arange(3, dtype=np.float32)
    weight = torch.arange(3.0 * outputs).reshape(outputs, 3)
    head = LinearHead(weight, torch.arange(float(outputs)), layer="head", activation=activation)
    return RecordedImages(tuple(names), tuple(f"shown {name}" for name in names), embeddings, head)


def matches(images: RecordedImages, cohorts: dict[str, Cohort]) -> dict[str, Any]:
    return {label: CohortMatcher(own).match(images) for label, own in cohorts.items()}


# Matching


def test_rows_are_matched_in_the_order_of_the_cohort(cohort):
    found = CohortMatcher(cohort).match(recorded())
    assert found.cohort.image_ids == ("a", "b", "d")
    assert found.rows.tolist() == [4, 2, 1]
    assert found.rows.dtype == np.int64
    assert found.strangers == {"shown x": "no row in the cohort"}  # e has a row, though an excluded one
    assert found.unseen == ("c",)


def test_paths_stand_for_the_ids_of_their_files(cohort):
    matcher = CohortMatcher(cohort)
    assert (matcher.find("/data/b.png"), matcher.find("/data/x.png")) == ("b", None)
    assert matcher.places == {"a": 0, "b": 1, "c": 2, "d": 3}
    paths = replace(recorded("ab"), names=("/data/b.png", "/data/a.png"))
    assert matcher.match(paths).rows.tolist() == [1, 0]
    same = replace(recorded("ab"), names=("/one/b.png", "/other/b.png"))
    with pytest.raises(ValueError, match=r"image ids must tell the images apart .* got 2 alike"):
        matcher.match(same)


def test_no_counterpart_means_in_none_of_the_cohorts(cohort):
    first = cohort.select(["a", "b"])
    found = Unmatched.among(matches(recorded("xadc"), {"one": first, "other": cohort}).values())
    assert found.images == {"shown x": "no row in the cohort"}  # c and d are in the second
    assert found.rows == ("b",)
    assert found.problems == {"shown x": "no row in the cohort", "b": "no image in the evaluation"}
    assert Unmatched.among(matches(recorded("abcd"), {"": cohort}).values()) == Unmatched({}, ())


# Tasks


def test_one_label_takes_all_outputs(cohort):
    images = recorded()
    (task,), problems = clinical_tasks(images, matches(images, {"": cohort}), None, ["scanner", "weather"])
    assert problems == {}
    assert (task.name, task.prefix, task.titled("Audit"), task.outputs) == ("", "", "Audit", (0, 1))
    assert task.attributes == ("scanner",)
    assert task.cohort.image_ids == ("a", "b", "d")
    assert task.embeddings.tolist() == [[40, 41, 42], [20, 21, 22], [10, 11, 12]]
    assert task.embeddings.dtype == np.float32
    assert task.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert task.bias.tolist() == [0, 1]
    assert task.weight.dtype == task.bias.dtype == np.float64


@pytest.fixture
def findings() -> Cohort:
    frame = FRAME[["image_id", "patient_id", "scanner"]].assign(
        mass=[0, 1, 0, 1, 0], edema=[1, 0, np.nan, 0, 1], fracture=0
    )
    return Cohort.from_table(frame, findings=["mass", "edema", "fracture"])


def test_each_label_has_its_output_and_its_images(findings):
    labels, images = ["mass", "edema", "fracture"], recorded("edcba", outputs=3, activation="sigmoid")
    cohorts = cohorts_by_label(findings, labels)
    assert list(cohorts) == ["mass", "edema"]
    tasks, problems = clinical_tasks(images, matches(images, cohorts), labels, ["scanner", "mass"])
    assert problems == {"fracture": "it is the same in all rows of the cohort"}
    assert [(task.name, task.prefix, task.titled("Audit"), task.outputs) for task in tasks] == [
        ("mass", "mass_", "Audit: mass", (0,)),
        ("edema", "edema_", "Audit: edema", (1,)),
    ]
    assert [task.attributes for task in tasks] == [("scanner",), ("scanner", "mass")]
    assert [task.weight.tolist() for task in tasks] == [[[0, 1, 2]], [[3, 4, 5]]]
    assert [task.bias.tolist() for task in tasks] == [[0], [1]]
    assert [task.cohort.image_ids for task in tasks] == [tuple("abcde"), tuple("abde")]
    assert tasks[1].embeddings[:, 0].tolist() == [40, 30, 10, 0]


def test_a_label_that_is_the_same_in_all_recorded_images_is_a_problem(findings):
    labels, images = ["mass", "edema", "fracture"], recorded("ac", outputs=3)
    part = matches(recorded("abde", outputs=3), cohorts_by_label(findings, labels))
    few = matches(images, cohorts_by_label(findings, labels))
    tasks, problems = clinical_tasks(images, {"mass": few["mass"], "edema": part["edema"]}, labels, [])
    assert [task.name for task in tasks] == ["edema"]
    assert problems["mass"] == "2 images tell, in all of which it is the same"
    with pytest.raises(ValueError, match=r"absent in some images and present in others, got {'mass': '2 images tell"):
        clinical_tasks(images, few, labels, [])


def test_images_of_another_cohort_are_refused(cohort):
    images = recorded("xyz")
    message = r"image ids must match those of the cohort \(a, b, c, ...\), got shown x, shown y, shown z, ..."
    with pytest.raises(ValueError, match=message):
        clinical_tasks(images, matches(images, {"": cohort}), None, [])


def one_task(cohort: Cohort, images: RecordedImages) -> ClinicalTask:
    return clinical_tasks(images, matches(images, {"": cohort}), None, [])[0][0]


def test_images_whose_embedding_is_not_finite_leave_the_task(cohort):
    images = recorded("xabcd")
    images.embeddings[[0, 2], 1] = np.nan, np.inf  # x has no row
    task = one_task(cohort, images).finite()
    assert task.cohort.image_ids == ("a", "c", "d")
    assert task.embeddings[:, 0].tolist() == [10, 30, 40]
    images.embeddings[:] = np.nan
    with pytest.raises(ValueError, match=r"at least one embedding must be finite, got none: check the model"):
        task.finite()


def test_probabilities_are_those_of_the_labels_outputs_in_the_order_of_the_cohort(cohort, rng):
    logits = rng.normal(size=(5, 3))
    logits[1] = np.nan  # image d
    task = one_task(cohort, recorded(outputs=3))
    expected = softmax(logits[[4, 2, 1]], axis=1)
    np.testing.assert_allclose(task.probabilities(logits), expected)
    single = replace(task, outputs=(2,)).probabilities(logits)
    np.testing.assert_allclose(single, np.stack([expit(-logits[[4, 2, 1], 2]), expit(logits[[4, 2, 1], 2])], axis=1))


# Labels and attributes


def test_outputs_belong_to_labels():
    assert head_outputs(recorded(outputs=3).head, None) == {"": (0, 1, 2)}
    assert head_outputs(recorded(outputs=1, activation="sigmoid").head, None) == {"": (0,)}
    assert head_outputs(recorded(outputs=2).head, ["mass", "edema"]) == {"mass": (0,), "edema": (1,)}
    assert head_outputs(recorded(outputs=1, activation="softmax").head, ["mass"]) == {"mass": (0,)}


@pytest.mark.parametrize(
    ("activation", "labels", "message"),
    [
        (
            "sigmoid",
            None,
            "labels must name what each of the 3 outputs tells, for the network ends in a sigmoid",
        ),
        ("", ["mass"], "each of the labels must have an output of its own, got 1 labels for 3 outputs"),
        (
            "softmax",
            ["a", "b", "c"],
            "each of the labels must have an output of its own, got a softmax over them",
        ),
    ],
)
def test_labels_that_do_not_fit_the_head_are_refused(activation, labels, message):
    with pytest.raises(ValueError, match=message):
        head_outputs(recorded(outputs=3, activation=activation).head, labels)


def test_cohorts_come_as_they_are_from_a_file_or_by_label(cohort, findings, tmp_path):
    assert cohorts_by_label(cohort, None) == {"": cohort}
    FRAME.to_csv(tmp_path / "one.csv", index=False)
    assert cohorts_by_label(tmp_path / "one.csv", None)[""].image_ids == tuple("abcde")
    given = {"edema": cohort}
    assert cohorts_by_label(given, ["mass", "edema"]) == given
    with pytest.raises(ValueError, match=r"cohorts must be of the labels \['mass'\], got those of \['edema'\]"):
        cohorts_by_label(given, ["mass"])
    with pytest.raises(ValueError, match=r"cohorts must be of the labels \[\], got those of \['edema'\]"):
        cohorts_by_label(given, None)
    with pytest.raises(ValueError, match="absent in some images and present in others, got fracture"):
        cohorts_by_label(findings, ["fracture"])


def test_labels_are_no_attributes_unless_they_are_asked_for(findings):
    cohorts = cohorts_by_label(findings, ["mass", "edema"]).values()
    assert set(chosen_attributes(cohorts, ["mass", "edema"], None)) == {"scanner", "fracture"}
    assert chosen_attributes(cohorts, ["mass", "edema"], ["mass"]) == ("mass",)
    with pytest.raises(ValueError, match=r"attributes must be among \[.*'scanner'.*\], got \['sex'\]"):
        chosen_attributes(cohorts, None, ["scanner", "sex"])


def test_levels_are_those_that_can_be_analysed(cohort):
    settings = AuditSettings(minimum_patients=2, edges={"age": (45.0,)})
    levels = analysable_levels(cohort, ["scanner", "age"], settings)
    assert list(levels) == ["scanner"]  # a single patient is older
    assert levels["scanner"].names == ("A", "B")
    assert levels["scanner"].codes.tolist() == [0, 1, 0, 1]
