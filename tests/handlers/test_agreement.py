# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from monai_shortcut.cohort import Cohort
from monai_shortcut.handlers.agreement import disagreement, given_labels
from monai_shortcut.handlers.tasks import with_classes
from monai_shortcut.heads import LinearHead

NAN = float("nan")


@pytest.mark.parametrize(
    ("label", "columns", "expected"),
    [
        (torch.tensor([2, 0, 1]), 1, [[2], [0], [1]]),
        (torch.tensor([[1.0], [0.0], [1.0]]), 1, [[1], [0], [1]]),
        ([0, 1, 1], 1, [[0], [1], [1]]),
        (torch.eye(3)[[2, 2, 0]], 1, [[2], [2], [0]]),  # one-hot
        (torch.tensor([[1, 0], [1, 1], [0, 0]]), 2, [[1, 0], [1, 1], [0, 0]]),  # findings
        (torch.tensor([[1, 0], [1, 1], [0, 0]]), 1, [[NAN]] * 3),  # no classes
        (torch.zeros(3, 1, 8, 8), 1, [[NAN]] * 3),  # a segmentation
        (torch.tensor([1, 0]), 1, [[NAN]] * 3),  # of fewer images
        (["a", "b", "c"], 1, [[NAN]] * 3),
        (None, 1, [[NAN]] * 3),
    ],
)
def test_labels_of_a_batch_are_classes_or_findings_or_unknown(label, columns, expected):
    found = given_labels({} if label is None else {"label": label}, "label", 3, columns)
    np.testing.assert_array_equal(found, np.array(expected, dtype=float))


@pytest.fixture
def cohort() -> Cohort:
    frame = pd.DataFrame({"image_id": list("abcdefgh"), "patient_id": list("abcdefgh"), "label": ["x", "y"] * 4})
    return Cohort.from_table(frame)


def test_labels_that_differ_are_counted_among_those_that_can_be_compared(cohort):
    same = np.array([0.0, 1.0] * 4)
    assert disagreement(same, cohort, 0.0) == ""
    given = np.array([1.0, 1.0, NAN, 1.0, 0.0, -1.0, 0.5, 1.0])  # one of five
    told = "1 of 5 images have another label in the table than in the evaluation; the table's are taken."
    assert disagreement(given, cohort, 0.2) == told
    with pytest.raises(ValueError, match=r"at most 19% .* \(mislabelled\), got 1 of 5: a is x, not y\. Is the table"):
        disagreement(given, cohort, 0.19)
    with pytest.raises(ValueError, match=r"got 8 of 8: a is x, not y, b is y, not x, .* e is x, not y, \.\.\.\. Is"):
        disagreement(1 - same, cohort, 0.9)


def head(outputs: int) -> LinearHead:
    return LinearHead(torch.zeros(outputs, 4), torch.zeros(outputs), "head")


def test_labels_that_are_numbers_of_outputs_name_the_classes_that_a_table_lacks():
    frame = pd.DataFrame({"image_id": list("abc"), "patient_id": list("abc"), "label": [0, 3, 1]})
    numbers = Cohort.from_table(frame)
    found = with_classes(numbers, head(5))
    assert found.label_names == ("0", "1", "2", "3", "4")
    assert found.labels.tolist() == [0, 3, 1]
    assert with_classes(numbers, head(3)) is numbers
    with pytest.raises(
        ValueError, match=r"must hold 2 names to match the head, got 3 \(0, 1, 3\): one output .*regression"
    ):
        with_classes(numbers, head(1))
    named = Cohort.from_table(frame.assign(label=["benign", "malignant", "benign"]))
    assert with_classes(named, head(1)) is named
    with pytest.raises(ValueError, match=r"must hold 3 names .*, got 2 \(benign, malignant\): name all classes in the"):
        with_classes(named, head(3))
